"""relay.validate: deliveries, refusals, later attempts; twice the same is once."""

import asyncio
from collections.abc import Mapping

import pytest

from relay.dns import DnspythonResolver
from relay.encoding import decode_delivery, decode_report, decode_submission
from relay.errors import OutageError, PermanentError, TemporaryError
from relay.header import MAX_HEADER, Header
from relay.hold import TellOwner
from relay.outcome import Outcome, Report, State
from relay.owner_mail import OwnerMail
from relay.ports import Claimed
from relay.proof.judge import Judged
from relay.proof.message import Asked, MessageCheck, MessageProof
from relay.proof.ruling import Question, Standing
from relay.proof.verdict import Problem, Proof, Verdict
from relay.retry import LIFETIME, RetryPolicy
from relay.submission import Delivery, DeliveryKey, Dsn, Inline, Proved, Stored, Submission
from relay.validate import MAX_DOMAINS, Validate
from tests.dnsserver import TestDnsServer
from tests.fakes import FakeClock, FakeContent, FakeLedger, FakeQueue

CONTENT = b"From: Jo <jo@from.example>\r\nSender: s@sender.example\r\nSubject: hello\r\n\r\nbody\r\n"
NO = Problem(Proof.SPF, "it has no SPF record", 'x. TXT "v=spf1"')


class Check(MessageCheck):
    """The message's own proof: `answer`; `seen`: the contents that were shown to it."""

    def __init__(self) -> None:
        self.answer = MessageProof(("no signature",))
        self.wanted = False
        self.seen: list[bytes] = []

    async def asked(self, header: Header) -> Asked:
        return {}

    def needs_content(self, header: Header, asked: Asked) -> bool:
        return self.wanted

    async def __call__(
        self, content: bytes, header: Header, envelope: str, verdicts: Mapping[str, Verdict], asked: Asked
    ) -> MessageProof:
        assert verdicts.keys() >= set(header.senders()) | ({envelope} - {""})
        self.seen.append(content)
        return self.answer


class World:
    """A Validate and all that it touches. `no`: refused domains; `away`: domains whose DNS doesn't answer; `held`:
    domains that are held, until when."""

    def __init__(self, speed: float = 1.0) -> None:
        self.clock = FakeClock()
        self.validate_queue, self.deliver_queue, self.record_queue = FakeQueue(), FakeQueue(), FakeQueue()
        self.content, self.ledger = FakeContent(), FakeLedger()
        self.no: set[str] = set()
        self.away: set[str] = set()
        self.silent: set[str] = set()
        self.held: dict[str, float] = {}
        self.check = Check()
        self.asked: list[Question] = []
        self.decisions: list[str] = []
        self.validate = Validate(
            judge=self.judge,
            tell=TellOwner(OwnerMail(self.deliver_queue, self.clock, "smtp.relay.example")),
            check=self.check,
            validate_queue=self.validate_queue,
            deliver_queue=self.deliver_queue,
            record_queue=self.record_queue,
            content=self.content,
            ledger=self.ledger,
            clock=self.clock,
            retry=RetryPolicy(speed),
            observe=lambda submission, decision, why: self.decisions.append(f"{decision}: {why}" if why else decision),
            chance=lambda: 0.0,
        )

    async def judge(self, question: Question) -> Judged:
        self.asked.append(question)
        domain = question.domain
        if domain in self.silent:
            await asyncio.Event().wait()
        if domain in self.away:
            raise TemporaryError(f"{domain} TXT: no answer in time from DNS")
        until = self.held.get(domain, 0.0)
        standing = Standing.REFUSED if domain in self.no else Standing.HELD if until else Standing.PASSED
        problems = () if standing is Standing.PASSED else (NO,)
        verdict = Verdict(domain, "App@example.com", decided=1.5, problems=problems, warnings=(f"{domain} is odd",))
        return Judged(verdict, standing, self.clock.now() + 5, failing_since=1.0, held_until=until)

    def submission(self, **changes: object) -> Submission:
        base = Submission(
            id="0190-1",
            account="app@example.com",
            mail_from="bounce@envelope.example",
            rcpt_to=("a@one.example", "b@two.example", "c@one.example"),
            received=self.clock.now(),
            content=Inline(CONTENT),
            eightbit=True,
        )
        return base._replace(**changes)  # type: ignore[arg-type]

    def run(self, submission: Submission | None = None, deadline: float | None = None) -> None:
        extra = {} if deadline is None else {"deadline": deadline}
        asyncio.run(self.validate(submission or self.submission(), **extra))

    @property
    def deliveries(self) -> list[Delivery]:
        return sorted((decode_delivery(body) for body in self.deliver_queue.bodies), key=lambda each: each.key)

    @property
    def reports(self) -> list[Report]:
        found = (decode_report(body) for body in self.record_queue.bodies)
        return sorted(found, key=lambda each: (each.domain, each.chunk))

    @property
    def idle(self) -> bool:
        return not (self.validate_queue.sent or self.deliver_queue.sent or self.record_queue.sent)


