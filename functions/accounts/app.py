"""The accounts function. Events:

    {"action": "create", "user": ..., "phone": ...}
    {"action": "list"}
    {"action": "rotate", "user": ..., "now": whether the old password ends at once}
    {"action": "limits", "user": ..., "limits": {field of quota.Limits: number, 0 for the default}}
    {"action": "show", "disable", "enable", "resume" or "delete", "user": ...}

Answers {"ok": true, ...} or {"ok": false, "error": one sentence}. The password goes out by SMS and is
neither returned nor logged; nor are events, which hold phone numbers.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, fields
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from relay.account import Account, Accounts
from relay.accounts import AccountAdmin, Change, create
from relay.audit import Audited
from relay.aws.accounts import DynamoAccounts
from relay.aws.audit import DynamoAudit
from relay.aws.client import AwsClient
from relay.aws.sms import SnsSms
from relay.aws.usage import DynamoUsage
from relay.bounces import BounceTable
from relay.clock import SystemClock
from relay.dns import DnspythonResolver
from relay.errors import PermanentError, RelayError
from relay.ports import Clock, Resolver, Sms
from relay.proof.token import records_to_publish
from relay.quota import Limits
from relay.settings import FunctionSettings

Answer = dict[str, Any]


class AccountsHandler:
    def __init__(
        self,
        settings: FunctionSettings,
        *,
        accounts: Accounts,
        bounces: BounceTable,
        sms: Sms,
        resolver: Resolver,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._sms = sms
        self._resolver = resolver
        self._clock = clock
        self._logger = logger
        self._admin = AccountAdmin(
            accounts,
            bounces,
            sms,
            clock,
            host_name=settings.host_name,
            overlap=settings.password_overlap / settings.clock_speed,
        )

    async def __call__(self, event: Mapping[str, Any]) -> Answer:
        actions: dict[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]] = {
            "create": self._create,
            "list": self._list,
            "show": self._show,
            "rotate": self._rotate,
            "disable": self._changing(self._admin.disable),
            "enable": self._changing(self._admin.enable),
            "resume": self._changing(self._admin.resume),
            "limits": self._limits,
            "delete": self._changing(self._admin.delete),
        }
        action = event.get("action")
        try:
            run = actions.get(action) if isinstance(action, str) else None
            if run is None:
                raise PermanentError(f"the action must be one of: {', '.join(actions)}")
            answer = await run(event)
        except RelayError as error:
            self._logger.warning("refused", extra={"error": error.safe, "detail": error.detail})
            return {"ok": False, "error": error.safe}
        done = {"action": action, "user": answer.get("user"), "changed": answer.get("changed")}
        self._logger.info("done", extra=done)
        return {"ok": True, **answer}

    async def _create(self, event: Mapping[str, Any]) -> Answer:
        account = await create(
            _text(event, "user"),
            _text(event, "phone"),
            accounts=self._accounts,
            sms=self._sms,
            resolver=self._resolver,
            clock=self._clock,
            host_name=self._settings.host_name,
        )
        return self._to_use(account)

    def _to_use(self, account: Account) -> Answer:
        """What its user needs besides the password."""
        domain = account.user.rpartition("@")[2].lower()  # only a first guess: any domain may be signed up
        records = records_to_publish(domain, account.user, self._settings.token_name, self._settings.spf_domain)
        return {
            "user": account.user,
            "server": self._settings.host_name,
            "records": [asdict(record) for record in records],
        }

    async def _show(self, event: Mapping[str, Any]) -> Answer:
        account = await self._admin.show(_text(event, "user"))
        previous = account.previous
        holds = previous.until if previous and previous.until > self._clock.now() else None
        return {**self._to_use(account), **self._facts(account), "old_password_until": holds}

    async def _rotate(self, event: Mapping[str, Any]) -> Answer:
        at_once = event.get("now", False)
        if not isinstance(at_once, bool):
            raise PermanentError("now must be true or false")
        change = await self._admin.rotate(_text(event, "user"), at_once=at_once)
        previous = change.account.previous
        until = previous.until if previous else None
        return {**self._facts(change.account), "changed": True, "old_password_until": until}

    async def _limits(self, event: Mapping[str, Any]) -> Answer:
        change = await self._admin.limit(_text(event, "user"), _changes(event))
        return {**self._facts(change.account), "changed": change.changed}

    def _changing(self, action: Callable[[str], Awaitable[Change]]) -> Callable[[Mapping[str, Any]], Awaitable[Answer]]:
        async def run(event: Mapping[str, Any]) -> Answer:
            change = await action(_text(event, "user"))
            return {**self._facts(change.account), "changed": change.changed}

        return run

    def _facts(self, account: Account) -> Answer:
        return {
            "user": account.user,
            "phone": account.phone,
            "created": account.created,
            "disabled": account.disabled,
            "paused": account.pause._asdict() if account.pause else None,
            "limits": asdict(account.limits.over(self._settings.account_limits)),
            "own_limits": [each for each, value in asdict(account.limits).items() if value],
        }

    async def _list(self, event: Mapping[str, Any]) -> Answer:  # noqa: ARG002 - every action takes the event
        return {
            "accounts": [self._facts(account) for account in await self._accounts.list()],
        }


def _changes(event: Mapping[str, Any]) -> dict[str, int]:
    names = [each.name for each in fields(Limits)]
    match event.get("limits"):
        case dict(changes) if (
            changes and changes.keys() <= set(names) and all(type(n) is int for n in changes.values())
        ):
            return changes
    raise PermanentError(f"limits must be whole numbers for one or more of: {', '.join(names)}")


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value.strip():
        raise PermanentError(f"{name} is missing")
    return value


@cache
def compose() -> tuple[asyncio.Runner, AccountsHandler, Audited]:
    """At the first invocation; the loop and its connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    accounts = DynamoAccounts(client, settings.accounts_table)
    clock, logger = SystemClock(), Logger()
    handler = AccountsHandler(
        settings,
        accounts=accounts,
        bounces=DynamoUsage(client, settings.usage_table),
        sms=SnsSms(client, clock),
        resolver=DnspythonResolver(settings.dns_servers),
        clock=clock,
        logger=logger,
    )
    return asyncio.Runner(), handler, _audited(client, settings, clock, logger)


def _audited(client: AwsClient, settings: FunctionSettings, clock: Clock, logger: Logger) -> Audited:
    def log(what: str, error: RelayError) -> None:
        logger.error(what, extra={"error": error.safe, "detail": error.detail})

    return Audited(DynamoAudit(client, settings.audit_table), clock, log)


def handler(event: Mapping[str, Any], context: Any) -> Answer:
    runner, handle, audited = compose()
    return runner.run(audited(event, context.aws_request_id, handle))
