"""Delivery to servers that are not ours: Postfix and Exim over TLS, and smtp-sink with each of its failures."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.certificates import Authority
from relay.ports import RecipientReply
from relay.smtp.https import Fetch
from relay.smtp.limits import Limits
from relay.smtp.mx import Routes
from relay.smtp.policies import Known, Policies
from relay.smtp.reach import Reach
from relay.smtp.sts import Mode, Policy
from relay.smtp.tls import verified_tls
from relay.smtp.transport import SmtpTransport
from relay.submission import Delivery, Inline
from tests.fakes import FakeClock
from tests.peers.servers import EXIM, POSTFIX, SINK, Peer, exim, place, postfix, smtp_sink
from tests.unit.smtp.world import FakePolicies
from tests.unit.smtp.zone import Zone

ROOT_ONLY = os.geteuid() != 0
A, B, NOBODY = "a@b.example", "b@b.example", "nobody@b.example"
SOON = 1.0
SHORT = Limits(
    connect=SOON,
    greeting=SOON,
    hello=SOON,
    tls=SOON,
    mail=SOON,
    rcpt=SOON,
    data=SOON,
    block=SOON,
    content=SOON,
    reset=SOON,
    least=0.0,
)


class Client:
    """SmtpTransport with b.example's only MX host on 127.0.0.1. enforced: by an MTA-STS policy."""

    def __init__(self, port: int, limits: Limits, *, ca_file: Path | None = None, enforced: bool = False) -> None:
        self.clock = FakeClock()
        zone = Zone({"b.example": ((10, "mx.b.example"),)}, {"mx.b.example": ("127.0.0.1",)})
        store = FakePolicies()
        if enforced:
            policy = Policy(Mode.ENFORCE, ("mx.b.example",), 86_400)
            store.items["b.example"] = Known("1", policy, self.clock.now())
        routes = Routes(zone, "relay.example", Reach(opened=("127.0.0.0/8",)))
        trusted = str(ca_file) if ca_file else None
        self.transport = SmtpTransport(
            routes=routes,
            policies=Policies(zone, store, Fetch(routes.addresses, verified_tls), self.clock),
            host_name="relay.example",
            clock=self.clock,
            port=port,
            limits=limits,
            verified=lambda: verified_tls(trusted),
        )

    async def send(self, content: bytes, *to: str, left: float = 250.0) -> list[RecipientReply]:
        recipients = to or (A,)
        utf8 = not "".join(recipients).isascii() or not content.partition(b"\r\n\r\n")[0].isascii()
        delivery = Delivery(
            "id", "account", "s@a.example", "b.example", 0, recipients, 0.0, Inline(content), smtputf8=utf8
        )
        return list(await self.transport.send(delivery, recipients, content, deadline=self.clock.now() + left))


