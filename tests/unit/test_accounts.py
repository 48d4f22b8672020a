import asyncio
import re

import pytest

from relay.accounts import create, phone_number, user_name
from relay.errors import PermanentError, RelayError, TemporaryError
from relay.password import verify
from relay.ports import Account
from tests.fakes import FakeAccounts, FakeClock, FakeSms

HOST = "smtp.example.com"
PHONE = "+46701234567"


def make(user: str, phone: str, accounts: FakeAccounts, sms: FakeSms) -> Account:
    return asyncio.run(create(user, phone, accounts=accounts, sms=sms, clock=FakeClock(5.0), host_name=HOST))


def test_the_password_goes_to_the_phone_and_nowhere_else() -> None:
    accounts, sms = FakeAccounts(), FakeSms()
    account = make("App@MyCorp.se", "+46 70-123 45 67", accounts, sms)
    assert accounts.items == {"app@mycorp.se": account}
    assert (account.user, account.phone, account.created, account.disabled) == ("App@MyCorp.se", PHONE, 5.0, False)
    ((phone, text),) = sms.sent
    assert phone == PHONE
    found = re.fullmatch(r"smtp\.example\.com: user App@MyCorp\.se password (\S+)", text)
    assert found
    assert verify(account, found[1])
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
    with pytest.raises(TemporaryError, match=r"jo@example\.com could not be removed"):
        make("jo@example.com", PHONE, accounts, sms)


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


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (PHONE, PHONE),
        ("+1 (202) 555-0143", "+12025550143"),
        ("+12345678", "+12345678"),
        ("+1" * 1 + "2" * 14, "+1" + "2" * 14),
    ],
)
def test_a_phone_number(text: str, number: str) -> None:
    assert phone_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "+", "0701234567", "46701234567", "+0701234567", "+1234567", "+1" + "2" * 15, "+4670123456x", "+٤٦٧٠١٢٣٤٥"],
)
def test_what_is_no_phone_number(text: str) -> None:
    with pytest.raises(PermanentError, match="country code"):
        phone_number(text)
