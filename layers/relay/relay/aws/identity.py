"""Whose credentials these are (AWS: STS API reference, GetCallerIdentity)."""

import re
from typing import Final

from relay.aws.client import AwsClient
from relay.errors import TemporaryError

ARN: Final = re.compile(rb"<Arn>([^<]{1,300})</Arn>")


async def caller_arn(client: AwsClient) -> str:
    """The ARN of the client's user or session. Needs no permission. TemporaryError if STS is away."""
    found = ARN.search(await client.query("sts", "GetCallerIdentity", {}))
    if not found:
        raise TemporaryError("AWS does not say whose credentials these are", "STS: no Arn in the answer")
    return found[1].decode("ascii", "replace")