def run(client: Callable[[], Client], scenario: Callable[[Client], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            here = client()
            try:
                await scenario(here)
            finally:
                here.transport.close()
                await asyncio.sleep(0)

    asyncio.run(bounded())


# --- Postfix and Exim ------------------------------------------------------------------------------

HEADER = (  # complete: servers add what is missing
    b"From: s@a.example\r\nTo: a@b.example\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.example>\r\n"
)
MESSAGES = {
    "plain": HEADER + b"Subject: x\r\n\r\nhello\r\n",
    "dots": HEADER + b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
    "8-bit": HEADER + "Subject: 8-bit\r\n\r\nhällo\r\n".encode("latin-1"),
    "UTF-8 header": HEADER + "Subject: ü\r\n\r\nhällo\r\n".encode(),
    "long lines": HEADER + b"Subject: long\r\n\r\n" + (b"x" * 990 + b"\r\n") * 3,
    "large": HEADER + b"Subject: large\r\n\r\n" + (b"y" * 70 + b"\r\n") * 10_000,
}
SERVERS = {"postfix": postfix, "exim": exim}
HERE = {"postfix": POSTFIX.exists(), "exim": EXIM.exists()}


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with place() as folder:
        yield Authority(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    with place() as here:
        yield here


@pytest.fixture(params=SERVERS)
def peer(request: pytest.FixtureRequest, authority: Authority, folder: Path) -> Iterator[Peer]:
    name = request.param
    if not HERE[name]:
        pytest.skip(f"{name} is not here (tests/peers/install.sh)")
    if ROOT_ONLY:
        pytest.skip(f"{name} is started by root only")
    certificate = authority.issue(name, ("mx.b.example",))
    with SERVERS[name](folder, certificate.cert_file, certificate.key_file) as running:
        yield running


def test_delivered_over_tls_byte_for_byte(peer: Peer, authority: Authority) -> None:
    """One connection for all; what is in the mailbox is what was sent, below the server's own header."""

    async def scenario(client: Client) -> None:
        for content in MESSAGES.values():
            (reply,) = await client.send(content)
            assert (reply.ok, reply.tls, reply.code) == (True, "TLSv1.3", 250), reply

    run(lambda: Client(peer.port, Limits()), scenario)
    stored = peer.contents(len(MESSAGES))
    for content in MESSAGES.values():
        local = content.replace(b"\r\n", b"\n")
        assert [each.endswith(local) for each in stored].count(True) == 1


def test_verified(peer: Peer, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        replies = await client.send(MESSAGES["plain"], A, B, "ü@b.example", NOBODY)
        assert [reply.ok for reply in replies] == [True, True, True, False]
        assert {reply.tls for reply in replies} == {"TLSv1.3 verified"}
        assert (replies[3].permanent, replies[3].enhanced) == (True, "5.1.1")

    run(lambda: Client(peer.port, Limits(), ca_file=authority.ca_file, enforced=True), scenario)
    assert peer.contents(1)


def test_a_certificate_that_nobody_vouches_for_puts_the_mail_off(peer: Peer) -> None:
    async def scenario(client: Client) -> None:
        (reply,) = await client.send(MESSAGES["plain"])
        assert (reply.ok, reply.permanent, reply.enhanced) == (False, False, "4.7.5")
        assert "unable to get local issuer certificate" in reply.text

    run(lambda: Client(peer.port, Limits(), enforced=True), scenario)


def test_too_large(peer: Peer) -> None:
    async def scenario(client: Client) -> None:
        (reply,) = await client.send(b"Subject: x\r\n\r\n" + b"x\r\n" * 500_000)
        assert (reply.permanent, reply.code, reply.enhanced) == (True, 552, "5.3.4")

    run(lambda: Client(peer.port, Limits()), scenario)


@pytest.mark.skipif(not HERE["postfix"] or ROOT_ONLY, reason="postfix is not here (tests/clients/install.sh)")
def test_a_server_that_demands_tls(authority: Authority, folder: Path) -> None:
    certificate = authority.issue("demands", ("mx.b.example",))

    async def scenario(client: Client) -> None:
        (reply,) = await client.send(MESSAGES["plain"])
        assert (reply.ok, reply.tls) == (True, "TLSv1.3")

    with postfix(folder, certificate.cert_file, certificate.key_file, level="encrypt") as running:
        run(lambda: Client(running.port, Limits()), scenario)


# --- smtp-sink -------------------------------------------------------------------------------------

COMMANDS = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")
LATER, NEVER, TAKEN, NOT_TAKEN = "later", "never", "taken", "not taken"


def failures() -> dict[str, tuple[tuple[str, ...], str]]:
    """smtp-sink's options, and what becomes of a message."""
    found: dict[str, tuple[tuple[str, ...], str]] = {
        "plain": ((), TAKEN),
        "no ESMTP": (("-e",), TAKEN),
        "PIX": (("-P",), TAKEN),
        "no pipelining": (("-p",), TAKEN),
        "no enhanced codes": (("-E",), TAKEN),
        "slow DATA": (("-w", "3"), LATER),
        "slow EHLO": (("-W", "EHLO:3"), LATER),
        "slow RCPT": (("-W", "RCPT:3"), LATER),
        "slow dot": (("-W", ".:3"), LATER),
        "aborts at once after DATA": (("-A", "0"), NOT_TAKEN),  # 354 and 550: later, unless they come apart
        "disconnects at HELO, too": (("-q", "EHLO,HELO"), LATER),
        "rejects EHLO and HELO hard": (("-f", "EHLO,HELO"), NEVER),
        "rejects RSET": (("-f", "RSET"), TAKEN),
        "421 to QUIT": (("-Q", "QUIT"), TAKEN),
    }
    for command in COMMANDS:
        found[f"disconnects at {command}"] = ("-q", command), LATER
        found[f"421 at {command}"] = ("-Q", command), LATER
        found[f"rejects {command} soft"] = ("-r", command), LATER
        found[f"rejects {command} hard"] = ("-f", command), NEVER
    found["rejects EHLO hard"] = ("-f", "EHLO"), TAKEN  # HELO will do (RFC 5321 §3.2)
    return found


@pytest.mark.skipif(not SINK, reason="smtp-sink is not here (tests/clients/install.sh)")
@pytest.mark.parametrize(("options", "outcome"), failures().values(), ids=failures())
def test_smtp_sink(options: tuple[str, ...], outcome: str, tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        for _ in range(2):  # the second time on a connection that is kept, where there is one
            for reply in await client.send(MESSAGES["plain"], A, B):
                assert reply.ok == (outcome == TAKEN), reply
                assert outcome == NOT_TAKEN or reply.permanent == (outcome == NEVER), reply

    with smtp_sink(tmp_path, *options) as port:
        run(lambda: Client(port, SHORT), scenario)


@pytest.mark.skipif(not SINK, reason="smtp-sink is not here (tests/clients/install.sh)")
@pytest.mark.parametrize(("options", "outcome"), failures().values(), ids=failures())
def test_more_messages_than_connections_to_smtp_sink(options: tuple[str, ...], outcome: str, tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        for replies in await asyncio.gather(*(client.send(MESSAGES["plain"], A, B) for _ in range(6))):
            for reply in replies:
                assert reply.ok == (outcome == TAKEN), reply
                assert outcome == NOT_TAKEN or reply.permanent == (outcome == NEVER), reply

    with smtp_sink(tmp_path, *options) as port:
        run(lambda: Client(port, replace(SHORT, connections_per_site=1)), scenario)


@pytest.mark.skipif(not SINK, reason="smtp-sink is not here (tests/clients/install.sh)")
def test_smtp_sink_answers_the_next_message_before_a_slow_dot(tmp_path: Path) -> None:
    """It is noticed, and the answer taken for no other message's."""

    async def scenario(client: Client) -> None:
        answers = await asyncio.gather(*(client.send(MESSAGES["plain"], A) for _ in range(4)))
        (first,), (second,), *others = answers
        assert first.ok
        assert (second.ok, second.permanent) == (False, False)
        assert all(reply.ok for (reply,) in others)

    with smtp_sink(tmp_path, "-W", ".:1") as port:
        run(lambda: Client(port, Limits(least=0.0, connections_per_site=1)), scenario)


@pytest.mark.skipif(not SINK, reason="smtp-sink is not here (tests/clients/install.sh)")
@pytest.mark.parametrize(
    ("options", "content", "enhanced"),
    [
        (("-8",), MESSAGES["8-bit"], "5.6.3"),
        ((), MESSAGES["UTF-8 header"], "5.6.7"),
    ],
    ids=["8BITMIME", "SMTPUTF8"],
)
def test_smtp_sink_lacks(options: tuple[str, ...], content: bytes, enhanced: str, tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (reply,) = await client.send(content)
        assert (reply.permanent, reply.enhanced) == (True, enhanced)

    with smtp_sink(tmp_path, *options) as port:
        run(lambda: Client(port, SHORT), scenario)


@pytest.mark.skipif(not SINK, reason="smtp-sink is not here (tests/clients/install.sh)")
def test_smtp_sink_that_reads_late_gets_a_large_message(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (reply,) = await client.send(b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * 500_000)
        assert reply.ok

    with smtp_sink(tmp_path, "-H", "1", "-T", "4096") as port:
        run(lambda: Client(port, Limits()), scenario)


def test_what_installs_them_never_fails() -> None:
    assert subprocess.run(["bash", "-n", "tests/peers/install.sh"], cwd=Path(__file__).parents[2]).returncode == 0
