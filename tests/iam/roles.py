"""The roles of template.yaml, with the ARNs of the stack that runs."""

import re
from collections.abc import Mapping
from typing import Any, Final

from local.stack import REGION
from tests.conditions import combinations, load, made
from tests.iam.calls import ACCOUNT, arn

CALLERS: Final = {  # access key -> role
    **{f"{name}Function": f"{name}Role" for name in ("Validate", "Deliver", "Record", "Accounts", "Dkim")},
    "Gateway": "GatewayRole",
}
SERVICES: Final = {
    "AWS::DynamoDB::Table": ("dynamodb", "table/"),
    "AWS::SQS::Queue": ("sqs", ""),
    "AWS::Lambda::Function": ("lambda", "function:"),
    "AWS::Logs::LogGroup": ("logs", "log-group:"),
    "AWS::KMS::Key": ("kms", "key/"),
}
PSEUDO: Final = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::StackName": "mailrelay",
}


class Roles:
    """resources: {logical id: (type, physical id)} of the stack; what it hasn't (the edge) has a name made up."""

    def __init__(self, resources: Mapping[str, tuple[str, str]]) -> None:
        template = load()
        everything = next(each for each in combinations(template) if {"edge", "VPC made", "mx"} <= set(each.words))
        self._parameters = everything.parameters
        self._made = made(template, everything.conditions)
        self._resources = resources

    def statements(self) -> dict[str, list[dict[str, Any]]]:
        """By access key."""
        return {
            caller: [
                self._resolved(each)
                for policy in self._made[role]["Properties"]["Policies"]
                for each in policy["PolicyDocument"]["Statement"]
            ]
            for caller, role in CALLERS.items()
        }

    def name_of(self, resource: str) -> str:
        """An ARN -> its logical id, or itself."""
        for name in self._resources:
            own = self._arn(name)
            if resource == own or resource.startswith(f"{own}/"):
                return name
        return resource

    def arn_of(self, name: str) -> str:
        return self._arn(name)

    def _arn(self, name: str) -> str:
        kind, physical = self._resources.get(name) or (self._made[name]["Type"], f"some-{name.lower()}")
        match kind:
            case "AWS::SNS::Topic" | "AWS::SecretsManager::Secret":
                return physical
            case "AWS::S3::Bucket":
                return f"arn:aws:s3:::{physical}"
        service, prefix = SERVICES.get(
            kind.replace("AWS::Serverless::Function", "AWS::Lambda::Function"), ("other", "")
        )
        return arn(service, f"{prefix}{physical.rpartition('/')[2]}")

    def _resolved(self, value: Any) -> Any:
        match value:
            case {"Ref": str(name)}:
                return PSEUDO.get(name) or self._parameters.get(name) or self._arn(name)
            case {"Fn::GetAtt": [str(name), "Arn"]}:
                return self._arn(name)
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{([^}]+)\}", lambda found: self._word(found[1]), text)
            case {"Fn::If": _}:
                raise ValueError(f"undecided: {value}")
            case dict():
                return {key: self._resolved(each) for key, each in value.items()}
            case list():
                return [self._resolved(each) for each in value]
        return value

    def _word(self, text: str) -> str:
        return PSEUDO.get(text) or self._arn(text.removesuffix(".Arn"))
