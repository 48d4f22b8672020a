import hashlib
import re
from dataclasses import replace

import pytest

from relay.account import Account, Secret
from relay.password import ALPHABET, hash_password, holds, new_password, new_salt, verify

SALT = b"0123456789abcdef"
NOW = 1000.0
JO = Account("jo@example.com", SALT, hash_password("right", SALT), "+46701234567", 0.0)
ROTATED = replace(
    JO,
    salt=b"fedcba9876543210",
    hash=hash_password("new", b"fedcba9876543210"),
    previous=Secret(SALT, JO.hash, NOW + 10),
)


def test_a_password_has_125_bits_in_groups_that_a_person_can_type() -> None:
    made = {new_password() for _ in range(1000)}
    assert len(made) == 1000
    assert len(set(ALPHABET)) == 32
    for password in made:
        assert re.fullmatch(rf"([{ALPHABET}]{{5}}-){{4}}[{ALPHABET}]{{5}}", password)
    assert {character for password in made for character in password} == {*ALPHABET, "-"}


def test_salts_differ() -> None:
    assert len({new_salt() for _ in range(100)}) == 100
    assert len(new_salt()) == 16


def test_the_hash_is_one_salted_sha_256() -> None:
    assert hash_password("pä", b"salt") == hashlib.sha256(b"saltp\xc3\xa4").digest()
    assert hash_password("\udcff", b"salt")  # whatever AUTH decodes to


@pytest.mark.parametrize(
    ("account", "password", "opens"),
    [
        (JO, "right", True),
        (JO, "Right", False),
        (JO, "", False),
        (replace(JO, salt=b"other"), "right", False),
        (replace(JO, disabled=True), "right", False),
        (None, "right", False),
        (ROTATED, "right", True),
        (ROTATED, "new", True),
        (ROTATED, "", False),
        (replace(ROTATED, previous=Secret(SALT, JO.hash, NOW)), "right", False),
        (replace(ROTATED, disabled=True), "right", False),
    ],
    ids=[
        *("right", "wrong", "empty", "other salt", "disabled", "no account"),
        *("previous", "next", "neither", "previous, too late", "previous, disabled"),
    ],
)
def test_verify(account: Account | None, password: str, opens: bool) -> None:
    assert (verify(account, password, NOW) is not None) is opens


def test_a_login_holds_as_long_as_its_password() -> None:
    old, new = verify(ROTATED, "right", NOW), verify(ROTATED, "new", NOW)
    assert old
    assert new
    assert (old.user, old.phone) == (new.user, new.phone) == (JO.user, JO.phone)
    assert holds(old, ROTATED, NOW + 9)
    assert not holds(old, ROTATED, NOW + 10)
    assert holds(new, ROTATED, NOW + 10)
    assert not holds(new, replace(ROTATED, disabled=True), NOW)
    assert not holds(new, None, NOW)
    assert not holds(JO, Account(JO.user, b"", b"", "", 0.0, disabled=True, deleted=True), NOW)


@pytest.mark.parametrize(
    "account", [JO, ROTATED, replace(JO, disabled=True), None], ids=["one", "two", "disabled", "none"]
)
def test_the_work_is_the_same(account: Account | None, monkeypatch: pytest.MonkeyPatch) -> None:
    work = []

    def counted(password: str, salt: bytes) -> bytes:
        work.append((password, len(salt)))
        return hash_password(password, salt)

    monkeypatch.setattr("relay.password.hash_password", counted)
    verify(account, "guess", NOW)
    assert work == [("guess", 16), ("guess", 16)]
