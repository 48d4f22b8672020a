import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.sts import LONGEST_AGE, Mode, Policy, PolicyError, announced, parse

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.b.example\r\nmx: *.b.example\r\nmax_age: 86400\r\n"

# --- the record that announces it (RFC 8461 §3.1) ------------------------------------------------

ANNOUNCED = {
    "plain": ((b"v=STSv1; id=20160831085700Z;",), "20160831085700Z"),
    "no last delimiter": ((b"v=STSv1; id=a1",), "a1"),
    "blanks": ((b"v = STSv1 ;\tid = a1 ; ",), "a1"),
    "no blanks": ((b"v=STSv1;id=a1;",), "a1"),
    "a field of the future": ((b"v=STSv1; x-new.1=a:b; id=a1;",), "a1"),
    "an id too many": ((b"v=STSv1; id=a1; id=b2;",), "a1"),
    "others beside it": ((b"v=spf1 -all", b"v=STSv1; id=a1;", b"\xff"), "a1"),
    "32 characters": ((b"v=STSv1; id=" + b"a" * 32,), "a" * 32),
    "none": ((), None),
    "two": ((b"v=STSv1; id=a1;", b"v=STSv1; id=a1;"), None),
    "another version": ((b"v=STSv2; id=a1;",), None),
    "lower case": ((b"v=stsv1; id=a1;",), None),
    "version not first": ((b"id=a1; v=STSv1;",), None),
    "no id": ((b"v=STSv1;",), None),
    "empty id": ((b"v=STSv1; id=;",), None),
    "33 characters": ((b"v=STSv1; id=" + b"a" * 33,), None),
    "an id with a dash": ((b"v=STSv1; id=a-1;",), None),
    "no value": ((b"v=STSv1; id=a1; x;",), None),
    "an empty field": ((b"v=STSv1; ; id=a1;",), None),
    "no name": ((b"v=STSv1; =x; id=a1;",), None),
    "not ASCII": ((b"v=STSv1; id=a1; x=\xc3\xa9;",), None),
    "version alone": ((b"v=STSv1",), None),
}


@pytest.mark.parametrize(("records", "id"), ANNOUNCED.values(), ids=ANNOUNCED)
def test_announced(records: tuple[bytes, ...], id: str | None) -> None:
    assert announced(records) == id


# --- the policy (RFC 8461 §3.2) ------------------------------------------------------------------


def test_policy() -> None:
    assert parse(POLICY) == Policy(Mode.ENFORCE, ("mx1.b.example", "*.b.example"), 86400)


def policy(**fields: str) -> bytes:
    """One that is valid but for `fields`; "" leaves one out."""
    all = {"version": "STSv1", "mode": "testing", "mx": "mx.b.example", "max_age": "60", **fields}
    return "".join(f"{name}: {value}\n" for name, value in all.items() if value).encode()


GOOD = {
    "LF": policy(),
    "no last line end": policy().rstrip(),
    "blanks": b"version:STSv1 \nmode: \ttesting\nmx:mx.b.example\t\nmax_age:60\n",
    "empty lines": b"\n" + policy() + b"\r\n\n",
    "another order": b"mx: mx.b.example\nmax_age: 60\nmode: testing\nversion: STSv1\n",
    "a field of the future": policy() + "x-new_1.a: schön: ja\n".encode(),
    "fields twice": policy() + b"mode: enforce\nmax_age: 1\nversion: STSv2\n",
    "a host twice, in capitals": policy() + b"mx: MX.B.example\n",
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_policies_in_other_words(body: bytes) -> None:
    assert parse(body) == Policy(Mode.TESTING, ("mx.b.example",), 60)


def test_no_host_where_there_is_no_policy() -> None:
    assert parse(policy(mode="none", mx="")) == Policy(Mode.NONE, (), 60)


def test_a_policy_is_kept_for_a_year_at_most() -> None:
    assert parse(policy(max_age="9999999999")).max_age == LONGEST_AGE
    assert parse(policy(max_age="0")).max_age == 0


BAD = {
    "nothing": b"",
    "HTML": b"<!doctype html>\n<title>Not found</title>\n",
    "no version": policy(version=""),
    "another version": policy(version="STSv2"),
    "version in lower case": policy(version="stsv1"),
    "no mode": policy(mode=""),
    "an unknown mode": policy(mode="Enforce"),
    "no age": policy(max_age=""),
    "a negative age": policy(max_age="-1"),
    "an age of 11 digits": policy(max_age="10000000000"),
    "an age in words": policy(max_age="1d"),
    "an age in other digits": policy(max_age="٦٠"),
    "no host": policy(mx=""),
    "a star within": policy(mx="mx.*.example"),
    "a star and no dot": policy(mx="*b.example"),
    "a star alone": policy(mx="*"),
    "an empty label": policy(mx="mx..example"),
    "a host with a port": policy(mx="mx.b.example:25"),
    "a host that is not ASCII": policy(mx="mx.ü.example"),
    "a host too long": policy(mx="a." * 130 + "example"),
    "a line that is no field": policy() + b"hello\n",
    "a field without a name": policy() + b": x\n",
    "a field without a value": policy() + b"x:\n",
    "a blank before the colon": policy() + b"x : y\n",
    "a bare CR": policy().replace(b"\n", b"\r"),
    "not UTF-8": policy() + b"x: \xff\n",
    "NUL": policy() + b"x: a\0b\n",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_is_no_policy(body: bytes) -> None:
    with pytest.raises(PolicyError):
        parse(body)


@given(st.binary() | st.text(alphabet="version:STS1\r\n mxodeag_*.").map(str.encode))
def test_any_bytes_are_a_policy_or_an_error(body: bytes) -> None:
    try:
        found = parse(body)
    except PolicyError:
        return
    assert found.mx or found.mode is Mode.NONE


# --- which hosts it names (RFC 8461 §4.1) --------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("mx1.b.example", True),
        ("x.b.example", True),
        ("b.example", False),
        ("a.x.b.example", False),
        (".b.example", False),
        ("xb.example", False),
        ("mx1.b.example.evil.example", False),
        ("c.example", False),
        ("", False),
    ],
)
def test_hosts(host: str, named: bool) -> None:
    assert parse(POLICY).names(host) is named
