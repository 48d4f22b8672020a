"""Near misses, each with its sentence; what is none; and that nothing that DNS may say breaks them."""

import time
from pathlib import Path

import dns.rdata
import dns.rdataclass
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ports import DnsStatus, TxtAnswer
from relay.proof.dmarc import parse_record as parse_dmarc
from relay.proof.hint_text import LONGEST, fitting, near
from relay.proof.hints import Hint, Hints, misplaced, near_misses, places
from relay.proof.lookup import KINDS, Answer, Question
from relay.proof.spf_cost import costs, unasked
from relay.proof.spf_record import Mechanism, parse_record
from relay.proof.token import matches
from tests.unit.proof.near_misses import (
    BELOW,
    DMARC,
    LEFT_OUT,
    MISSES,
    NAME,
    OTHER,
    RELAY,
    SPF,
    TOKEN,
    USER,
    D,
    Miss,
    line,
    page,
)

Answers = dict[Question, Answer]


def answers(*records: tuple[str, str | bytes]) -> Answers:
    """As DNS gives them; the domain's own two names are there, empty, if not given."""
    found: dict[str, list[bytes]] = {D: [], BELOW: []}
    for name, value in records:
        text = line(name, value).split(" TXT ", 1)[1]
        found.setdefault(name, []).append(
            b"".join(dns.rdata.from_text(dns.rdataclass.IN, "TXT", text).strings)  # type: ignore[attr-defined]
        )
    return {Question(name, "TXT"): TxtAnswer(DnsStatus.OK, tuple(texts), 60) for name, texts in found.items()}


def hints(found: Answers, *, elsewhere: bool = False) -> Hints:
    look = misplaced if elsewhere else near_misses
    return look(D, USER, token_name=NAME, spf_domain=RELAY, answers=found)


@pytest.mark.parametrize("miss", MISSES.values(), ids=MISSES.keys())
def test_a_near_miss_has_its_sentence(miss: Miss) -> None:
    known = answers(*miss.records)
    for name, kind in (("gone.example", "TXT"), (D, "A"), (D, "MX"), ("one.example", "A")):
        if not miss.more:  # what a verdict finds that asks all of it
            known[Question(name, kind)] = KINDS[kind](DnsStatus.NO_NAME)
    found = getattr(hints(known, elsewhere=miss.elsewhere), miss.proof)
    assert (found.says, found.publish) == (miss.says, miss.publish)


@pytest.mark.parametrize("miss", MISSES.values(), ids=MISSES.keys())
def test_a_sentence_fits_a_reply(miss: Miss) -> None:
    for said in miss.says:
        assert len(said) <= LONGEST
        assert said.isascii()
        assert said.isprintable()
        assert not said.endswith(".")


def test_the_page_is_as_the_code_has_it() -> None:
    path = Path(__file__).parents[3] / "docs" / "near-misses.md"
    assert path.read_text() == page(), "python -m tests.unit.proof.near_misses > docs/near-misses.md"


RIGHT = {
    "all three": [(D, TOKEN), (D, SPF), (BELOW, DMARC)],
    "a token in upper case, with white space": [(D, f" {TOKEN.upper()}\n")],
    "others' tokens beside it": [(D, TOKEN), (D, OTHER), (D, f"{NAME}=abc")],
    "a large SPF record": [
        (D, f"v=spf1 a mx:mx.corp.example/24 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:{RELAY} ~all"),
    ],
    "SPF by redirect": [(D, f"v=spf1 redirect={RELAY}")],
    "SPF with macros": [(D, f"v=spf1 exists:%{{i}}._spf.corp.example include:{RELAY} exp=why.corp.example -all")],
    "SPF with a modifier of tomorrow": [(D, f"v=spf1 include:{RELAY} op=x -all")],
    "SPF without the relay": [(D, "v=spf1 mx include:_spf.corp.example -all")],
    "SPF in capitals": [(D, f"V=SPF1 INCLUDE:{RELAY.upper()} -ALL")],
    "Sender ID beside SPF": [(D, SPF), (D, "spf2.0/pra include:elastx.email -all")],
    "DMARC with everything": [
        (BELOW, "v = DMARC1 ; p = reject ; sp=none; rua=mailto:a@b.example!10m, mailto:c@d.example; t=y"),
    ],
    "what others put there": [
        (D, "google-site-verification=abc"),
        (D, "MS=ms12345678"),
        (D, "v=STSv1; id=20260101"),
        (D, "v=TLSRPTv1; rua=mailto:a@b.example"),
        (D, "v=BIMI1; l=https://b.example/a.svg"),
        (D, "v=DKIM1; k=rsa; p=MIGf"),
        (D, "k=rsa; p=MIGf"),
        (D, "atlassian-domain-verification=" + "a" * 64),
        (D, "dmarcian-verification=p=1"),
        (D, "a" * 64),
        (D, "all mail is welcome"),
        (D, "sendgrid"),
        (D, ""),
        (BELOW, "none"),
        (BELOW, ""),
    ],
}


