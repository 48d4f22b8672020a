"""A request to AWS on its way -> what IAM is asked about it (AWS: Service Authorization Reference)."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from local.stack import REGION
from tests.iam.policy import Ask

ACCOUNT: Final = "123456789012"  # moto's
NAMES: Final = re.compile(r"(?<![:\w])#?[a-z_]+", re.IGNORECASE)
BATCH: Final = {"SendMessageBatch": "SendMessage", "DeleteMessageBatch": "DeleteMessage"}
S3: Final = {"GET": "s3:GetObject", "PUT": "s3:PutObject", "HEAD": "s3:GetObject", "DELETE": "s3:DeleteObject"}
KEY: Final = re.compile(r"Credential=([^/]+)/[0-9]{8}/[^/]+/([a-z0-9]+)/aws4_request")


def arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


def who(headers: Mapping[str, str]) -> tuple[str, str]:
    """The access key, and the service, of a signed request; "" for neither. headers: names in lower case."""
    found = KEY.search(headers.get("authorization", ""))
    return (found[1], found[2]) if found else ("", "")


def asks(service: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> list[Ask]:
    """service: as of `who`. ValueError for a call that isn't known here."""
    if operation := headers.get("x-amz-target", "").rpartition(".")[2]:
        return _json(service, operation, json.loads(body or b"{}"))
    match service:
        case "s3":
            bucket, _, key = unquote(urlsplit(path).path).lstrip("/").partition("/")
            return [Ask(S3[method], f"arn:aws:s3:::{bucket}/{key}", {})]
        case "sns" | "monitoring" | "sts":
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            prefix = "cloudwatch" if service == "monitoring" else service
            return [Ask(f"{prefix}:{form['Action']}", form.get("TopicArn", "*"), {})]
    raise ValueError(f"{method} {path} of {service} is not known here")


def _json(service: str, operation: str, fields: Mapping[str, Any]) -> list[Ask]:
    action = f"{service}:{BATCH.get(operation, operation)}"
    match service:
        case "dynamodb":
            tables = fields.get("RequestItems") or [fields["TableName"]]
            return [Ask(action, arn("dynamodb", f"table/{name}"), _dynamo_keys(fields)) for name in tables]
        case "sqs":
            return [Ask(action, arn("sqs", str(fields["QueueUrl"]).rpartition("/")[2]), {})]
        case "kms":
            return [Ask(action, str(fields["KeyId"]), {})]
        case "secretsmanager":
            return [Ask(action, str(fields["SecretId"]), {})]
    raise ValueError(f"{operation} of {service} is not known here")


def _dynamo_keys(fields: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """dynamodb:Attributes: the top-level attributes that a call names; dynamodb:ReturnValues: only if it is asked for
    (AWS: DynamoDB Developer Guide, "Using IAM policy conditions for fine-grained access control")."""
    aliases = fields.get("ExpressionAttributeNames", {})
    attributes = set(fields.get("Key", {})) | set(fields.get("Item", {})) | set(aliases.values())
    keys = {"dynamodb:Attributes": frozenset(attributes)}
    if wanted := fields.get("ReturnValues"):
        keys["dynamodb:ReturnValues"] = frozenset({wanted})
    return keys
