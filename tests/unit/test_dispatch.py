"""The next back end has the message only where the one before had none of it, and the domain has not said no."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.backends import BackEnd, BackEnds
from relay.dispatch import Dispatch
from relay.failure_rules import Stage
from relay.ports import RecipientReply
from relay.submission import Delivery, Inline

MX, SMARTHOST, SES = BackEnd.MX, BackEnd.SMARTHOST, BackEnd.SES
A, B = "a@b.example", "b@b.example"
OK, LATER, NEVER = 250, 451, 554
CONTENT = b"Subject: x\r\n\r\n"


@dataclass
class Fake:
    """ports.Transport: answers all with `reply`, or by recipient."""

    reply: tuple[int, Stage | str] = (OK, Stage.DOT)
    by_recipient: dict[str, tuple[int, Stage | str]] = field(default_factory=dict)
    text: str = "words"
    put_off: float = 0.0
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        assert (content, deadline) == (CONTENT, 7.0)
        self.asked.append(recipients)
        replies = []
        for each in recipients:
            code, stage = self.by_recipient.get(each, self.reply)
            status = f"{code // 100}.0.0"
            replies.append(
                RecipientReply(
                    each, code < 300, code >= 500, code, status, self.text, stage=stage, put_off=self.put_off
                )
            )
        return tuple(replies)


def send(back_ends: str, rules: str = "", sender: str = "s@a.example", **transports: Fake) -> list[RecipientReply]:
    dispatch = Dispatch(BackEnds.parse(back_ends, rules), {BackEnd(name): each for name, each in transports.items()})
    delivery = Delivery("id", "account", sender, "b.example", 0, (A, B), 0.0, Inline(CONTENT))
    return list(asyncio.run(dispatch.send(delivery, (A, B), CONTENT, deadline=7.0)))


@pytest.mark.parametrize(
    ("code", "stage", "goes_on"),
    [
        (OK, Stage.DOT, False),
        (LATER, Stage.ROUTE, True),
        (LATER, Stage.CONNECT, True),
        (LATER, Stage.EHLO, True),
        (LATER, Stage.MAIL, True),
        (LATER, Stage.RCPT, True),
        (LATER, Stage.DATA, True),
        (LATER, Stage.DOT, False),
        (LATER, "", False),
        (NEVER, Stage.ROUTE, False),
        (NEVER, Stage.CONNECT, True),
        (NEVER, Stage.EHLO, True),
        (NEVER, Stage.MAIL, False),
        (NEVER, Stage.RCPT, False),
        (NEVER, Stage.DATA, False),
        (NEVER, Stage.DOT, False),
    ],
)
def test_who_is_tried_next(code: int, stage: Stage | str, goes_on: bool) -> None:
    first, second = Fake((code, stage)), Fake()
    replies = send("smarthost, mx", smarthost=first, mx=second)
    assert second.asked == ([(A, B)] if goes_on else [])
    assert [(reply.recipient, reply.via, reply.code) for reply in replies] == [
        (each, MX if goes_on else SMARTHOST, OK if goes_on else code) for each in (A, B)
    ]


def test_only_those_that_have_no_answer_go_on() -> None:
    first, second = Fake(by_recipient={A: (OK, Stage.DOT), B: (LATER, Stage.RCPT)}), Fake()
    replies = send("mx, ses", mx=first, ses=second)
    assert [(reply.recipient, reply.via, reply.ok) for reply in replies] == [(A, MX, True), (B, SES, True)]
    assert second.asked == [(B,)]


@pytest.mark.parametrize(
    ("first", "second", "code", "via", "text"),
    [
        ((LATER, Stage.MAIL), (LATER, Stage.CONNECT), LATER, MX, "two"),
        ((LATER, Stage.MAIL), (NEVER, Stage.EHLO), LATER, SES, "one"),
        ((NEVER, Stage.EHLO), (LATER, Stage.CONNECT), LATER, MX, "two"),
        ((NEVER, Stage.EHLO), (NEVER, Stage.EHLO), NEVER, SES, "one; two"),
        ((LATER, Stage.MAIL), (NEVER, Stage.RCPT), NEVER, MX, "two"),
        ((NEVER, Stage.EHLO), (LATER, Stage.DOT), LATER, MX, "two"),
    ],
)
def test_what_is_told_when_none_took_it(
    first: tuple[int, Stage], second: tuple[int, Stage], code: int, via: BackEnd, text: str
) -> None:
    reply, _ = send("ses, mx", ses=Fake(first, text="one"), mx=Fake(second, text="two"))
    assert (reply.code, reply.via, reply.text) == (code, via, text)


def test_the_words_of_several_stay_within_what_an_outcome_holds() -> None:
    unfit = Fake((NEVER, Stage.EHLO), text="ü" * 500)
    reply, _ = send("ses, mx", ses=unfit, mx=unfit)
    assert len(reply.text.encode()) <= 1_000


def test_the_rules_are_asked_about_the_envelope() -> None:
    transports = {"mx": Fake(), "smarthost": Fake(), "ses": Fake()}
    send("mx", "from a.example = ses; from <> = smarthost", **transports)
    send("mx", "from a.example = ses; from <> = smarthost", sender="", **transports)
    send("mx", "from c.example = ses; to c.example = smarthost", **transports)
    assert [len(each.asked) for each in transports.values()] == [1, 1, 1]


replies = st.tuples(st.sampled_from((OK, LATER, NEVER)), st.sampled_from((*Stage, "")))


@given(st.lists(st.fixed_dictionaries({A: replies, B: replies}), min_size=3, max_size=3))
def test_nobody_gets_it_by_two(fates: list[dict[str, tuple[int, Stage | str]]]) -> None:
    transports = dict(zip(("mx", "smarthost", "ses"), (Fake(by_recipient=each) for each in fates), strict=True))
    found = send("mx, smarthost, ses", **transports)
    for reply in found:
        asked = [
            fate[reply.recipient]
            for fate, each in zip(fates, transports.values(), strict=True)
            if any(reply.recipient in asked for asked in each.asked)
        ]
        maybe_had = [fate for fate in asked if fate[0] == OK or fate[1] in (Stage.DOT, "")]
        assert len(maybe_had) <= 1
        if maybe_had:
            assert asked[-1] == maybe_had[0]
            assert reply.code == maybe_had[0][0]


def test_what_one_back_end_puts_off_the_next_may_have() -> None:
    away = Fake((LATER, Stage.ROUTE), put_off=9.0)
    replies = send("mx, ses", mx=away, ses=Fake())
    assert [(reply.ok, reply.via, reply.put_off) for reply in replies] == [(True, SES, 0.0)] * 2


@pytest.mark.parametrize(
    ("first", "second", "put_off", "via"),
    [
        (Fake((LATER, Stage.ROUTE), put_off=9.0), Fake((NEVER, Stage.ROUTE)), 0.0, SES),  # it isn't SES's kind
        (Fake((LATER, Stage.ROUTE), put_off=9.0), Fake((NEVER, Stage.EHLO)), 9.0, MX),
        (Fake((LATER, Stage.CONNECT)), Fake((LATER, Stage.ROUTE), put_off=9.0), 0.0, MX),  # a server was asked
        (Fake((LATER, Stage.ROUTE), put_off=8.0), Fake((LATER, Stage.ROUTE), put_off=9.0), 9.0, SES),
        (Fake((NEVER, Stage.EHLO)), Fake((LATER, Stage.ROUTE), put_off=9.0), 9.0, SES),
    ],
)
def test_it_is_put_off_only_where_no_server_was_asked(first: Fake, second: Fake, put_off: float, via: BackEnd) -> None:
    replies = send("mx, ses", mx=first, ses=second)
    assert {(reply.put_off, reply.via) for reply in replies} == {(put_off, via)}
