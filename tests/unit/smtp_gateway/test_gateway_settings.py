import os

import pytest

from relay.quota import DEFAULT_LIMITS, Limits
from relay.settings import SettingsError
from smtp_gateway.message import Shown
from smtp_gateway.quotas import Allowance
from smtp_gateway.settings import MOST_WORKERS, Endpoint, KeyPair, Settings

GOOD = {
    "GATEWAY_HOST_NAME": "SMTP.example.com",
    "GATEWAY_LISTEN": "127.0.0.1:2587",
    "GATEWAY_TLS_LISTEN": "[::1]:0",
    "GATEWAY_CERT_FILE": "cert.pem",
    "GATEWAY_KEY_FILE": "key.pem",
    "GATEWAY_VALIDATE_QUEUE_URL": "http://127.0.0.1:5000/123456789012/validate",
    "GATEWAY_VALIDATE_FUNCTION": "validate",
    "GATEWAY_ACCOUNTS_TABLE": "accounts",
    "GATEWAY_USAGE_TABLE": "usage",
    "GATEWAY_CONTENT_BUCKET": "content",
    "AWS_REGION": "eu-north-1",
}


def test_good() -> None:
    settings = Settings.from_environment(GOOD)
    assert settings.host_name == "smtp.example.com"
    assert settings.listen == Endpoint("127.0.0.1", 2587, "GATEWAY_LISTEN")
    assert settings.tls_listen == Endpoint("::1", 0, "GATEWAY_TLS_LISTEN")
    assert (settings.max_size, settings.max_connections) == (41_943_040, 1000)
    assert settings.endpoint_url is None
    assert (settings.validate_function, settings.verdict_patience, settings.help_url) == ("validate", 2.0, "")


def test_certificates() -> None:
    first = KeyPair("cert.pem", "key.pem", "GATEWAY_CERT_FILE", "GATEWAY_KEY_FILE")
    assert Settings.from_environment(GOOD).certificates == (first,)
    both = Settings.from_environment({**GOOD, "GATEWAY_CERT_FILE_2": "rsa.pem", "GATEWAY_KEY_FILE_2": "rsa-key.pem"})
    second = KeyPair("rsa.pem", "rsa-key.pem", "GATEWAY_CERT_FILE_2", "GATEWAY_KEY_FILE_2")
    assert both.certificates == (first, second)


@pytest.mark.parametrize(
    ("given", "missing"),
    [("GATEWAY_CERT_FILE_2", "GATEWAY_KEY_FILE_2"), ("GATEWAY_KEY_FILE_2", "GATEWAY_CERT_FILE_2")],
)
def test_half_a_second_pair_is_named(given: str, missing: str) -> None:
    with pytest.raises(SettingsError, match=f"^{missing} is not set$"):
        Settings.from_environment({**GOOD, given: "x.pem"})


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), ("60", 60.0)])
def test_patience(text: str, seconds: float) -> None:
    assert Settings.from_environment({**GOOD, "GATEWAY_VERDICT_PATIENCE": text}).verdict_patience == seconds


def test_workers() -> None:
    assert Settings.from_environment(GOOD).workers == min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    assert Settings.from_environment({**GOOD, "GATEWAY_WORKERS": "64"}).workers == 64


def test_health() -> None:
    assert Settings.from_environment(GOOD).health_listen is None
    settings = Settings.from_environment({**GOOD, "GATEWAY_HEALTH_LISTEN": "[::]:8080"})
    assert settings.health_listen == Endpoint("::", 8080, "GATEWAY_HEALTH_LISTEN")


def test_quotas() -> None:
    assert Settings.from_environment(GOOD).allowance == Allowance()
    assert Settings.from_environment({**GOOD, "GATEWAY_MAX_CONNECTIONS": "41"}).allowance == Allowance(21, 3000, 21)
    names = ("ADDRESS_SESSIONS", "ADDRESS_CONNECTIONS", "ACCOUNT_SESSIONS", "ACCOUNT_OCTETS")
    given = {f"GATEWAY_{name}": str(number) for number, name in enumerate(names, 1)}
    assert Settings.from_environment({**GOOD, **given}).allowance == Allowance(1, 2, 3, 4)


