"""template.yaml under every combination of its conditions: what is made refers to nothing that isn't."""

from typing import Any

import pytest

from local.stack import parameters_of
from tests.conditions import (
    CHOICES,
    EDGE,
    OWN_VPC,
    Combination,
    broken_rules,
    combinations,
    load,
    made,
    references,
    translated,
)

TEMPLATE = load()
ALL = list(combinations(TEMPLATE))
EACH = pytest.mark.parametrize("combination", ALL, ids=lambda each: ", ".join(each.words))
NAT = {"AWS::EC2::NatGateway", "AWS::EC2::EIP"}
EDGE_TYPES = ("AWS::EC2::", "AWS::ECS::", "AWS::ElasticLoadBalancingV2::", "AWS::ApplicationAutoScaling::")


def resources(combination: Combination) -> dict[str, Any]:
    return made(translated(combination.parameters), combination.conditions)


def test_every_condition_is_met_and_not_met_by_some_combination() -> None:
    for name in TEMPLATE["Conditions"]:
        assert {each.conditions[name] for each in ALL} == {True, False}, name


@EACH
def test_what_is_made_refers_to_what_is_made(combination: Combination) -> None:
    found = resources(combination)
    known = found.keys() | TEMPLATE["Parameters"].keys()
    assert {name: set(references(each)) - known for name, each in found.items() if set(references(each)) - known} == {}


@EACH
def test_outputs_refer_to_what_is_made(combination: Combination) -> None:
    known = made(TEMPLATE, combination.conditions).keys() | TEMPLATE["Parameters"].keys()
    outputs = made({"Resources": TEMPLATE["Outputs"]}, combination.conditions)
    assert {name for name, each in outputs.items() if set(references(each)) - known} == set()


@EACH
def test_nat_only_for_direct_delivery_and_the_edge_only_when_wanted(combination: Combination) -> None:
    edge, vpc, back_end, *_ = combination.words
    types = {each["Type"] for each in made(TEMPLATE, combination.conditions).values()}
    own_nat = edge == "edge" and vpc == "VPC made" and back_end.startswith("mx")
    assert types & NAT == (NAT if own_nat else set())
    assert ("AWS::EC2::VPC" in types) == (edge == "edge" and vpc == "VPC made")
    if edge == "no edge":
        assert not [each for each in types if each.startswith(EDGE_TYPES)]


@EACH
def test_deliver_is_in_the_vpc_for_direct_delivery_and_for_a_smarthost_inside(combination: Combination) -> None:
    function = made(TEMPLATE, combination.conditions)["DeliverFunction"]["Properties"]
    edge, vpc, back_end, *_ = combination.words
    inside = back_end == "smarthost inside" and vpc == "VPC given"
    assert ("VpcConfig" in function) == (edge == "edge" and (back_end.startswith("mx") or inside))


@EACH
def test_rules_let_whole_combinations_pass(combination: Combination) -> None:
    assert broken_rules(TEMPLATE, combination.parameters) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({}, ["GatewayImage is empty", "CertificateSecret is empty"]),
        ({**EDGE, "CertificateSecret": ""}, ["CertificateSecret is empty"]),
        ({**EDGE, "VpcId": "vpc-0a"}, ["PublicSubnetIds has to", "PrivateSubnetIds has to"]),
        ({**EDGE, **OWN_VPC, "PrivateSubnetIds": ""}, ["PrivateSubnetIds has to"]),
        ({"Edge": "off"}, []),
    ],
    ids=["edge, nothing else", "no certificate", "VPC alone", "no private subnets", "no edge"],
)
def test_rules_say_what_is_missing(overrides: dict[str, str], words: list[str]) -> None:
    said = broken_rules(TEMPLATE, parameters_of(TEMPLATE, overrides))
    assert len(said) == len(words)
    assert all(word in each for word, each in zip(words, said, strict=True))


def test_choices_are_all_tried() -> None:
    count = 1
    for each in CHOICES:
        count *= len(each)
    assert len(ALL) == count
