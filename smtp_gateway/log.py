"""What the gateway logs: one function per event, one JSON line each (docs/log.md). Fields are listed here and nowhere
else, so no password, AUTH line, header or content can get among them. What is logged is counted, too."""

import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePath

from relay.errors import RelayError
from relay.json_text import dump
from relay.ports import Clock
from relay.settings import SettingsError
from smtp_gateway.metrics import Count, Metrics
from smtp_gateway.replies import Reply

Write = Callable[[str], object]


def to_stdout(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


class Log:
    """metrics: what the events count; for what is counted or timed without an event, call it."""

    def __init__(self, clock: Clock, write: Write = to_stdout) -> None:
        self._clock = clock
        self._write = write
        self.metrics = Metrics()

    def listening(self, *, port: int, tls_port: int, health_port: int | None) -> None:
        self._line("listening", port=port, tls_port=tls_port, health_port=health_port)

    def stopping(self, *, connections: int) -> None:
        self._line("stopping", connections=connections)

    def stopped(self, *, cut_off: int) -> None:
        """cut_off: connections still in a transaction at the deadline."""
        self._line("stopped", cut_off=cut_off)

    def worker_ended(self, *, worker: int, after: float) -> None:
        """By itself, which it should not; another takes its place. after: seconds."""
        self._line("worker_ended", worker=worker, after=round(after, 1))

    def worker_not_started(self, *, worker: int, error: OSError) -> None:
        """It is tried again."""
        self._line("worker_not_started", worker=worker, error=error.strerror)

    def worker_killed(self, *, worker: int, why: str) -> None:
        self._line("worker_killed", worker=worker, why=why)

    def away(self, *, what: str, error: BaseException) -> None:
        """what: as the health endpoint has it, which says so once this goes on."""
        self._line("away", what=what, **_cause(error))

    def certificate_loaded(self, *, kind: str, expires: float) -> None:
        """kind: of its key, "ECDSA" or "RSA". expires: epoch seconds."""
        self._line("certificate_loaded", kind=kind, expires=_date(expires))

    def certificate_refused(self, *, error: str) -> None:
        """New handshakes go on with the one before. error: which setting, which file, and why."""
        self._line("certificate_refused", error=error)

    def certificate_not_fetched(self, *, file: str, error: BaseException) -> None:
        """By fetch-certificates; `file` stays as it is."""
        self._line("certificate_not_fetched", file=file, **_cause(error))

    def certificate_expires(self, *, days: float) -> None:
        """Soon; days < 0: it has expired."""
        self._line("certificate_expires", days=round(days, 1))

    def tls_failed(self, *, peer: str, error: BaseException) -> None:
        self.metrics.count(Count.FAILED_HANDSHAKES)
        self._line("tls_failed", peer=peer, error=type(error).__name__, reason=getattr(error, "reason", None))

    def proxy_refused(self, *, peer: str, why: str) -> None:
        """peer: the balancer, which must begin with a PROXY header."""
        self._line("proxy_refused", peer=peer, why=why)

    def auth_ok(self, *, account: str, peer: str) -> None:
        self.metrics.count(Count.LOGINS)
        self._line("auth_ok", account=account, peer=peer)

    def auth_failed(self, *, peer: str) -> None:
        """Without the name given: people type passwords there."""
        self.metrics.count(Count.FAILED_LOGINS)
        self._line("auth_failed", peer=peer)

    def auth_unavailable(self, *, peer: str, error: BaseException) -> None:
        self._line("auth_unavailable", peer=peer, **_cause(error))

    def accounts_unread(self, *, accounts: int, error: BaseException) -> None:
        """So many that have sessions open; these go on. error: one of those met."""
        self._line("accounts_unread", accounts=accounts, **_cause(error))

    def usage_away(self, *, account: str, error: BaseException) -> None:
        """Its messages are let through by this process's own count, or what it has not sent isn't given back yet."""
        self._line("usage_away", account=account, **_cause(error))

    def submitted(self, *, id: str, account: str, peer: str, size: int, recipients: int) -> None:
        """size: octets, with our trace header."""
        self.metrics.count(Count.MESSAGES)
        self.metrics.count(Count.RECIPIENTS, recipients)
        self.metrics.count(Count.OCTETS, size)
        self._line("submitted", id=id, account=account, peer=peer, size=size, recipients=recipients)

    def no_ruling(self, *, account: str, domain: str, error: BaseException) -> None:
        """What is sent for the domain is accepted without: the queue decides."""
        self.metrics.count(Count.NO_RULING)
        self._line("no_ruling", account=account, domain=domain, **_cause(error))

    def late_ruling(self, *, account: str, domain: str, seconds: float) -> None:
        """Nobody waited for it any more."""
        self._line("late_ruling", account=account, domain=domain, seconds=round(seconds, 3))

    def refused(self, *, account: str, peer: str, reply: Reply) -> None:
        """The first line of the reply, and how many lines it has."""
        self.metrics.refused(reply)
        words = {"code": reply.code, "enhanced": reply.enhanced, "text": reply.text, "lines": 1 + len(reply.more)}
        self._line("refused", account=account, peer=peer, **words)

    def not_stored(self, *, id: str, account: str, error: BaseException) -> None:
        self.metrics.count(Count.NOT_STORED)
        self._line("not_stored", id=id, account=account, **_cause(error))

    def cut_off(self, *, account: str, peer: str, why: str) -> None:
        """We ended the connection: errors, time-outs."""
        self.metrics.count(Count.CUT_OFF)
        self._line("cut_off", account=account, peer=peer, why=why)

    def bug(self, *, error: BaseException) -> None:
        """Where, but not the exception's text: it may quote what it choked on."""
        self.metrics.count(Count.BUGS)
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        where = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        self._line("bug", error=type(error).__name__, where=where)

    def measured(self, *, open_sessions: int) -> None:
        """What was counted and timed since the last time."""
        self._line("metrics", **self.metrics.take(self._clock.now(), open_sessions))

    def _line(self, event: str, **fields: object) -> None:
        time = round(self._clock.now(), 3)
        line = dump({"event": event, "time": time, **fields}) + "\n"
        try:
            self._write(line)
        except OSError:  # a full disk, a reader that has gone: mail goes on without
            self.metrics.count(Count.LOST_LINES)


def _date(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")


def _cause(error: BaseException) -> dict[str, str]:
    if isinstance(error, RelayError):
        return {"error": error.safe, "detail": error.detail}
    if isinstance(error, SettingsError):  # whose text is made for people
        return {"error": str(error), "detail": ""}
    return {"error": type(error).__name__}
