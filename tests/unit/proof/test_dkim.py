"""relay.proof.dkim: kept messages of real signers, every reason there is, and dkimpy as the measure."""

import asyncio
import base64
import contextlib
import functools
import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import (
    EMSA_PKCS1_v1_5_encode,
    RSASSA_PKCS1_v1_5_sign,
    UnparsableKeyError,
    parse_pem_private_key,
    parse_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import relay.proof.dkim as module
import relay.proof.dkim_canonical as canonical
from relay.address import parse_domain
from relay.dns import DnspythonResolver
from relay.errors import PermanentError, TemporaryError
from relay.header import read_header
from relay.ports import DnsStatus, Resolver, TxtAnswer
from relay.proof.dkim import (
    IN_THE_LOOP,
    MAX_FIELD,
    MAX_SIGNATURES,
    Alignment,
    DkimReport,
    Result,
    Signature,
    alignment,
    verify,
)
from tests.dnsserver import TestDnsServer

PASSED, FAILED, UNKNOWN, UNANSWERED = Result
MESSAGES = Path(__file__).parents[2] / "messages"
NOW = 1_795_500_000  # a little after the kept messages were signed

FIELDS = (
    b"From: Jo <jo@a.example>\r\nTo: you@b.example\r\nSubject:  Hej  \t du\r\n\tp\xc3\xa5 dig \r\n"
    b"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.example>\r\n"
)
BODY = b"Hello  you,\t \r\n\r\n  see you.\r\n\r\n\r\n"
KEY_NAME = "s1._domainkey.a.example"
CHANGED = "the header has changed, or another key signed it"
NOT_EVERY_FROM = "it does not cover every From field"
NO_CANON = "its canonicalization is not known (c=)"
NO_TAGS = "its tags cannot be read"
NO_DOMAIN = "d= is not a domain name"
NO_KEY = f"the TXT record at {KEY_NAME} is not a DKIM key"
TOO_LONG = f"the record at {KEY_NAME} is longer than 4096 octets"
TOO_LARGE = "the key is larger than is checked here"
TAGS = {"v": "1", "a": "rsa-sha256", "c": "relaxed/relaxed", "d": "a.example", "s": "s1", "h": "from:to:subject:date"}


# --- signing, with dkimpy's canonicalization and RSA -----------------------------------------------


@functools.cache
def private_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


def pem(bits: int = 2048) -> bytes:
    return private_key(bits).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def public(bits: int = 2048) -> str:
    der = private_key(bits).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def der(tag: int, content: bytes) -> bytes:
    size = b"" if len(content) < 128 else len(content).to_bytes(3)
    return bytes([tag, 0x83 if size else len(content)]) + size + content


def bare_key(modulus: int, exponent: int = 65_537) -> str:
    """An RSAPublicKey as such (RFC 8017 appendix A.1.1), of any size."""
    numbers = (der(2, b"\0" + each.to_bytes((each.bit_length() + 7) // 8)) for each in (modulus, exponent))
    return base64.b64encode(der(0x30, b"".join(numbers))).decode()


def record(key: str | None = None, **tags: str) -> bytes:
    tags = {"v": "DKIM1", "k": "rsa", "p": public() if key is None else key} | tags
    return "; ".join(f"{name}={value}" for name, value in tags.items()).encode()


def sign(
    fields: bytes = FIELDS,
    body: bytes = BODY,
    *,
    bits: int = 2048,
    limit: int | None = None,
    tail: bytes = b"",
    **tags: str,
) -> bytes:
    """A DKIM-Signature field. tags: replace those of TAGS; an empty one takes it out. limit: of the octets of the body
    that are hashed. tail: what follows the value of b=."""
    tags = {"bh": "", **TAGS, **tags}
    policy = CanonicalizationPolicy.from_c_value((tags["c"] or "simple/simple").encode())
    digest = hashlib.sha256(policy.canonicalize_body(body)[:limit]).digest()
    tags["bh"] = tags["bh"] or base64.b64encode(digest).decode()
    value = " " + ";\r\n ".join(f"{name}={value}" for name, value in tags.items() if value) + ";\r\n b="
    own = b"DKIM-Signature", value.encode() + tail + b"\r\n"
    parsed = read_header(fields + b"\r\n").fields
    pairs = [(fields[each.start : each.value_start - 1], fields[each.value_start : each.end]) for each in parsed]
    names = [name.strip().lower().encode() for name in tags["h"].split(":")]
    hasher = hashlib.sha256()
    dkim.hash_headers(hasher, policy, policy.canonicalize_headers(pairs), names, own, {})
    signature = base64.b64encode(RSASSA_PKCS1_v1_5_sign(hasher, parse_pem_private_key(pem(bits))))
    return b"DKIM-Signature:" + value.encode() + signature[:60] + b"\r\n  " + signature[60:] + tail + b"\r\n"


def message(*signatures: bytes, fields: bytes = FIELDS, body: bytes = BODY) -> bytes:
    return b"".join(signatures) + fields + b"\r\n" + body


# --- asking ----------------------------------------------------------------------------------------


class Dns:
    """TXT records by name; an exception is raised. asked: in order."""

    def __init__(self, zone: Mapping[str, Sequence[bytes] | Exception]) -> None:
        self.zone = zone
        self.asked: list[str] = []

    async def txt(self, name: str) -> TxtAnswer:
        self.asked.append(name)
        found = self.zone.get(name, ())
        if isinstance(found, Exception):
            raise found
        return TxtAnswer(DnsStatus.OK if found else DnsStatus.NO_NAME, tuple(found), 300)

    mx = a = aaaa = ptr = txt  # type: ignore[assignment] - never asked


def report(content: bytes, zone: Mapping[str, Sequence[bytes] | Exception] | Resolver, now: float = NOW) -> DkimReport:
    resolver = Dns(zone) if isinstance(zone, Mapping) else zone
    return asyncio.run(verify(content, read_header(content), resolver, now=now))


def only(content: bytes, *records: bytes, now: float = NOW) -> Signature:
    """What comes of the only signature. records: at KEY_NAME; the right one if none is given."""
    (signature,) = report(content, {KEY_NAME: records or (record(),)}, now).signatures
    return signature


def passes(warnings: tuple[str, ...] = ()) -> Signature:
    return Signature("a.example", "s1", PASSED, warnings=warnings)


def fails(why: str, warnings: tuple[str, ...] = ()) -> Signature:
    return Signature("a.example", "s1", FAILED, why, warnings)


def unknown(why: str) -> Signature:
    return Signature("a.example", "s1", UNKNOWN, why)


def unanswered(why: str) -> Signature:
    return Signature("a.example", "s1", UNANSWERED, why)


# --- messages of real signers ----------------------------------------------------------------------

KEPT = sorted(path.stem for path in MESSAGES.glob("*.eml") if path.with_suffix(".txt").exists())
SELECTOR = {"dkim": "s1"}
SHA1 = "opendkim"  # as it signs by default


def kept(name: str, content: bytes | None = None) -> Signature:
    """Through a DNS server, with the record in strings of 100 octets."""
    key = (MESSAGES / f"{name}.txt").read_text().strip()
    strings = " ".join(f'"{key[start : start + 100]}"' for start in range(0, len(key), 100))
    selector = SELECTOR.get(name, name)
    with TestDnsServer(f"{selector}._domainkey.proved.example. TXT {strings}\n") as server:
        content = content or (MESSAGES / f"{name}.eml").read_bytes()
        found = report(content, DnspythonResolver((server.address,)))
    (signature,) = found.signatures
    assert (found.unread, found.duplicates) == (0, ())
    assert (signature.domain, signature.selector) == ("proved.example", selector)
    return signature


@pytest.mark.parametrize("name", [name for name in KEPT if name != SHA1])
def test_messages_of_real_signers(name: str) -> None:
    content = (MESSAGES / f"{name}.eml").read_bytes()
    assert kept(name).result is PASSED
    # What the relay puts on top changes nothing
    assert kept(name, b"Received: from a by b; Mon, 23 Nov 2026 10:00:00 +0000\r\n" + content).result is PASSED
    assert kept(name, content.replace(b"\r\nFrom: ", b"\r\nFrom: X ")).why.startswith("the header has changed")
    assert kept(name, content.replace(b"\r\n\r\n", b"\r\n\r\nX", 1)).why == "the body has changed"


def test_sha1_of_a_real_signer() -> None:
    assert SHA1 in KEPT
    assert kept(SHA1) == Signature(
        "proved.example", SHA1, FAILED, "rsa-sha1 is too weak, rsa-sha256 is needed"
    )  # RFC 8301 §3.1


def test_what_stands_inside_a_forwarded_message_is_no_signature() -> None:
    content = (MESSAGES / "python-forward.eml").read_bytes()
    assert b"\r\nDKIM-Signature: " in content
    assert report(content, {}) == DkimReport(())


# --- what passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1024, 2048])
@pytest.mark.parametrize("canonicalization", ["", "relaxed", "simple/simple", "simple/relaxed", "relaxed/relaxed"])
def test_passes(canonicalization: str, bits: int) -> None:
    assert only(message(sign(bits=bits, c=canonicalization)), record(public(bits))) == passes()


@pytest.mark.parametrize(
    ("tags", "fields"),
    [
        pytest.param({"h": "from : to :\r\n  subject"}, FIELDS, id="blanks in h="),
        pytest.param({"h": "From:FROM:Sender:List-Id:To"}, FIELDS, id="what h= names in vain"),
        pytest.param({"h": "from:x:x"}, b"X: 1\r\nX: 2\r\nX: 3\r\n" + FIELDS, id="fields of one name from the bottom"),
        pytest.param({"h": "from:subject"}, FIELDS.replace(b"Subject:", b"Subject \t:"), id="a blank before the colon"),
        pytest.param({"i": "@a.example"}, FIELDS, id="i= the same"),
        pytest.param({"i": "=C3=A5@Mail.A.example"}, FIELDS, id="i= below d="),
        pytest.param({"d": "A.Example", "s": "S1"}, FIELDS, id="capitals"),
        pytest.param({"q": "x : dns/txt"}, FIELDS, id="q="),
        pytest.param({"z": "From:=20x|b=3D", "r": "y", "y_1": "b =x"}, FIELDS, id="z= and unknown tags"),
        pytest.param({"t": str(NOW + 300), "x": str(NOW + 301)}, FIELDS, id="times"),
        pytest.param({"x": "999999999999"}, FIELDS, id="the last x="),
    ],
)
def test_passes_with(tags: dict[str, str], fields: bytes) -> None:
    assert only(message(sign(fields, **tags), fields=fields)) == passes()


def test_another_signature_may_be_signed() -> None:
    """RFC 6376 §3.5 h=; the one that is being verified never counts among them."""
    inner = sign()
    outer = sign(inner + FIELDS, h="from:dkim-signature:dkim-signature")
    assert report(message(outer, inner), {KEY_NAME: (record(),)}).signatures == (passes(), passes())
    assert report(message(outer, sign(s="s2")), {KEY_NAME: (record(),)}).signatures[0] == fails(CHANGED)


@pytest.mark.parametrize("canonicalization", ["relaxed", "simple"])
def test_blanks_around_the_value_of_b_do_not_count(canonicalization: str) -> None:
    """RFC 6376 §3.5. dkimpy takes those behind it for signed."""
    signature = sign(c=canonicalization, tail=b"; y=b")
    assert only(message(signature)) == passes()
    assert only(message(signature.replace(b" b=", b" b= \r\n\t").replace(b"; y=b", b" \t\r\n ; y=b"))) == passes()
    assert only(message(signature.replace(b"; y=b", b"; y=c"))) == fails(CHANGED)


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        pytest.param("v=DKIM1; p={}", (), id="no k="),
        pytest.param("p={}", (), id="only p="),
        pytest.param(" v = DKIM1 ;\tp = {} ; ", (), id="blanks"),
        pytest.param("h=sha1 : sha256; p={}", (), id="h="),
        pytest.param("s=other:email; p={}", (), id="s="),
        pytest.param("v=DKIM1; s=*; t=s; n=note; g=*; p={}", (), id="t=s, and tags of old"),
        pytest.param("t=y:s; p={}", ("the key is published as a test (t=y)",), id="t=y"),
    ],
)
def test_key_records_that_are_good(text: str, warnings: tuple[str, ...]) -> None:
    for key in (public(), f"{public()[:50]} \t{public()[50:]}"):
        assert only(message(sign()), text.format(key).encode()) == passes(warnings)


def test_a_key_without_its_wrapping() -> None:
    numbers = private_key(1024).public_key().public_numbers()
    assert only(message(sign(bits=1024)), record(bare_key(numbers.n, numbers.e))) == passes()  # as some publish it


def test_a_selector_as_signers_have_it() -> None:
    zone = {"k_1-a.2026._domainkey.a.example": (record(),)}
    assert report(message(sign(s="K_1-a.2026")), zone).signatures == (Signature("a.example", "k_1-a.2026", PASSED),)


def test_u_labels() -> None:
    """RFC 8616 §5"""
    fields = FIELDS.replace(b"a.example", "å.example".encode())
    signed = message(sign(fields, d="å.example", s="ö"), fields=fields)
    zone = {"xn--nda._domainkey.xn--5ca.example": (record(),)}
    assert report(signed, zone).signatures == (Signature("xn--5ca.example", "xn--nda", PASSED),)


@pytest.mark.parametrize(
    ("limit", "warnings"),
    [(0, ("l= leaves 25 octets of the body unsigned",)), (8, ("l= leaves 17 octets of the body unsigned",)), (25, ())],
)
def test_a_body_signed_in_part(limit: int, warnings: tuple[str, ...]) -> None:
    assert only(message(sign(limit=limit, l=str(limit)))) == passes(warnings)


# --- what fails, and the words for it --------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        pytest.param({"h": "to:subject"}, "no From in h=", id="no From"),
        pytest.param({"t": str(NOW - 9), "x": str(NOW - 1)}, "expired at 2026-11-24T05:59:59Z", id="expired"),
        pytest.param({"t": str(NOW + 301)}, "signed in the future (t=)", id="in the future"),
        pytest.param({"t": "5", "x": "5"}, "it expires before it was signed (x=, t=)", id="x= not after t="),
        pytest.param({"x": "soon"}, "x= is not a number", id="x= a word"),
        pytest.param({"t": "1" * 13}, "t= is not a number", id="t= long"),
        pytest.param({"l": "-1"}, "l= is not a number", id="l= negative"),
        pytest.param({"l": "26"}, "the body is shorter than l= says", id="l= beyond the body"),
        pytest.param({"l": "24"}, "the body has changed", id="l= of another body"),
        pytest.param({"a": "rsa-sha1"}, "rsa-sha1 is too weak, rsa-sha256 is needed", id="sha1"),
        pytest.param({"a": "rsa-md5"}, "its algorithm is not known (a=)", id="a="),
        pytest.param({"v": "2"}, "its version is not 1 (v=)", id="v="),
        pytest.param({"q": "http"}, "its key is not in DNS (q=)", id="q="),
        pytest.param({"i": "jo@b.example"}, "the domain of i= is neither d= nor below it", id="i="),
        pytest.param({"i": "jo@xa.example"}, "the domain of i= is neither d= nor below it", id="i= ends alike"),
        pytest.param({"i": "jo@"}, "what follows the @ of i= is not a domain name", id="i= of nothing"),
        pytest.param({"bh": "!"}, "bh= is not base64", id="bh="),
        pytest.param({"bh": "QUJD"}, "the body has changed", id="bh= of another length"),
        pytest.param({"h": ""}, "it has no h=", id="no h="),
    ],
)
def test_signatures_that_fail(tags: dict[str, str], why: str) -> None:
    assert only(message(sign(**tags))) == fails(why)


