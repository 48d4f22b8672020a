"""The dkim function: {"action": "enable", "rotate", "disable" or "show", "domain": ...} from `mailrelay dkim`.

Answers {"ok": true, ...} or {"ok": false, "error": one sentence}. Private keys are made here, leave as what KMS made of
them, and are neither returned nor logged. Who may invoke this function may have the relay sign for a domain.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from relay.audit import Audited
from relay.aws.audit import DynamoAudit
from relay.aws.client import AwsClient
from relay.aws.dkim_keys import DynamoDkimKeys
from relay.aws.kms import KmsSealer
from relay.clock import SystemClock
from relay.dkim_admin import DkimAdmin, Report
from relay.dkim_keys import KEPT_DAYS
from relay.dns import DnspythonResolver
from relay.errors import PermanentError, RelayError
from relay.ports import Clock
from relay.settings import FunctionSettings

Answer = dict[str, Any]


class DkimHandler:
    def __init__(self, admin: DkimAdmin, logger: Logger) -> None:
        self._actions: dict[str, Callable[[str], Awaitable[Report]]] = {
            "enable": admin.enable,
            "rotate": admin.rotate,
            "disable": admin.disable,
            "show": admin.show,
        }
        self._logger = logger

    async def __call__(self, event: Mapping[str, Any]) -> Answer:
        action, domain = event.get("action"), event.get("domain")
        try:
            run = self._actions.get(action) if isinstance(action, str) else None
            if run is None:
                raise PermanentError(f"the action must be one of: {', '.join(self._actions)}")
            if not isinstance(domain, str) or not domain.strip():
                raise PermanentError("domain is missing")
            report = await run(domain)
        except RelayError as error:
            self._logger.warning("refused", extra={"error": error.safe, "detail": error.detail})
            return {"ok": False, "error": error.safe}
        extra = {"action": action, "domain": report.keys.domain, "changed": report.changed}
        self._logger.info("done", extra=extra)
        return {"ok": True, **_answer(report)}


def _answer(report: Report) -> Answer:
    keys = report.keys
    listed = []
    for each in keys.keys:
        record, dns = each.record(keys.domain), report.dns[each.selector]
        listed.append(
            {
                "selector": each.selector,
                "state": each.state.value,
                "name": record.name,
                "value": record.value,
                "dns": dns.value if dns else "no answer",
                "created": each.created,
                "seen": each.seen or None,
                "ended": each.ended or None,
            }
        )
    return {
        "domain": keys.domain,
        "enabled": keys.enabled,
        "changed": report.changed,
        "kept_days": KEPT_DAYS,
        "keys": listed,
    }


@cache
def compose() -> tuple[asyncio.Runner, DkimHandler, Audited]:
    """At the first invocation; the loop and its connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    clock, logger = SystemClock(), Logger()
    admin = DkimAdmin(
        keys=DynamoDkimKeys(client, settings.dkim_keys_table),
        sealer=KmsSealer(client, settings.dkim_kms_key),
        resolver=DnspythonResolver(settings.dns_servers),
        clock=clock,
    )
    return asyncio.Runner(), DkimHandler(admin, logger), _audited(client, settings, clock, logger)


def _audited(client: AwsClient, settings: FunctionSettings, clock: Clock, logger: Logger) -> Audited:
    def log(what: str, error: RelayError) -> None:
        logger.error(what, extra={"error": error.safe, "detail": error.detail})

    return Audited(DynamoAudit(client, settings.audit_table), clock, log)


def handler(event: Mapping[str, Any], context: Any) -> Answer:
    runner, handle, audited = compose()
    return runner.run(audited(event, context.aws_request_id, handle))