# --- accepted ----------------------------------------------------------------------------------


DOMAINS = ("envelope.example", "from.example", "sender.example")
PROVED = Proved(tuple(f"{each}@1500" for each in DOMAINS), (*(f"{each} is odd" for each in DOMAINS), "no signature"))
PARTS = (("one.example", ("a@one.example", "c@one.example")), ("two.example", ("b@two.example",)))


def test_accepted() -> None:
    world = World()
    world.run()
    assert world.deliveries == [
        Delivery(
            id="0190-1",
            account="app@example.com",
            mail_from="bounce@envelope.example",
            domain=domain,
            chunk=0,
            rcpt_to=recipients,
            received=world.clock.now(),
            content=Inline(CONTENT),
            eightbit=True,
            proved=PROVED,
        )
        for domain, recipients in (
            ("one.example", ("a@one.example", "c@one.example")),
            ("two.example", ("b@two.example",)),
        )
    ]
    assert {sent.group for sent in world.deliver_queue.sent} == {"app@example.com"}
    assert not world.record_queue.sent
    assert not world.validate_queue.sent
    assert not world.content.items
    assert world.decisions == ["accepted"]


def test_every_visible_domain_is_proved_once() -> None:
    world = World()
    world.run(world.submission(content=Inline(b"Resent-From: r@resent.example, r@from.example\r\n" + CONTENT)))
    domains = ("envelope.example", "from.example", "sender.example", "resent.example")
    assert world.asked == [
        Question(domain, "app@example.com", f"{'bounce' if domain == 'envelope.example' else 'postmaster'}@{domain}")
        for domain in domains
    ]


def test_null_reverse_path_leaves_the_header() -> None:
    world = World()
    world.run(world.submission(mail_from=""))
    assert [question.domain for question in world.asked] == ["from.example", "sender.example"]
    assert len(world.deliveries) == 2


def test_many_recipients_are_chunks_of_one_hundred() -> None:
    world = World()
    world.run(world.submission(rcpt_to=tuple(f"u{number}@one.example" for number in range(250))))
    assert [(each.chunk, len(each.rcpt_to)) for each in world.deliveries] == [(0, 100), (1, 100), (2, 50)]


def test_content_that_does_not_fit_inline_is_stored_once() -> None:
    world = World()
    content = CONTENT + bytes(range(32, 127)) * 1000  # one copy fits, four don't
    recipients = tuple(f"u@d{number}.example" for number in range(4))
    world.run(world.submission(content=Inline(content), rcpt_to=recipients[:1]))
    assert world.deliveries[0].content == Inline(content)
    assert not world.content.items
    world.deliver_queue.take()
    incompressible = CONTENT + b"".join(str(hash((n, "x"))).encode() for n in range(6000))
    world.run(world.submission(content=Inline(incompressible), rcpt_to=recipients))
    assert {each.content for each in world.deliveries} == {Stored("content/0190-1", len(incompressible))}
    assert world.content.items == {"content/0190-1": incompressible}


def test_stored_content_stays_where_it_is() -> None:
    world = World()
    world.content.items["content/big"] = CONTENT
    world.run(world.submission(content=Stored("content/big", len(CONTENT))))
    assert {each.content for each in world.deliveries} == {Stored("content/big", len(CONTENT))}


def test_of_large_content_only_the_header_is_read() -> None:
    """A hundred messages of 40 MB in one batch don't fit a function of 512 MB."""
    world = World()
    world.content.items["content/big"] = CONTENT + b"x" * 1_000_000
    world.run(world.submission(content=Stored("content/big", len(CONTENT) + 1_000_000)))
    assert len(world.deliveries) == 2
    assert world.content.octets_read <= MAX_HEADER + 1


