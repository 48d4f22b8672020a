import inspect
import json
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway import replies
from smtp_gateway.log import Log
from smtp_gateway.metrics import SHORTEST, STEP, STEPS, Count, Metrics, Reason, Time, Times, reason
from smtp_gateway.replies import Reply
from tests.fakes import FakeClock

NUMBERS = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 1, "maxItems": 100}
# "Embedded metric format specification" of the CloudWatch user guide; its limits of PutMetricData for what is a
# histogram.
EMF: dict[str, Any] = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 1_500_000_000_000, "maximum": 9_999_999_999_999},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "pattern": r"^[A-Za-z0-9.\-_/#: ]{1,255}$"},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "array", "maxItems": 30, "items": {"type": "string"}},
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                                        "Unit": {"enum": ["Count", "Bytes", "Milliseconds"]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
VALUE = {
    "anyOf": [
        {"type": "number"},
        {
            "type": "object",
            "required": ["Values", "Counts"],
            "properties": {"Values": NUMBERS, "Counts": NUMBERS},
            "additionalProperties": {"type": "number"},
        },
    ]
}


def told(metrics: Metrics, open_sessions: int = 0) -> dict[str, Any]:
    """The fields as whoever collects the log gets them."""
    fields: dict[str, Any] = json.loads(json.dumps(metrics.take(1_800_000_000.25, open_sessions)))
    return fields


def check(line: dict[str, Any]) -> None:
    """That it is of embedded metric format, with all that it refers to."""
    jsonschema.validate(line, EMF)
    for directive in line["_aws"]["CloudWatchMetrics"]:
        for dimensions in directive["Dimensions"]:
            assert all(1 <= len(line[name]) <= 1024 for name in dimensions)
        names = [each["Name"] for each in directive["Metrics"]]
        assert len(set(names)) == len(names)
        for name in names:
            jsonschema.validate(line[name], VALUE)
            if isinstance(line[name], dict):
                assert len(line[name]["Values"]) == len(line[name]["Counts"])


def said() -> list[Reply]:
    """Each reply that isn't a yes."""
    made = [each for each in vars(replies).values() if inspect.isfunction(each)]
    found = [each for each in vars(replies).values() if isinstance(each, Reply)]
    for each in made:
        signature = inspect.signature(each)
        if signature.return_annotation is Reply:
            kinds = {int: 1, str: "x", tuple[str, ...]: ("x",)}
            found.append(each(*[kinds[parameter.annotation] for parameter in signature.parameters.values()]))
    return [each for each in found if not each.ok]


def test_nothing_yet_is_told_as_zeros() -> None:
    line = told(Metrics())
    check(line)
    assert {name: line[name] for name in Count} == dict.fromkeys(Count, 0)
    assert not [name for name in Time if name in line]


def test_all_there_is_fits() -> None:
    metrics = Metrics()
    for what in Count:
        metrics.count(what, 10**9)
    for reply in said():
        metrics.refused(reply)
    for what in Time:
        for step in range(-3, 200):
            metrics.time(what, SHORTEST / 1000 * STEP**step)
    line = told(metrics, 1000)
    check(line)
    assert line["OpenSessions"] == 1000
    assert line["Refusals"] == 10**9 + len(said())
    assert len(json.dumps(line)) < 16_384  # Docker hands longer lines of a log on in pieces


def test_what_was_told_is_not_told_again() -> None:
    metrics = Metrics()
    metrics.count(Count.MESSAGES, 2)
    metrics.time(Time.QUEUE, 0.01)
    metrics.refused(replies.LOOP)
    first, second = told(metrics), told(metrics)
    assert (first["Messages"], first["RefusalsLoop"], first["QueueLatency"]["Count"]) == (2, 1, 1)
    assert (second["Messages"], "RefusalsLoop" in second, "QueueLatency" in second) == (0, False, False)


def test_units() -> None:
    metrics = Metrics()
    metrics.time(Time.TO_250, 0.02)
    definitions = told(metrics)["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    units = {each["Name"]: each["Unit"] for each in definitions}
    assert (units["Octets"], units["Messages"], units["TimeTo250"]) == ("Bytes", "Count", "Milliseconds")


@given(st.lists(st.floats(0.0, 200.0), min_size=1, max_size=300))
def test_a_histogram_is_near_what_it_was_told(seconds: list[float]) -> None:
    metrics = Metrics()
    for each in seconds:
        metrics.time(Time.TO_250, each)
    found = told(metrics)["TimeTo250"]
    told_in_order = sorted(
        value for value, count in zip(found["Values"], found["Counts"], strict=True) for _ in range(count)
    )
    assert found["Count"] == len(told_in_order) == len(seconds)
    assert found["Sum"] == pytest.approx(sum(seconds) * 1000, abs=0.01)
    longest = SHORTEST * STEP**STEPS
    for value, ms in zip(told_in_order, sorted(each * 1000 for each in seconds), strict=True):
        assert found["Min"] <= value <= found["Max"]
        if SHORTEST <= ms <= longest:
            assert value == pytest.approx(ms, rel=0.075, abs=0.002)


def test_steps_are_told_apart() -> None:
    times = Times()
    for step in range(STEPS + 1):
        times.add(SHORTEST * STEP**step)
    values = times.told()["Values"]
    assert isinstance(values, list)
    assert len(values) == STEPS + 1
    assert all(1.1 < after / before < 1.2 for before, after in pairwise(values))


def test_a_clock_that_was_set_back_is_no_time() -> None:
    metrics = Metrics()
    metrics.time(Time.QUEUE, -5.0)
    assert told(metrics)["QueueLatency"] == {
        "Values": [0.0],
        "Counts": [1],
        "Min": 0.0,
        "Max": 0.0,
        "Sum": 0.0,
        "Count": 1,
    }


REASONS = [
    (replies.bad_recipient("x"), Reason.ADDRESS),
    (replies.NEEDS_SMTPUTF8, Reason.ADDRESS),
    (replies.too_big(1), Reason.SIZE),
    (replies.NO_ROOM, Reason.ROOM),
    (replies.NOT_STORED, Reason.SYSTEM),
    (replies.LOOP, Reason.LOOP),
    (replies.TOO_MANY_RECIPIENTS, Reason.RECIPIENTS),
    (replies.MAIL_FIRST, Reason.PROTOCOL),
    (replies.bad_content("x"), Reason.CONTENT),
    (replies.sender_refused(("x",), "y"), Reason.SENDER),
    (replies.sender_held(("x",), "y"), Reason.SENDER),
    (replies.TOO_MANY_COMMANDS, Reason.LIMIT),
    (replies.AUTH_CANCELLED, Reason.POLICY),
    (replies.challenge("x"), Reason.OTHER),
]


@pytest.mark.parametrize(("reply", "why"), REASONS, ids=lambda each: getattr(each, "text", each))
def test_reasons(reply: Reply, why: Reason) -> None:
    assert reason(reply) is why


def test_each_reason_is_tried_and_each_refusal_has_one() -> None:
    assert {why for _, why in REASONS} == set(Reason)
    assert [each for each in said() if reason(each) is Reason.OTHER] == []


def test_the_log_s_line() -> None:
    lines: list[str] = []
    log = Log(FakeClock(), lines.append)
    log.submitted(id="i", account="jo@example.com", peer="192.0.2.1", size=5000, recipients=3)
    log.refused(account="jo@example.com", peer="192.0.2.1", reply=replies.LOOP)
    log.measured(open_sessions=7)
    line = json.loads(lines[-1])
    check(line)
    assert (line["event"], line["service"], line["OpenSessions"]) == ("metrics", "gateway", 7)
    assert (line["Messages"], line["Recipients"], line["Octets"], line["RefusalsLoop"]) == (1, 3, 5000, 1)
    assert line["_aws"]["Timestamp"] == line["time"] * 1000
