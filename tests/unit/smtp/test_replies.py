import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.replies import LARGEST_REPLY, LONGEST_LINE, MOST_LINES, ProtocolError, Reply, ReplyReader

REPLIES = [
    pytest.param(b"250 ok\r\n", [Reply(250, (b"ok",))], id="one line"),
    pytest.param(b"250\r\n", [Reply(250, (b"",))], id="code alone"),
    pytest.param(b"250 ok\n", [Reply(250, (b"ok",))], id="bare LF"),
    pytest.param(b"250-a\r\n250 b\r\n", [Reply(250, (b"a", b"b"))], id="two lines"),
    pytest.param(b"250-a\r\n250\r\n", [Reply(250, (b"a", b""))], id="last line without text"),
    pytest.param(b"250-a\r\n550 b\r\n", [Reply(550, (b"a", b"b"))], id="codes differ: the last counts"),
    pytest.param(b"250 a\r\n550 b\r\n", [Reply(250, (b"a",)), Reply(550, (b"b",))], id="pipelined"),
]


@pytest.mark.parametrize(("data", "expected"), REPLIES)
def test_whole(data: bytes, expected: list[Reply]) -> None:
    reader = ReplyReader()
    assert reader.feed(data) == expected
    assert reader.clean


@pytest.mark.parametrize(("data", "expected"), REPLIES)
def test_byte_by_byte(data: bytes, expected: list[Reply]) -> None:
    reader = ReplyReader()
    assert [reply for byte in data for reply in reader.feed(bytes([byte]))] == expected


@pytest.mark.parametrize(("data", "expected"), REPLIES)
def test_with_trailing_data(data: bytes, expected: list[Reply]) -> None:
    reader = ReplyReader()
    assert reader.feed(data + b"25") == expected
    assert not reader.clean
    assert reader.feed(b"0 late\r\n") == [Reply(250, (b"late",))]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"2500 ok\r\n",
        b"199 x\r\n",
        b"099 x\r\n",
        b"600 x\r\n",
        b"999-x\r\n",
        b"250_ok\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\xff\xfe\r\n",
        b"2" * (LONGEST_LINE + 1),
        b"250 " + b"x" * LONGEST_LINE + b"\r\n",
        b"250-x\r\n" * (MOST_LINES + 1),
        (b"250-" + b"x" * 2000 + b"\r\n") * (LARGEST_REPLY // 2000 + 1),
        b"250 ok\r\n" * 300,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_nonsense_and_too_much(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        ReplyReader().feed(data)


def test_an_endless_reply_is_bounded_however_it_comes() -> None:
    reader = ReplyReader()
    for _ in range(MOST_LINES):
        assert reader.feed(b"250-more\r\n") == []
    with pytest.raises(ProtocolError):
        reader.feed(b"250-more\r\n")


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_are_replies_or_a_protocol_error(chunks: list[bytes]) -> None:
    reader = ReplyReader()
    try:
        for chunk in chunks:
            for reply in reader.feed(chunk):
                assert 200 <= reply.code <= 599
                assert len(reply.text.encode()) <= 1000
                assert reply.text.isprintable() or not reply.text.isascii()
                assert reply.enhanced[0] == str(reply.code)[0]
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("code", "lines", "enhanced", "text"),
    [
        (250, (b"2.1.5 ok",), "2.1.5", "ok"),
        (550, (b"5.1.1 no such", b"5.1.1 mailbox"), "5.1.1", "no such mailbox"),
        (550, (b"no such mailbox",), "5.0.0", "no such mailbox"),
        (450, (b"5.1.1 class of another code",), "4.0.0", "class of another code"),
        (421, (b"4.007.010 leading zeros",), "4.7.10", "leading zeros"),
        (550, (b"5.1.1",), "5.1.1", ""),
        (550, (b"5.1.1.1 no status",), "5.0.0", "5.1.1.1 no status"),
        (550, (b"tab\tbell\x07\x1b[31mred\xff",), "5.0.0", "tab bell [31mred\ufffd"),
        (550, ("5.7.1 grüße".encode(),), "5.7.1", "grüße"),
        (550, (b"x" * 5000,), "5.0.0", "x" * 1000),
        (550, ("\N{PARTY POPPER}".encode() * 400,), "5.0.0", "\N{PARTY POPPER}" * 250),
    ],
)
def test_status_and_words(code: int, lines: tuple[bytes, ...], enhanced: str, text: str) -> None:
    assert (Reply(code, lines).enhanced, Reply(code, lines).text) == (enhanced, text)
