"""What the local DNS server answers: RFC 1035 master files, several domains in each.

A file is read with the origin ".", so that it may hold any number of domains ($ORIGIN or names
with a last dot); records without a TTL get DEFAULT_TTL, SOA and NS are not asked for. Everything
is authoritative: no delegations. Files are read again when they change.

Names that no file has are NXDOMAIN (RFC 8020: unless something exists below them, which makes
NODATA), with two exceptions for trials, by a label of the name: `servfail` answers SERVFAIL,
`timeout` doesn't answer.
"""

import logging
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

import dns.exception
import dns.name
import dns.node
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.tokenizer
import dns.zonefile

DEFAULT_TTL: Final = 60
NEGATIVE_TTL: Final = 1  # what is published later is seen at once (RFC 2308 §5)
LONGEST_CHAIN: Final = 8  # CNAMEs followed in one answer

logger = logging.getLogger(__name__)


class ZoneError(Exception):
    """`file:line: what is wrong` (or `file: why it can't be read`)."""


class Trial(Enum):
    """Names that stand for a server in trouble."""

    SERVFAIL = "servfail"
    TIMEOUT = "timeout"


@dataclass(slots=True)
class Answer:
    """An answer's sections. `negative`: NXDOMAIN or NODATA, which has an SOA in authority."""

    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    answer: list[dns.rrset.RRset] = field(default_factory=list)
    authority: list[dns.rrset.RRset] = field(default_factory=list)


class Zone:
    """The names of one master file."""

    def __init__(self, nodes: dict[dns.name.Name, dns.node.Node]) -> None:
        self.nodes = nodes
        # RFC 4592 §2.2.2: a name above an existing one exists, too (empty non-terminal).
        self.names = {ancestor for name in nodes for ancestor in _and_ancestors(name)}

    @classmethod
    def read(cls, path: Path) -> "Zone":
        """ZoneError if it can't be read or is not a master file."""
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise ZoneError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ZoneError(f"{path}: not a master file: it isn't text in UTF-8") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, filename: str) -> "Zone":
        """`filename` is for the error's text alone."""
        nodes = _Nodes()
        if (wrong := _read(text, nodes)) is None:
            return cls(nodes.found)
        message, line = wrong
        lines = text.splitlines(keepends=True)
        # dnspython may be past the line's end when it finds the error: go back to where the record starts.
        while line > 1 and _read("".join(lines[: line - 1]), _Nodes()) is not None:
            line -= 1
        raise ZoneError(f"{filename}:{line}: {message}")


def _read(text: str, nodes: "_Nodes") -> tuple[str, int] | None:
    """None if `text` is a master file; otherwise what is wrong with it and, about, in which line."""
    tokenizer = dns.tokenizer.Tokenizer(text, "")
    reader = dns.zonefile.Reader(tokenizer, dns.rdataclass.IN, nodes, default_ttl=DEFAULT_TTL)  # type: ignore[arg-type]
    try:
        reader.read()
    except (dns.exception.DNSException, ValueError) as error:
        line = tokenizer.where()[1]
        return str(error).removeprefix(f":{line}: ") or type(error).__name__, line
    return None


class _Nodes:
    """What dnspython's reader of master files puts its records into. Its own take one zone's only: no SOA
    but at the origin."""

    def __init__(self) -> None:
        self.found: dict[dns.name.Name, dns.node.Node] = {}
        self.manager = self

    def origin_information(self) -> tuple[dns.name.Name, bool, dns.name.Name]:
        return dns.name.root, False, dns.name.root

    def add(self, name: dns.name.Name, ttl: int, rdata: dns.rdata.Rdata) -> None:
        name = name.canonicalize()
        node = self.found.setdefault(name, _empty())
        kinds = {rdataset.rdtype for rdataset in node.rdatasets} | {rdata.rdtype}
        if dns.rdatatype.CNAME in kinds and len(kinds) > 1:  # RFC 1034 §3.6.2
            raise ValueError(f"{name} has a CNAME and other data")
        node.find_rdataset(rdata.rdclass, rdata.rdtype, rdata.covers(), create=True).add(rdata, ttl)

    def check_put_rdataset(self, _check: object) -> None:
        """`add` checks."""

    def _set_origin(self, _origin: dns.name.Name | None) -> None:
        """For $ORIGIN: the reader keeps it itself."""


