"""Whether what a template asks for really exists: `gaps` looks every resource and property up.

A local AWS may say CREATE_COMPLETE and create nothing, or leave properties out. So every type is either
looked up here (LOOKUPS) or listed as declared-only, and so is every property of it: a type or property
that is neither is a gap, and the local system doesn't start over a gap. Declared-only means: nothing on
this machine depends on it; the template's lint is all that checks it.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from local.stack import Aws, Stack

DECLARED_ONLY_TYPES: Final = frozenset(
    {
        "AWS::CloudWatch::Alarm",  # it would stay OK
        "AWS::CloudWatch::Dashboard",
        "AWS::Logs::MetricFilter",
    }
)
DECLARED_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "AWS::SQS::Queue": frozenset({"Tags"}),
    "AWS::DynamoDB::Table": frozenset(
        {
            "PointInTimeRecoverySpecification",
            "SSESpecification",
            "Tags",
            "TimeToLiveSpecification",
        }
    ),
    "AWS::S3::Bucket": frozenset({"LifecycleConfiguration", "PublicAccessBlockConfiguration", "Tags"}),
    # The code runs from its folder, the layer from PYTHONPATH, the architecture and network are this machine's; what is
    # logged goes to files.
    "AWS::Lambda::Function": frozenset({"Architectures", "Code", "Layers", "LoggingConfig", "Tags", "VpcConfig"}),
    "AWS::Lambda::EventSourceMapping": frozenset({"Tags"}),
    "AWS::Lambda::LayerVersion": frozenset({"CompatibleArchitectures", "CompatibleRuntimes", "Content", "LayerName"}),
    "AWS::IAM::Role": frozenset({"AssumeRolePolicyDocument", "ManagedPolicyArns", "Tags"}),
    "AWS::KMS::Key": frozenset({"Description", "KeyPolicy", "Tags"}),
    "AWS::Logs::LogGroup": frozenset({"Tags"}),
    "AWS::SNS::Topic": frozenset({"Subscription", "Tags"}),  # nobody listens here
}

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """A value of which only the end is known: an ARN's resource name."""

    text: str


class Anything:
    """A value that an intrinsic function makes which is not worked out here."""


def gaps(aws: Aws, stack: Stack) -> list[str]:
    """One sentence for each resource or property that is missing or different; empty when all is there."""
    found: list[str] = []
    for logical, resource in stack.template["Resources"].items():
        type_ = resource["Type"]
        if type_ in DECLARED_ONLY_TYPES:
            continue
        if logical not in stack.resources and "Condition" in resource:
            continue  # a condition that is false leaves it out
        lookup = LOOKUPS.get(type_)
        if lookup is None:
            found.append(f"{logical}: {type_} is neither looked up nor declared-only (local/stack_check.py)")
            continue
        if logical not in stack.resources:
            found.append(f"{logical}: was not created")
            continue
        try:
            actual = lookup(aws, stack.resources[logical] or logical)
        except (ClientError, LookupError) as error:
            found.append(f"{logical}: {type_} does not exist: {error}")
            continue
        found += [f"{logical}: {gap}" for gap in _differences(stack, type_, resource.get("Properties", {}), actual)]
    return found


def _differences(stack: Stack, type_: str, expected: Properties, actual: Properties) -> list[str]:
    found = []
    for name, value in expected.items():
        if name in DECLARED_ONLY.get(type_, ()):
            continue
        wanted = resolve(stack, value)
        if name not in actual:
            found.append(f"{type_} has no {name} (or local/stack_check.py doesn't look it up)")
        elif not same(wanted, actual[name]):
            found.append(f"{name} is {_short(actual[name])}, not {_short(wanted)}")
    return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def same(expected: object, actual: object) -> bool:
    """Whether `actual` has all that `expected` asks for; scalars by their text, as AWS's APIs are about them."""
    match expected:
        case Anything():
            return actual not in (None, "", [], {})
        case Ending(text):
            return str(actual).endswith(text)
        case dict():
            return isinstance(actual, dict) and all(
                name in actual and same(value, actual[name]) for name, value in expected.items()
            )
        case list():
            return isinstance(actual, list) and len(actual) == len(expected) and all(map(same, expected, actual))
        case _:
            return _scalar(expected) == _scalar(actual)


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def resolve(stack: Stack, value: Any) -> Any:
    """A property's value with the intrinsic functions worked out as far as a comparison needs."""
    match value:
        case {"Ref": str(name)}:
            return _ref(stack, name)
        case {"Fn::GetAtt": [str(name), *_]} if name in stack.resources:
            return Ending(re.split(r"[/:]", stack.resources[name])[-1])
        case {"Fn::Sub": str(text)}:
            return _sub(stack, text)
        case dict():
            functions = any(name.startswith("Fn::") for name in value)
            return Anything() if functions else {name: resolve(stack, each) for name, each in value.items()}
        case list():
            return [resolve(stack, each) for each in value]
    return value


