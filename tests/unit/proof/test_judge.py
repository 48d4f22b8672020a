"""relay.proof.judge: what is remembered, and what a verdict means for mail."""

import asyncio
from dataclasses import replace

import pytest

from relay.account import Account
from relay.dns import DnspythonResolver
from relay.errors import OutageError, TemporaryError
from relay.ports import TxtAnswer
from relay.proof.judge import AT_ONCE, Judge, Judged, Patience
from relay.proof.receipt import Known
from relay.proof.ruling import Question, Standing
from relay.proof.token import token_value
from relay.proof.verdict import Terms
from tests.dnsserver import TestDnsServer
from tests.fakes import FakeAccounts, FakeClock, FakeReceipts

USER = "App@example.com"
ACCOUNT = Account(USER, b"", b"", "+46700000000", 0.0)
TERMS = Terms("elastx-mrs", "elastx.email")
TOKEN = f'd.example. TXT "{token_value(USER, "elastx-mrs")}"\n'
SPF = 'd.example. TXT "v=spf1 include:elastx.email -all"\n'
GOOD = TOKEN + SPF + '_dmarc.d.example. TXT "v=DMARC1; p=none"\nexample. A 127.0.0.1\n_dmarc.example. TXT "-"\n'
LOOKUPS = 3  # of a good verdict: d.example, _dmarc.d.example, _dmarc.example
DAY = 86_400.0


class Bench:
    """A table, a clock, and processes that share them: each Judge is one."""

    def __init__(self, server: TestDnsServer, *accounts: Account, terms: Terms = TERMS) -> None:
        self.server = server
        self.terms = terms
        self.clock = FakeClock()
        self.accounts = FakeAccounts(*accounts)
        self.receipts = FakeReceipts()
        self.judge = self.process()

    def process(self) -> Judge:
        return Judge(
            resolver=DnspythonResolver((self.server.address,)),
            accounts=self.accounts,
            receipts=self.receipts,
            clock=self.clock,
            terms=self.terms,
            patience=Patience(),
        )

    def ask(
        self, count: int = 1, *, account: str = USER.lower(), sender: str = "a@d.example", judge: Judge | None = None
    ) -> list[Judged]:
        """Of one process, at once."""

        async def run() -> list[Judged]:
            question = Question("d.example", account, sender)
            return list(await asyncio.gather(*((judge or self.judge)(question) for _ in range(count))))

        return asyncio.run(run())

    @property
    def standing(self) -> Standing:
        return self.ask()[0].standing

    def known(self) -> Known:
        (known,) = self.receipts.items.values()
        return known


def gone(server: TestDnsServer) -> None:
    server.remove("d.example", "TXT")


def back(server: TestDnsServer) -> None:
    server.add(TOKEN + SPF)


# --- what is remembered ---------------------------------------------------------------------------


def test_the_registered_name_counts() -> None:
    with TestDnsServer(GOOD) as server:
        assert Bench(server, ACCOUNT).standing is Standing.PASSED
        assert Bench(server).standing is Standing.REFUSED


def test_a_thousand_questions_are_one_set_of_lookups() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        assert {judged.standing for judged in bench.ask(1000)} == {Standing.PASSED}
        assert server.queries == LOOKUPS
        bench.clock.advance(299)
        bench.ask(1000)
        assert server.queries == LOOKUPS
        bench.clock.advance(2)
        bench.ask()
        assert server.queries == 2 * LOOKUPS


def test_a_fresh_verdict_in_the_table_costs_another_process_no_dns() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        first, second = bench.ask(), bench.ask(judge=bench.process())
        assert first == second
        assert server.queries == LOOKUPS


@pytest.mark.parametrize(("ttl", "kept"), [(0, 30), (100, 100), (86400, 300)])
def test_a_yes_is_kept_by_its_ttl(ttl: int, kept: float) -> None:
    zone = GOOD.replace("_dmarc.d.example.", f"_dmarc.d.example. {ttl}")
    with TestDnsServer(zone) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        bench.clock.advance(kept - 1)
        bench.ask()
        assert server.queries == LOOKUPS
        bench.clock.advance(2)
        bench.ask()
        assert server.queries == 2 * LOOKUPS


def test_a_no_is_kept_for_half_a_minute_at_most() -> None:
    with TestDnsServer(GOOD) as server:
        gone(server)
        bench = Bench(server, ACCOUNT)
        assert bench.standing is Standing.REFUSED
        back(server)
        before = server.queries
        bench.clock.advance(4)
        assert bench.standing is Standing.REFUSED
        assert server.queries == before
        bench.clock.advance(27)
        assert bench.standing is Standing.PASSED


def test_a_failure_reaches_everybody_and_is_not_kept() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        server.servfail.add("d.example")
        for count in (10, 1):
            with pytest.raises(TemporaryError):
                bench.ask(count)
        assert not bench.receipts.items
        server.servfail.clear()
        assert bench.standing is Standing.PASSED


