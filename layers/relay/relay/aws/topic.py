"""ports.Operator on SNS: a topic that the operator has subscribed to."""

from relay.aws.client import AwsClient


class SnsTopic:
    """topic: its ARN."""

    def __init__(self, client: AwsClient, topic: str) -> None:
        self._client = client
        self._topic = topic

    async def tell(self, subject: str, text: str) -> None:
        await self._client.query("sns", "Publish", {"TopicArn": self._topic, "Subject": subject, "Message": text})
