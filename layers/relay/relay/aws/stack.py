"""What a deployed stack is made of, for the command line. boto3, because nothing here is hot."""

from typing import NamedTuple

from relay.errors import PermanentError, TemporaryError


class StackFacts(NamedTuple):
    """By name."""

    outputs: dict[str, str]
    parameters: dict[str, str]


def stack_facts(name: str, region: str, endpoint_url: str | None = None) -> StackFacts:
    """Of a CloudFormation stack.

    PermanentError if there is no such stack; TemporaryError if CloudFormation cannot be asked.
    """
    import boto3  # 0.3 s that only this pays
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("cloudformation", region_name=region, endpoint_url=endpoint_url)
        stacks = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "ValidationError":  # CloudFormation's word for a stack that doesn't exist
            raise PermanentError(f"there is no stack {name!r} in {region}", code) from error
        raise TemporaryError("CloudFormation refused to describe the stack", code) from error
    except BotoCoreError as error:
        raise TemporaryError("CloudFormation cannot be asked", str(error)) from error
    return StackFacts(
        {each["OutputKey"]: each["OutputValue"] for each in stacks[0].get("Outputs", ())},
        {each["ParameterKey"]: each.get("ParameterValue", "") for each in stacks[0].get("Parameters", ())},
    )
