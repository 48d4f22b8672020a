"""relay.header: every header is read the way all receivers read it, or refused."""

import email
import inspect
import time
from email.header import decode_header, make_header
from email.policy import default as modern
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from relay.address import AddressError, parse_domain
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
    "1,000 nested comments": (b"From: " + b"(" * 1000 + b")" * 1000 + b" a@example.com", ("example.com",)),
    "a list with one foreign member": (
        b"From: a@one.example, b@one.example, Jo <c@foreign.example>, d@one.example",
        ("one.example", "foreign.example"),
    ),
    "a foreign member behind a fold": (
        b"From: a@one.example,\r\n b@foreign.example",
        ("one.example", "foreign.example"),
    ),
    "a foreign member in a group": (b"From: Us:a@one.example,b@foreign.example;", ("one.example", "foreign.example")),
    "U- and A-labels in one domain": (
        "From: a@bücher.xn--bcher-kva.example".encode(),
        ("xn--bcher-kva.xn--bcher-kva.example",),
    ),
    "case of U-labels": ("From: a@BÜCHER.Example".encode(), ("xn--bcher-kva.example",)),
    "decomposed U-labels": ("From: a@bu\u0308cher.example".encode(), ("xn--bcher-kva.example",)),
    "quoted name like a list": (b'From: "b@bank.example, x" <a@example.com>', ("example.com",)),
    "quoted name like an address in < >": (b'From: "<b@bank.example>" <a@example.com>', ("example.com",)),
    "comment like an address in < >": (b"From: a@example.com (<b@bank.example>)", ("example.com",)),
    "the address itself as an encoded name": (
        b"From: =?utf-8?b?YUBFeGFtcGxlLmNvbQ==?= <a@example.com>",
        ("example.com",),
    ),
    "an encoded name with a comma": (b"From: =?utf-8?q?M=C3=BCller=2C_J=C3=B6?= <a@example.com>", ("example.com",)),
    "an encoded name with an @ alone": (b"From: =?utf-8?q?J=C3=B6_=40_Caf=C3=A9?= <a@example.com>", ("example.com",)),
    "an encoded name and a comment": (
        b"From: a@example.com (office), =?utf-8?q?J=C3=B6=2C_?= <b@example.com>",
        ("example.com",),
    ),
    "Japanese": (b"From: =?ISO-2022-JP?B?GyRCO0ptVRsoQg==?= <a@example.com>", ("example.com",)),
    "an unknown character set": (b"From: =?x-none*en?q?J=F6?= <a@example.com>", ("example.com",)),
    "a character set of that kind that there is not": (
        b"From: =?iso-8859-12?q?J=F6=2C?= <a@example.com>",
        ("example.com",),
    ),
    "an encoded word without an end": (b"From: =?utf-8?q?ceo=40bank.example <a@example.com>", ("example.com",)),
    "=? in a name": (b'From: "what =?" <a@example.com>', ("example.com",)),
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


