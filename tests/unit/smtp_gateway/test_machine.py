"""Commands in any order, cut anywhere, against a model of what RFC 5321 §4.1.4, 3207 §4 and 4954 §4 allow.

The model is the table ANSWERS and a few lines for each command; it shares nothing with smtp_gateway.states. Replies
are compared whole by whole, so each command line has exactly one; messages by envelope and content.
"""

import base64
import re
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smtp_gateway import replies
from smtp_gateway.events import Authenticate, Close, Message, Prove, StartTls
from smtp_gateway.limits import Limits
from smtp_gateway.session import Session

USER, PASSWORD = "jo@example.com", "pass-of-jo"
SECRETS = (
    PASSWORD,
    base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
    base64.b64encode(PASSWORD.encode()).decode(),
)
SIZE = 500
REPLY = re.compile(rb"(?:([0-9]{3})-[ -~]*\r\n)*([2-5][0-9]{2}) [ -~]*\r\n")

# What a command out of order is answered, by where the session is; None: it is in order.
ANSWERS: dict[str, dict[str, int | None]] = {
    "plain": {"STARTTLS": 503, "AUTH": 538, "MAIL": 530, "RCPT": 530, "DATA": 530},
    "plain, greeted": {"STARTTLS": None, "AUTH": 538, "MAIL": 530, "RCPT": 530, "DATA": 530},
    "tls": {"STARTTLS": 503, "AUTH": 503, "MAIL": 530, "RCPT": 530, "DATA": 530},
    "tls, greeted": {"STARTTLS": 503, "AUTH": None, "MAIL": 530, "RCPT": 530, "DATA": 530},
    "ready": {"STARTTLS": 503, "AUTH": 503, "MAIL": None, "RCPT": 503, "DATA": 503},
    "mail": {"STARTTLS": 503, "AUTH": 503, "MAIL": 503, "RCPT": None, "DATA": 554},
    "rcpt": {"STARTTLS": 503, "AUTH": 503, "MAIL": 503, "RCPT": None, "DATA": None},
}
GREETED = {"plain": "plain, greeted", "tls": "tls, greeted", "mail": "ready", "rcpt": "ready"}
RESET = {"mail": "ready", "rcpt": "ready"}

PIECES = [b"a", b"b ", "ü".encode(), b".", b"\r\n", b"\r\n.", b"\r\n..", b"\n.\r\n", b"\r\n.\n", b"\r", b"\n", b"\0"]
TEXT = st.lists(st.sampled_from(PIECES[:7]) | st.sampled_from(PIECES), max_size=12).map(b"".join)
AHEAD = st.sampled_from([b"", b"NOOP\r\n", b"EHLO evil.example\r\nAUTH PLAIN AA==\r\n", b"MAIL FRO"])
LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.encode)
SENDERS = {"": 250, "jo@example.com": 250, "jo@sub.example.com": 250, "jo@no.example": 550, "jo": 553, "jo@[::1]": 553}
RECIPIENTS = {"a@b.example": 250, "c@d.example": 250, '"e f"@b.example': 250, "g": 553, "h@i.example:25": 553, "": 553}
BREAKS = [(b"*", 501), (b"a b", 501), (b"MAIL FROM:<jo@example.com>", 501), (b"====", 501)]
BREAKS += [(b"\0", 500), (b"x\ny", 500), (b"A" * 12_300, 500)]
MECHANISMS = ["PLAIN", "LOGIN"]


def encoded(text: bytes) -> bytes:
    return base64.b64encode(text) or b"="


