"""relay.dns against real servers on loopback: what it answers, and what a hostile or broken DNS can't do to it."""

import asyncio
import itertools
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.resolver
import dns.rrset
import pytest
import uvloop

import relay.dns
import relay.dns_exchange
from relay.dns import DnspythonResolver
from relay.errors import PermanentError, TemporaryError
from relay.ports import DnsStatus, TxtAnswer
from relay.settings import SettingsError
from tests.dnsserver import Asked, TestDnsServer, Trick, framed

ZONE = """
    example.com.        TXT    "one"
    example.com.        TXT    "tw" "o"
    example.com.    60  MX     20 B.example.com.
    example.com.    60  MX     10 a.example.com.
    null.example.com.   MX     0 .
    a.example.com.      A      192.0.2.1
    a.example.com.      A      192.0.2.2
    a.example.com.      AAAA   2001:db8::1
    1.2.0.192.in-addr.arpa. PTR A.example.com.
    alias.example.com. 30 CNAME alias2.example.com.
    alias2.example.com. CNAME  a.example.com.
    dangling.example.com. CNAME nowhere.example.net.
    loop.example.com.   CNAME  loop2.example.com.
    loop2.example.com.  CNAME  loop.example.com.
    xn--bcher-kva.example. TXT "IDN"
    t.example.          TXT    "true"
"""


def ask(server: TestDnsServer, method: str, name: str) -> Any:
    resolver = DnspythonResolver((server.address,))
    question: Coroutine[Any, Any, Any] = getattr(resolver, method)(name)
    return asyncio.run(question)


@pytest.fixture(params=[{}, {"truncate": True}, {"bare_cnames": True}], ids=["plain", "truncated UDP", "bare CNAMEs"])
def server(request: pytest.FixtureRequest) -> Any:
    with TestDnsServer(ZONE, **request.param) as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that doesn't answer is soon given up."""
    monkeypatch.setattr(relay.dns_exchange, "QUERY_SECONDS", 0.1)
    monkeypatch.setattr(relay.dns_exchange, "FIRST_PAUSE", 0.01)


