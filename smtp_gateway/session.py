"""One SMTP session, sans-IO: octets in, replies and events out (RFC 5321, 3207, 4954, 2920, 1870, 6152, 6531).

`receive` returns the replies to write. While `event` is set the session waits for the caller to act on it and to
call the method named there, then `receive` again, for what was kept meanwhile. So replies are in order, and no
command that was sent after a message, or a sender to be proved, runs before the reply to that is out.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from relay.address import Address
from smtp_gateway import auth, commands, replies
from smtp_gateway.auth import Challenge, Credentials
from smtp_gateway.commands import Mail, Verb
from smtp_gateway.data import Body, Flaw, Room, Share
from smtp_gateway.events import Authenticate, Close, Event, Message, Prove, StartTls
from smtp_gateway.limits import Limits, Tally
from smtp_gateway.replies import Refused, Reply
from smtp_gateway.states import ANYWHERE, TRANSACTION, TRANSITIONS, UNGREETED, State, Turn, out_of_order

LARGEST_ENVELOPE: Final = 400_000  # octets: in JSON it is up to half as long again, beside the content inline
SMALL_ENVELOPE: Final = 16_384  # octets that need no room


class Session:
    """host_name: ours. room: for the messages of all sessions. tls: it began with TLS (RFC 8314 §3.3)."""

    def __init__(self, host_name: str, limits: Limits, *, room: Room | None = None, tls: bool = False) -> None:
        self.event: Event | None = None
        self.account = ""
        self.refusals: list[Reply] = []  # of mail, for the log; the caller empties it
        self.lines = 0  # heard, of commands and SASL responses
        self.begun = 0  # messages
        self.octets = 0  # heard
        self._host_name = host_name
        self._limits = limits
        self._state = State.SEALED if tls else State.OPEN
        self._buffer = bytearray()
        self._scanned = 0  # of the buffer: no CRLF begins before it
        self._skipping = False  # the rest of a line that is too long
        self._helo = ""
        self._tally = Tally(limits)
        self._last_line = limits.lines  # unless there is progress
        self._exchange: auth.Exchange = auth.Plain()
        self._room = room or Room(4 * limits.size)
        self._body: Body | None = None  # in State.DATA
        self._mail = Mail(None)
        self._recipients: dict[str, tuple[str, str]] = {}
        self._envelope = 0  # octets of the recipients and what was asked for them
        self._envelope_share = Share(self._room)

    # What the caller may look at.

    @property
    def state(self) -> State:
        return self._state

    @property
    def in_transaction(self) -> bool:
        return self._state in TRANSACTION

    @property
    def logged_in(self) -> bool:
        return self.account != ""

    @property
    def backlog(self) -> int:
        """Octets kept that have not been looked at; they only pile up while `event` is set."""
        return len(self._buffer)

    @property
    def lacks_cr(self) -> bool:
        """An unfinished line has an LF in it: the client seems to think that it has said something."""
        return self._state not in (State.DATA, State.CLOSED) and not self.event and b"\n" in self._buffer

    # What the caller does.

    def greeting(self) -> bytes:
        return replies.greeting(self._host_name).wire

    def receive(self, data: bytes) -> bytes:
        """Octets from the client -> the replies to write now. Look at `event` afterwards."""
        if self._state is not State.CLOSED:
            self._buffer += data
            self.octets += len(data)
        return self._run()

    def tls_started(self) -> None:
        """RFC 3207 §4.2: what was said, or sent ahead, in plaintext is forgotten."""
        self._buffer.clear()
        self._scanned = 0
        self._helo = ""
        self._resume(Turn.TLS_STARTED)

    def authenticated(self, account: str, *, recipients: int = 0, size: int = 0) -> bytes:
        """account: the user name in lower case. recipients, size: its limits, where they are below everybody's."""
        self.account = account
        limits = self._limits
        own = replace(limits, recipients=recipients or limits.recipients, size=min(size or limits.size, limits.size))
        self._limits = own if own != limits else limits
        self._last_line = self.lines + self._limits.idle_lines
        self._resume(Turn.ACCEPTED)
        return replies.AUTHENTICATED.wire

    def authentication_failed(self, reply: Reply) -> bytes:
        """reply: WRONG_LOGIN, which counts, or another."""
        self._resume(Turn.DENIED)
        return self._refuse(reply)

    def proved(self) -> bytes:
        """The sender may go on; also if nobody can tell now: the queue decides."""
        self._resume(Turn.PROVED)
        return replies.SENDER_OK.wire

    def not_proved(self, reply: Reply) -> bytes:
        self._resume(Turn.NOT_PROVED)
        return self._refuse(reply)

    def answered(self, reply: Reply) -> bytes:
        """reply: to the message."""
        if reply.ok:
            self._last_line = self.lines + self._limits.idle_lines
        self._resume(Turn.ANSWERED)
        self._forget_transaction()
        return reply.wire

    def close(self, reply: Reply, why: str, *, blame: bool = False) -> bytes:
        """Ends the session from any state, with `reply`. blame: as of events.Close."""
        self._state = State.CLOSED
        self.forget()
        self._buffer.clear()
        self.event = Close(why, blame)
        return reply.wire

    def forget(self) -> None:
        """The client has gone: what it had sent of a message takes no room any more."""
        if not isinstance(self.event, Message):  # that one is under way, until `answered`
            self._forget_transaction()

    # Octets -> lines and content.

    def _run(self) -> bytes:
        out: list[bytes] = []
        while self._buffer and self.event is None:
            if self._state is State.DATA:
                reply = self._content()
            elif self._state in UNGREETED and not self._skipping and commands.FOREIGN.match(self._buffer):
                # at once: the line may be long, or never end
                reply = self.close(replies.NOT_SMTP, "not SMTP", blame=True)
            else:
                line = self._line()
                if line is None:
                    break
                self.lines += 1
                reply = self._answer(line) if self.lines <= self._last_line else self._enough()
            if reply:
                out.append(reply)
        return b"".join(out)

    def _line(self) -> bytes | None:
        """The next line without its CRLF; None if it isn't whole. Only CRLF ends a line (RFC 5321 §2.3.8)."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", self._scanned)
        if end < 0:
            if len(buffer) > commands.AUTH_LIMIT:
                self._skipping = True
                del buffer[:-1]  # it may be the CR
            self._scanned = max(0, len(buffer) - 1)
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        self._scanned = 0
        return line

    def _enough(self) -> bytes:
        return self.close(replies.TOO_MANY_COMMANDS, "commands", blame=True)

    def _answer(self, line: bytes) -> bytes:
        try:
            if self._skipping or len(line) + 2 > commands.AUTH_LIMIT:
                self._skipping = False
                raise Refused(replies.AUTH_LINE_TOO_LONG if self._state is State.SASL else replies.LINE_TOO_LONG)
            if b"\n" in line or b"\r" in line or b"\0" in line:
                raise Refused(replies.BAD_LINE)
            return self._sasl(line) if self._state is State.SASL else self._command(line)
        except Refused as refused:
            if self._state is State.SASL:
                self._go(Turn.SASL_ENDED)
            return self._refuse(refused.reply)

    def _command(self, line: bytes) -> bytes:
        verb, argument = commands.split(line)
        after = TRANSITIONS[self._state].get(verb)
        if after is None and verb not in ANYWHERE:
            raise Refused(out_of_order(self._state, verb))
        handle = _HANDLERS[verb]
        before, self._state = self._state, after or self._state
        try:
            return handle(self, argument)
        except Refused:
            self._state = before
            raise

    def _refuse(self, reply: Reply) -> bytes:
        if self.account:
            self.refusals.append(reply)
        wire = reply.wire
        if ended := self._tally.refused(reply):
            wire += self.close(*ended, blame=ended[0] is replies.TOO_MANY_ERRORS)  # logins are counted elsewhere
        return wire

    def _go(self, turn: Turn) -> None:
        self._state = TRANSITIONS[self._state][turn]

    def _resume(self, turn: Turn) -> None:
        self._go(turn)
        self.event = None

    # Commands: each returns its reply, or raises Refused and nothing has changed.

    def _ehlo(self, argument: bytes) -> bytes:
        self._hello(argument)
        extensions = ["PIPELINING", f"SIZE {self._limits.size}", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]
        if self._state is State.PLAIN:
            extensions.append("STARTTLS")
        elif self._state is State.SECURE:  # RFC 4954 §4: not in plaintext, not twice
            extensions.append(f"AUTH {' '.join(auth.MECHANISMS)}")
        return replies.several(250, (self._host_name, *extensions))

    def _helo_(self, argument: bytes) -> bytes:
        self._hello(argument)
        return replies.several(250, (self._host_name,))

    def _hello(self, argument: bytes) -> None:
        self._helo = commands.parse_hello(argument)
        self._forget_transaction()

    def _starttls(self, argument: bytes) -> bytes:
        commands.no_argument(argument)
        self.event = StartTls()
        return replies.START_TLS.wire

    def _auth(self, argument: bytes) -> bytes:
        command = commands.parse_auth(argument)
        self._exchange = auth.exchange(command.mechanism)
        return self._sasl(command.initial)

    def _sasl(self, response: bytes | None) -> bytes:
        match self._exchange.step(response):
            case Challenge(text):
                return replies.challenge(text).wire
            case Credentials() as credentials:
                self._go(Turn.CREDENTIALS)
                self.event = Authenticate(credentials)
        return b""

    def _mail_(self, argument: bytes) -> bytes:
        mail = commands.parse_mail(argument)
        if mail.size > self._limits.size:
            raise Refused(replies.too_big(self._limits.size))
        if self.begun >= self._limits.messages or self.octets >= self._limits.octets:
            return self.close(replies.LONG_SESSION, "long session")
        self.begun += 1
        self._forget_transaction()
        self._mail = mail
        self.event = Prove(self.account, mail.sender)
        return b""

    def _rcpt(self, argument: bytes) -> bytes:
        rcpt = commands.parse_rcpt(argument, smtputf8=self._mail.smtputf8)
        recipient = str(rcpt.recipient)
        if recipient not in self._recipients:  # else the first counts, with what was asked then
            asked = rcpt.notify + rcpt.orcpt
            size = self._envelope + len(recipient.encode("ascii", "backslashreplace")) * (2 if asked else 1)
            size += len(asked)
            if len(self._recipients) >= self._limits.recipients or size > LARGEST_ENVELOPE:
                raise Refused(replies.TOO_MANY_RECIPIENTS)
            if not self._envelope_share.grow(size - SMALL_ENVELOPE):
                raise Refused(replies.NO_ROOM)
            self._envelope = size
            self._recipients[recipient] = (rcpt.notify, rcpt.orcpt)
            self._last_line += 1
        return replies.RECIPIENT_OK.wire

    def _data(self, argument: bytes) -> bytes:
        commands.no_argument(argument)
        self._body = Body(self._limits.size, self._room)
        return replies.GO_AHEAD.wire

    def _rset(self, argument: bytes) -> bytes:
        commands.no_argument(argument)
        self._forget_transaction()
        return replies.OK.wire

    def _noop(self, _argument: bytes) -> bytes:
        return replies.OK.wire

    def _vrfy(self, argument: bytes) -> bytes:
        commands.some_argument(argument)
        return replies.CANNOT_VERIFY.wire

    def _quit(self, argument: bytes) -> bytes:
        commands.no_argument(argument)
        return self.close(replies.BYE, "quit")

    def _bdat(self, _argument: bytes) -> bytes:
        # Octets that are no lines follow; which of them are commands again is for the client to say, so we end.
        return replies.NOT_OFFERED.wire + self.close(replies.TOO_MANY_ERRORS, "bdat", blame=True)

    # Content.

    def _content(self) -> bytes:
        assert self._body
        match self._body.take(self._buffer):
            case bytes(content):
                self._go(Turn.CONTENT)
                self.event = self._message(content)
            case Flaw() as flaw:
                self._go(Turn.BAD_CONTENT)
                self._forget_transaction()
                return self._refuse(self._why(flaw))
        return b""

    def _why(self, flaw: Flaw) -> Reply:
        match flaw:
            case Flaw.TOO_BIG:
                return replies.too_big(self._limits.size)
            case Flaw.NO_ROOM:
                return replies.NO_ROOM
        return replies.bad_content(flaw.value)

    def _message(self, content: bytes) -> Message:
        return Message(
            account=self.account,
            helo=self._helo,
            sender=_shown(self._mail.sender),
            recipients=tuple(self._recipients),
            content=content,
            eightbit=self._mail.eightbit,
            smtputf8=self._mail.smtputf8,
            ret=self._mail.ret,
            envid=self._mail.envid,
            dsn={recipient: asked for recipient, asked in self._recipients.items() if any(asked)},
        )

    def _forget_transaction(self) -> None:
        self._recipients = {}
        self._envelope = 0
        self._envelope_share.leave()
        if self._body:
            self._body.leave()
            self._body = None


def _shown(sender: Address | None) -> str:
    return "" if sender is None else str(sender)


_HANDLERS: Final[Mapping[Verb, Callable[[Session, bytes], bytes]]] = {
    Verb.EHLO: Session._ehlo,
    Verb.HELO: Session._helo_,
    Verb.STARTTLS: Session._starttls,
    Verb.AUTH: Session._auth,
    Verb.MAIL: Session._mail_,
    Verb.RCPT: Session._rcpt,
    Verb.DATA: Session._data,
    Verb.RSET: Session._rset,
    Verb.NOOP: Session._noop,
    Verb.VRFY: Session._vrfy,
    Verb.QUIT: Session._quit,
    Verb.BDAT: Session._bdat,
}
