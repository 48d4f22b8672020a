import hashlib
import re
from dataclasses import replace

import pytest

from relay.password import ALPHABET, hash_password, new_password, new_salt, verify
from relay.ports import Account

SALT = b"0123456789abcdef"
JO = Account("jo@example.com", SALT, hash_password("right", SALT), "+46701234567", 0.0)


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
    ],
    ids=["right", "wrong", "empty", "other salt", "disabled", "no account"],
)
def test_verify(account: Account | None, password: str, opens: bool) -> None:
    assert verify(account, password) is opens


@pytest.mark.parametrize("account", [JO, replace(JO, disabled=True), None], ids=["account", "disabled", "none"])
def test_the_work_is_the_same(account: Account | None, monkeypatch: pytest.MonkeyPatch) -> None:
    work = []

    def counted(password: str, salt: bytes) -> bytes:
        work.append((password, len(salt)))
        return hash_password(password, salt)

    monkeypatch.setattr("relay.password.hash_password", counted)
    verify(account, "guess")
    assert work == [("guess", 16)]