@pytest.fixture
def in_vain(impatient: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So is a name; for what never gets an answer."""
    monkeypatch.setattr(relay.dns, "TOTAL_SECONDS", 0.3)
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 5


# --- answers ---------------------------------------------------------------------------------------


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


def test_ptr(server: TestDnsServer) -> None:
    assert ask(server, "ptr", "1.2.0.192.in-addr.arpa").names == ("a.example.com",)


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


def test_how_long_no_is_no() -> None:
    """RFC 2308 §5: the SOA says it, and the CNAMEs on the way."""
    with TestDnsServer(ZONE, negative_ttl=77) as server:
        assert ask(server, "txt", "b.example.com").ttl == 77
        assert ask(server, "txt", "a.example.com").ttl == 77
        assert ask(server, "txt", "alias.example.com").ttl == 30


def test_an_idn_is_asked_for_by_its_a_label(server: TestDnsServer) -> None:
    assert ask(server, "txt", "xn--bcher-kva.example").records == (b"IDN",)
    assert server.asked["xn--bcher-kva.example", "TXT"]


def test_many_strings_make_one_record() -> None:
    strings = [bytes([each]) * 255 for each in b"abcdefgh"] + [b"", b'\\000\\255;\\"']
    with TestDnsServer() as server:
        server.add("t.example. TXT " + " ".join(f'"{each.decode()}"' for each in strings))
        expected = b"".join(strings[:-1]) + b'\x00\xff;"'
        assert ask(server, "txt", "t.example").records == (expected,)


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_many_at_once_over_udp_and_tcp(run: Run) -> None:
    async def all_of_them(resolver: DnspythonResolver) -> list[TxtAnswer]:
        return await asyncio.gather(*map(resolver.txt, names))

    names = [f"{number}.t.example" for number in range(100)]
    with TestDnsServer("".join(f'{name}. TXT "{name}"\n' for name in names)) as server:
        server.tricks.update(dict.fromkeys(names[::2], cut))
        found = run(all_of_them(DnspythonResolver((server.address,))))
    assert found == [TxtAnswer(DnsStatus.OK, (name.encode(),), 300) for name in names]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("name", ["silent.example", "stalling.example"])
def test_giving_up(run: Run, name: str, in_vain: None) -> None:
    """The server's end waits for us to hang up."""
    with TestDnsServer() as server:
        server.silent.add("silent.example")
        server.tricks["stalling.example"] = by_tcp(lambda wire: [])
        with pytest.raises(TemporaryError, match="no answer in time"):
            run(DnspythonResolver((server.address,)).txt(name))


def cut(asked: Asked) -> list[bytes]:
    """Too long for UDP."""
    if not asked.udp:
        return [framed(asked.wire)]
    asked.response.flags |= dns.flags.TC
    asked.response.answer = []
    return [asked.wire]


# --- names -----------------------------------------------------------------------------------------


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
    with pytest.raises(PermanentError, match="cannot be looked up"):
        asyncio.run(DnspythonResolver(("127.0.0.1:1",)).txt(name))


@pytest.mark.parametrize(
    "name",
    [
        r"a\.b.example.com",
        "a b.example.com",
        "a\0b.example.com",
        "@",
        "$x.example.com",
        "x" * 63 + ".example",
        ".".join(["x" * 62] * 4),
    ],
    ids=ascii,
)
def test_odd_names_are_asked_for_as_they_are(name: str) -> None:
    with TestDnsServer(ZONE) as server:
        assert ask(server, "txt", name).status is DnsStatus.NO_NAME


# --- aliases ---------------------------------------------------------------------------------------


def chain(length: int) -> str:
    return "".join(f"c{n}.example. CNAME c{n + 1}.example.\n" for n in range(length)) + f'c{length}.example. TXT "end"'


def test_cname_loop(server: TestDnsServer) -> None:
    with pytest.raises(TemporaryError, match=r"loop\.example\.com"):
        ask(server, "txt", "loop.example.com")
    assert server.queries <= 8


@pytest.mark.parametrize(("bare", "longest"), [(False, 16), (True, 7)], ids=["in one answer", "one by one"])
def test_long_chains_have_an_end(bare: bool, longest: int) -> None:
    with TestDnsServer(chain(longest), bare_cnames=bare) as server:
        assert ask(server, "txt", "c0.example").records == (b"end",)
    with TestDnsServer(chain(longest + 1), bare_cnames=bare) as server, pytest.raises(TemporaryError):
        ask(server, "txt", "c0.example")


def test_the_total_time_is_for_the_whole_chain(in_vain: None) -> None:
    """Each name is silent once, so all of them would take 7 x 0.1 s."""

    def late(asked: Asked) -> list[bytes]:
        return [asked.wire] if asked.times > 1 else []

    with TestDnsServer(chain(6), bare_cnames=True) as server:
        server.tricks.update({f"c{number}.example": late for number in range(7)})
        with pytest.raises(TemporaryError, match="no answer in time"):
            ask(server, "txt", "c0.example")


def test_a_dname_needs_no_care() -> None:
    """RFC 6672 §3.1: its server adds the CNAME."""

    def with_dname(asked: Asked) -> list[bytes]:
        asked.response.answer.insert(0, dns.rrset.from_text("example.", 60, "IN", "DNAME", "example.com."))
        return [asked.wire]

    with TestDnsServer('a.example. CNAME a.example.com.\na.example.com. TXT "x"') as server:
        server.tricks["a.example"] = with_dname
        assert ask(server, "txt", "a.example").records == (b"x",)


# --- servers that fail -----------------------------------------------------------------------------


def test_servfail_and_silence(in_vain: None) -> None:
    with TestDnsServer(ZONE) as server:
        server.servfail.add("example.com")
        with pytest.raises(TemporaryError, match=r"example\.com TXT: no usable answer"):
            ask(server, "txt", "example.com")
        assert server.queries == 1
        server.silent.add("a.example.com")
        with pytest.raises(TemporaryError, match=r"a\.example\.com A: no answer in time"):
            ask(server, "a", "a.example.com")
        assert server.asked["a.example.com", "A"] > 1


def test_a_lost_datagram_is_sent_again(impatient: None) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = lambda asked: [asked.wire] if asked.times > 1 else []
        assert ask(server, "txt", "t.example").records == (b"true",)
        assert server.queries == 2


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "YXDOMAIN", "NOTAUTH", "BADVERS"])
def test_response_codes_that_are_no_answer(rcode: str) -> None:
    def fail(asked: Asked) -> list[bytes]:
        asked.response.set_rcode(dns.rcode.from_text(rcode))
        return [asked.wire]

    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = fail
        with pytest.raises(TemporaryError, match="no usable answer"):
            ask(server, "txt", "t.example")


