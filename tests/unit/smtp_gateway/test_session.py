"""What holds for any octets; the dialogs have the rest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_gateway import replies
from smtp_gateway.auth import Credentials
from smtp_gateway.commands import Verb
from smtp_gateway.data import Room
from smtp_gateway.events import Authenticate, Close, Message, Prove, StartTls
from smtp_gateway.limits import Limits
from smtp_gateway.session import SMALL_ENVELOPE, Session
from smtp_gateway.states import ANYWHERE, TRANSITIONS, State, Turn, out_of_order

COMMANDS = (
    b"EHLO a.example|HELO a|STARTTLS|AUTH PLAIN AGEAYg==|AUTH LOGIN|YQ==|*|MAIL FROM:<a@b.example>|MAIL FROM:<> SIZE=3|"
    b"RCPT TO:<a@b.example>|RCPT TO:<b>|DATA|RSET|NOOP|VRFY x|BDAT 3||.|..|Subject: x"
)
WORDS = [*COMMANDS.split(b"|"), b"\r", b"\n", b"\0", b"\xff", b"x" * 600]
LINES = st.lists(st.sampled_from(WORDS).map(lambda word: word + b"\r\n") | st.sampled_from(WORDS)).map(b"".join)
CHUNKS = st.lists(LINES | st.binary(max_size=40), max_size=20)


class Driver:
    """Does at once what a session asks for."""

    def __init__(self, tls: bool) -> None:
        self.provable = True
        self.session = Session("gw.example", Limits(size=2000, errors=50), tls=tls)
        self.out = b""
        self.messages: list[bytes] = []

    def feed(self, data: bytes) -> None:
        session = self.session
        self.out += session.receive(data)
        while not isinstance(session.event, Close | None):
            match session.event:
                case StartTls():
                    session.tls_started()
                case Authenticate(Credentials(user, _)):
                    assert user is not None
                    self.out += session.authenticated("a@b.example")
                case Prove(account, sender):
                    assert account == session.account
                    assert sender is None or sender.domain == "b.example"
                    proved, self.provable = self.provable, not self.provable
                    refused = replies.sender_held(("b.example has no token", "publish: it"), "more: there")
                    self.out += session.proved() if proved else session.not_proved(refused)
                case Message() as message:
                    assert message.account
                    assert message.recipients
                    self.messages.append(message.content)
                    self.out += session.answered(replies.queued("1"))
            self.out += session.receive(b"")


@settings(max_examples=300)
@given(st.booleans(), CHUNKS)
def test_any_octets_give_replies_or_a_clean_end(tls: bool, chunks: list[bytes]) -> None:
    driver = Driver(tls)
    for chunk in chunks:
        driver.feed(chunk)
        assert driver.session.backlog <= 13_000
    for line in driver.out.split(b"\r\n")[:-1]:
        assert line[:3].isdigit()
        assert len(line) <= 510
    assert driver.out == b"" or driver.out.endswith(b"\r\n")
    for content in driver.messages:
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        assert b"\0" not in content


@given(CHUNKS)
def test_how_octets_are_cut_makes_no_difference(chunks: list[bytes]) -> None:
    whole, cut = Driver(True), Driver(True)
    together = b"".join(chunks)
    whole.feed(together)
    for at in range(len(together)):
        cut.feed(together[at : at + 1])
    assert cut.out == whole.out
    assert cut.messages == whole.messages


@given(st.binary(max_size=200), st.integers(1, 50))
def test_content_arrives_as_it_was_sent(body: bytes, step: int) -> None:
    """Any content with proper line ends, stuffed as RFC 5321 §4.5.2 has it, comes out the same."""
    text = body.translate(None, b"\r\n\0").replace(b"a", b"\r\n").replace(b"b", b"\r\n.") + b"\r\n"
    stuffed = (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    driver = Driver(True)
    driver.feed(b"EHLO a.example\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
    for start in range(0, len(stuffed), step):
        driver.feed(stuffed[start : start + step])
    assert driver.messages == [text]


def test_the_table_is_whole() -> None:
    """Each command in each state that reads commands has a next state, changes nothing, or has an answer."""
    for state in set(State) - {
        State.HANDSHAKE,
        State.SASL,
        State.CHECKING,
        State.PROVING,
        State.DATA,
        State.SUBMITTING,
        State.CLOSED,
    }:
        for verb in set(Verb) - ANYWHERE - set(TRANSITIONS[state]):
            assert not out_of_order(state, verb).ok, (state, verb)


def test_every_state_is_reached_and_left() -> None:
    reached = {after for row in TRANSITIONS.values() for after in row.values()}
    assert set(State) - reached == {State.OPEN, State.CLOSED}
    assert {state for state, row in TRANSITIONS.items() if not row} == {State.CLOSED}
    assert {turn for row in TRANSITIONS.values() for turn in row if isinstance(turn, Turn)} == set(Turn)


def test_an_endless_line_is_not_kept() -> None:
    session = Session("gw.example", Limits())
    for _ in range(1000):
        assert session.receive(b"x" * 1000) == b""
        assert session.backlog <= 14_000
    assert session.receive(b"\r\nNOOP\r\n") == replies.LINE_TOO_LONG.wire + replies.OK.wire


def test_a_line_that_seems_to_end_in_lf_is_noticed() -> None:
    session = Session("gw.example", Limits())
    session.receive(b"NOOP\n")
    assert session.lacks_cr
    session.receive(b"\r\n")
    assert not session.lacks_cr


def test_closed_is_closed() -> None:
    session = Session("gw.example", Limits())
    assert session.receive(b"QUIT\r\nNOOP\r\n") == replies.BYE.wire
    assert session.receive(b"NOOP\r\n") == b""
    assert session.event == Close("quit")


@pytest.mark.parametrize("text", ["ü\r\n250 OK", "x" * 1000], ids=["control characters", "long"])
def test_a_reply_is_one_line(text: str) -> None:
    wire = replies.bad_content(text).wire
    assert wire.isascii()
    assert wire.count(b"\r") == wire.count(b"\n") == 1
    assert len(wire) <= 512


def test_an_empty_challenge_keeps_its_space() -> None:
    """continue-req = "334" SP [base64] CRLF (RFC 4954 §8)."""
    assert replies.challenge("").wire == b"334 \r\n"


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Authenticate(Credentials("jo", "secret")))


def transaction(room: Room) -> Session:
    session = Session("gw.example", Limits(), room=room, tls=True)
    session.receive(b"EHLO a.example\r\nAUTH PLAIN AGEAYg==\r\n")
    session.authenticated("a@b.example")
    session.receive(b"MAIL FROM:<a@b.example>\r\n")
    session.proved()
    return session


def recipients(session: Session, count: int) -> bytes:
    """The last reply; each takes 74 octets."""
    return [session.receive(b"RCPT TO:<%s%04d@b.example>\r\n" % (b"x" * 60, n)) for n in range(count)][-1]


def test_large_envelopes_share_the_room() -> None:
    room = Room(30_000)
    large, other, small = (transaction(room) for _ in range(3))
    assert recipients(large, 600) == replies.RECIPIENT_OK.wire
    assert 0 < room.free < 30_000
    assert recipients(other, 600) == replies.NO_ROOM.wire
    assert recipients(small, SMALL_ENVELOPE // 80) == replies.RECIPIENT_OK.wire
    assert large.receive(b"RSET\r\n") == other.receive(b"RSET\r\n") == replies.OK.wire
    assert room.free == 30_000


@pytest.mark.parametrize("how", ["quit", "gone", "again", "refused content", "answered"])
def test_the_room_of_an_envelope_is_given_back(how: str) -> None:
    room = Room(30_000)
    session = transaction(room)
    recipients(session, 400)
    assert room.free < 30_000
    match how:
        case "quit":
            session.receive(b"QUIT\r\n")
        case "gone":
            session.forget()
        case "again":
            session.receive(b"EHLO a.example\r\n")
        case "refused content":
            assert session.receive(b"DATA\r\na\nb\r\n.\r\n").endswith(b"LF that is not part of a CRLF\r\n")
        case "answered":
            session.receive(b"DATA\r\nFrom: a@b.example\r\n\r\n.\r\n")
            assert isinstance(session.event, Message)
            session.forget()  # the client has gone; the message is under way still
            assert room.free < 30_000
            session.answered(replies.NOT_STORED)
    assert room.free == 30_000
