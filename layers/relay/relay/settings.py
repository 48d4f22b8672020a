"""The functions' settings, read from the environment that template.yaml gives them."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from relay.address import AddressError, parse_domain
from relay.backends import BackEnd, BackEnds
from relay.quota import DEFAULT_LIMITS, Limits, Threshold


class SettingsError(Exception):
    """Says which variable is wrong, its value, and what it should be."""


@dataclass(frozen=True, slots=True)
class Smarthost:
    """An SMTP server that mail leaves by. host: a domain name, which its certificate has to be for. implicit: TLS from
    the first octet on, else STARTTLS. networks: inside ones that it may be in. ca: PEM, instead of the CAs that the
    system trusts, "" for these."""

    host: str
    port: int
    implicit: bool = False
    networks: tuple[str, ...] = ()
    ca: str = ""


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """Queue URLs, table and bucket names; and the parameters of the service.

    token_name, spf_domain, host_name: what senders publish and where they connect.
    claim_seconds: how long a claim on a delivery lives. clock_speed: durations are divided by it.
    dns_servers: "host:port" each; empty means the system's. smtp_port: where remote servers listen.
    reachable: inside networks that mail may go to nevertheless. policies_table: MTA-STS policies by domain.
    audit_table: who did what to accounts and keys. usage_table: what accounts send; operator_topic: an ARN.
    account_limits: of accounts without limits of their own. bounce_pause: when an account is paused.
    sites_table: destinations that are left alone. concurrency: how many deliver functions may run at once.
    receipts_table: verdicts by domain and account. egress: the relay's own IP addresses, () if SPF goes by spf_domain.
    dkim_keys_table: what the relay signs with, by domain; dkim_kms_key: the ARN of the KMS key that it is sealed with.
    dmarc_required: a domain without a DMARC policy is refused, else warned. dkim: "off", "warn" or "require".
    verdict_shortest, verdict_longest: seconds that a good verdict serves, whatever its TTLs. verdict_stale: the age up
    to which it serves while DNS doesn't answer; hold_seconds: how long mail waits for records that were good before.
    All before clock_speed.
    suppression_days: how long an address that was found dead again gets no mail, before clock_speed.
    back_ends: which way mail leaves by (deliver only). smarthost: None if there is none; smarthost_secret: with its
    login, "" if it needs none.
    password_overlap: seconds that a password holds after the next was sent, before clock_speed.
    delay_notice_seconds: after how long a sender is told that mail is not delivered yet, before clock_speed.
    """

    validate_queue_url: str
    deliver_queue_url: str
    record_queue_url: str
    ledger_table: str
    messages_table: str
    accounts_table: str
    notices_table: str
    receipts_table: str
    policies_table: str
    suppressions_table: str
    dkim_keys_table: str
    dkim_kms_key: str
    audit_table: str
    usage_table: str
    operator_topic: str
    account_limits: Limits
    bounce_pause: Threshold
    sites_table: str
    content_bucket: str
    token_name: str
    spf_domain: str
    host_name: str
    claim_seconds: float
    clock_speed: float
    dns_servers: tuple[str, ...]
    smtp_port: int
    reachable: tuple[str, ...]
    delay_notice_seconds: float
    egress: tuple[str, ...]
    dmarc_required: bool
    dkim: str
    verdict_shortest: float
    verdict_longest: float
    verdict_stale: float
    hold_seconds: float
    suppression_days: float
    password_overlap: float
    back_ends: BackEnds
    smarthost: Smarthost | None
    smarthost_secret: str
    concurrency: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "FunctionSettings":
        """RELAY_<FIELD NAME> for each field; SettingsError names the first that is missing or wrong."""

        def text(name: str) -> str:
            if value := environment.get(name, ""):
                return value
            raise SettingsError(f"{name} is not set")

        def number(name: str) -> float:
            try:
                value = float(text(name))
            except ValueError:
                raise SettingsError(f"{name}={environment[name]!r} is not a number") from None
            if not 0 < value <= 1e9:
                raise SettingsError(f"{name}={environment[name]!r} is not a positive number")
            return value

        def choice(name: str, *allowed: str) -> str:
            if (value := text(name)) not in allowed:
                raise SettingsError(f"{name}={value!r} is none of {', '.join(allowed)}")
            return value

        return cls(
            validate_queue_url=text("RELAY_VALIDATE_QUEUE_URL"),
            deliver_queue_url=text("RELAY_DELIVER_QUEUE_URL"),
            record_queue_url=text("RELAY_RECORD_QUEUE_URL"),
            ledger_table=text("RELAY_LEDGER_TABLE"),
            messages_table=text("RELAY_MESSAGES_TABLE"),
            accounts_table=text("RELAY_ACCOUNTS_TABLE"),
            notices_table=text("RELAY_NOTICES_TABLE"),
            receipts_table=text("RELAY_RECEIPTS_TABLE"),
            policies_table=text("RELAY_POLICIES_TABLE"),
            suppressions_table=text("RELAY_SUPPRESSIONS_TABLE"),
            dkim_keys_table=text("RELAY_DKIM_KEYS_TABLE"),
            dkim_kms_key=text("RELAY_DKIM_KMS_KEY"),
            audit_table=text("RELAY_AUDIT_TABLE"),
            usage_table=text("RELAY_USAGE_TABLE"),
            operator_topic=text("RELAY_OPERATOR_TOPIC"),
            sites_table=text("RELAY_SITES_TABLE"),
            content_bucket=text("RELAY_CONTENT_BUCKET"),
            token_name=text("RELAY_TOKEN_NAME"),
            spf_domain=text("RELAY_SPF_DOMAIN"),
            host_name=text("RELAY_HOST_NAME"),
            claim_seconds=number("RELAY_CLAIM_SECONDS"),
            clock_speed=number("RELAY_CLOCK_SPEED"),
            dns_servers=_list(environment.get("RELAY_DNS_SERVERS", "")),
            smtp_port=int(number("RELAY_SMTP_PORT")),
            reachable=_networks("RELAY_REACHABLE_NETWORKS", environment.get("RELAY_REACHABLE_NETWORKS", "")),
            delay_notice_seconds=3600 * number("RELAY_DELAY_NOTICE_HOURS"),
            egress=_addresses("RELAY_EGRESS_ADDRESSES", environment.get("RELAY_EGRESS_ADDRESSES", "")),
            dmarc_required=choice("RELAY_DMARC_MISSING", "refuse", "warn") == "refuse",
            dkim=choice("RELAY_DKIM_CHECK", "off", "warn", "require"),
            verdict_shortest=number("RELAY_VERDICT_MIN_SECONDS"),
            verdict_longest=number("RELAY_VERDICT_MAX_SECONDS"),
            verdict_stale=3600 * number("RELAY_VERDICT_STALE_HOURS"),
            hold_seconds=3600 * number("RELAY_HOLD_HOURS"),
            concurrency=int(number("RELAY_DELIVER_CONCURRENCY")),
            **_accounts(number),
            **_back_ends(environment),
        )


def _accounts(number: Callable[[str], float]) -> dict[str, Any]:
    """The fields of FunctionSettings about accounts and what they may send."""
    return {
        "suppression_days": number("RELAY_SUPPRESSION_DAYS"),
        "password_overlap": 3600 * number("RELAY_PASSWORD_OVERLAP_HOURS"),
        "account_limits": replace(
            DEFAULT_LIMITS,
            per_second=int(number("RELAY_MESSAGES_PER_SECOND")),
            per_day=int(number("RELAY_MESSAGES_PER_DAY")),
            recipients=int(number("RELAY_MAX_RECIPIENTS")),
        ),
        "bounce_pause": Threshold(number("RELAY_BOUNCE_PAUSE_PERCENT"), int(number("RELAY_BOUNCE_PAUSE_LEAST"))),
    }


def _back_ends(environment: Mapping[str, str]) -> dict[str, Any]:
    """The fields of FunctionSettings that only deliver's environment has."""
    names = "RELAY_BACK_ENDS", "RELAY_BACK_END_RULES"
    default, rules = environment.get(names[0]) or BackEnd.MX.value, environment.get(names[1], "")
    try:
        back_ends = BackEnds.parse(default, rules)
    except ValueError as error:
        raise SettingsError(f"{names[0]}={default!r}, {names[1]}={rules!r}: {error}") from None
    smarthost = _smarthost(environment)
    if BackEnd.SMARTHOST in back_ends.used and smarthost is None:
        raise SettingsError("RELAY_SMARTHOST is not set, and the back ends name a smarthost")
    secret = environment.get("RELAY_SMARTHOST_SECRET", "")
    return {"back_ends": back_ends, "smarthost": smarthost, "smarthost_secret": secret}


def _smarthost(environment: Mapping[str, str]) -> Smarthost | None:
    name = "RELAY_SMARTHOST"
    if not (text := environment.get(name, "")):
        return None
    host, _, port = text.partition(":")
    tls = environment.get(f"{name}_TLS") or "starttls"
    try:
        host = parse_domain(host)
    except AddressError as error:
        raise SettingsError(f"{name}={text!r} is not host:port: {error.safe}") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise SettingsError(f"{name}={text!r} is not host:port, such as smtp.example.com:587")
    if tls not in ("starttls", "implicit"):
        raise SettingsError(f"{name}_TLS={tls!r} is none of starttls, implicit")
    networks = _networks(f"{name}_NETWORKS", environment.get(f"{name}_NETWORKS", ""))
    return Smarthost(host, int(port), tls == "implicit", networks, environment.get(f"{name}_CA", ""))


def _list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.replace(" ", "").split(",")))


def _addresses(name: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(each)) for each in _list(text))
    except ValueError:
        raise SettingsError(f"{name}={text!r} is not IP addresses with commas between") from None


def _networks(name: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(each)) for each in _list(text))
    except ValueError:
        raise SettingsError(f"{name}={text!r} is not networks such as 10.0.0.0/8 with commas between") from None