def test_a_header_without_end_in_large_content_is_refused() -> None:
    world = World()
    world.content.items["content/big"] = CONTENT[:-8] + b"X: y\r\n" * 50_000 + b"\r\nbody\r\n"
    world.run(world.submission(content=Stored("content/big", 300_000)))
    assert {each.outcomes[0].text for each in world.reports} == {f"the header is longer than {MAX_HEADER} octets"}
    assert list(world.content.items) == ["content/big"]


def test_twice_is_the_same() -> None:
    world = World()
    world.run()
    first = world.deliver_queue.take()
    world.run()
    assert {sent.body for sent in world.deliver_queue.sent} == {sent.body for sent in first}


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["envelope.example", "from.example", "sender.example"])
def test_refused(domain: str) -> None:
    world = World()
    world.no.add(domain)
    world.run()
    assert not world.deliver_queue.sent
    first, second = world.reports
    assert (first.domain, first.chunk, first.stage, first.content) == (
        "one.example",
        0,
        "validate",
        Stored("content/0190-1", len(CONTENT)),
    )
    assert [outcome.recipient for outcome in first.outcomes] == ["a@one.example", "c@one.example"]
    assert [outcome.recipient for outcome in second.outcomes] == ["b@two.example"]
    for outcome in (*first.outcomes, *second.outcomes):
        assert (outcome.state, outcome.code, outcome.enhanced) == (State.REJECTED, 550, "5.7.1")
        assert outcome.text == 'sender not authorised by DNS: it has no SPF record; publish: x. TXT "v=spf1".'
    assert world.content.items == {"content/0190-1": CONTENT}
    assert world.ledger.items[DeliveryKey("0190-1", "one.example", 0)].final
    assert world.decisions[0].startswith("refused: sender not authorised")


def test_all_problems_are_told_at_once() -> None:
    world = World()
    world.no |= {"from.example", "envelope.example"}
    world.run()
    assert world.reports[0].outcomes[0].text.count("publish:") == 2


BAD_HEADERS = {
    "no From": b"Subject: x\r\n\r\n",
    "two From": b"From: a@from.example\r\nFrom: b@from.example\r\n\r\n",
    "no header": b"\r\nbody\r\n",
    "no field": b"hello\r\n\r\n",
    "too many domains": b"From: " + b",".join(b"a@d%d.example" % n for n in range(MAX_DOMAINS)) + b"\r\n\r\n",
}


