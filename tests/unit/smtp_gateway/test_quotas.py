"""What an address and an account may use; test_over_quota.py has it over sockets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway import replies
from smtp_gateway.quotas import (
    CUT_OFF,
    FAILED_OF_ACCOUNT,
    FAILED_OF_ADDRESS,
    FREE,
    LONGEST,
    TRUST,
    Allowance,
    Attempts,
    Meter,
    Quotas,
    Rate,
    network,
)

JO, AL = "jo@example.com", "al@example.com"
HERE, THERE = "192.0.2.1", "198.51.100.7"
NOW = 1e6


# --- Meter ------------------------------------------------------------------------------------


def used_up(meter: Meter[str], key: str, now: float) -> int:
    """How many pass at once."""
    count = 0
    while not meter.wait(key, now):
        meter.add(key, now)
        count += 1
    return count


@pytest.mark.parametrize("now", [0.0, NOW, 1e7])
@pytest.mark.parametrize("rate", [Rate(1, 60.0), Rate(3, 60.0), Rate(7, 1.0), Rate(3000, 60.0)], ids=str)
def test_so_many_at_once_and_then_one_after_the_other(rate: Rate, now: float) -> None:
    meter: Meter[str] = Meter(rate)
    each = rate.seconds / rate.count
    assert used_up(meter, "a", now) == rate.count
    assert meter.wait("a", now) == pytest.approx(each, abs=1e-3)
    assert meter.wait("a", now + each / 2) == pytest.approx(each / 2, abs=1e-3)
    assert used_up(meter, "a", now + each) == 1
    assert used_up(meter, "b", now) == rate.count  # another's is its own
    assert used_up(meter, "a", now + 10 * rate.seconds) == rate.count


@given(st.lists(st.floats(0.0, 100.0), max_size=200), st.integers(1, 10))
def test_in_no_stretch_more_than_twice_the_count_and_the_wait_is_right(gaps: list[float], count: int) -> None:
    meter: Meter[str] = Meter(Rate(count, 60.0))
    now, passed = NOW, list[float]()
    for gap in gaps:
        now += gap
        if wait := meter.wait("a", now):
            assert wait <= 60.0 / count + 1e-3
            assert not meter.wait("a", now + wait)
            assert meter.wait("a", now + wait / 2)
        else:
            meter.add("a", now)
            passed.append(now)
    for start in passed:
        assert sum(start <= each < start + 60.0 - 1e-3 for each in passed) <= 2 * count


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 5.0), st.floats(-3.0, 5.0)), max_size=200))
def test_it_never_remembers_more_than_its_size_nor_what_is_paid_off(uses: list[tuple[int, float, float]]) -> None:
    meter: Meter[int] = Meter(Rate(10, 60.0), size=12)
    now = NOW
    for key, gap, count in uses:
        now += gap
        before = meter.used(key, now)
        meter.add(key, now, count)
        assert meter.used(key, now) == pytest.approx(max(0.0, before + count), abs=1e-6)
        assert len(meter) <= 12
    for key, _, _ in uses:
        meter.add(key, now, -1e9)
        assert meter.used(key, now) == 0.0
    assert len(meter) == 0


def test_who_turns_up_under_ever_new_keys_does_not_make_it_forget_who_has_used_much() -> None:
    meter: Meter[str] = Meter(Rate(20, 1800.0), size=100)
    meter.add("much", NOW, 15)
    for number in range(2000):
        meter.add(f"new {number}", NOW)
    assert meter.used("much", NOW) == pytest.approx(15)
    assert len(meter) == 100


# --- Attempts ---------------------------------------------------------------------------------


def delays(attempts: Attempts, count: int, *, account: str = JO, address: str = HERE) -> list[float]:
    return [attempts.begin(account, address, NOW).delay for _ in range(count)]


def test_the_delay_grows_and_ends_growing() -> None:
    assert delays(Attempts(), 11) == [0.0] * FREE + [1.0, 2.0, 4.0, 8.0, LONGEST, LONGEST, LONGEST]


def test_attempts_from_everywhere_at_one_account_are_delayed_and_none_is_refused() -> None:
    attempts = Attempts()
    made = [attempts.begin(JO, f"192.0.2.{number}", NOW) for number in range(200)]
    assert [each.delay for each in made[:6]] == [0.0] * FREE + [1.0, 2.0]
    assert {each.delay for each in made[FREE + 4 :]} == {LONGEST}
    assert not any(each.retry for each in made)
    assert attempts.begin(AL, THERE, NOW).delay == 0.0


def test_after_an_attack_the_delay_ends_with_the_hour() -> None:
    attempts = Attempts()
    for number in range(10_000):
        attempts.begin(JO, f"address {number}", NOW)
    assert attempts.begin(JO, THERE, NOW + FAILED_OF_ACCOUNT.seconds + 1).delay == 0.0


def test_an_address_is_refused_in_the_end_and_told_for_how_long() -> None:
    attempts = Attempts()
    names = (f"user{number}@example.com" for number in range(100))
    for _ in range(FAILED_OF_ADDRESS.count):
        assert not attempts.begin(next(names), HERE, NOW).retry
    refused = attempts.begin(next(names), HERE, NOW)
    each = FAILED_OF_ADDRESS.seconds / FAILED_OF_ADDRESS.count
    assert (refused.delay, refused.retry) == (0.0, pytest.approx(each))
    assert not attempts.begin(JO, THERE, NOW).retry
    assert not attempts.begin(next(names), HERE, NOW + each + 0.01).retry


def test_who_is_known_is_not_delayed_by_an_attack_on_account_and_address() -> None:
    attempts = Attempts()
    attempts.succeeded(attempts.begin(JO, HERE, NOW), NOW)
    for number in range(200):
        attempts.begin(JO, f"192.0.2.{number + 2}", NOW)
        attempts.begin(f"user{number}@example.com", HERE, NOW)
    assert attempts.begin(AL, HERE, NOW).retry
    assert attempts.begin(JO, THERE, NOW).delay == LONGEST
    attempt = attempts.begin(JO, HERE, NOW)
    assert (attempt.delay, attempt.retry) == (0.0, 0.0)
    attempts.succeeded(attempt, NOW)
    assert attempts.begin(JO, HERE, NOW).delay == 0.0


def test_who_is_known_is_delayed_by_what_fails_there_but_never_refused() -> None:
    attempts = Attempts()
    attempts.succeeded(attempts.begin(JO, HERE, NOW), NOW)
    made = [attempts.begin(JO, HERE, NOW) for _ in range(100)]
    assert [each.delay for each in made[:6]] == [0.0] * FREE + [1.0, 2.0]
    assert made[-1].delay == LONGEST
    assert not any(each.retry for each in made)
    assert attempts.begin(AL, HERE, NOW).delay == 0.0  # nor does it count for others there


def test_it_is_known_for_a_week() -> None:
    attempts = Attempts()
    attempts.succeeded(attempts.begin(JO, HERE, NOW), NOW)
    assert attempts.begin(JO, HERE, NOW + TRUST - 1).known
    assert not attempts.begin(JO, HERE, NOW + TRUST + 1).known


def test_so_many_are_known() -> None:
    attempts = Attempts(size=2)
    for name in (JO, AL, "new@example.com"):
        attempts.succeeded(attempts.begin(name, HERE, NOW), NOW)
    assert [attempts.begin(name, HERE, NOW).known for name in (JO, AL, "new@example.com")] == [False, True, True]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("how", [Attempts.succeeded, Attempts.unchecked])
def test_what_succeeded_or_could_not_be_checked_does_not_count(known: bool, how: object) -> None:
    attempts = Attempts()
    if known:
        attempts.succeeded(attempts.begin(JO, HERE, NOW), NOW)
    for _ in range(50):
        attempt = attempts.begin(JO, HERE, NOW)
        assert (attempt.delay, attempt.retry) == (0.0, 0.0)
        how(attempts, attempt, NOW)  # type: ignore[operator]


# --- Quotas -----------------------------------------------------------------------------------


def test_open_sessions_of_an_address() -> None:
    quotas = Quotas(Allowance(address_sessions=2))
    assert [quotas.arrived(HERE, NOW) for _ in range(3)] == [None, None, replies.TOO_MANY_OF_ADDRESS]
    assert quotas.arrived(THERE, NOW) is None
    quotas.left(HERE)
    assert quotas.arrived(HERE, NOW) is replies.TOO_MANY_OF_ADDRESS  # who was turned away has to leave, too
    quotas.left(HERE)
    quotas.left(HERE)
    assert quotas.arrived(HERE, NOW) is None


def test_connections_a_minute_of_an_address() -> None:
    quotas = Quotas(Allowance(address_connections=2))
    assert [quotas.arrived(HERE, NOW) for _ in range(3)] == [None, None, replies.too_fast(30)]
    assert quotas.arrived(HERE, NOW + 0.5) == replies.too_fast(30)
    assert quotas.arrived(HERE, NOW + 12.0) == replies.too_fast(18)
    assert quotas.arrived(THERE, NOW) is None
    assert quotas.arrived(HERE, NOW + 30.0) is None


def test_who_comes_again_after_each_cut_is_turned_away() -> None:
    quotas = Quotas(Allowance())
    for _ in range(CUT_OFF.count):
        assert quotas.arrived(HERE, NOW) is None
        quotas.left(HERE)
        quotas.cut_off(HERE, NOW)
    assert quotas.arrived(HERE, NOW) == replies.too_many_cut_off(10)
    assert quotas.arrived(THERE, NOW) is None
    assert quotas.arrived(HERE, NOW + 10.1) is None


@pytest.mark.parametrize(("later", "known"), [(0.0, True), (TRUST - 1.0, True), (TRUST, False)])
def test_where_somebody_has_logged_in_others_do_not_keep_them_out(later: float, known: bool) -> None:
    quotas = Quotas(Allowance())
    quotas.attempts.succeeded(quotas.attempts.begin(JO, HERE, NOW), NOW)
    for _ in range(CUT_OFF.count):
        quotas.cut_off(HERE, NOW + later)
    assert (quotas.arrived(HERE, NOW + later) is None) is known


def test_octets_of_an_account() -> None:
    quotas = Quotas(Allowance(account_octets=3600))
    quotas.taken(JO, 3599, NOW)
    assert quotas.may_send(JO, NOW) is None
    quotas.taken(JO, 1000, NOW)  # one may go over
    assert quotas.may_send(JO, NOW) == replies.too_many_octets(1000)
    assert quotas.may_send(AL, NOW) is None
    assert quotas.may_send(JO, NOW + 1000.1) is None


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
    ],
)
def test_network(address: str, counted: str) -> None:
    assert network(address) == counted


def test_what_is_told_is_no_second_more_for_the_sake_of_a_float() -> None:
    for now in (0.1 + 0.2, 12_345.678_9, 987_654.321):
        quotas = Quotas(Allowance(address_connections=1))
        assert quotas.arrived(HERE, now) is None
        assert quotas.arrived(HERE, now) == replies.too_fast(60)
