"""relay.dkim_admin and functions/dkim/app.py, with fakes behind their ports."""

import asyncio
import base64
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from relay.dkim_admin import CHANGED, DkimAdmin
from relay.dkim_keys import DkimKey, DomainKeys, KeyPair, KeyState
from relay.errors import OutageError, TemporaryError
from tests.fake_dkim import FakeDkimKeys, FakeSealer, Txts, key_pair
from tests.fakes import FakeClock
from tests.functions import load

DOMAIN = "d.example"


class World:
    def __init__(self) -> None:
        self.keys, self.sealer, self.dns, self.clock = FakeDkimKeys(), FakeSealer(), Txts(), FakeClock()
        self.log = io.StringIO()
        self.made = 0
        admin = DkimAdmin(
            keys=self.keys,
            sealer=self.sealer,
            resolver=self.dns,
            clock=self.clock,
            make=self._make,
            name=lambda _: f"s{self.made + 1}",
        )
        self._handler = load("dkim").DkimHandler(
            admin, Logger(service=f"test-{uuid.uuid4()}", stream=self.log, level="DEBUG")
        )

    def _make(self) -> KeyPair:
        self.made += 1
        return key_pair()

    def __call__(self, event: Any) -> Any:
        return json.loads(json.dumps(asyncio.run(self._handler(event))))  # as Lambda returns it

    def do(self, action: str, domain: str = DOMAIN) -> Any:
        answer = self({"action": action, "domain": domain})
        assert answer["ok"], answer
        return answer

    def seen(self, selector: str) -> None:
        known = self.keys.items[DOMAIN]
        self.keys.items[DOMAIN] = known.with_seen(selector, self.clock.now())

    def states(self) -> dict[str, str]:
        return {each["selector"]: each["state"] for each in self.do("show")["keys"]}


@pytest.fixture
def world() -> World:
    return World()


def test_enable_makes_a_key_once(world: World) -> None:
    answer = world.do("enable")
    (key,) = answer["keys"]
    assert (answer["domain"], answer["enabled"], answer["changed"], answer["kept_days"]) == (DOMAIN, True, True, 21)
    assert key == {
        "selector": "s1",
        "state": "waiting",
        "name": "s1._domainkey.d.example",
        "value": f"v=DKIM1; k=rsa; p={base64.b64encode(key_pair().public).decode()}",
        "dns": "missing",
        "created": world.clock.now(),
        "seen": None,
        "ended": None,
    }
    assert world.do("enable") == {**answer, "changed": False}
    assert world.made == 1


def test_a_domain_is_one_however_it_is_written(world: World) -> None:
    assert world.do("enable", "BÜCHER.example.")["domain"] == "xn--bcher-kva.example"
    assert not world.do("enable", "xn--bcher-kva.example")["changed"]


def test_show_says_what_dns_has(world: World) -> None:
    name, value = (world.do("enable")["keys"][0][each] for each in ("name", "value"))
    world.dns.records[name] = (b"v=DKIM1; p=AAAA",)
    assert world.do("show")["keys"][0]["dns"] == "other"
    world.dns.records[name] = (value.encode(),)
    assert world.do("show")["keys"][0]["dns"] == "right"
    world.dns.fail = TemporaryError("DNS is away")
    assert world.do("show")["keys"][0]["dns"] == "no answer"


def test_rotate_makes_one_more_and_waits_for_it(world: World) -> None:
    world.do("enable")
    assert not world.do("rotate")["changed"]  # the first one isn't even published
    world.seen("s1")
    assert world.do("rotate")["changed"]
    assert world.states() == {"s2": "waiting", "s1": "signing"}
    assert not world.do("rotate")["changed"]
    world.seen("s2")
    assert world.states() == {"s2": "signing", "s1": "ended"}
    assert world.made == 2


def test_disable_and_enable_again(world: World) -> None:
    world.do("enable")
    answer = world.do("disable")
    assert (answer["enabled"], answer["changed"]) == (False, True)
    assert not world.do("disable")["changed"]
    assert not any(each.sealed for each in world.keys.items[DOMAIN].keys)
    assert "disabled: mailrelay dkim enable" in world({"action": "rotate", "domain": DOMAIN})["error"]
    world.do("enable")
    assert world.states() == {"s2": "waiting", "s1": "ended"}


