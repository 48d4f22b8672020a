"""When a connection's time is over, and what is said then. Time is passed in, in seconds of any one clock.

Each phase has a total beside the time for which nothing comes, so that a client that says an octet now and then is
cut off, too (a slow drip costs it little, and us a connection).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Final, NamedTuple

from smtp_gateway import replies
from smtp_gateway.replies import Reply
from smtp_gateway.session import Session
from smtp_gateway.states import State


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. idle: nothing came (RFC 5321 §4.5.3.2.7 asks for 5 minutes). proxy: a balancer's PROXY header, at least
    3 for a segment sent again ("The PROXY protocol" §2). handshake: of TLS. login: from connecting
    to authenticated. line: a command, from its first octet on. envelope: from MAIL to DATA. data: a whole message.
    data_start, data_rate: it may take so long, and a second more for so many octets that have come; a phone on a bad
    line makes more. message: from the login or the last message that was taken to the next DATA. unread: the client
    doesn't read. lone_lf: a line that seems to end in LF alone goes on. linger: the client closes its side."""

    idle: float = 300.0
    proxy: float = 5.0
    handshake: float = 30.0
    login: float = 60.0
    line: float = 60.0
    envelope: float = 900.0
    data: float = 1800.0
    data_start: float = 180.0  # RFC 5321 §4.5.3.2.5 has 3 minutes for a block
    data_rate: float = 500.0
    message: float = 3600.0
    unread: float = 120.0
    lone_lf: float = 1.0
    linger: float = 2.0


class Due(NamedTuple):
    """when: on the clock. reply: what to say then. why: for the log."""

    when: float
    reply: Reply
    why: str


class _Phase(Enum):
    OTHER = auto()
    ENVELOPE = auto()
    DATA = auto()

    __hash__ = object.__hash__  # as states.State


_PHASES: Final = dict.fromkeys(State, _Phase.OTHER) | {
    State.PROVING: _Phase.ENVELOPE,
    State.MAIL: _Phase.ENVELOPE,
    State.RCPT: _Phase.ENVELOPE,
    State.DATA: _Phase.DATA,
}


class Deadlines:
    """One connection's. now: when it was made."""

    __slots__ = (
        "_begun",
        "_handshake",
        "_last",
        "_line",
        "_line_since",
        "_octets",
        "_phase",
        "_progress",
        "_since",
        "_started",
        "_times",
        "_unread",
    )

    def __init__(self, times: Timeouts, now: float) -> None:
        self._times = times
        self._started = self._last = self._progress = self._since = now
        self._phase = _Phase.OTHER
        self._begun = 0  # of session.begun, when the phase began
        self._octets = 0  # of session.octets, then
        self._line = -1  # of session.lines, when the line began that isn't whole
        self._line_since = now
        self._handshake = inf
        self._unread = inf

    def heard(self, now: float) -> None:
        """The client, or our own answer to it."""
        self._last = now

    def progressed(self, now: float) -> float:
        """A login, or a message that was taken: when the next one has to be begun."""
        self._progress = now
        return now + self._times.message

    def handshake(self, now: float) -> float:
        """TLS begins: when it has to be over. now: inf once it is."""
        self._handshake = now + self._times.handshake
        return self._handshake

    def unread(self, now: float) -> float:
        """More is written than the client reads: until when that may be so. now: inf once it reads."""
        self._unread = now + self._times.unread
        return self._unread

    def moved(self, session: Session) -> float:
        """After each step of `session`: when the deadlines are that it has set, inf if none. It may be long past
        what is set already, so that a timer need not be set anew at each step."""
        when = inf
        phase = _PHASES[session.state]
        if phase is not self._phase or session.begun != self._begun:
            self._phase = phase
            self._begun = session.begun
            self._since = self._last
            self._octets = session.octets
            if phase is not _Phase.OTHER:
                when = self._phase_end(session)
        if session.backlog:
            if self._line != session.lines:
                self._line = session.lines
                self._line_since = self._last
                when = min(when, self._last + self._times.line)
            if session.lacks_cr:
                when = min(when, self._last + self._times.lone_lf)
        return when

    def nearest(self, session: Session, now: float, *, busy: bool) -> Due:
        """busy: the client waits for us."""
        return min(self._all(session, now, busy), key=lambda due: due.when)

    def _all(self, session: Session, now: float, busy: bool) -> Iterator[Due]:
        times = self._times
        # our turn: we have other limits
        yield Due((now if busy else self._last) + times.idle, replies.IDLE, "idle")
        yield Due(self._handshake, replies.NO_LOGIN, "no handshake in time")  # it can't be said
        yield Due(self._unread, replies.NO_READER, "replies not read")
        if not session.logged_in:
            yield Due(self._started + times.login, replies.NO_LOGIN, "no login in time")
        if busy:
            return
        if session.backlog and self._line == session.lines:
            yield Due(self._line_since + times.line, replies.SLOW_LINE, "line took too long")
        if session.lacks_cr:
            yield Due(self._last + times.lone_lf, replies.LINE_HAS_NO_END, "line ends in LF")
        if self._phase is _Phase.DATA:
            yield Due(self._phase_end(session), replies.TOO_SLOW, "data took too long")
            return
        if self._phase is _Phase.ENVELOPE:
            yield Due(self._phase_end(session), replies.SLOW_ENVELOPE, "envelope took too long")
        if session.logged_in:
            yield Due(self._progress + times.message, replies.NO_MESSAGE, "no message in time")

    def _phase_end(self, session: Session) -> float:
        times = self._times
        if self._phase is _Phase.ENVELOPE:
            return self._since + times.envelope
        least = times.data_start + (session.octets - self._octets) / times.data_rate
        return self._since + min(times.data, least)