class Sessions(RuleBasedStateMachine):
    @initialize(tls=st.booleans(), skip=st.sampled_from([0, 0, *range(6)]), ahead=AHEAD)
    def begin(self, tls: bool, skip: int, ahead: bytes) -> None:
        """skip: of the usual way to a message, so that many examples get far."""
        self.session = Session("gw.example", Limits(SIZE, 2, *[10**6] * 4), tls=tls)
        self.where = "tls" if tls else "plain"
        self.pending = b""
        self.wanted: list[int] = []
        self.out = b""
        self.sender = ""
        self.recipients: list[str] = []
        self.messages: list[tuple[str, tuple[str, ...], bytes]] = []
        self.taken: list[tuple[str, tuple[str, ...], bytes]] = []

        usual = (
            lambda: None if tls else (self.hello(b"EHLO", True), self.starttls(ahead)),
            lambda: self.hello(b"EHLO", True),
            lambda: self.auth(PASSWORD, True, "PLAIN"),
            lambda: self.mail("jo@example.com", b"", (b"", 0)),
            lambda: self.rcpt("a@b.example", b""),
        )
        for step in usual[:skip]:
            step()

    # --- the world around the session ---

    def deliver(self, data: bytes) -> None:
        session = self.session
        self.out += session.receive(data)
        while not isinstance(session.event, Close | None):
            match session.event:
                case StartTls():
                    session.tls_started()
                case Authenticate(credentials):
                    assert PASSWORD not in repr(session.event)
                    good = (credentials.user, credentials.password) == (USER, PASSWORD)
                    answer = session.authenticated(USER) if good else session.authentication_failed(replies.WRONG_LOGIN)
                    self.out += answer
                case Prove(account, sender):
                    assert account == USER
                    no = replies.sender_refused(("no token", "publish: it"), "run: that")
                    refused = sender is not None and sender.domain == "no.example"
                    self.out += session.not_proved(no) if refused else session.proved()
                case Message() as message:
                    assert message.account == USER
                    self.taken.append((message.sender, message.recipients, message.content))
                    self.out += session.answered(replies.queued("1"))
            self.out += session.receive(b"")

    def say(self, line: bytes, *codes: int) -> None:
        """codes: the replies that the model expects."""
        self.pending += line
        if self.where != "closed":
            self.wanted += codes

    def command(self, verb: str, line: bytes, answer: Callable[[], int]) -> None:
        """answer: to a command in order; it moves the model on."""
        known = ANSWERS[self.where][verb] if self.where in ANSWERS else 0
        self.say(line + b"\r\n", answer() if known is None else known)

    def speaks(self) -> bool:
        return self.where in ANSWERS or self.where == "closed"

    # --- commands ---

    @precondition(speaks)
    @rule(verb=st.sampled_from([b"EHLO", b"ehlo", b"HELO"]), good=st.booleans())
    def hello(self, verb: bytes, good: bool) -> None:
        self.say(verb + (b" app.example\r\n" if good else b" (x)\r\n"), 250 if good else 501)
        if good:
            self.where = GREETED.get(self.where, self.where)

    @precondition(speaks)
    @rule(ahead=AHEAD)
    def starttls(self, ahead: bytes) -> None:
        """ahead: sent in plaintext in the same segment; it is never heard."""
        self.flush(0)
        if ANSWERS.get(self.where, {}).get("STARTTLS", 0) is None:
            self.say(b"STARTTLS\r\n" + ahead, 220)
            self.where = "tls"
            self.flush(0)
        else:
            self.command("STARTTLS", b"STARTTLS", lambda: 0)

    @precondition(speaks)
    @rule(password=st.sampled_from([PASSWORD, "wrong"]), initial=st.booleans(), name=st.sampled_from(MECHANISMS))
    def auth(self, password: str, initial: bool, name: str) -> None:
        first = f"\0{USER}\0{password}".encode() if name == "PLAIN" else USER.encode()
        rest = [] if name == "PLAIN" else [password.encode()]
        words = f"AUTH {name}".encode() + (b" " + encoded(first) if initial else b"")
        responses = rest if initial else [first, *rest]

        def answer() -> int:
            self.responses = responses
            self.good = password == PASSWORD
            if responses:
                self.where = "sasl"
                return 334
            return self.log_in()

        self.command("AUTH", words, answer)

    def log_in(self) -> int:
        self.where = "ready" if self.good else "tls, greeted"
        return 235 if self.good else 535

    @precondition(lambda self: self.where == "sasl")
    @rule()
    def respond(self) -> None:
        response, *self.responses = self.responses
        line = encoded(response) + b"\r\n"
        if self.responses:
            self.say(line, 334)
        else:
            self.pending += line
            self.wanted.append(self.log_in())

    @precondition(lambda self: self.where == "sasl")
    @rule(line=st.sampled_from(BREAKS))
    def break_off(self, line: tuple[bytes, int]) -> None:
        self.say(line[0] + b"\r\n", line[1])
        self.where = "tls, greeted"

    @precondition(speaks)
    @rule(
        sender=st.sampled_from(list(SENDERS)),
        parameters=st.sampled_from([b"", b" SIZE=0", b" BODY=8BITMIME SIZE=500", b" RET=FULL ENVID=x", b" AUTH=<>"]),
        wrong=st.sampled_from([(b"", 0)] * 5 + [(b" SIZE=-1", 501), (b" SIZE=501", 552), (b" X=y", 555), (b" =", 501)]),
    )
    def mail(self, sender: str, parameters: bytes, wrong: tuple[bytes, int]) -> None:
        def answer() -> int:
            code = SENDERS[sender]
            if code == 250 and wrong[1]:
                code = wrong[1]
            elif code == 550 and wrong[1]:
                code = wrong[1]  # its domain is looked at last
            elif code == 553 and wrong[1] in (501, 555):
                code = wrong[1]
            if code == 250:
                self.where, self.sender, self.recipients = "mail", sender, []
            return code

        if wrong[0].split(b"=")[0] in parameters:
            wrong = (b"", 0)
        self.command("MAIL", f"MAIL FROM:<{sender}>".encode() + parameters + wrong[0], answer)

    @precondition(speaks)
    @rule(recipient=st.sampled_from(list(RECIPIENTS)), parameters=st.sampled_from([b"", b" NOTIFY=NEVER", b" X=y"]))
    def rcpt(self, recipient: str, parameters: bytes) -> None:
        def answer() -> int:
            code = 555 if parameters == b" X=y" else RECIPIENTS[recipient]
            if code == 250 and recipient not in self.recipients:
                if len(self.recipients) == 2:
                    return 452
                self.recipients.append(recipient)
            if code == 250:
                self.where = "rcpt"
            return code

        self.command("RCPT", f"RCPT TO:<{recipient}>".encode() + parameters, answer)

    @precondition(speaks)
    @rule()
    def data(self) -> None:
        def answer() -> int:
            self.where = "data"
            return 354

        self.command("DATA", b"DATA", answer)

    @precondition(lambda self: self.where == "data")
    @rule(text=TEXT, many=st.sampled_from([1, 1, 1, 40]))
    def content(self, text: bytes, many: int) -> None:
        """Stuffed as RFC 5321 §4.5.2 has it; what has a NUL or a bare CR or LF, or is too large, is refused."""
        content = text * many + (b"" if (text * many).endswith(b"\r\n") or not text else b"\r\n")
        stuffed = re.sub(rb"(?m)^\.", b"..", content.replace(b"\r\n", b"\n")) if _strict(content) else content
        if _strict(content):
            stuffed = stuffed.replace(b"\n", b"\r\n")
        elif b"\r\n.\r\n" in b"\r\n" + content:
            content = stuffed = content.replace(b".", b"")
        self.where = "ready"
        if not _strict(content):
            self.say(stuffed + b".\r\n", 552 if len(content) > SIZE * 4 // 3 + 3 else 554)
        elif len(content) > SIZE:
            self.say(stuffed + b".\r\n", 552)
        else:
            self.say(stuffed + b".\r\n", 250)
            self.messages.append((self.sender, tuple(self.recipients), content))

    @precondition(speaks)
    @rule(line=st.sampled_from([b"NOOP", b"noop x", b"RSET", b"VRFY jo", b"RSET x", b"DATA x", b"EXPN x", b"HELP"]))
    def other(self, line: bytes) -> None:
        if line == b"DATA x":
            known = ANSWERS.get(self.where, {}).get("DATA", 0)
            self.say(line + b"\r\n", known or 501)
            return
        codes = {b"VRFY jo": 252, b"RSET x": 501, b"EXPN x": 502, b"HELP": 502}
        self.say(line + b"\r\n", codes.get(line, 250))
        if line == b"RSET":
            self.where = RESET.get(self.where, self.where)

    @precondition(speaks)
    @rule(line=LINE, bad=st.sampled_from([b"", b"\0", b"\r", b"\n", b"\nNOOP", b"\xff", b"x" * 600, b"x" * 13_000]))
    def garbage(self, line: bytes, bad: bytes) -> None:
        self.say(b"X" + line + bad + b"\r\n", 500)

    @precondition(speaks)
    @rule(
        line=st.sampled_from([b"NOOP x", b"RSET", b"RCPT TO:<a@b.example>"]), bad=st.sampled_from([b"\0", b"\r", b"\n"])
    )
    def spoiled(self, line: bytes, bad: bytes) -> None:
        self.say(line + bad + b"\r\n", 500)

    @precondition(speaks)
    @rule(line=st.sampled_from([b"GET", b"POSTS / HTTP/1.1", b"GET / HTTP/1.1", b"POST / HTTP/1.1"]))
    def http(self, line: bytes) -> None:
        closes = self.where in ("plain", "tls") and line[-1:] == b"1" and line[:5] != b"POSTS"
        self.say(line + b"\r\n", 521 if closes else 500)
        if closes:
            self.where = "closed"

    @precondition(speaks)
    @rule(line=st.sampled_from([b"QUIT", b"BDAT 3 LAST", *[b"QUIT x"] * 8]))
    def leave(self, line: bytes) -> None:
        self.say(line + b"\r\n", *{b"QUIT": (221,), b"QUIT x": (501,)}.get(line, (502, 421)))
        if line != b"QUIT x":
            self.where = "closed"

    @precondition(lambda self: self.where in ("ready", "mail"))
    @rule(text=TEXT, recipient=st.sampled_from(["a@b.example", "c@d.example"]))
    def transaction(self, text: bytes, recipient: str) -> None:
        if self.where == "ready":
            self.mail("jo@example.com", b"", (b"", 0))
        self.rcpt(recipient, b"")
        self.data()
        self.content(text, 1)

    # --- what must hold ---

    @rule(step=st.sampled_from([0, 0, 1, 2, 7, 100]))
    def flush(self, step: int) -> None:
        """What was said since goes out, `step` octets at a time (0: all at once)."""
        data, self.pending = self.pending, b""
        for start in range(0, len(data), step or len(data) or 1):
            self.deliver(data[start : start + (step or len(data))])
        self.compare()

    def compare(self) -> None:
        heard, at = [], 0
        while at < len(self.out):
            reply = REPLY.match(self.out, at)
            assert reply, self.out[at:]
            assert all(len(line) + 2 <= 512 for line in reply[0].split(b"\r\n"))
            heard.append(int(reply[2]))
            at = reply.end()
        assert heard == self.wanted
        assert self.taken == self.messages
        assert isinstance(self.session.event, Close) == (self.where == "closed")
        self.out, self.wanted = b"", []

    @invariant()
    def no_secret_is_said(self) -> None:
        assert not any(secret.encode() in self.out for secret in SECRETS)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        assert self.session.backlog <= 12_289

    def teardown(self) -> None:
        self.flush(0)


def _strict(content: bytes) -> bool:
    return content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n") and b"\0" not in content


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=250, stateful_step_count=40)