@pytest.mark.parametrize("records", RIGHT.values(), ids=RIGHT.keys())
def test_what_is_right_or_something_else_has_none(records: list[tuple[str, str]]) -> None:
    found = hints(answers(*records))
    assert [each.says for each in found.proofs] == [(), (), ()]
    assert found.caution == ""


def test_everybody_may_send() -> None:
    said = f'the SPF record of {D} has "+all", which lets anybody send: write "~all" or "-all"'
    for record in (f"v=spf1 include:{RELAY} +all", f"v=spf1 include:{RELAY} ALL"):
        assert hints(answers((D, record))).caution == said
    assert hints(answers((D, SPF), (D, "we send it +all"))).caution == ""


def test_several_hints_come_in_the_order_of_the_record() -> None:
    found = hints(answers((D, f"v=spf1; ipv4:192.0.2.1 includes:{RELAY}, –all"))).spf
    starts = ("the TXT record ", f"in the SPF record of {D} there is", f'in the SPF record of {D} "ipv4:192', "in the")
    assert [said.startswith(start) for said, start in zip(found.says, starts, strict=True)] == [True] * 4
    assert found.publish == f"v=spf1 include:{RELAY} ip4:192.0.2.1 -all"


def test_a_record_of_which_nothing_is_valid() -> None:
    found = hints(answers((D, "v=spf1 ip4:999.1.1.1 bogus:x"))).spf
    said = tuple(f'in the SPF record of {D} "{each}" {LEFT_OUT}' for each in ("ip4:999.1.1.1", "bogus:x"))
    assert (found.says, found.publish) == (said, f"v=spf1 include:{RELAY}")
    assert hints(answers((D, "v=spf1 exp=a.example exp=b.example"))).spf.publish == ""


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (100, "aaaa, bbbb, cccc"),
        (16, "aaaa, bbbb, cccc"),
        (15, "aaaa and 2 more"),
        (11, "3 terms"),
    ],
)
def test_a_list_as_long_as_fits(room: int, shown: str) -> None:
    assert fitting(["aaaa", "bbbb", "cccc"], room) == shown


def test_long_terms_are_counted() -> None:
    terms = " ".join(f"a:{number}.{'x' * 60}.example" for number in range(20))
    (said,) = hints(answers((D, f"v=spf1 {terms} include:{RELAY} -all"))).spf.says
    assert said.endswith(" more; take out what is not used any more")
    assert "takes at least 21 DNS lookups" in said


def test_what_hints_are_about() -> None:
    records = [f"“{TOKEN}”", "else", f" {SPF}", "v=DMARC1 p=none"]
    found = hints(answers(*((D, each) for each in records)))
    assert [[each.decode() for each in hint.about] for hint in found.proofs] == [
        [each] for each in records[:1] + records[2:]
    ]


# --- what a record costs -------------------------------------------------------------------------


def test_costs_of_what_is_not_known_yet() -> None:
    known = answers((D, "v=spf1 include:a.example include:b.example a -all"), ("a.example", "v=spf1 include:c.example"))
    assert costs(D, known).terms == {"include:a.example": 2, "include:b.example": 1, "a": 1}
    assert not costs(D, known).complete
    assert set(unasked(D, known)) == {"b.example", "c.example"}
    known |= {
        Question("b.example", "TXT"): TxtAnswer(DnsStatus.OK, (b"v=spf1 redirect=a.example",)),
        Question("c.example", "TXT"): TxtAnswer(DnsStatus.NO_DATA),
    }
    assert unasked(D, known) == ()
    assert costs(D, known).terms == {"include:a.example": 2, "include:b.example": 3, "a": 1}


def test_records_that_include_each_other_have_an_end() -> None:
    names = [f"{n}.example" for n in range(100)]
    everybody = "v=spf1 " + " ".join(f"include:{name}" for name in names)
    known = answers(*((name, everybody) for name in (D, *names)))
    start = time.process_time()
    assert sum(costs(D, known).terms.values()) >= 100
    assert time.process_time() - start < 5
    assert unasked(D, known) == ()