@pytest.mark.parametrize(
    ("canonicalization", "old", "new", "why"),
    [
        pytest.param("relaxed/relaxed", b"see", b"sea", "the body has changed", id="body"),
        pytest.param("relaxed/simple", b"Hello  you", b"Hello you", "the body has changed", id="blanks in it, simple"),
        pytest.param("relaxed/relaxed", b"Hello  you", b"Hello you", "", id="blanks in it, relaxed"),
        pytest.param("relaxed/relaxed", BODY, b"", "the body has changed", id="no body"),
        pytest.param("simple/simple", b"you.\r\n\r\n\r\n", b"you.\r\n", "", id="empty lines at the end"),
        pytest.param("relaxed/relaxed", b"From: Jo", b"From: Bo", CHANGED, id="From"),
        pytest.param("relaxed/relaxed", b"From: Jo", b"FROM:\r\n Jo", "", id="folding, relaxed"),
        pytest.param("simple/relaxed", b"From: Jo", b"FROM: Jo", CHANGED, id="name of a field, simple"),
        pytest.param("relaxed/relaxed", b"To:", b"Cc: x@b.example\r\nTo:", CHANGED, id="a field signed as absent"),
        pytest.param("relaxed/relaxed", b"To:", b"X: x@b.example\r\nTo:", "", id="a field not signed"),
        pytest.param("relaxed/relaxed", b"To:", b"From: x@b.example\r\nTo:", NOT_EVERY_FROM, id="two From"),
        pytest.param("relaxed/relaxed", b"c=relaxed/relaxed", b"c=relaxed/nofws", NO_CANON, id="c="),
        pytest.param("relaxed/relaxed", b"c=relaxed/relaxed", b"c=relaxed/relaxed/", NO_CANON, id="c= of three"),
        pytest.param("relaxed/relaxed", b" b=", b" b=*", "b= is not base64", id="b="),
        pytest.param("relaxed/relaxed", b" b=", b" b=AAAA", CHANGED, id="b= longer"),
    ],
)  # fmt: skip
def test_changes_on_the_way(canonicalization: str, old: bytes, new: bytes, why: str) -> None:
    signed = message(sign(c=canonicalization, h="from:to:cc:subject"))
    assert signed.count(old) == 1
    assert only(signed.replace(old, new)) == (fails(why) if why else passes())


