import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from relay.account import Account, BouncePause
from relay.accounts import AccountAdmin, Change, create, user_name
from relay.errors import PermanentError, RelayError, TemporaryError
from relay.password import hash_password, verify
from relay.quota import Bounces, Limits, day_of
from tests.fakes import FakeAccounts, FakeClock, FakeSms, FakeUsage
from tests.unit.smtp.zone import Zone

HOST = "smtp.example.com"
PHONE = "+46701234567"
SALT = b"0123456789abcdef"


DNS = Zone(mx_records={name: ((10, f"mx.{name}"),) for name in ("mycorp.se", "example.com")})


def make(user: str, phone: str, accounts: FakeAccounts, sms: FakeSms, dns: Zone = DNS) -> Account:
    clock = FakeClock(5.0)
    return asyncio.run(create(user, phone, accounts=accounts, sms=sms, resolver=dns, clock=clock, host_name=HOST))


def test_the_password_goes_to_the_phone_and_nowhere_else() -> None:
    accounts, sms = FakeAccounts(), FakeSms()
    account = make("App@MyCorp.se", "+46 70-123 45 67", accounts, sms)
    assert accounts.items == {"app@mycorp.se": account}
    assert (account.user, account.phone, account.created, account.disabled) == ("App@MyCorp.se", PHONE, 5.0, False)
    ((phone, text),) = sms.sent
    assert phone == PHONE
    found = re.fullmatch(r"smtp\.example\.com: user App@MyCorp\.se password (\S+)", text)
    assert found
    assert verify(account, found[1], 5.0)
    assert found[1] not in repr(account)


def test_a_taken_name_changes_nothing() -> None:
    accounts, sms = FakeAccounts(), FakeSms()
    account = make("jo@example.com", PHONE, accounts, sms)
    with pytest.raises(PermanentError, match=r"JO@example\.com is taken"):
        make("JO@example.com", "+46709999999", accounts, sms)
    assert accounts.items == {"jo@example.com": account}
    assert len(sms.sent) == 1


@pytest.mark.parametrize("kind", [TemporaryError, PermanentError])
def test_without_an_sms_there_is_no_account(kind: type[RelayError]) -> None:
    accounts, sms = FakeAccounts(), FakeSms()
    sms.fail = kind("no", "sns: 503")
    with pytest.raises(kind, match="no account was made"):
        make("jo@example.com", PHONE, accounts, sms)
    assert accounts.items == {}


def test_an_account_left_behind_is_named() -> None:
    accounts, sms = FakeAccounts(), FakeSms()
    sms.fail = TemporaryError("no")
    accounts.fail_next(None, TemporaryError("away"))
    with pytest.raises(TemporaryError, match=r"jo@example\.com is there nevertheless"):
        make("jo@example.com", PHONE, accounts, sms)


@pytest.mark.parametrize("kind", [TemporaryError, PermanentError])
def test_a_name_that_cannot_receive_mail_is_none(kind: type[RelayError]) -> None:
    accounts, sms = FakeAccounts(), FakeSms()
    dns = Zone(mx_records={"b.example": TemporaryError("silent") if kind is TemporaryError else ((0, ""),)})
    with pytest.raises(kind, match=r"b\.example"):
        make("jo@b.example", PHONE, accounts, sms, dns)
    assert (accounts.items, sms.sent) == ({}, [])


def test_a_table_that_is_away_sends_no_sms() -> None:
    accounts, sms = FakeAccounts(), FakeSms()
    accounts.fail = TemporaryError("away")
    with pytest.raises(TemporaryError):
        make("jo@example.com", PHONE, accounts, sms)
    assert sms.sent == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("jo@example.com", "jo@example.com"),
        (" Jo+x@Example.COM\n", "Jo+x@Example.COM"),
        ("jo@xn--bcher-kva.example", "jo@xn--bcher-kva.example"),
    ],
)
def test_a_user_name_is_kept_as_written(text: str, name: str) -> None:
    assert user_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jo",
        "jo@",
        "@example.com",
        "jö@example.com",
        "jo@bücher.example",
        "jo@[192.0.2.1]",
        "jo@localhost",
        "a b@example.com",
        '"a b"@example.com',
        "jo@example.com\r\nx",
        "jo@example.com, b@example.com",
        "x" * 65 + "@example.com",
        "jo@" + "x." * 130 + "example",
    ],
)
def test_what_is_no_user_name(text: str) -> None:
    with pytest.raises(PermanentError, match="user name"):
        user_name(text)


# --- what is done to one that there is ------------------------------------------------------------


class World:
    """One account with the password "old"; an administrator's actions on it."""

    def __init__(self) -> None:
        self.clock = FakeClock(1000.0)
        self.jo = Account("Jo@example.com", SALT, hash_password("old", SALT), PHONE, 5.0)
        self.accounts, self.sms = FakeAccounts(self.jo), FakeSms()
        self.usage = FakeUsage()
        self.admin = AccountAdmin(self.accounts, self.usage, self.sms, self.clock, host_name=HOST, overlap=60.0)

    def do(self, action: str, user: str = "JO@example.com", **options: Any) -> Change:
        return asyncio.run(getattr(self.admin, action)(user, **options))  # type: ignore[no-any-return]

    @property
    def now(self) -> Account:
        return self.accounts.items["jo@example.com"]

    def opens(self, password: str) -> bool:
        return verify(self.now, password, self.clock.now()) is not None

    @property
    def sent(self) -> str:
        return self.sms.sent[-1][1].rpartition(" ")[2]