def test_accounts_do_not_share_verdicts() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        assert bench.standing is Standing.PASSED
        assert bench.ask(account="other@example.com")[0].standing is Standing.REFUSED


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.proof.judge.MAX_VERDICTS", 3)
    with TestDnsServer() as server:
        bench = Bench(server)

        async def run() -> None:
            for number in range(10):
                await bench.judge(Question(f"d{number}.example", "a@b.example", "a@b.example"))

        asyncio.run(run())
        assert len(bench.judge._kept) == 3
        assert not bench.judge._asked


def test_one_impatient_asker_does_not_disturb_the_others() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)

        async def run() -> Judged:
            question = Question("d.example", USER.lower(), "a@d.example")
            impatient, patient = (asyncio.ensure_future(bench.judge(question)) for _ in range(2))
            await asyncio.sleep(0)
            impatient.cancel()
            return await patient

        assert asyncio.run(run()).standing is Standing.PASSED


def test_a_verdict_with_the_senders_macro_is_for_that_sender_alone() -> None:
    zone = GOOD.replace("include:elastx.email", "exists:%{l}.ok.d.example") + "jo.ok.d.example. A 127.0.0.2"
    with TestDnsServer(zone) as server:
        bench = Bench(server, ACCOUNT, terms=replace(TERMS, egress=("192.0.2.1",)))

        async def both() -> list[Judged]:
            questions = [Question("d.example", USER.lower(), f"{local}@d.example") for local in ("jo", "al", "jo")]
            return list(await asyncio.gather(*map(bench.judge, questions)))

        found = asyncio.run(both())
        assert [each.standing is Standing.PASSED for each in found] == [True, False, True]
        assert asyncio.run(both())[0].standing is Standing.PASSED
        assert server.asked["jo.ok.d.example", "A"] == 2  # once each time: nothing was kept


def test_silent_domains_of_one_account_leave_dns_to_the_others() -> None:
    class Counting(DnspythonResolver):
        """Questions about the silent domains never end."""

        waiting: set[str] = set()  # noqa: RUF012 - of this test alone

        async def txt(self, name: str) -> TxtAnswer:
            if "silent" in name:
                self.waiting.add(name.removeprefix("_dmarc."))
                await asyncio.Event().wait()
            return await super().txt(name)

    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.judge._resolver = Counting((server.address,))

        async def run() -> Judged:
            hostile = [
                asyncio.ensure_future(
                    bench.judge(Question(f"d{number}.silent.example", "bad@b.example", "a@b.example"))
                )
                for number in range(300)
            ]
            judged = await bench.judge(Question("d.example", USER.lower(), "a@d.example"))
            for each in hostile:
                each.cancel()
            return judged

        assert asyncio.run(run()).standing is Standing.PASSED
        assert len(Counting.waiting) == AT_ONCE


def test_a_sender_that_never_passed_is_refused_though_others_of_its_domain_pass() -> None:
    zone = GOOD.replace("include:elastx.email", "exists:%{l}.ok.d.example") + "jo.ok.d.example. A 127.0.0.2"
    with TestDnsServer(zone) as server:
        bench = Bench(server, ACCOUNT, terms=replace(TERMS, egress=("192.0.2.1",)))
        for _ in range(2):
            assert bench.ask(sender="jo@d.example")[0].standing is Standing.PASSED
            assert bench.ask(sender="al@d.example")[0].standing is Standing.REFUSED
            bench.clock.advance(3601)
        assert bench.known().verdict.passed
        assert bench.known().version == 2  # noted once an hour
        for sender in ("jo", "al"):
            (judged,) = bench.ask(sender=f"{sender}@d.example")
            kept = asyncio.run(bench.receipts.receipt("d.example", USER.lower(), judged.verdict.name))
            assert kept is not None
            assert kept.sender == f"{sender}@d.example"
        server.remove("_dmarc.d.example", "TXT")
        assert bench.ask(sender="jo@d.example")[0].standing is Standing.HELD


# --- proved before, failing now --------------------------------------------------------------------


def test_held_then_good_again() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        assert bench.standing is Standing.PASSED
        gone(server)
        bench.clock.advance(301)
        began = bench.clock.now()
        (held,) = bench.ask()
        assert (held.standing, held.failing_since, held.held_until) == (Standing.HELD, began, began + DAY)
        assert [problem.proof.value for problem in held.verdict.problems] == ["token", "spf"]
        bench.clock.advance(DAY - 100)
        assert bench.ask(judge=bench.process())[0].failing_since == began
        back(server)
        bench.clock.advance(31)
        assert bench.standing is Standing.PASSED
        assert bench.known().failing_since == 0.0


