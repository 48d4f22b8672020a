"""The validate stage: Submission + verdicts -> deliveries, or refusals, or a later attempt (docs/flow.md).

Run twice it does the same again: deliveries have the same keys, the ledger keeps the first decision, and
record doesn't mind. All that it sends has been acknowledged before it returns.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from relay.encoding import encode_delivery, encode_report, encode_submission, fits_inline
from relay.errors import OutageError, RelayError, TemporaryError
from relay.header import MAX_DOMAINS, MAX_HEADER, Header, HeaderError, read_header
from relay.hold import TellOwner, time
from relay.outcome import HELD, Outcome, Report, State
from relay.ports import Clock, ContentStore, Ledger, Queue
from relay.proof.judge import Judged, Verdicts
from relay.proof.message import MessageCheck
from relay.proof.ruling import Question, Standing
from relay.proof.verdict import explain
from relay.retry import RetryPolicy, hop
from relay.submission import (
    NOTHING_PROVED,
    Content,
    Delivery,
    DeliveryKey,
    Inline,
    Proved,
    Stored,
    Submission,
    content_key,
    dsn_of,
    recipients_by_part,
)

LARGE_AT_ONCE: Final = 2  # stored messages read whole for DKIM: of 40 MB each, in 512 MB
HOLD_PAUSE: Final = 1800.0  # seconds: so soon after the records are back held mail goes on
ROOM: Final = 10.0  # seconds before the deadline for what follows from the verdicts


class Decision(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    EXPIRED = "expired"
    DEFERRED = "deferred"
    HELD = "held"
    NOT_DUE = "not due"
    CANCELLED = "cancelled"


Observer = Callable[[Submission, Decision, str], None]  # and why, "" if accepted


@dataclass(frozen=True, slots=True)
class _Final:
    """A decision against the message: what each recipient's outcome says."""

    state: State
    code: int
    enhanced: str
    text: str


