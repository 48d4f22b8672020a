"""A resolver that knows what the test tells it."""

from dataclasses import dataclass, field

from relay.errors import RelayError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer

Answer = tuple[str, ...] | RelayError


@dataclass
class Zone:
    """ports.Resolver. mx_records: domain -> (preference, host)s; a_/aaaa_records: name -> addresses; txt_records.
    A name in none does not exist; an error in place of records is raised."""

    mx_records: dict[str, tuple[tuple[int, str], ...] | RelayError] = field(default_factory=dict)
    a_records: dict[str, Answer] = field(default_factory=dict)
    aaaa_records: dict[str, Answer] = field(default_factory=dict)
    txt_records: dict[str, tuple[bytes, ...] | RelayError] = field(default_factory=dict)
    ttl: int = 60
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def txt(self, name: str) -> TxtAnswer:
        self.asked.append((name, "TXT"))
        found = self.txt_records.get(name, ())
        if isinstance(found, RelayError):
            raise found
        return TxtAnswer(self._status(name, found), found, self.ttl)

    async def ptr(self, name: str) -> PtrAnswer:
        raise NotImplementedError

    async def mx(self, name: str) -> MxAnswer:
        self.asked.append((name, "MX"))
        found = self.mx_records.get(name, ())
        if isinstance(found, RelayError):
            raise found
        return MxAnswer(self._status(name, found), found, self.ttl)

    async def a(self, name: str) -> AddressAnswer:
        return self._addresses(name, "A", self.a_records)

    async def aaaa(self, name: str) -> AddressAnswer:
        return self._addresses(name, "AAAA", self.aaaa_records)

    def _addresses(self, name: str, kind: str, records: dict[str, Answer]) -> AddressAnswer:
        self.asked.append((name, kind))
        found = records.get(name, ())
        if isinstance(found, RelayError):
            raise found
        return AddressAnswer(self._status(name, found), found, self.ttl)

    def _status(self, name: str, found: object) -> DnsStatus:
        if found:
            return DnsStatus.OK
        known = name in self.mx_records or name in self.a_records or name in self.aaaa_records
        return DnsStatus.NO_DATA if known else DnsStatus.NO_NAME
