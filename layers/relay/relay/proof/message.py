"""What a message itself proves: DKIM, and whether DMARC will pass at receivers (RFC 9989 §4.4).

The domains' verdicts have been found good before. Here the sender learns why mail may be refused elsewhere; only
where DKIM is required does it decide. A From domain that has asked for signing, and for which no signature of the
message stands, gets one of the relay's: whatever the message's own may be worth, if DNS doesn't answer for it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.dkim_keys import Ready, Signing
from relay.errors import TemporaryError
from relay.header import Header
from relay.ports import Clock, Resolver
from relay.proof import dkim, dmarc
from relay.proof.dkim import Alignment, DkimReport
from relay.proof.dkim_tags import parse_tags
from relay.proof.verdict import Verdict

SECONDS: Final = 15.0  # all lookups of one message
MOST_WARNINGS: Final = 10  # they travel with each delivery

FORBIDDEN: Final = "a signature of the message would break, as it covers that there is no other"

Asked = Mapping[str, Ready]  # the From domains that have asked for signing


class DkimCheck(StrEnum):
    """What is done about mail without a valid signature of the From domain."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class MessageProof:
    """warnings: sentences. refusal: why the message is not taken, "" if it is. unknown: why that can't be said now, ""
    if it can. signature: DKIM-Signature fields of the relay's, to stand above the message as it is."""

    warnings: tuple[str, ...] = ()
    refusal: str = ""
    unknown: str = ""
    signature: str = ""


class MessageCheck:
    """resolver: one that remembers keys between messages (relay.proof.remembered)."""

    def __init__(self, resolver: Resolver, clock: Clock, check: DkimCheck, signing: Signing) -> None:
        self._resolver = resolver
        self._clock = clock
        self._check = check
        self._signing = signing

    async def asked(self, header: Header) -> Asked:
        """HeaderError as Header.authors; TemporaryError as Signing."""
        return await self._signing.ready(header.authors())

    def needs_content(self, header: Header, asked: Asked) -> bool:
        verifies = self._check is not DkimCheck.OFF and header.has(b"dkim-signature")
        return verifies or any(each.key for each in asked.values())

    async def __call__(
        self, content: bytes, header: Header, envelope: str, verdicts: Mapping[str, Verdict], asked: Asked
    ) -> MessageProof:
        """content: the whole message; not looked at unless `needs_content`. envelope: the envelope sender's domain, ""
        for the null reverse-path. verdicts: at least of it and of the From domains. HeaderError as Header.authors,
        TemporaryError as Signing."""
        authors = header.authors()
        able = [each for each in asked.values() if each.key]
        signed: dict[str, Alignment] = {}
        found: list[str] = []
        if able or self._check is not DkimCheck.OFF:
            report, signed = await self._signed(content, header, {author: verdicts[author] for author in authors})
            found = _of_report(report)
        ours = [each for each in able if signed[each.domain].result is not dkim.Result.PASSED]
        if ours and forbids_more(header):
            asked = {**asked, **{each.domain: each._replace(key=None, why=FORBIDDEN) for each in ours}}
            ours = []
        signature = (await self._signing.sign(content, header, ours)).decode("ascii") if ours else ""
        signed |= {each.domain: Alignment(dkim.Result.PASSED) for each in ours}
        if self._check is DkimCheck.OFF:
            signed, found = {}, []
        found += _of_signing(asked.values(), signed)
        for author in authors:
            by_spf = spf_stands_for(author, envelope, verdicts)
            found += _of_author(author, verdicts[author], envelope, by_spf, signed.get(author))
        proof = MessageProof(tuple(found[:MOST_WARNINGS]), signature=signature)
        return self._required(proof, signed) if self._check is DkimCheck.REQUIRE else proof

    def _required(self, proof: MessageProof, signed: Mapping[str, Alignment]) -> MessageProof:
        missing = {author: each for author, each in signed.items() if each.result is not dkim.Result.PASSED}
        for author, each in sorted(missing.items(), key=lambda item: item[1].result is dkim.Result.UNANSWERED):
            text = f"a DKIM signature of {author} is required: {each.why}"
            if each.result is dkim.Result.UNANSWERED:
                return MessageProof(proof.warnings, unknown=text)
            return MessageProof(proof.warnings, refusal=text)
        return proof

    async def _signed(
        self, content: bytes, header: Header, authors: Mapping[str, Verdict]
    ) -> tuple[DkimReport, dict[str, Alignment]]:
        """The signatures, and what they are to each From domain."""
        report = DkimReport(())
        try:
            async with asyncio.timeout(SECONDS):
                report = await dkim.verify(content, header, self._resolver, now=self._clock.now())
                return report, {author: await self._alignment(report, author, authors[author]) for author in authors}
        except (TemporaryError, TimeoutError):
            return report, dict.fromkeys(authors, Alignment(dkim.Result.UNANSWERED, "DNS does not answer"))

    async def _alignment(self, report: DkimReport, author: str, verdict: Verdict) -> Alignment:
        strict = verdict.policy.strict_dkim
        at_hand = {author, "" if strict else verdict.policy.organisation}  # what costs no DNS
        ours = [
            domain
            for domain in report.domains()
            if domain in at_hand or await dmarc.aligned(domain, author, strict=strict, resolver=self._resolver)
        ]
        return dkim.alignment(report, author, ours)


