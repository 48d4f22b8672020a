"""The parent process: starts the workers, replaces those that die, passes signals on, and speaks for all of them.

    parent --fork--> worker 0  accepts on its own sockets, SO_REUSEPORT
       |     ...     worker N  reports once a second on a socket pair; its end is the parent's
       +-- health port

It has no event loop of asyncio's and no threads, so that it can fork at any time; what it does never waits. Every
listening socket belongs to one worker, and the parent keeps it open when that one dies: who is in its queue of
connections is taken by the next.
"""

import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from smtp_gateway.health import Health, Heard, Report, judge
from smtp_gateway.log import Log

LONGEST: Final = 28.0  # seconds from SIGTERM to the end of the last worker: ECS kills after 30 (AWS: StopTask)
STUCK: Final = 60.0  # seconds without a report after which a worker is replaced
YOUNG: Final = 10.0  # seconds; a worker that dies earlier is replaced later each time
TICK: Final = 1.0  # seconds
LATEST: Final = 5.0  # seconds, at most; the connections of its share wait meanwhile
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

Work = Callable[[int, Sequence[socket.socket], socket.socket], None]
"""In a worker's process, with its number, its listening sockets and its end of the pair; signals are blocked. Returns
when it is done."""


@dataclass(slots=True)
class _Worker:
    number: int
    sockets: tuple[socket.socket, ...]
    pid: int = 0  # 0: not running
    channel: socket.socket | None = None
    unread: bytes = b""
    report: Report | None = None  # the last one
    started: float = 0.0
    heard: float = 0.0
    killed: bool = False
    deaths: int = 0  # in a row, young
    start_at: float = 0.0

    def said(self, now: float) -> Heard:
        if not self.pid:
            return Heard(None, 0.0, self.deaths)
        return Heard(self.report, now - self.heard, self.deaths if now - self.started < YOUNG else 0)


@dataclass(slots=True)
class Workers:
    """sockets: of each worker, bound and listening. ready: called once, when all of them report. Use `run`."""

    sockets: Sequence[tuple[socket.socket, ...]]
    work: Work
    log: Log
    ready: Callable[[], None]
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    ticks: list[Callable[[], None]] = field(default_factory=list)  # called about once a second
    _all: list[_Worker] = field(default_factory=list)
    _began: bool = False  # all reported
    _draining: float = 0.0  # since
    _failed: bool = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT, and all workers have ended: 0 if they did by themselves, 1 if they crashed or
        had to be killed."""
        self._all = [_Worker(number, sockets) for number, sockets in enumerate(self.sockets)]
        with self._signals():
            while not self._draining or any(worker.pid for worker in self._all):
                self._tick(time.monotonic())
                for key, _ in self.selector.select(self._wait(time.monotonic())):
                    key.data()
        self.log.stopped(cut_off=sum(worker.report.cut_off for worker in self._all if worker.report))
        return 1 if self._failed else 0

    @property
    def health(self) -> Health:
        now = time.monotonic()
        heard = [each.said(now) for each in self._all]
        return judge(heard, draining=bool(self._draining))

    # --- time ----------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        for tick in self.ticks:
            tick()
        for worker in self._all:
            if worker.pid and not worker.killed:
                if self._draining and now - self._draining >= LONGEST:
                    self._failed = True
                    self._kill(worker, "did not end")
                elif now - worker.heard >= STUCK:
                    self._kill(worker, "did not report")
            elif not (worker.pid or self._draining) and now >= worker.start_at:
                self._start(worker, now)

    def _kill(self, worker: _Worker, why: str) -> None:
        worker.killed = True
        self.log.worker_killed(worker=worker.number, why=why)
        os.kill(worker.pid, signal.SIGKILL)

    def _wait(self, now: float) -> float:
        """Seconds until `_tick` may have something to do: a second, or less if a worker is to be started."""
        starts = [] if self._draining else [each.start_at - now for each in self._all if not each.pid]
        return max(0.0, min([TICK] + starts))

    # --- workers -------------------------------------------------------------------------------

    def _start(self, worker: _Worker, now: float) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._put_off(worker, now, error)
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the worker has handlers of its own
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            ours.close()
            theirs.close()
            self._put_off(worker, now, error)
            return
        if not pid:
            ours.close()
            self._become(worker, theirs)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.setblocking(False)
        worker.pid, worker.channel, worker.unread, worker.report, worker.killed = pid, ours, b"", None, False
        worker.started = worker.heard = now
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._read(worker))

    def _put_off(self, worker: _Worker, now: float, error: OSError) -> None:
        """There is no memory, no process or no descriptor for it now."""
        worker.start_at = now + LATEST
        self.log.worker_not_started(worker=worker.number, error=error)

    def _become(self, worker: _Worker, channel: socket.socket) -> None:
        """The rest of the new process's life. What the parent has is let go: an end of a pair kept here would hide the
        parent's death from the others, a listening socket would take connections for nobody."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
            for key in list(self.selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
            self.selector.close()
            for other in self._all:
                if other is not worker:
                    for sock in other.sockets:
                        sock.close()
            self.work(worker.number, worker.sockets, channel)
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run in this process
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _read(self, worker: _Worker) -> bool:
        """Whether there may be more."""
        if not worker.channel:
            return False
        try:
            data = worker.channel.recv(65_536)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.selector.unregister(worker.channel)
            worker.channel.close()
            worker.channel = None
            return False
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        if lines:
            worker.report = Report.decode(lines[-1])
            worker.heard = time.monotonic()
            if not self._began and all(each.report for each in self._all):
                self._began = True
                self.ready()
        return True

    def _reap(self) -> None:
        for worker in self._all:
            if not worker.pid:
                continue
            ended, status = os.waitpid(worker.pid, os.WNOHANG)
            if not ended:
                continue
            while self._read(worker):  # its last report
                pass
            now = time.monotonic()
            worker.pid = 0
            if self._draining:
                if status and not worker.killed:  # it should have finished what was under way
                    self._failed = True
                    self.log.worker_ended(worker=worker.number, after=now - worker.started)
                continue
            worker.deaths = worker.deaths + 1 if now - worker.started < YOUNG else 0
            worker.start_at = now + (min(LATEST, 0.1 * 2**worker.deaths) if worker.deaths else 0.0)
            self.log.worker_ended(worker=worker.number, after=now - worker.started)

    # --- signals -------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """They arrive as octets on a socket, one each."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        signal.set_wakeup_fd(theirs.fileno())
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._signalled(ours))
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            self.selector.unregister(ours)
            ours.close()
            theirs.close()

    def _signalled(self, ours: socket.socket) -> None:
        numbers = set(ours.recv(4096))
        if not self._draining and numbers & {signal.SIGTERM, signal.SIGINT}:
            self._drain()
        if signal.SIGHUP in numbers:
            self._pass_on(signal.SIGHUP)
        if signal.SIGCHLD in numbers:
            self._reap()

    def _drain(self) -> None:
        self._draining = time.monotonic()
        self.log.stopping(connections=self.health.connections)
        for worker in self._all:
            for sock in worker.sockets:
                sock.close()  # the workers have them still, and take who is waiting
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: signal.Signals) -> None:
        for worker in self._all:
            if worker.pid:
                os.kill(worker.pid, number)
