"""relay.proof.verdict: what a sender is told, and what is remembered."""

import asyncio
import re

import pytest

from relay.dns import DnspythonResolver
from relay.errors import TemporaryError
from relay.ports import Account
from relay.proof.token import token_value
from relay.proof.verdict import Judge, Problem, Proof, Verdict, explain, judge
from tests.dnsserver import TestDnsServer
from tests.fakes import FakeAccounts, FakeClock

USER = "App@example.com"
TOKEN = token_value(USER, "elastx-mrs")
RELAY = 'elastx.email. TXT "v=spf1 ip4:192.0.2.0/24 -all"\n'
GOOD_TOKEN = f'd.example. TXT "{TOKEN}"\n'
GOOD_SPF = 'd.example. TXT "v=spf1 include:elastx.email -all"\n'
GOOD_DMARC = '_dmarc.d.example. TXT "v=DMARC1; p=none"\n'
GOOD = RELAY + GOOD_TOKEN + GOOD_SPF + GOOD_DMARC


def verdict(zone: str, domain: str = "d.example") -> Verdict:
    with TestDnsServer(zone) as server:
        return ask(server, domain)


def ask(server: TestDnsServer, domain: str = "d.example") -> Verdict:
    resolver = DnspythonResolver((server.address,))
    return asyncio.run(judge(domain, USER, resolver=resolver, token_name="elastx-mrs", spf_domain="elastx.email"))


def test_passed() -> None:
    assert verdict(GOOD) == Verdict("d.example", ttl=300)


def test_ttl_is_the_shortest() -> None:
    assert verdict(GOOD.replace("_dmarc.d.example.", "_dmarc.d.example. 77")).ttl == 77


def test_case_of_the_users_name() -> None:
    assert verdict(GOOD.replace(TOKEN, token_value(USER.lower(), "elastx-mrs"))).passed
    assert not verdict(GOOD.replace(TOKEN, token_value(USER.upper(), "elastx-mrs"))).passed


OTHER = token_value("other@example.com", "elastx-mrs")
PROBLEMS = {
    "no token": (
        RELAY + GOOD_SPF + GOOD_DMARC,
        Proof.TOKEN,
        f"d.example has no elastx-mrs record for {USER}",
        f'd.example. TXT "{TOKEN}"',
    ),
    "another user's token": (
        GOOD.replace(TOKEN, OTHER),
        Proof.TOKEN,
        f"d.example has 1 elastx-mrs record, none of them for {USER}",
        f'd.example. TXT "{TOKEN}"',
    ),
    "token at www": (
        GOOD.replace(GOOD_TOKEN, "www." + GOOD_TOKEN),
        Proof.TOKEN,
        "d.example has no elastx-mrs record",
        f'd.example. TXT "{TOKEN}"',
    ),
    "no SPF": (
        RELAY + GOOD_TOKEN + GOOD_DMARC,
        Proof.SPF,
        "d.example has no SPF record",
        'd.example. TXT "v=spf1 include:elastx.email -all"',
    ),
    "SPF of others": (
        GOOD.replace("include:elastx.email", "ip4:192.0.2.1"),
        Proof.SPF,
        "the SPF record of d.example does not include elastx.email",
        'd.example. TXT "v=spf1 include:elastx.email ip4:192.0.2.1 -all"',
    ),
    "two SPF records": (
        GOOD + 'd.example. TXT "v=spf1 mx -all"',
        Proof.SPF,
        "is invalid: there are 2 SPF records",
        'd.example. TXT "v=spf1 include:elastx.email -all"',
    ),
    "no DMARC": (
        RELAY + GOOD_TOKEN + GOOD_SPF,
        Proof.DMARC,
        "d.example has no DMARC record",
        '_dmarc.d.example. TXT "v=DMARC1; p=none"',
    ),
    "invalid DMARC": (
        GOOD.replace("p=none", "p=no"),
        Proof.DMARC,
        "the DMARC record at _dmarc.d.example is invalid: p= is none of",
        '_dmarc.d.example. TXT "v=DMARC1; p=none"',
    ),
}