def test_resumed_with_its_bounces_of_today_forgiven() -> None:
    world = World()
    day = day_of(world.clock.now())
    asyncio.run(world.usage.count("jo@example.com", day, Bounces(100, 60)))
    assert not world.do("resume").changed
    assert not world.usage.forgiven
    asyncio.run(world.accounts.pause("jo@example.com", BouncePause(1.0, 60, 100)))
    assert world.do("resume").changed
    assert world.now.pause is None
    assert asyncio.run(world.usage.count("jo@example.com", day, Bounces(1, 1))) == Bounces(1, 1)
    assert not world.do("resume").changed


def test_a_pause_outlives_a_new_password() -> None:
    """Who knows the password doesn't help, if it is the list that is old."""
    world = World()
    asyncio.run(world.accounts.pause("jo@example.com", BouncePause(1.0, 60, 100)))
    world.do("rotate", at_once=True)
    assert world.now.pause == BouncePause(1.0, 60, 100)


def test_limits_of_its_own() -> None:
    world = World()
    assert world.do("limit", changes={"per_day": 500, "recipients": 5}).changed
    assert world.do("limit", changes={"per_day": 600}).account.limits == Limits(per_day=600, recipients=5)
    assert not world.do("limit", changes={"per_day": 600}).changed
    assert world.do("limit", changes={"per_day": 0, "recipients": 0}).account.limits == Limits()


@pytest.mark.parametrize(
    ("name", "value"),
    [("per_second", -1), ("per_second", 100_001), ("recipients", 1001), ("size", 65_535), ("size", 41_943_041)],
)
def test_limits_that_cannot_be(name: str, value: int) -> None:
    world = World()
    with pytest.raises(PermanentError, match=rf"{name} must be from [0-9]+ to [0-9]+"):
        world.do("limit", changes={name: value})
    assert world.now == world.jo


def test_disabled_and_enabled_again() -> None:
    world = World()
    assert world.do("disable").changed
    assert not world.opens("old")
    assert not world.do("disable").changed
    assert world.do("enable").changed
    assert world.opens("old")
    assert not world.do("enable").changed
    assert world.now.version == 2


def test_a_deleted_name_stays_taken_and_nothing_else_is_left() -> None:
    world = World()
    assert world.do("delete").changed
    assert not world.do("delete").changed
    left = world.now
    assert (left.user, left.salt, left.hash, left.phone, left.previous) == ("Jo@example.com", b"", b"", "", None)
    assert left.disabled
    assert not world.opens("")
    with pytest.raises(PermanentError, match=r"jo@example\.com is taken"):
        make("jo@example.com", PHONE, world.accounts, world.sms)
    for action in ("disable", "enable", "show"):
        with pytest.raises(PermanentError, match="is deleted"):
            world.do(action)
    with pytest.raises(PermanentError, match="is deleted"):
        world.do("rotate", at_once=False)
    assert world.sms.sent == []


def test_rotated_both_passwords_hold_for_a_while() -> None:
    world = World()
    world.do("rotate", at_once=False)
    assert [phone for phone, _ in world.sms.sent] == [PHONE]
    assert world.opens("old")
    assert world.opens(world.sent)
    first = world.sent
    world.clock.advance(59)
    assert world.opens("old")
    world.clock.advance(1)
    assert not world.opens("old")
    world.do("rotate", at_once=False)
    assert world.opens(first)
    assert world.opens(world.sent)


def test_rotated_at_once_the_old_one_opens_nothing() -> None:
    world = World()
    world.do("rotate", at_once=True)
    assert not world.opens("old")
    assert world.opens(world.sent)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("kind", [TemporaryError, PermanentError])
def test_without_an_sms_the_password_is_the_old_one(kind: type[RelayError], at_once: bool) -> None:
    world = World()
    world.sms.fail = kind("no", "sns: 503")
    with pytest.raises(kind, match="is the old one"):
        world.do("rotate", at_once=at_once)
    assert replace(world.now, version=0) == world.jo
    world.sms.fail = None
    world.do("rotate", at_once=at_once)
    assert world.opens(world.sent)


def test_a_password_that_could_not_be_taken_back_is_named() -> None:
    world = World()
    world.sms.fail = TemporaryError("no")
    world.accounts.fail_next(None, None, TemporaryError("away"))
    with pytest.raises(TemporaryError, match="rotate it again"):
        world.do("rotate", at_once=True)
    world.sms.fail = None
    world.do("rotate", at_once=True)
    assert world.opens(world.sent)


def test_no_such_account() -> None:
    for action in ("show", "disable", "enable", "delete"):
        with pytest.raises(PermanentError, match=r"there is no account al@example\.com"):
            World().do(action, "al@example.com")


def test_changes_at_the_same_moment_are_both_done(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    find = world.accounts.find
    first = [replace(world.jo, disabled=True, version=1)]

    async def meanwhile(user: str) -> Account | None:
        found = await find(user)
        if first:
            world.accounts.items["jo@example.com"] = first.pop()
        return found

    monkeypatch.setattr(world.accounts, "find", meanwhile)
    world.do("rotate", at_once=True)
    assert world.now.disabled
    assert verify(replace(world.now, disabled=False), world.sent, 1000.0)