def test_every_octet_counts() -> None:
    signed = message(sign(c="simple/simple", h="from:to:subject:date:message-id"))
    header = read_header(signed)
    covered = {*range(header.end, len(signed.rstrip(b"\r\n")))}
    for each in header.fields:
        covered |= {*range(each.value_start, each.end)}
    places = [place for place in covered if signed[place] not in b"\r\n" and signed[place - 1] not in b"\n"]
    assert len(places) > 550
    key = record()
    for place in places:
        assert only(signed[:place] + b"#" + signed[place + 1 :], key).result is not PASSED


@pytest.mark.parametrize(
    ("text", "domain", "why"),
    [
        pytest.param(b"v=1; d=a.example", "a.example", "it has no s=", id="no s="),
        pytest.param(b"v=1; s=s1", "", "it has no d=", id="no d="),
        pytest.param(b"v=1; d=example; s=s1", "", NO_DOMAIN, id="d= of one label"),
        pytest.param(b"v=1; d=\xff.example", "", NO_DOMAIN, id="d= not UTF-8"),
        pytest.param(b"d=" + "å".encode() * 8_000, "", NO_DOMAIN, id="d= long"),
        pytest.param(b"d=a.example; s=a b", "a.example", "s= is not a domain name", id="s= with a blank"),
        pytest.param(b"d=a.example; s=.", "a.example", "s= is not a domain name", id="s= a dot"),
        pytest.param(b"", "", NO_TAGS, id="empty"),
        pytest.param(b"v=1;;", "", NO_TAGS, id="empty tag"),
        pytest.param(b"v=1; v=1", "", NO_TAGS, id="a tag twice"),
        pytest.param(b"v=1; 1x=2", "", NO_TAGS, id="tag name"),
        pytest.param(b"v=1; x", "", NO_TAGS, id="no ="),
    ],
)
def test_signatures_that_cannot_be_read(text: bytes, domain: str, why: str) -> None:
    assert only(message(b"DKIM-Signature: " + text + b"\r\n")) == Signature(domain, "", FAILED, why)


