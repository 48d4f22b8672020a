"""ports.Sms on SNS.

Publish says yes to an SMS that will not be sent, to who is not verified in the sandbox or beyond the spending limit,
and tells of it nowhere but in its logs (AWS: SNS guide, "Using the Amazon SNS SMS sandbox", "Monitoring SMS activity").
So these are asked about first. What can't be learnt is no reason not to try.
"""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from relay.aws.client import AwsClient, AwsError
from relay.errors import PermanentError, RelayError, TemporaryError
from relay.ports import Clock

IN_SANDBOX: Final = b"<IsInSandbox>true</IsInSandbox>"
OPTED_OUT: Final = b"<isOptedOut>true</isOptedOut>"
MEMBER: Final = re.compile(rb"<member>(.*?)</member>", re.DOTALL)
NEXT: Final = re.compile(rb"<NextToken>([^<]{1,2000})</NextToken>")
LIMIT: Final = re.compile(rb"<key>MonthlySpendLimit</key>\s*<value>([0-9.]{1,20})</value>")
SPENT: Final = re.compile(rb"<Maximum>([0-9.eE+-]{1,40})</Maximum>")
MONTH: Final = timedelta(days=31)
PATIENCE: Final = 5.0  # seconds for the questions together
REFUSED: Final = {  # what Publish may answer after all (AWS: SNS API reference)
    "InvalidParameter": "the phone number is not one that can be sent an SMS",
    "OptedOut": "the owner of the phone number has opted out of SMS from this AWS account",
}
NOT_VERIFIED: Final = (
    "this AWS account is in the SMS sandbox, and the phone number isn't verified there: verify it, or have the account"
    ' taken out (docs/operate.md, "SMS sandbox")'
)
NOTHING_LEFT: Final = (
    "this AWS account's SMS spending limit of this month ({:g} USD) is used up: have it raised (docs/operate.md,"
    ' "SMS sandbox")'
)


class SnsSms:
    def __init__(self, client: AwsClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def send(self, phone: str, text: str) -> None:
        """phone: E.164. PermanentError if it will not get an SMS, TemporaryError if it might next month."""
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(self._check_sandbox(phone), self._check_opted_out(phone), self._check_spending())
        except TimeoutError:
            pass
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
            if why := REFUSED.get(error.code):
                raise PermanentError(why, error.detail) from None
            raise

    async def _check_sandbox(self, phone: str) -> None:
        if IN_SANDBOX not in await self._ask("GetSMSSandboxAccountStatus"):
            return
        parameters: dict[str, str] = {}
        while answer := await self._ask("ListSMSSandboxPhoneNumbers", parameters):
            number = f"<PhoneNumber>{phone}</PhoneNumber>".encode()
            if any(number in each and b"<Status>Verified</Status>" in each for each in MEMBER.findall(answer)):
                return
            if not (more := NEXT.search(answer)):
                raise PermanentError(NOT_VERIFIED)
            parameters = {"NextToken": more[1].decode()}

    async def _check_opted_out(self, phone: str) -> None:
        if OPTED_OUT in await self._ask("CheckIfPhoneNumberIsOptedOut", {"phoneNumber": phone}):
            raise PermanentError(REFUSED["OptedOut"])

    async def _check_spending(self) -> None:
        found = LIMIT.search(await self._ask("GetSMSAttributes", {"attributes.member.1": "MonthlySpendLimit"}))
        if not found:
            return
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        answer = await self._ask(
            "GetMetricStatistics",
            {
                "Namespace": "AWS/SNS",
                "MetricName": "SMSMonthToDateSpentUSD",
                "Statistics.member.1": "Maximum",
                "Period": str(int(MONTH.total_seconds())),
                "StartTime": now.replace(day=1, hour=0, minute=0, second=0).isoformat(timespec="seconds"),
                "EndTime": now.isoformat(timespec="seconds"),
            },
            service="monitoring",
        )
        if (limit := float(found[1])) <= max(map(float, SPENT.findall(answer)), default=0.0):
            raise TemporaryError(NOTHING_LEFT.format(limit))

    async def _ask(self, action: str, parameters: dict[str, str] | None = None, service: str = "sns") -> bytes:
        """The answer, b"" if there is none."""
        try:
            return await self._client.query(service, action, parameters or {}, tries=1)
        except RelayError:  # not allowed, away, or not known to a stand-in for AWS
            return b""
