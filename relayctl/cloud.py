"""Composition: a target's AWS side, through relay.aws."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from relay.audit import READING
from relay.aws.accounts import DynamoAccounts
from relay.aws.audit import DynamoAudit
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.deadletters import SqsDeadLetters
from relay.aws.identity import caller_arn
from relay.aws.lambdas import invoke
from relay.aws.ledger import DynamoLedger
from relay.aws.messages import DynamoMessages
from relay.aws.pauses import DynamoPauses
from relay.aws.queue import SqsQueue
from relay.aws.receipts import DynamoReceipts
from relay.aws.signing import Credentials
from relay.aws.stack import StackFacts, stack_facts
from relay.aws.suppressions import DynamoSuppressions
from relay.aws.usage import DynamoUsage
from relay.errors import RelayError, TemporaryError
from relayctl.context import STAGES, Cloud, StageQueue, Target
from relayctl.errors import CommandError
from relayctl.service import service_of, template_parameters

# Where a local system's state file has what a stack has among its outputs.
LOCAL_NAMES = {
    "AccountsFunctionName": ("functions", "AccountsFunction"),
    "DkimFunctionName": ("functions", "DkimFunction"),
    "MessagesTableName": ("tables", "MessagesTable"),
    "LedgerTableName": ("tables", "LedgerTable"),
    "AccountsTableName": ("tables", "AccountsTable"),
    "ReceiptsTableName": ("tables", "ReceiptsTable"),
    "SuppressionsTableName": ("tables", "SuppressionsTable"),
    "AuditTableName": ("tables", "AuditTable"),
    "UsageTableName": ("tables", "UsageTable"),
    "SitesTableName": ("tables", "SitesTable"),
    **{
        f"{stage.title()}{kind}QueueUrl": ("queues", f"{stage.title()}{kind}Queue")
        for stage in STAGES
        for kind in ("", "DeadLetter")
    },
}
LOCAL: Final = "this machine"  # whose credentials the local system's are
OUTPUTS = (*LOCAL_NAMES, "ContentBucketName")


class AwsCloud:
    """functions: where they are invoked. facts: the stack's. caller: whose credentials these are."""

    def __init__(
        self, client: AwsClient, functions: AwsClient, facts: StackFacts, caller: Callable[[], Awaitable[str]]
    ) -> None:
        outputs = facts.outputs
        self._caller = caller
        self._functions = functions
        self._accounts_function = outputs["AccountsFunctionName"]
        self._dkim_function = outputs["DkimFunctionName"]
        self.messages = DynamoMessages(client, outputs["MessagesTableName"])
        self.ledger = DynamoLedger(client, outputs["LedgerTableName"])
        self.users = DynamoAccounts(client, outputs["AccountsTableName"])
        self.receipts = DynamoReceipts(client, outputs["ReceiptsTableName"])
        self.suppressions = DynamoSuppressions(client, outputs["SuppressionsTableName"])
        self.audit = DynamoAudit(client, outputs["AuditTableName"])
        self.usage = DynamoUsage(client, outputs["UsageTableName"])
        self.pauses = DynamoPauses(client, outputs["SitesTableName"])
        self.content = S3Content(client, outputs["ContentBucketName"])
        self.service = service_of(facts.parameters)
        self.stages = {stage: _stage(client, outputs, stage.title()) for stage in STAGES}

    async def accounts(self, event: dict[str, Any]) -> dict[str, Any]:
        return await invoke(self._functions, self._accounts_function, await self._signed(event))

    async def dkim(self, event: dict[str, Any]) -> dict[str, Any]:
        return await invoke(self._functions, self._dkim_function, await self._signed(event))

    async def _signed(self, event: dict[str, Any]) -> dict[str, Any]:
        """With who asks, for the audit; reading isn't audited."""
        return event if event["action"] in READING else {**event, "caller": await self._caller()}


def _stage(client: AwsClient, outputs: Mapping[str, str], name: str) -> StageQueue:
    url, dead = outputs[f"{name}QueueUrl"], outputs[f"{name}DeadLetterQueueUrl"]
    return StageQueue(SqsQueue(client, url), SqsDeadLetters(client, url), SqsDeadLetters(client, dead))


@asynccontextmanager
async def connect(target: Target) -> AsyncIterator[Cloud]:
    """The AWS side of `target`; CommandError says what is missing or does not answer."""
    try:
        facts = (
            _local_facts(target.state)
            if not target.stack
            else stack_facts(target.stack, target.region, target.endpoint)
        )
    except KeyError as error:
        raise CommandError(f"{target.name} lacks {error}: start `mailrelay local` again") from None
    except RelayError as error:
        raise CommandError(f"{target.name}: {error}") from None
    missing = [name for name in OUTPUTS if name not in facts.outputs]
    if missing:
        raise CommandError(f"{target.name} has no output {missing[0]}: deploy the present template.yaml")
    # the local endpoint never gets a person's own credentials
    credentials = None if target.stack else Credentials("local", "local")
    client = AwsClient(target.region, target.endpoint, credentials=credentials)
    # the local system runs its functions itself, whatever AWS it is given
    runs = target.state.get("lambda")
    functions = AwsClient(target.region, runs, credentials=credentials) if runs else client
    try:
        yield AwsCloud(client, functions, facts, lambda: _caller(client, target))
    except TemporaryError as error:
        hint = "" if target.stack else "; is `mailrelay local` still running?"
        raise CommandError(f"{target.name} does not answer: {error.detail or error.safe}{hint}") from None
    finally:
        await functions.close()
        await client.close()


async def _caller(client: AwsClient, target: Target) -> str:
    return await caller_arn(client) if target.stack else LOCAL


def _local_facts(state: Mapping[str, Any]) -> StackFacts:
    outputs = {output: state[section][name] for output, (section, name) in LOCAL_NAMES.items()}
    outputs["ContentBucketName"] = state["bucket"]
    # a local system is always the present template's
    return StackFacts(outputs, {**template_parameters(), **state.get("parameters", {})})
