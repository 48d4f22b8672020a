import asyncio
from typing import Any

import pytest

from relay.aws.client import AwsClient
from relay.aws.lambdas import invoke
from relay.errors import TemporaryError
from tests.unit.aws.contract import KEYS, REGION
from tests.unit.aws.scripted import CLOSE, Answer, Scripted, answer, in_turn, scripted


def run(said: Answer) -> tuple[Any, Scripted]:
    async def test() -> tuple[Any, Scripted]:
        async with scripted(in_turn(said)) as (server, url):
            client = AwsClient(REGION, url, credentials=KEYS, backoff=0.0)
            try:
                return await invoke(client, "the:function", {"action": "list"}), server
            except TemporaryError as error:
                return error, server
            finally:
                await client.close()

    return asyncio.run(test())


def test_the_answer_comes_back() -> None:
    got, server = run(answer({"ok": True}))
    assert got == {"ok": True}
    assert server.heads[0].startswith("POST /2015-03-31/functions/the%3Afunction/invocations HTTP/1.1\r\n")
    assert server.bodies == [b'{"action": "list"}']


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            answer({"errorType": "KeyError", "errorMessage": "secret"}, 200, "X-Amz-Function-Error: Unhandled\r\n"),
            "KeyE",
        ),
        (answer(b"null"), "no JSON object"),
        (answer(b"<html>"), "no JSON object"),
        (answer({"__type": "ResourceNotFoundException"}, 404), "ResourceNotFoundException"),
        (answer({"__type": "TooManyRequestsException"}, 429), "TooManyRequestsException"),
        (CLOSE, "ConnectionLost"),
    ],
    ids=["function error", "null", "no json", "no function", "throttled", "closed"],
)
def test_a_call_that_fails_is_not_repeated(said: Answer, words: str) -> None:
    error, server = run(said)
    assert isinstance(error, TemporaryError)
    assert words in str(error)
    assert "secret" not in str(error)
    assert len(server.heads) == 1