def _sub(stack: Stack, text: str) -> str | Anything:
    parts: list[str] = []
    for number, part in enumerate(re.split(r"\$\{([^}!]+)\}", text)):
        known = _ref(stack, part) if number % 2 else part
        if isinstance(known, Anything):
            return known
        parts.append(known)
    return "".join(parts)


def _ref(stack: Stack, name: str) -> str | Anything:
    if name in stack.parameters:  # whose value may be empty
        return stack.parameters[name]
    return stack.resources.get(name) or Anything()


# --- how each type is looked up: physical id -> its properties, named as in the template ------------


def _queue(aws: Aws, url: str) -> Properties:
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    if "RedrivePolicy" in attributes:
        attributes["RedrivePolicy"] = json.loads(attributes["RedrivePolicy"])
    return dict(attributes)


def _table(aws: Aws, name: str) -> Properties:
    table = aws.client("dynamodb").describe_table(TableName=name)["Table"]
    return {**table, "BillingMode": table.get("BillingModeSummary", {}).get("BillingMode")}


def _bucket(aws: Aws, name: str) -> Properties:
    s3 = aws.client("s3")
    s3.head_bucket(Bucket=name)
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    encryption = [{"ServerSideEncryptionByDefault": rule["ApplyServerSideEncryptionByDefault"]} for rule in rules]
    return {"BucketName": name, "BucketEncryption": {"ServerSideEncryptionConfiguration": encryption}}


def _function(aws: Aws, name: str) -> Properties:
    return dict(aws.client("lambda").get_function_configuration(FunctionName=name))


def _mapping(aws: Aws, uuid: str) -> Properties:
    mapping = aws.client("lambda").get_event_source_mapping(UUID=uuid)
    return {
        **mapping,
        "Enabled": mapping["State"] in ("Enabled", "Enabling", "Creating"),
        "FunctionName": mapping["FunctionArn"].rpartition(":")[2],
    }


def _layer(aws: Aws, id: str) -> Properties:
    """moto gives a layer no physical id; its name has the logical one."""
    part = id.split(":")[6] if id.startswith("arn:") else id
    layers = aws.client("lambda").list_layers()["Layers"]
    latest = [layer["LatestMatchingVersion"] for layer in layers if part in layer["LayerName"]]
    if not latest:
        raise LookupError(f"no layer is named {part}")
    return dict(latest[-1])


def _role(aws: Aws, name: str) -> Properties:
    iam = aws.client("iam")
    iam.get_role(RoleName=name)
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    policies = [{"PolicyName": each, "PolicyDocument": _policy(iam, name, each)} for each in names]
    return {"RoleName": name, "Policies": policies}


def _policy(iam: Any, role: str, name: str) -> Any:
    """moto answers with a stack's policy as Python writes it, not as JSON."""
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    return ast.literal_eval(document) if isinstance(document, str) else document


def _log_group(aws: Aws, name: str) -> Properties:
    groups = aws.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    for group in groups:
        if group["logGroupName"] == name:
            return {"LogGroupName": name, "RetentionInDays": group.get("retentionInDays")}
    raise LookupError(f"no log group is named {name}")


def _topic(aws: Aws, arn: str) -> Properties:
    return dict(aws.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"])


def _kms_key(aws: Aws, id: str) -> Properties:
    """moto can't describe a key that a stack made: it takes the policy for text."""
    return {"EnableKeyRotation": aws.client("kms").get_key_rotation_status(KeyId=id)["KeyRotationEnabled"]}


LOOKUPS: Final[Mapping[str, Callable[[Aws, str], Properties]]] = {
    "AWS::SQS::Queue": _queue,
    "AWS::DynamoDB::Table": _table,
    "AWS::S3::Bucket": _bucket,
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::EventSourceMapping": _mapping,
    "AWS::Lambda::LayerVersion": _layer,
    "AWS::IAM::Role": _role,
    "AWS::KMS::Key": _kms_key,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::SNS::Topic": _topic,
}