@pytest.mark.parametrize("content", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_unreadable_identity_is_refused_without_dns(content: bytes) -> None:
    world = World()
    world.run(world.submission(content=Inline(content)))
    assert not world.asked
    assert not world.deliver_queue.sent
    for report in world.reports:
        for outcome in report.outcomes:
            assert (outcome.state, outcome.code, outcome.enhanced) == (State.REJECTED, 554, "5.6.0")


def test_refused_again_reports_the_first_decision() -> None:
    world = World()
    submission = world.submission()
    world.no.add("from.example")
    world.run(submission)
    first = world.record_queue.take()
    world.clock.advance(60)
    world.run(submission)
    assert {sent.body for sent in world.record_queue.sent} == {sent.body for sent in first}


def test_a_copy_that_was_accepted_stands() -> None:
    """The first copy was accepted and one of its deliveries is under way; then the records vanish."""
    world = World()
    world.run()
    one, two = world.deliveries
    assert isinstance(asyncio.run(world.ledger.claim(one, owner="me", now=1.0, until=2.0)), Claimed)
    world.no.add("from.example")
    world.run()
    assert [report.domain for report in world.reports] == [two.domain]
    assert not world.ledger.items[one.key].final


def test_a_delivery_that_ended_is_not_reported_as_refused() -> None:
    world = World()
    world.run(world.submission(rcpt_to=("a@one.example",)))
    (delivery,) = world.deliveries
    asyncio.run(world.ledger.claim(delivery, owner="me", now=1.0, until=2.0))
    asyncio.run(world.ledger.settle(delivery.key, owner="me", outcomes=(), final=True))
    world.no.add("from.example")
    world.run(world.submission(rcpt_to=("a@one.example",)))
    assert not world.record_queue.sent


# --- later -------------------------------------------------------------------------------------


def test_dns_failure_is_a_later_attempt() -> None:
    world = World()
    world.away.add("from.example")
    world.run()
    assert not world.deliver_queue.sent
    assert not world.ledger.items
    (again,) = world.validate_queue.sent
    stored = Stored("content/0190-1", len(CONTENT))
    due = world.clock.now() + 300
    assert decode_submission(again.body) == world.submission(
        content=stored, attempt=2, due=due, tried=world.clock.now()
    )
    assert (again.group, again.delay) == ("app@example.com", 300)
    assert [report.content for report in world.reports] == [stored, stored]
    for report in world.reports:
        assert report.stage == "validate"
        for outcome in report.outcomes:
            assert (outcome.state, outcome.code, outcome.enhanced) == (State.DEFERRED, 451, "4.4.3")
            assert (outcome.attempt, outcome.next_due) == (1, due)
            assert outcome.text == "from.example TXT: no answer in time from DNS"


def test_what_was_asked_about_notices_goes_along() -> None:
    world = World()
    asked = {"a@one.example": Dsn("NEVER"), "b@two.example": Dsn("SUCCESS")}
    submission = world.submission(rcpt_to=(*asked, "c@two.example"), dsn=asked, ret="FULL", envid="e1", tried=5.0)
    world.run(submission)
    world.away.add("from.example")
    world.run(submission)
    expected = [
        ("one.example", {"a@one.example": Dsn("NEVER")}, "FULL", "e1", 5.0),
        ("two.example", {"b@two.example": Dsn("SUCCESS")}, "FULL", "e1", 5.0),
    ]
    for sent in (world.deliveries, world.reports):
        assert [(each.domain, each.dsn, each.ret, each.envid, each.tried) for each in sent] == expected


def test_from_deferred_to_delivered() -> None:
    world = World()
    world.away.add("from.example")
    world.run()
    world.away.clear()
    (again,) = world.validate_queue.take()
    world.clock.advance(300)
    world.run(decode_submission(again.body))
    assert [each.attempt for each in world.deliveries] == [1, 1]
    assert {each.content for each in world.deliveries} == {Stored("content/0190-1", len(CONTENT))}


def test_a_no_outweighs_a_failure() -> None:
    world = World()
    world.away.add("from.example")
    world.no.add("envelope.example")
    world.run()
    assert not world.validate_queue.sent
    assert {outcome.state for report in world.reports for outcome in report.outcomes} == {State.REJECTED}


def test_not_due_yet_hops() -> None:
    world = World()
    later = world.submission(content=Stored("content/0190-1", 9), attempt=4, due=world.clock.now() + 1000)
    world.run(later)
    (sent,) = world.validate_queue.take()
    assert decode_submission(sent.body) == later
    assert sent.delay == 900
    assert world.idle
    assert not world.asked
    world.clock.advance(950)
    world.run(later)
    assert world.validate_queue.sent[0].delay == 50


def test_attempts_end_at_the_expiry() -> None:
    """DNS that never answers: the retry clock of retry.py, then one final outcome for each recipient."""
    world = World()
    world.away.add("from.example")
    submission, start = world.submission(), world.clock.now()
    attempts = 0
    while True:
        world.record_queue.take()
        world.run(submission)
        attempts += 1
        sent = world.validate_queue.take()
        if not sent:
            break
        submission = decode_submission(sent[0].body)
        assert submission.attempt == attempts + 1
        world.clock.time = submission.due
    assert world.clock.now() == start + LIFETIME
    assert attempts > 10
    for report in world.reports:
        assert report.content is not None
        for outcome in report.outcomes:
            assert (outcome.state, outcome.enhanced, outcome.attempt) == (State.EXPIRED, "5.4.7", attempts)
    assert world.ledger.items[DeliveryKey("0190-1", "one.example", 0)].final
    assert world.decisions[-1].startswith("expired: gave up proving the sender")


def test_the_deadline_turns_silence_into_a_later_attempt() -> None:
    world = World()
    world.silent.add("from.example")
    world.run(deadline=world.clock.now() + 1)
    assert len(world.validate_queue.sent) == 1
    assert "has not answered in time" in world.reports[0].outcomes[0].text


# --- the message itself ------------------------------------------------------------------------


def test_a_message_that_must_be_signed_is_refused() -> None:
    world = World()
    world.check.answer = MessageProof(("odd",), refusal="a DKIM signature is required")
    world.run()
    assert not world.deliver_queue.sent
    for report in world.reports:
        assert report.proved.warnings[-1] == "odd"
        for outcome in report.outcomes:
            assert (outcome.state, outcome.code, outcome.enhanced) == (State.REJECTED, 550, "5.7.22")
            assert outcome.text == "a DKIM signature is required"


def test_a_signature_that_cannot_be_checked_now_waits() -> None:
    world = World()
    world.check.answer = MessageProof(unknown="DNS is away")
    world.run()
    (again,) = (decode_submission(sent.body) for sent in world.validate_queue.sent)
    assert again.attempt == 2
    assert {outcome.enhanced for report in world.reports for outcome in report.outcomes} == {"4.4.3"}


def test_stored_content_is_read_whole_only_where_it_is_signed() -> None:
    world = World()
    content = CONTENT + b"x" * 1_000_000
    world.content.items["content/big"] = content
    world.check.wanted = True
    world.run(world.submission(content=Stored("content/big", len(content))))
    assert world.check.seen == [content]


def test_a_refused_domain_spares_the_message_its_check() -> None:
    world = World()
    world.no.add("from.example")
    world.run()
    assert not world.check.seen


# --- held --------------------------------------------------------------------------------------


def test_held_is_a_later_attempt_and_the_owner_is_told() -> None:
    world = World()
    until = world.clock.now() + 3600
    world.held["from.example"] = until
    world.run()
    (told,) = world.deliveries
    assert (told.rcpt_to, told.mail_from, told.notice) == (("App@example.com",), "", True)
    (again,) = (decode_submission(sent.body) for sent in world.validate_queue.sent)
    assert (again.attempt, again.due) == (2, world.clock.now() + 300)
    for report in world.reports:
        for outcome in report.outcomes:
            assert (outcome.state, outcome.code, outcome.enhanced) == (State.DEFERRED, 451, "4.7.1")
            assert outcome.text.startswith(
                "held until 2027-01-15 09:00 UTC; sender not authorised by DNS: it has no SPF"
            )
    assert world.decisions[0].startswith("held: held until")


def test_mail_that_is_held_is_tried_at_the_end_of_the_hold() -> None:
    world = World()
    until = world.clock.now() + 100
    world.held["from.example"] = until
    world.run()
    (again,) = (decode_submission(sent.body) for sent in world.validate_queue.take())
    assert again.due == until
    world.held.clear()
    world.no.add("from.example")
    world.clock.time = until
    world.record_queue.take()
    world.run(again)
    assert {outcome.state for report in world.reports for outcome in report.outcomes} == {State.REJECTED}


def test_many_messages_of_one_hold_tell_the_owner_once() -> None:
    world = World()
    world.held["from.example"] = world.clock.now() + 3600
    for number in range(3):
        world.run(world.submission(id=f"0190-{number}"))
    assert len(world.deliveries) == 1


def test_a_no_outweighs_a_hold() -> None:
    world = World()
    world.held["from.example"] = world.clock.now() + 3600
    world.no.add("envelope.example")
    world.run()
    assert not world.deliver_queue.sent
    assert {outcome.state for report in world.reports for outcome in report.outcomes} == {State.REJECTED}


# --- the world is away -------------------------------------------------------------------------

AWAY = TemporaryError("away")


# --- cancelled while it waited -----------------------------------------------------------------


def put_off_and_cancelled(world: World, *domains: str) -> Submission:
    """The attempt that comes after relay.cancel has stopped these domains of a submission put off once."""
    world.away.add("from.example")
    world.run()
    (again,) = (decode_submission(sent.body) for sent in world.validate_queue.take())
    world.record_queue.take()
    for domain, recipients in PARTS:
        if domain in domains:
            outcomes = tuple(Outcome(each, State.CANCELLED, 1.0, 2, 0, "5.0.0", "stop") for each in recipients)
            asyncio.run(world.ledger.refuse(DeliveryKey(again.id, domain, 0), attempt=2, outcomes=outcomes))
    world.decisions.clear()
    world.clock.time = again.due
    return again


@pytest.mark.parametrize("dns", ["away", "yes", "no"])
def test_what_was_cancelled_ends_whatever_dns_says(dns: str) -> None:
    world = World()
    again = put_off_and_cancelled(world, "one.example", "two.example")
    if dns != "away":
        world.away.clear()
    if dns == "no":
        world.no.add("from.example")
    world.run(again)
    assert world.decisions == ["cancelled"]
    assert not world.validate_queue.sent
    assert not world.deliver_queue.sent
    assert [(report.domain, {each.state for each in report.outcomes}) for report in world.reports] == [
        ("one.example", {State.CANCELLED}),
        ("two.example", {State.CANCELLED}),
    ]


def test_what_was_not_cancelled_goes_on() -> None:
    world = World()
    again = put_off_and_cancelled(world, "one.example")
    world.run(again)
    (later,) = (decode_submission(sent.body) for sent in world.validate_queue.take())
    assert later.rcpt_to == ("b@two.example",)
    assert [(report.domain, [each.state for each in report.outcomes]) for report in world.reports] == [
        ("one.example", [State.CANCELLED] * 2),
        ("two.example", [State.DEFERRED]),
    ]
    world.away.clear()
    world.clock.time = later.due
    world.run(later)
    assert [each.rcpt_to for each in world.deliveries] == [("b@two.example",)]


@pytest.mark.parametrize("part", ["deliver_queue", "record_queue", "validate_queue", "ledger", "content"])
def test_an_outage_of_ours_is_raised_and_the_next_run_completes(part: str) -> None:
    world = World()
    if part in ("record_queue", "ledger", "content"):
        world.no.add("from.example")
    if part == "validate_queue":
        world.away.add("from.example")
    getattr(world, part).fail = AWAY
    with pytest.raises(TemporaryError):
        world.run()
    assert not world.decisions
    getattr(world, part).fail = None
    world.run()
    assert len(world.decisions) == 1
    assert len({each.domain for each in (*world.deliveries, *world.reports)}) == 2
    assert len(world.deliveries) in (0, 2)


@pytest.mark.parametrize("age", [0.0, LIFETIME], ids=["first try", "last try"])
def test_an_outage_of_ours_is_not_silence_of_the_senders_dns(age: float) -> None:
    world = World()

    async def no_accounts(question: Question) -> Judged:
        raise OutageError("the accounts table is away")

    world.validate._judge = no_accounts
    submission = world.submission(received=world.clock.now() - age)
    with pytest.raises(OutageError):
        world.run(submission)
    assert world.idle
    assert not world.ledger.items


def test_one_failed_send_does_not_stop_the_others() -> None:
    world = World()
    world.deliver_queue.fail_next(AWAY)
    with pytest.raises(TemporaryError):
        world.run()
    assert [each.domain for each in world.deliveries] == ["two.example"]


def test_missing_content_is_not_the_senders_fault() -> None:
    world = World()
    with pytest.raises(PermanentError):
        world.run(world.submission(content=Stored("content/gone", 9)))
    assert world.idle
    assert not world.ledger.items


def test_a_bug_is_raised() -> None:
    world = World()

    async def broken(question: Question) -> Judged:
        raise KeyError(question.domain)

    world.validate._judge = broken
    with pytest.raises(KeyError):
        world.run()
    assert world.idle


# --- one slow domain -----------------------------------------------------------------------------


def test_a_slow_domain_does_not_delay_the_others_of_its_batch() -> None:
    """Real DNS: one domain's server says nothing, while a hundred messages of another come in the same batch."""
    with TestDnsServer('good.example. TXT "x"\nslow.example. TXT "x"\n') as server:
        server.silent.add("slow.example")
        world = World()

        class Judging:
            """Asks about one TXT record of the domain, where a Judge asks about several."""

            resolver = DnspythonResolver((server.address,))

            async def __call__(self, question: Question) -> Judged:
                answer = await self.resolver.txt(question.domain)
                assert answer.records
                return Judged(Verdict(question.domain), Standing.PASSED, world.clock.now())

        world.validate._judge = Judging()

        async def batch() -> int:
            slow = [
                asyncio.ensure_future(world.validate(one_domain(world, "slow.example", number)))
                for number in range(MAX_DOMAINS)
            ]
            await asyncio.sleep(0)
            await asyncio.gather(*(world.validate(one_domain(world, "good.example", number)) for number in range(100)))
            done = sum(each.done() for each in slow)
            for each in slow:
                each.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            return done

        assert asyncio.run(batch()) == 0
        assert len(world.deliveries) == 100


def one_domain(world: World, domain: str, number: int) -> Submission:
    content = f"From: a@{domain}\r\n\r\nbody\r\n".encode()
    return world.submission(
        id=f"{domain}-{number}", mail_from=f"a@{domain}", rcpt_to=("b@in.example",), content=Inline(content)
    )