def test_no_text_is_too_long_for_the_domain_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """IDNA takes milliseconds for thousands of labels."""
    parsed = []

    def noted(text: str) -> str:
        parsed.append(len(text.encode()))
        return parse_domain(text)

    monkeypatch.setattr("relay.proof.dkim_tags.parse_domain", noted)
    for tags in (
        {"d": "å." * 3_000 + "example"},
        {"s": "å." * 3_000 + "example"},
        {"i": "@" + "å." * 3_000 + "example"},
    ):
        assert only(message(sign(**tags))).result is FAILED
    assert parsed
    assert max(parsed) < 1_024


def test_a_signature_too_long_is_not_read() -> None:
    limit = MAX_FIELD - len(sign(z=""))
    assert only(message(sign(z="x" * (limit - 10)))) == passes()
    assert only(message(sign(z="x" * (limit + 1)))) == Signature("", "", UNKNOWN, "it is longer than 16384 octets")


@pytest.mark.parametrize(
    ("key", "tags", "expected"),
    [
        pytest.param("", {}, fails("the key is revoked"), id="revoked"),
        pytest.param((1 << 511) + 1, {}, fails("the key has 512 bits, at least 1024 are needed"), id="512 bits"),
        pytest.param((1 << 1022) + 1, {}, fails("the key has 1023 bits, at least 1024 are needed"), id="1023 bits"),
        pytest.param(1 << 2047, {}, fails(CHANGED), id="another key"),
        pytest.param((1 << 4095) + 1, {}, fails(CHANGED), id="4096 bits"),
        pytest.param((1 << 4096) + 1, {}, unknown(TOO_LARGE), id="4097 bits"),
        pytest.param("!", {}, fails("p= of the key is not base64"), id="not base64"),
        pytest.param("QUJD", {}, fails("the key cannot be read"), id="not DER"),
        pytest.param(None, {"k": "ed25519"}, fails("the key is not an RSA key (k=)"), id="k="),
        pytest.param(None, {"h": "sha1"}, fails("the key is not for sha256 (h=)"), id="h=sha1"),
        pytest.param(None, {"s": "tlsrpt"}, fails("the key is not for e-mail (s=)"), id="s="),
        pytest.param(None, {"v": "DKIM2"}, fails(NO_KEY), id="v="),
        pytest.param(None, {"n": "x" * 16_000}, unknown(TOO_LONG), id="16 KB"),
    ],
)  # fmt: skip
def test_keys_that_are_not_good(key: str | int | None, tags: dict[str, str], expected: Signature) -> None:
    text = record(bare_key(key) if isinstance(key, int) else key, **tags)
    assert only(message(sign()), text) == expected