@pytest.mark.parametrize("action", ["rotate", "disable", "show"])
def test_of_a_domain_without_a_key(world: World, action: str) -> None:
    answer = world({"action": action, "domain": DOMAIN})
    assert answer == {"ok": False, "error": "the relay has no DKIM key of d.example: mailrelay dkim enable d.example"}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({}, "the action must be one of: enable, rotate, disable, show"),
        ({"action": "steal", "domain": DOMAIN}, "the action must be one of"),
        ({"action": ["enable"], "domain": DOMAIN}, "the action must be one of"),
        ({"action": "enable"}, "domain is missing"),
        ({"action": "enable", "domain": 3}, "domain is missing"),
        ({"action": "enable", "domain": " "}, "domain is missing"),
        ({"action": "enable", "domain": "d..example"}, "label"),
        ({"action": "enable", "domain": ".".join(["a" * 60] * 4)}, "too long"),
    ],
)
def test_a_wrong_event_is_told_what_is_wrong(world: World, event: Any, words: str) -> None:
    answer = world(event)
    assert answer["ok"] is False
    assert words in answer["error"]
    assert world.keys.items == {}


def meanwhile(world: World, action: Callable[[DomainKeys | None], DomainKeys]) -> None:
    """Somebody else's write comes between the look and ours, once."""
    real, done = world.keys.find, []

    async def find(domain: str) -> DomainKeys | None:
        known = await real(domain)
        if not done:
            done.append(1)
            world.keys.items[domain] = action(known)
        return known

    world.keys.find = find  # type: ignore[method-assign]


THEIRS = DkimKey("theirs", key_pair().public, b"sealed", 1.0)


def test_two_who_enable_at_once_make_one_key(world: World) -> None:
    meanwhile(world, lambda _: DomainKeys(DOMAIN, enabled=True, keys=(THEIRS,)))
    answer = world.do("enable")
    assert ([each["selector"] for each in answer["keys"]], answer["changed"]) == (["theirs"], False)


def test_two_who_rotate_at_once_make_one_key(world: World) -> None:
    world.do("enable")
    world.seen("s1")
    meanwhile(world, lambda known: known.with_new(THEIRS, 2.0))  # type: ignore[union-attr]
    answer = world.do("rotate")
    assert ([each["selector"] for each in answer["keys"]], answer["changed"]) == (["theirs", "s1"], False)


def test_who_is_never_first_is_told_to_try_again(world: World) -> None:
    async def put(keys: DomainKeys, before: DomainKeys | None) -> bool:
        return False

    world.keys.put = put  # type: ignore[method-assign]
    assert world({"action": "enable", "domain": DOMAIN}) == {"ok": False, "error": CHANGED}


@pytest.mark.parametrize("part", ["keys", "sealer"])
def test_after_an_outage_the_same_command_goes_on(world: World, part: str) -> None:
    """Also where only the answer is lost: what was written then is found."""
    getattr(world, part).fail = OutageError("a service is away", "kms: 503")
    assert world({"action": "enable", "domain": DOMAIN}) == {"ok": False, "error": "a service is away"}
    assert "kms: 503" in world.log.getvalue()
    getattr(world, part).fail = None
    assert world.keys.items == {}
    assert world.do("enable")["changed"]
    assert world.keys.items[DOMAIN].keys[0].state is KeyState.WAITING


def test_the_private_key_is_nowhere(world: World) -> None:
    answers = [world.do(action) for action in ("enable", "show", "rotate", "disable")]
    private = key_pair().private
    everything = json.dumps(answers) + world.log.getvalue() + repr(world.keys.items)
    for form in (base64.b64encode(private).decode()[40:80], private.hex()[60:100], repr(private)[60:100]):
        assert form not in everything


def test_selectors_are_by_day_and_never_the_same() -> None:
    keys = FakeDkimKeys()
    admin = DkimAdmin(keys=keys, sealer=FakeSealer(), resolver=Txts(), clock=FakeClock(), make=key_pair)
    names = {asyncio.run(admin.enable(f"d{number}.example")).keys.keys[0].selector for number in range(5)}
    assert len(names) == 5
    assert all(name.startswith("mr20270115-") for name in names)
