"""In-memory stand-ins for the ports of relay.dkim_keys, held to what the real adapters do by
tests/unit/aws/test_contract_dkim.py; and one key pair for all tests, as making one takes a while."""

from functools import cache

from relay.dkim_keys import DomainKeys, KeyPair, make_key_pair
from relay.errors import FaultError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from tests.fakes import Failing


@cache
def key_pair() -> KeyPair:
    return make_key_pair()


class FakeDkimKeys(Failing):
    """dkim_keys.DkimKeys; `items` by domain; `finds`: how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, DomainKeys] = {}
        self.finds = 0

    async def find(self, domain: str) -> DomainKeys | None:
        self.finds += 1
        self._maybe_fail()
        return self.items.get(domain)

    async def put(self, keys: DomainKeys, before: DomainKeys | None) -> bool:
        self._maybe_fail()
        there = self.items.get(keys.domain)
        if (there.version if there else None) != (before.version if before else None):
            return there == keys
        self.items[keys.domain] = keys
        return True


class FakeSealer(Failing):
    """dkim_keys.Sealer: what it seals says whose it is; `opened`: how often it opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self._kept: dict[bytes, tuple[str, str, bytes]] = {}

    async def seal(self, private: bytes, *, domain: str, selector: str) -> bytes:
        self._maybe_fail()
        sealed = b"sealed %d" % len(self._kept)
        self._kept[sealed] = domain, selector, private
        return sealed

    async def open(self, sealed: bytes, *, domain: str, selector: str) -> bytes:
        self._maybe_fail()
        self.opened += 1
        whose, name, private = self._kept.get(sealed, ("", "", b""))
        if (whose, name) != (domain, selector):
            raise FaultError("a service that the relay needs is not available", "InvalidCiphertextException")
        return private


class Txts(Failing):
    """A resolver of TXT records alone: `records` by name."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, tuple[bytes, ...]] = {}

    async def txt(self, name: str) -> TxtAnswer:
        self._maybe_fail()
        found = self.records.get(name, ())
        return TxtAnswer(DnsStatus.OK, found, 300) if found else TxtAnswer(DnsStatus.NO_NAME)

    async def mx(self, name: str) -> MxAnswer:
        raise NotImplementedError

    async def a(self, name: str) -> AddressAnswer:
        raise NotImplementedError

    async def aaaa(self, name: str) -> AddressAnswer:
        raise NotImplementedError

    async def ptr(self, name: str) -> PtrAnswer:
        raise NotImplementedError