def test_each_resent_from_may_be_a_list() -> None:
    lines = (
        b"Resent-From: A <r@one.example>, r@two.example",
        b"Resent-From : Us: r@three.example, r@one.example;",
        b"From: f@from.example",
    )
    assert senders(*lines) == ("from.example", "one.example", "two.example", "three.example")


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
    "ideographic dot": ("From: a@example。com".encode(), "bad domain"),
    "fullwidth dot": ("From: a@example．com".encode(), "bad domain"),
    "halfwidth dot": ("From: a@example｡com".encode(), "bad domain"),
    "one dot leader": ("From: a@example․com".encode(), "bad domain"),
    "look-alike dot behind a real one": ("From: a@example.com．evil.example".encode(), "bad domain"),
    "fullwidth @": ("From: a＠example.com".encode(), "no @"),
    "last dot behind U-labels": ("From: a@bücher.example.".encode(), "bad domain"),
    "last dot in < >": (b"From: <a@example.com.>", "bad domain"),
    "address literal": (b"From: a@[192.0.2.1]", "literal"),
    "source route": (b"From: <@x.example:a@example.com>", "route"),
    "source route of several": (b"From: <@x.example,@y.example:a@example.com>", "route"),
    "source route without < >": (b"From: @x.example:a@example.com", "quotes"),
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
    "encoded word in an A-label": (b"From: a@xn--=?utf-8?q?a?=.example", "encoded"),
    "encoded name with another address": (b"From: =?utf-8?q?ceo=40bank.example?= <a@example.com>", "encoded"),
    "the same in base64": (b"From: =?utf-8?B?Y2VvQGJhbmsuZXhhbXBsZQ==?= <a@example.com>", "encoded"),
    "in broken base64": (b"From: =?utf-8?B?Y2Vv*QGJhbmsuZXhhbXBsZSAg*A?= <a@example.com>", "encoded"),
    "in UTF-7": (b"From: =?utf-7?q?ceo+AEA-bank.example?= <a@example.com>", "encoded"),
    "in UTF-16": (b"From: =?UTF-16LE?B?YwBlAG8AQABiAGEAbgBrAC4AZQB4AA==?= <a@example.com>", "encoded"),
    "with a language": (b"From: =?utf-7*en?q?ceo+AEA-bank.example?= <a@example.com>", "encoded"),
    "in an unknown character set": (b"From: =?x-none?q?ceo=40bank.example?= <a@example.com>", "encoded"),
    "in two words": (b"From: =?utf-8?q?ceo=40?=\r\n =?utf-8?q?bank.example?= <a@example.com>", "encoded"),
    "half of it encoded": (b"From: =?utf-8?q?ceo=40bank?= .example <a@example.com>", "encoded"),
    "with spaces": (b"From: =?utf-8?q?ceo_=40_bank_.example?= <a@example.com>", "encoded"),
    "with a comment": (b"From: =?utf-8?q?ceo=40bank=28x=29.example?= <a@example.com>", "encoded"),
    "with an open comment": (b"From: =?utf-8?q?ceo=40bank=28x?= <a@example.com>", "encoded"),
    "as a literal": (b"From: =?utf-8?q?ceo=40=5B192.0.2.1=5D?= <a@example.com>", "encoded"),
    "an encoded address in < >": (b"From: =?utf-8?q?x_=3Cceo=40bank.example=3E=2C?= <a@example.com>", "encoded"),
    "an encoded address in quotes": (b'From: "=?utf-8?q?ceo=40bank.example?=" <a@example.com>', "encoded"),
    "an encoded address in a comment": (b"From: a@example.com (=?utf-8?q?ceo=40bank.example?=)", "encoded"),
    "quotes that encoded ones close": (b'From: =?utf-8?q?=22?= "ceo@bank.example," <a@example.com>', "encoded"),
    "a comment that an encoded one closes": (b"From: (=?utf-8?q?=29?= ceo@bank.example,) a@example.com", "encoded"),
    "encoded line end": (b"From: =?utf-8?q?x=0D=0AFrom=3A_ceo?= <a@example.com>", "control"),
    "encoded NUL": (b"From: =?utf-8?b?AA==?= <a@example.com>", "control"),
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
    "32,000 addresses": (b"From: " + b"a@b.c," * 32_000, "longer"),
    "32,000 addresses in many fields": (
        b"From: a@b.c\r\n" + (b"Resent-From: " + b"a@b.c," * 32 + b"\r\n") * 1_000,
        "more than 1000",
    ),
    "a domain of 20,000 labels": (b"From: a@" + b"x.\xc3\xbc." * 10_000 + b"x", "bad domain"),
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


WORST = {
    "open comments": b"(" * 60_000,
    "nested comments": b"(" * 30_000 + b")" * 30_000 + b" a@example.com",
    "comments": b"()" * 30_000,
    "open quotes": b'"' + b"\\a" * 30_000,
    "quotes": b'""' * 30_000,
    "one atom": b"a" * 60_000,
    "atoms": b"a " * 30_000,
    "dots": b"." * 60_000,
    "folds": b",\r\n " * 15_000 + b"a@example.com",
    "angles": b"<" * 60_000,
    "colons": b"a:" * 30_000,
    "signs": b"a@" * 30_000,
    "labels": b"a@" + b"a." * 30_000,
    "U-labels": b"a@" + b"\xc3\xbc." * 20_000,
    "a long label": b"a@" + b"\xc3\xbc" * 30_000 + b".example",
    "combining marks": "a@u{}.example".format("\u0316\u0301" * 15_000).encode(),
    "domains of U-labels": ",".join(f"a@{chr(0x4E00 + n)}ü.ü{chr(0x5000 + n)}.ü.example" for n in range(900)).encode(),
    "A-labels": b",".join(b"a@xn--bcher-kva.xn--bcher-kva.d%d.example" % number for number in range(900)),
    "beginnings of encoded words": b"=?utf-8?q?" * 6_000,
    "beginnings and one end": b"=?utf-8?q?" * 6_000 + b"?=",
    "encoded words": b"=?utf-7?q?=40?=" * 4_000 + b" <a@example.com>",
    "an encoded word": b"=?utf-8?b?" + b"QC5A" * 15_000 + b"?= <a@example.com>",
    "many an encoded @": b"=?utf-8?q?=2C" + b"@ ( " * 12_000 + b"?= <a@example.com>",
    "comments in an encoded word": b"=?utf-8?q?@" + b"()" * 30_000 + b"?= <a@example.com>",
    "open comments in an encoded word": b"=?utf-8?q?@" + b"(" * 60_000 + b"?= <a@example.com>",
}


