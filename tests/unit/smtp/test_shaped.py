"""SmtpTransport with a table of shaping: shares, turns, and sites that are left alone."""

import asyncio
from dataclasses import replace

import pytest

from relay.backends import BackEnd, BackEnds
from relay.deliver import START_ROOM
from relay.errors import TemporaryError
from relay.failure_rules import Stage
from relay.ports import MxAnswer, RecipientReply
from relay.shaping import Heard
from relay.sites import AGAIN, FIRST, Pause
from relay.smtp.shaping import DNS_PATIENCE, Gate
from relay.submission import Delivery, Inline
from tests.unit.smtp.scripted import Script
from tests.unit.smtp.world import CONTENT, LIMITS, SHORT, World, run, world

TABLE = "[default]\nconnections = 6\nmessages_per_connection = 2\n"
BIG = TABLE + "[provider.big]\nhosts = ['.b.example']\nconnections = 2\nmessages_per_connection = 100\n"
PACED = BIG + "rate = '30/minute'\n"
ANGRY = Script(greeting="421 4.7.0 too much from you, someone@else.example")


async def send_all(here: World, count: int, *, domain: str = "b.example") -> list[RecipientReply]:
    sent = await asyncio.gather(*(here.send(f"u@{domain}", domain=domain, id=f"{domain}-{n}") for n in range(count)))
    return [reply for (reply,) in sent]


def delivery(here: World, id: str = "gate") -> Delivery:
    return Delivery(id, "account", "s@a.example", "b.example", 0, ("a@b.example",), here.clock.now(), Inline(CONTENT))


def gate(here: World, *back_ends: BackEnd) -> Gate:
    assert here.shaping
    return Gate(BackEnds(back_ends or (BackEnd.MX,)), here.transport._routes, here.shaping)


@pytest.mark.parametrize(("workers", "connections"), [(1, 6), (2, 3), (100, 1)])
def test_a_worker_opens_its_share_of_the_connections_and_wears_them_as_the_table_says(
    workers: int, connections: int
) -> None:
    async def scenario() -> None:
        async with world(Script(), table=TABLE, workers=workers) as here:
            assert all(reply.ok for reply in await send_all(here, 12))
            (sink,) = here.sinks
            assert sink.most_open <= connections
            assert {sum(line.startswith("MAIL") for line in each) for each in sink.commands} == {2}

    run(scenario)


def test_sites_of_one_provider_share_its_connections_idle_ones_too() -> None:
    async def scenario() -> None:
        async with world(Script(), table=BIG) as here:
            domains = [f"d{number}.example" for number in range(8)]
            for number, name in enumerate(domains):
                here.zone.mx_records[name] = ((10, f"mx-{number}.b.example"),)
                here.zone.a_records[f"mx-{number}.b.example"] = ("127.0.0.1",)
            replies = await asyncio.gather(*(send_all(here, 3, domain=name) for name in domains))
            assert all(reply.ok for each in replies for reply in each)
            (sink,) = here.sinks
            assert sink.connections >= len(domains)  # none is used for another one's hosts
            for _ in range(20):  # until the last QUIT is read
                await asyncio.sleep(0)
            assert sink.open_now <= 2

    run(scenario)


def test_a_421_stops_the_rest_before_a_server_is_asked() -> None:
    async def scenario() -> None:
        async with world(ANGRY, table=BIG) as here:
            replies = await send_all(here, 20)
            assert here.sinks[0].connections == 2
            met = [reply for reply in replies if reply.code == 421]
            put_off = [reply for reply in replies if reply.put_off]
            assert (len(met), len(put_off)) == (2, 18)
            assert {reply.put_off for reply in put_off} == {here.clock.now() + FIRST}
            (said,) = {(reply.code, reply.enhanced, reply.text, reply.remote, reply.stage) for reply in put_off}
            words = "the destination is left alone for a while: it said 421 4.7.0"  # nothing of another one's mail
            assert said == (451, "4.4.5", words, "", Stage.ROUTE)
            (pause,) = here.pauses.items.values()
            assert (pause.site, pause.heard, pause.step) == ("provider:big", Heard.SLOW, 1)
            assert "someone@else.example" in pause.reason

    run(scenario)


def test_a_pause_that_another_worker_began_holds_here_and_one_delivery_tries_it_then() -> None:
    async def scenario() -> None:
        async with world(Script(), table=BIG) as here:
            now = here.clock.now()
            here.pauses.items["provider:big"] = Pause("provider:big", now + 50, 1, now - 10, Heard.SLOW, "421 4.7.0 no")
            assert all(reply.put_off == now + 50 for reply in await send_all(here, 5))
            here.clock.advance(50)
            replies = await send_all(here, 5)
            assert [bool(reply.put_off) for reply in replies].count(False) == 1
            assert {reply.put_off for reply in replies} == {0.0, here.clock.now() + AGAIN}
            assert here.sinks[0].connections == 1
            assert here.shaping
            await here.shaping._sites.written()
            assert here.pauses.items == {}
            assert all(reply.ok for reply in await send_all(here, 5))

    run(scenario)


@pytest.mark.parametrize("script", [Script(greeting="drop"), Script(ehlo="drop"), Script(greeting="hang")])
def test_a_site_no_host_of_which_can_be_talked_to_is_left_alone(script: Script) -> None:
    async def scenario() -> None:
        async with world(script, script, table=BIG, limits=SHORT) as here:
            assert not (await here.send())[0].put_off
            met = [sink.connections for sink in here.sinks]
            assert min(met) >= 1  # each was tried
            (reply,) = await here.send(id="next")
            assert (reply.put_off, reply.enhanced) == (here.clock.now() + FIRST, "4.4.1")
            assert [sink.connections for sink in here.sinks] == met

    run(scenario)


