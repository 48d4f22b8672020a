"""What a deployed stack is made of, for the command line. boto3, because nothing here is hot."""

from relay.errors import PermanentError, TemporaryError


def stack_outputs(name: str, region: str, endpoint_url: str | None = None) -> dict[str, str]:
    """The outputs of a CloudFormation stack: {output key: value}.

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
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", ())}