@pytest.mark.parametrize("value", WORST.values(), ids=WORST.keys())
def test_hostile_shapes_end(value: bytes) -> None:
    """No recursion, nothing quadratic: 60 KB of the worst shapes are read or refused in some 10 ms of CPU."""
    took = []
    for _ in range(3):  # the best of them: the collector may run in any one
        begun = time.process_time()
        try:
            senders(b"From: " + value)
        except HeaderError:
            pass
        took.append(time.process_time() - begun)
    assert min(took) < 0.5


_SPECIALS = [bytes([each]) for each in b'<>@,;:()"\\[]. \t\r\n\0']
_WORDS = [
    b"From",
    b"\r\n",
    b"\r\n ",
    b"a",
    b"b.example",
    b"a@b.example",
    "ö".encode(),
    b"\xff",
    b"=?",
    b"=?utf-8?q?=40?=",
]
_PIECES = st.lists(st.sampled_from(_SPECIALS + _WORDS), max_size=40).map(b"".join)


@settings(deadline=None)
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


# --- against the standard library's readers ----------------------------------------------------------

_NAMES = [
    "Jo",
    '"Jo"',
    "ö",
    "J. Q.",
    '"b@bank.example"',
    '"<b@bank.example>,"',
    "(b@bank.example)",
    '"\\""',
    "",
    "@",
    ",",
]
_ENCODED_NAMES = [
    f"=?utf-8?q?{each}?="
    for each in (
        "J=C3=B6",
        "=40",
        "=2C",
        "=22",
        "=3C",
        "=3E",
        "=28",
        "=29",
        "=5C",
        "=3A",
        "b=40bank.example",
        ".example",
    )
]
_ADDRESSES = ["a@one.example", "b@two.example", '"c d"@three.example', "d@Bücher.example", "b@xn--bcher-kva.example"]
_NAME = st.lists(st.sampled_from(_NAMES + _ENCODED_NAMES), max_size=4).map(" ".join)
_MAILBOX = st.one_of(
    st.sampled_from(_ADDRESSES),
    st.tuples(_NAME, st.sampled_from(_ADDRESSES)).map("{0[0]} <{0[1]}>".format),
    st.tuples(st.sampled_from(_ADDRESSES), _NAME).map("{0[0]} ({0[1]})".format),
)
_FROM = st.one_of(
    st.lists(_MAILBOX, min_size=1, max_size=3).map(", ".join),
    st.lists(_MAILBOX, max_size=3).map(lambda members: f"Us: {', '.join(members)};"),
    st.lists(st.sampled_from([*_NAMES, *_ENCODED_NAMES, *_ADDRESSES, *'<>,:;@.() "\\\t']), max_size=8).map("".join),
)


def displayed(text: str) -> set[str]:
    """The domains of the addresses that the standard library finds; what can be no domain is nobody's."""
    # Both ways: strict is the default of newer Pythons, and unknown to older ones.
    known = "strict" in inspect.signature(getaddresses).parameters
    ways: list[dict[str, Any]] = [{"strict": True}, {"strict": False}] if known else [{}]
    found = [address for way in ways for _, address in getaddresses([text], **way)]
    return _domains(each.rpartition("@")[2] for each in found if "@" in each)


def _domains(texts: Any) -> set[str]:
    found = set()
    for text in texts:
        try:
            found.add(parse_domain(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")))
        except AddressError:
            pass
    return found


def views(value: str) -> dict[str, set[str]]:
    """What programs show: of the field as it stands, decoded first, and by the standard library's newer reader,
    which has bugs of its own."""
    content = f"From: {value}\r\n\r\n".encode()
    shown = {"as it stands": displayed(value)}
    try:
        shown["decoded first"] = displayed(str(make_header(decode_header(value))))
        field = email.message_from_bytes(content, policy=modern)["from"]
        shown["newer"] = _domains(each.domain for each in field.addresses)
        shown["newer, as text"] = displayed(str(field))
    except (AttributeError, TypeError, ValueError, IndexError):
        pass
    return shown


@settings(deadline=None)
@given(_FROM)
def test_the_standard_library_finds_no_other_sender(value: str) -> None:
    try:
        ours = set(senders(f"From: {value}".encode()))
    except HeaderError:
        event("refused")
        return
    event("read")
    for program, domains in views(value).items():
        assert domains <= ours, program


def test_the_standard_library_does_find_senders() -> None:
    """So that the test above can fail."""
    found = views("Jo <a@one.example>, b@two.example")
    assert list(found) == ["as it stands", "decoded first", "newer", "newer, as text"]
    assert all(domains == {"one.example", "two.example"} for domains in found.values())
    assert views("=?utf-8?q?ceo=40bank.example?= <a@one.example>")["decoded first"] == {"bank.example", "one.example"}
