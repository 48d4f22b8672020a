"""SmtpTransport against real sockets on loopback: what arrives, and who is tried next."""

import asyncio
from dataclasses import replace

import pytest

from relay.errors import TemporaryError
from relay.failure import Stage
from relay.ports import RecipientReply
from relay.submission import Dsn
from tests.unit.smtp.scripted import Script
from tests.unit.smtp.world import CONTENT, LIMITS, SHORT, SOON, A, B, one, run, world
from tests.unit.smtp.zone import Zone

# --- what arrives --------------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", [Script().capabilities, ("8BITMIME",), ()], ids=["all", "steps", "bare"])
def test_delivered_byte_for_byte(capabilities: tuple[str, ...]) -> None:
    (reply,), sink = one(Script(capabilities=capabilities))
    assert reply == RecipientReply(
        A,
        ok=True,
        permanent=False,
        code=250,
        enhanced="2.0.0",
        text="queued as 1",
        remote="mx1.b.example[127.0.0.1]",
        stage=Stage.DOT,
    )
    assert [(each.rcpts, each.content) for each in sink.received] == [([A], CONTENT)]
    assert sink.commands[0][0] == "EHLO relay.example"


def test_a_large_message_to_a_server_that_reads_slowly() -> None:
    content = b"Subject: x\r\n\r\n" + (b"." + b"x" * 70 + b"\r\n") * 60_000
    (reply,), sink = one(Script(), content=content)
    assert reply.ok
    assert sink.received[0].content == content


@pytest.mark.parametrize("dsn", [True, False])
def test_whether_the_remote_tells_of_success(dsn: bool) -> None:
    capabilities = (*Script().capabilities, *(("DSN",) if dsn else ()))
    replies, sink = one(Script(capabilities=capabilities), dsn={A: Dsn("SUCCESS")})
    assert replies[0].dsn is dsn
    assert [(" NOTIFY=SUCCESS" in line) for line in sink.commands[0] if line.startswith("RCPT")] == [dsn]


def test_helo_only_server() -> None:
    (reply,), sink = one(Script(ehlo="502 5.5.1 what?"))
    assert reply.ok
    assert sink.commands[0][:2] == ["EHLO relay.example", "HELO relay.example"]


def test_some_recipients_taken() -> None:
    replies, sink = one(Script(rcpt=lambda to: "250 ok" if "a@" in to else "550 5.1.1 unknown"), A, B)
    assert [(reply.ok, reply.permanent, reply.code, reply.enhanced) for reply in replies] == [
        (True, False, 250, "2.0.0"),
        (False, True, 550, "5.1.1"),
    ]
    assert sink.received[0].rcpts == [A]


@pytest.mark.parametrize("data", ["354 go on", "354 anyway"])
def test_all_recipients_refused(data: str) -> None:
    replies, sink = one(Script(rcpt="550 5.1.1 unknown", data=data), A, B)
    assert [reply.permanent for reply in replies] == [True, True]
    assert all(each.content == b"" for each in sink.received)
    assert sink.commands[0][-1] == "RSET"


@pytest.mark.parametrize(
    ("script", "stage"),
    [
        (Script(greeting="554 5.7.1 no"), Stage.CONNECT),
        (Script(greeting="drop"), Stage.CONNECT),
        (Script(ehlo="421 4.3.2 no"), Stage.EHLO),
        (Script(capabilities=("SIZE 5",)), Stage.EHLO),
        (Script(mail="550 5.7.1 no"), Stage.MAIL),
        (Script(rcpt="550 5.1.1 no"), Stage.RCPT),
        (Script(capabilities=(), rcpt="drop"), Stage.RCPT),
        (Script(data="554 5.3.0 no"), Stage.DATA),
        (Script(content="554 5.7.1 no"), Stage.DOT),
        (Script(content="drop"), Stage.DOT),
    ],
    ids=range(10),
)
def test_where_it_failed(script: Script, stage: Stage) -> None:
    (reply,), _ = one(script)
    assert not reply.ok
    assert reply.stage == stage


def test_without_a_server_there_is_no_stage_but_the_way() -> None:
    async def scenario() -> None:
        async with world(Script()) as here:
            (reply,) = await here.send("a@nowhere.example", domain="nowhere.example")
            assert (reply.stage, reply.remote) == (Stage.ROUTE, "")

    run(scenario)


# --- who is tried next ---------------------------------------------------------------------------

