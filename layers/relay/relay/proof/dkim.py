"""DKIM: which of a message's signatures verify now, and why the others don't (RFC 6376, RFC 8301, RFC 8616).

Reading, canonicalizing and hashing are done here, in time linear in the size of the message and in little memory;
the key and the RSA signature are dkimpy's part. Its verification of a whole message takes hours for a long run of
blanks and gigabytes for many empty lines, and doesn't look at h= and t= of a key record. Ed25519 (RFC 8463) is not
checked: the result of such a signature is unknown.
"""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from relay.errors import PermanentError, TemporaryError
from relay.header import Field, Header
from relay.ports import DnsStatus, Resolver, TxtAnswer
from relay.proof.dkim_canonical import canonical_body, canonical_field, signed_fields
from relay.proof.dkim_tags import (
    Claim,
    Problem,
    Tags,
    is_key,
    parse_tags,
    read_claim,
    read_domain,
    read_key,
    read_selector,
)

# Ours: what lies beyond them is unknown, not failed
MAX_SIGNATURES: Final = 10  # looked at, from the top
MAX_FIELD: Final = 16_384  # octets of a DKIM-Signature; z= makes honest ones long
MAX_RECORD: Final = 4_096  # octets of a key record
MAX_RECORDS: Final = 4  # key records of one name

IN_THE_LOOP: Final = 65_536  # octets of content; more is checked in a thread

