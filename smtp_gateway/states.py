"""The states of a session and every change between them, in one table (RFC 5321 §4.1.4, 3207 §4, 4954 §4)."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from smtp_gateway import replies
from smtp_gateway.commands import Verb
from smtp_gateway.replies import Reply


class State(Enum):
    OPEN = auto()  # in plaintext, not greeted
    PLAIN = auto()  # in plaintext, greeted
    HANDSHAKE = auto()
    SEALED = auto()  # over TLS, not greeted
    SECURE = auto()  # over TLS, greeted
    SASL = auto()  # the client's next line answers a challenge
    CHECKING = auto()
    READY = auto()  # authenticated, no transaction
    PROVING = auto()
    MAIL = auto()
    RCPT = auto()  # at least one recipient
    DATA = auto()
    SUBMITTING = auto()
    CLOSED = auto()

    __hash__ = object.__hash__  # members are compared by identity, and looked up a dozen times a message


class Turn(Enum):
    """What moves a session on besides a command."""

    TLS_STARTED = auto()
    SASL_ENDED = auto()
    CREDENTIALS = auto()
    ACCEPTED = auto()
    DENIED = auto()
    PROVED = auto()
    NOT_PROVED = auto()
    CONTENT = auto()
    BAD_CONTENT = auto()
    ANSWERED = auto()

    __hash__ = object.__hash__


_Row = Mapping[Verb | Turn, State]
_GREET_PLAIN: Final[_Row] = {Verb.EHLO: State.PLAIN, Verb.HELO: State.PLAIN}
_GREET_SECURE: Final[_Row] = {Verb.EHLO: State.SECURE, Verb.HELO: State.SECURE}
_RESET: Final[_Row] = {Verb.EHLO: State.READY, Verb.HELO: State.READY, Verb.RSET: State.READY}  # RFC 5321 §4.1.4

# Every change of state. NOOP, VRFY, and RSET where it isn't listed, change none; QUIT closes from any.
TRANSITIONS: Final[Mapping[State, _Row]] = {
    State.OPEN: {**_GREET_PLAIN},
    State.PLAIN: {**_GREET_PLAIN, Verb.STARTTLS: State.HANDSHAKE},
    State.HANDSHAKE: {Turn.TLS_STARTED: State.SEALED},
    State.SEALED: {**_GREET_SECURE},
    State.SECURE: {**_GREET_SECURE, Verb.AUTH: State.SASL},
    State.SASL: {Turn.CREDENTIALS: State.CHECKING, Turn.SASL_ENDED: State.SECURE},
    State.CHECKING: {Turn.ACCEPTED: State.READY, Turn.DENIED: State.SECURE},
    State.READY: {**_RESET, Verb.MAIL: State.PROVING},
    State.PROVING: {Turn.PROVED: State.MAIL, Turn.NOT_PROVED: State.READY},
    State.MAIL: {**_RESET, Verb.RCPT: State.RCPT},
    State.RCPT: {**_RESET, Verb.RCPT: State.RCPT, Verb.DATA: State.DATA},
    State.DATA: {Turn.CONTENT: State.SUBMITTING, Turn.BAD_CONTENT: State.READY},
    State.SUBMITTING: {Turn.ANSWERED: State.READY},
    State.CLOSED: {},
}
ANYWHERE: Final = frozenset({Verb.NOOP, Verb.VRFY, Verb.RSET, Verb.QUIT, Verb.BDAT})
UNGREETED: Final = frozenset({State.OPEN, State.SEALED})
_PLAINTEXT: Final = frozenset({State.OPEN, State.PLAIN})
_ENVELOPE: Final = (Verb.MAIL, Verb.RCPT, Verb.DATA)
TRANSACTION: Final = frozenset({State.PROVING, State.MAIL, State.RCPT, State.DATA, State.SUBMITTING})


def out_of_order(state: State, verb: Verb) -> Reply:
    """Why `verb` has no transition from `state`."""
    if verb is Verb.STARTTLS:
        return replies.HELLO_FIRST if state is State.OPEN else replies.ALREADY_TLS
    if state in _PLAINTEXT:
        return replies.AUTH_NEEDS_TLS if verb is Verb.AUTH else replies.TLS_FIRST
    if verb is Verb.AUTH:
        return replies.HELLO_FIRST if state is State.SEALED else replies.ALREADY_AUTHENTICATED
    return _NOT_NOW[state, verb]


_NOT_NOW: Final[Mapping[tuple[State, Verb], Reply]] = {
    **{(state, verb): replies.AUTH_FIRST for state in (State.SEALED, State.SECURE) for verb in _ENVELOPE},
    (State.READY, Verb.RCPT): replies.MAIL_FIRST,
    (State.READY, Verb.DATA): replies.MAIL_FIRST,
    (State.MAIL, Verb.MAIL): replies.IN_TRANSACTION,
    (State.MAIL, Verb.DATA): replies.NO_RECIPIENTS,
    (State.RCPT, Verb.MAIL): replies.IN_TRANSACTION,
}
