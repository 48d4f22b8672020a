"""relay.proof.dkim_sign: what it signs our verifier and dkimpy find valid; and what may not be added or changed."""

import asyncio
import base64
import re
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from hypothesis import example, given
from hypothesis import strategies as st

from relay.dkim_keys import DkimKey, KeyPair, make_key_pair
from relay.header import HeaderError, read_header
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from relay.proof.dkim import Result, verify
from relay.proof.dkim_sign import MOST_OF_A_NAME, SigningKey, sign
from tests.odd_messages import HEAD, NO_FINAL_CRLF, ODD, UNSUBSCRIBE

NOW = 1_700_000_000.0  # dkimpy looks at its own clock
OBSOLETE = "blanks-before-the-colon"
DOMAIN, SELECTOR = "d.example", "mr20270115-0001"


@cache
def pair() -> KeyPair:
    return make_key_pair()


@cache
def key(domain: str = DOMAIN) -> SigningKey:
    private = load_der_private_key(pair().private, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return SigningKey(domain, SELECTOR, private)


def record() -> bytes:
    return DkimKey(SELECTOR, pair().public, b"", NOW).record(DOMAIN).value.encode()


class Published:
    """The key is at every domain's name for it."""

    async def txt(self, name: str) -> TxtAnswer:
        if not name.startswith(f"{SELECTOR}._domainkey."):
            return TxtAnswer(DnsStatus.NO_NAME)
        return TxtAnswer(DnsStatus.OK, (record(),), 300)

    async def mx(self, name: str) -> MxAnswer:
        raise NotImplementedError

    async def a(self, name: str) -> AddressAnswer:
        raise NotImplementedError

    async def aaaa(self, name: str) -> AddressAnswer:
        raise NotImplementedError

    async def ptr(self, name: str) -> PtrAnswer:
        raise NotImplementedError


def signed(content: bytes, *keys: SigningKey) -> bytes:
    return sign(content, read_header(content), keys or (key(),), now=NOW) + content


def verified(content: bytes) -> tuple[bool, bool]:
    """By our verifier and by dkimpy: the topmost signature."""
    report = asyncio.run(verify(content, read_header(content), Published(), now=NOW))
    try:
        theirs = bool(dkim.DKIM(content).verify(dnsfunc=lambda *_, **__: record()))
    except dkim.ValidationError:
        theirs = False
    return report.signatures[0].result is Result.PASSED, theirs


def names(content: bytes) -> list[str]:
    """h= of the topmost signature."""
    field = content.partition(b"bh=")[0].partition(b"h=")[2]
    return re.sub(rb"[\s;]", b"", field).decode().split(":")


@pytest.mark.parametrize("name", sorted(ODD.keys() - {OBSOLETE}))
def test_odd_messages_verify(name: str) -> None:
    assert verified(signed(ODD[name])) == (True, True)


def test_blanks_before_the_colon_verify() -> None:
    """RFC 5322 §4.5; dkimpy and opendkim can't read them, Mail::DKIM can (tests/peers/test_dkim.py)."""
    after = signed(ODD[OBSOLETE])
    report = asyncio.run(verify(after, read_header(after), Published(), now=NOW))
    assert report.signatures[0].result is Result.PASSED


@pytest.mark.parametrize("name", NO_FINAL_CRLF)
def test_the_signature_is_over_what_data_makes_of_a_last_line_without_an_end(name: str) -> None:
    assert verified(signed(NO_FINAL_CRLF[name]) + b"\r\n") == (True, True)


@pytest.mark.parametrize("name", ODD)
def test_the_signature_is_a_field_and_the_content_stays(name: str) -> None:
    content = ODD[name]
    after = signed(content)
    assert after.endswith(content)
    field = after.removesuffix(content)
    assert field.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n")
    assert field.isascii()
    assert len(read_header(after).fields) == len(read_header(content).fields) + 1
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert not re.search(rb"\bl=|\bx=|\bi=|\bz=", field.partition(b"h=")[0])


# without VT and FF, which dkimpy takes for white space; RFC 6376 §2.8 doesn't
texts = st.text(st.characters(blacklist_characters="\r\n\0\v\f", blacklist_categories=("Cs",)), max_size=30)
folds = st.lists(texts, max_size=3).map(lambda parts: "\r\n \tx".join(parts))
extra = st.tuples(st.sampled_from(["Subject", "To", "X-Any", "List-Unsubscribe", "content-TYPE", "Cc"]), folds)
bodies = st.one_of(
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b".", b"\xe4", b"\r\n\r\n"]), max_size=60).map(b"".join),
    texts.map(str.encode),
)


@given(st.lists(extra, max_size=6), bodies)
@example([], b"")
def test_whatever_is_signed_verifies(fields: list[tuple[str, str]], body: bytes) -> None:
    head = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields)
    content = HEAD + head + b"\r\n" + body + b"\r\n"
    try:
        read_header(content)
    except HeaderError:
        return
    assert verified(signed(content)) == (True, True)


def test_what_is_signed() -> None:
    assert names(signed(ODD["list"])) == [
        *("from", "from", "list-unsubscribe", "list-unsubscribe", "list-unsubscribe-post", "list-unsubscribe-post"),
        *("to", "subject", "date", "list-id"),
    ]
    assert names(signed(ODD["twice"])).count("cc") == 2
    assert names(signed(ODD["often"])).count("cc") == MOST_OF_A_NAME
    assert "received" not in names(signed(ODD["with-trace"]))


ADDED = {
    "From": b"From: Evil <evil@evil.example>\r\n",
    "List-Unsubscribe": b"List-Unsubscribe: <https://evil.example/>\r\n",
    "List-Unsubscribe-Post": b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
}


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize(
    "content", [HEAD + b"\r\nbody\r\n", HEAD + UNSUBSCRIBE + b"\r\nbody\r\n"], ids=["bare", "pair"]
)
@pytest.mark.parametrize("above", [True, False])
def test_nobody_adds_one_more(name: str, content: bytes, above: bool) -> None:
    after = signed(content)
    changed = ADDED[name] + after if above else after.replace(b"Subject:", ADDED[name] + b"Subject:")
    assert verified(changed) == (False, False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"hello", b"hallo"),
        (b"body", b"bady"),
        (b"To: al", b"To: bo"),
        (b"One-Click", b"One-Clock"),
        (b"u?1", b"u?2"),
        (b"Date: Mon", b"Date: Tue"),
    ],
)
def test_nobody_changes_it(old: bytes, new: bytes) -> None:
    after = signed(ODD["list"])
    assert old in after
    assert verified(after.replace(old, new)) == (False, False)


def test_each_from_domain_may_have_its_own() -> None:
    after = signed(ODD["plain"], key(), key("e.example"))
    report = asyncio.run(verify(after, read_header(after), Published(), now=NOW))
    assert [(each.domain, each.result) for each in report.signatures] == [
        (DOMAIN, Result.PASSED),
        ("e.example", Result.PASSED),
    ]


def test_a_key_pair_does_not_show_itself() -> None:
    made = pair()
    assert 1_000 < len(made.private) < 4_096  # KMS encrypts no more
    shown = f"{made} {made!r} {[made]}"
    assert base64.b64encode(made.private)[100:140].decode() not in shown
    assert repr(made.private)[100:140] not in shown