def test_held_then_refused() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        gone(server)
        bench.clock.advance(301)
        bench.ask()
        bench.clock.advance(DAY - 1)
        assert bench.standing is Standing.HELD
        bench.clock.advance(1)
        assert bench.standing is Standing.REFUSED
        bench.clock.advance(20 * DAY)
        assert bench.standing is Standing.REFUSED


def test_a_verdict_in_memory_is_not_held_for_longer_than_the_hold() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        gone(server)
        bench.clock.advance(301)
        bench.ask()
        bench.clock.advance(DAY - 2)
        (held,) = bench.ask()
        assert held.until == held.held_until


@pytest.mark.parametrize(("days", "standing"), [(29, Standing.HELD), (31, Standing.REFUSED)])
def test_a_good_verdict_counts_for_a_month(days: float, standing: Standing) -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        gone(server)
        bench.clock.advance(days * DAY)
        assert bench.standing is standing


def test_never_proved_is_refused_at_once() -> None:
    with TestDnsServer(GOOD) as server:
        gone(server)
        bench = Bench(server, ACCOUNT)
        for _ in range(3):
            assert bench.standing is Standing.REFUSED
            bench.clock.advance(31)


def test_two_processes_agree_on_when_it_began() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        gone(server)
        bench.clock.advance(301)
        known = bench.known()
        (first,) = bench.ask()
        bench.clock.advance(1)
        bench.receipts.stale = known  # the other has read the table before the first wrote
        (second,) = bench.ask(judge=bench.process())
        assert second.failing_since == first.failing_since


# --- DNS or a table is away ------------------------------------------------------------------------


def test_the_last_good_verdict_serves_while_dns_is_away() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        server.servfail |= {"d.example", "_dmarc.d.example"}
        bench.clock.advance(DAY - 31)
        (judged,) = bench.ask()
        assert judged.standing is Standing.PASSED
        assert "DNS" in judged.unasked
        assert judged.until == bench.clock.now() + 30
        bench.clock.advance(32)
        with pytest.raises(TemporaryError):
            bench.ask()


def test_the_last_good_verdict_serves_before_the_lookups_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invocation may end before they do: then its mail would be deferred, as if nothing were known."""
    monkeypatch.setattr("relay.proof.judge.OLD_YES_AFTER", 0.05)
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        server.silent |= {"d.example", "_dmarc.d.example"}
        bench.clock.advance(301)

        async def ask() -> Judged:
            return await asyncio.wait_for(bench.judge(Question("d.example", USER.lower(), "a@d.example")), 5)

        judged = asyncio.run(ask())
        assert judged.standing is Standing.PASSED
        assert "has not answered" in judged.unasked


def test_a_no_does_not_become_a_yes_because_dns_is_away() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        gone(server)
        bench.clock.advance(301)
        assert bench.standing is Standing.HELD
        server.servfail.add("d.example")
        bench.clock.advance(31)
        with pytest.raises(TemporaryError):
            bench.ask()


def test_one_senders_yes_does_not_serve_another_while_dns_is_away() -> None:
    zone = GOOD.replace("include:elastx.email", "exists:%{l}.ok.d.example") + "jo.ok.d.example. A 127.0.0.2"
    with TestDnsServer(zone) as server:
        bench = Bench(server, ACCOUNT, terms=replace(TERMS, egress=("192.0.2.1",)))
        bench.ask(sender="jo@d.example")
        server.servfail.add("d.example")
        assert bench.ask(sender="jo@d.example")[0].standing is Standing.PASSED
        with pytest.raises(TemporaryError):
            bench.ask(sender="al@d.example")


def test_a_question_left_behind_by_an_invocation_is_not_waited_for() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        question = Question("d.example", USER.lower(), "a@d.example")

        async def left() -> None:
            server.silent.add("d.example")
            asking = asyncio.ensure_future(bench.judge(question))
            await asyncio.sleep(0.05)
            asking.cancel()
            bench.judge.cancel()
            server.silent.clear()
            assert (await bench.judge(question)).standing is Standing.PASSED

        asyncio.run(left())


def test_a_table_that_is_away_is_no_verdict() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        for name in (bench.receipts, bench.accounts):
            name.fail_next(OutageError("away"))
            with pytest.raises(OutageError):
                bench.ask()
        assert bench.standing is Standing.PASSED


# --- receipts --------------------------------------------------------------------------------------


def test_a_receipt_lasts_as_long_as_the_records_say_the_same() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        names = [bench.ask()[0].verdict.name]
        for _ in range(3):
            bench.clock.advance(301)
            names.append(bench.ask()[0].verdict.name)
        assert len(set(names)) == 1
        assert not bench.receipts.superseded
        server.add('d.example. TXT "something else"')
        bench.clock.advance(301)
        assert bench.ask()[0].verdict.name not in names
        old = asyncio.run(bench.receipts.receipt("d.example", USER.lower(), names[0]))
        assert old is not None
        assert old.passed
