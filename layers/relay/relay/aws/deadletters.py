"""A queue as operators see it: how much is on it, and its messages one by one; for dead-letter queues.

SQS can't be browsed: whoever looks at a message receives it, and nobody else sees it for a while.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from relay.aws.ages import oldest_age
from relay.aws.client import AWAY, AwsClient
from relay.errors import TemporaryError
from relay.ports import DeadLetter, Depth

BATCH: Final = 10  # SQS: of one ReceiveMessage and of each batch call
WAIT: Final = 1  # seconds; a long poll asks all of SQS's servers (AWS: SQS guide, "Short and long polling")
DEPTHS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsDeadLetters:
    """ports.DeadLetters. url: the queue's."""

    def __init__(self, client: AwsClient, url: str) -> None:
        self._client = client
        self._url = url

    async def depth(self) -> Depth:
        answer = await self._call("GetQueueAttributes", {"AttributeNames": DEPTHS})
        attributes = answer.get("Attributes", {})
        return Depth(*(int(attributes.get(name, 0)) for name in DEPTHS))

    async def oldest(self, now: float) -> float | None:
        return await oldest_age(self._client, self._url, now)

    async def take(self, hold: float) -> tuple[DeadLetter, ...]:
        payload = {
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": WAIT,
            "VisibilityTimeout": int(hold),
            "MessageSystemAttributeNames": ["All"],
        }
        answer = await self._call("ReceiveMessage", payload)
        return tuple(_letter(message) for message in answer.get("Messages") or ())

    async def give_back(self, letters: Sequence[DeadLetter]) -> None:
        """A failure is no harm: they come back by themselves."""
        batches = [letters[start : start + BATCH] for start in range(0, len(letters), BATCH)]
        await asyncio.gather(*(self._release(batch) for batch in batches), return_exceptions=True)

    async def remove(self, letter: DeadLetter) -> None:
        await self._call("DeleteMessage", {"ReceiptHandle": letter.receipt})

    async def _release(self, letters: Sequence[DeadLetter]) -> None:
        entries = [
            {"Id": str(number), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
            for number, letter in enumerate(letters)
        ]
        await self._call("ChangeMessageVisibilityBatch", {"Entries": entries})

    async def _call(self, operation: str, payload: dict[str, Any]) -> dict[str, Any]:
        return await self._client.json("sqs", f"AmazonSQS.{operation}", {"QueueUrl": self._url, **payload})


def _letter(message: dict[str, Any]) -> DeadLetter:
    attributes = message.get("Attributes", {})
    try:
        return DeadLetter(
            message_id=str(message["MessageId"]),
            receipt=str(message["ReceiptHandle"]),
            body=str(message["Body"]),
            group=str(attributes.get("MessageGroupId", "")),
            sent=int(attributes.get("SentTimestamp", 0)) / 1000,
            receives=int(attributes.get("ApproximateReceiveCount", 0)),
        )
    except KeyError as error:
        raise TemporaryError(AWAY, f"sqs ReceiveMessage: a message without {error}") from error