# RFC 5322 §3.6, RFC 2045 §3, RFC 2369 §3, RFC 8058 §3.1
ONCE: Final = (
    *("Date", "From", "Sender", "Reply-To", "To", "Cc", "Subject", "Message-ID", "In-Reply-To", "References"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Unsubscribe", "List-Unsubscribe-Post"),
)

_B_VALUE: Final = re.compile(rb"((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")

_Answers = Mapping[str, TxtAnswer | TemporaryError]


class Result(Enum):
    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"  # it is beyond what is checked here
    UNANSWERED = "unanswered"  # DNS didn't answer: it may be known later


@dataclass(frozen=True, slots=True)
class Signature:
    """domain: d= in A-labels and lower case, selector: s=; "" if they can't be read. why: a clause for people, ""
    if passed. warnings: clauses about what may fail elsewhere."""

    domain: str
    selector: str
    result: Result
    why: str = ""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        of = f" of {self.domain}, selector {self.selector}" if self.domain else ""
        return f"the DKIM signature{of}: {self.why or self.result.value}"


@dataclass(frozen=True, slots=True)
class DkimReport:
    """signatures: from the top. unread: how many more there are. duplicates: names of fields that the header has
    more than once and must not."""

    signatures: tuple[Signature, ...]
    unread: int = 0
    duplicates: tuple[str, ...] = ()

    def domains(self, *results: Result) -> tuple[str, ...]:
        """The signing domains, no repeats: of signatures with one of `results`, of all if none is given."""
        wanted = results or tuple(Result)
        return tuple(dict.fromkeys(each.domain for each in self.signatures if each.domain and each.result in wanted))


@dataclass(frozen=True, slots=True)
class Alignment:
    """why: a clause for people, "" if passed."""

    result: Result
    why: str = ""


def alignment(report: DkimReport, author: str, aligned: Collection[str]) -> Alignment:
    """Whether a signature that stands for the Author Domain passes (RFC 9989 §4.4).

    aligned: those of `report.domains()` that stand for `author`: the same domain, or unless its policy is strict,
    one of the same organisation.
    """
    ours = [each for each in report.signatures if each.domain in aligned]
    if any(each.result is Result.PASSED for each in ours):
        return Alignment(Result.PASSED)
    for result in (Result.UNANSWERED, Result.UNKNOWN):
        if found := next((each for each in ours if each.result is result), None):
            return Alignment(result, str(found))
    if report.unread:
        return Alignment(Result.UNKNOWN, f"there are more than {MAX_SIGNATURES} DKIM signatures")
    if ours:
        return Alignment(Result.FAILED, str(ours[0]))
    return Alignment(
        Result.FAILED, f"no DKIM signature stands for {author}" if report.signatures else "there is no DKIM signature"
    )


async def verify(content: bytes, header: Header, resolver: Resolver, *, now: float) -> DkimReport:
    """What comes of each signature of a whole message with CRLF line ends. header: of `content`. now: epoch seconds.

    Raises nothing for what the message or DNS holds; where DNS doesn't answer the result says so.
    """
    fields = [each for each in header.fields if each.name == b"dkim-signature"]
    authors = sum(each.name == b"from" for each in header.fields)
    read = [_read(content, each, authors, now) for each in fields[:MAX_SIGNATURES]]
    claims = [each for each in read if isinstance(each, Claim)]
    answers = await _ask({each.key_name for each in claims}, resolver)
    if claims and len(content) > IN_THE_LOOP:
        signatures = await asyncio.to_thread(_check, content, header, read, answers)
    else:
        signatures = _check(content, header, read, answers)
    return DkimReport(signatures, len(fields) - len(read), _duplicates(header))


def _duplicates(header: Header) -> tuple[str, ...]:
    count = Counter(each.name for each in header.fields)
    return tuple(name for name in ONCE if count[name.lower().encode()] > 1)


def _read(content: bytes, field: Field, authors: int, now: float) -> Claim | Signature:
    domain = selector = ""
    try:
        if field.end - field.start > MAX_FIELD:
            raise Problem(f"it is longer than {MAX_FIELD} octets", unknown=True)
        tags = parse_tags(content[field.value_start : field.end])
        if tags is None:
            raise Problem("its tags cannot be read")
        domain = read_domain(tags)
        selector = read_selector(tags, domain)
        return read_claim(tags, field, domain, selector, authors=authors, now=now)
    except Problem as problem:
        return _refused(domain, selector, problem)


def _refused(domain: str, selector: str, problem: Problem) -> Signature:
    result = Result.UNANSWERED if problem.later else Result.UNKNOWN if problem.unknown else Result.FAILED
    return Signature(domain, selector, result, problem.why)


async def _ask(names: Iterable[str], resolver: Resolver) -> dict[str, TxtAnswer | TemporaryError]:
    async def ask(name: str) -> TxtAnswer | TemporaryError:
        try:
            return await resolver.txt(name)
        except TemporaryError as error:
            return error
        except PermanentError:  # a name that no DNS can hold
            return TxtAnswer(DnsStatus.NO_NAME)

    listed = list(names)
    return dict(zip(listed, await asyncio.gather(*map(ask, listed)), strict=True))


# --- checking: RFC 6376 §3.7, §6.1.2, §6.1.3 -------------------------------------------------------


def _check(
    content: bytes, header: Header, read: Sequence[Claim | Signature], answers: _Answers
) -> tuple[Signature, ...]:
    body = _Body(content, header.end, [each for each in read if isinstance(each, Claim)])
    return tuple(each if isinstance(each, Signature) else _check_one(each, header, answers, body) for each in read)


def _check_one(claim: Claim, header: Header, answers: _Answers, body: "_Body") -> Signature:
    try:
        records = _records(claim, answers)
    except Problem as problem:
        return _refused(claim.domain, claim.selector, problem)
    found = [_check_with(record, claim, header, body) for record in records]
    best = next((each for each in found if each.result is Result.PASSED), found[0])
    if len(found) == 1:
        return best
    # §6.1.2: which of them a receiver takes is its own affair
    return replace(best, warnings=(*best.warnings, f"there are {len(found)} keys at {claim.key_name}"))


def _records(claim: Claim, answers: _Answers) -> list[Tags]:
    """The tags of each key record, of one at least."""
    answer = answers[claim.key_name]
    if isinstance(answer, TemporaryError):
        raise Problem(f"DNS did not answer for the key at {claim.key_name}", later=True)
    if not answer.records:
        raise Problem(f"key not found at {claim.key_name}")
    short = [record for record in answer.records if len(record) <= MAX_RECORD]
    keys = [tags for record in short if (tags := parse_tags(record)) and is_key(tags)]
    if not keys and len(short) < len(answer.records):
        raise Problem(f"the record at {claim.key_name} is longer than {MAX_RECORD} octets", unknown=True)
    if not keys:
        raise Problem(f"the TXT record at {claim.key_name} is not a DKIM key")
    return [*keys[:MAX_RECORDS]]


def _check_with(record: Tags, claim: Claim, header: Header, body: "_Body") -> Signature:
    try:
        key = read_key(record, claim)
        unsigned = body.unsigned(claim)
        if not _rsa_verifies(key.public, claim.signature, _header_hash(body.content, header, claim)):
            raise Problem("the header has changed, or another key signed it")
    except Problem as problem:
        return _refused(claim.domain, claim.selector, problem)
    warnings = []
    if unsigned:
        warnings.append(f"l= leaves {unsigned} octets of the body unsigned")
    if key.testing:
        warnings.append("the key is published as a test (t=y)")
    return Signature(claim.domain, claim.selector, Result.PASSED, warnings=tuple(warnings))


def _rsa_verifies(key: dict[str, int], signature: bytes, digest: Any) -> bool:
    """digest: a hashlib object."""
    from dkim import crypto

    modulus = key["modulus"]
    if len(signature) != (modulus.bit_length() + 7) // 8 or int.from_bytes(signature) >= modulus:
        return False  # RFC 8017 §8.2.2 step 1, §5.2.2; dkimpy doesn't look
    try:
        return bool(crypto.RSASSA_PKCS1_v1_5_verify(digest, signature, key))
    except Exception:  # noqa: BLE001 - what dkimpy can't calculate with is no key that anything was signed with
        return False


def _header_hash(content: bytes, header: Header, claim: Claim) -> Any:
    """§3.7: the fields of h=, then the signature itself with b= empty and without its last CRLF."""
    digest = hashlib.sha256()
    for each in signed_fields(header, claim.names, own=claim.field):
        digest.update(canonical_field(content[each.start : each.end], claim.relaxed_header))
    own = claim.field
    name, value = content[own.start : own.value_start], content[own.value_start : own.end - 2]
    emptied = name + _B_VALUE.sub(rb"\1", value) + b"\r\n"
    digest.update(canonical_field(emptied, claim.relaxed_header)[:-2])
    return digest


# --- the body's hashes: §3.7 -----------------------------------------------------------------------


@dataclass
class _Body:
    """The body's hashes: it is canonicalized at most once in each way, however many signatures there are."""

    content: bytes
    start: int
    claims: Sequence[Claim]
    _done: dict[bool, tuple[int, dict[int | None, bytes]]] = field(default_factory=dict)

    def unsigned(self, claim: Claim) -> int:
        """How many octets of the canonical body l= leaves out. Problem if bh= isn't the hash of the others."""
        if claim.relaxed_body not in self._done:
            self._done[claim.relaxed_body] = self._hash(claim.relaxed_body)
        size, hashes = self._done[claim.relaxed_body]
        if claim.length is not None and claim.length > size:
            raise Problem("the body is shorter than l= says")
        if hashes[claim.length] != claim.body_hash:
            raise Problem("the body has changed")
        return 0 if claim.length is None else size - claim.length

    def _hash(self, relaxed: bool) -> tuple[int, dict[int | None, bytes]]:
        """The size of the canonical body, and its hash for each l=."""
        hashes = {each.length: hashlib.sha256() for each in self.claims if each.relaxed_body is relaxed}
        size = 0
        for piece in canonical_body(self.content, self.start, relaxed):
            for length, digest in hashes.items():
                digest.update(piece if length is None else piece[: max(length - size, 0)])
            size += len(piece)
        return size, {length: digest.digest() for length, digest in hashes.items()}
