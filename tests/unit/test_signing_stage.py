"""The relay's signature on its way: from validate, beside the content, onto what leaves."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from relay.dkim_keys import DkimKey, DomainKeys, Ready
from relay.dkim_signer import DkimSigner
from relay.encoding import decode_delivery, encode_delivery
from relay.errors import OutageError
from relay.header import read_header
from relay.proof.dkim import Result, verify
from relay.proof.message import DkimCheck, MessageCheck
from relay.submission import Delivery, Inline, Stored, content_key
from tests.fake_dkim import FakeDkimKeys, FakeSealer, Txts, key_pair
from tests.odd_messages import HEAD, ODD
from tests.unit import test_deliver, test_validate

CONTENT = ODD["list"]
TEXT = "DNS does not have the key at s._domainkey.d.example"


class World(test_validate.World):
    """With the real check and signer; d.example has asked for signing, and its key is in DNS."""

    def __init__(self, check: DkimCheck = DkimCheck.WARN) -> None:
        super().__init__()
        self.keys, self.sealer, self.dns = FakeDkimKeys(), FakeSealer(), Txts()
        signer = DkimSigner(keys=self.keys, sealer=self.sealer, resolver=self.dns, clock=self.clock)
        self.validate._check = MessageCheck(self.dns, self.clock, check, signer)
        asyncio.run(self._enable("d.example"))

    async def _enable(self, domain: str, *, selector: str = "s") -> None:
        sealed = await self.sealer.seal(key_pair().private, domain=domain, selector=selector)
        key = DkimKey(selector, key_pair().public, sealed, 1.0)
        self.keys.items[domain] = DomainKeys(domain, enabled=True, keys=(key,))
        record = key.record(domain)
        self.dns.records[record.name] = (record.value.encode(),)

    def also(self, domain: str, *, selector: str = "s") -> None:
        asyncio.run(self._enable(domain, selector=selector))

    def send(self, content: bytes = CONTENT, **changes: Any) -> list[Delivery]:
        self.run(self.submission(content=Inline(content), mail_from="bounce@d.example", **changes))
        return self.deliveries

    def results(self, content: bytes) -> list[tuple[str, Result]]:
        report = asyncio.run(verify(content, read_header(content), self.dns, now=self.clock.now()))
        return [(each.domain, each.result) for each in report.signatures]


def whole(delivery: Delivery) -> bytes:
    assert isinstance(delivery.content, Inline)
    return delivery.signature.encode() + delivery.content.data


def test_one_signature_for_all_parts() -> None:
    world = World()
    first, second = world.send()
    assert first.signature == second.signature
    assert first.content == second.content == Inline(CONTENT)
    assert world.results(whole(first)) == [("d.example", Result.PASSED)]
    assert not [each for each in first.proved.warnings if "signature" in each]
    assert world.sealer.opened == 1


def test_stored_content_is_signed_whole_and_stays() -> None:
    world, content = World(), ODD["large"]
    stored = Stored(content_key("0190-1"), len(content))
    world.content.items[stored.key] = content
    world.run(world.submission(content=stored, mail_from="bounce@d.example"))
    delivery = world.deliveries[0]
    assert delivery.content == stored
    assert world.content.items == {stored.key: content}
    assert world.results(delivery.signature.encode() + content) == [("d.example", Result.PASSED)]


def test_stored_content_that_nobody_signs_is_not_read() -> None:
    world, content = World(), ODD["large"]
    world.keys.items.clear()
    reads: list[int | None] = []
    real = world.content.get

    async def get(key: str, most: int | None = None) -> bytes:
        reads.append(most)
        return await real(key, most)

    world.content.get = get  # type: ignore[method-assign]
    stored = Stored(content_key("0190-1"), len(content))
    world.content.items[stored.key] = content
    world.run(world.submission(content=stored, mail_from="bounce@d.example"))
    assert None not in reads
    assert {each.signature for each in world.deliveries} == {""}


def test_a_valid_signature_of_the_domain_is_left_alone() -> None:
    world = World()
    signed = whole(world.send()[0])
    world.deliver_queue.take()
    for check in DkimCheck:
        other = World(check)
        other.dns.records.update(world.dns.records)
        assert {each.signature for each in other.send(signed)} == {""}


def test_a_valid_signature_of_another_domain_is_no_reason_not_to() -> None:
    world = World()
    world.also("esp.example")
    theirs = whole(world.send(CONTENT.replace(b"jo@d.example", b"jo@esp.example"))[0])
    world.deliver_queue.take()
    content = theirs.replace(b"jo@esp.example", b"jo@d.example")  # breaks it, too
    delivery = world.send(content)[0]
    assert world.results(whole(delivery)) == [("d.example", Result.PASSED), ("esp.example", Result.FAILED)]


def test_a_broken_signature_of_the_domain_gets_one_beside_it() -> None:
    world = World()
    signed = whole(world.send()[0])
    world.deliver_queue.take()
    delivery = world.send(signed.replace(b"hello", b"hallo"))[0]
    found = world.results(whole(delivery))
    assert found == [("d.example", Result.PASSED), ("d.example", Result.FAILED)]


@pytest.mark.parametrize(
    ("field", "forbids"),
    [
        (b"DKIM-Signature: v=1; d=esp.example; h=from:DKIM-Signature ; b=AAAA", True),
        (b"DKIM-Signature: v=1; d=esp.example; h=from:to; b=AAAA", False),
        (b"ARC-Message-Signature: i=1; h=from:\r\n dkim-signature:to; b=AAAA", True),
        (b"DKIM-Signature: h\r\nARC-Message-Signature: i=1; h=dkim-signature; b=AAAA", False),
        (b"DKIM-Signature: h\r\nARC-Message-Signature: i=1; h=dkim-signature:dkim-signature; b=AAAA", True),
    ],
    ids=["oversigned", "not named", "by ARC", "one, which is there", "one more than there are"],
)
def test_a_signature_that_one_more_would_break_is_left_alone(field: bytes, forbids: bool) -> None:
    world = World()
    delivery = world.send(field + b"\r\n" + CONTENT)[0]
    assert bool(delivery.signature) is not forbids
    assert any("covers that there is no other" in each for each in delivery.proved.warnings) is forbids


def test_each_author_gets_its_own() -> None:
    world = World()
    world.also("e.example", selector="t")
    content = HEAD.replace(b"Jo <jo@d.example>", b"jo@d.example, bo@e.example, al@f.example") + b"\r\nbody\r\n"
    content = content.replace(b"Subject", b"Sender: jo@d.example\r\nSubject")
    delivery = world.send(content)[0]
    assert world.results(whole(delivery)) == [("d.example", Result.PASSED), ("e.example", Result.PASSED)]


def test_a_required_signature_may_be_the_relays() -> None:
    world = World(DkimCheck.REQUIRE)
    assert world.send()[0].signature
    world = World(DkimCheck.REQUIRE)
    world.keys.items.clear()
    assert world.send() == []


def test_until_dns_shows_the_key_it_leaves_unsigned_and_says_so() -> None:
    for check in (DkimCheck.OFF, DkimCheck.WARN):
        world = World(check)
        world.dns.records.clear()
        delivery = world.send()[0]
        assert delivery.signature == ""
        assert f"the relay does not sign for d.example now: {TEXT}" in delivery.proved.warnings


@pytest.mark.parametrize("part", ["keys", "sealer"])
def test_an_outage_of_ours_sends_nothing_unsigned_and_ends_nothing(part: str) -> None:
    world = World()
    getattr(world, part).fail = OutageError("away")
    with pytest.raises(OutageError):
        world.send()
    assert world.idle
    assert not world.ledger.items
    getattr(world, part).fail = None
    assert world.send()[0].signature


def test_what_is_read_is_what_was_decided_about() -> None:
    """A key that comes into force between the look and the check must not sign the header's bytes alone."""
    world, content = World(), ODD["large"]
    asked: list[int] = []
    signer = world.validate._check._signing
    real = signer.ready

    async def ready(domains: Collection[str]) -> dict[str, Ready]:
        asked.append(1)
        return {} if len(asked) == 1 else dict(await real(domains))

    signer.ready = ready  # type: ignore[method-assign]
    stored = Stored(content_key("0190-1"), len(content))
    world.content.items[stored.key] = content
    world.run(world.submission(content=stored, mail_from="bounce@d.example"))
    assert {each.signature for each in world.deliveries} == {""}


