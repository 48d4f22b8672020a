"""Hostile servers over real sockets: what they cost in time and memory, and that the mail still goes where it may."""

import asyncio

import pytest

from relay.smtp.replies import Reply
from tests.unit.smtp.hostile import SHORT, STAGES, WORST, Measured, measure
from tests.unit.smtp.scripted import Script
from tests.unit.smtp.world import CONTENT, LIMITS, SOON, A, one, run, world

SECONDS = 3 * SOON + 1.5  # two phases' limits at most (STARTTLS, then plaintext), on a machine that is busy
PEAK = 4_000_000  # octets, the server's own and its socket's among them
SAID = 16_000_000  # octets that sockets take although nobody reads them


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("worst", WORST.values(), ids=WORST)
def test_bounded(stage: str, worst: object) -> None:
    measured: Measured = asyncio.run(measure(stage, worst))  # type: ignore[arg-type]
    assert measured.seconds < SECONDS
    assert measured.peak < PEAK
    assert measured.said < SAID
    if stage == "content":  # it may have the message: nobody else gets it now
        assert (measured.reply.ok, measured.reply.permanent, measured.elsewhere) == (False, False, 0) or (
            measured.reply.ok and measured.reply.text == "ok"  # its first reply of many is an answer
        )
        assert measured.reply.ok or "may have the message" in measured.reply.text
    else:
        assert measured.reply.ok
        assert measured.reply.remote[:3] in ("mx1", "mx2")
        assert measured.elsewhere == (measured.reply.remote[:3] == "mx2")


def test_a_hostile_server_costs_only_its_own_deliveries() -> None:
    """All in one invocation, at the same time, and more than one connection each."""

    async def scenario() -> None:
        flood = Script(greeting="220 hi", mail=lambda _: "RAW:" + "250-more\r\n" * 20_000)
        async with world(flood, Script(mail="hang"), Script(), limits=SHORT) as here:
            here.zone.mx_records = {f"{n}.example": ((10, f"mx{n}.b.example"),) for n in (1, 2, 3)}
            sends = [here.send(domain=f"{n}.example") for _ in range(30) for n in (1, 2, 3)]
            replies = [reply for (reply,) in await asyncio.gather(*sends)]
            assert [reply.ok for reply in replies] == [False, False, True] * 30
            assert not any(reply.permanent for reply in replies)

    run(scenario)


# --- answers out of turn ---------------------------------------------------------------------------


def test_answers_in_advance_are_not_taken_for_the_messages() -> None:
    """All at once after EHLO: MAIL, RCPT, DATA and the final dot, before anything was asked."""
    script = Script(before=lambda _, line: "RAW:250 a\r\n250 b\r\n354 c\r\n250 d\r\n" if line[:4] == "MAIL" else None)
    (reply,), sink = one(script, limits=SHORT)
    assert (reply.ok, reply.permanent) == (False, False)
    assert sink.received == []


def test_a_message_taken_before_it_was_sent_is_not_taken() -> None:
    """The answer comes with the 354's successor while most of a large message is still on this side."""

    async def scenario() -> None:
        async with world(Script(capabilities=()), Script(), limits=SHORT) as here:
            sink = here.sinks[0]

            def deaf(_: str) -> str:
                sink.writers[-1].transport.pause_reading()  # type: ignore[attr-defined]
                asyncio.get_running_loop().call_later(0.1, sink.writers[-1].write, b"250 2.0.0 taken\r\n")
                return "354 go on"

            sink.script.data = deaf
            (reply,) = await here.send(content=b"x" * 30_000_000)
            assert (reply.ok, reply.permanent, reply.enhanced) == (False, False, "4.4.2")
            assert reply.text.startswith("an answer before the message was sent")
            assert here.received == [0, 0]

    run(scenario)


def test_a_refusal_before_the_message_was_sent_is_an_answer() -> None:
    """Many servers that have seen enough say so and hang up."""

    async def scenario() -> None:
        async with world(Script(capabilities=()), limits=SHORT) as here:
            sink = here.sinks[0]

            def full(_: str) -> str:
                writer = sink.writers[-1]
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                asyncio.get_running_loop().call_later(0.1, writer.write, b"552 5.3.4 too large\r\n")
                return "354 go on"

            sink.script.data = full
            (reply,) = await here.send(content=b"x" * 30_000_000)
            assert (reply.permanent, reply.code, reply.text) == (True, 552, "too large")

    run(scenario)


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data", "content", "rset"])
def test_421_anywhere(stage: str) -> None:
    """RFC 5321 §3.8: it is closing. Where it has the message, it has said that it doesn't take it."""
    script = Script(**{stage: "421 4.3.2 closing"}, **({"rcpt": "450 later"} if stage == "rset" else {}))  # type: ignore[arg-type]

    async def scenario() -> None:
        async with world(script, Script(), limits=SHORT) as here:
            (reply,) = await here.send()
            if stage == "content":
                assert (reply.ok, reply.permanent, reply.code, here.received[1]) == (False, False, 421, 0)
            else:
                assert (reply.ok, reply.remote) == (True, "mx2.b.example[127.0.0.2]")

    run(scenario)


