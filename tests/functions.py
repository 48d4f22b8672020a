"""What functions/*/app.py get in tests: an environment as template.yaml gives it, and the module itself."""

import importlib.util
from pathlib import Path
from types import ModuleType

ENVIRONMENT = {
    "RELAY_VALIDATE_QUEUE_URL": "http://127.0.0.1:9/validate",
    "RELAY_DELIVER_QUEUE_URL": "http://127.0.0.1:9/deliver",
    "RELAY_RECORD_QUEUE_URL": "http://127.0.0.1:9/record",
    "RELAY_LEDGER_TABLE": "ledger",
    "RELAY_MESSAGES_TABLE": "messages",
    "RELAY_ACCOUNTS_TABLE": "accounts",
    "RELAY_NOTICES_TABLE": "notices",
    "RELAY_RECEIPTS_TABLE": "receipts",
    "RELAY_POLICIES_TABLE": "policies",
    "RELAY_SUPPRESSIONS_TABLE": "suppressions",
    "RELAY_DKIM_KEYS_TABLE": "dkim-keys",
    "RELAY_DKIM_KMS_KEY": "arn:aws:kms:eu-north-1:123456789012:key/dkim",
    "RELAY_AUDIT_TABLE": "audit",
    "RELAY_USAGE_TABLE": "usage",
    "RELAY_OPERATOR_TOPIC": "arn:aws:sns:eu-north-1:123456789012:operator",
    "RELAY_MESSAGES_PER_SECOND": "100",
    "RELAY_MESSAGES_PER_DAY": "200000",
    "RELAY_MAX_RECIPIENTS": "1000",
    "RELAY_BOUNCE_PAUSE_PERCENT": "10",
    "RELAY_BOUNCE_PAUSE_LEAST": "50",
    "RELAY_SITES_TABLE": "sites",
    "RELAY_DELIVER_CONCURRENCY": "100",
    "RELAY_DELAY_NOTICE_HOURS": "4",
    "RELAY_CONTENT_BUCKET": "content",
    "RELAY_TOKEN_NAME": "relay-token",
    "RELAY_SPF_DOMAIN": "relay.example",
    "RELAY_HOST_NAME": "smtp.relay.example",
    "RELAY_CLAIM_SECONDS": "330",
    "RELAY_CLOCK_SPEED": "1",
    "RELAY_DNS_SERVERS": "127.0.0.1:53, [::1]:53",
    "RELAY_SMTP_PORT": "25",
    "RELAY_REACHABLE_NETWORKS": "127.0.0.0/8, ::1/128",
    "RELAY_EGRESS_ADDRESSES": "192.0.2.1, 2001:db8::1",
    "RELAY_DMARC_MISSING": "refuse",
    "RELAY_DKIM_CHECK": "warn",
    "RELAY_VERDICT_MIN_SECONDS": "30",
    "RELAY_VERDICT_MAX_SECONDS": "300",
    "RELAY_VERDICT_STALE_HOURS": "24",
    "RELAY_HOLD_HOURS": "24",
    "RELAY_PASSWORD_OVERLAP_HOURS": "24",
    "RELAY_SUPPRESSION_DAYS": "30",
}
PROCESS = {
    "AWS_REGION": "eu-north-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "MailRelay",
}


def load(stage: str) -> ModuleType:
    """functions/<stage>/app.py, imported anew."""
    path = Path(__file__).parents[1] / "functions" / stage / "app.py"
    spec = importlib.util.spec_from_file_location(f"{stage}_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def process(stage: str) -> dict[str, str]:
    """The whole environment of a stage's process."""
    return {**ENVIRONMENT, **PROCESS, "POWERTOOLS_SERVICE_NAME": stage}
