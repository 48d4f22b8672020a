"""The books: what was accepted against what became of it, from sources that know nothing of each other. Pure.

accepted (250) = delivered + bounced + rejected + expired + suppressed + cancelled + queued + dead-lettered

clients    which submissions got 250, with which id; which did not
remote     what the recipients' server kept, from which process
relay      rows, ledger, queues, dead-letter queues
journal    what was broken when: the evidence for what promise 3 allows, and for nothing else
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from relay.outcome import State
from tests.faults.journal import Event, Journal
from tests.faults.remote import Taking

FINAL = tuple(state.value for state in State if state.final)
QUEUED, DEAD, LOST = "queued", "dead-lettered", "lost"
TOLD = ("bounced", "rejected", "expired", "suppressed")  # of these the sender gets a notice
UNEXPLAINED = "unexplained"

# Why a recipient got it more than once: promise 3's windows.
ANSWER_LOST = "the remote's answer to the content was lost"
WORKER_LOST = "the worker was lost between the remote's answer and the ledger's note"
CLIENT_LEFT = "the submission was stored, and its 250 was lost"


@dataclass(slots=True)
class Submitted:
    """One message of a client: its mark, recipients with the states that are right for each, and what the relay
    said. id: of the 250, "" if there was none. refused: a 5xx, which nothing here deserves. tries: how often it was
    handed over."""

    mark: str
    recipients: Mapping[str, frozenset[str]]
    id: str = ""
    refused: str = ""
    tries: int = 0
    seed: int = 0


@dataclass(slots=True)
class Relay:
    """What the relay's own records say when all is quiet. rows, ledger: (id, recipient, state, notice or not).
    queued, dead: (id, recipient)."""

    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)
    ledger: dict[tuple[str, str], str] = field(default_factory=dict)
    queued: set[tuple[str, str]] = field(default_factory=set)
    dead: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class Balance:
    """accepted: recipients with a 250. outcomes: of these. again: recipients of submissions that were stored but got
    no 250. notices: their outcomes. duplicates: takings too many, by reason. wrong: what must never be."""

    messages: int = 0
    accepted: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    not_accepted: int = 0
    wrong: list[str] = field(default_factory=list)


def balance(submitted: Iterable[Submitted], takings: Iterable[Taking], relay: Relay, journal: Journal) -> Balance:
    """All of one run."""
    books = _Books(list(submitted), list(takings), relay, journal)
    for each in books.submitted:
        books.count_submitted(each)
    books.count_others()
    for (name, recipient), copies in sorted(books.taken.items()):
        books.count_copies(name, recipient, copies)
    result = books.result
    if result.accepted != sum(result.outcomes.values()):
        result.wrong.append(f"the books don't balance: {result.accepted} accepted, {dict(result.outcomes)}")
    return result


class _Books:
    def __init__(self, submitted: list[Submitted], takings: list[Taking], relay: Relay, journal: Journal) -> None:
        self.submitted = submitted
        self.result = Balance()
        self.relay = relay
        self.journal = journal
        self.ids = {each.id for each in submitted if each.id}
        self.stored: dict[str, list[Event]] = defaultdict(list)
        for event in journal.of("stored"):
            self.stored[event.fields["id"]].append(event)
        self.notices = {id for id, _, _, notice in relay.rows if notice}
        self.final: dict[tuple[str, str], set[str]] = defaultdict(set)
        for id, recipient, state, _ in relay.rows:
            if state in FINAL:
                self.final[id, recipient].add(state)
        self.taken: dict[tuple[str, str], list[Taking]] = defaultdict(list)
        self.told: set[tuple[str, str]] = set()
        for taking in sorted(takings, key=lambda each: each.time):
            for recipient in taking.rcpt_to:
                self.taken[taking.mark or taking.id, recipient].append(taking)
            if not taking.mail_from:
                self.told |= _told(taking.content)

    def count_submitted(self, each: Submitted) -> None:
        self.result.messages += 1
        if each.refused:
            self.result.wrong.append(f"refused: {each.mark}: {each.refused}")
        if not each.id:
            self.result.not_accepted += 1
            return
        for recipient, right in each.recipients.items():
            self.result.accepted += 1
            state = self._fate(each.id, recipient)
            self.result.outcomes[state] += 1
            if state not in right:
                self._wrong(f"{state}, not {' or '.join(sorted(right))}", each.id, recipient)
            if state in TOLD and (each.id, recipient) not in self.told and DEAD not in right:
                self._wrong(f"{state}, and the sender wasn't told", each.id, recipient)
            self._agrees(each.id, recipient, state, self.taken.get((each.mark, recipient), []))

    def count_others(self) -> None:
        """Submissions that were stored but have no 250: they end like any other. Notices likewise."""
        known = {*self.relay.ledger, *self.final, *self.relay.queued, *self.relay.dead}
        again = {(id, to) for id, events in self.stored.items() for event in events for to in event.fields["rcpt_to"]}
        for id, recipient in sorted(known | again):
            if id not in self.ids:
                state = self._fate(id, recipient)
                (self.result.again if (id, recipient) in again else self.result.notices)[state] += 1

    def count_copies(self, name: str, recipient: str, copies: list[Taking]) -> None:
        """Every taking but one needs its reason."""
        by_id: dict[str, list[Taking]] = defaultdict(list)
        for taking in copies:
            by_id[taking.id].append(taking)
        for id, mine in by_id.items():
            for taking in mine[:-1]:
                reason = self._excuse(taking, recipient)
                self._twice(reason, f"{name} {id} {recipient} at {taking.time:.3f}")
        if len(by_id) == 1:
            return
        for id in by_id.keys() - self.ids:
            unheard = any(self._unheard(event) for event in self.stored.get(id, []))
            self._twice(CLIENT_LEFT if unheard else "", f"{name} {recipient}: handed over again after {id}")
        if len(by_id.keys() & self.ids) > 1:
            self._twice("", f"{name} {recipient}: two ids with 250, {sorted(by_id)}")

    def _twice(self, reason: str, what: str) -> None:
        self.result.duplicates[reason or UNEXPLAINED] += 1
        if not reason:
            self.result.wrong.append(f"UNEXPLAINED DUPLICATE: {what}")

    def _wrong(self, what: str, id: str, recipient: str) -> None:
        self.result.wrong.append(f"{what}: {id} {recipient}")

    def _fate(self, id: str, recipient: str) -> str:
        states = self.final.get((id, recipient), set())
        noted = self.relay.ledger.get((id, recipient), "")
        if len(states) > 1:
            self._wrong(f"more than one final state, {sorted(states)}", id, recipient)
        if states:
            state = min(states)
            if noted != state:
                self._wrong(f"the rows say {state}, the ledger {noted or 'nothing'}", id, recipient)
            return state
        if (id, recipient) in self.relay.dead:
            return DEAD
        if (id, recipient) in self.relay.queued:
            return QUEUED
        self._wrong(f"LOST (the ledger says {noted or 'nothing'})", id, recipient)
        return LOST

    def _agrees(self, id: str, recipient: str, state: str, copies: list[Taking]) -> None:
        """The relay's word against the remote's."""
        mine = [taking for taking in copies if taking.id == id]
        if state == State.DELIVERED.value and not any(taking.answered for taking in mine):
            self._wrong("said to be delivered, but never answered with 250", id, recipient)
        if state in FINAL and state != State.DELIVERED.value:
            for taking in mine:
                if not self._excuse(taking, recipient):
                    self._wrong(f"said to be {state}, but taken", id, recipient)

    def _excuse(self, taking: Taking, recipient: str) -> str:
        """Which window this taking fell into; "" if none."""
        if not taking.answered and taking.broken:
            return ANSWER_LOST
        settled = [
            event.time
            for event in self.journal.of("settled", id=taking.id)
            if event.fields["part"].partition("#")[0] == recipient.rpartition("@")[2]
        ]
        for event in self.journal.of("killed", pid=taking.pid):
            if not any(taking.time <= time <= event.time for time in settled):
                return WORKER_LOST
        return ""

    def _unheard(self, event: Event) -> bool:
        """A stored submission whose gateway could not tell: no answer for it, or killed at once."""
        return not event.fields["answered"] or any(
            killed.time <= event.time + 1  # before: SQS had the call of a process that was dead already
            for killed in self.journal.of("killed", pid=event.fields["pid"])
        )


def _told(notice: bytes) -> set[tuple[str, str]]:
    """(id, recipient) of each that a notice is about (RFC 3464 §2.3.2, §2.3.9)."""
    recipients = re.findall(rb"^Final-Recipient: rfc822; *(\S+)\r$", notice, re.MULTILINE | re.IGNORECASE)
    ids = re.findall(rb"^Final-Log-ID: (\S+)\r$", notice, re.MULTILINE | re.IGNORECASE)
    return {(id.decode(), recipient.decode()) for id, recipient in zip(ids, recipients, strict=True)}
