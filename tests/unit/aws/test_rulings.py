import asyncio
import json

import pytest

from relay.aws.client import AwsClient
from relay.aws.rulings import LONGEST, LambdaRulings
from relay.errors import TemporaryError
from relay.proof.ruling import Question, Ruling, Standing, encode_ruling
from relay.proof.verdict import TOTAL_SECONDS
from tests.unit.aws.contract import KEYS, REGION
from tests.unit.aws.scripted import CLOSE, Answer, Scripted, answer, in_turn, scripted

QUESTION = Question("d.example", "app@login.example", "news@d.example")
REFUSED = Ruling(Standing.REFUSED, ("d.example has no token", "publish: it"), 30.0)
ARN = "arn:aws:lambda:eu-north-1:123456789012:function:validate"


def run(said: Answer) -> tuple[Ruling | TemporaryError, Scripted]:
    async def test() -> tuple[Ruling | TemporaryError, Scripted]:
        async with scripted(in_turn(said)) as (server, url):
            client = AwsClient(REGION, endpoint_urls={"LAMBDA": url}, credentials=KEYS, backoff=0.0)
            try:
                return await LambdaRulings(client, ARN)(QUESTION), server
            except TemporaryError as error:
                return error, server
            finally:
                await client.close()

    return asyncio.run(test())


def test_a_question_and_its_answer() -> None:
    got, server = run(answer(encode_ruling(REFUSED)))
    assert got == REFUSED
    assert server.heads[0].startswith(
        "POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-north-1%3A123456789012%3Afunction%3Avalidate/invocations "
    )
    assert json.loads(server.bodies[0]) == {
        "domain": "d.example",
        "account": "app@login.example",
        "sender": "news@d.example",
    }


@pytest.mark.parametrize(
    "said",
    [
        answer({"errorType": "KeyError", "errorMessage": "x"}, 200, "X-Amz-Function-Error: Unhandled\r\n"),
        answer({"batchItemFailures": []}),
        answer({"standing": "maybe", "lines": [], "seconds": 1.0}),
        answer({"standing": "passed", "lines": None, "seconds": 1.0}),
        answer({"standing": "passed", "lines": [], "seconds": "soon"}),
        answer(b"null"),
        answer({"__type": "ResourceNotFoundException"}, 404),
        answer({"__type": "AccessDeniedException"}, 403),
        answer({"__type": "TooManyRequestsException"}, 429),
        answer(b"", 500),
        CLOSE,
    ],
    ids=[
        "function error",
        "no ruling",
        "no standing",
        "no lines",
        "no seconds",
        "null",
        "no function",
        "denied",
        "throttled",
        "500",
        "closed",
    ],
)
def test_every_failure_is_temporary(said: Answer) -> None:
    error, server = run(said)
    assert isinstance(error, TemporaryError)
    assert len(server.heads) == 1


def test_dns_has_its_time() -> None:
    assert LONGEST > TOTAL_SECONDS