class Validate:
    """judge: a relay.proof.judge.Judge. tell: the owner of a domain that is held. check: the
    message's own proof. The three queues by name.

    observe: told of each decision once all that follows from it is stored. chance: uniform in [0, 1).
    """

    def __init__(
        self,
        *,
        judge: Verdicts,
        tell: TellOwner,
        check: MessageCheck,
        validate_queue: Queue,
        deliver_queue: Queue,
        record_queue: Queue,
        content: ContentStore,
        ledger: Ledger,
        clock: Clock,
        retry: RetryPolicy,
        observe: Observer = lambda *_: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._judge = judge
        self._tell = tell
        self._check = check
        self._validate_queue = validate_queue
        self._deliver_queue = deliver_queue
        self._record_queue = record_queue
        self._content = content
        self._ledger = ledger
        self._clock = clock
        self._retry = retry
        self._observe = observe
        self._chance = chance
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, submission: Submission, *, deadline: float = math.inf) -> None:
        """deadline: epoch seconds; DNS that hasn't answered shortly before is asked again by a later attempt.

        TemporaryError if a queue, the ledger or the content store is away: then all of it has to run again.
        """
        now = self._clock.now()
        if submission.due > now:
            await self._send(self._validate_queue, encode_submission(submission), submission, hop(submission.due, now))
            self._observe(submission, Decision.NOT_DUE, "")
            return
        left = await self._without_cancelled(submission) if submission.attempt > 1 else submission
        if left is None:
            self._observe(submission, Decision.CANCELLED, "")
            return
        submission = left
        try:
            header = await self._header(submission.content)
            domains = _domains(submission.mail_from, header.senders())
        except HeaderError as error:
            await self._refuse(submission, _Final(State.REJECTED, 554, "5.6.0", error.safe))
            return
        judged, unanswered = await self._verdicts(domains, submission, deadline)
        proved = _proved(judged)
        refused = [each.verdict for each in judged if each.standing is Standing.REFUSED]
        held = [each for each in judged if each.standing is Standing.HELD]
        if refused:  # a no stands, whatever another domain's DNS may say later
            await self._refuse(submission, _Final(State.REJECTED, 550, "5.7.1", explain(refused)), proved)
        elif unanswered:
            why = _Final(State.DEFERRED, 451, "4.4.3", unanswered.safe)  # RFC 3463 X.4.3, directory server failure
            await self._defer(submission, why, proved)
        elif held:
            await self._hold(submission, held, proved)
        else:
            await self._prove_message(submission, header, judged, proved)

    async def _without_cancelled(self, submission: Submission) -> Submission | None:
        """What is left of it after `relay.cancel`, which stops whole domains; None if nothing is."""
        stopped: set[str] = set()
        for entry in await self._ledger.of_id(submission.id):
            outcomes = tuple(each for each in entry.outcomes.values() if each.state is State.CANCELLED)
            if entry.final and outcomes:  # reported again, in case cancel died before it did
                recipients = tuple(each.recipient for each in outcomes)
                part = entry.key.domain, entry.key.chunk
                await self._report(submission, part, recipients, outcomes, submission.content)
                stopped.update(recipients)
        parts = recipients_by_part(submission.rcpt_to)
        # a domain of which any is left keeps all: its parts are numbered as they were
        kept = {domain for (domain, _), recipients in parts.items() if not stopped.issuperset(recipients)}
        rest = tuple(each for each in submission.rcpt_to if each.rpartition("@")[2] in kept)
        return submission._replace(rcpt_to=rest, dsn=dsn_of(submission.dsn, rest)) if rest else None

    async def _verdicts(
        self, domains: tuple[str, ...], submission: Submission, deadline: float
    ) -> tuple[tuple[Judged, ...], TemporaryError | None]:
        """What was answered, and the first failure to answer."""
        tasks = [asyncio.ensure_future(self._judge(_question(domain, submission))) for domain in domains]
        left = deadline - self._clock.now() - ROOM
        await asyncio.wait(tasks, timeout=None if math.isinf(left) else max(left, 0.0))
        late = [domain for domain, task in zip(domains, tasks, strict=True) if not task.done()]
        for task in tasks:
            task.cancel()  # those that are late; the others are done
        found = await asyncio.gather(*tasks, return_exceptions=True)
        failures: list[TemporaryError] = [
            TemporaryError(f"DNS of {domain} has not answered in time") for domain in late
        ]
        for each in found:
            match each:
                case OutageError():  # ours, not DNS's: the message comes again, and its clock doesn't run out for it
                    raise each
                case TemporaryError():
                    failures.append(each)
                case BaseException() if not isinstance(each, asyncio.CancelledError):
                    raise each
        return tuple(each for each in found if isinstance(each, Judged)), next(iter(failures), None)

    async def _prove_message(
        self, submission: Submission, header: Header, judged: tuple[Judged, ...], proved: Proved
    ) -> None:
        envelope = submission.mail_from.rpartition("@")[2]
        verdicts = {each.verdict.domain: each.verdict for each in judged}
        asked = await self._check.asked(header)
        if isinstance(submission.content, Stored) and self._check.needs_content(header, asked):
            async with self._large:
                content = await self._content.get(submission.content.key)
                found = await self._check(content, read_header(content), envelope, verdicts, asked)
        else:
            found = await self._check(header.content, header, envelope, verdicts, asked)
        proved = replace(proved, warnings=(*proved.warnings, *found.warnings))
        if found.refusal:  # RFC 7372 X.7.22: no valid author-matched DKIM signature
            await self._refuse(submission, _Final(State.REJECTED, 550, "5.7.22", found.refusal), proved)
        elif found.unknown:
            await self._defer(submission, _Final(State.DEFERRED, 451, "4.4.3", found.unknown), proved)
        else:
            await self._accept(submission, proved, found.signature)

    async def _accept(self, submission: Submission, proved: Proved, signature: str) -> None:
        parts = recipients_by_part(submission.rcpt_to)
        content = submission.content
        if isinstance(content, Inline) and not fits_inline(content.data, len(parts)):
            content = await self._store(submission)
        await _all(
            self._send(
                self._deliver_queue,
                encode_delivery(_delivery(submission, content, part, recipients, proved, signature)),
                submission,
            )
            for part, recipients in parts.items()
        )
        self._observe(submission, Decision.ACCEPTED, "")

    async def _refuse(self, submission: Submission, final: _Final, proved: Proved = NOTHING_PROVED) -> None:
        stored = await self._store(submission)
        await _all(
            self._refuse_part(submission, stored, part, recipients, final, proved)
            for part, recipients in recipients_by_part(submission.rcpt_to).items()
        )
        decision = Decision.EXPIRED if final.state is State.EXPIRED else Decision.REFUSED
        self._observe(submission, decision, final.text)

    async def _refuse_part(
        self,
        submission: Submission,
        stored: Stored,
        part: tuple[str, int],
        recipients: tuple[str, ...],
        final: _Final,
        proved: Proved,
    ) -> None:
        outcomes = tuple(self._outcome(submission, recipient, final) for recipient in recipients)
        key = DeliveryKey(submission.id, *part)
        entry = await self._ledger.refuse(key, attempt=submission.attempt, outcomes=outcomes)
        if entry.refused:  # else a copy of this submission was accepted before, and that stands
            await self._report(submission, part, recipients, tuple(entry.outcomes.values()), stored, proved)

    async def _hold(self, submission: Submission, held: list[Judged], proved: Proved) -> None:
        """As long as a domain is held, its mail waits on the clock of the retries."""
        for each in held:
            await self._tell(each, submission.account)
        until = min(each.held_until for each in held)  # then the verdict is a no
        soon = self._clock.now() + HOLD_PAUSE / self._retry.speed
        text = f"held until {time(until)}; {explain(each.verdict for each in held)}"
        await self._defer(submission, _Final(State.DEFERRED, 451, HELD, text), proved, latest=min(until, soon))

    async def _defer(self, submission: Submission, why: _Final, proved: Proved, *, latest: float = math.inf) -> None:
        """latest: epoch seconds by which it is tried again."""
        now = self._clock.now()
        due = self._retry.next_due(
            received=submission.received, attempt=submission.attempt, now=now, chance=self._chance()
        )
        if due is None:
            text = f"gave up proving the sender: {why.text}"
            await self._refuse(submission, _Final(State.EXPIRED, 554, "5.4.7", text), proved)  # RFC 3463 X.4.7
            return
        due = max(now, min(due, latest))
        stored = await self._store(submission)
        later = submission._replace(content=stored, attempt=submission.attempt + 1, due=due, tried=now)
        reports = [
            self._report(
                submission,
                part,
                recipients,
                tuple(self._outcome(submission, each, why, due) for each in recipients),
                stored,
                proved,
            )
            for part, recipients in recipients_by_part(submission.rcpt_to).items()
        ]
        await _all(reports)  # first, because they may be sent twice without harm
        await self._send(self._validate_queue, encode_submission(later), submission, hop(due, now))
        self._observe(submission, Decision.HELD if why.enhanced == HELD else Decision.DEFERRED, why.text)

    def _outcome(self, submission: Submission, recipient: str, what: _Final, next_due: float = 0.0) -> Outcome:
        return Outcome(
            recipient=recipient,
            state=what.state,
            time=self._clock.now(),
            attempt=submission.attempt,
            code=what.code,
            enhanced=what.enhanced,
            text=what.text,
            next_due=next_due,
        )

    async def _report(
        self,
        submission: Submission,
        part: tuple[str, int],
        recipients: tuple[str, ...],
        outcomes: tuple[Outcome, ...],
        content: Content,
        proved: Proved = NOTHING_PROVED,
    ) -> None:
        domain, chunk = part
        report = Report(
            id=submission.id,
            account=submission.account,
            mail_from=submission.mail_from,
            domain=domain,
            chunk=chunk,
            received=submission.received,
            stage="validate",
            outcomes=outcomes,
            content=content,
            tried=submission.tried,
            ret=submission.ret,
            envid=submission.envid,
            dsn=dsn_of(submission.dsn, recipients),
            proved=proved,
        )
        await self._send(self._record_queue, encode_report(report), submission)

    async def _send(self, queue: Queue, body: str, submission: Submission, delay: float = 0.0) -> None:
        await queue.send(body, group=submission.account, delay=delay)

    async def _header(self, content: Content) -> Header:
        if isinstance(content, Inline):
            return read_header(content.data)
        return read_header(await self._content.get(content.key, MAX_HEADER + 1))

    async def _store(self, submission: Submission) -> Stored:
        """Once: a run that comes again writes the same bytes under the same key."""
        match submission.content:
            case Inline(data):
                stored = Stored(content_key(submission.id), len(data))
                await self._content.put(stored.key, data)
                return stored
            case Stored() as stored:
                return stored