@pytest.mark.parametrize("text", [b"k=rsa; p=; v=DKIM1", b"v=DKIM1; k=rsa", b"v=spf1 -all", b"", b"p=;;", b"\xff"])
def test_records_that_are_no_keys(text: bytes) -> None:
    assert only(message(sign()), text) == fails(NO_KEY)


def test_a_key_with_a_large_exponent_takes_too_long() -> None:
    assert only(message(sign()), record(bare_key(1 << 2047, 1 << 33))) == unknown(TOO_LARGE)


def test_a_key_not_for_subdomains() -> None:
    signed = message(sign(i="@mail.a.example"))
    assert only(signed) == passes()
    assert only(signed, record(t="y : s")) == fails("the key is not for subdomains (t=s), and i= has one")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(
            [b"p=" + bare_key(1 << 2047).encode()],
            passes((f"there are 2 keys at {KEY_NAME}",)),
            id="the other one fits",
        ),
        pytest.param([b"v=spf1 -all"], passes(), id="one is no key"),
        pytest.param([b"p=" + b"x" * 5_000], passes(), id="one is too long"),
        pytest.param(
            [b"p=", *[b"p=AAAA"] * 3], fails("the key is revoked", (f"there are 4 keys at {KEY_NAME}",)), id="too many"
        ),
    ],
)
def test_several_records(before: list[bytes], expected: Signature) -> None:
    assert only(message(sign()), *before, record()) == expected


def test_a_signature_is_below_the_modulus_and_as_long() -> None:
    """RFC 8017 §8.2.2 step 1, §5.2.2; with 1 as exponent the signature is the encoded digest itself."""
    modulus, digest = (1 << 1023) + 1, hashlib.sha256(b"x")
    key = {"modulus": modulus, "publicExponent": 1}
    encoded = int.from_bytes(EMSA_PKCS1_v1_5_encode(digest, 128))
    assert module._rsa_verifies(key, encoded.to_bytes(128), digest)
    assert not module._rsa_verifies(key, encoded.to_bytes(129), digest)
    assert not module._rsa_verifies(key, (encoded + modulus).to_bytes(128), digest)


