"""relay.proof.spf_macro: RFC 7208 §7, and the names that come of it."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proof.spf_macro import dotted, expand, host_name, is_domain, is_name, letters, target_name

VALUES = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "p": "mx.example.org",
    "v": "in-addr",
    "h": "he lo/é",
    "c": "192.0.2.3",
    "r": "mx.example.net",
    "t": "1700000000",
}
EXPANSIONS = {
    "": "",
    "a.b": "a.b",
    "%%%_%-": "% %20",
    "%{l}%{l}": "strong-badstrong-bad",
    "%{d0003}": "email.example.com",
    "%{d2}": "example.com",
    "%{d02}": "example.com",
    "%{d0000002}": "example.com",
    "%{d9}": "email.example.com",
    "%{dr}": "com.example.email",
    "%{d1r}": "email",
    "%{d2r}": "example.email",
    "%{l-}": "strong.bad",
    "%{lr-}": "bad.strong",
    "%{lr+-}": "bad.strong",
    "%{s2r.-}": "bad@email.strong",
    "%{d+}": "email.example.com",
    "%{d1+}": "email.example.com",
    "%{d_=}": "email.example.com",
    "%{H}": "he%20lo%2F%C3%A9",
    "%{S}": "strong-bad%40email.example.com",
    "%{L1R-}": "strong",
    "%{d99999999999999999999}": "email.example.com",
    "%{s1-@} %{x": "%{s1-@} %{x",
}


@pytest.mark.parametrize(("text", "expanded"), EXPANSIONS.items(), ids=EXPANSIONS.keys())
def test_expand(text: str, expanded: str) -> None:
    assert expand(text, VALUES) == expanded


def test_every_delimiter_splits() -> None:
    for delimiter in ".-+,/_=":
        assert expand(f"%{{lr{delimiter}}}", {"l": f"a{delimiter}b"}) == "b.a"
    assert expand("%{lr.-+,/_=}", {"l": "1.2-3+4,5/6_7=8"}) == "8.7.6.5.4.3.2.1"


def test_what_no_url_can_hold_is_escaped() -> None:
    assert expand("%{L}", {"l": "aZ09-._~"}) == "aZ09-._~"
    assert expand("%{L}", {"l": "a+b=c/d e%\x00"}) == "a%2Bb%3Dc%2Fd%20e%25%00"
    assert expand("%{L}", {"l": "\ud800"}) == "%3F"  # no UTF-8 has it


def test_letters() -> None:
    assert letters("%{ir}.%{V}._spf.%{d2}%%{s}%_") == {"i", "v", "d"}
    assert letters("plain") == frozenset()


def test_dotted() -> None:
    assert dotted(ip_address("192.0.2.3")) == "192.0.2.3"
    assert dotted(ip_address("2001:db8::cb01")) == ".".join("20010DB800000000000000000000CB01")


TARGETS = {
    "plain": ("a.example", "a.example"),
    "last dot": ("a.example.", "a.example"),
    "two last dots": ("a.example..", "a.example."),
    "253": ("a." * 125 + "abc", "a." * 125 + "abc"),
    "254": ("bc." + "a." * 124 + "abc", "a." * 124 + "abc"),
    "255, a label of one": ("b." + "a." * 125 + "abc", "a." * 125 + "abc"),
    "the cut falls on a dot": ("x" * 10 + "." + "y" * 253, "y" * 253),
    "the cut falls behind a dot": ("x" * 10 + "." + "y" * 254, "x" * 10 + "." + "y" * 254),
    "no dot": ("x" * 300, "x" * 300),
}


@pytest.mark.parametrize(("text", "name"), TARGETS.values(), ids=TARGETS.keys())
def test_target_name(text: str, name: str) -> None:
    assert target_name(text, {}) == name


@given(st.text(".a", max_size=600))
def test_a_target_name_is_the_end_of_its_text_and_cut_no_more_than_needed(text: str) -> None:
    name = target_name(text, {})
    whole = text.removesuffix(".")
    assert whole.endswith(name)
    if len(whole) <= 253:
        assert name == whole
    elif name != whole:
        assert len(name) <= 253
        assert whole[: -len(name) or None].endswith(".")
        longer = whole[: -len(name) or None].removesuffix(".").rpartition(".")[2]
        assert len(f"{longer}.{name}") > 253


def test_is_name() -> None:
    for name in ("a", "a.b", "a b.c", "*.example", "\0.example", "l" * 63 + ".x", "a." * 126 + "a"):
        assert is_name(name)
    for name in ("", ".", "a.", ".a", "a..b", "l" * 64, "a." * 126 + "ab", "é.example", "a\n.", "a.b."):
        assert not is_name(name)


def test_is_domain() -> None:
    assert is_domain("a.b")
    for name in ("a", "", "a.", "[192.0.2.1]", "a..b", "l" * 64 + ".b"):
        assert not is_domain(name)


def test_host_name() -> None:
    assert host_name("mx.example") == "mx.example"
    assert host_name("a\\058b\\047c\\092.example") == "a:b/c\\.example"
    assert host_name("a\\046b.example") == ""


@given(st.text(), st.text())
def test_any_text_expands(text: str, value: str) -> None:
    expanded = expand(text, dict.fromkeys(VALUES, value))
    if "%" not in text:
        assert expanded == text
    is_domain(target_name(text, dict.fromkeys(VALUES, value)))