def _domains(mail_from: str, senders: tuple[str, ...]) -> tuple[str, ...]:
    """Every domain that a recipient could see as the sender; the null reverse-path has none."""
    domains = tuple(dict.fromkeys(filter(None, (mail_from.rpartition("@")[2], *senders))))
    if len(domains) > MAX_DOMAINS:
        raise HeaderError(f"the message names {len(domains)} sender domains; at most {MAX_DOMAINS} are allowed")
    return domains


def _question(domain: str, submission: Submission) -> Question:
    """The envelope sender for its own domain; of a header's domain any address will do."""
    same = submission.mail_from.rpartition("@")[2] == domain
    return Question(domain, submission.account, submission.mail_from if same else f"postmaster@{domain}")


def _proved(judged: Iterable[Judged]) -> Proved:
    """The receipts, and what they warn of: the domains' own records, seen with each message."""
    found = tuple(judged)
    warnings = tuple(warning for each in found for warning in each.verdict.warnings)
    return Proved(tuple(each.verdict.name for each in found), warnings)


def _delivery(
    submission: Submission,
    content: Content,
    part: tuple[str, int],
    recipients: tuple[str, ...],
    proved: Proved,
    signature: str,
) -> Delivery:
    domain, chunk = part
    return Delivery(
        id=submission.id,
        account=submission.account,
        mail_from=submission.mail_from,
        domain=domain,
        chunk=chunk,
        rcpt_to=recipients,
        received=submission.received,
        content=content,
        eightbit=submission.eightbit,
        smtputf8=submission.smtputf8,
        tried=submission.tried,
        ret=submission.ret,
        envid=submission.envid,
        dsn=dsn_of(submission.dsn, recipients),
        proved=proved,
        signature=signature,
    )


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Wait for all of it, then raise the first failure: nothing is left running behind a finished record."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, RelayError):
            raise result
    for result in results:
        if isinstance(result, BaseException):
            raise result