# --- DNS -------------------------------------------------------------------------------------------


def test_no_key() -> None:
    (signature,) = report(message(sign()), {}).signatures
    assert signature == fails(f"key not found at {KEY_NAME}")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TemporaryError("no answer"), unanswered(f"DNS did not answer for the key at {KEY_NAME}")),
        (PermanentError("too long"), fails(f"key not found at {KEY_NAME}")),
    ],
)
def test_errors_of_dns(error: Exception, expected: Signature) -> None:
    (signature,) = report(message(sign()), {KEY_NAME: error}).signatures
    assert signature == expected


def test_what_a_dns_server_does() -> None:
    """A key that is cut over UDP, a SERVFAIL, and an answer of more than 16 KB."""
    names = {name: f"{name}._domainkey.a.example" for name in ("cut", "fail", "long")}
    key = record().decode()
    strings = f'"{key[:200]}" "{key[200:]}"'
    zone = f"{names['cut']}. TXT {strings}\n{names['long']}. TXT {strings}\n"
    zone += "".join(f'{names["long"]}. TXT "{number} {"x" * 240}"\n' for number in range(80))
    signed = message(*(sign(s=name) for name in names))
    with TestDnsServer(zone, truncate=True) as server:
        server.servfail.add(names["fail"])
        found = report(signed, DnspythonResolver((server.address,)))
    assert [each.result for each in found.signatures] == [PASSED, UNANSWERED, UNANSWERED]
    assert found.domains(PASSED) == ("a.example",)


def test_a_selector_too_long_for_dns_has_no_key() -> None:
    selector = ".".join(["x" * 60] * 5)
    with TestDnsServer() as server:
        (signature,) = report(message(sign(s=selector)), DnspythonResolver((server.address,))).signatures
    assert signature.why == f"key not found at {selector}._domainkey.a.example"


def test_keys_are_asked_for_at_once_and_each_once() -> None:
    class AllOrNone(Dns):
        async def txt(self, name: str) -> TxtAnswer:
            answer = await super().txt(name)
            if len(self.asked) == 3:
                asked.set()
            await asyncio.wait_for(asked.wait(), 10)
            return answer

    asked = asyncio.Event()
    resolver = AllOrNone({f"{name}._domainkey.a.example": (record(),) for name in "xyz"})
    found = report(message(*(sign(s=name) for name in "xyzx")), resolver)
    assert [each.result for each in found.signatures] == [PASSED] * 4
    assert sorted(resolver.asked) == [f"{name}._domainkey.a.example" for name in "xyz"]


def test_nothing_is_asked_for_what_is_not_signed() -> None:
    resolver = Dns({})
    assert report(message(), resolver) == DkimReport(())
    assert report(message(sign(a="rsa-sha1")), resolver).signatures[0].result is FAILED
    assert not resolver.asked


# --- several signatures ----------------------------------------------------------------------------


def test_one_good_one_among_several() -> None:
    signed = message(
        sign(x="1"), sign(d="b.example"), sign(bh="QUJD"), sign(a="ed25519-sha256"), sign(limit=5, l="5"), sign()
    )
    found = report(signed, {KEY_NAME: (record(),)})
    assert found.signatures == (
        fails("expired at 1970-01-01T00:00:01Z"),
        Signature("b.example", "s1", FAILED, "key not found at s1._domainkey.b.example"),
        fails("the body has changed"),
        unknown("Ed25519 is not checked here"),
        passes(("l= leaves 20 octets of the body unsigned",)),
        passes(),
    )
    assert found.domains() == ("a.example", "b.example")
    assert found.domains(PASSED) == ("a.example",)
    assert found.domains(UNKNOWN) == ("a.example",)


def test_only_the_first_ones_are_looked_at() -> None:
    found = report(message(*[sign(d="b.example")] * MAX_SIGNATURES, sign(), sign()), {KEY_NAME: (record(),)})
    assert len(found.signatures) == MAX_SIGNATURES
    assert found.unread == 2
    assert alignment(found, "b.example", ["b.example"]) == Alignment(UNKNOWN, "there are more than 10 DKIM signatures")


# --- alignment -------------------------------------------------------------------------------------

GOOD = passes()
BAD = fails("the body has changed")
OPEN = unknown("DNS did not answer")
ELSEWHERE = Signature("b.example", "s2", PASSED)


