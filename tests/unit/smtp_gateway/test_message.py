import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import validate
from relay.errors import PermanentError
from relay.header import MAX_FIELDS, MAX_HEADER, HeaderError, read_header
from smtp_gateway import message
from smtp_gateway.certificates import tls_context
from smtp_gateway.message import ADDED_FIELDS, ADDED_OCTETS, MAX_RECEIVED, LoopError, Shown, Trace, other_domains
from smtp_gateway.tls import IANA_NAMES
from tests.gateway import certificate, key_pair

SUITE = "TLS_AES_256_GCM_SHA384"
TRACE = Trace("0190-id", "gw.example", "app.example", "192.0.2.1", SUITE, False, 1_800_000_000.9)
RECEIVED = (
    b"Received: by gw.example with ESMTPSA id 0190-id\r\n"
    b"\ttls TLS_AES_256_GCM_SHA384; Fri, 15 Jan 2027 08:00:00 +0000\r\n"
)
DATE = b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"
MESSAGE_ID = b"Message-ID: <0190-id@gw.example>\r\n"
SIGNED = b"DKIM-Signature: v=1; h=from : to:\r\n subject; b=x\r\n"
COVERED = b"DKIM-Signature: v=1; h=from:\r\n\tBCC :to; b=x\r\n"


def prepare(content: bytes, trace: Trace) -> bytes:
    return message.prepare(read_header(content), trace)


KEPT = {
    "all there": (b"date: x\r\nMESSAGE-ID: y\r\nFrom: a\r\n\r\nb\r\n", b""),
    "no date": (b"Message-ID: y\r\n\r\n", DATE),
    "no message-id": (b"Date: y\r\n\r\n", MESSAGE_ID),
    "neither": (b"From: a\r\n\r\nDate: in the body\r\n", DATE + MESSAGE_ID),
    "signed": (SIGNED + b"From: a\r\n\r\nb\r\n", b""),
    "signed, bcc covered but absent": (COVERED + b"From: a\r\n\r\nb\r\n", b""),
    "no header": (b"\r\nb\r\n", DATE + MESSAGE_ID),
    "only a header": (b"From: a\r\n", DATE + MESSAGE_ID),
    "bcc in the body": (b"Date: x\r\nMessage-ID: y\r\n\r\nBcc: a@b.example\r\n", b""),
}


@pytest.mark.parametrize(("content", "added"), KEPT.values(), ids=KEPT)
def test_below_the_trace_nothing_else_changes(content: bytes, added: bytes) -> None:
    assert prepare(content, TRACE) == RECEIVED + added + content


BLIND = {
    "first": (b"Bcc: a@b.example\r\nFrom: a\r\n\r\nb\r\n", b"From: a\r\n\r\nb\r\n"),
    "last": (b"From: a\r\nbCC: a@b.example\r\n\r\nb\r\n", b"From: a\r\n\r\nb\r\n"),
    "folded": (b"From: a\r\nBcc: a,\r\n\tb@b.example\r\nTo: c\r\n\r\n", b"From: a\r\nTo: c\r\n\r\n"),
    "twice": (b"Bcc: a\r\nFrom: a\r\nBcc : b\r\n\r\n", b"From: a\r\n\r\n"),
    "resent": (b"Resent-Bcc: a\r\nFrom: a\r\n\r\n", b"From: a\r\n\r\n"),
}


@pytest.mark.parametrize(("content", "left"), BLIND.values(), ids=BLIND)
def test_bcc_is_taken_out(content: bytes, left: bytes) -> None:
    assert prepare(content, TRACE) == RECEIVED + DATE + MESSAGE_ID + left
    assert prepare(SIGNED + content, TRACE) == RECEIVED + SIGNED + left


def test_a_signed_bcc_is_refused() -> None:
    with pytest.raises(PermanentError) as caught:
        prepare(SIGNED + COVERED + b"Bcc: a\r\n\r\n", TRACE)
    assert "covers Bcc" in caught.value.safe