TEMPORARY = {
    "greeting 4xx": Script(greeting="421 4.3.2 busy"),
    "greeting 5xx": Script(greeting="554 5.7.1 no service"),
    "greeting, then closed": Script(greeting="drop"),
    "no greeting": Script(greeting="hang"),
    "nonsense": Script(greeting="RAW:SSH-2.0-OpenSSH_9.9\r\n"),
    "endless greeting": Script(greeting="RAW:" + "220-more\r\n" * 5000),
    "long line": Script(greeting="RAW:220 " + "x" * 100_000),
    "EHLO 4xx": Script(ehlo="421 4.3.2 busy"),
    "EHLO, then closed": Script(ehlo="drop"),
    "EHLO and silence": Script(ehlo="hang"),
    "EHLO and HELO refused": Script(ehlo="550 no", helo="550 no"),
    "MAIL 4xx": Script(mail="451 4.3.0 later"),
    "MAIL 421": Script(mail="421 4.3.0 closing"),
    "MAIL, then closed": Script(mail="drop"),
    "MAIL and silence": Script(mail="hang"),
    "RCPT 4xx": Script(rcpt="450 4.2.0 greylisted"),
    "RCPT, then closed": Script(rcpt="drop"),
    "RCPT and silence": Script(rcpt="hang"),
    "DATA 4xx": Script(data="451 4.3.0 later"),
    "DATA, then closed": Script(data="drop"),
    "DATA and silence": Script(data="hang"),
    "DATA answered 250": Script(data="250 what"),
    "a reply too many": Script(data="RAW:354 go\r\n250 ok\r\n"),
}


@pytest.mark.parametrize("script", TEMPORARY.values(), ids=TEMPORARY)
def test_next_host_after_a_failure_before_content(script: Script) -> None:
    async def scenario() -> None:
        async with world(script, Script(), limits=SHORT) as here:
            (reply,) = await here.send()
            assert reply.ok
            assert reply.remote == "mx2.b.example[127.0.0.2]"
            assert here.received == [0, 1]
            # Once everything has failed it is a later attempt, or a refusal where every host refused us.
            here.zone.mx_records["c.example"] = ((10, "mx1.b.example"),)
            (reply,) = await here.send(domain="c.example")
            assert not reply.ok
            assert reply.permanent == (script.greeting.startswith("554") or script.helo.startswith("550"))
            assert reply.enhanced[0] == str(reply.code)[0]
            assert reply.remote == "mx1.b.example[127.0.0.1]"

    run(scenario)


FINAL = {
    "MAIL 5xx": (Script(mail="550 5.7.1 sender"), True),
    "RCPT 5xx": (Script(rcpt="550 5.1.1 unknown"), True),
    "DATA 5xx": (Script(data="554 5.7.1 no"), True),
    "content 4xx": (Script(content="451 4.3.0 disk full"), False),
    "content 5xx": (Script(content="554 5.7.1 spam"), True),
}


@pytest.mark.parametrize(("script", "permanent"), FINAL.values(), ids=FINAL)
def test_no_second_host_after_a_clear_answer(script: Script, permanent: bool) -> None:
    async def scenario() -> None:
        async with world(script, Script(), limits=SHORT) as here:
            (reply,) = await here.send()
            assert (reply.ok, reply.permanent) == (False, permanent)
            assert here.sinks[1].connections == 0

    run(scenario)


LOST = {
    "closed": Script(content="drop"),
    "silence": Script(content="hang"),
    "nonsense": Script(content="RAW:\0\0\r\n"),
    "354 again": Script(content="354 more"),
}


@pytest.mark.parametrize("script", LOST.values(), ids=LOST)
def test_never_a_second_host_once_the_contents_answer_is_lost(script: Script) -> None:
    async def scenario() -> None:
        async with world(script, Script(), limits=replace(LIMITS, content=SOON)) as here:
            replies = await here.send(A, B)
            assert [(reply.ok, reply.permanent, reply.enhanced) for reply in replies] == [(False, False, "4.4.2")] * 2
            assert here.received == [1, 0]
            assert here.sinks[1].connections == 0

    run(scenario)


def test_recipients_put_off_by_one_host_are_tried_at_the_next_and_only_they() -> None:
    async def scenario() -> None:
        async with world(Script(rcpt=lambda to: "450 later" if "b@" in to else "250 ok"), Script()) as here:
            replies = await here.send(A, B)
            assert [reply.ok for reply in replies] == [True, True]
            assert [sink.received[0].rcpts for sink in here.sinks] == [[A], [B]]

    run(scenario)


def test_what_a_server_said_outweighs_that_the_next_cannot_be_reached() -> None:
    async def scenario() -> None:
        async with world(Script(rcpt="450 4.7.1 greylisted")) as here:
            here.zone.mx_records["b.example"] += ((20, "mx9.b.example"),)  # type: ignore[operator]
            here.zone.a_records["mx9.b.example"] = ("127.0.0.9",)
            (reply,) = await here.send()
            assert (reply.code, reply.enhanced) == (450, "4.7.1")

    run(scenario)


