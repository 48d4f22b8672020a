"""Calling a function by name and waiting for its answer."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from relay.aws.client import AwsClient
from relay.errors import TemporaryError

LONGEST: Final = 60.0  # seconds for which an answer is waited for


async def invoke(
    client: AwsClient, function_name: str, payload: Mapping[str, Any], *, seconds: float = LONGEST
) -> dict[str, Any]:
    """The function's answer, which must be a JSON object. Tried once: a call may not bear repeating.
    function_name: or its ARN. seconds: for which the answer is waited for.

    TemporaryError if it cannot be called, or failed; its own words stay out of the error's safe text.
    """
    path = f"/2015-03-31/functions/{quote(function_name, safe='')}/invocations"
    body = json.dumps(payload).encode()
    request = await client.request("lambda", "POST", path, (("content-type", "application/json"),), body)
    response = await client.call("Invoke", request, body, tries=1, seconds=seconds)
    try:
        answer = json.loads(response.body)
    except ValueError:
        answer = None
    if "x-amz-function-error" in response.headers or not isinstance(answer, dict):
        kind = answer.get("errorType", "") if isinstance(answer, dict) else "no JSON object"
        raise TemporaryError(f"the function {function_name} failed; its log says why", str(kind))
    return answer
