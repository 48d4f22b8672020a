"""Who may do what: what each role allows, what was seen of it, and what it denies."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tests.iam.calls import asks
from tests.iam.gate import Gate
from tests.iam.policy import Ask, allows
from tests.iam.roles import CALLERS, Roles


class Attempt(NamedTuple):
    """Something that a role has no business with. call: service, operation, fields."""

    caller: str
    why: str
    service: str
    operation: str
    fields: dict[str, Any]

    def asks(self, roles: Roles) -> list[Ask]:
        names = {"TableName": "table", "QueueUrl": "queue", "KeyId": "key"}
        fields = {
            key: _physical(roles, value) if key in names and value[0].isupper() else value
            for key, value in self.fields.items()
        }
        headers = {"x-amz-target": f"Target.{self.operation}"}
        return asks(self.service, "POST", "/", headers, json.dumps(fields).encode())


def _physical(roles: Roles, name: str) -> str:
    found = roles.arn_of(name)
    return found if ":kms:" in found else found.rpartition(":")[2].removeprefix("table/")


ALLOWED_ATTRIBUTES: Final = {"#p": "pause_since", "#v": "version", "#u": "user", "#d": "deleted"}
DENIED: Final = [
    Attempt("Gateway", "make an account", "dynamodb", "PutItem", {"TableName": "AccountsTable", "Item": {"user": 1}}),
    Attempt("Gateway", "list accounts", "dynamodb", "Scan", {"TableName": "AccountsTable"}),
    Attempt("Gateway", "read mail off the queue", "sqs", "ReceiveMessage", {"QueueUrl": "ValidateQueue"}),
    Attempt("Gateway", "skip the proof", "sqs", "SendMessage", {"QueueUrl": "DeliverQueue"}),
    Attempt("Gateway", "read what became of mail", "dynamodb", "Query", {"TableName": "MessagesTable"}),
    Attempt("Gateway", "unseal a key", "kms", "Decrypt", {"KeyId": "DkimKmsKey"}),
    Attempt("ValidateFunction", "change an account", "dynamodb", "PutItem", {"TableName": "AccountsTable"}),
    Attempt("ValidateFunction", "make keys", "kms", "Encrypt", {"KeyId": "DkimKmsKey"}),
    Attempt("ValidateFunction", "take keys away", "dynamodb", "DeleteItem", {"TableName": "DkimKeysTable"}),
    Attempt("ValidateFunction", "write rows", "dynamodb", "BatchWriteItem", {"RequestItems": {"MessagesTable": []}}),
    Attempt("DeliverFunction", "change an account", "dynamodb", "UpdateItem", {"TableName": "AccountsTable"}),
    Attempt("DeliverFunction", "unseal a key", "kms", "Decrypt", {"KeyId": "DkimKmsKey"}),
    Attempt("DeliverFunction", "take a submission", "sqs", "ReceiveMessage", {"QueueUrl": "ValidateQueue"}),
    Attempt("DeliverFunction", "forge a submission", "sqs", "SendMessage", {"QueueUrl": "ValidateQueue"}),
    Attempt("DeliverFunction", "forget what was sent", "dynamodb", "DeleteItem", {"TableName": "LedgerTable"}),
    Attempt("RecordFunction", "replace an account", "dynamodb", "PutItem", {"TableName": "AccountsTable"}),
    Attempt(
        "RecordFunction",
        "set a password",
        "dynamodb",
        "UpdateItem",
        {"TableName": "AccountsTable", "ExpressionAttributeNames": {**ALLOWED_ATTRIBUTES, "#h": "hash"}},
    ),
    Attempt(
        "RecordFunction",
        "read all of an account by pausing it",
        "dynamodb",
        "UpdateItem",
        {"TableName": "AccountsTable", "ExpressionAttributeNames": ALLOWED_ATTRIBUTES, "ReturnValues": "ALL_NEW"},
    ),
    Attempt("RecordFunction", "read the audit", "dynamodb", "Query", {"TableName": "AuditTable"}),
    Attempt("RecordFunction", "change the ledger", "dynamodb", "UpdateItem", {"TableName": "LedgerTable"}),
    Attempt("AccountsFunction", "forget who did it", "dynamodb", "DeleteItem", {"TableName": "AuditTable"}),
    Attempt("AccountsFunction", "send mail", "sqs", "SendMessage", {"QueueUrl": "DeliverQueue"}),
    Attempt("AccountsFunction", "read mail", "dynamodb", "Query", {"TableName": "MessagesTable"}),
    Attempt("DkimFunction", "unseal a key", "kms", "Decrypt", {"KeyId": "DkimKmsKey"}),
    Attempt("DkimFunction", "read an account", "dynamodb", "GetItem", {"TableName": "AccountsTable"}),
    Attempt("DkimFunction", "forget who did it", "dynamodb", "DeleteItem", {"TableName": "AuditTable"}),
]


BY_AWS: Final = "by Lambda or ECS itself, with the role"
BY_THE_GATEWAY: Final = "at the local Lambda service, which has no IAM"
RARE: Final = "after a failure, or another process's write"
UNSEEN: Final = {  # (caller, action) that a role allows and the run has no need of, and why it is needed nevertheless
    **{
        (f"{name}Function", f"sqs:{action}"): BY_AWS
        for name in ("Validate", "Deliver", "Record")
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
    },
    **{
        ("DeliverFunction", f"ec2:{action}"): BY_AWS
        for action in (
            *("CreateNetworkInterface", "DeleteNetworkInterface", "DescribeNetworkInterfaces"),
            *("AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"),
            *("DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs"),
        )
    },
    ("Gateway", "lambda:InvokeFunction"): BY_THE_GATEWAY,
    ("Gateway", "secretsmanager:GetSecretValue"): "by fetch-certificates, beside the gateway",
    ("Gateway", "sqs:GetQueueAttributes"): "by the health endpoint",
    ("Gateway", "dynamodb:GetItem"): "of usage: over the limit by what is remembered",
    **{
        (f"{name}Function", "s3:ListBucket"): "content that is gone is 404"
        for name in ("Validate", "Deliver", "Record")
    },
    ("ValidateFunction", "dynamodb:GetItem"): RARE,
    ("ValidateFunction", "dynamodb:Query"): "of deliveries, for one that comes twice",
    ("ValidateFunction", "sqs:SendMessage"): "onto its own queue: what is held",
    ("DeliverFunction", "dynamodb:GetItem"): RARE,
    ("DeliverFunction", "dynamodb:PutItem"): "of sites that fail, policies that are found",
    ("DeliverFunction", "dynamodb:DeleteItem"): "of sites that answer again, addresses that are alive",
    ("RecordFunction", "sqs:SendMessage"): "onto its own queue: after an outage",
    ("RecordFunction", "s3:PutObject"): "of a notice that is large",
    ("AccountsFunction", "dynamodb:DeleteItem"): "of an account whose SMS failed",
    ("AccountsFunction", "cloudwatch:GetMetricStatistics"): "where there is an SMS spending limit",
    ("AccountsFunction", "sns:ListSMSSandboxPhoneNumbers"): "in the SMS sandbox",
}


def seen(gate: Gate, roles: Roles) -> dict[str, dict[str, set[str]]]:
    """What roles allowed in a run: actions by resource, by caller."""
    found: dict[str, dict[str, set[str]]] = {caller: {} for caller in CALLERS}
    for caller, action, resource in gate.allowed:
        found[caller].setdefault(roles.name_of(resource), set()).add(action)
    return found


def denied(roles: Roles) -> Iterator[tuple[Attempt, bool]]:
    """Each attempt, and whether its role denies it."""
    statements = roles.statements()
    for attempt in DENIED:
        yield attempt, not all(allows(statements[attempt.caller], each) for each in attempt.asks(roles))


def unseen(gate: Gate, roles: Roles) -> set[tuple[str, str, str]]:
    """(caller, action, resource) that a role allows and that was not seen in the run. What Lambda and ECS themselves do
    by the role (polling, logs) is none of the code's."""
    found = set()
    had = seen(gate, roles)
    for caller, statements in roles.statements().items():
        for each in statements:
            if each["Effect"] != "Allow":
                continue
            for action in [each["Action"]] if isinstance(each["Action"], str) else each["Action"]:
                for resource in [each["Resource"]] if isinstance(each["Resource"], str) else each["Resource"]:
                    name = roles.name_of(resource)
                    if not action.startswith("logs:") and action not in had[caller].get(name, ()):
                        found.add((caller, action, name))
    return found
