"""The validate function's word on a sender domain, for the gateway (relay.proof.ruling has the form)."""

from typing import Final

from relay.aws.client import AwsClient
from relay.aws.lambdas import invoke
from relay.errors import OutageError, PermanentError
from relay.proof.ruling import Question, Ruling, decode_ruling, encode_question

LONGEST: Final = 25.0  # seconds for an answer: more than DNS gets for a verdict (relay.proof.verdict)


class LambdaRulings:
    """ruling.Ask by Lambda's Invoke. function_name: or its ARN."""

    def __init__(self, client: AwsClient, function_name: str) -> None:
        self._client = client
        self._function_name = function_name

    async def __call__(self, question: Question) -> Ruling:
        """TemporaryError for every failure to get a ruling."""
        answer = await invoke(self._client, self._function_name, encode_question(question), seconds=LONGEST)
        try:
            return decode_ruling(answer)
        except PermanentError as error:  # of our own function: not the sender's fault
            raise OutageError(f"{self._function_name} answered what is no ruling", error.detail) from error
