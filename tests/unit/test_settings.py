"""The functions' settings: each wrong variable is named."""

import pytest

from relay.settings import FunctionSettings, SettingsError

GOOD = {
    "RELAY_VALIDATE_QUEUE_URL": "http://q/v",
    "RELAY_DELIVER_QUEUE_URL": "http://q/d",
    "RELAY_RECORD_QUEUE_URL": "http://q/r",
    "RELAY_LEDGER_TABLE": "ledger",
    "RELAY_MESSAGES_TABLE": "messages",
    "RELAY_ACCOUNTS_TABLE": "accounts",
    "RELAY_NOTICES_TABLE": "notices",
    "RELAY_DELAY_NOTICE_HOURS": "4",
    "RELAY_CONTENT_BUCKET": "content",
    "RELAY_TOKEN_NAME": "relay-token",
    "RELAY_SPF_DOMAIN": "relay.example",
    "RELAY_HOST_NAME": "smtp.relay.example",
    "RELAY_CLAIM_SECONDS": "330",
    "RELAY_CLOCK_SPEED": "1",
    "RELAY_DNS_SERVERS": "127.0.0.1:53, [::1]:53",
    "RELAY_SMTP_PORT": "25",
}


def test_good() -> None:
    settings = FunctionSettings.from_environment(GOOD)
    assert settings.claim_seconds == 330.0
    assert settings.dns_servers == ("127.0.0.1:53", "[::1]:53")
    assert FunctionSettings.from_environment(GOOD | {"RELAY_DNS_SERVERS": ""}).dns_servers == ()


@pytest.mark.parametrize("name", [name for name in GOOD if name != "RELAY_DNS_SERVERS"])
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        FunctionSettings.from_environment({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("value", ["x", "-1", "0", "nan", "inf"])
def test_a_wrong_number_is_named_with_its_value(value: str) -> None:
    with pytest.raises(SettingsError, match=f"RELAY_SMTP_PORT='{value}'"):
        FunctionSettings.from_environment(GOOD | {"RELAY_SMTP_PORT": value})
