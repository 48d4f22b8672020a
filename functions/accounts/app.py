"""The accounts function: {"action": "create", "user": ..., "phone": ...} or {"action": "list"}.

Answers {"ok": true, ...} or {"ok": false, "error": one sentence}. The password goes out by SMS and is
neither returned nor logged; nor are events, which hold phone numbers.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from relay.accounts import create
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.sms import SnsSms
from relay.clock import SystemClock
from relay.errors import PermanentError, RelayError
from relay.ports import Accounts, Clock, Sms
from relay.proof.token import records_to_publish
from relay.settings import FunctionSettings

Answer = dict[str, Any]


class AccountsHandler:
    def __init__(
        self, settings: FunctionSettings, *, accounts: Accounts, sms: Sms, clock: Clock, logger: Logger
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._sms = sms
        self._clock = clock
        self._logger = logger

    async def __call__(self, event: Mapping[str, Any]) -> Answer:
        actions: dict[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]] = {
            "create": self._create,
            "list": self._list,
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
        self._logger.info("done", extra={"action": action, "user": answer.get("user")})
        return {"ok": True, **answer}

    async def _create(self, event: Mapping[str, Any]) -> Answer:
        account = await create(
            _text(event, "user"),
            _text(event, "phone"),
            accounts=self._accounts,
            sms=self._sms,
            clock=self._clock,
            host_name=self._settings.host_name,
        )
        domain = account.user.rpartition("@")[2].lower()  # only a first guess: any domain may be signed up
        records = records_to_publish(domain, account.user, self._settings.token_name, self._settings.spf_domain)
        return {"user": account.user, "records": [asdict(record) for record in records]}

    async def _list(self, event: Mapping[str, Any]) -> Answer:  # noqa: ARG002 - every action takes the event
        return {
            "accounts": [
                {
                    "user": account.user,
                    "phone": account.phone,
                    "created": account.created,
                    "disabled": account.disabled,
                }
                for account in await self._accounts.list()
            ]
        }


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value.strip():
        raise PermanentError(f"{name} is missing")
    return value


@cache
def compose() -> tuple[asyncio.Runner, AccountsHandler]:
    """At the first invocation; the loop and its connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    accounts = DynamoAccounts(client, settings.accounts_table)
    handler = AccountsHandler(settings, accounts=accounts, sms=SnsSms(client), clock=SystemClock(), logger=Logger())
    return asyncio.Runner(), handler


def handler(event: Mapping[str, Any], context: object) -> Answer:  # noqa: ARG001 - Lambda's signature
    runner, handle = compose()
    return runner.run(handle(event))
