"""docs/operate.md and what it is about: a runbook entry for each alarm, outputs and parameters that there are."""

import re
from pathlib import Path

import pytest

from smtp_gateway.metrics import NAMESPACE
from tests.conditions import load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operate.md").read_text("utf-8")
TEMPLATE = load()
ALARMS = {name for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"}


def anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_each_alarm_has_its_entry_in_the_runbook_and_no_other_has() -> None:
    headings = re.findall(r"^### (\w+)$", section("Runbook"), re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) == ALARMS


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_entry_says_what_to_do(name: str) -> None:
    entry = section("Runbook").partition(f"### {name}\n")[2].partition("\n### ")[0]
    others = ALARMS - {name}
    assert re.search(r"`|\]\(", entry) or any(other in entry for other in others)


def test_links_lead_somewhere() -> None:
    anchors = {anchor(each) for each in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, place = target.partition("#")
        assert (ROOT / "docs" / file).exists() if file else place in anchors, target


def test_what_the_template_is_said_to_have_it_has() -> None:
    outputs = re.findall(r"^ *\| (`\w+`(?:, `\w+`)*) \|", section("Step by step"), re.MULTILINE)
    named = {name for each in outputs for name in re.findall(r"`(\w+)`", each)}
    assert named >= {"SubmissionName", "SpfRecord", "Port25Request"}
    assert named <= TEMPLATE["Outputs"].keys()
    parameters = set(re.findall(r"\b([A-Z][A-Za-z]+)=[a-z0-9]", TEXT))
    assert parameters <= TEMPLATE["Parameters"].keys()
    words = set(re.findall(r"`([A-Z][a-zA-Z0-9]+)`", TEXT))
    metrics = {each for each in words if each.startswith("Refusals")}
    assert words - metrics - {NAMESPACE} <= TEMPLATE["Parameters"].keys() | TEMPLATE["Outputs"].keys()


def test_the_log_groups_are_the_template_s() -> None:
    groups = re.findall(r"(/(?:aws/lambda|ecs)/mailrelay-\w+)", TEXT)
    made = {
        each["Properties"]["LogGroupName"]["Fn::Sub"].replace("${AWS::StackName}", "mailrelay")
        for each in TEMPLATE["Resources"].values()
        if each["Type"] == "AWS::Logs::LogGroup"
    }
    assert groups
    assert set(groups) <= made