@pytest.mark.parametrize(
    ("signatures", "aligned", "expected"),
    [
        pytest.param((), [], Alignment(FAILED, "there is no DKIM signature"), id="none"),
        pytest.param((GOOD,), ["a.example"], Alignment(PASSED), id="good"),
        pytest.param((BAD, OPEN, GOOD), ["a.example"], Alignment(PASSED), id="one is enough"),
        pytest.param((ELSEWHERE,), [], Alignment(FAILED, "no DKIM signature stands for x.a.example"), id="elsewhere"),
        pytest.param((ELSEWHERE, GOOD), ["b.example"], Alignment(PASSED), id="the organisation's"),
        pytest.param(
            (BAD, ELSEWHERE),
            ["a.example"],
            Alignment(FAILED, "the DKIM signature of a.example, selector s1: the body has changed"),
            id="only the other one is good",
        ),
        pytest.param(
            (BAD, OPEN),
            ["a.example"],
            Alignment(UNKNOWN, "the DKIM signature of a.example, selector s1: DNS did not answer"),
            id="nobody knows",
        ),
    ],
)
def test_alignment(signatures: tuple[Signature, ...], aligned: list[str], expected: Alignment) -> None:
    assert alignment(DkimReport(signatures), "x.a.example", aligned) == expected


def test_a_signature_in_words() -> None:
    assert str(GOOD) == "the DKIM signature of a.example, selector s1: passed"
    assert str(Signature("", "", FAILED, "it has no d=")) == "the DKIM signature: it has no d="


# --- duplicates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "duplicates"),
    [
        pytest.param(b"", (), id="none"),
        pytest.param(b"received: x\r\nReceived: y\r\nComments: a\r\nComments: b\r\n", (), id="what may be repeated"),
        pytest.param(b"subject: x\r\nMESSAGE-ID: <x@a.example>\r\n", ("Subject", "Message-ID"), id="RFC 5322"),
        pytest.param(b"MIME-Version: 1.0\r\nMIME-Version: 1.0\r\nMime-version: 1.0\r\n", ("MIME-Version",), id="MIME"),
        pytest.param(
            b"List-Unsubscribe: <x>\r\nList-Unsubscribe-Post: a\r\nList-Unsubscribe-Post : b\r\n",
            ("List-Unsubscribe-Post",),
            id="RFC 8058",
        ),
    ],
)
def test_duplicates(fields: bytes, duplicates: tuple[str, ...]) -> None:
    assert report(message(fields=fields + FIELDS), {}).duplicates == duplicates


# --- against dkimpy --------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from([b"a", b"b", b" ", b"  ", b"\t", b"\r\n", b"\r\n\r\n", b" \r\n", b"."]), max_size=40
).map(b"".join)
CANONICALIZATIONS = st.tuples(*[st.sampled_from([b"simple", b"relaxed"])] * 2)


@settings(deadline=None)
@given(PIECES, st.booleans(), st.integers(0, 9))
def test_a_body_is_canonicalized_as_dkimpy_does_it_wherever_it_is_cut(body: bytes, relaxed: bool, chunk: int) -> None:
    policy = CanonicalizationPolicy.from_c_value(b"simple/relaxed" if relaxed else b"simple/simple")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "_CHUNK", chunk or 65_536)
        ours = b"".join(canonical.canonical_body(b"head" + body, 4, relaxed))
    assert ours == policy.canonicalize_body(body)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"To", b"TO", b"Cc", b"x-Y"]), PIECES), max_size=6),
    PIECES.map(lambda body: body + b"\r\n"),
    CANONICALIZATIONS,
    st.booleans(),
)
def test_what_dkimpy_signs_passes(
    others: list[tuple[bytes, bytes]], body: bytes, canonicalization: tuple[bytes, bytes], partly: bool
) -> None:
    fields = b"".join(name + b":" + value.replace(b"\r\n", b"") + b"x\r\n\t y\r\n" for name, value in others)
    content = b"From: jo@a.example\r\n" + fields + b"\r\n" + body
    signature = dkim.sign(content, b"s1", b"a.example", pem(1024), canonicalize=canonicalization, length=partly)
    now = time.time()  # which dkimpy takes for t=
    assert only(signature + content, record(public(1024)), now=now) == passes()
    assert only(signature + content + b"more\r\n", record(public(1024)), now=now).result is (
        PASSED if partly else FAILED
    )


# --- hostile ---------------------------------------------------------------------------------------

TAG = st.tuples(
    st.sampled_from(b"v a b bh c d h i l q s t x z k p n".split()),
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            b"1 DKIM1 rsa rsa-sha256 relaxed/relaxed a.example @ s1 from QUJD -1 \xff : / y:s sha256".split()
        ),
    ),
)
TAG_LISTS = st.one_of(
    st.binary(max_size=200), st.lists(TAG, max_size=12).map(lambda tags: b";".join(map(b"=".join, tags)))
)


MUTATION = st.tuples(st.integers(0, 2_000), st.integers(0, 4), st.binary(max_size=4))


@functools.cache
def signature_and_key() -> tuple[bytes, bytes]:
    return sign(), base64.b64decode(public())


def mutated(text: bytes, mutation: tuple[int, int, bytes]) -> bytes:
    place, length, new = mutation
    place %= len(text)
    return text[:place] + new + text[place + length :]