@pytest.mark.parametrize(("zone", "proof", "what", "publish"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_problems(zone: str, proof: Proof, what: str, publish: str) -> None:
    (problem,) = verdict(zone).problems
    assert problem.proof is proof
    assert what in problem.what
    assert problem.publish == publish


@pytest.mark.parametrize("zone", [RELAY + "a.d.example. A 192.0.2.1", RELAY], ids=["no data", "no name"])
def test_following_the_advice_passes(zone: str) -> None:
    with TestDnsServer(zone) as server:
        found = ask(server)
        assert [problem.proof for problem in found.problems] == [Proof.TOKEN, Proof.SPF, Proof.DMARC]
        server.add("\n".join(problem.publish for problem in found.problems))
        assert ask(server).passed


def test_token_is_not_inherited() -> None:
    zone = GOOD + 'sub.d.example. TXT "v=spf1 include:elastx.email -all"'
    (problem,) = verdict(zone, "sub.d.example").problems
    assert problem.proof is Proof.TOKEN


def test_misplaced_dmarc_is_a_warning() -> None:
    found = verdict(RELAY + GOOD_TOKEN + GOOD_SPF + 'd.example. TXT "v=DMARC1; p=none"')
    assert found.passed
    assert "receivers only look at _dmarc.d.example" in found.warnings[0]


@pytest.mark.parametrize("name", ["d.example", "_dmarc.d.example"])
def test_dns_failure_is_temporary(name: str) -> None:
    with TestDnsServer(GOOD) as server:
        server.servfail.add(name)
        with pytest.raises(TemporaryError):
            ask(server)


def test_lookups() -> None:
    with TestDnsServer(GOOD) as server:
        ask(server)
        assert server.asked == {("d.example", "TXT"): 1, ("_dmarc.d.example", "TXT"): 1}


def refused(count: int, publish: str = "x") -> Verdict:
    return Verdict("d.example", tuple(Problem(Proof.SPF, f"d.example lacks {n}", publish) for n in range(count)))


def test_explain() -> None:
    assert explain((refused(2),)) == (
        "sender not authorised by DNS: d.example lacks 0; publish: x. d.example lacks 1; publish: x."
    )


def test_explain_is_bounded() -> None:
    text = explain((refused(30), refused(30)))
    assert len(text) <= 1000
    told = int(re.search(r" And (\d+) more problems\.$", text)[1])  # type: ignore[index]
    assert told + text.count("lacks") == 60
    assert len(explain((refused(3, "x" * 5000),))) <= 1000
    assert explain((refused(1, "é\r\n"),)).endswith("publish: ???.")


# --- Judge -------------------------------------------------------------------------------------


class Bench:
    """A Judge, its world, and one event loop's worth of questions."""

    def __init__(self, server: TestDnsServer, *accounts: Account) -> None:
        self.server = server
        self.clock = FakeClock()
        self.judge = Judge(
            resolver=DnspythonResolver((server.address,)),
            accounts=FakeAccounts(*accounts),
            clock=self.clock,
            token_name="elastx-mrs",
            spf_domain="elastx.email",
        )

    def ask(self, count: int = 1, account: str = USER.lower()) -> list[Verdict | BaseException]:
        async def run() -> list[Verdict | BaseException]:
            questions = (self.judge("d.example", account) for _ in range(count))
            return await asyncio.gather(*questions, return_exceptions=True)

        return asyncio.run(run())


ACCOUNT = Account(USER, b"", b"", "+46700000000", 0.0)


def test_the_registered_name_counts() -> None:
    with TestDnsServer(GOOD) as server:
        assert [each.passed for each in Bench(server, ACCOUNT).ask() if isinstance(each, Verdict)] == [True]
        assert [each.passed for each in Bench(server).ask() if isinstance(each, Verdict)] == [False]


def test_a_thousand_questions_are_one_set_of_lookups() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        assert bench.ask(1000) == [Verdict("d.example", ttl=300)] * 1000
        assert server.queries == 2
        bench.clock.advance(299)
        bench.ask(1000)
        assert server.queries == 2
        bench.clock.advance(2)
        bench.ask()
        assert server.queries == 4


@pytest.mark.parametrize(("ttl", "kept"), [(0, 30), (100, 100), (86400, 300)])
def test_a_yes_is_kept_by_its_ttl(ttl: int, kept: float) -> None:
    with TestDnsServer(GOOD.replace("_dmarc.d.example.", f"_dmarc.d.example. {ttl}")) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        bench.clock.advance(kept - 1)
        bench.ask()
        assert server.queries == 2
        bench.clock.advance(2)
        bench.ask()
        assert server.queries == 4


def test_a_no_is_kept_for_seconds() -> None:
    with TestDnsServer(RELAY) as server:
        bench = Bench(server, ACCOUNT)
        bench.ask()
        before = server.queries
        bench.clock.advance(4)
        bench.ask()
        assert server.queries == before
        server.add(GOOD)
        bench.clock.advance(2)
        assert bench.ask() == [Verdict("d.example", ttl=300)]


def test_a_failure_reaches_everybody_and_is_not_kept() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        server.servfail.add("d.example")
        assert all(isinstance(each, TemporaryError) for each in bench.ask(10))
        assert server.asked["_dmarc.d.example", "TXT"] == 1
        server.servfail.clear()
        assert bench.ask() == [Verdict("d.example", ttl=300)]


def test_accounts_do_not_share_verdicts() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)
        assert bench.ask() == [Verdict("d.example", ttl=300)]
        (other,) = bench.ask(account="other@example.com")
        assert isinstance(other, Verdict)
        assert not other.passed


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.proof.verdict.MAX_VERDICTS", 3)
    with TestDnsServer() as server:
        bench = Bench(server)

        async def run() -> None:
            for number in range(10):
                await bench.judge(f"d{number}.example", "a@b.example")

        asyncio.run(run())
        assert len(bench.judge._kept) == 3


def test_one_impatient_asker_does_not_disturb_the_others() -> None:
    with TestDnsServer(GOOD) as server:
        bench = Bench(server, ACCOUNT)

        async def run() -> Verdict:
            impatient, patient = (asyncio.ensure_future(bench.judge("d.example", USER.lower())) for _ in range(2))
            await asyncio.sleep(0)
            impatient.cancel()
            return await patient

        assert asyncio.run(run()).passed
