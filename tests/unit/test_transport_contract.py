"""ports.Transport: what each back end promises to deliver, whatever it speaks."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends

from local.certificates import Authority
from relay.aws.client import AwsClient
from relay.aws.ses import SesTransport
from relay.backends import BackEnd, BackEnds
from relay.dispatch import Dispatch
from relay.ports import Transport
from relay.settings import Smarthost
from relay.smtp.limits import Limits
from relay.smtp.smarthost import smarthost_transport
from relay.submission import Delivery, Inline
from tests.fakes import FakeClock
from tests.unit.aws.contract import KEYS, REGION, boto
from tests.unit.smtp.scripted import CAPABILITIES, Script, Sink
from tests.unit.smtp.world import world
from tests.unit.smtp.zone import Zone

RECIPIENTS = ("b@b.example", "a@b.example", "c@b.example")
CONTENT = "From: s@a.example\r\nSubject: x\r\n\r\nhällo\r\n.\r\n..dots\r\n".encode()
NOBODY = 9  # a port where nobody listens


@dataclass
class Running:
    """received: (recipients, content) of each message. clock: the deadlines'."""

    transport: Transport
    received: Callable[[], list[tuple[list[str], bytes]]]
    clock: FakeClock


Start = Callable[[bool], AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def mx(there: bool) -> AsyncIterator[Running]:
    async with world(Script(), limits=Limits()) as here:
        if not there:
            here.transport._port = NOBODY
        yield Running(
            here.transport, lambda: [(each.rcpts, each.content) for each in here.sinks[0].received], here.clock
        )


@asynccontextmanager
async def smarthost(there: bool, folder: Path) -> AsyncIterator[Running]:
    authority, clock = Authority(folder), FakeClock()
    made = authority.issue("smart", ("smart.example",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert_file, made.key_file)
    script = Script(tls=context, capabilities=(*CAPABILITIES, "STARTTLS"), after_tls_capabilities=CAPABILITIES)
    async with Sink(script) as sink:
        port = sink.port if there else NOBODY
        transport = smarthost_transport(
            Smarthost("smart.example", port, networks=("127.0.0.0/8",), ca=authority.ca_file.read_text()),
            resolver=Zone(a_records={"smart.example": ("127.0.0.1",)}),
            host_name="relay.example",
            clock=clock,
            limits=Limits(),
            login=None,
        )
        yield Running(transport, lambda: [(each.rcpts, each.content) for each in sink.received], clock)
        transport.close()


@asynccontextmanager
async def ses(there: bool, url: str) -> AsyncIterator[Running]:
    boto("sesv2", url).create_email_identity(EmailIdentity="a.example")
    backends = [each[REGION] for each in ses_backends.values()]
    for backend in backends:
        backend.sent_messages.clear()
    client, clock = AwsClient(REGION, url if there else f"http://127.0.0.1:{NOBODY}", credentials=KEYS), FakeClock()
    yield Running(
        SesTransport(client, clock),
        lambda: [(each.destinations, each.raw_data.encode()) for backend in backends for each in backend.sent_messages],
        clock,
    )
    await client.close()


@asynccontextmanager
async def dispatch(there: bool) -> AsyncIterator[Running]:
    async with mx(there) as running:
        transport = Dispatch(BackEnds(), {BackEnd.MX: running.transport})
        yield Running(transport, running.received, running.clock)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(params=["mx", "smarthost", "ses", "dispatch"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    match request.param:
        case "smarthost":
            return lambda there: smarthost(there, tmp_path)
        case "ses":
            url = request.getfixturevalue("moto")
            return lambda there: ses(there, url)
        case "mx":
            return mx
    return dispatch


def run(start: Start, test: Callable[[Running], Awaitable[None]], *, there: bool = True) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(30), start(there) as running:
            await test(running)

    asyncio.run(scenario())


async def send(running: Running, left: float = 250.0) -> list[Any]:
    delivery = Delivery("id", "account", "s@a.example", "b.example", 0, RECIPIENTS, 0.0, Inline(CONTENT))
    return list(await running.transport.send(delivery, RECIPIENTS, CONTENT, deadline=running.clock.now() + left))


def test_the_content_as_it_is_to_the_recipients_and_a_reply_for_each_in_order(start: Start) -> None:
    async def test(running: Running) -> None:
        for _ in range(2):
            replies = await send(running)
            assert [(each.recipient, each.ok, each.code // 100) for each in replies] == [
                (recipient, True, 2) for recipient in RECIPIENTS
            ]
            assert all(each.remote and each.enhanced == "2.0.0" for each in replies)
        assert running.received() == [(list(RECIPIENTS), CONTENT)] * 2

    run(start, test)


def test_nothing_is_raised_where_nobody_is(start: Start) -> None:
    async def test(running: Running) -> None:
        replies = await send(running)
        assert [each.recipient for each in replies] == list(RECIPIENTS)
        assert not any(each.ok or each.permanent for each in replies)
        assert {each.code // 100 for each in replies} == {4}
        assert running.received() == []

    run(start, test, there=False)


@pytest.mark.parametrize("left", [10.0, 0.0, -1.0])
def test_no_content_leaves_without_time_for_its_answer(start: Start, left: float) -> None:
    async def test(running: Running) -> None:
        replies = await send(running, left)
        assert not any(each.ok or each.permanent for each in replies)
        assert running.received() == []

    run(start, test)
