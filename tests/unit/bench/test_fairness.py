"""The model of bench/fairness.py: what can be reckoned by hand comes out of it."""

from dataclasses import replace

import pytest

from bench.fairness import BULK, OTHER, Message, Model, Queue, Stage, World, at_rank, cases, schedule, sites

STAGE = Stage("deliver", 10, connections=2)
WORLD = World(
    messages=2000,
    rate=1000.0,
    every=1.0,
    validate=Stage("validate", 50),
    deliver=STAGE,
    sites=sites(0.0, 0.0),
    validate_seconds=0.3,
)


def message(site: str, seconds: float = 1.0, account: str = BULK) -> Message:
    return Message(account, 0.0, site, seconds)


@pytest.mark.parametrize(
    ("batch", "connections", "limit", "ends"),
    [
        ("aaa", 2, 300.0, [1.0, 1.0, 2.0]),
        ("aba", 1, 300.0, [1.0, 1.0, 2.0]),
        ("aaa", 0, 300.0, [1.0, 1.0, 1.0]),
        ("aaa", 1, 1.5, [1.0, 1.5, 1.5]),
    ],
    ids=["turns at two connections", "sites apart", "as many as it likes", "the invocation's end"],
)
def test_an_invocation(batch: str, connections: int, limit: float, ends: list[float]) -> None:
    assert schedule([message(site) for site in batch], connections, limit) == ends


@pytest.mark.parametrize(
    ("fair", "flying", "first"),
    [
        (True, 0, BULK),
        (True, 29, BULK),
        (True, 30, OTHER),
        (False, 1000, BULK),
    ],
    ids=["nothing in flight", "too few to be noisy", "noisy", "not fair"],
)
def test_who_is_received_first(fair: bool, flying: int, first: str) -> None:
    queue = Queue(STAGE, fair)
    queue.flying[BULK] = flying
    queue.put(1.0, message("a"))
    queue.put(2.0, message("a", account=OTHER))
    assert queue.receive(1)[0].account == first


def test_a_tenth_of_what_is_in_flight_is_not_noisy() -> None:
    queue = Queue(STAGE, fair=True)
    queue.flying.update({BULK: 40, OTHER: 360})
    assert not queue.noisy(BULK)
    queue.flying[BULK] = 41
    assert queue.noisy(BULK)


@pytest.mark.parametrize("fair", [True, False], ids=["fair", "oldest first"])
def test_every_message_is_done_once(fair: bool) -> None:
    result = Model(replace(WORLD, fair=fair)).run()
    assert result.done == WORLD.messages + len(result.others)


def test_others_are_sent_only_while_bulk_waits() -> None:
    result = Model(WORLD).run()
    assert 2 <= len(result.others) <= result.bulk / WORLD.every + 1


def test_a_lone_message_waits_for_both_windows() -> None:
    result = Model(replace(WORLD, messages=1)).run()
    assert result.others[0] == pytest.approx(1.0 + 0.3 + 1.0 + 0.5)


@pytest.mark.parametrize(
    ("change", "slower"),
    [
        ({"deliver": replace(STAGE, concurrency=2)}, True),
        ({"deliver": replace(STAGE, connections=1)}, True),
        ({"deliver": replace(STAGE, connections=10)}, False),
        ({"rate": 100.0}, True),
        ({"messages": 1000}, False),
    ],
    ids=["fewer at once", "fewer connections", "more connections", "a slower client", "less of it"],
)
def test_every_option_counts(change: dict[str, object], slower: bool) -> None:
    was, now = Model(WORLD).run().bulk, Model(replace(WORLD, **change)).run().bulk  # type: ignore[arg-type]
    assert (now > was) is slower
    assert now != was


def test_fair_queues_help_where_the_bulk_waits() -> None:
    for _, of in list(cases(replace(WORLD, messages=20_000)))[1:]:
        assert at_rank(of["fair"].others, 0.5) < at_rank(of["oldest first"].others, 0.5)


def test_shares_of_the_sites_are_all_of_it() -> None:
    assert sum(share for _, share, _ in sites(0.05, 30.0)) == pytest.approx(1.0)
    assert sum(share for _, share, _ in sites(0.0, 0.0)) == pytest.approx(1.0)
