"""relay.header: every header is read the way all receivers read it, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.header import MAX_ADDRESSES, MAX_FIELDS, MAX_HEADER, HeaderError, read_header


def senders(*lines: bytes) -> tuple[str, ...]:
    return read_header(b"\r\n".join((*lines, b"", b"body\r\n"))).senders()


READ = {
    "bare address": (b"From: a@example.com", ("example.com",)),
    "name and address": (b"From: Jo <a@example.com>", ("example.com",)),
    "case of names and domains": (b"FROM: a@EXAMPLE.com", ("example.com",)),
    "no space after the colon": (b"From:a@example.com", ("example.com",)),
    "space before the colon": (b"From : a@example.com", ("example.com",)),
    "tab before the colon": (b"From\t: a@example.com", ("example.com",)),
    "folded": (b"From: Jo\r\n\t<a@example.com>\r\n (office)", ("example.com",)),
    "dot in the name": (b"From: John Q. Public <a@example.com>", ("example.com",)),
    "quoted name with an address": (b'From: "b@bank.example" <a@example.com>', ("example.com",)),
    "quoted name with escapes": (b'From: "a \\" <x@y.z> \\\\" <a@example.com>', ("example.com",)),
    "address in a comment": (b"From: a@example.com (b@bank.example)", ("example.com",)),
    "nested comments": (b"From: (a (b (c) \\) ) ) a@example.com", ("example.com",)),
    "encoded name": (b"From: =?utf-8?q?J=C3=B6?= <a@example.com>", ("example.com",)),
    "raw UTF-8 name": ("From: Jörg <a@example.com>".encode(), ("example.com",)),
    "several, no repeats": (b"From: a@one.example, B <b@two.example>, c@one.example", ("one.example", "two.example")),
    "empty list elements": (b"From: , a@example.com,, b@example.com,", ("example.com",)),
    "group": (b"From: Us: a@one.example, B <b@two.example>;", ("one.example", "two.example")),
    "group and more": (b"From: Us: a@one.example;, b@two.example", ("one.example", "two.example")),
    "quoted local part": (b'From: "a b c"@example.com', ("example.com",)),
    "odd dots in the local part": (b"From: a..b.@example.com", ("example.com",)),
    "U-labels": ("From: a@Bücher.example".encode(), ("xn--bcher-kva.example",)),
    "U- and A-labels are one": (
        "From: a@bücher.example, b@xn--bcher-kva.example".encode(),
        ("xn--bcher-kva.example",),
    ),
    "space within < >": (b"From: < a@example.com\r\n >", ("example.com",)),
}


@pytest.mark.parametrize(("line", "domains"), READ.values(), ids=READ.keys())
def test_reads(line: bytes, domains: tuple[str, ...]) -> None:
    assert senders(b"Subject: x", line) == domains


def test_sender_and_resent_from_count_too() -> None:
    lines = (
        b"Resent-From: r@resent.example",
        b"Resent-From: r@again.example",
        b"Sender: s@sender.example",
        b"From: f@from.example",
        b"Reply-To: x@elsewhere.example",
        b"Resent-Sender: x@elsewhere.example",
    )
    assert senders(*lines) == ("from.example", "sender.example", "resent.example", "again.example")


REFUSED = {
    "no From": (b"Subject: x", "no From"),
    "two From": (b"From: a@example.com\r\nFrom: a@example.com", "2 From"),
    "two From, one disguised": (b"From: a@example.com\r\nfrom : b@example.com", "2 From"),
    "two Sender": (b"From: a@example.com\r\nSender: a@b.example\r\nSender: a@b.example", "2 Sender"),
    "Sender with two": (b"From: a@example.com\r\nSender: a@b.example, c@b.example", "more than one"),
    "empty": (b"From:", "no address"),
    "only a comment": (b"From: (a@example.com)", "no address"),
    "empty group": (b"From: undisclosed:;", "no address"),
    "null address": (b"From: <>", "no @"),
    "no @": (b"From: jo", "no @"),
    "two @": (b"From: a@b@example.com", "several @"),
    "no local part": (b"From: @example.com", "side"),
    "no domain": (b"From: a@", "side"),
    "one label": (b"From: a@localhost", "bad domain"),
    "last dot": (b"From: a@example.com.", "bad domain"),
    "underscore": (b"From: a@exa_mple.com", "bad domain"),
    "look-alike dot": ("From: a@example。com".encode(), "bad domain"),
    "address literal": (b"From: a@[192.0.2.1]", "literal"),
    "source route": (b"From: <@x.example:a@example.com>", "route"),
    "nested angles": (b"From: <<a@example.com>>", "route"),
    "open angle": (b"From: <a@example.com", "no end"),
    "stray angle": (b"From: a@example.com>", "out of place"),
    "two addresses, no comma": (b"From: <a@example.com> <b@example.com>", "comma"),
    "two bare, no comma": (b"From: a@example.com b@example.com", "several @"),
    "text after": (b"From: <a@example.com> Jo", "comma"),
    "@ in a bare name": (b"From: a@bank.example <a@example.com>", "quotes"),
    "space in the domain": (b"From: a@example.com .evil.example", "white space"),
    "space around the @": (b"From: a @example.com", "white space"),
    "comment in the domain": (b"From: a@example(x).com", "white space"),
    "encoded word as local part": (b"From: =?utf-8?q?a=40bank.example?=@example.com", "encoded"),
    "encoded word as address": (b"From: =?utf-8?q?a=40example.com?=", "no @"),
    "encoded word in a domain": (b"From: a@=?utf-8?q?example.com?=", "encoded"),
    "encoded word in a quoted local part": (b'From: "=?utf-8?q?a=40b.c_?="@example.com', "encoded"),
    "an address in a quoted local part": (b'From: "ceo@bank.example"@example.com', "second"),
    "angle brackets in a quoted local part": (b'From: "<ceo>"@example.com', "second"),
    "quoted domain": (b'From: a@"example.com"', "quoted"),
    "words of two kinds": (b'From: a."b"@example.com', "quoted"),
    "open quotes": (b'From: "Jo <a@example.com>', "quoted"),
    "quoted line end": (b'From: "Jo\\\r\n x" <a@example.com>', "quoted"),
    "open comment": (b"From: a@example.com (x", "comment"),
    "comment closed by an escape": (b"From: a@example.com (x\\)", "comment"),
    "stray parenthesis": (b"From: a@example.com )", "out of place"),
    "stray backslash": (b"From: \\a@example.com", "out of place"),
    "group without end": (b"From: Us: a@example.com", "group"),
    "group in a group": (b"From: Us: Them: a@example.com;;", "out of place"),
    "group without name": (b"From: : a@example.com;", "out of place"),
    "semicolon as comma": (b"From: a@example.com; b@example.com", "out of place"),
    "text after a group": (b"From: Us:a@example.com; b@example.com", "comma"),
    "NUL": (b"From: a@example.com\0", "NUL"),
    "escape sequence": (b"From: \x1b$B<a@x.y>\x1b(B <a@example.com>", "control"),
    "not UTF-8": (b"From: J\xf6rg <a@example.com>", "UTF-8"),
    "bare CR": (b"From: a@example.com\rFrom: b@evil.example", "bare"),
    "bare LF": (b"From: a@example.com\nFrom: b@evil.example", "bare"),
    "folded over a blank line": (b"From: a@example.com,\r\n \r\n b@example.com", "blank"),
    "blank last line": (b"From: a@example.com\r\n \t", "blank"),
    "not a field": (b"From: a@example.com\r\nfoo bar", "line 3"),
    "mbox line": (b"From a@example.com Mon\r\nFrom: a@example.com", "line 2"),
    "space in a name": (b"Fr om: a@example.com", "line 2"),
    "no name": (b": a@example.com", "line 2"),
    "8-bit name": (b"Fr\xc3\xb6m: a@example.com", "line 2"),
    "too many addresses": (b"From: " + b"a@b.c," * (MAX_ADDRESSES + 1), "addresses"),
    "too long": (b"From: " + b"a" * 70_000 + b"@example.com", "longer"),
}


@pytest.mark.parametrize(("lines", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(lines: bytes, words: str) -> None:
    with pytest.raises(HeaderError, match=words):
        senders(b"Subject: x", lines)


def test_an_empty_message_is_called_so() -> None:
    with pytest.raises(HeaderError, match="the message is empty"):
        read_header(b"")


def test_folded_first_line_is_no_field() -> None:
    with pytest.raises(HeaderError, match="line 1"):
        read_header(b" Subject: x\r\n\r\n")


def test_offsets() -> None:
    content = b"Received: by x\r\n; now\r\nSUBJECT : a\r\n b\r\n\r\nbody\r\n\r\nFrom: x\r\n".replace(
        b"\r\n;", b"\r\n ;"
    )
    header = read_header(content)
    assert [each.name for each in header.fields] == [b"received", b"subject"]
    assert content[header.end :] == b"body\r\n\r\nFrom: x\r\n"
    subject = header.fields[1]
    assert content[subject.start : subject.end] == b"SUBJECT : a\r\n b\r\n"
    assert content[subject.value_start : subject.end] == b" a\r\n b\r\n"
    assert header.values(b"subject") == (b" a\r\n b",)
    assert header.value(b"subject") == b" a\r\n b"
    assert header.value(b"from") is None
    assert header.has(b"received")
    assert not header.has(b"from")


@pytest.mark.parametrize(
    ("content", "end"),
    [(b"\r\nbody\r\n", 2), (b"A: b\r\n", 6), (b"A: b\r\n\r\n", 8), (b"", 0)],
    ids=["no header", "no body", "empty body", "nothing"],
)
def test_end(content: bytes, end: int) -> None:
    if not content:
        with pytest.raises(HeaderError):
            read_header(content)
        return
    assert read_header(content).end == end


def test_limits() -> None:
    field = b"X: y\r\n"
    assert len(read_header(field * MAX_FIELDS + b"\r\n").fields) == MAX_FIELDS
    with pytest.raises(HeaderError, match="fields"):
        read_header(field * (MAX_FIELDS + 1) + b"\r\n")
    room = MAX_HEADER - len(b"X:\r\n\r\n")
    assert read_header(b"X:" + b"y" * room + b"\r\n\r\n").end == MAX_HEADER
    with pytest.raises(HeaderError, match="longer"):
        read_header(b"X:" + b"y" * (room + 1) + b"\r\n\r\n")
    with pytest.raises(HeaderError, match="no end"):
        read_header(b"X: y")


def test_content_stays_out_of_repr() -> None:
    assert "secret" not in repr(read_header(b"Subject: secret\r\n\r\n"))


@pytest.mark.parametrize(
    "value",
    [
        b"(" * 60_000,
        b"(" * 30_000 + b")" * 30_000 + b" a@example.com",
        b'"' + b"\\a" * 30_000,
        b"a" * 60_000,
        b"." * 60_000,
        b",\r\n " * 15_000 + b"a@example.com",
        b"<" * 60_000,
        b"a:" * 30_000,
        b'""' * 30_000,
    ],
    ids=lambda value: value[:6].decode(),
)
def test_hostile_shapes_end(value: bytes) -> None:
    """No recursion, nothing quadratic: 60 KB of the worst shapes are simply read or refused."""
    try:
        senders(b"From: " + value)
    except HeaderError:
        pass


_SPECIALS = [bytes([each]) for each in b'<>@,;:()"\\[]. \t\r\n\0']
_WORDS = [b"From", b"\r\n", b"\r\n ", b"a", b"b.example", b"a@b.example", "ö".encode(), b"\xff", b"=?"]
_PIECES = st.lists(st.sampled_from(_SPECIALS + _WORDS), max_size=40).map(b"".join)


@given(st.binary(max_size=300) | _PIECES | _PIECES.map(lambda value: b"From: " + value + b"\r\n\r\n"))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        header = read_header(content)
        domains = header.senders()
    except HeaderError:
        return
    assert domains
    assert all(domain == domain.lower() and domain.isascii() for domain in domains)
    position = 0
    for each in header.fields:  # the fields and the blank line are the header, without gaps
        assert each.start == position
        assert each.start < each.value_start < each.end
        position = each.end
    assert content[position : header.end] in (b"\r\n", b"")
