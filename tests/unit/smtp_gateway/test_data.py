"""The content after DATA against a model that is slow and plain; golden sessions of it are under tests/dialogs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway import data
from smtp_gateway.data import Body, Flaw, Room, has_bare_line_end

CONTENT = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"\r\n.", b"\0"]), max_size=12).map(b"".join)
ENDED = CONTENT.map(lambda content: content + b"\r\n.\r\n")


def plainly(sent: bytes) -> tuple[bytes | Flaw, bytes]:
    """What a message is whose end is in `sent`, and what follows it (RFC 5321 §4.1.1.4, §4.5.2)."""
    stuffed, _, rest = (b"\r\n" + sent).partition(b"\r\n.\r\n")
    content = (stuffed + b"\r\n")[2:]
    if b"\0" in content:
        return Flaw.NUL, rest
    if re.search(rb"\r(?!\n)|(?<!\r)\n", content):
        return Flaw.BARE_LINE_END, rest
    return re.sub(rb"(\A|\r\n)\.", rb"\1", content), rest


@given(ENDED, st.binary(max_size=8), st.integers(1, 9))
def test_content_is_what_stands_before_its_end(sent: bytes, more: bytes, step: int) -> None:
    expected, rest = plainly(sent + more)
    body, buffer, found = Body(1000, Room(0)), bytearray(), None
    pieces = [(sent + more)[start : start + step] for start in range(0, len(sent + more), step)]
    while found is None:
        buffer += pieces.pop(0)
        found = body.take(buffer)
    assert found == expected
    assert bytes(buffer) + b"".join(pieces) == rest


@given(CONTENT)
def test_a_bare_line_end_is_one_that_no_crlf_has(content: bytes) -> None:
    assert has_bare_line_end(content) == (re.search(rb"\r(?!\n)|(?<!\r)\n", content) is not None)


@pytest.mark.parametrize(
    ("content", "bare"),
    [
        pytest.param(b"ab\r\ncd\r\n", False, id="crlf-over-the-border"),
        pytest.param(b"ab\rcd", True, id="cr-at-the-border"),
        pytest.param(b"abc\ncd", True, id="lf-after-the-border"),
        pytest.param(b"ab\r", True, id="cr-at-the-end"),
    ],
)
def test_a_line_end_may_stand_where_two_pieces_meet(
    content: bytes, bare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_PIECE", 3)
    assert has_bare_line_end(content) is bare