def test_redirect_counts_only_without_all() -> None:
    assert costs(D, answers((D, "v=spf1 redirect=a.example"))).terms == {"redirect=a.example": 1}
    assert costs(D, answers((D, "v=spf1 redirect=a.example -all"))).terms == {}


# --- elsewhere -----------------------------------------------------------------------------------


def test_places_are_few_and_different() -> None:
    names = [place.name for place in places("a.b.c.d.e.f.example", NAME)]
    assert len(names) == len(set(names)) == 15
    assert [place.name for place in places("corp.example", NAME)] == [
        *("www.corp.example", "_spf.corp.example", f"{NAME}.corp.example", "dmarc.corp.example"),
        *("corp.example.corp.example", "_dmarc.corp.example.corp.example"),
    ]


def test_what_others_have_elsewhere_is_theirs() -> None:
    """An SPF record of www or the parent tells nothing to who has one; nor does another user's token there."""
    found = [(D, "v=spf1 mx -all"), ("corp.example", "v=spf1 a -all"), ("corp.example", OTHER), (f"www.{D}", OTHER)]
    assert hints(answers(*found), elsewhere=True) == Hints()
    relays = answers(*found, (f"www.{D}", SPF))
    assert len(hints(relays, elsewhere=True).spf.says) == 1


def test_what_cannot_be_moved_as_it_is_is_not_published() -> None:
    twice = f"{BELOW}.{D}"
    for record in ("v=DMARC1; p=rejct", "v=DMARC1; p=none; rua=å"):
        found = hints(answers((twice, record)), elsewhere=True).dmarc
        assert (len(found.says), found.publish) == (1, "")


# --- whatever DNS says ---------------------------------------------------------------------------

BASES = st.sampled_from([TOKEN, OTHER, SPF, DMARC, f"v=spf1 mx include:{RELAY} ip4:192.0.2.0/24 ~all"])
SLIPS = st.sampled_from([" ", "  ", ";", ",", ":", "=", '"', "“", "–", "\\", "\u200b", ".", "a", "1", "+", "-", "é"])


@st.composite
def slipped(draw: st.DrawFn) -> bytes:
    """A right record with some slips of the fingers."""
    text = draw(BASES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(SLIPS) + text[at + draw(st.integers(0, 2)) :]
    return text.encode()


@given(st.lists(st.one_of(st.binary(max_size=300), slipped()), max_size=4), st.booleans())
def test_nothing_that_dns_says_breaks_them(records: list[bytes], below: bool) -> None:
    known: Answers = {Question(D, "TXT"): TxtAnswer(DnsStatus.OK, tuple(records), 60)}
    if below:
        known[Question(BELOW, "TXT")] = known[Question(D, "TXT")]
    found = hints(known)
    for said in (*found.token.says, *found.spf.says, *found.dmarc.says):
        assert len(said) <= LONGEST
        assert said.isprintable()
        assert said.isascii()
    if found.spf.publish:
        first = parse_record(found.spf.publish.encode()).directives[0]
        assert (first.mechanism, first.domain) == (Mechanism.INCLUDE, RELAY)
    if found.dmarc.publish:
        parse_dmarc(found.dmarc.publish.encode())
    if any(matches(record, USER, NAME) for record in records):
        assert found.token == Hint()


def test_large_records_take_no_time() -> None:
    texts = (
        b"v=spf1 " + b"x " * 1000,
        b" " * 2000,
        b"elastx-mrs" + b" " * 2000,
        b"v=spf1 " + b"a:" * 7000,
        b"a" * 16_000,
    )
    known: Answers = {Question(name, "TXT"): TxtAnswer(DnsStatus.OK, texts, 60) for name in (D, BELOW)}
    start = time.process_time()
    hints(known)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("word", "wanted", "is_near"),
    [
        ("elastx-msr", NAME, True),
        ("elastxmrs", NAME, True),
        ("Elastx_MRS", NAME, True),
        (NAME.upper(), NAME, False),
        ("elastic", NAME, False),
        ("inclde", "include", True),
        ("al", "all", True),
        ("mx", "all", False),
        ("", "all", False),
    ],
)
def test_near(word: str, wanted: str, is_near: bool) -> None:
    assert near(word, wanted) is is_near
