import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.address import AddressError, parse_address, parse_domain

GOOD = [
    ("jo@example.com", "jo@example.com"),
    ("Jo.Doe+tag@EXAMPLE.Com", "Jo.Doe+tag@example.com"),
    ("!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"),
    ('"jo"@example.com', "jo@example.com"),
    ('"j\\o"@example.com', "jo@example.com"),
    ('"jo doe"@example.com', '"jo doe"@example.com'),
    ('"a@b"@example.com', '"a@b"@example.com'),
    ('"a\\"b\\\\"@example.com', '"a\\"b\\\\"@example.com'),
    ('"a\\ b"@example.com', '"a b"@example.com'),
    ('""@example.com', '""@example.com'),
    ("jo@bücher.example", "jo@xn--bcher-kva.example"),
    ("jo@BÜCHER.example", "jo@xn--bcher-kva.example"),
    ("jo@bu\u0308cher.example", "jo@xn--bcher-kva.example"),
    ("jo@XN--bcher-KVA.example", "jo@xn--bcher-kva.example"),
    ("jö@example.com", "jö@example.com"),
    ("jo@r3---sn.example", "jo@r3---sn.example"),
    ("jo@1.example", "jo@1.example"),
    (f"{'l' * 64}@example.com", f"{'l' * 64}@example.com"),
]

BAD = [
    ("", "empty"),
    ("jo", "no domain"),
    ("Postmaster", "no domain"),
    ("jo@", "no domain"),
    ("@example.com", "mailbox name"),
    ("@a.example,@b.example:jo@example.com", "source routes"),
    ("jo@[127.0.0.1]", "address literals"),
    ("jo@[169.254.169.254]", "address literals"),
    ("jo@[IPv6:::1]", "address literals"),
    ("jo@127.0.0.1", "IP addresses"),
    ("jo@2130706433", "two labels"),
    ("jo@localhost", "two labels"),
    ("jo@example.com.", "end in a dot"),
    ("jo@example..com", "empty label"),
    ("jo@.example.com", "empty label"),
    ("jo@-a.example", "letters, digits"),
    ("jo@a-.example", "letters, digits"),
    ("jo@a_b.example", "letters, digits"),
    ("jo@a b.example", "letters, digits"),
    ("jo@example.com\n", "letters, digits"),
    ("jo@example.com\r\nRCPT TO:<x@y.example>", "mailbox name"),
    ("jo@example.com\0", "letters, digits"),
    (f"jo@{'a' * 64}.example", "63"),
    (f"jo@{'a.' * 130}example", "253"),
    (f"jo@{'ü.' * 130}example", "253"),
    (f"jo@{'ü' * 1100}.example", "253"),
    (f"jo@{'a' * 64}.{'b.' * 500}example", "253"),
    ("jo@example\u3002com", "IDNA"),
    ("jo@exa\uff0emple.com", "IDNA"),
    ("jo@exa\uff61mple.com", "IDNA"),
    ("jo@exa\u2024mple.com", "IDNA"),
    ("jo@xn--a.example", "IDNA"),
    ("jo@xn--.example", "IDNA"),
    ("jo@\u2603.example", "IDNA"),
    (".jo@example.com", "mailbox name"),
    ("jo.@example.com", "mailbox name"),
    ("j..o@example.com", "mailbox name"),
    ("j o@example.com", "mailbox name"),
    ("<jo@example.com", "mailbox name"),
    ("jo@x@example.com", "mailbox name"),
    ('"jo@example.com', "mailbox name"),
    ('"j"o"@example.com', "mailbox name"),
    ('"j\no"@example.com', "mailbox name"),
    ('"j\\\no"@example.com', "mailbox name"),
    ("jo(comment)@example.com", "mailbox name"),
    ("j\0o@example.com", "mailbox name"),
    ("=?utf-8?q?jo?=@example.com", "encoded word"),
    ('"=?utf-8?B?am8=?="@example.com', "encoded word"),
    ("j\x85o@example.com", "control character"),
    ("j\u2028o@example.com", "control character"),
    ("j\ud800o@example.com", "control character"),
    (f"{'l' * 65}@example.com", "64 octets"),
    (f"{'ö' * 33}@example.com", "64 octets"),
    (f"{'l' * 64}@{'a.' * 92}example", "254 octets"),
]


@pytest.mark.parametrize(("text", "canonical"), GOOD, ids=[ascii(text)[:40] for text, _ in GOOD])
def test_good_address(text: str, canonical: str) -> None:
    address = parse_address(text)
    assert str(address) == canonical
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(("text", "reason"), BAD, ids=[ascii(text)[:40] for text, _ in BAD])
def test_bad_address(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert reason in caught.value.safe


@pytest.mark.parametrize(("text", "needs"), [("jö@example.com", True), ("jo@bücher.example", False)])
def test_needs_smtputf8(text: str, needs: bool) -> None:
    assert parse_address(text).needs_smtputf8 is needs


def test_domain_in_every_form_is_one_domain() -> None:
    forms = ["bücher.example", "BÜCHER.EXAMPLE", "xn--bcher-kva.example", "XN--BCHER-KVA.Example"]
    assert {parse_domain(form) for form in forms} == {"xn--bcher-kva.example"}


@given(st.text(st.sampled_from('ab.@"\\ <>[]xn-ü\u3002\r\n\0'), max_size=30) | st.text(max_size=80))
def test_any_text_parses_to_itself_or_raises_address_error(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert parse_address(str(address)) == address
    assert address.domain.isascii()
    assert str(address).rpartition("@")[2] == address.domain
    assert not set(str(address)) & set("\r\n\0")


def test_a_domain_of_combining_marks_costs_nothing() -> None:
    """Normalising takes the square of a run of them."""
    begun = time.process_time()
    with pytest.raises(AddressError, match="253"):
        parse_domain("u" + "\u0316\u0301" * 30_000 + ".example")
    assert time.process_time() - begun < 0.1
