"""tests.iam.policy and tests.iam.calls: what a policy says, and what a call asks."""

import json
from typing import Any

import pytest

from tests.iam.calls import arn, asks, who
from tests.iam.policy import Ask, allows

TABLE = arn("dynamodb", "table/accounts")
READ = {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": TABLE}
SOME = {
    "Effect": "Allow",
    "Action": ["dynamodb:UpdateItem"],
    "Resource": [TABLE],
    "Condition": {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["user", "pause"]},
        "StringEqualsIfExists": {"dynamodb:ReturnValues": ["NONE", "UPDATED_NEW"]},
    },
}
BUCKET = {"Effect": "Allow", "Action": "s3:*Object", "Resource": "arn:aws:s3:::content/*"}
NO_TOPIC = {"Effect": "Deny", "Action": "sns:Publish", "Resource": "arn:aws:sns:*:*:*"}
PUBLISH = {"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}


def ask(action: str, resource: str = TABLE, **keys: set[str]) -> Ask:
    return Ask(action, resource, {f"dynamodb:{name}": frozenset(values) for name, values in keys.items()})


@pytest.mark.parametrize(
    ("statements", "asked", "expected"),
    [
        ([READ], ask("dynamodb:GetItem"), True),
        ([READ], ask("dynamodb:PutItem"), False),
        ([READ], ask("dynamodb:GetItem", TABLE + "2"), False),
        ([], ask("dynamodb:GetItem"), False),
        ([READ, {**READ, "Effect": "Deny"}], ask("dynamodb:GetItem"), False),
        ([SOME], ask("dynamodb:UpdateItem", Attributes={"user", "pause"}), True),
        ([SOME], ask("dynamodb:UpdateItem", Attributes={"user", "hash"}), False),
        ([SOME], ask("dynamodb:UpdateItem", Attributes={"user"}, ReturnValues={"ALL_NEW"}), False),
        ([SOME], ask("dynamodb:UpdateItem", Attributes={"user"}, ReturnValues={"UPDATED_NEW"}), True),
        ([BUCKET], ask("s3:GetObject", "arn:aws:s3:::content/a/b"), True),
        ([BUCKET], ask("s3:GetObject", "arn:aws:s3:::content"), False),
        ([BUCKET], ask("s3:ListBucket", "arn:aws:s3:::content/a"), False),
        ([PUBLISH, NO_TOPIC], ask("sns:Publish", "*"), True),
        ([PUBLISH, NO_TOPIC], ask("sns:Publish", "arn:aws:sns:eu-north-1:1:topic"), False),
    ],
    ids=[
        "allowed",
        "another action",
        "another table",
        "nothing is said",
        "denied by name",
        "these attributes",
        "another attribute",
        "what it would answer",
        "what it may answer",
        "an object",
        "the bucket",
        "another action on an object",
        "a phone",
        "a topic",
    ],
)
def test_what_a_policy_allows(statements: list[dict[str, Any]], asked: Ask, expected: bool) -> None:
    assert allows(statements, asked) is expected


def test_a_condition_that_is_not_known_is_no_condition_that_holds() -> None:
    with pytest.raises(ValueError, match="IpAddress is not known here"):
        allows([{**READ, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}], ask("dynamodb:GetItem"))


@pytest.mark.parametrize(
    ("service", "target", "fields", "expected"),
    [
        ("sqs", "AmazonSQS.SendMessageBatch", {"QueueUrl": "http://h/1/q"}, [("sqs:SendMessage", arn("sqs", "q"))]),
        ("dynamodb", "DynamoDB.GetItem", {"TableName": "accounts"}, [("dynamodb:GetItem", TABLE)]),
        (
            "dynamodb",
            "DynamoDB.BatchWriteItem",
            {"RequestItems": {"accounts": [], "b": []}},
            [("dynamodb:BatchWriteItem", TABLE), ("dynamodb:BatchWriteItem", arn("dynamodb", "table/b"))],
        ),
        ("kms", "TrentService.Decrypt", {"KeyId": "arn:k"}, [("kms:Decrypt", "arn:k")]),
    ],
    ids=["a batch", "a table", "two tables", "a key"],
)
def test_what_a_call_asks(service: str, target: str, fields: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = asks(service, "POST", "/", {"x-amz-target": target}, json.dumps(fields).encode())
    assert [(each.action, each.resource) for each in found] == expected


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "expected"),
    [
        ("s3", "PUT", "/content/a%20b?x=1", b"", ("s3:PutObject", "arn:aws:s3:::content/a b")),
        ("sns", "POST", "/", b"Action=Publish&TopicArn=arn%3At", ("sns:Publish", "arn:t")),
        ("sns", "POST", "/", b"Action=Publish&PhoneNumber=%2B46", ("sns:Publish", "*")),
        ("monitoring", "POST", "/", b"Action=GetMetricStatistics", ("cloudwatch:GetMetricStatistics", "*")),
    ],
    ids=["an object", "a topic", "a phone", "metrics"],
)
def test_what_another_call_asks(service: str, method: str, path: str, body: bytes, expected: tuple[str, str]) -> None:
    (found,) = asks(service, method, path, {}, body)
    assert (found.action, found.resource) == expected


def test_the_attributes_of_a_write() -> None:
    fields = {
        "TableName": "accounts",
        "Key": {"user": {"S": "x"}},
        "ExpressionAttributeNames": {"#h": "hash"},
        "ReturnValues": "ALL_NEW",
    }
    (found,) = asks("dynamodb", "POST", "/", {"x-amz-target": "D.UpdateItem"}, json.dumps(fields).encode())
    assert found.keys == {
        "dynamodb:Attributes": frozenset({"user", "hash"}),
        "dynamodb:ReturnValues": frozenset({"ALL_NEW"}),
    }


def test_who_signs() -> None:
    signed = "AWS4-HMAC-SHA256 Credential=DeliverFunction/20261127/eu-north-1/sqs/aws4_request, SignedHeaders=host"
    assert who({"authorization": signed}) == ("DeliverFunction", "sqs")
    assert who({}) == ("", "")