def test_never_by_one_host_does_not_outweigh_later_by_another() -> None:
    async def scenario() -> None:
        async with world(Script(greeting="554 no"), Script(greeting="421 later")) as here:
            assert (await here.send())[0].code == 421
        async with world(Script(greeting="421 later"), Script(greeting="554 no")) as here:
            assert (await here.send())[0].code == 421

    run(scenario)


def test_next_address_of_the_same_host() -> None:
    async def scenario() -> None:
        async with world(Script()) as here:
            here.zone.a_records["mx1.b.example"] = ("127.0.0.9", "127.0.0.1")
            assert (await here.send())[0].ok

    run(scenario)


def test_a_bounded_number_of_addresses_is_tried() -> None:
    async def scenario() -> None:
        async with world(Script(), limits=replace(LIMITS, addresses=3)) as here:
            here.zone.a_records["mx1.b.example"] = tuple(f"127.0.0.{n}" for n in (7, 8, 9, 1))
            (reply,) = await here.send()
            assert (reply.ok, reply.permanent, reply.enhanced) == (False, False, "4.4.1")

    run(scenario)


@pytest.mark.parametrize(
    ("zone", "code", "enhanced", "permanent"),
    [
        (Zone(), 550, "5.1.2", True),
        (Zone({"b.example": ((0, ""),)}), 556, "5.1.10", True),
        (Zone({"b.example": TemporaryError("away")}), 451, "4.4.3", False),
        (Zone({"b.example": ((10, "nowhere.example"),)}), 550, "5.4.4", True),
        (Zone({"b.example": ((10, "x"), (20, "y"))}, {"x": TemporaryError("away"), "y": ()}), 451, "4.4.3", False),
    ],
    ids=["no domain", "null MX", "DNS away", "no address", "one address away"],
)
def test_no_route(zone: Zone, code: int, enhanced: str, permanent: bool) -> None:
    async def scenario() -> None:
        async with world(Script()) as here:
            here.zone.mx_records, here.zone.a_records = zone.mx_records, zone.a_records
            (reply,) = await here.send()
            assert (reply.ok, reply.code, reply.enhanced, reply.permanent) == (False, code, enhanced, permanent)

    run(scenario)


@pytest.mark.parametrize(
    ("capabilities", "content", "enhanced"),
    [
        (("PIPELINING",), b"Subject: x\r\n\r\n\xc3\xa9\r\n", "5.6.3"),
        (("8BITMIME",), "Subject: é\r\n\r\nx\r\n".encode(), "5.6.7"),
        (("SIZE 10",), CONTENT, "5.3.4"),
    ],
)
def test_nothing_is_converted(capabilities: tuple[str, ...], content: bytes, enhanced: str) -> None:
    (reply,), sink = one(Script(capabilities=capabilities), content=content, smtputf8=True)
    assert (reply.permanent, reply.enhanced) == (True, enhanced)
    assert reply.remote == "mx1.b.example[127.0.0.1]"
    assert sink.received == []


def test_what_the_remote_lacks_is_said_on_a_reused_connection_too() -> None:
    async def scenario() -> None:
        async with world(Script(capabilities=("PIPELINING",)), limits=replace(LIMITS, connections_per_site=1)) as here:
            first = await here.send()
            second = await here.send(content="Subject: x\r\n\r\nü\r\n".encode())
            assert (first[0].ok, second[0].enhanced, here.sinks[0].connections) == (True, "5.6.3", 1)

    run(scenario)


@pytest.mark.parametrize("silent", ["mx", "a"])
def test_dns_that_is_silent_takes_no_longer_than_there_is(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: str) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with world(Script()) as here:
            here.zone.mx_records["b.example"] = tuple((10, f"mx{number}.dead.example") for number in range(300))
            monkeypatch.setattr(here.zone, silent, never)
            (reply,) = await here.send(left=SOON)
            assert (reply.code, reply.enhanced, reply.permanent) == (451, "4.4.7", False)

    run(scenario)


def test_of_many_hosts_a_few_are_asked_about() -> None:
    async def scenario() -> None:
        async with world(Script()) as here:
            here.zone.mx_records["b.example"] = tuple((10, f"mx{number}.dead.example") for number in range(300))
            (reply,) = await here.send()
            assert (reply.code, reply.enhanced) == (451, "4.4.4")
            assert len(here.zone.asked) == 2 + 2 * LIMITS.hosts  # MX, TXT; A, AAAA

    run(scenario)
