"""relay.proof.verdict: what a sender is told, and what is remembered."""

import asyncio
import re
from dataclasses import replace

import pytest

from relay.dns import DnspythonResolver
from relay.errors import OutageError, TemporaryError
from relay.proof.lookup import UnaskedError
from relay.proof.token import token_value
from relay.proof.verdict import Policy, Problem, Proof, Terms, Verdict, explain, judge, lines, replay
from tests.dnsserver import TestDnsServer

USER = "App@example.com"
NOW = 1_800_000_000.25
TOKEN = token_value(USER, "elastx-mrs")
RELAY = 'elastx.email. TXT "v=spf1 ip4:192.0.2.0/24 -all"\n'
GOOD_TOKEN = f'd.example. TXT "{TOKEN}"\n'
GOOD_SPF = 'd.example. TXT "v=spf1 include:elastx.email -all"\n'
GOOD_DMARC = '_dmarc.d.example. TXT "v=DMARC1; p=none"\n'
GOOD = RELAY + GOOD_TOKEN + GOOD_SPF + GOOD_DMARC


TERMS = Terms("elastx-mrs", "elastx.email", helo="smtp.elastx.email")
BY_ADDRESS = replace(TERMS, egress=("192.0.2.1", "2001:db8::1"))


def verdict(zone: str, domain: str = "d.example", terms: Terms = TERMS, sender: str = "") -> Verdict:
    with TestDnsServer(zone) as server:
        return ask(server, domain, terms, sender)


def ask(server: TestDnsServer, domain: str = "d.example", terms: Terms = TERMS, sender: str = "") -> Verdict:
    resolver = DnspythonResolver((server.address,))
    return asyncio.run(judge(domain, USER, terms=terms, resolver=resolver, now=NOW, sender=sender))


def test_passed() -> None:
    found = verdict(GOOD)
    assert (found.domain, found.user, found.decided, found.problems, found.warnings) == ("d.example", USER, NOW, (), ())
    assert found.passed
    assert found.rules == {
        Proof.TOKEN: f"a TXT record of d.example is the elastx-mrs token of {USER}",
        Proof.SPF: "the SPF record of d.example reaches elastx.email with a pass",
        Proof.DMARC: "the DMARC record at _dmarc.d.example has a policy of none",
    }
    assert found.name == "d.example@1800000000250"


# --- SPF by address -----------------------------------------------------------------------------

BOTH = 'd.example. TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 %s"\n'
SPF_BY_ADDRESS = {
    "both pass": (BOTH % "-all", ""),
    "through an include": (GOOD_SPF + RELAY.replace(" -all", " ip6:2001:db8::1 -all"), ""),
    "one fails": (
        BOTH.replace("ip6:2001:db8::/32 ", "") % "-all",
        'the SPF record of d.example gives "fail" to the relay\'s address 2001:db8::1: it',
    ),
    "softfail": (BOTH.replace("ip4", "~ip4") % "-all", 'gives "softfail" to the relay\'s address 192.0.2.1: it'),
    "neutral": (BOTH.replace("ip4", "?ip4") % "-all", 'gives "neutral" to the relay\'s address 192.0.2.1: it'),
    "nothing matches": ('d.example. TXT "v=spf1"\n', 'gives "neutral" to the relay\'s address 192.0.2.1: it'),
    "no record": ("", "d.example has no SPF record"),
    "permerror": ('d.example. TXT "v=spf1 ip4:x -all"\n', "the SPF record of d.example "),
}


@pytest.mark.parametrize(("spf", "what"), SPF_BY_ADDRESS.values(), ids=SPF_BY_ADDRESS.keys())
def test_every_address_has_to_pass(spf: str, what: str) -> None:
    found = verdict(GOOD_TOKEN + GOOD_DMARC + spf, terms=BY_ADDRESS)
    assert [what in problem.what for problem in found.problems] == [True] * bool(what)
    assert (Proof.SPF in found.rules) is not bool(what)


def test_an_spf_record_with_a_hole_is_a_failure_of_dns() -> None:
    with TestDnsServer(GOOD) as server:
        server.servfail.add("elastx.email")
        with pytest.raises(TemporaryError):
            ask(server, terms=BY_ADDRESS)


def test_a_record_with_the_senders_macro_is_for_that_sender() -> None:
    zone = (
        GOOD_TOKEN + GOOD_DMARC + 'd.example. TXT "v=spf1 exists:%{l}.ok.d.example -all"\njo.ok.d.example. A 127.0.0.2'
    )
    jo, al = (verdict(zone, terms=BY_ADDRESS, sender=f"{local}@d.example") for local in ("jo", "al"))
    assert (jo.passed, jo.per_sender, jo.sender) == (True, True, "jo@d.example")
    assert (al.passed, al.per_sender, al.sender) == (False, True, "al@d.example")
    assert not verdict(GOOD, sender="jo@d.example").per_sender


# --- DMARC --------------------------------------------------------------------------------------


def test_a_missing_policy_may_be_a_warning() -> None:
    found = verdict(RELAY + GOOD_TOKEN + GOOD_SPF, terms=replace(TERMS, dmarc_required=False))
    assert found.passed
    assert found.warnings == ("d.example has no DMARC record",)


def test_what_the_policy_asks_of_receivers() -> None:
    zone = GOOD.replace("p=none", "p=reject; aspf=s; adkim=s")
    assert verdict(zone).policy == Policy("d.example", strict_spf=True, strict_dkim=True, rejects=True)
    assert verdict(GOOD).policy == Policy("d.example")


