"""relay.proof.spf.check_host: what it says beside the result, and that nothing it is given gets it off its way."""

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.errors import PermanentError, TemporaryError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from relay.proof.lookup import Lookup
from relay.proof.spf import Result, SpfResult, check_host

REVERSE = "10.2.0.192.in-addr.arpa"


Records = Mapping[str, tuple[object, ...]]


class Zone:
    """A Resolver out of a table: {"name TYPE": values}; TemporaryError for the names in `down`, PermanentError for
    those that DNS can't hold."""

    def __init__(self, records: Records, down: tuple[str, ...] = ()) -> None:
        self.records = records
        self.down = down
        self.asked: Counter[str] = Counter()

    def _find(self, name: str, kind: str) -> tuple[object, ...]:
        question = f"{name.lower()} {kind}"
        self.asked[question] += 1
        if name in self.down:
            raise TemporaryError(f"{question}: no answer in time from DNS")
        if not name or ".." in name:
            raise PermanentError("a domain name cannot be looked up")
        return self.records.get(question, ())

    async def txt(self, name: str) -> TxtAnswer:
        found = self._find(name, "TXT")
        return TxtAnswer(status(found), found)  # type: ignore[arg-type]

    async def mx(self, name: str) -> MxAnswer:
        found = self._find(name, "MX")
        return MxAnswer(status(found), found)  # type: ignore[arg-type]

    async def a(self, name: str) -> AddressAnswer:
        found = self._find(name, "A")
        return AddressAnswer(status(found), found)  # type: ignore[arg-type]

    async def aaaa(self, name: str) -> AddressAnswer:
        found = self._find(name, "AAAA")
        return AddressAnswer(status(found), found)  # type: ignore[arg-type]

    async def ptr(self, name: str) -> PtrAnswer:
        found = self._find(name, "PTR")
        return PtrAnswer(status(found), found)  # type: ignore[arg-type]


def status(found: tuple[object, ...]) -> DnsStatus:
    return DnsStatus.OK if found else DnsStatus.NO_NAME


COMMON: Records = {
    "pass.example TXT": (b"v=spf1 ip4:192.0.2.10 -all",),
    "fail.example TXT": (b"v=spf1 -all",),
    "deep.example TXT": (b"v=spf1 include:broken.example",),
    "broken.example TXT": (b"v=spf1 al",),
    "host.example A": ("192.0.2.10",),
}


def check(record: bytes, *, sender: str = "user@d.example") -> SpfResult:
    zone = Zone({**COMMON, "d.example TXT": (record,)}, ("down.example",))
    return asyncio.run(check_host("192.0.2.10", "d.example", sender, "helo.example", zone))


SAID = {
    "pass": (b"v=spf1 A:host.example/24 -all", "pass", "A:host.example/24", 'has "A:host.example/24", which matches'),
    "by include": (b"v=spf1 include:pass.example", "pass", "include:pass.example", 'has "include:pass.example", which'),
    "fail": (b"v=spf1 -ip4:192.0.2.0/24", "fail", "-ip4:192.0.2.0/24", 'has "-ip4:192.0.2.0/24", which matches'),
    "all": (b"v=spf1 mx ~all", "softfail", "~all", 'has no match before "~all"'),
    "no match": (b"v=spf1 mx", "neutral", "", "has no match"),
    "redirect": (
        b"v=spf1 redirect=fail.example",
        "fail",
        "-all",
        'redirects to fail.example, which has no match before "-all"',
    ),
    "two records": (b"", "none", "", "is missing"),
    "syntax": (b"v=spf1 ipv4:192.0.2.10", "permerror", "", 'is invalid: "ipv4:192.0.2.10" is no mechanism of SPF'),
    "syntax further down": (
        b"v=spf1 include:deep.example",
        "permerror",
        "",
        'is invalid: at "include:broken.example" "al" is no mechanism of SPF',
    ),
    "no record there": (
        b"v=spf1 include:x.example",
        "permerror",
        "",
        'is invalid: at "include:x.example" there is no SPF record',
    ),
    "not answered": (
        b"v=spf1 a:down.example",
        "temperror",
        "",
        "cannot be read: down.example A: no answer in time from DNS",
    ),
}


@pytest.mark.parametrize(("record", "result", "term", "why"), SAID.values(), ids=SAID.keys())
def test_what_is_said(record: bytes, result: str, term: str, why: str) -> None:
    found = check(record)
    assert (str(found), found.term) == (result, term)
    assert why in found.why
    assert found.record == record
    assert found.result is Result(result)