@pytest.mark.parametrize("rcode", [1, 2, 5])
def test_a_failure_may_lack_the_question(rcode: int) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = lambda asked: [asked.wire[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 0, 0, 0, 0)]
        with pytest.raises(TemporaryError, match="no usable answer"):
            ask(server, "txt", "t.example")


def nothing_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as both:
        both.bind(taken.getsockname())
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("what", ["no server", "silent", "SERVFAIL", "nonsense"])
def test_another_server_is_asked(what: str, impatient: None) -> None:
    with TestDnsServer(ZONE) as bad, TestDnsServer(ZONE) as good:
        match what:
            case "silent":
                bad.silent.add("t.example")
            case "SERVFAIL":
                bad.servfail.add("t.example")
            case "nonsense":
                bad.tricks["t.example"] = lambda asked: [asked.wire + b"x"]
        first = nothing_listens() if what == "no server" else bad.address
        resolver = DnspythonResolver((first, good.address))
        assert asyncio.run(resolver.txt("t.example")).records == (b"true",)
        assert good.queries == 1
        assert bad.queries == (what != "no server")


def test_the_first_server_that_answers_is_enough() -> None:
    with TestDnsServer(ZONE) as first, TestDnsServer(ZONE) as second:
        asyncio.run(DnspythonResolver((first.address, second.address)).txt("t.example"))
        assert (first.queries, second.queries) == (1, 0)


def test_a_failed_server_is_not_asked_again_and_a_silent_one_is(in_vain: None) -> None:
    with TestDnsServer(ZONE) as failing, TestDnsServer(ZONE) as silent:
        failing.servfail.add("t.example")
        silent.silent.add("t.example")
        with pytest.raises(TemporaryError, match="no answer in time"):
            asyncio.run(DnspythonResolver((failing.address, silent.address)).txt("t.example"))
        assert failing.queries == 1
        assert silent.queries > 1


def test_no_server_at_all() -> None:
    with pytest.raises(TemporaryError, match="no usable answer") as caught:
        asyncio.run(DnspythonResolver((nothing_listens(), nothing_listens())).txt("t.example"))
    assert "127.0.0.1" not in caught.value.safe


def test_waiting_for_a_socket_counts(in_vain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.dns, "IN_FLIGHT", 2)

    async def run(address: str) -> list[Any]:
        resolver = DnspythonResolver((address,))
        names = ["silent.example"] * 10 + ["t.example"]
        return await asyncio.gather(*map(resolver.txt, names), return_exceptions=True)

    with TestDnsServer(ZONE) as server:
        server.silent.add("silent.example")
        found = asyncio.run(run(server.address))
        assert all(isinstance(each, TemporaryError) for each in found[:10])
        assert server.asked["silent.example", "TXT"] <= 8


# --- answers that are not, or make no sense --------------------------------------------------------


def forged(change: Callable[[bytearray], object]) -> Trick:
    """A forged "forged" before the true answer."""

    def trick(asked: Asked) -> list[bytes]:
        false = bytearray(asked.wire.replace(b"\4true", b"\4fals"))
        change(false)
        return [bytes(false), asked.wire]

    return trick


def setting(at: int, value: int) -> Callable[[bytearray], object]:
    return lambda wire: wire.__setitem__(at, value)


