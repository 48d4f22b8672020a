"""The local DNS server, asked with real queries."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from local.dns import DnsServer, main
from local.zone import Zone, ZoneError, ZoneFiles

T = TypeVar("T")

ZONE = """\
$ORIGIN one.example.
@       TXT "first" "second"
@       TXT "other"
@       MX 10 mail
mail    300 IN A 192.0.2.1
        AAAA 2001:db8::1
www     CNAME mail
away    CNAME nowhere.two.example.
loop    CNAME loop
deep.er.below TXT "x"
*.wild  TXT "any"
known.wild A 192.0.2.2
$ORIGIN two.example.
@       SOA ns. hostmaster. 7 3600 600 86400 5
@       TXT "two"
null    MX 0 .
servfail.known TXT "a name that is there answers"
""" + "\n".join(f'big.two.example. TXT "{number:0200}"' for number in range(20))
DEFAULTS = """\
one.example. TXT "hidden"
extra.example. TXT "from the defaults"
"""


def with_server(folder: Path, check: Callable[[DnsServer], "asyncio.Future[T]"]) -> T:
    (folder / "zone").write_text(ZONE)
    (folder / "defaults").write_text(DEFAULTS)

    async def run() -> T:
        server = DnsServer(ZoneFiles((folder / "zone", folder / "defaults")))
        await server.start()
        try:
            return await check(server)
        finally:
            await server.stop()

    return asyncio.run(run())


def ask(folder: Path, name: str, rdtype: str, **options: bool) -> dns.message.Message:
    async def check(server: DnsServer) -> dns.message.Message:
        query = dns.message.make_query(name, rdtype, **options)  # type: ignore[arg-type]
        message, _ = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", timeout=5, port=server.port)
        return message

    return with_server(folder, check)  # type: ignore[arg-type]


def texts(message: dns.message.Message) -> list[str]:
    return sorted(f"{rrset.name} {rdata}".replace("ONE", "one") for rrset in message.answer for rdata in rrset)


@pytest.mark.parametrize(
    ("name", "rdtype", "answers"),
    [
        ("one.example.", "TXT", ['one.example. "first" "second"', 'one.example. "other"']),
        ("ONE.example.", "MX", ["one.example. 10 mail.one.example."]),
        ("mail.one.example.", "AAAA", ["mail.one.example. 2001:db8::1"]),
        ("www.one.example.", "A", ["mail.one.example. 192.0.2.1", "www.one.example. mail.one.example."]),
        ("www.one.example.", "CNAME", ["www.one.example. mail.one.example."]),
        ("x.wild.one.example.", "TXT", ['x.wild.one.example. "any"']),
        ("a.b.wild.one.example.", "TXT", ['a.b.wild.one.example. "any"']),
        ("two.example.", "TXT", ['two.example. "two"']),
        ("null.two.example.", "MX", ["null.two.example. 0 ."]),
        ("extra.example.", "TXT", ['extra.example. "from the defaults"']),
        ("servfail.known.two.example.", "TXT", ['servfail.known.two.example. "a name that is there answers"']),
    ],
)
def test_answers(folder: Path, name: str, rdtype: str, answers: list[str]) -> None:
    message = ask(folder, name, rdtype)
    assert message.rcode() == dns.rcode.NOERROR
    assert texts(message) == sorted(answers)
    assert message.flags & dns.flags.AA
    assert message.flags & dns.flags.RA


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "answers"),
    [
        pytest.param("nothing.example.", "A", "NXDOMAIN", 0, id="no such name"),
        pytest.param("x.one.example.", "A", "NXDOMAIN", 0, id="no such name below one that exists"),
        pytest.param("mail.one.example.", "TXT", "NOERROR", 0, id="no such type"),
        pytest.param("er.below.one.example.", "TXT", "NOERROR", 0, id="empty non-terminal"),
        pytest.param("known.wild.one.example.", "TXT", "NOERROR", 0, id="a known name is no wildcard's"),
        pytest.param("x.known.wild.one.example.", "TXT", "NXDOMAIN", 0, id="nor is one below it"),
        pytest.param("x.wild.one.example.", "MX", "NOERROR", 0, id="wildcard without the type"),
        pytest.param("away.one.example.", "A", "NXDOMAIN", 1, id="the code of the chain's end"),
        pytest.param("loop.one.example.", "A", "NOERROR", 8, id="a loop ends"),
        pytest.param("x.servfail.example.", "A", "SERVFAIL", 0, id="servfail by its label"),
    ],
)
def test_negative_answers(folder: Path, name: str, rdtype: str, rcode: str, answers: int) -> None:
    message = ask(folder, name, rdtype)
    assert dns.rcode.to_text(message.rcode()) == rcode
    assert len(message.answer) <= answers
    if rcode == "NXDOMAIN" or (rcode == "NOERROR" and not message.answer):
        assert [rrset.rdtype for rrset in message.authority] == [dns.rdatatype.SOA]


def test_an_soa_of_the_zone_is_used(folder: Path) -> None:
    message = ask(folder, "nothing.two.example.", "A")
    assert [str(rrset.name) for rrset in message.authority] == ["two.example."]


@pytest.mark.parametrize("edns", [False, True], ids=["plain", "EDNS"])
def test_what_is_too_long_for_udp_comes_over_tcp(folder: Path, edns: bool) -> None:
    async def check(server: DnsServer) -> tuple[dns.message.Message, bool, dns.message.Message]:
        query = dns.message.make_query("big.two.example.", "TXT", use_edns=0 if edns else None)
        short = await dns.asyncquery.udp(query, "127.0.0.1", timeout=5, port=server.port)
        whole, tcp = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", timeout=5, port=server.port)
        return short, tcp, whole

    short, tcp, whole = with_server(folder, check)  # type: ignore[arg-type]
    assert short.flags & dns.flags.TC
    assert not short.answer
    assert tcp
    assert len(whole.answer[0]) == 20
    assert (whole.edns == 0) == edns


def test_a_name_that_times_out(folder: Path) -> None:
    async def check(server: DnsServer) -> None:
        query = dns.message.make_query("x.timeout.example.", "TXT")
        with pytest.raises(dns.exception.Timeout):
            await dns.asyncquery.udp(query, "127.0.0.1", timeout=0.2, port=server.port)

    with_server(folder, check)  # type: ignore[arg-type]


@pytest.mark.parametrize("wire", [b"", b"x", b"\0" * 11, b"\x12\x34\x01\0\0\x09" + b"\0" * 30, b"\xff" * 600])
def test_what_is_no_query_does_no_harm(folder: Path, wire: bytes) -> None:
    async def check(server: DnsServer) -> str:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", server.port)
        )
        transport.sendto(wire)
        transport.close()
        query = dns.message.make_query("two.example.", "TXT")
        return texts(await dns.asyncquery.udp(query, "127.0.0.1", timeout=5, port=server.port))[0]

    assert with_server(folder, check) == 'two.example. "two"'  # type: ignore[arg-type]


def test_a_changed_file_is_read_again_and_a_broken_one_is_not(folder: Path) -> None:
    path = folder / "zone"
    path.write_text('a.example. TXT "1"\n')
    files = ZoneFiles((path,))

    def seen() -> list[str]:
        answer = files.current().answer(dns.name.from_text("a.example."), dns.rdatatype.TXT)
        return [str(rdata) for rrset in getattr(answer, "answer", []) for rdata in rrset]

    assert seen() == ['"1"']
    path.write_text('a.example. TXT "22"\n')
    assert seen() == ['"22"']
    path.write_text("a.example. TXT (\n")
    assert seen() == ['"22"']
    replacement = folder / "new"
    replacement.write_text('a.example. TXT "33"\n')
    replacement.replace(path)
    assert seen() == ['"33"']


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ok.example. TXT x\nbad.example. A 1.2.3\n", 2),
        ("\n\nx.example. FROB x\n", 3),
        ("a..b. TXT x\n", 1),
        ("a. TXT x\n\nb. TXT (\n x\n\n", 3),
        ("a. CNAME b.\na. TXT x\n", 2),
        ("$INCLUDE /etc/passwd\n", 1),
        ('x.example. TXT "open\n', 1),
        (f"{'x' * 64}.example. TXT x\n", 1),
    ],
)
def test_a_syntax_error_names_file_and_line(text: str, line: int) -> None:
    with pytest.raises(ZoneError, match=rf"^the\.zone:{line}: \S"):
        Zone.parse(text, "the.zone")


def test_a_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "none")]) == 1
    assert capsys.readouterr().err.splitlines() == [f"{folder / 'none'}: No such file or directory"]
