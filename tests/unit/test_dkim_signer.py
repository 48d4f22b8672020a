"""relay.dkim_signer: which key signs, from what DNS shows, and what an outage does."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay import dkim_signer
from relay.dkim_keys import DkimKey, DomainKeys, KeyState
from relay.dkim_signer import FRESH, OPENED, DkimSigner
from relay.errors import FaultError, OutageError, PermanentError, TemporaryError
from relay.header import read_header
from relay.proof.dkim import Result, verify
from tests.fake_dkim import FakeDkimKeys, FakeSealer, Txts, key_pair
from tests.fakes import FakeClock
from tests.odd_messages import ODD

DOMAIN = "d.example"
CONTENT = ODD["plain"]


class World:
    """`late`: seconds that the loop's clock is ahead."""

    def __init__(self) -> None:
        self.keys, self.sealer, self.dns, self.clock = FakeDkimKeys(), FakeSealer(), Txts(), FakeClock()
        self.warned: list[tuple[str, str]] = []
        self.late = 0.0
        self.signer = DkimSigner(
            keys=self.keys,
            sealer=self.sealer,
            resolver=self.dns,
            clock=self.clock,
            warn=lambda *what: self.warned.append(what),
        )

    async def key(self, selector: str, *, seen: float = 0.0) -> DkimKey:
        sealed = await self.sealer.seal(key_pair().private, domain=DOMAIN, selector=selector)
        return DkimKey(selector, key_pair().public, sealed, 1.0, seen)

    async def enable(self, *keys: DkimKey) -> None:
        self.keys.items[DOMAIN] = DomainKeys(DOMAIN, enabled=True, keys=keys)

    def publish(self, key: DkimKey) -> None:
        record = key.record(DOMAIN)
        self.dns.records[record.name] = (record.value.encode(),)

    async def selector(self) -> str | None:
        """Of the key that signs now; None if nobody asked, "" if DNS has none."""
        ready = (await self.signer.ready([DOMAIN])).get(DOMAIN)
        return None if ready is None else ready.key.selector if ready.key else ""

    def forget(self) -> None:
        self.late += FRESH + 1


def run(test: Callable[[World], Awaitable[Any]]) -> None:
    async def main() -> None:
        world, loop = World(), asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + world.late  # type: ignore[method-assign]
        await test(world)

    asyncio.run(main())


def test_who_has_not_asked_is_not_signed_for() -> None:
    async def test(world: World) -> None:
        assert await world.signer.ready([DOMAIN, "e.example"]) == {}
        key = await world.key("a")
        world.publish(key)
        await world.enable(key)
        world.keys.items[DOMAIN] = world.keys.items[DOMAIN].disabled(5.0)
        world.forget()
        assert await world.selector() is None
        assert world.warned == []

    run(test)


def test_signing_starts_by_itself_once_dns_shows_the_key() -> None:
    async def test(world: World) -> None:
        key = await world.key("a")
        await world.enable(key)
        ready = (await world.signer.ready([DOMAIN]))[DOMAIN]
        assert ready.key is None
        assert ready.why == "DNS does not have the key at a._domainkey.d.example"
        assert world.warned == [(DOMAIN, ready.why)]
        world.publish(key)
        assert await world.selector() == ""  # not asked again so soon
        assert len(world.warned) == 1
        world.forget()
        assert await world.selector() == "a"
        assert world.keys.items[DOMAIN].keys[0].state is KeyState.SIGNING
        assert world.keys.items[DOMAIN].keys[0].seen == world.clock.now()

    run(test)


def test_another_record_is_not_the_key() -> None:
    async def test(world: World) -> None:
        await world.enable(await world.key("a"))
        world.dns.records["a._domainkey.d.example"] = (b"v=DKIM1; p=AAAA",)
        assert (await world.signer.ready([DOMAIN]))[DOMAIN].why.startswith("DNS has another record")

    run(test)


def test_the_old_key_signs_until_dns_shows_the_new_one() -> None:
    async def test(world: World) -> None:
        old, new = await world.key("old", seen=2.0), await world.key("new")
        world.publish(old)
        await world.enable(new, old)
        assert await world.selector() == "old"
        world.publish(new)
        world.forget()
        assert await world.selector() == "new"
        stored = world.keys.items[DOMAIN].keys
        assert [each.state for each in stored] == [KeyState.SIGNING, KeyState.ENDED]
        # somebody whose resolver doesn't have the new one yet
        del world.dns.records["new._domainkey.d.example"]
        world.forget()
        assert await world.selector() == "old"

    run(test)


def test_a_key_that_was_seen_signs_on_while_dns_is_away() -> None:
    async def test(world: World) -> None:
        old, new = await world.key("old", seen=2.0), await world.key("new")
        await world.enable(new, old)
        world.dns.fail = TemporaryError("DNS is away")
        assert await world.selector() == "old"
        await world.enable(await world.key("never-seen"))
        world.forget()
        ready = (await world.signer.ready([DOMAIN]))[DOMAIN]
        assert (ready.key, ready.why[:19]) == (None, "DNS does not answer")

    run(test)


