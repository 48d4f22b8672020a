"""ports.Sms on SNS."""

from relay.aws.client import AwsClient, AwsError
from relay.errors import PermanentError


class SnsSms:
    def __init__(self, client: AwsClient) -> None:
        self._client = client

    async def send(self, phone: str, text: str) -> None:
        """phone: E.164. PermanentError if SNS says that the number cannot be one."""
        parameters = {
            "PhoneNumber": phone,
            "Message": text,
            # Transactional: for reliability, not for price (AWS: SNS developer guide, SMS attributes)
            "MessageAttributes.entry.1.Name": "AWS.SNS.SMS.SMSType",
            "MessageAttributes.entry.1.Value.DataType": "String",
            "MessageAttributes.entry.1.Value.StringValue": "Transactional",
        }
        try:
            await self._client.query("sns", "Publish", parameters)
        except AwsError as error:
            if error.code == "InvalidParameter":
                raise PermanentError("the phone number is not one that can be sent an SMS", error.detail) from None
            raise
