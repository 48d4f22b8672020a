"""The functions' settings: each wrong variable is named."""

import pytest

from relay.settings import FunctionSettings, SettingsError
from tests.functions import ENVIRONMENT as GOOD

OPTIONAL = ("RELAY_DNS_SERVERS", "RELAY_EGRESS_ADDRESSES", "RELAY_REACHABLE_NETWORKS")


def test_good() -> None:
    settings = FunctionSettings.from_environment(GOOD)
    assert settings.claim_seconds == 330.0
    assert settings.dns_servers == ("127.0.0.1:53", "[::1]:53")
    assert FunctionSettings.from_environment(GOOD | {"RELAY_DNS_SERVERS": ""}).dns_servers == ()


def test_egress_addresses() -> None:
    assert FunctionSettings.from_environment(GOOD).egress == ("192.0.2.1", "2001:db8::1")
    assert FunctionSettings.from_environment(GOOD | {"RELAY_EGRESS_ADDRESSES": ""}).egress == ()


def test_reachable_networks() -> None:
    assert FunctionSettings.from_environment(GOOD).reachable == ("127.0.0.0/8", "::1/128")
    assert FunctionSettings.from_environment(GOOD | {"RELAY_REACHABLE_NETWORKS": ""}).reachable == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAY_EGRESS_ADDRESSES", "192.0.2.300"),
        ("RELAY_EGRESS_ADDRESSES", "a.example"),
        ("RELAY_DMARC_MISSING", "no"),
        ("RELAY_REACHABLE_NETWORKS", "127.0.0.1/8"),
        ("RELAY_REACHABLE_NETWORKS", "localhost"),
    ],
)
def test_a_wrong_word_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        FunctionSettings.from_environment(GOOD | {name: value})


@pytest.mark.parametrize("name", [name for name in GOOD if name not in OPTIONAL])
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        FunctionSettings.from_environment({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("value", ["x", "-1", "0", "nan", "inf"])
def test_a_wrong_number_is_named_with_its_value(value: str) -> None:
    with pytest.raises(SettingsError, match=f"RELAY_SMTP_PORT='{value}'"):
        FunctionSettings.from_environment(GOOD | {"RELAY_SMTP_PORT": value})