def forbids_more(header: Header) -> bool:
    """Whether a signature of the message names DKIM-Signature more often than there are others: one more would break
    it (RFC 6376 §5.4.2). So may an ARC-Message-Signature (RFC 8617 §4.1.2)."""
    there = sum(each.name == b"dkim-signature" for each in header.fields)
    for name, others in ((b"dkim-signature", there - 1), (b"arc-message-signature", there)):
        for value in header.values(name):
            names = (parse_tags(value) or {}).get(b"h", b"").lower().split(b":")
            if sum(each.strip(b" \t\r\n") == b"dkim-signature" for each in names) > others:
                return True
    return False


def spf_stands_for(author: str, envelope: str, verdicts: Mapping[str, Verdict]) -> bool:
    """Whether SPF, which proves the envelope sender's domain, counts for the From domain."""
    if envelope == author:
        return True
    other, policy = verdicts.get(envelope), verdicts[author].policy
    return other is not None and not policy.strict_spf and other.policy.organisation == policy.organisation


def _of_report(report: DkimReport) -> list[str]:
    found = [
        f"the DKIM signature of {each.domain or 'an unreadable domain'} does not count: {each.why}"
        for each in report.signatures
        if each.result is not dkim.Result.PASSED
    ]
    found += [
        f"the DKIM signature of {each.domain} verifies, but {clause}"
        for each in report.signatures
        for clause in each.warnings
    ]
    if report.duplicates:
        names = ", ".join(report.duplicates)
        found.append(f"the header has more than one of {names}: receivers distrust that, and no signature may cover it")
    return found


def _of_signing(asked: Iterable[Ready], signed: Mapping[str, Alignment]) -> list[str]:
    return [
        f"the relay does not sign for {each.domain} now: {each.why}"
        for each in asked
        if not each.key and getattr(signed.get(each.domain), "result", None) is not dkim.Result.PASSED
    ]


def _of_author(author: str, verdict: Verdict, envelope: str, by_spf: bool, signed: Alignment | None) -> list[str]:
    """signed: None if it was not checked."""
    policy = verdict.policy
    found = []
    if policy.strict_spf and not by_spf:
        found.append(
            f"the DMARC policy of {author} has aspf=s, so SPF of the envelope sender's domain"
            f" {envelope or '(none)'} does not count for it"
        )
    if signed is None or signed.result is not dkim.Result.FAILED:
        return found
    if not by_spf:
        then = "are asked to reject the message" if policy.rejects else "take the message for a forgery"
        found.append(f"neither SPF nor DKIM stands for {author} ({signed.why}): receivers that check DMARC {then}")
    elif policy.rejects:
        found.append(f"the DMARC policy of {author} is reject and {signed.why}: forwarded mail is refused")
    else:
        found.append(f"{signed.why}: large mailbox providers want a signature of {author}")
    return found