def test_limits_of_accounts() -> None:
    assert Settings.from_environment(GOOD).account_limits == DEFAULT_LIMITS
    names = {"MESSAGES_PER_SECOND": "1", "MESSAGES_PER_DAY": "2", "MAX_RECIPIENTS": "100", "MAX_SIZE": "65536"}
    given = {f"GATEWAY_{name}": value for name, value in names.items()}
    assert Settings.from_environment({**GOOD, **given}).account_limits == Limits(1, 2, 100, 65_536)


def test_balancers() -> None:
    assert Settings.from_environment(GOOD).proxy_from == ()
    found = Settings.from_environment({**GOOD, "GATEWAY_PROXY_FROM": "10.0.0.0/24, 2001:db8::1"}).proxy_from
    assert [str(network) for network in found] == ["10.0.0.0/24", "2001:db8::1/128"]


@pytest.mark.parametrize("value", ["", *Shown])
def test_what_is_shown_of_the_client(value: str) -> None:
    assert Settings.from_environment({**GOOD, "GATEWAY_TRACE_CLIENT": value}).trace_client == (value or "none")


def test_help_url() -> None:
    url = "https://help.example/dns?from=smtp#records"
    assert Settings.from_environment({**GOOD, "GATEWAY_HELP_URL": url}).help_url == url


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not set$"):
        Settings.from_environment({**GOOD, name: ""})


BAD = [
    ("GATEWAY_TRACE_CLIENT", "All"),
    ("GATEWAY_WORKERS", "0"),
    ("GATEWAY_WORKERS", "65"),
    ("GATEWAY_WORKERS", "two"),
    ("GATEWAY_HEALTH_LISTEN", "8080"),
    ("GATEWAY_ROOM", "1000"),
    ("GATEWAY_HOST_NAME", "smtp example"),
    ("GATEWAY_LISTEN", "2587"),
    ("GATEWAY_LISTEN", "localhost:2587"),
    ("GATEWAY_LISTEN", "127.0.0.1:65536"),
    ("GATEWAY_LISTEN", "127.0.0.1:-1"),
    ("GATEWAY_LISTEN", "::1:25"),
    ("GATEWAY_LISTEN", "[127.0.0.1:25"),
    ("GATEWAY_TLS_LISTEN", "127.0.0.1:x"),
    ("GATEWAY_VALIDATE_QUEUE_URL", "validate"),
    ("GATEWAY_PROXY_FROM", "10.0.0.1/24"),
    ("GATEWAY_PROXY_FROM", "10.0.0.0/24,"),
    ("GATEWAY_PROXY_FROM", "balancer.example"),
    ("GATEWAY_MAX_SIZE", "40MB"),
    ("GATEWAY_MAX_SIZE", "1000"),
    ("GATEWAY_MAX_SIZE", "-1"),
    ("GATEWAY_MAX_CONNECTIONS", "0"),
    ("GATEWAY_ADDRESS_SESSIONS", "0"),
    ("GATEWAY_ADDRESS_CONNECTIONS", "0"),
    ("GATEWAY_ACCOUNT_SESSIONS", "0"),
    ("GATEWAY_ACCOUNT_OCTETS", "-1"),
    ("GATEWAY_MESSAGES_PER_SECOND", "0"),
    ("GATEWAY_MESSAGES_PER_DAY", "-1"),
    ("GATEWAY_MAX_RECIPIENTS", "99"),
    ("GATEWAY_VERDICT_PATIENCE", "2s"),
    ("GATEWAY_VERDICT_PATIENCE", "-1"),
    ("GATEWAY_VERDICT_PATIENCE", "61"),
    ("GATEWAY_VERDICT_PATIENCE", "nan"),
    ("GATEWAY_HELP_URL", "help.example"),
    ("GATEWAY_HELP_URL", "https://help.example/a b"),
    ("GATEWAY_HELP_URL", "https://hjälp.example/"),
    ("GATEWAY_HELP_URL", f"https://help.example/{'x' * 280}"),
    ("AWS_ENDPOINT_URL", "127.0.0.1:5000"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_wrong_value_is_named_in_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({**GOOD, name: value})
    assert str(caught.value).startswith(f"{name}={value!r} is not ")
    assert "\n" not in str(caught.value)


def test_a_value_over_several_lines_is_shown_in_one() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({**GOOD, "GATEWAY_LISTEN": "a\nb"})
    assert "\n" not in str(caught.value)
