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
from relay.header import MAX_HEADER, HeaderError, read_header
from relay.outcome import Outcome, Report, State
from relay.ports import Clock, ContentStore, Ledger, Queue
from relay.proof.verdict import Verdict, Verdicts, explain
from relay.retry import RetryPolicy, hop
from relay.submission import (
    Content,
    Delivery,
    DeliveryKey,
    Inline,
    Stored,
    Submission,
    content_key,
    dsn_of,
    recipients_by_part,
)

MAX_DOMAINS: Final = 20  # sender domains of one message: each costs up to twenty DNS lookups
ROOM: Final = 10.0  # seconds before the deadline for what follows from the verdicts


class Decision(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    EXPIRED = "expired"
    DEFERRED = "deferred"
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
    """judge: (domain, account) -> Verdict (relay.proof.verdict.Judge). The three queues by name.

    observe: told of each decision once all that follows from it is stored. chance: uniform in [0, 1).
    """

    def __init__(
        self,
        *,
        judge: Verdicts,
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
        self._validate_queue = validate_queue
        self._deliver_queue = deliver_queue
        self._record_queue = record_queue
        self._content = content
        self._ledger = ledger
        self._clock = clock
        self._retry = retry
        self._observe = observe
        self._chance = chance

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
            domains = _domains(submission.mail_from, await self._senders(submission.content))
        except HeaderError as error:
            await self._refuse(submission, _Final(State.REJECTED, 554, "5.6.0", error.safe))
            return
        verdicts, unanswered = await self._verdicts(domains, submission.account, deadline)
        refused = tuple(verdict for verdict in verdicts if not verdict.passed)
        if refused:  # a no stands, whatever another domain's DNS may say later
            await self._refuse(submission, _Final(State.REJECTED, 550, "5.7.1", explain(refused)))
        elif unanswered:
            await self._defer(submission, unanswered)
        else:
            await self._accept(submission)

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
        return replace(submission, rcpt_to=rest, dsn=dsn_of(submission.dsn, rest)) if rest else None

    async def _verdicts(
        self, domains: tuple[str, ...], account: str, deadline: float
    ) -> tuple[tuple[Verdict, ...], TemporaryError | None]:
        """What was answered, and the first failure to answer."""
        tasks = [asyncio.ensure_future(self._judge(domain, account)) for domain in domains]
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
        return tuple(each for each in found if isinstance(each, Verdict)), next(iter(failures), None)

    async def _accept(self, submission: Submission) -> None:
        parts = recipients_by_part(submission.rcpt_to)
        content = submission.content
        if isinstance(content, Inline) and not fits_inline(content.data, len(parts)):
            content = await self._store(submission)
        await _all(
            self._send(
                self._deliver_queue, encode_delivery(_delivery(submission, content, part, recipients)), submission
            )
            for part, recipients in parts.items()
        )
        self._observe(submission, Decision.ACCEPTED, "")

    async def _refuse(self, submission: Submission, final: _Final) -> None:
        stored = await self._store(submission)
        await _all(
            self._refuse_part(submission, stored, part, recipients, final)
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
    ) -> None:
        outcomes = tuple(self._outcome(submission, recipient, final) for recipient in recipients)
        key = DeliveryKey(submission.id, *part)
        entry = await self._ledger.refuse(key, attempt=submission.attempt, outcomes=outcomes)
        if entry.refused:  # else a copy of this submission was accepted before, and that stands
            await self._report(submission, part, recipients, tuple(entry.outcomes.values()), stored)

    async def _defer(self, submission: Submission, why: TemporaryError) -> None:
        now = self._clock.now()
        due = self._retry.next_due(
            received=submission.received, attempt=submission.attempt, now=now, chance=self._chance()
        )
        if due is None:
            text = f"gave up proving the sender: {why.safe}"
            await self._refuse(submission, _Final(State.EXPIRED, 554, "5.4.7", text))  # RFC 3463 X.4.7
            return
        stored = await self._store(submission)
        later = replace(submission, content=stored, attempt=submission.attempt + 1, due=due, tried=now)
        deferred = _Final(State.DEFERRED, 451, "4.4.3", why.safe)  # RFC 3463 X.4.3, directory server failure
        reports = [
            self._report(
                submission,
                part,
                recipients,
                tuple(self._outcome(submission, each, deferred, due) for each in recipients),
                stored,
            )
            for part, recipients in recipients_by_part(submission.rcpt_to).items()
        ]
        await _all(reports)  # first, because they may be sent twice without harm
        await self._send(self._validate_queue, encode_submission(later), submission, hop(due, now))
        self._observe(submission, Decision.DEFERRED, why.safe)

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
        )
        await self._send(self._record_queue, encode_report(report), submission)

    async def _send(self, queue: Queue, body: str, submission: Submission, delay: float = 0.0) -> None:
        await queue.send(body, group=submission.account, delay=delay)

    async def _senders(self, content: Content) -> tuple[str, ...]:
        if isinstance(content, Inline):
            return read_header(content.data).senders()
        return read_header(await self._content.get(content.key, MAX_HEADER + 1)).senders()

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


def _delivery(submission: Submission, content: Content, part: tuple[str, int], recipients: tuple[str, ...]) -> Delivery:
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