def test_one_host_that_says_421_pauses_nothing_while_another_takes_it() -> None:
    async def scenario() -> None:
        async with world(ANGRY, Script(), table=BIG) as here:
            assert all(reply.ok for reply in await send_all(here, 4))
            assert here.pauses.writes == 0

    run(scenario)


def test_other_sites_go_on() -> None:
    async def scenario() -> None:
        async with world(ANGRY, Script(), table=TABLE) as here:
            here.zone.mx_records["b.example"] = ((10, "mx1.b.example"),)
            here.zone.mx_records["c.example"] = ((10, "mx2.b.example"),)
            await here.send()
            assert (await here.send(id="next"))[0].put_off
            assert all(reply.ok for reply in await send_all(here, 5, domain="c.example"))

    run(scenario)


# --- turns ------------------------------------------------------------------------------------------


def test_no_connection_in_time_is_no_attempt() -> None:
    async def scenario() -> None:
        limits = replace(LIMITS, turn=0.05)
        async with world(Script(mail="hang"), table=TABLE, workers=6, limits=limits) as here:
            first = asyncio.create_task(here.send(id="first"))
            while not here.sinks[0].connections:
                await asyncio.sleep(0)
            (reply,) = await here.send(id="second", left=5.0)
            assert reply.put_off > here.clock.now()
            assert (reply.enhanced, reply.remote) == ("4.4.5", "")
            first.cancel()

    run(scenario)


def test_messages_go_at_the_rate_and_those_too_far_behind_go_back() -> None:
    async def scenario() -> None:
        async with world(Script(), table=PACED, limits=replace(LIMITS, turn=20.0)) as here:
            began = here.clock.now()
            until = [await gate(here)(delivery(here, f"d{number}")) for number in range(30)]
            assert until.count(0.0) == 11  # one at once, and one every 2 s for 20 s
            assert all(each > began + 20.0 for each in until if each)
            sent = await asyncio.gather(*(here.send(id=f"d{number}") for number in range(11)))
            assert all(reply.ok for (reply,) in sent)
            assert here.clock.now() == began + 20.0
            await here.send(id="next")
            assert here.clock.now() == began + 22.0

    run(scenario)


def test_the_rate_is_shared_by_the_workers() -> None:
    async def scenario() -> None:
        async with world(Script(), table=PACED, workers=10, limits=replace(LIMITS, turn=20.0)) as here:
            until = [await gate(here)(delivery(here, f"d{number}")) for number in range(3)]
            assert [bool(each) for each in until] == [False, False, True]  # one every 20 s

    run(scenario)


def test_a_turn_that_the_invocation_does_not_live_to_see_is_no_attempt() -> None:
    async def scenario() -> None:
        async with world(Script(), table=PACED, limits=replace(LIMITS, turn=20.0)) as here:
            assert (await here.send(id="a", left=1.0))[0].ok
            (reply,) = await here.send(id="b", left=1.0)
            assert reply.put_off > here.clock.now()

    run(scenario)


# --- before the claim -------------------------------------------------------------------------------


def test_the_gate_lets_through_what_the_transport_then_sends() -> None:
    async def scenario() -> None:
        async with world(Script(), table=PACED) as here:
            for number in range(3):
                assert await gate(here)(delivery(here, f"d{number}")) == 0.0
                assert await gate(here)(delivery(here, f"d{number}")) == 0.0  # the same turn
            for number in range(3):
                assert (await here.send(id=f"d{number}"))[0].ok
            assert here.clock.now() - delivery(here).received == 0.0
            assert here.shaping
            assert here.shaping._turns == {}

    run(scenario)


def test_the_gate_holds_back_what_would_be_put_off() -> None:
    async def scenario() -> None:
        async with world(ANGRY, table=BIG) as here:
            await here.send()
            assert await gate(here)(delivery(here)) == here.clock.now() + FIRST
            assert await gate(here, BackEnd.MX, BackEnd.SES)(delivery(here)) == 0.0  # SES may have it instead

    run(scenario)


def test_the_gate_leaves_it_to_the_transport_to_say_that_there_is_no_route() -> None:
    async def scenario() -> None:
        async with world(Script(), table=BIG) as here:
            here.zone.mx_records["b.example"] = ((0, ""),)
            assert await gate(here)(delivery(here)) == 0.0
            assert here.pauses.reads == 0

    run(scenario)


def test_the_gate_does_not_wait_long_for_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that begins late is none, and mail to a domain whose DNS is silent would never be deferred."""
    assert (
        DNS_PATIENCE <= START_ROOM / 30
    )  # what is left for the attempt where all clocks run fastest (local/clocks.py)
    monkeypatch.setattr("relay.smtp.shaping.DNS_PATIENCE", 0.01)

    async def scenario() -> None:
        async with world(Script(), table=BIG) as here:

            async def silent(name: str) -> MxAnswer:
                await asyncio.Event().wait()
                raise AssertionError(name)

            monkeypatch.setattr(here.zone, "mx", silent)
            assert await asyncio.wait_for(gate(here)(delivery(here)), 5) == 0.0

    run(scenario)


def test_without_the_table_of_pauses_mail_goes_on() -> None:
    async def scenario() -> None:
        async with world(Script(), table=BIG) as here:
            here.pauses.fail = TemporaryError("throttled")
            assert all(reply.ok for reply in await send_all(here, 10))

    run(scenario)