TOO_LARGE = {
    "as many fields as there may be": b"X: y\r\n" * MAX_FIELDS + b"\r\n",
    "as many octets as there may be": b"X: " + b"y" * (MAX_HEADER - 100) + b"\r\n\r\n",
}


@pytest.mark.parametrize("content", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_header_that_would_be_too_large_with_ours_is_refused_now(content: bytes) -> None:
    read_header(content)
    with pytest.raises(HeaderError):
        prepare(content, TRACE)


@pytest.mark.parametrize("fields", [MAX_FIELDS - ADDED_FIELDS, MAX_FIELDS - ADDED_FIELDS - 1])
def test_what_is_accepted_is_read_again_by_validate(fields: int) -> None:
    read_header(prepare(b"X: y\r\n" * fields + b"\r\n", TRACE))
    peer = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
    longest = Trace("0190-id", "h" * 255, "e" * 255, peer, max(IANA_NAMES.values(), key=len), True, 1.8e9, Shown.FULL)
    read_header(prepare(b"X: " + b"y" * (MAX_HEADER - ADDED_OCTETS - 7) + b"\r\n\r\n", longest))


def test_a_loop_is_refused() -> None:
    hops = b"Received: from a by b; x\r\n" * (MAX_RECEIVED - 1)
    assert prepare(hops + b"\r\n", TRACE)
    with pytest.raises(LoopError):
        prepare(b"Received: x\r\n" + hops + b"\r\n", TRACE)


@pytest.mark.parametrize(
    ("header", "sender", "others"),
    [
        pytest.param(b"From: a@d.example\r\n", "b@d.example", (), id="the envelope's"),
        pytest.param(b"From: a@D.Example\r\nSender: c@d.example\r\n", "b@d.example", (), id="the envelope's, twice"),
        pytest.param(b"From: a@d.example\r\n", "b@e.example", ("d.example",), id="another"),
        pytest.param(b"From: a@d.example\r\n", "b@sub.d.example", ("d.example",), id="its parent"),
        pytest.param(b"From: a@d.example\r\n", "", ("d.example",), id="no envelope"),
        pytest.param(
            b"From: a@d.example, b@e.example\r\nSender: c@f.example\r\nResent-From: d@g.example\r\n",
            "b@e.example",
            ("d.example", "f.example", "g.example"),
            id="several",
        ),
        pytest.param("From: a@dömän.example\r\n".encode(), "b@xn--dmn-rla2g.example", (), id="IDNA"),
    ],
)
def test_the_header_s_other_domains(header: bytes, sender: str, others: tuple[str, ...]) -> None:
    assert other_domains(read_header(header + b"\r\n"), sender) == others


PARTS = [b"jo", b"d.example", b"D.EXAMPLE", b"e.example", b"@d.example>", b"<jo@d.example>", b"=?utf-8?q?a?=", b"\r\n "]
PARTS += [bytes([each]) for each in b"@<> \t,.;:()=?'+-_a\"\\"]
FROM = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=8).map(b"".join),
    st.from_regex(rb"\A[ \t]{0,2}([A-Za-z0-9 _.'-]{0,9}<)?[A-Za-z0-9._+-]{1,9}@d\.example>?[ \t]?\Z"),
)


@given(FROM, st.sampled_from([b"", b"", b"Sender: x@e.example\r\n", b"From: x@d.example\r\n"]))
def test_what_is_plainly_from_the_envelope_s_domain_is_read_so(value: bytes, more: bytes) -> None:
    try:
        header = read_header(b"From:" + value + b"\r\n" + more + b"\r\n")
    except HeaderError:
        return
    if message._is_plainly_from(header, b"d.example"):
        assert header.senders() == ("d.example",)
        assert not more


@pytest.mark.parametrize(
    "value",
    [
        b"jo@d.example",
        b" Jo Doe <jo.doe+x@D.Example> ",
        b"\tO'Hara A. <x@d.example>",
    ],
)
def test_what_most_programs_write_is_plain(value: bytes) -> None:
    header = read_header(b"To: x\r\nFrom:" + value + b"\r\n\r\n")
    assert message._is_plainly_from(header, b"d.example")
    assert not message._is_plainly_from(header, b"e.example")
    assert header.senders() == ("d.example",)