def can_be_shown(signature: Signature) -> bool:
    return (
        signature.why.isascii()
        and signature.why.isprintable()
        and bool(signature.why) is not (signature.result is PASSED)
    )


@settings(max_examples=300, deadline=None)
@given(TAG_LISTS, st.binary(max_size=20))
def test_no_signature_raises(text: bytes, body: bytes) -> None:
    value = text.translate(None, b"\r\n\0")
    assert can_be_shown(only(message(b"DKIM-Signature:" + value + b"\r\n", body=body)))


@settings(max_examples=300, deadline=None)
@given(MUTATION)
def test_nothing_close_to_a_signature_raises(mutation: tuple[int, int, bytes]) -> None:
    name, _, value = signature_and_key()[0].partition(b":")
    changed = mutated(value, mutation).translate(None, b"\r\n\0")
    assert can_be_shown(only(message(name + b":" + changed + b"\r\n")))


@settings(max_examples=300, deadline=None)
@given(TAG_LISTS)
def test_no_key_record_raises(text: bytes) -> None:
    assert can_be_shown(only(message(signature_and_key()[0]), text))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=40), MUTATION))
def test_nothing_close_to_a_key_raises(change: bytes | tuple[int, int, bytes]) -> None:
    signature, key = signature_and_key()
    key = change if isinstance(change, bytes) else mutated(key, change)
    assert can_be_shown(only(message(signature), b"p=" + base64.b64encode(key)))


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (b"\x30\x07\x30\x05\x06\x00\x05\x01\x00", AssertionError),
        (b"\x30\x04\x02\x00\x02\x00", None),
        (b"\x30\x05\x30\x84\xff\xff\xff", UnparsableKeyError),
    ],
)
def test_what_dkimpy_raises_for_keys_does_not_come_out(key: bytes, error: type[Exception] | None) -> None:
    with pytest.raises(error) if error else contextlib.nullcontext():
        parse_public_key(key)
    assert only(message(sign()), record(base64.b64encode(key).decode())).result is FAILED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b" " * 5_000_000 + b"x\r\n", id="one run of blanks"),
        pytest.param(b"x" + b" \t" * 2_500_000, id="blanks at the end"),
        pytest.param(b"\r\n" * 2_500_000 + b"x\r\n", id="empty lines"),
        pytest.param(b" \r\n" * 1_700_000, id="lines of a blank"),
        pytest.param(b"a  " * 1_700_000 + b"\r\n", id="a line of short words"),
        pytest.param(b"\r" * 5_000_000, id="bare CR"),
    ],
)
@pytest.mark.parametrize("canonicalization", ["relaxed/relaxed", "simple/simple"])
def test_a_body_takes_linear_time(body: bytes, canonicalization: str) -> None:
    """Some 0.2 s; where blanks are run through again from each of them, hours."""
    signed = message(*[sign(c=canonicalization, l=str(limit)) for limit in range(10)], body=body)
    begin = time.process_time()
    found = report(signed, {KEY_NAME: (record(),)})
    assert time.process_time() - begin < 5
    assert {each.why for each in found.signatures} <= {"the body has changed", "the body is shorter than l= says"}


FOLDS = b"\r\n " * 4_500


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(b"y=a b" + FOLDS + b"c; h=from", id="blanks after a b"),
        pytest.param(FOLDS + b"h=from", id="blanks in front"),
        pytest.param(b"".join(b"y%d=; " % number for number in range(1_900)) + b"h=from", id="tags"),
        pytest.param(b"h=from" + b":from" * 2_800, id="one name"),
        pytest.param(b"h=from" + b"".join(b":x%d" % number for number in range(1_900)), id="names"),
    ],
)
def test_a_header_takes_linear_time(tags: bytes) -> None:
    """Some 0.1 s, hashes of the header's 200 KB included."""
    fields = b"".join(b"X%d: %sx\r\n" % (number, b"\r\n\t" * 20) for number in range(1_900)) + FIELDS
    signature = sign(h="").replace(b"DKIM-Signature:", b"DKIM-Signature: " + tags + b";")
    assert 8_000 < len(signature) < MAX_FIELD
    content = message(*[signature] * 5, fields=fields)
    begin = time.process_time()
    found = report(content, {KEY_NAME: (record(),)})
    assert time.process_time() - begin < 5
    assert [each.why for each in found.signatures] == [CHANGED] * 5


@pytest.mark.parametrize(("size", "in_the_loop"), [(1_000, True), (IN_THE_LOOP + 1, False)])
def test_large_messages_leave_the_loop_alone(size: int, in_the_loop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def noted(*arguments: object) -> tuple[Signature, ...]:
        threads.append(threading.current_thread())
        return check(*arguments)  # type: ignore[arg-type]

    check = module._check
    monkeypatch.setattr(module, "_check", noted)
    body = b"x\r\n" * (size // 3)
    assert only(message(sign(body=body), body=body)) == passes()
    assert [thread is threading.main_thread() for thread in threads] == [in_the_loop]