def test_a_result_is_a_value() -> None:
    assert check(b"v=spf1 -all") == SpfResult(
        Result.FAIL, 'has no match before "-all"', "", "-all", b"v=spf1 -all", per_sender=False
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        check(b"v=spf1 -all").term = ""  # type: ignore[misc]


def test_two_records_are_none_to_show() -> None:
    zone = Zone({"d.example TXT": (b"v=spf1", b"v=spf1 -all")})
    found = asyncio.run(check_host("192.0.2.10", "d.example", "", "d.example", zone))
    assert (str(found), found.record) == ("permerror", b"")
    assert "2 SPF records" in found.why


PER_SENDER = {
    "no macro": (b"v=spf1 a mx ?include:pass.example exists:x.example -all", False),
    "address and domain": (b"v=spf1 exists:%{ir}.%{v}.%{d}.x.example -all", False),
    "validated name": (b"v=spf1 exists:%{p}.x.example -all", False),
    "sender": (b"v=spf1 exists:%{s}.x.example -all", True),
    "local part": (b"v=spf1 exists:%{L1r-}.x.example -all", True),
    "HELO": (b"v=spf1 a:%{h} -all", True),
    "HELO, capital": (b"v=spf1 a:%{H} -all", True),
    "in an include": (b"v=spf1 ?include:%{l}.x.example -all", True),
    "in a redirect": (b"v=spf1 redirect=%{l}.x.example", True),
    "behind the match": (b"v=spf1 ip4:192.0.2.10 exists:%{s}.x.example -all", False),
    "an escaped percent": (b"v=spf1 exists:%%{s}.x.example -all", False),
    "in an unknown modifier": (b"v=spf1 x=%{s} -all", False),
    "in an explanation": (b"v=spf1 exp=%{s}.x.example -all", False),
    "the sender's domain": (b"v=spf1 exists:%{o}.x.example -all", False),
}


@pytest.mark.parametrize(("record", "per_sender"), PER_SENDER.values(), ids=PER_SENDER.keys())
def test_per_sender(record: bytes, per_sender: bool) -> None:
    assert check(record).per_sender is per_sender


@pytest.mark.parametrize(
    ("sender", "per_sender"), [("a@D.Example", False), ("a@other.example", True), ("@d.example", False), ("", True)]
)
def test_the_senders_domain_tells_senders_apart_where_it_is_another(sender: str, per_sender: bool) -> None:
    assert check(b"v=spf1 exists:%{o}.x.example -all", sender=sender).per_sender is per_sender


def test_an_address_in_any_form() -> None:
    zone = Zone({"d.example TXT": (b"v=spf1 ip4:192.0.2.10 ip6:fe80::/10 -all",)})
    for ip in ("192.0.2.10", "::ffff:192.0.2.10", "fe80::1", "fe80::1%eth0"):
        for each in (ip, ip_address(ip)):
            assert str(asyncio.run(check_host(each, "d.example", "", "d.example", zone))) == "pass"
    with pytest.raises(ValueError, match="address"):
        asyncio.run(check_host("mx.example", "d.example", "", "d.example", zone))


def test_the_first_ten_names_of_the_client_as_they_come() -> None:
    names = tuple(f"n{each}.example" for each in range(11))
    addresses = {f"{name} A": ("192.0.2.10",) for name in names}
    for last, result in ((b"9", "pass"), (b"10", "fail")):
        record = b"v=spf1 ptr:n%s.example -all" % last
        zone = Zone({**addresses, "d.example TXT": (record,), f"{REVERSE} PTR": names})
        assert str(asyncio.run(check_host("192.0.2.10", "d.example", "", "d.example", zone))) == result


def test_names_of_the_client_that_would_not_match_are_not_asked_about() -> None:
    names = ("m.x.example", "m.d.example")
    zone = Zone(
        {
            "d.example TXT": (b"v=spf1 ptr -all",),
            f"{REVERSE} PTR": names,
            "m.d.example A": ("192.0.2.10",),
        }
    )
    assert str(asyncio.run(check_host("192.0.2.10", "d.example", "", "d.example", zone))) == "pass"
    assert zone.asked == {"d.example TXT": 1, f"{REVERSE} PTR": 1, "m.d.example A": 1}


def test_each_question_is_asked_once() -> None:
    record = b"v=spf1 a:x.example a:host.example/32 -a:host.example exists:%{p}.y.example ptr:z.example +all"
    zone = Zone({"d.example TXT": (record,), "x.example A": ("198.51.100.1",), "host.example A": ("198.51.100.1",)})
    asyncio.run(check_host("192.0.2.10", "d.example", "", "d.example", zone))
    assert set(zone.asked.values()) == {1}


def test_a_shared_lookup_serves_several_addresses() -> None:
    zone = Zone({**COMMON, "d.example TXT": (b"v=spf1 include:pass.example -all",)})

    async def run() -> list[str]:
        lookup = Lookup(zone)
        addresses = ("192.0.2.10", "192.0.2.11", "2001:db8::1")
        found = await asyncio.gather(*(check_host(each, "d.example", "", "d.example", lookup) for each in addresses))
        return [str(each) for each in found]

    assert asyncio.run(run()) == ["pass", "fail", "fail"]
    assert zone.asked == {"d.example TXT": 1, "pass.example TXT": 1}


def test_a_failure_of_dns_is_told_in_printable_characters() -> None:
    zone = Zone({"d.example TXT": (b"v=spf1 a:%{l}.d.example",)}, ("a\n.d.example",))
    found = asyncio.run(check_host("192.0.2.10", "d.example", "a\n@d.example", "h", zone))
    assert str(found) == "temperror"
    assert found.why.isprintable()


def test_an_explanation_of_a_sender_outside_ascii_is_none() -> None:
    zone = Zone({"d.example TXT": (b"v=spf1 -all exp=why.example",), "why.example TXT": (b"no %{l}, %{L}",)})
    for sender, explanation in (("jo@d.example", "no jo, jo"), ("jö@d.example", ""), ("a\r\nb@d.example", "")):
        found = asyncio.run(check_host("192.0.2.10", "d.example", sender, "h", zone))
        assert (str(found), found.explanation) == ("fail", explanation)


TERMS = st.lists(
    st.sampled_from([
        "a", "mx", "ptr", "all", "-all", "?all", "a:d.example", "mx:d.example//0", "ptr:%{d}", "exists:%{s}.d.example",
        "include:d.example", "include:%{l}.example", "include:e.example", "redirect=e.example", "exp=d.example",
        "ip4:192.0.2.10", "ip6:::/0", "exists:%{p}.x", "a:%{hr}", "a:%{L1r-}.%{i}.%{v}", "x=%{c}", "", "\t", "-", "%",
        "a:" + "%{s}." * 30 + "example", "exists:%{d99999r}..x.example",
    ])
).map(lambda terms: ("v=spf1 " + " ".join(terms)).encode())  # fmt: skip
RECORDS = st.lists(TERMS | st.binary(max_size=80).map(b"v=spf1 ".__add__) | st.binary(max_size=40), max_size=2)
NAMES = st.sampled_from(["d.example", "e.example", "helo.example", "."]) | st.text(max_size=40)


class Anything(Zone):
    """Every name has the same of each type."""

    def _find(self, name: str, kind: str) -> tuple[object, ...]:
        return super()._find(name, kind) or self.records.get(kind, ())


@given(
    records=RECORDS,
    domain=NAMES,
    sender=NAMES | st.text(max_size=20).map("{}@d.example".format),
    helo=NAMES,
    ip=st.sampled_from(["192.0.2.10", "2001:db8::10"]),
    hosts=st.lists(NAMES, max_size=12),
    down=st.sampled_from([(), ("e.example",), (REVERSE,)]),
)
@example([b"v=spf1 a:%{d" + b"9" * 5000 + b"}"], "d.example", "a@d.example", "h", "192.0.2.10", [], ())
@example([b"v=spf1 a:%{S}"], "d.example", "\ud800@d.example", "\udfff", "192.0.2.10", [], ())
@settings(deadline=None)
def test_anything_gives_a_result(
    records: list[bytes], domain: str, sender: str, helo: str, ip: str, hosts: list[str], down: tuple[str, ...]
) -> None:
    everywhere: Records = {
        "TXT": tuple(records),
        "A": ("192.0.2.10",),
        "AAAA": ("2001:db8::1",),
        "PTR": tuple(hosts),
        "MX": tuple(enumerate(hosts)),
    }
    zone = Anything(everywhere, down)
    found = asyncio.run(check_host(ip, domain, sender, helo, zone))
    assert found.result in Result
    assert found.why.isascii()
    assert found.why.isprintable()
    assert found.explanation.isascii()
    # §4.6.4: ten terms of ten hosts each, what they are found by, the client's ten names, the explanation
    assert zone.asked.total() <= 1 + 10 * 11 + 12 + 1
    assert bool(found.term) <= (found.result in (Result.PASS, Result.FAIL, Result.SOFTFAIL, Result.NEUTRAL))


HOSTILE = {
    "senders": b"v=spf1 exists:" + b"%{s}" * 4000 + b" -all",
    "reversed names": b"v=spf1 exists:" + b"%{hr.-+}" * 2000 + b" -all",
    "an explanation": b"v=spf1 -all exp=why.example",
    "addresses": b"v=spf1 " + b"ip4:192.0.2.1 " * 1100 + b"-all",
    "terms": b"v=spf1 " + b"exists:%% " * 1600,
}


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_record_costs_little(record: bytes) -> None:
    zone = Zone({"d.example TXT": (record,), "why.example TXT": (b"%{Sr-}" * 2500,)})
    began = time.process_time()
    asyncio.run(check_host("192.0.2.10", "d.example", "a-" * 500_000 + "@d.example", "b-" * 500_000, zone))
    asyncio.run(check_host("192.0.2.10", "ü." * 500_000 + "example", "", "h", zone))
    assert time.process_time() - began < 2