def test_what_a_subdomain_inherits() -> None:
    zone = (GOOD_TOKEN + GOOD_SPF).replace("d.example.", "s.d.example.") + GOOD_DMARC.replace("none", "none; sp=reject")
    found = verdict(RELAY + zone, "s.d.example")
    assert found.passed
    assert found.policy == Policy("d.example", rejects=True)
    assert found.rules[Proof.DMARC] == "the DMARC record at _dmarc.d.example has a policy of reject"


# --- the receipt --------------------------------------------------------------------------------

REPLAYED = {
    "good": (GOOD, TERMS),
    "nothing": (RELAY, TERMS),
    "by address": (GOOD.replace("/24 -all", "/24 a:a.example ptr ip6:2001:db8::/32 -all"), BY_ADDRESS),
    "no token, silent DMARC": (RELAY + GOOD_SPF + "_dmarc.d.example. CNAME _dmarc.d.example.", TERMS),
    "two SPF records": (GOOD + 'd.example. TXT "v=spf1 -all"', TERMS),
    "misplaced DMARC": (RELAY + GOOD_TOKEN + GOOD_SPF + 'd.example. TXT "v=DMARC1; p=none"', TERMS),
}


@pytest.mark.parametrize(("zone", "terms"), REPLAYED.values(), ids=REPLAYED.keys())
def test_a_verdict_is_enough_to_decide_again(zone: str, terms: Terms) -> None:
    found = verdict(zone, terms=terms)
    assert asyncio.run(replay(found)) == found


def test_a_receipt_with_an_answer_missing_is_not_replayed() -> None:
    found = verdict(GOOD)
    with pytest.raises(UnaskedError):
        asyncio.run(replay(replace(found, answers={})))


def test_a_verdict_that_differs_in_time_only_says_the_same() -> None:
    found = verdict(GOOD)
    assert found.says_as(replace(found, decided=1.0, ttl=1))
    assert found.says_as(verdict(GOOD.replace("TXT", "77 TXT")))
    assert not found.says_as(verdict(GOOD.replace("p=none", "p=reject")))
    assert not found.says_as(verdict(RELAY))


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
        'd.example. TXT "v=spf1 include:elastx.email mx -all"',
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


def test_a_no_decides_though_dns_is_silent_about_the_rest() -> None:
    with TestDnsServer(RELAY + GOOD_SPF) as server:
        server.servfail.add("_dmarc.d.example")
        found = ask(server)
    assert [problem.proof for problem in found.problems] == [Proof.TOKEN]
    assert found.unanswered == ("_dmarc.d.example TXT: no usable answer from DNS",)


OURS = {
    "another address": 'elastx.email. TXT "v=spf1 ip4:198.51.100.1 -all"\n',
    "no record": "",
    "a broken one": 'elastx.email. TXT "v=spf1 ip4:x -all"\n',
}


@pytest.mark.parametrize("relay", OURS.values(), ids=OURS.keys())
def test_a_fault_in_the_relays_own_record_is_not_the_senders(relay: str) -> None:
    with pytest.raises(OutageError):
        verdict(GOOD_TOKEN + GOOD_SPF + GOOD_DMARC + relay, terms=BY_ADDRESS)


@pytest.mark.parametrize("name", ["d.example", "_dmarc.d.example"])
def test_dns_failure_is_temporary(name: str) -> None:
    with TestDnsServer(GOOD) as server:
        server.servfail.add(name)
        with pytest.raises(TemporaryError):
            ask(server)


def test_each_name_is_asked_once() -> None:
    with TestDnsServer(GOOD) as server:
        ask(server)
        names = ("d.example", "_dmarc.d.example", "_dmarc.example")
        assert server.asked == {(name, "TXT"): 1 for name in names}


def refused(count: int, publish: str = "x") -> Verdict:
    return Verdict(
        "d.example", problems=tuple(Problem(Proof.SPF, f"d.example lacks {n}", publish) for n in range(count))
    )


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


def test_a_near_miss_is_recognised() -> None:
    newline = token_value(USER + "\n", "elastx-mrs")
    (problem,) = verdict(GOOD.replace(TOKEN, newline)).problems
    assert "echo -n" in problem.hint
    found = verdict(GOOD.replace(TOKEN, newline))
    assert problem.hint in lines(found)
    assert f"({problem.hint}); publish: " in explain((found,))


def test_a_record_too_long_for_a_line_is_not_cut() -> None:
    terms = "".join(f"ip4:203.0.113.{n} " for n in range(21))
    zone = RELAY + GOOD_TOKEN + GOOD_DMARC + f'd.example. TXT "v=spf1 {terms[:200]}" "{terms[200:]}-all"'
    found = verdict(zone)
    assert lines(found)[-1] == (
        'put include:elastx.email right behind "v=spf1"; mailrelay check prints the whole record'
    )
    assert "publish:" not in explain((found,))
    assert all(f"ip4:203.0.113.{n} " in found.problems[0].publish.replace('" "', "") for n in range(21))


def test_lines() -> None:
    assert lines(refused(1, 'x. TXT "y"')) == (
        "sender not authorised by DNS: d.example lacks 0",
        'publish: x. TXT "y"',
    )
    assert all(len(line) <= 400 and line.isprintable() and line.isascii() for line in lines(refused(2, "é\0" * 500)))