@pytest.mark.parametrize("piece", [b" ", b"\t", b"a", b"a ", b"-.", b"<", b"a@", b"a@b."])
def test_a_from_field_that_is_never_plain_costs_little(piece: bytes) -> None:
    """Nothing quadratic: spaces took a minute."""
    header = read_header(b"From: " + piece * (250_000 // len(piece)) + b"\r\n\r\n")
    begun = time.process_time()
    assert not message._is_plainly_from(header, b"d.example")
    assert time.process_time() - begun < 1.0


def test_an_encoded_word_is_left_to_the_reader() -> None:
    header = read_header(b"From: =?utf-8?q?boss=40e.example?= <jo@d.example>\r\n\r\n")
    with pytest.raises(HeaderError):
        other_domains(header, "jo@d.example")


def test_a_sender_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(HeaderError, match=r"^the message has no From field$"):
        other_domains(read_header(b"To: a@d.example\r\n\r\n"), "b@d.example")


@pytest.mark.parametrize("envelope", ["", "x@envelope.example"])
def test_the_number_of_sender_domains_is_what_validate_takes(envelope: str) -> None:
    most = message.MAX_DOMAINS - bool(envelope)
    assert message.MAX_DOMAINS == validate.MAX_DOMAINS
    many = [f"a@d{number}.example".encode() for number in range(most + 1)]
    assert len(other_domains(read_header(b"From: " + b", ".join(many[:most]) + b"\r\n\r\n"), envelope)) == most
    with pytest.raises(PermanentError, match=f"^the message names {most + 1 + bool(envelope)} sender domains; at most"):
        other_domains(read_header(b"From: " + b", ".join(many) + b"\r\n\r\n"), envelope)


@pytest.mark.parametrize(
    ("helo", "peer", "shown", "client"),
    [
        ("app.example", "192.0.2.1", Shown.FULL, b"from app.example ([192.0.2.1])\r\n\t"),
        ("app.example", "192.0.2.1", Shown.ADDRESS, b"from [192.0.2.1] ([192.0.2.1])\r\n\t"),
        ("app.example", "192.0.2.1", Shown.NONE, b""),
        ("[IPv6:::1]", "2001:db8::1", Shown.FULL, b"from [IPv6:::1] ([IPv6:2001:db8::1])\r\n\t"),
        ("[IPv6:::1]", "2001:db8::1", Shown.ADDRESS, b"from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\t"),
        ("[IPv6:::1]", "2001:db8::1", Shown.NONE, b""),
    ],
)
def test_what_the_trace_tells_of_the_client(helo: str, peer: str, shown: Shown, client: bytes) -> None:
    trace = TRACE._replace(helo=helo, peer=peer, shown=shown, received=0.0).header()
    assert trace == (
        b"Received: " + client + b"by gw.example with ESMTPSA id 0190-id\r\n"
        b"\ttls TLS_AES_256_GCM_SHA384; Thu, 01 Jan 1970 00:00:00 +0000\r\n"
    )


def test_trace_of_smtputf8() -> None:
    assert b" with UTF8SMTPSA id 0190-id\r\n" in TRACE._replace(smtputf8=True).header()


def test_the_longest_line_of_the_trace_is_within_the_limit() -> None:
    longest = Trace("0190-id" * 6, "h" * 255, "e" * 255, "2001:db8::1", SUITE, True, 1.8e9, Shown.FULL).header()
    assert max(map(len, longest.split(b"\r\n"))) <= 998  # RFC 5322 §2.1.1


def test_each_cipher_suite_that_is_offered_has_its_iana_name() -> None:
    names = {each["name"] for each in tls_context([key_pair(*certificate())]).get_ciphers()}
    assert {IANA_NAMES.get(name, name)[:4] for name in names} == {"TLS_"}
    assert set(IANA_NAMES) == {name for name in names if not name.startswith("TLS_")}
