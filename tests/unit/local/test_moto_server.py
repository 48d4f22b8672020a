"""What the local moto must keep doing with its slow spots lifted, and what it does better."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from local.lambdas import LambdaService
from local.processes import Spawner, base_environment
from local.stack import ROOT, Aws

MIB = 1024 * 1024


@pytest.fixture
def sqs(aws: Aws) -> Any:
    return aws.client("sqs")


def new_queue(sqs: Any, **attributes: str) -> str:
    return str(sqs.create_queue(QueueName=f"q-{uuid4().hex}", Attributes=attributes)["QueueUrl"])


def test_a_message_may_have_one_mebibyte_and_no_more(sqs: Any) -> None:
    url = new_queue(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="x" * MIB)
    with pytest.raises(ClientError, match="must be shorter than"):
        sqs.send_message(QueueUrl=url, MessageBody="x" * (MIB + 1))
    half = [{"Id": str(number), "MessageBody": "x" * (MIB // 2)} for number in range(3)]
    sqs.send_message_batch(QueueUrl=url, Entries=half[:2])
    with pytest.raises(ClientError, match="BatchRequestTooLong"):
        sqs.send_message_batch(QueueUrl=url, Entries=half)


def test_a_queue_s_own_size_limit_holds(sqs: Any) -> None:
    url = new_queue(sqs, MaximumMessageSize="2048")
    with pytest.raises(ClientError, match="2048"):
        sqs.send_message(QueueUrl=url, MessageBody="x" * 2049)


def test_attributes_still_count(sqs: Any) -> None:
    url = new_queue(sqs, DelaySeconds="0")
    for delay in (0, 0, 900):
        sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=delay)
    sqs.receive_message(QueueUrl=url)
    counted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessages"] == "1"
    assert counted["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert counted["ApproximateNumberOfMessagesDelayed"] == "1"


def test_messages_past_their_retention_are_not_received(sqs: Any) -> None:
    url = new_queue(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="old")
    assert sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "0"})  # AWS: at least 60
    assert "Messages" not in sqs.receive_message(QueueUrl=url)


def test_message_groups_on_standard_queues(sqs: Any) -> None:
    """Fair queues: the group comes with the message and holds nothing back."""
    url = new_queue(sqs)
    for body in ("1", "2"):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="tenant")
    seen = []
    for _ in range(2):
        (message,) = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
        seen.append((message["Body"], message["Attributes"]["MessageGroupId"]))
    assert seen == [("1", "tenant"), ("2", "tenant")]


def test_a_fifo_queue_still_drops_repeats(sqs: Any) -> None:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url = sqs.create_queue(QueueName=f"q-{uuid4().hex}.fifo", Attributes=attributes)["QueueUrl"]
    for _ in range(2):
        sqs.send_message(QueueUrl=url, MessageBody="same", MessageGroupId="group")
    assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 1


def test_deleting_twice_and_with_a_wrong_handle(sqs: Any) -> None:
    url = new_queue(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    handle = sqs.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    for _ in range(2):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    with pytest.raises(ClientError, match="ReceiptHandleIsInvalid"):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="none")


def test_a_waiting_receive_gets_what_is_sent_and_holds_nobody_up(sqs: Any) -> None:
    url = new_queue(sqs)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(sqs.receive_message, QueueUrl=url, WaitTimeSeconds=20)
        sqs.send_message(QueueUrl=url, MessageBody="x")
        assert waiting.result(15)["Messages"][0]["Body"] == "x"


def test_nothing_is_lost_or_given_twice_under_concurrency(sqs: Any) -> None:
    """moto itself loses messages that are sent while it deletes others."""
    url = new_queue(sqs)
    total, taken = 400, []

    def send(start: int) -> None:
        for number in range(start, start + total // 4, 10):
            entries = [{"Id": str(each), "MessageBody": str(each)} for each in range(number, number + 10)]
            sqs.send_message_batch(QueueUrl=url, Entries=entries)

    def take() -> None:
        while len(taken) < total:
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
            if not messages and len(taken) < total and not any(not sender.done() for sender in senders):
                return
            for message in messages:
                taken.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    with ThreadPoolExecutor(8) as threads:
        senders = [threads.submit(send, start) for start in range(0, total, total // 4)]
        for taker in [threads.submit(take) for _ in range(4)]:
            taker.result()
    assert sorted(map(int, taken)) == list(range(total))


def test_one_of_many_conditional_writes_succeeds(aws: Aws) -> None:
    dynamodb, table = aws.client("dynamodb"), f"t-{uuid4().hex}"
    dynamodb.create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def claim(number: int) -> bool:
        try:
            dynamodb.put_item(
                TableName=table,
                Item={"id": {"S": str(number // 8)}},
                ConditionExpression="attribute_not_exists(id)",
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, range(160))) == 20


def test_connections_are_kept_and_objects_come_back(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="kept")
    body = bytes(range(256)) * 20_000
    s3.put_object(Bucket="kept", Key="a/b", Body=body)
    assert s3.get_object(Bucket="kept", Key="a/b")["Body"].read() == body
    assert s3.head_object(Bucket="kept", Key="a/b")["ContentLength"] == len(body)
    connection = http.client.HTTPConnection(urlsplit(aws.endpoint).netloc, timeout=10)
    connection.connect()
    socket = connection.sock
    for _ in range(3):
        connection.request("GET", "/moto-api/")
        assert connection.getresponse().read()
        assert connection.sock is socket
    connection.close()


def test_invoke_is_forwarded(spawner: Spawner, folder: Any) -> None:
    from tests.unit.local.test_lambdas import toy

    service = LambdaService(spawner)
    arguments = ["-m", "local.moto_server", "--lambda-url", service.url]
    child = spawner.python("moto-invoke", arguments, base_environment(), cwd=ROOT)
    aws = Aws(f"http://127.0.0.1:{child.ready()['port']}")
    service.add(toy(folder), limit=1)
    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    functions = aws.client("lambda")
    functions.create_function(
        FunctionName="toy-name",
        Runtime="python3.13",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": b""},
    )
    answer = functions.invoke(FunctionName="toy-name", Payload=b'{"a": 1}')
    assert json.loads(answer["Payload"].read()) == {"got": {"a": 1}}
    assert "FunctionError" not in answer
    answer = functions.invoke(FunctionName="toy-name", Payload=b'{"do": "fail"}')
    assert answer["FunctionError"]
    assert json.loads(answer["Payload"].read())["errorType"] == "ValueError"
    service.close()
    child.kill()
