"""relay.proof.message: what DKIM and the From domain's policy make of a message. Real signatures, real DNS."""

import asyncio
import base64
from collections.abc import Collection, Sequence
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relay.dkim_keys import Ready
from relay.dns import DnspythonResolver
from relay.header import Header, read_header
from relay.ports import TxtAnswer
from relay.proof.message import DkimCheck, MessageCheck, MessageProof
from relay.proof.verdict import Policy, Verdict
from tests.dnsserver import TestDnsServer
from tests.fakes import FakeClock

MESSAGE = b"From: Jo <jo@d.example>\r\nTo: al@in.example\r\nSubject: hello\r\n\r\nbody\r\n"
RELAXED = Policy("d.example")
REJECT = Policy("d.example", rejects=True)
STRICT = Policy("d.example", strict_spf=True, strict_dkim=True, rejects=True)


@cache
def key() -> tuple[bytes, str]:
    """(PEM, the TXT record's p=)."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    der = made.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem, base64.b64encode(der).decode()


def signed(domain: str, message: bytes = MESSAGE) -> bytes:
    return bytes(dkim.sign(message, b"s", domain.encode(), key()[0], include_headers=[b"from", b"subject"])) + message


class NobodyAsked:
    async def ready(self, domains: Collection[str]) -> dict[str, Ready]:
        return {}

    async def sign(self, content: bytes, header: Header, ready: Sequence[Ready]) -> bytes:
        raise AssertionError("nobody asked for it")


ZONE = """d.example. TXT "v=spf1 -all"
_dmarc.d.example. TXT "v=DMARC1; p=none"
other.example. TXT "-"
"""


def zone(*domains: str) -> str:
    return ZONE + "".join(f's._domainkey.{name}. TXT "v=DKIM1; p={key()[1]}"\n' for name in domains)


def prove(
    content: bytes,
    *keys: str,
    check: DkimCheck = DkimCheck.WARN,
    envelope: str = "d.example",
    policy: Policy = RELAXED,
    servfail: str = "",
) -> MessageProof:
    verdicts = {
        "d.example": Verdict("d.example", policy=policy),
        "b.d.example": Verdict("b.d.example", policy=Policy("d.example")),
        "other.example": Verdict("other.example", policy=Policy("other.example")),
    }
    with TestDnsServer(zone(*keys)) as server:
        server.servfail.add(servfail)
        prover = MessageCheck(DnspythonResolver((server.address,)), FakeClock(), check, NobodyAsked())
        header = read_header(content)
        assert prover.needs_content(header, {}) is (check is not DkimCheck.OFF and b"DKIM-Signature" in content)
        return asyncio.run(prover(content, header, envelope, verdicts, {}))


def test_signed_by_the_from_domain() -> None:
    assert prove(signed("d.example"), "d.example", policy=STRICT) == MessageProof()


def test_signed_by_a_domain_of_the_same_organisation() -> None:
    content = signed("mail.d.example")
    assert prove(content, "mail.d.example") == MessageProof()
    (warning,) = prove(content, "mail.d.example", policy=STRICT).warnings
    assert "reject" in warning


WARNINGS = {
    "no signature": (MESSAGE, {}, "there is no DKIM signature: large mailbox providers want a signature of d.example"),
    "no signature, reject": (
        MESSAGE,
        {"policy": REJECT},
        "the DMARC policy of d.example is reject and there is no DKIM signature: forwarded mail is refused",
    ),
    "null sender": (
        MESSAGE,
        {"envelope": ""},
        "neither SPF nor DKIM stands for d.example (there is no DKIM signature):"
        " receivers that check DMARC take the message for a forgery",
    ),
    "another envelope domain, reject": (
        MESSAGE,
        {"envelope": "other.example", "policy": REJECT},
        "neither SPF nor DKIM stands for d.example (there is no DKIM signature):"
        " receivers that check DMARC are asked to reject the message",
    ),
    "an envelope domain of the organisation": (
        MESSAGE,
        {"envelope": "b.d.example", "policy": REJECT},
        "the DMARC policy of d.example is reject and there is no DKIM signature: forwarded mail is refused",
    ),
    "aspf=s": (
        signed("d.example"),
        {"envelope": "b.d.example", "policy": STRICT},
        "the DMARC policy of d.example has aspf=s,"
        " so SPF of the envelope sender's domain b.d.example does not count for it",
    ),
    "aspf=s, not checked": (
        MESSAGE,
        {"envelope": "", "policy": STRICT, "check": DkimCheck.OFF},
        "the DMARC policy of d.example has aspf=s, so SPF of the envelope sender's domain (none) does not count for it",
    ),
    "signed by another": (
        signed("other.example"),
        {},
        "no DKIM signature stands for d.example: large mailbox providers want a signature of d.example",
    ),
    "two Subjects": (
        signed("d.example", b"Subject: one\r\n" + MESSAGE),
        {},
        "the header has more than one of Subject: receivers distrust that, and no signature may cover it",
    ),
}


@pytest.mark.parametrize(("content", "options", "warning"), WARNINGS.values(), ids=WARNINGS.keys())
def test_warnings(content: bytes, options: dict[str, object], warning: str) -> None:
    found = prove(content, "d.example", "other.example", **options)  # type: ignore[arg-type]
    assert found.warnings == (warning,)
    assert not found.refusal
    assert not found.unknown


def test_a_broken_signature_is_told() -> None:
    found = prove(signed("d.example").replace(b"body", b"bodies"), "d.example")
    assert found.warnings[0].startswith("the DKIM signature of d.example does not count: ")
    assert "body" in found.warnings[0]
    assert not found.refusal


REFUSED = {
    "no signature": (MESSAGE, "a DKIM signature of d.example is required: there is no DKIM signature"),
    "another's": (
        signed("other.example"),
        "a DKIM signature of d.example is required: no DKIM signature stands for d.example",
    ),
    "broken": (
        signed("d.example").replace(b"body", b"bodies"),
        "a DKIM signature of d.example is required: the DKIM signature of d.example, selector s: ",
    ),
}


@pytest.mark.parametrize(("content", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_required(content: bytes, why: str) -> None:
    found = prove(content, "d.example", "other.example", check=DkimCheck.REQUIRE)
    assert found.refusal.startswith(why)
    assert not found.unknown


def test_required_and_there() -> None:
    assert prove(signed("d.example"), "d.example", check=DkimCheck.REQUIRE) == MessageProof()


def test_required_and_dns_is_away_is_neither() -> None:
    found = prove(signed("d.example"), "d.example", check=DkimCheck.REQUIRE, servfail="s._domainkey.d.example")
    assert found.unknown.startswith("a DKIM signature of d.example is required: ")
    assert not found.refusal


def test_required_and_beyond_what_is_checked_is_refused_at_once() -> None:
    content = signed("d.example").replace(b"a=rsa-sha256", b"a=ed25519-sha256")
    found = prove(content, "d.example", check=DkimCheck.REQUIRE)
    assert "Ed25519 is not checked here" in found.refusal
    assert not found.unknown


def test_every_author_needs_a_signature_of_its_own() -> None:
    content = MESSAGE.replace(b"From: Jo <jo@d.example>", b"From: jo@d.example, al@other.example")
    found = prove(signed("d.example", content), "d.example", check=DkimCheck.REQUIRE)
    assert found.refusal == (
        "a DKIM signature of other.example is required: no DKIM signature stands for other.example"
    )


def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.proof.message.SECONDS", 0.05)

    class Silent(DnspythonResolver):
        async def txt(self, name: str) -> TxtAnswer:
            return await asyncio.Event().wait()  # type: ignore[return-value]

    content = signed("d.example")
    prover = MessageCheck(Silent(), FakeClock(), DkimCheck.REQUIRE, NobodyAsked())
    verdicts = {"d.example": Verdict("d.example")}
    found = asyncio.run(prover(content, read_header(content), "d.example", verdicts, {}))
    assert "DNS" in found.unknown


def test_off_asks_nothing() -> None:
    with TestDnsServer(zone("d.example")) as server:
        prover = MessageCheck(DnspythonResolver((server.address,)), FakeClock(), DkimCheck.OFF, NobodyAsked())
        content = signed("d.example")
        verdicts = {"d.example": Verdict("d.example", policy=RELAXED)}
        assert asyncio.run(prover(content, read_header(content), "d.example", verdicts, {})) == MessageProof()
        assert not server.queries
