"""Whether this worker can take mail: by what becomes of real calls, and by calls of its own when there are none."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

from relay.errors import TemporaryError
from relay.ports import Queue
from smtp_gateway import health
from smtp_gateway.health import Report
from smtp_gateway.log import Log

AWAY: Final = 10.0  # seconds of failures alone after which a service counts as away: a retry settles less
QUIET: Final = 5.0  # seconds without a call after which one is made
PATIENCE: Final = 4.0  # seconds, with such a call
BEAT: Final = 1.0  # seconds between reports

Now = Callable[[], float]
Probe = Callable[[], Awaitable[object]]


class Evidence:
    """What calls to one service say of it. now: seconds of a monotonic clock."""

    def __init__(self, reason: str, now: Now = time.monotonic) -> None:
        self.reason = reason
        self.now = now
        self._answered = -inf
        self._failing: float | None = None  # since when nothing but failures
        self._heard = -inf

    def answered(self) -> None:
        self._answered = self._heard = self.now()
        self._failing = None

    def failed(self, began: float) -> bool:
        """A call that began then has; whether that is news. One that others have overtaken says nothing."""
        self._heard = self.now()
        if began < self._answered or self._failing is not None:
            return False
        self._failing = began
        return True

    @property
    def quiet(self) -> bool:
        return self.now() - self._heard >= QUIET

    @property
    def away(self) -> bool:
        if self._failing is None:
            return False
        return self._answered == -inf or self.now() - self._failing >= AWAY


class WatchedQueue:
    """ports.Queue"""

    def __init__(self, queue: Queue, evidence: Evidence) -> None:
        self._queue = queue
        self._evidence = evidence

    async def send(self, body: str, *, group: str, delay: float = 0.0) -> None:
        began = self._evidence.now()
        try:
            await self._queue.send(body, group=group, delay=delay)
        except (TemporaryError, asyncio.CancelledError):  # cancelled: whoever waited gave up
            self._evidence.failed(began)
            raise
        self._evidence.answered()


class Vitals:
    """send: gives a report to the parent. connections: how many there are. expired: whether a certificate has.
    probes: a call for each service, made when nobody else makes one."""

    def __init__(
        self,
        send: Callable[[Report], object],
        connections: Callable[[], int],
        expired: Callable[[], bool],
        probes: dict[Evidence, Probe],
        log: Log,
    ) -> None:
        self._send = send
        self._connections = connections
        self._expired = expired
        self._probes = probes
        self._log = log
        self._probing: dict[Evidence, asyncio.Task[None]] = {}

    def report(self) -> Report:
        reasons = [evidence.reason for evidence in self._probes if evidence.away]
        if self._expired():
            reasons.append(health.CERTIFICATE)
        return Report(self._connections(), tuple(reasons))

    async def beat(self) -> None:
        """For ever."""
        while True:
            self.probe()
            self._send(self.report())
            await asyncio.sleep(BEAT)

    def probe(self) -> None:
        """Begin to ask of what nothing has been heard."""
        for evidence, probe in self._probes.items():
            if evidence.quiet and evidence not in self._probing:
                self._probing[evidence] = asyncio.create_task(self._ask(evidence, probe))

    async def _ask(self, evidence: Evidence, probe: Probe) -> None:
        began = evidence.now()
        try:
            async with asyncio.timeout(PATIENCE):
                await probe()
            evidence.answered()
        except (TemporaryError, TimeoutError) as error:
            if evidence.failed(began):
                self._log.away(what=evidence.reason, error=error)
        except Exception as error:  # noqa: BLE001 - our bug says nothing about the service
            self._log.bug(error=error)
        finally:
            del self._probing[evidence]
