"""`mailrelay trace`: the receipts that a message's acceptance or refusal rests on, and the warnings about it."""

import asyncio
import json
from dataclasses import replace

import pytest

from relay.errors import PermanentError
from relay.outcome import State
from relay.ports import DnsStatus, TxtAnswer
from relay.proof.lookup import Question
from relay.proof.receipt import Known
from relay.proof.verdict import Problem, Proof, Verdict
from relay.submission import Proved
from tests.unit.relayctl.harness import ID, RECEIVED, Ctl, row

ACCOUNT = "user@login.example"
GOOD = Verdict(
    "shop.example",
    "User@login.example",
    decided=RECEIVED - 60,
    rules={Proof.TOKEN: "the token is there", Proof.SPF: "SPF passes", Proof.DMARC: "there is a policy"},
    answers={Question("shop.example", "TXT"): TxtAnswer(DnsStatus.OK, (b"token=1", b"v=spf1 \x1b[31m\xe5"), 60)},
    ttl=60,
)
BAD = replace(
    GOOD,
    decided=RECEIVED + 240,
    rules={Proof.TOKEN: "the token is there", Proof.SPF: "SPF passes"},
    problems=(Problem(Proof.DMARC, "shop.example has no DMARC record", '_dmarc.shop.example. TXT "v=DMARC1; p=none"'),),
)
GONE = f"gone.example@{int(RECEIVED)}000"
WARNING = "neither SPF nor DKIM stands for shop.example: receivers that check DMARC take the message for a forgery"


@pytest.fixture
def proved(ctl: Ctl) -> Ctl:
    """Held at first, by a receipt that was superseded since, then accepted."""
    receipts, messages = ctl.cloud.receipts, ctl.cloud.messages
    known = Known(BAD, RECEIVED, RECEIVED, version=1)
    asyncio.run(receipts.put(ACCOUNT, known, None))
    asyncio.run(receipts.put(ACCOUNT, Known(GOOD, RECEIVED, RECEIVED, version=2), known))
    rows = (
        row("jo@there.example", State.DEFERRED, stage="validate", proved=Proved((BAD.name, GONE))),
        row("jo@there.example", State.DELIVERED, proved=Proved((GOOD.name, GONE), (WARNING,))),
        row("al@there.example", State.DELIVERED, proved=Proved((GOOD.name, GONE), (WARNING,))),
    )
    asyncio.run(messages.put(rows))
    return ctl


def test_what_was_proved(proved: Ctl) -> None:
    assert proved("trace", ID) == 0
    assert (
        f"""\
  al@there.example: delivered
  jo@there.example: delivered

What the sender's DNS said:
  gone.example: the receipt {GONE} is not kept any more
  shop.example: passed, decided 2027-01-15 07:59:00
    Ownership token: the token is there
    SPF: SPF passes
    DMARC: there is a policy
  shop.example: failed, decided 2027-01-15 08:04:00
    Ownership token: the token is there
    SPF: SPF passes
    DMARC: no: shop.example has no DMARC record
  Note: neither SPF nor DKIM stands for shop.example: receivers that check DMARC
  take the message for a forgery.

2027-01-15 08:00:00  accepted (all times UTC)
"""
        in proved.out
    )
    assert max(map(len, proved.out.splitlines())) <= 80


def test_in_full_as_json(proved: Ctl) -> None:
    assert proved("trace", ID, "--json") == 0
    whole = json.loads(proved.out)
    attempts = [each["receipts"] for recipient in whole["recipients"] for each in recipient["attempts"]]
    assert attempts == [[GOOD.name, GONE], [BAD.name, GONE], [GOOD.name, GONE]]
    assert whole["proof"]["warnings"] == [WARNING]
    gone, good, bad = whole["proof"]["receipts"]
    assert gone == {"receipt": GONE, "domain": "gone.example", "passed": None}
    assert good == {
        "receipt": GOOD.name,
        "domain": "shop.example",
        "user": "User@login.example",
        "sender": "",
        "decided": "2027-01-15T07:59:00Z",
        "passed": True,
        "rules": {"token": "the token is there", "spf": "SPF passes", "dmarc": "there is a policy"},
        "problems": [],
        "unanswered": {},
        "warnings": [],
        "ttl": 60,
        "answers": [
            {
                "name": "shop.example",
                "type": "TXT",
                "status": "ok",
                "ttl": 60,
                "records": ["token=1", "v=spf1 \x1b[31m\xe5"],
            }
        ],
    }
    assert bad["problems"] == [
        {
            "proof": "dmarc",
            "what": "shop.example has no DMARC record",
            "hint": "",
            "publish": '_dmarc.shop.example. TXT "v=DMARC1; p=none"',
        }
    ]


def test_a_message_of_which_nothing_was_proved(filled: Ctl) -> None:
    """As those from before there were receipts, and the relay's own notices."""
    assert filled("trace", ID) == 0
    assert "DNS said" not in filled.out
    assert filled("trace", ID, "--json") == 0
    assert json.loads(filled.out)["proof"] == {"receipts": [], "warnings": []}


def test_a_receipt_of_another_version_is_one_that_is_gone(proved: Ctl) -> None:
    proved.cloud.receipts.fail = PermanentError("not a verdict")
    assert proved("trace", ID) == 0
    assert "passed" not in proved.out
    assert f"the receipt {GOOD.name} is not kept any more" in " ".join(proved.out.split())


def test_what_dns_has_does_not_reach_the_terminal_raw(proved: Ctl) -> None:
    evil = replace(GOOD, rules={Proof.SPF: "\x1b[31m"})
    proved.cloud.receipts.items["shop.example", ACCOUNT] = Known(evil, RECEIVED, RECEIVED)
    assert proved("trace", ID) == 0
    assert "SPF: " in proved.out
    assert "\x1b" not in proved.out