# --- deliver ------------------------------------------------------------------------------------


SIGNATURE = "DKIM-Signature: v=1;\r\n\tb=AAAA\r\n"


def test_what_leaves_is_the_content_below_the_signature() -> None:
    world = test_deliver.World()
    world.run(test_deliver.DELIVERY._replace(signature=SIGNATURE))
    assert world.transport.sent[0][2] == SIGNATURE.encode() + test_deliver.CONTENT


def test_the_next_attempt_has_the_same_signature_and_the_stored_content_none() -> None:
    world = test_deliver.World()
    world.transport.answers[test_deliver.A] = (451, "4.7.1 later")
    world.run(test_deliver.DELIVERY._replace(signature=SIGNATURE))
    ((later, _),) = world.queued()
    assert later.signature == SIGNATURE
    assert list(world.content.items.values()) == [test_deliver.CONTENT]
    world.clock.advance(1e6)
    world.run(later)
    assert world.transport.sent[1][2] == SIGNATURE.encode() + test_deliver.CONTENT


def test_the_queue_keeps_it() -> None:
    delivery = test_deliver.DELIVERY._replace(signature=SIGNATURE)
    assert decode_delivery(encode_delivery(delivery)) == delivery
    assert "signature" not in encode_delivery(test_deliver.DELIVERY)