def test_dns_that_is_silent_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkim_signer, "DNS_SECONDS", 0.01)

    async def test(world: World) -> None:
        async def silent(name: str) -> Any:
            await asyncio.Event().wait()

        world.dns.txt = silent  # type: ignore[method-assign]
        await world.enable(await world.key("a", seen=2.0))
        assert await world.selector() == "a"

    run(test)


def test_a_name_that_dns_cannot_hold_is_missing() -> None:
    async def test(world: World) -> None:
        world.dns.fail = PermanentError("too long")
        await world.enable(await world.key("a", seen=2.0))
        assert await world.selector() == ""

    run(test)


def test_what_cannot_be_noted_signs_all_the_same() -> None:
    async def test(world: World) -> None:
        key = await world.key("a")
        world.publish(key)
        await world.enable(key)
        world.keys.fail_next(None, OutageError("away"))
        assert await world.selector() == "a"
        assert world.keys.items[DOMAIN].keys[0].seen == 0.0

    run(test)


def test_the_signature_verifies_and_the_key_is_opened_once() -> None:
    async def test(world: World) -> None:
        key = await world.key("a")
        world.publish(key)
        await world.enable(key)
        header = read_header(CONTENT)
        for _ in range(3):
            ready = await world.signer.ready([DOMAIN])
            signature = await world.signer.sign(CONTENT, header, list(ready.values()))
            signed = signature + CONTENT
            report = await verify(signed, read_header(signed), world.dns, now=world.clock.now())
            assert [each.result for each in report.signatures] == [Result.PASSED]
        assert (world.sealer.opened, world.keys.finds) == (1, 1)
        world.late += OPENED + 1
        await world.signer.sign(CONTENT, header, list(ready.values()))
        assert world.sealer.opened == 2

    run(test)


def test_many_at_once_ask_once() -> None:
    async def test(world: World) -> None:
        key = await world.key("a")
        world.publish(key)
        await world.enable(key)

        async def one() -> None:
            ready = await world.signer.ready([DOMAIN])
            await world.signer.sign(CONTENT, read_header(CONTENT), list(ready.values()))

        await asyncio.gather(*(one() for _ in range(20)))
        assert (world.sealer.opened, world.keys.finds) == (1, 1)

    run(test)


def test_large_content_is_signed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: World) -> None:
        key = await world.key("a")
        world.publish(key)
        await world.enable(key)
        threads = []
        real = asyncio.to_thread

        async def noted(*arguments: Any, **named: Any) -> Any:
            threads.append(arguments[0])
            return await real(*arguments, **named)

        monkeypatch.setattr(asyncio, "to_thread", noted)
        ready = list((await world.signer.ready([DOMAIN])).values())
        for content in (CONTENT, ODD["large"]):
            await world.signer.sign(content, read_header(content), ready)
        assert len(threads) == 1

    run(test)


@pytest.mark.parametrize("error", [OutageError("away"), FaultError("refused")])
def test_without_kms_nothing_is_signed_and_nothing_leaves(error: OutageError) -> None:
    async def test(world: World) -> None:
        key = await world.key("a")
        world.publish(key)
        await world.enable(key)
        ready = list((await world.signer.ready([DOMAIN])).values())
        world.sealer.fail = error
        with pytest.raises(OutageError):
            await world.signer.sign(CONTENT, read_header(CONTENT), ready)
        world.sealer.fail = None
        assert await world.signer.sign(CONTENT, read_header(CONTENT), ready)

    run(test)


def test_who_signs_nothing_does_not_load_cryptography() -> None:
    names = "relay.dkim_signer, relay.dkim_admin, relay.proof.message, relay.proof.dkim_sign, relay.aws.kms"
    check = f"import sys, {names}; assert not {{'cryptography', 'dkim'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_without_the_table_nothing_is_known() -> None:
    async def test(world: World) -> None:
        world.keys.fail_next(OutageError("away"))
        with pytest.raises(OutageError):
            await world.signer.ready([DOMAIN])
        assert await world.signer.ready([DOMAIN]) == {}

    run(test)


@pytest.mark.parametrize("private", [b"", b"0\x82 secret octets", None], ids=["empty", "no DER", "not RSA"])
def test_a_key_that_cannot_be_read_is_our_fault_and_not_shown(private: bytes | None) -> None:
    if private is None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519

        private = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    async def test(world: World) -> None:
        sealed = await world.sealer.seal(private, domain=DOMAIN, selector="a")
        key = replace(await world.key("a"), sealed=sealed)
        world.publish(key)
        await world.enable(key)
        ready = list((await world.signer.ready([DOMAIN])).values())
        with pytest.raises(FaultError) as raised:
            await world.signer.sign(CONTENT, read_header(CONTENT), ready)
        assert "secret" not in f"{raised.value}"
        assert raised.value.__suppress_context__ or raised.value.__context__ is None

    run(test)
