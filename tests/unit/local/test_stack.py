"""The template as a local stack, and the check that refuses gaps."""

from pathlib import Path
from uuid import uuid4

import pytest

from local.functions import functions, mappings
from local.processes import StartError
from local.stack import NO_EDGE, TEMPLATE, Aws, Stack, deploy, parameters_of, parse
from local.stack_check import DECLARED_ONLY_TYPES, Anything, Ending, gaps, resolve, same
from tests.conditions import combinations, load, made

OVERRIDES = {**NO_EDGE, "DnsServers": "127.0.0.1:53", "SmtpPort": "2525", "ClockSpeed": "60"}
SMALL = """\
Transform: AWS::Serverless-2016-10-31
Parameters:
  Size: {Type: Number, Default: 7}
Resources:
  Inbox:
    Type: AWS::SQS::Queue
    Properties: {VisibilityTimeout: 100}
  Work:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: work
      Handler: app.handler
      Runtime: python3.13
      Environment: {Variables: {SIZE: !Ref Size}}
      Events:
        Mail: {Type: SQS, Properties: {Queue: !GetAtt Inbox.Arn, BatchSize: !Ref Size}}
"""


@pytest.fixture(scope="module")
def deployed(aws: Aws) -> tuple[Aws, Stack]:
    return aws, deploy(aws, parse(TEMPLATE.read_text()), OVERRIDES)


def small(aws: Aws, folder: Path, text: str = SMALL) -> Stack:
    (folder / "work").mkdir()
    (folder / "work" / "app.py").write_text("")
    return deploy(aws, parse(text), {}, folder, name=f"small-{uuid4().hex[:8]}")


def test_the_real_template_has_no_gaps(deployed: tuple[Aws, Stack]) -> None:
    aws, stack = deployed
    assert gaps(aws, stack) == []
    assert {"ValidateQueue", "DeliverDeadLetterQueue", "LedgerTable", "ContentBucket"} <= stack.resources.keys()


LAYER = "AWS::Lambda::LayerVersion"
WITHOUT_EDGE = [each for each in combinations(load()) if each.words[0] == "no edge" and each.words[1] == "VPC made"]


@pytest.mark.parametrize("back_end", sorted({each.words[2] for each in WITHOUT_EDGE}))
def test_without_the_edge_every_combination_is_created_whole(aws: Aws, back_end: str) -> None:
    """And moto makes of the conditions what tests/conditions.py makes of them."""
    for combination in WITHOUT_EDGE:
        if combination.words[2] == back_end and combination.words[3] == "one certificate":
            overrides = {**combination.parameters, **OVERRIDES, "Alarms": combination.parameters["Alarms"]}
            stack = deploy(aws, parse(TEMPLATE.read_text()), overrides, name=f"stack-{uuid4().hex[:8]}")
            assert gaps(aws, stack) == []
            expected = made(stack.template, combination.conditions)
            created = {name for name in stack.resources if name}  # moto lists the layer without one
            assert created <= expected.keys()
            assert {expected[name]["Type"] for name in expected.keys() - created} <= DECLARED_ONLY_TYPES | {LAYER}


def test_mappings_are_disabled_and_read_from_the_stack(deployed: tuple[Aws, Stack]) -> None:
    aws, stack = deployed
    listed = aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert {each["State"] for each in listed} == {"Disabled"}
    assert len(mappings(aws, stack, 1)) == 3
    found = {each.queue_url: each for each in mappings(aws, stack, 1)}
    deliver = found[stack.resources["DeliverQueue"]]
    assert deliver.function == stack.resources["DeliverFunction"]
    assert (deliver.batch_size, deliver.window, deliver.visibility, deliver.report_failures) == (100, 1, 1800, True)
    assert {each.visibility for each in mappings(aws, stack, 300)} == {28}


def test_functions_run_with_the_stack_s_environment(deployed: tuple[Aws, Stack]) -> None:
    aws, stack = deployed
    found = {function.title: function for function in functions(aws, stack, 60)}
    deliver = found["DeliverFunction"]
    assert deliver.folder.name == "deliver"
    assert deliver.timeout == 20
    assert deliver.environment["RELAY_SMTP_PORT"] == "2525"
    assert deliver.environment["RELAY_DELIVER_QUEUE_URL"] == stack.resources["DeliverQueue"]
    assert deliver.environment["AWS_ENDPOINT_URL"] == aws.endpoint
    assert all(isinstance(value, str) for value in deliver.environment.values())


def test_a_stack_that_is_there_is_used_with_what_it_holds(deployed: tuple[Aws, Stack]) -> None:
    aws, stack = deployed
    aws.client("sqs").send_message(QueueUrl=stack.resources["RecordDeadLetterQueue"], MessageBody="kept")
    again = deploy(aws, parse(TEMPLATE.read_text()), {**OVERRIDES, "SmtpPort": "2626"})
    assert again.resources == stack.resources
    assert gaps(aws, again) == []
    (kept,) = aws.client("sqs").receive_message(QueueUrl=again.resources["RecordDeadLetterQueue"])["Messages"]
    assert kept["Body"] == "kept"
    ports = {each.title: each.environment.get("RELAY_SMTP_PORT") for each in functions(aws, again, 60)}
    assert ports["DeliverFunction"] == "2626"
    deploy(aws, parse(TEMPLATE.read_text()), OVERRIDES)