IGNORED = {
    "empty": lambda wire: wire.clear(),
    "short": lambda wire: wire.__delitem__(slice(11, None)),
    "no DNS": lambda wire: wire.__setitem__(slice(None), b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "wrong id": lambda wire: wire.__setitem__(0, wire[0] ^ 1),
    "wrong id at the end": lambda wire: wire.__setitem__(1, wire[1] ^ 1),
    "a query": setting(2, 0x01),
    "another opcode": setting(2, 0xA1),
    "another name": setting(13, ord("u")),
    "another type": setting(24, 1),
    "another class": setting(26, 3),
    "no question": setting(5, 0),
    "two questions": setting(5, 2),
    "cut in the question": lambda wire: wire.__delitem__(slice(20, None)),
}


@pytest.mark.parametrize("change", IGNORED.values(), ids=IGNORED.keys())
def test_what_answers_nothing_is_ignored(change: Callable[[bytearray], object]) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = forged(change)
        assert ask(server, "txt", "t.example").records == (b"true",)
        assert server.queries == 1


@pytest.mark.parametrize("change", IGNORED.values(), ids=IGNORED.keys())
def test_what_answers_nothing_is_not_enough(change: Callable[[bytearray], object], in_vain: None) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = lambda asked: list(forged(change)(asked))[:1]
        with pytest.raises(TemporaryError, match="no answer in time"):
            ask(server, "txt", "t.example")


def test_case_of_the_question_does_not_matter() -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = lambda asked: [asked.wire.replace(b"\1t\7example", b"\1T\7eXampLe")]
        assert ask(server, "txt", "t.Example").records == (b"true",)


def test_other_senders_are_ignored() -> None:
    """The right id, from another port than the server's."""

    def trick(asked: Asked) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(asked.wire.replace(b"\4true", b"\4fals"), asked.peer)
        return [asked.wire]

    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = trick
        assert ask(server, "txt", "t.example").records == (b"true",)


def test_ids_and_ports_are_not_to_be_guessed() -> None:
    seen: list[tuple[int, int]] = []

    def trick(asked: Asked) -> list[bytes]:
        seen.append((asked.query.id, asked.peer[1]))
        return [asked.wire]

    async def run(address: str) -> None:
        resolver = DnspythonResolver((address,))
        for _ in range(64):
            await resolver.txt("t.example")

    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = trick
        asyncio.run(run(server.address))
    for values in zip(*seen, strict=True):
        steps = {later - earlier for earlier, later in itertools.pairwise(values)}
        assert len(set(values)) > 48
        assert len(steps) > 32  # no counter


def message(change: Callable[[dns.message.Message], object]) -> Trick:
    def trick(asked: Asked) -> list[bytes]:
        change(asked.response)
        return [asked.wire]

    return trick


def added(section: str, *records: str) -> Trick:
    """records: owner, TTL, class, type, data."""

    def change(response: dns.message.Message) -> None:
        getattr(response, section).extend(dns.rrset.from_text(*each.split(maxsplit=4)) for each in records)  # type: ignore[arg-type]

    return message(change)


SOA = "60 IN SOA ns.example. h.example. 1 2 3 4 60"
NONSENSE = {
    "something after it": lambda asked: [asked.wire + b"\0"],
    "cut": lambda asked: [asked.wire[:-3]],
    "more records than there are": lambda asked: [asked.wire[:7] + b"\2" + asked.wire[8:]],
    "65,535 records": lambda asked: [asked.wire[:6] + b"\xff\xff" * 3 + asked.wire[12:]],
    "answer and NXDOMAIN": message(lambda response: response.set_rcode(dns.rcode.NXDOMAIN)),
    "larger than any datagram should be": lambda asked: [asked.wire + b"\0" * 5000],
}


@pytest.mark.parametrize("trick", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_no_usable_answer(trick: Trick) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = trick
        with pytest.raises(TemporaryError, match="no usable answer"):
            ask(server, "txt", "t.example")


NO_NO = {
    "NODATA with the SOA of another zone": (added("authority", f"example.net. {SOA}"), "a.example.com"),
    "NXDOMAIN with the SOA of another zone": (added("authority", f"example.net. {SOA}"), "b.example.com"),
    "an SOA below the name": (added("authority", f"x.a.example.com. {SOA}"), "a.example.com"),
    "a referral": (message(lambda response: response.__setattr__("flags", dns.flags.QR)), "a.example.com"),
}


@pytest.mark.parametrize(("trick", "name"), NO_NO.values(), ids=NO_NO.keys())
def test_a_no_that_makes_no_sense_is_no_usable_answer(trick: Trick, name: str) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks[name] = trick
        with pytest.raises(TemporaryError, match="no usable answer"):
            ask(server, "txt", name)


@pytest.mark.parametrize("zone", [".", "com.", "example.com.", "A.Example.COM."])
def test_a_no_with_the_soa_of_a_zone_above(zone: str) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["a.example.com"] = added("authority", f"{zone} {SOA}", f"example.net. {SOA}")
        assert ask(server, "txt", "a.example.com") == TxtAnswer(DnsStatus.NO_DATA, (), 60)


NOT_USED = {
    "another name": added("answer", 'a.example. 60 IN TXT "false"'),
    "a name below": added("answer", 'a.t.example. 60 IN TXT "false"'),
    "another class": added("answer", 't.example. 60 CH TXT "false"'),
    "another type": added("answer", "t.example. 60 IN A 192.0.2.66"),
    "in the authority section": added("authority", 't.example. 60 IN TXT "false"'),
    "in the additional section": added("additional", 't.example. 60 IN TXT "false"'),
    "what another name is an alias of": added(
        "answer", "u.example. 60 IN CNAME v.example.", 'v.example. 60 IN TXT "false"'
    ),
}


@pytest.mark.parametrize("trick", NOT_USED.values(), ids=NOT_USED.keys())
def test_records_that_were_not_asked_for_are_not_used(trick: Trick) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = trick
        assert ask(server, "txt", "t.example") == TxtAnswer(DnsStatus.OK, (b"true",), 300)
        server.remove("t.example.", "TXT")
        server.add("t.example. MX 0 .")
        assert ask(server, "txt", "t.example").status is DnsStatus.NO_DATA


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(0, 0), (604_800, 604_800), (604_801, 604_800), (0x7FFF_FFFF, 604_800), (0x8000_0000, 0), (0xFFFF_FFFF, 0)],
)
def test_ttls(ttl: int, seconds: int) -> None:
    """RFC 2181 §8: a TTL with the upper bit, that is a negative one, is 0."""

    def trick(asked: Asked) -> list[bytes]:
        return [asked.wire.replace(struct.pack("!HHI", 16, 1, 300), struct.pack("!HHI", 16, 1, ttl))]

    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = trick
        assert ask(server, "txt", "t.example").ttl == seconds


