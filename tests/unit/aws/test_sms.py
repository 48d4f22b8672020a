"""relay.aws.sms: an SMS that SNS takes and will not send is found out first."""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest

from relay.aws.client import AwsClient
from relay.aws.sms import SnsSms
from relay.errors import OutageError, PermanentError, TemporaryError
from tests.fakes import FakeClock
from tests.unit.aws.contract import KEYS, REGION
from tests.unit.aws.scripted import Answer, answer, scripted

PHONE = "+46701234567"
OUT = {
    "GetSMSSandboxAccountStatus": b"<IsInSandbox>false</IsInSandbox>",
    "CheckIfPhoneNumberIsOptedOut": b"<isOptedOut>false</isOptedOut>",
    "GetSMSAttributes": b"<entry><key>MonthlySpendLimit</key><value>5</value></entry>",
    "GetMetricStatistics": b"<member><Maximum>4.99</Maximum></member>",
    "Publish": b"<MessageId>1</MessageId>",
}
IN = {"GetSMSSandboxAccountStatus": b"<IsInSandbox>true</IsInSandbox>"}


def member(phone: str, status: str) -> bytes:
    return f"<member><PhoneNumber>{phone}</PhoneNumber><Status>{status}</Status></member>".encode()


def send(answers: dict[str, bytes], refuse: Callable[[str], Answer] = lambda _: b"") -> list[str]:
    """The actions that were asked for, in order of their names; Publish last."""
    asked: list[str] = []

    def reply(_: int, body: bytes) -> Answer:
        call = parse_qs(body.decode())
        action = call["Action"][0]
        asked.append(action)
        if said := refuse(action):
            return said
        return answer(answers[action + call.get("NextToken", [""])[0]])

    async def test() -> None:
        async with scripted(reply) as (_, url):
            client = AwsClient(REGION, url, credentials=KEYS, backoff=0.0)
            try:
                await SnsSms(client, FakeClock()).send(PHONE, "the password")
            finally:
                await client.close()

    asyncio.run(test())
    return asked


def test_out_of_the_sandbox_and_within_the_limit() -> None:
    asked = send(OUT)
    assert asked[-1] == "Publish"
    assert sorted(asked[:-1]) == sorted(OUT.keys() - {"Publish"})


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        ({**IN, "ListSMSSandboxPhoneNumbers": b""}, None, ""),
        ({**IN, "ListSMSSandboxPhoneNumbers": member(PHONE, "Verified")}, None, ""),
        ({**IN, "ListSMSSandboxPhoneNumbers": member(PHONE, "Pending")}, PermanentError, "isn't verified there"),
        ({**IN, "ListSMSSandboxPhoneNumbers": member("+4670", "Verified")}, PermanentError, "SMS sandbox"),
        (
            {
                **IN,
                "ListSMSSandboxPhoneNumbers": member("+4670", "Verified") + b"<NextToken>2</NextToken>",
                "ListSMSSandboxPhoneNumbers2": member(PHONE, "Verified"),
            },
            None,
            "",
        ),
        ({"CheckIfPhoneNumberIsOptedOut": b"<isOptedOut>true</isOptedOut>"}, PermanentError, "has opted out of SMS"),
        ({"GetMetricStatistics": b"<member><Maximum>5.0</Maximum></member>"}, TemporaryError, r"\(5 USD\) is used up"),
        ({"GetMetricStatistics": b""}, None, ""),
        ({"GetSMSAttributes": b""}, None, ""),
    ],
    ids=[
        "sandbox without a list",
        "verified",
        "not verified yet",
        "another number",
        "on the second page",
        "opted out",
        "nothing left",
        "nothing spent",
        "no limit known",
    ],
)
def test_what_will_not_be_sent(answers: dict[str, bytes], kind: type[Exception] | None, said: str) -> None:
    if kind is None:
        assert send({**OUT, **answers})[-1] == "Publish"
        return
    with pytest.raises(kind, match=said):
        send({**OUT, **answers})


@pytest.mark.parametrize("status", [403, 500])
def test_what_may_not_be_asked_is_no_reason_not_to_try(status: int) -> None:
    refuse = lambda action: b"" if action == "Publish" else answer(b"<Code>AccessDenied</Code>", status)  # noqa: E731
    assert send(OUT, refuse)[-1] == "Publish"


@pytest.mark.parametrize(
    ("code", "status", "kind", "said"),
    [
        ("InvalidParameter", 400, PermanentError, "not one that can be sent an SMS"),
        ("OptedOut", 400, PermanentError, "has opted out"),
        ("AuthorizationError", 403, TemporaryError, "not available"),
        ("InternalError", 500, OutageError, "not available"),
    ],
)
def test_what_publish_refuses(code: str, status: int, kind: type[Exception], said: str) -> None:
    refuse = lambda action: answer(f"<Code>{code}</Code>".encode(), status) if action == "Publish" else b""  # noqa: E731
    with pytest.raises(kind, match=said):
        send(OUT, refuse)