def test_what_goes_missing_is_a_gap(aws: Aws, folder: Path) -> None:
    stack = small(aws, folder)
    assert gaps(aws, stack) == []
    aws.client("lambda").delete_event_source_mapping(UUID=stack.resources["WorkMail"])
    aws.client("sqs").delete_queue(QueueUrl=stack.resources["Inbox"])
    assert [gap.partition(":")[0] for gap in gaps(aws, stack)] == ["Inbox", "WorkMail"]


def test_what_is_different_is_a_gap(aws: Aws, folder: Path) -> None:
    stack = small(aws, folder)
    aws.client("sqs").set_queue_attributes(QueueUrl=stack.resources["Inbox"], Attributes={"VisibilityTimeout": "30"})
    aws.client("lambda").update_function_configuration(
        FunctionName=stack.resources["Work"], Environment={"Variables": {"OTHER": "1"}}
    )
    found = gaps(aws, stack)
    assert found[0] == "Inbox: VisibilityTimeout is '30', not 100"
    assert found[1].startswith("Work: ")
    assert "SIZE" in found[1]


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        pytest.param(
            "{Type: 'AWS::Scheduler::ScheduleGroup', Properties: {Name: x}}",
            "AWS::Scheduler::ScheduleGroup is neither looked up nor declared-only",
            id="a type that moto ignores",
        ),
        pytest.param(
            "{Type: 'AWS::SQS::Queue', Properties: {FrobnicationLevel: 9}}",
            "AWS::SQS::Queue has no FrobnicationLevel",
            id="a property that nobody knows",
        ),
        pytest.param(
            "{Type: 'AWS::DynamoDB::Table', Properties: {BillingMode: PAY_PER_REQUEST, "
            "ContributorInsightsSpecification: {Enabled: true}, "
            "AttributeDefinitions: [{AttributeName: id, AttributeType: S}], "
            "KeySchema: [{AttributeName: id, KeyType: HASH}]}}",
            "AWS::DynamoDB::Table has no ContributorInsightsSpecification",
            id="a property that moto drops",
        ),
    ],
)
def test_what_is_not_known_is_a_gap(aws: Aws, folder: Path, resource: str, words: str) -> None:
    (gap,) = gaps(aws, small(aws, folder, f"{SMALL}  Strange: {resource}\n"))
    assert gap.startswith("Strange: ")
    assert words in gap


def test_declared_only_types_and_false_conditions_are_none(aws: Aws, folder: Path) -> None:
    text = SMALL + (
        "  Alarm: {Type: 'AWS::CloudWatch::Alarm', Properties: {ComparisonOperator: GreaterThanThreshold, "
        "EvaluationPeriods: 1, MetricName: x, Namespace: y, Period: 60, Statistic: Sum, Threshold: 1}}\n"
        "  Edge: {Type: 'AWS::ECS::Cluster', Condition: Cloud}\n"
        "Conditions:\n  Cloud: !Equals [a, b]\n"
    )
    assert gaps(aws, small(aws, folder, text)) == []


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (SMALL, {"Nope": "1"}, "no parameter Nope"),
        (SMALL.replace(", Default: 7", ""), {}, "parameter Size has no default"),
    ],
)
def test_parameters_that_do_not_fit(text: str, overrides: dict[str, str], words: str) -> None:
    with pytest.raises(StartError, match=words):
        parameters_of(parse(text), overrides)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALL.replace("CodeUri: work", "CodeUri: absent"), "there is no folder absent"),
        (SMALL.replace("Handler: app.handler", "Handlr: app.handler"), "Handlr"),
    ],
    ids=["no folder", "no such property"],
)
def test_a_template_that_cannot_be_deployed(aws: Aws, folder: Path, text: str, words: str) -> None:
    with pytest.raises(StartError, match=words):
        small(aws, folder, text)


def test_an_endpoint_that_is_away(folder: Path) -> None:
    with pytest.raises(StartError, match=r"http://127\.0\.0\.1:1"):
        small(Aws("http://127.0.0.1:1"), folder)


# --- comparing ---

RESOURCES = {"Queue": "https://sqs/1/the-queue", "Table": "the-table"}
STACK = Stack("s", RESOURCES, {"Resources": {}}, {"Size": "7", "None": ""})


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ({"Ref": "Size"}, "7"),
        ({"Ref": "None"}, ""),
        ({"Ref": "Table"}, "the-table"),
        ({"Fn::GetAtt": ["Queue", "Arn"]}, Ending("the-queue")),
        ({"Fn::Sub": "/a/${Table}/${Size}"}, "/a/the-table/7"),
        ([{"a": {"Ref": "Size"}}], [{"a": "7"}]),
        (5, 5),
    ],
)
def test_resolving(value: object, resolved: object) -> None:
    assert resolve(STACK, value) == resolved


@pytest.mark.parametrize("value", [{"Fn::Join": ["", []]}, {"Fn::Sub": "${AWS::Region}"}, {"Ref": "AWS::Region"}])
def test_what_is_not_resolved(value: object) -> None:
    assert isinstance(resolve(STACK, value), Anything)


@pytest.mark.parametrize(
    ("expected", "actual", "equal"),
    [
        (360, "360", True),
        (True, "true", True),
        ({"a": 1}, {"a": 1, "more": 2}, True),
        ({"a": 1}, {}, False),
        ([1, 2], [1], False),
        ([1, 2], ["1", "2"], True),
        (Ending("x"), "arn:aws:sqs:r:1:x", True),
        (Ending("x"), "arn:aws:sqs:r:1:y", False),
        (Anything(), "x", True),
        (Anything(), "", False),
        ({}, None, False),
    ],
)
def test_comparing(expected: object, actual: object, equal: bool) -> None:
    assert same(expected, actual) == equal
