"""Which back ends a message may leave by: the operator's words, and what comes of them."""

import re

import pytest

from relay.backends import BackEnd, BackEnds

MX, SMARTHOST, SES = BackEnd.MX, BackEnd.SMARTHOST, BackEnd.SES
RULES = "from a.example = ses, mx; to *.b.example = smarthost;; from <> = mx ; TO Ü.example=SES"


@pytest.mark.parametrize(
    ("sender", "recipient", "back_ends"),
    [
        ("c.example", "d.example", (SMARTHOST, MX)),
        ("a.example", "d.example", (SES, MX)),
        ("x.a.example", "d.example", (SMARTHOST, MX)),
        ("c.example", "x.b.example", (SMARTHOST,)),
        ("c.example", "x.y.b.example", (SMARTHOST,)),
        ("c.example", "b.example", (SMARTHOST, MX)),
        ("c.example", "xb.example", (SMARTHOST, MX)),
        ("a.example", "x.b.example", (SES, MX)),
        ("x.b.example", "d.example", (SMARTHOST, MX)),
        ("", "d.example", (MX,)),
        ("c.example", "xn--tda.example", (SES,)),
    ],
    ids=[
        "the default",
        "a sender's",
        "not its subdomain's",
        "a recipient's subdomain",
        "however deep",
        "not the domain itself",
        "a label ends at the dot",
        "the first that fits",
        "a recipient's rule is not the sender's",
        "the null reverse-path",
        "A-labels",
    ],
)
def test_the_first_rule_that_fits_or_the_default(sender: str, recipient: str, back_ends: tuple[BackEnd, ...]) -> None:
    assert BackEnds.parse("smarthost, MX", RULES).of(sender, recipient) == back_ends


def test_used() -> None:
    assert BackEnds().used == BackEnds.parse("mx").used == {MX}
    assert BackEnds.parse("mx", RULES).used == {MX, SES, SMARTHOST}


@pytest.mark.parametrize(
    ("default", "rules", "words"),
    [
        ("", "", "'' is none of mx, smarthost, ses"),
        ("mx,", "", "'' is none of"),
        ("mx, sendmail", "", "'sendmail' is none of mx, smarthost, ses"),
        ("mx, ses, mx", "", "'mx, ses, mx' names a back end twice"),
        ("mx", "a.example = mx", "'a.example = mx' is no rule such as 'from a.example = ses, mx"),
        ("mx", "from a.example", "'from a.example' is no rule"),
        ("mx", "from a.example b.example = mx", "is no rule"),
        ("mx", "by a.example = mx", "is no rule"),
        ("mx", "from a.example = ", "'' is none of"),
        ("mx", "from a..example = mx", "'a..example' is no domain: the domain has an empty label"),
        ("mx", "to <> = mx", "'<>' is no domain"),
        ("mx", "to * = mx", "'*' is no domain"),
    ],
)
def test_what_is_wrong_is_said(default: str, rules: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        BackEnds.parse(default, rules)
