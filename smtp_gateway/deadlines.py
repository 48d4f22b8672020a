"""When a connection's time is over, and what is said then. Time is passed in, in seconds of any one clock."""

from dataclasses import dataclass
from typing import NamedTuple

from smtp_gateway import replies
from smtp_gateway.replies import Reply
from smtp_gateway.session import Session
from smtp_gateway.states import State


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. idle: nothing came (RFC 5321 §4.5.3.2.7 asks for 5 minutes). login: from connecting to
    authenticated. data: a whole message. lone_lf: a line that seems to end in LF alone goes on. linger: the
    client closes its side. patience with its reading is `idle`, too."""

    idle: float = 300.0
    login: float = 60.0
    data: float = 1800.0
    lone_lf: float = 1.0
    linger: float = 2.0


class Due(NamedTuple):
    """when: on the clock. reply: what to say then. why: for the log."""

    when: float
    reply: Reply
    why: str


class Deadlines:
    """One connection's. now: when it was made."""

    __slots__ = ("_data_since", "_last", "_started", "_times")

    def __init__(self, times: Timeouts, now: float) -> None:
        self._times = times
        self._started = self._last = now
        self._data_since = 0.0

    def heard(self, now: float) -> None:
        """The client, or our own answer to it."""
        self._last = now

    def answered(self) -> None:
        """The message: the next DATA begins anew."""
        self._data_since = 0.0

    def moved(self, session: Session) -> bool:
        """After each step of `session`: whether `nearest` may have come nearer."""
        if session.state is not State.DATA:
            self._data_since = 0.0
            return session.backlog > 0 and session.lacks_cr
        if self._data_since:
            return False
        self._data_since = self._last
        return True

    def nearest(self, session: Session, now: float, *, busy: bool) -> Due:
        """busy: the client waits for us."""
        times = self._times
        # our turn: we have other limits
        found = [Due((now if busy else self._last) + times.idle, replies.IDLE, "idle")]
        if not busy and session.lacks_cr:
            found.append(Due(self._last + times.lone_lf, replies.LINE_HAS_NO_END, "line ends in LF"))
        if not session.logged_in:
            found.append(Due(self._started + times.login, replies.NO_LOGIN, "no login in time"))
        if self._data_since:
            found.append(Due(self._data_since + times.data, replies.TOO_SLOW, "data took too long"))
        return min(found, key=lambda due: due.when)
