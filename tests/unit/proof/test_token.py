"""relay.proof.token: what is published and what counts."""

import subprocess

import pytest

from relay.proof.token import DnsRecord, is_token, matches, records_to_publish, token_value

USER = "App.One@Example.com"
TOKEN = token_value(USER, "elastx-mrs")
HEX = TOKEN.partition("=")[2]


def test_the_shell_makes_the_same_token() -> None:
    command = """echo "elastx-mrs=$(echo -n "user@domain.com" | sha256sum | cut -d ' ' -f 1)" """
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == token_value("user@domain.com", "elastx-mrs")


@pytest.mark.parametrize(
    "record",
    [
        TOKEN,
        token_value(USER.lower(), "elastx-mrs"),
        f"elastx-mrs={HEX.upper()}",
        f" \t{TOKEN}\n ",
        f"Elastx-MRS={HEX}",
    ],
    ids=["as registered", "in lower case", "upper-case hex", "white space at the ends", "case of the name"],
)
def test_matches(record: str) -> None:
    assert matches(record.encode(), USER, "elastx-mrs")


@pytest.mark.parametrize(
    "record",
    [
        token_value(USER.upper(), "elastx-mrs"),
        token_value(USER + "\n", "elastx-mrs"),
        f"elastx-mrs={HEX[:-1]}",
        f"elastx-mrs={HEX}0",
        f"elastx-mrs= {HEX}",
        f"elastx-mrs={USER}",
        f"other={HEX}",
        f'"{TOKEN}"',
        HEX,
        "",
    ],
    ids=["other case", "with a newline", "cut", "longer", "space", "not hashed", "name", "quotes", "bare", "empty"],
)
def test_does_not_match(record: str) -> None:
    assert not matches(record.encode(), USER, "elastx-mrs")


def test_is_token() -> None:
    assert is_token(b" ELASTX-mrs=whatever", "elastx-mrs")
    assert not is_token(b"elastx-mrs2=x", "elastx-mrs")
    assert not is_token(b"\xff", "elastx-mrs")


def test_records_to_publish() -> None:
    assert [str(each) for each in records_to_publish("example.com", USER, "elastx-mrs", "elastx.email")] == [
        f'example.com. TXT "{TOKEN}"',
        'example.com. TXT "v=spf1 include:elastx.email -all"',
        '_dmarc.example.com. TXT "v=DMARC1; p=none"',
    ]


def test_master_file_form() -> None:
    assert str(DnsRecord("a.example", "TXT", 'q"\\')) == r'a.example. TXT "q\"\\"'
    long = str(DnsRecord("a.example", "TXT", "x" * 300))
    assert long == f'a.example. TXT "{"x" * 255}" "{"x" * 45}"'