@pytest.mark.parametrize(
    ("replies", "code"),
    [("250-a\n550 b", 550), ("550-a\n250 b", 250), ("250-a\n451 b", 451)],
)
def test_codes_that_differ_within_a_reply(replies: str, code: int) -> None:
    """The last one counts, for it is the one that ends the reply (RFC 5321 §4.2.1 wants them to be the same)."""
    (reply,), _ = one(Script(content=replies))
    assert reply.code == code


@pytest.mark.parametrize(
    "script",
    [Script(mail="354 go on"), Script(rcpt="354 go on"), Script(data="250 ok"), Script(content="354 more")],
    ids=["354 to MAIL", "354 to RCPT", "250 to DATA", "354 to the final dot"],
)
@pytest.mark.parametrize("capabilities", [("PIPELINING",), ()], ids=["pipelined", "step by step"])
def test_answers_to_another_question(script: Script, capabilities: tuple[str, ...]) -> None:
    script.capabilities = capabilities
    (reply,), sink = one(script, limits=SHORT)
    assert (reply.ok, reply.permanent) == (False, False)
    assert len(sink.received) == (script.content == "354 more")


@pytest.mark.parametrize("what", ["drop", "hang"])
def test_the_outcome_says_that_the_server_may_have_the_message(what: str) -> None:
    (reply,), sink = one(Script(content=what), limits=SHORT)
    assert (reply.code, reply.enhanced) == (451, "4.4.2")
    assert reply.text.endswith("(the final dot); the server may have the message")
    assert [each.content for each in sink.received] == [CONTENT]


# --- slow ones -------------------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", [("PIPELINING",), ()], ids=["pipelined", "step by step"])
def test_many_recipients_answered_slowly_get_the_message_bit_by_bit(capabilities: tuple[str, ...]) -> None:
    """100 recipients at more time each than an attempt has for them all: each attempt gets some of them through."""
    recipients = tuple(f"{n}@b.example" for n in range(100))
    each, left = 0.02, 1.0

    async def scenario() -> None:
        async with world(Script(capabilities=capabilities), limits=LIMITS) as here:
            here.sinks[0].pause = {"RCPT": each}
            rest, attempts = recipients, 0
            while rest:
                replies = await here.send(*rest, left=left)
                done = tuple(reply.recipient for reply in replies if reply.ok)
                assert done
                assert all(reply.ok or (reply.code == 451 and "(the final dot)" not in reply.text) for reply in replies)
                rest = tuple(recipient for recipient in rest if recipient not in done)
                attempts += 1
            assert 100 * each / left <= attempts < 10
            taken = [recipient for received in here.sinks[0].received for recipient in received.rcpts]
            assert sorted(taken) == sorted(recipients)  # everybody, and nobody twice

    run(scenario)


def test_recipients_too_many_for_one_transaction_go_with_the_next() -> None:
    """RFC 5321 §4.5.3.1.10."""
    recipients = tuple(f"{n}@b.example" for n in range(25))
    counts: dict[str, int] = {}

    def rcpt(_: str) -> str:
        counts["now"] = counts.get("now", 0) + 1
        return "250 ok" if counts["now"] <= 10 else "452 4.5.3 too many recipients"

    def mail(_: str) -> str:
        counts["now"] = 0
        return "250 ok"

    replies, sink = one(Script(mail=mail, rcpt=rcpt), *recipients)
    assert all(reply.ok for reply in replies)
    assert [len(each.rcpts) for each in sink.received] == [10, 10, 5]
    assert sink.connections == 1


def test_a_server_that_takes_none_of_them_is_not_asked_for_ever() -> None:
    replies, sink = one(Script(rcpt="452 4.5.3 too many recipients"), A, "b@b.example")
    assert [reply.code for reply in replies] == [452, 452]
    assert sum(line.startswith("MAIL") for line in sink.commands[0]) == 1


def test_our_words_for_what_the_remote_never_said() -> None:
    assert Reply.ours(451, "4.4.7", "x").enhanced == "4.4.7"
