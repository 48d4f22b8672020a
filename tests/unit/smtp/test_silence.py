"""Port 25 that AWS hasn't opened: said once nothing has come back from several destinations, and nothing ever did."""

import asyncio
from typing import Any

import pytest

from relay.failure import FailureClass, Stage, judge
from relay.smtp import transport as transport_module
from relay.smtp.client import BrokenError, SilentError, TlsFailedError
from relay.smtp.protocol import Phase, RefusedError
from relay.smtp.replies import Reply
from relay.smtp.silence import SITES, WAY_OUT, Silence
from tests.unit.smtp.scripted import Script
from tests.unit.smtp.world import run, world

DOMAINS = [f"d{n}.example" for n in range(SITES + 1)]


def test_several_destinations_and_never_an_answer() -> None:
    silence = Silence(25)
    assert [bool(silence.silent(each)) for each in ("a", "a", "b", "b", "c", "a")] == [False] * 4 + [True, True]
    silence.heard()
    assert not any(silence.silent(each) for each in DOMAINS)


def test_another_port_is_not_blocked() -> None:
    silence = Silence(2525)
    assert not any(silence.silent(each) for each in DOMAINS)


def sent(monkeypatch: pytest.MonkeyPatch, failures: list[Exception]) -> list[str]:
    """Replies' texts of a message to each of DOMAINS, whose connections fail like this."""
    texts: list[str] = []

    async def connect(*where: Any, **how: Any) -> None:
        raise failures[len(texts)]

    async def scenario() -> None:
        async with world(Script()) as here:
            here.transport._silence = Silence(25)
            for n, domain in enumerate(DOMAINS):
                here.zone.mx_records[domain] = ((10, f"mx.{domain}"),)
                here.zone.a_records[f"mx.{domain}"] = (f"127.0.1.{n}",)
                (reply,) = await here.send(domain=domain)
                assert not reply.ok
                texts.append(reply.text)
                judged = judge(reply.code, reply.enhanced, reply.text, reply.stage, reply.remote)
                if isinstance(failures[0], SilentError):
                    assert (reply.enhanced, reply.stage) == ("4.4.1", Stage.CONNECT)
                    assert judged.failure is FailureClass.INFRASTRUCTURE

    monkeypatch.setattr(transport_module, "connect", connect)
    run(scenario)
    return texts


def silent() -> SilentError:
    return SilentError(Phase.CONNECT, "no connection in time")


def test_the_outcome_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sent(monkeypatch, [silent() for _ in DOMAINS])
    assert [WAY_OUT in text for text in texts] == [False] * (SITES - 1) + [True, True]
    assert texts[0] == "no connection in time (connect)"
    assert f"none to port 25 of {SITES} destinations has worked so far" in texts[SITES - 1]


@pytest.mark.parametrize(
    "answer",
    [
        BrokenError(Phase.CONNECT, "Connection refused"),
        BrokenError(Phase.GREETING, "no answer in time"),
        RefusedError(Phase.GREETING, Reply(554, (b"no",))),
        TlsFailedError("handshake"),
    ],
    ids=["refused", "no greeting", "554", "TLS"],
)
def test_who_answers_at_all_shows_that_the_port_is_open(monkeypatch: pytest.MonkeyPatch, answer: Exception) -> None:
    texts = sent(monkeypatch, [answer, *[silent() for _ in DOMAINS[1:]]])
    assert not any(WAY_OUT in text for text in texts)


def test_a_time_out_is_silence() -> None:
    """What `connect` makes of a connection that is not answered."""

    async def scenario() -> None:
        async with world(Script()) as here:
            port, limits, now = here.sinks[0].port, here.transport._limits, asyncio.get_running_loop().time()
            with pytest.raises(SilentError):
                await transport_module.connect("mx", "127.0.0.1", port, name="us", limits=limits, tls=None, until=now)

    run(scenario)
