"""relay.dns against a real server on loopback."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

import relay.dns
from relay.dns import DnspythonResolver
from relay.errors import PermanentError, TemporaryError
from relay.ports import DnsStatus
from relay.settings import SettingsError
from tests.dnsserver import TestDnsServer

T = TypeVar("T")

ZONE = """
    example.com.        TXT    "one"
    example.com.        TXT    "tw" "o"
    example.com.    60  MX     20 B.example.com.
    example.com.    60  MX     10 a.example.com.
    null.example.com.   MX     0 .
    a.example.com.      A      192.0.2.1
    a.example.com.      A      192.0.2.2
    a.example.com.      AAAA   2001:db8::1
    alias.example.com. 30 CNAME alias2.example.com.
    alias2.example.com. CNAME  a.example.com.
    dangling.example.com. CNAME nowhere.example.net.
    loop.example.com.   CNAME  loop2.example.com.
    loop2.example.com.  CNAME  loop.example.com.
"""


def ask(server: TestDnsServer, method: str, name: str) -> Any:
    resolver = DnspythonResolver((server.address,))
    question: Coroutine[Any, Any, Any] = getattr(resolver, method)(name)
    return asyncio.run(question)


@pytest.fixture(params=[{}, {"truncate": True}, {"bare_cnames": True}], ids=["plain", "truncated UDP", "bare CNAMEs"])
def server(request: pytest.FixtureRequest) -> Any:
    with TestDnsServer(ZONE, **request.param) as server:
        yield server


def test_txt_joins_strings(server: TestDnsServer) -> None:
    answer = ask(server, "txt", "Example.COM")
    assert answer.status is DnsStatus.OK
    assert sorted(answer.records) == [b"one", b"two"]
    assert answer.ttl == 300


def test_mx(server: TestDnsServer) -> None:
    answer = ask(server, "mx", "example.com.")
    assert sorted(answer.records) == [(10, "a.example.com"), (20, "b.example.com")]
    assert answer.ttl == 60
    assert ask(server, "mx", "null.example.com").records == ((0, ""),)


def test_addresses(server: TestDnsServer) -> None:
    assert sorted(ask(server, "a", "a.example.com").addresses) == ["192.0.2.1", "192.0.2.2"]
    assert ask(server, "aaaa", "a.example.com").addresses == ("2001:db8::1",)


def test_cnames_are_followed(server: TestDnsServer) -> None:
    answer = ask(server, "aaaa", "alias.example.com")
    assert answer.addresses == ("2001:db8::1",)
    assert answer.ttl == 30


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("b.example.com", DnsStatus.NO_NAME),
        ("dangling.example.com", DnsStatus.NO_NAME),
        ("a.example.com", DnsStatus.NO_DATA),
        ("alias.example.com", DnsStatus.NO_DATA),
        ("com", DnsStatus.NO_DATA),
    ],
)
def test_nothing_there(server: TestDnsServer, name: str, status: DnsStatus) -> None:
    answer = ask(server, "txt", name)
    assert answer.status is status
    assert answer.records == ()


def test_cname_loop(server: TestDnsServer) -> None:
    with pytest.raises(TemporaryError, match=r"loop\.example\.com"):
        ask(server, "txt", "loop.example.com")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        ".a",
        "x" * 64 + ".example",
        ".".join(["abcdefg"] * 32),
        "bücher.example",
        "a.example..",
        "\udcff.a",
    ],
    ids=[
        "empty",
        "root",
        "empty label",
        "leading dot",
        "long label",
        "long name",
        "not ASCII",
        "two dots",
        "surrogate",
    ],
)
def test_names_that_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(PermanentError):
        asyncio.run(DnspythonResolver(("127.0.0.1:1",)).txt(name))


@pytest.mark.parametrize("name", [r"a\.b.example.com", "a b.example.com", "a\0b.example.com", "@", "$x.example.com"])
def test_odd_names_are_asked_for_as_they_are(name: str) -> None:
    with TestDnsServer(ZONE) as server:
        assert ask(server, "txt", name).status is DnsStatus.NO_NAME


def test_servfail_and_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.dns, "QUERY_SECONDS", 0.05)
    monkeypatch.setattr(relay.dns, "TOTAL_SECONDS", 0.1)
    with TestDnsServer(ZONE) as server:
        server.servfail.add("example.com")
        with pytest.raises(TemporaryError, match=r"example\.com TXT: no usable answer"):
            ask(server, "txt", "example.com")
        server.silent.add("a.example.com")
        with pytest.raises(TemporaryError, match="in time"):
            ask(server, "a", "a.example.com")


def test_oversized_answer() -> None:
    with TestDnsServer() as server:
        server.add("\n".join(f'big.example. TXT "{number:0200}"' for number in range(100)))
        with pytest.raises(TemporaryError, match="more than 16384 octets"):
            ask(server, "txt", "big.example")


@pytest.mark.parametrize("server", ["dns.example:53", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:65536", ":53", ""])
def test_bad_server(server: str) -> None:
    with pytest.raises(SettingsError, match="is not an IP address"):
        DnspythonResolver((server,))


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.1:53", "::1", "[::1]", "[::1]:53"])
def test_good_server(server: str) -> None:
    DnspythonResolver((server,))
