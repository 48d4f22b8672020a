"""The functions' settings: each wrong variable is named."""

import pytest

from relay.backends import BackEnd, BackEnds
from relay.settings import FunctionSettings, SettingsError, Smarthost
from tests.functions import ENVIRONMENT as GOOD

OPTIONAL = ("RELAY_DNS_SERVERS", "RELAY_EGRESS_ADDRESSES", "RELAY_REACHABLE_NETWORKS")


def test_good() -> None:
    settings = FunctionSettings.from_environment(GOOD)
    assert settings.claim_seconds == 330.0
    assert settings.dns_servers == ("127.0.0.1:53", "[::1]:53")
    assert FunctionSettings.from_environment(GOOD | {"RELAY_DNS_SERVERS": ""}).dns_servers == ()


def test_concurrency() -> None:
    assert FunctionSettings.from_environment(GOOD).concurrency == 100
    with pytest.raises(SettingsError, match="RELAY_DELIVER_CONCURRENCY='many'"):
        FunctionSettings.from_environment(GOOD | {"RELAY_DELIVER_CONCURRENCY": "many"})


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


SMARTHOST = {"RELAY_BACK_ENDS": "smarthost, mx", "RELAY_SMARTHOST": "Smart.example:587"}


def test_back_ends() -> None:
    settings = FunctionSettings.from_environment(GOOD)
    assert (settings.back_ends, settings.smarthost, settings.smarthost_secret) == (BackEnds(), None, "")
    settings = FunctionSettings.from_environment(
        GOOD | {"RELAY_BACK_ENDS": "", "RELAY_BACK_END_RULES": "to b.at = ses"}
    )
    assert settings.back_ends == BackEnds.parse("mx", "to b.at = ses")
    settings = FunctionSettings.from_environment(GOOD | SMARTHOST)
    assert settings.back_ends.default == (BackEnd.SMARTHOST, BackEnd.MX)
    assert settings.smarthost == Smarthost("smart.example", 587)


def test_smarthost() -> None:
    more = {"TLS": "implicit", "SECRET": "arn:x", "NETWORKS": "10.0.0.0/8, ::1/128", "CA": "PEM"}
    environment = GOOD | SMARTHOST | {f"RELAY_SMARTHOST_{name}": value for name, value in more.items()}
    settings = FunctionSettings.from_environment(environment)
    assert settings.smarthost == Smarthost("smart.example", 587, True, ("10.0.0.0/8", "::1/128"), "PEM")
    assert settings.smarthost_secret == "arn:x"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"RELAY_BACK_ENDS": "mx, pigeon"}, "RELAY_BACK_ENDS='mx, pigeon'.*'pigeon' is none of"),
        (
            {"RELAY_BACK_END_RULES": "a.example"},
            "RELAY_BACK_ENDS='mx', RELAY_BACK_END_RULES='a.example': 'a.example' is no rule",
        ),
        ({"RELAY_BACK_ENDS": "smarthost"}, "RELAY_SMARTHOST is not set"),
        ({"RELAY_BACK_END_RULES": "to b.example = smarthost"}, "RELAY_SMARTHOST is not set"),
        ({"RELAY_SMARTHOST": "smart.example"}, "RELAY_SMARTHOST='smart.example' is not host:port"),
        ({"RELAY_SMARTHOST": "smart.example:0"}, "is not host:port"),
        ({"RELAY_SMARTHOST": "smart.example:70000"}, "is not host:port"),
        ({"RELAY_SMARTHOST": "smart.example:x"}, "is not host:port"),
        ({"RELAY_SMARTHOST": "10.0.0.1:587"}, "is not host:port: IP addresses are not accepted"),
        (SMARTHOST | {"RELAY_SMARTHOST_TLS": "none"}, "RELAY_SMARTHOST_TLS='none' is none of starttls, implicit"),
        (
            SMARTHOST | {"RELAY_SMARTHOST_NETWORKS": "10.0.0.1/8"},
            "RELAY_SMARTHOST_NETWORKS='10.0.0.1/8' is not networks",
        ),
    ],
)
def test_what_is_wrong_with_the_back_ends_is_said(more: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        FunctionSettings.from_environment(GOOD | more)


@pytest.mark.parametrize("name", [name for name in GOOD if name not in OPTIONAL])
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        FunctionSettings.from_environment({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("value", ["x", "-1", "0", "nan", "inf"])
def test_a_wrong_number_is_named_with_its_value(value: str) -> None:
    with pytest.raises(SettingsError, match=f"RELAY_SMTP_PORT='{value}'"):
        FunctionSettings.from_environment(GOOD | {"RELAY_SMTP_PORT": value})
