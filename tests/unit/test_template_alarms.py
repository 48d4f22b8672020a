"""Alarms and dashboard of template.yaml: they watch what the code really tells, and somebody is told what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from relay.outcome import State
from smtp_gateway.log import Log
from smtp_gateway.metrics import NAMESPACE, SERVICE, Count, Reason, Time
from tests.conditions import load, references

ROOT = Path(__file__).parents[2]
TEMPLATE = load()
RESOURCES = TEMPLATE["Resources"]
ALARMS = [name for name, each in RESOURCES.items() if each["Type"] == "AWS::CloudWatch::Alarm"]
TOLD = {  # by service; each name as its source spells it, which the next test looks up
    SERVICE: {"OpenSessions", *Count, *Time, *(f"{Count.REFUSALS}{each}" for each in Reason)},
    "deliver": {"SitesPaused", *(f"Recipients{each.title()}" for each in State)},
    "record": {f"Outcomes{each.title()}" for each in State},
}
SPELLED = {
    "deliver": ('f"Recipients{outcome.state.value.title()}"', '"SitesPaused"'),
    "record": ('f"Outcomes{state.value.title()}"',),
}
AWS_DIMENSIONS = {
    "AWS/SQS": {"QueueName"},
    "AWS/Lambda": {"FunctionName"},
    "AWS/NATGateway": {"NatGatewayId"},
    "AWS/NetworkELB": {"LoadBalancer", "TargetGroup"},
}


class Watched(NamedTuple):
    where: str
    namespace: str
    metric: str
    dimensions: dict[str, Any]


def of_alarm(name: str) -> Iterator[Watched]:
    properties = RESOURCES[name]["Properties"]
    parts = (one["MetricStat"]["Metric"] for one in properties.get("Metrics", ()) if "MetricStat" in one)
    for each in [properties, *parts]:
        if "MetricName" in each:
            dimensions = {one["Name"]: one["Value"] for one in each.get("Dimensions", ())}
            yield Watched(name, str(each["Namespace"]), each["MetricName"], dimensions)


def widgets() -> list[dict[str, Any]]:
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    found: list[dict[str, Any]] = json.loads(body)["widgets"]
    return found


def of_dashboard() -> Iterator[Watched]:
    for widget in widgets():
        for namespace, metric, *rest in widget["properties"]["metrics"]:
            words = [each for each in rest if isinstance(each, str)]
            dimensions = dict(zip(words[::2], words[1::2], strict=True))
            yield Watched(widget["properties"]["title"], namespace, metric, dimensions)


WATCHED = [*(each for name in ALARMS for each in of_alarm(name)), *of_dashboard()]


@pytest.mark.parametrize("watched", WATCHED, ids=lambda each: f"{each.where}: {each.metric}")
def test_what_is_watched_is_told_by_somebody(watched: Watched) -> None:
    if watched.namespace == NAMESPACE:
        assert watched.dimensions.keys() == {"service"}
        assert watched.metric in TOLD[watched.dimensions["service"]]
    elif watched.namespace in AWS_DIMENSIONS:
        assert watched.dimensions.keys() == AWS_DIMENSIONS[watched.namespace]
    else:
        filters = [each["Properties"] for each in RESOURCES.values() if each["Type"] == "AWS::Logs::MetricFilter"]
        made = [one for each in filters for one in each["MetricTransformations"]]
        told = [(str(each["MetricNamespace"]), each["MetricName"]) for each in made]
        assert (watched.namespace, watched.metric) in told


@pytest.mark.parametrize("service", SPELLED)
def test_the_functions_tell_metrics_of_these_names_and_services(service: str) -> None:
    source = (ROOT / "functions" / service / "app.py").read_text()
    assert all(words in source for words in SPELLED[service])
    variables = RESOURCES[f"{service.title()}Function"]["Properties"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_SERVICE_NAME"] == service
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE


def test_filters_look_for_events_that_the_gateway_logs() -> None:
    events = re.findall(r'"(\w+)"', RESOURCES["CertificateTroubles"]["Properties"]["FilterPattern"])
    assert len(events) == 3
    assert all(callable(getattr(Log, each)) for each in events)


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_goes_to_the_operator_and_says_what_it_means(name: str) -> None:
    properties = RESOURCES[name]["Properties"]
    assert properties["AlarmActions"] == properties["OKActions"] == [{"Ref": "OperatorTopic"}]
    assert re.fullmatch(r"[A-Z].{20,}\.", properties["AlarmDescription"])
    assert properties["TreatMissingData"] in {"notBreaching", "breaching"}
    assert RESOURCES[name]["Condition"] in {"AlarmsOn", "EdgeAlarms", "NatAlarms"}


@pytest.mark.parametrize("name", ALARMS)
def test_a_formula_names_metrics_that_it_has_and_uses_each(name: str) -> None:
    metrics = RESOURCES[name]["Properties"].get("Metrics", ())
    ids = {each["Id"] for each in metrics if "MetricStat" in each}
    used = {word for each in metrics for word in re.findall(r"\b[a-z]\w*", each.get("Expression", ""))}
    assert used == ids


def test_every_queue_and_function_of_a_stage_is_watched() -> None:
    watched = {each for name in ALARMS for each in references(RESOURCES[name])}
    queues = {name for name, each in RESOURCES.items() if each["Type"] == "AWS::SQS::Queue"}
    functions = {name for name, each in RESOURCES.items() if each["Type"] == "AWS::Serverless::Function"}
    assert queues | functions <= watched


def test_widgets_don_t_overlap() -> None:
    places = {(each["x"], each["y"]) for each in widgets()}
    assert len(places) == len(widgets())
    assert all(each["width"] == 8 and each["height"] == 6 for each in widgets())