def _and_ancestors(name: dns.name.Name) -> list[dns.name.Name]:
    """`name` and every name above it, but for the root."""
    return [dns.name.Name(name.labels[start:]) for start in range(len(name.labels) - 1)]


class Zones:
    """Zones in order of precedence: a name that an earlier one has hides the later ones' records of it."""

    def __init__(self, zones: tuple[Zone, ...]) -> None:
        self._zones = zones

    def answer(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> Answer | Trial:
        """RFC 1034 §4.3.2, RFC 4592 (wildcards), RFC 6604 (the code is that of the chain's end)."""
        result = Answer()
        for _ in range(LONGEST_CHAIN):
            node = self._find(name)
            if node is None:
                if (trial := _trial(name)) is not None:
                    return trial
                result.rcode = dns.rcode.NXDOMAIN
                break
            found = _rdatasets(node, rdtype)
            result.answer += [_rrset(name, rdataset) for rdataset in found]
            alias = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.CNAME)
            if found or alias is None:
                break
            result.answer.append(_rrset(name, alias))
            name = alias[0].target.canonicalize()
        if result.rcode != dns.rcode.NOERROR or not result.answer:
            result.authority = [self._soa(name)]
        return result

    def _find(self, name: dns.name.Name) -> dns.node.Node | None:
        """The node that answers for `name`: its own, an empty one, or the wildcard's; None if there is none."""
        for zone in self._zones:
            if name in zone.nodes:
                return zone.nodes[name]
        for ancestor in _and_ancestors(name):
            if any(ancestor in zone.names for zone in self._zones):  # the closest encloser, RFC 4592 §3.3.1
                wildcard = dns.name.Name((b"*", *ancestor.labels))
                found = [zone.nodes[wildcard] for zone in self._zones if wildcard in zone.nodes]
                return _empty() if ancestor == name else (found[0] if found else None)
        return None

    def _soa(self, name: dns.name.Name) -> dns.rrset.RRset:
        for ancestor in _and_ancestors(name):
            node = self._find(ancestor)
            soa = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.SOA) if node else None
            if soa:
                return _rrset(ancestor, soa)
        text = f"localhost. hostmaster.localhost. 1 3600 600 86400 {NEGATIVE_TTL}"
        return dns.rrset.from_text(dns.name.root, NEGATIVE_TTL, "IN", "SOA", text)


def _rdatasets(node: dns.node.Node, rdtype: dns.rdatatype.RdataType) -> list[dns.rdataset.Rdataset]:
    if rdtype == dns.rdatatype.ANY:
        return list(node.rdatasets)
    found = node.get_rdataset(dns.rdataclass.IN, rdtype)
    return [found] if found else []


def _rrset(name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> dns.rrset.RRset:
    rrset = dns.rrset.RRset(name, rdataset.rdclass, rdataset.rdtype)
    for rdata in rdataset:
        rrset.add(rdata, rdataset.ttl)
    return rrset


def _empty() -> dns.node.Node:
    return dns.node.Node()  # type: ignore[no-untyped-call]


def _trial(name: dns.name.Name) -> Trial | None:
    labels = {label.decode("ascii", "replace") for label in name.labels}
    return next((trial for trial in Trial if trial.value in labels), None)


class ZoneFiles:
    """Master files, read again when one changes. A file that has become unreadable keeps its last good state."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        """ZoneError as Zone.read. paths: in order of precedence."""
        self._paths = paths
        self._stamps = {path: _stamp(path) for path in paths}
        self._zones = {path: Zone.read(path) for path in paths}

    def current(self) -> Zones:
        for path in self._paths:
            stamp = _stamp(path)
            if stamp != self._stamps[path]:
                self._stamps[path] = stamp
                try:
                    self._zones[path] = Zone.read(path)
                except ZoneError as error:
                    logger.error("zone not reread, the last good one stays: %s", error)
        return Zones(tuple(self._zones[path] for path in self._paths))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
