"""What calls, and the lack of them, say of the services that a worker depends on."""

import asyncio

import pytest

from relay.errors import OutageError
from smtp_gateway.health import CERTIFICATE, QUEUE, Report
from smtp_gateway.log import Log
from smtp_gateway.vitals import AWAY, QUIET, Evidence, Vitals, WatchedQueue
from tests.fakes import FakeClock


class Now:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def evidence() -> tuple[Evidence, Now]:
    now = Now()
    return Evidence(QUEUE, now), now


def test_nothing_heard_is_not_away_but_quiet() -> None:
    heard, _ = evidence()
    assert (heard.away, heard.quiet) == (False, True)


def test_a_first_failure_is_enough_when_nothing_ever_worked() -> None:
    heard, now = evidence()
    assert heard.failed(now())
    assert (heard.away, heard.quiet) == (True, False)


def test_failures_alone_for_a_while_are_away_and_news_once() -> None:
    heard, now = evidence()
    heard.answered()
    now.time += 1
    assert heard.failed(now())
    assert not heard.away
    now.time += AWAY
    assert not heard.failed(now())
    assert heard.away
    heard.answered()
    assert not heard.away


def test_a_failure_that_others_have_overtaken_says_nothing() -> None:
    heard, now = evidence()
    began = now()
    now.time += 1
    heard.answered()
    assert not heard.failed(began)
    now.time += AWAY
    assert not heard.away


def test_it_is_quiet_again_after_a_while() -> None:
    heard, now = evidence()
    heard.answered()
    assert not heard.quiet
    now.time += QUIET
    assert heard.quiet


class Sends:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.sent: list[str] = []

    async def send(self, body: str, *, group: str, delay: float = 0.0) -> None:
        if self.error:
            raise self.error
        self.sent.append(body)


def test_what_becomes_of_messages_is_evidence() -> None:
    heard, now = evidence()
    queue = Sends()
    watched = WatchedQueue(queue, heard)
    asyncio.run(watched.send("one", group="a"))
    assert queue.sent == ["one"]
    assert not heard.quiet
    queue.error = OutageError("away", "gone")
    now.time += 1
    with pytest.raises(OutageError):
        asyncio.run(watched.send("two", group="a"))
    now.time += AWAY
    assert heard.away


class Service:
    """What a probe asks; `asked` is set when it does."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        if self.error:
            raise self.error


def vitals(service: Service, *, expired: bool = False) -> tuple[Vitals, Evidence, Now, list[str]]:
    heard, now = evidence()
    lines: list[str] = []
    log = Log(FakeClock(), lines.append)
    return Vitals(lambda _: None, lambda: 3, lambda: expired, {heard: service}, log), heard, now, lines


async def probed(made: Vitals) -> None:
    made.probe()
    await asyncio.gather(*made._probing.values())


def test_a_quiet_service_is_asked_and_a_busy_one_is_not() -> None:
    service = Service()
    made, _heard, now, lines = vitals(service)
    asyncio.run(probed(made))
    asyncio.run(probed(made))
    assert service.asked == 1
    assert made.report() == Report(connections=3)
    now.time += QUIET
    asyncio.run(probed(made))
    assert service.asked == 2
    assert lines == []


def test_a_service_that_fails_is_told_once_and_reported() -> None:
    made, _heard, now, lines = vitals(Service(OutageError("away", "gone")))
    for _ in range(3):
        asyncio.run(probed(made))
        now.time += QUIET
    assert made.report() == Report(3, (QUEUE,))
    assert len(lines) == 1
    assert '"event":"away"' in lines[0]


def test_our_bug_says_nothing_about_the_service() -> None:
    made, _heard, _, lines = vitals(Service(ZeroDivisionError()))
    asyncio.run(probed(made))
    assert made.report() == Report(connections=3)
    assert '"event":"bug"' in lines[0]


def test_an_expired_certificate_is_reported() -> None:
    made, *_ = vitals(Service(), expired=True)
    assert made.report() == Report(3, (CERTIFICATE,))
