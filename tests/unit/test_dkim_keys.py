"""relay.dkim_keys: how keys follow one another, the record, and whether DNS shows it."""

import base64
from dataclasses import replace

import pytest

from relay.dkim_keys import DAY, KEPT_DAYS, DkimKey, DomainKeys, KeyState, Shown, shown
from relay.ports import DnsStatus, TxtAnswer
from tests.fake_dkim import key_pair

NOW = 1_800_000_000.0
FIRST = DkimKey("a", b"public a", b"sealed a", NOW)
SECOND = DkimKey("b", b"public b", b"sealed b", NOW + 10)
THIRD = DkimKey("c", b"public c", b"sealed c", NOW + 20)


def states(keys: DomainKeys) -> dict[str, tuple[KeyState, bool]]:
    """And whether the private part is there."""
    return {each.selector: (each.state, bool(each.sealed)) for each in keys.keys}


def test_a_key_waits_then_signs_then_is_followed() -> None:
    keys = DomainKeys("d.example", enabled=True, keys=(FIRST,))
    assert states(keys) == {"a": (KeyState.WAITING, True)}
    keys = keys.with_seen("a", NOW + 5)
    assert states(keys) == {"a": (KeyState.SIGNING, True)}
    keys = keys.with_new(SECOND, NOW + 10)
    assert states(keys) == {"b": (KeyState.WAITING, True), "a": (KeyState.SIGNING, True)}
    keys = keys.with_seen("b", NOW + 15)
    assert states(keys) == {"b": (KeyState.SIGNING, True), "a": (KeyState.ENDED, True)}
    keys = keys.with_new(THIRD, NOW + 20)
    assert states(keys) == {
        "c": (KeyState.WAITING, True),
        "b": (KeyState.SIGNING, True),
        "a": (KeyState.ENDED, False),
    }
    assert [each.ended for each in keys.keys] == [0.0, 0.0, NOW + 15]
    assert keys.version == 5


def test_what_is_seen_again_was_seen_then() -> None:
    keys = DomainKeys("d.example", enabled=True, keys=(FIRST,)).with_seen("a", NOW + 5).with_seen("a", NOW + 9)
    assert keys.keys[0].seen == NOW + 5


def test_disabled_forgets_and_enabling_begins_anew() -> None:
    keys = DomainKeys("d.example", enabled=True, keys=(SECOND, replace(FIRST, seen=NOW))).disabled(NOW + 30)
    assert not keys.enabled
    assert states(keys) == {"b": (KeyState.ENDED, False), "a": (KeyState.ENDED, False)}
    keys = keys.with_new(THIRD, NOW + 40)
    assert keys.enabled
    assert states(keys)["c"] == (KeyState.WAITING, True)
    assert not any(each.sealed for each in keys.keys[1:])


def test_what_ended_long_ago_is_not_kept() -> None:
    old = replace(FIRST, ended=NOW)
    keys = DomainKeys("d.example", enabled=True, keys=(SECOND, old))
    assert [each.selector for each in keys.with_new(THIRD, NOW + KEPT_DAYS * DAY - 1).keys] == ["c", "b", "a"]
    assert [each.selector for each in keys.with_new(THIRD, NOW + KEPT_DAYS * DAY).keys] == ["c", "b"]


def test_the_record() -> None:
    record = DkimKey("mr1", key_pair().public, b"sealed", NOW).record("d.example")
    assert (record.name, record.type) == ("mr1._domainkey.d.example", "TXT")
    assert record.value == f"v=DKIM1; k=rsa; p={base64.b64encode(key_pair().public).decode()}"
    strings = str(record).removeprefix("mr1._domainkey.d.example. TXT ").split('" "')
    assert len(strings) == 2
    assert all(len(each.strip('"')) <= 255 for each in strings)
    assert "".join(strings).strip('"') == record.value


P = base64.b64encode(b"public a")


@pytest.mark.parametrize(
    ("records", "found"),
    [
        pytest.param([b"v=DKIM1; k=rsa; p=" + P], Shown.RIGHT, id="as printed"),
        pytest.param([b"p=" + P], Shown.RIGHT, id="bare"),
        pytest.param([b"v=DKIM1;p=" + P[:4] + b" " + P[4:] + b";"], Shown.RIGHT, id="blanks"),
        pytest.param([b"v=DKIM1; s=email; h=sha1:sha256; t=s; p=" + P], Shown.RIGHT, id="restricted to what we do"),
        pytest.param([], Shown.MISSING, id="none"),
        pytest.param([b"v=DKIM1; p=" + P, b"v=DKIM1; p=" + P], Shown.OTHER, id="two"),
        pytest.param([b"v=DKIM1; p=" + P, b"v=spf1 -all"], Shown.OTHER, id="another beside it"),
        pytest.param([b"v=DKIM1; p="], Shown.OTHER, id="revoked"),
        pytest.param([b"v=DKIM1; p=" + P[:-4]], Shown.OTHER, id="cut"),
        pytest.param([b"v=DKIM1; k=ed25519; p=" + P], Shown.OTHER, id="another kind"),
        pytest.param([b"v=DKIM1; h=sha1; p=" + P], Shown.OTHER, id="another hash"),
        pytest.param([b"v=DKIM1; s=other; p=" + P], Shown.OTHER, id="another service"),
        pytest.param([b"v=DKIM2; p=" + P], Shown.OTHER, id="another version"),
        pytest.param([b"v=spf1 -all"], Shown.OTHER, id="no key"),
        pytest.param([b'"v=DKIM1; p=' + P + b'"'], Shown.OTHER, id="quoted twice"),
    ],
)
def test_whether_dns_shows_it(records: list[bytes], found: Shown) -> None:
    answer = TxtAnswer(DnsStatus.OK if records else DnsStatus.NO_NAME, tuple(records), 300)
    assert shown(answer, b"public a") is found