# --- TCP -------------------------------------------------------------------------------------------


def by_tcp(pieces: Callable[[bytes], Iterable[bytes]]) -> Trick:
    """pieces: what to send, of a good answer."""
    return lambda asked: cut(asked) if asked.udp else pieces(asked.wire)


TCP = {
    "in one piece": lambda wire: [framed(wire)],
    "byte by byte": lambda wire: [bytes([each]) for each in framed(wire)],
    "with more behind it": lambda wire: [framed(wire) + framed(wire)],
}


@pytest.mark.parametrize("pieces", TCP.values(), ids=TCP.keys())
def test_tcp(pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = by_tcp(pieces)
        assert ask(server, "txt", "t.example").records == (b"true",)


def dripping(wire: bytes) -> Iterator[bytes]:
    for each in framed(wire):
        yield bytes([each])
        time.sleep(0.02)  # slower than the client has patience for: a whole message takes over a second


STALLS = {
    "nothing": lambda wire: [],
    "half a prefix": lambda wire: [framed(wire)[:1]],
    "a prefix": lambda wire: [framed(wire)[:2]],
    "half an answer": lambda wire: [framed(wire)[:20]],
    "less than the prefix says": lambda wire: [struct.pack("!H", len(wire) + 1) + wire],
    "a byte now and then": dripping,
}


@pytest.mark.parametrize("pieces", STALLS.values(), ids=STALLS.keys())
def test_tcp_that_stalls(pieces: Callable[[bytes], Iterable[bytes]], in_vain: None) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = by_tcp(pieces)
        with pytest.raises(TemporaryError, match="no answer in time"):
            ask(server, "txt", "t.example")


def broken_off(wire: bytes) -> Iterator[bytes]:
    yield framed(wire)[:20]
    raise ConnectionAbortedError


WRONG_TCP = {
    "hung up": broken_off,
    "empty": lambda wire: [framed(b"")],
    "short": lambda wire: [framed(wire[:11])],
    "wrong id": lambda wire: [framed(bytes([wire[0] ^ 1]) + wire[1:])],
    "another question": lambda wire: [framed(wire.replace(b"\1t\7example", b"\1u\7example"))],
    "truncated again": lambda wire: [framed(wire[:2] + bytes([wire[2] | 2]) + wire[3:])],
    "nonsense": lambda wire: [framed(wire + b"\0")],
}


@pytest.mark.parametrize("pieces", WRONG_TCP.values(), ids=WRONG_TCP.keys())
def test_tcp_that_answers_wrongly(pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = by_tcp(pieces)
        with pytest.raises(TemporaryError, match="no usable answer"):
            ask(server, "txt", "t.example")


def test_tcp_that_is_not_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        async def run() -> TxtAnswer:
            def truncated() -> None:
                wire, peer = udp.recvfrom(512)
                udp.sendto(wire[:2] + b"\x83\x80" + wire[4:10] + b"\0\0" + wire[12:-11], peer)

            asyncio.get_running_loop().add_reader(udp, truncated)
            return await DnspythonResolver((f"127.0.0.1:{udp.getsockname()[1]}",)).txt("t.example")

        with pytest.raises(TemporaryError, match="no usable answer"):
            asyncio.run(run())


def test_oversized_answer() -> None:
    with TestDnsServer() as server:
        server.add("\n".join(f'big.example. TXT "{number:0200}"' for number in range(100)))
        with pytest.raises(TemporaryError, match=r"big\.example TXT: DNS answer of more than 16384 octets"):
            ask(server, "txt", "big.example")


def test_an_oversized_answer_is_not_even_read() -> None:
    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = by_tcp(lambda wire: [struct.pack("!H", 16_385)])
        with pytest.raises(TemporaryError, match="more than 16384 octets"):
            ask(server, "txt", "t.example")


def test_an_answer_of_just_the_largest_size() -> None:
    def padded(wire: bytes) -> list[bytes]:
        response = dns.message.from_wire(wire)
        room = 16_384 - len(response.to_wire(max_size=65_535)) - len("x.example.") - 1 - 10
        response.additional.append(
            dns.rrset.from_text("x.example.", 1, "IN", "TYPE65280", rf"\# {room} " + "00" * room)
        )
        whole = response.to_wire(max_size=65_535)
        return [framed(whole)]

    with TestDnsServer(ZONE) as server:
        server.tricks["t.example"] = by_tcp(padded)
        assert ask(server, "txt", "t.example").records == (b"true",)


# --- which servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["dns.example:53", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:65536", ":53", ""])
def test_bad_server(server: str) -> None:
    with pytest.raises(SettingsError, match="is not an IP address"):
        DnspythonResolver((server,))


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.1:53", "::1", "[::1]", "[::1]:53"])
def test_good_server(server: str) -> None:
    DnspythonResolver((server,))


def test_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1", 0))

        async def run() -> TxtAnswer:
            def answer() -> None:
                wire, peer = udp.recvfrom(512)
                response = dns.message.make_response(dns.message.from_wire(wire), recursion_available=True)
                response.answer.append(dns.rrset.from_text("t.example.", 1, "IN", "TXT", "six"))
                udp.sendto(response.to_wire(), peer)

            asyncio.get_running_loop().add_reader(udp, answer)
            return await DnspythonResolver((f"[::1]:{udp.getsockname()[1]}",)).txt("t.example")

        assert asyncio.run(run()).records == (b"six",)


class System:
    """The system's configuration: a resolv.conf, and a port, which such a file can't have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.path, self.port, self.read = path, 53, 0
        real = dns.resolver.Resolver

        def resolver(*, configure: bool) -> dns.resolver.Resolver:
            self.read += 1
            found = real(filename=str(path), configure=configure)
            found.port = self.port
            return found

        monkeypatch.setattr(dns.resolver, "Resolver", resolver)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> System:
    return System(monkeypatch, tmp_path / "resolv.conf")


def test_the_systems_servers_are_read_once(system: System) -> None:
    with TestDnsServer(ZONE) as server:
        host, port = server.address.split(":")
        system.path.write_text(f"search example.com\nnameserver {host}\noptions timeout:1\n")
        system.port = int(port)

        async def run() -> None:
            resolver = DnspythonResolver()
            assert (await resolver.txt("t.example")).records == (b"true",)
            assert (await resolver.txt("a")).status is DnsStatus.NO_NAME  # the search list is not for us

        asyncio.run(run())
        assert system.read == 1


def test_the_systems_servers_take_turns_if_it_says_so(system: System) -> None:
    with TestDnsServer(ZONE) as server:
        system.path.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions rotate\n")
        system.port = int(server.address.split(":")[1])

        async def run() -> None:
            resolver = DnspythonResolver()
            for _ in range(40):
                assert (await resolver.txt("t.example")).records == (b"true",)
            assert {each[0].host for each in (resolver._order() for _ in range(40))} == {"127.0.0.1", "127.0.0.2"}

        asyncio.run(run())


@pytest.mark.parametrize("text", [None, "", "search example.com\n"], ids=["no file", "empty file", "no server"])
def test_a_system_without_servers(system: System, text: str | None) -> None:
    if text is not None:
        system.path.write_text(text)
    with pytest.raises(TemporaryError, match="no usable answer"):
        asyncio.run(DnspythonResolver().txt("t.example"))


def test_dnspython_is_not_needed_with_servers_given() -> None:
    """It takes 100 ms of a cold start."""
    code = (
        "import asyncio, sys; from relay.dns import DnspythonResolver; "
        "print(asyncio.run(DnspythonResolver((sys.argv[1],)).txt('t.example')).records, 'dns' in sys.modules)"
    )
    with TestDnsServer(ZONE) as server:
        done = subprocess.run([sys.executable, "-c", code, server.address], capture_output=True, text=True, check=True)
    assert done.stdout == "(b'true',) False\n"
