"""template.yaml under every combination of its conditions, worked out as CloudFormation does it.

`python -m tests.conditions` prints which resources each combination makes.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from local.stack import REGION, TEMPLATE, parameters_of, parse, translate

NO_VALUE: Final = {"Ref": "AWS::NoValue"}
SECRET: Final = "arn:aws:secretsmanager:eu-north-1:123456789012:secret:"
EDGE: Final = {
    "GatewayImage": "123456789012.dkr.ecr.eu-north-1.amazonaws.com/mailrelay-gateway:abc",
    "CertificateSecret": f"{SECRET}tls",
}
OWN_VPC: Final = {
    "VpcId": "vpc-0a",
    "PublicSubnetIds": "subnet-0a,subnet-0b",
    "PrivateSubnetIds": "subnet-0c,subnet-0d",
}

Choice = dict[str, str]
"""Values of parameters that go together."""


class Combination(NamedTuple):
    """words: one for each choice. conditions: what becomes of each."""

    words: tuple[str, ...]
    parameters: dict[str, str]
    conditions: dict[str, bool]


CHOICES: Final[tuple[dict[str, Choice], ...]] = (
    {"edge": {"Edge": "on", **EDGE}, "no edge": {"Edge": "off"}},
    {"VPC made": {}, "VPC given": OWN_VPC},
    {
        "mx": {"BackEnds": "mx"},
        "mx by a rule": {"BackEnds": "ses", "BackEndRules": "to a.example = mx"},
        "ses": {"BackEnds": "ses", "SesIdentities": "arn:aws:ses:eu-north-1:123456789012:identity/a.example"},
        "smarthost": {"BackEnds": "smarthost", "Smarthost": "s.example:587", "SmarthostSecret": f"{SECRET}smarthost"},
        "smarthost inside": {"BackEnds": "smarthost", "Smarthost": "s.example:25", "SmarthostNetworks": "10.0.0.0/8"},
    },
    {"one certificate": {}, "two": {"SecondCertificateSecret": f"{SECRET}tls2"}},
    {"alarms": {"OperatorEmail": "op@b.example"}, "no alarms": {"Alarms": "off"}},
)


def combinations(template: Mapping[str, Any]) -> Iterator[Combination]:
    for chosen in itertools.product(*(each.items() for each in CHOICES)):
        overrides: dict[str, str] = {}
        for _, choice in chosen:
            overrides |= choice
        parameters = parameters_of(template, overrides)
        yield Combination(tuple(word for word, _ in chosen), parameters, conditions(template, parameters))


def load() -> dict[str, Any]:
    """The template, its code where `sam package` would have put it."""
    template = parse(TEMPLATE.read_text("utf-8"))
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = "s3://bucket/key"
    return template


def translated(parameters: Mapping[str, str]) -> dict[str, Any]:
    return translate(load(), parameters, REGION)


def conditions(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, bool]:
    return {
        name: truth(each, template["Conditions"], template, parameters) for name, each in template["Conditions"].items()
    }


def truth(rule: Any, named: Mapping[str, Any], template: Mapping[str, Any], parameters: Mapping[str, str]) -> bool:
    def of(each: Any) -> bool:
        return truth(each, named, template, parameters)

    def value(each: Any) -> Any:
        return text(each, template, parameters)

    match rule:
        case {"Condition": str(name)}:
            return of(named[name])
        case {"Fn::Not": [each]}:
            return not of(each)
        case {"Fn::And": each}:
            return all(map(of, each))
        case {"Fn::Or": each}:
            return any(map(of, each))
        case {"Fn::Equals": [one, other]}:
            return bool(value(one) == value(other))
    raise ValueError(f"{rule} is no condition that is known here")


def text(value: Any, template: Mapping[str, Any], parameters: Mapping[str, str]) -> Any:
    match value:
        case {"Ref": str(name)}:
            many = template["Parameters"][name]["Type"] == "CommaDelimitedList"
            return parameters[name].split(",") if many else parameters[name]
        case {"Fn::Join": [str(between), parts]}:
            return between.join(text(parts, template, parameters))
        case {"Fn::Split": [str(between), whole]}:
            return text(whole, template, parameters).split(between)
        case str() | int():
            return str(value)
    raise ValueError(f"{value} has no text that is known here")


def broken_rules(template: Mapping[str, Any], parameters: Mapping[str, str]) -> list[str]:
    """What CloudFormation says before it makes anything."""
    return [
        each["AssertDescription"]
        for rule in template["Rules"].values()
        if truth(rule["RuleCondition"], {}, template, parameters)
        for each in rule["Assertions"]
        if not truth(each["Assert"], {}, template, parameters)
    ]


def made(template: Mapping[str, Any], truths: Mapping[str, bool]) -> dict[str, Any]:
    """{logical id: resource} of what there will be, with every Fn::If decided."""
    return {
        name: decide(each, truths)
        for name, each in template["Resources"].items()
        if truths.get(each.get("Condition", ""), True)
    }


def decide(value: Any, truths: Mapping[str, bool]) -> Any:
    match value:
        case {"Fn::If": [str(name), yes, no]}:
            return decide(yes if truths[name] else no, truths)
        case dict():
            decided = {name: decide(each, truths) for name, each in value.items()}
            return {name: each for name, each in decided.items() if each != NO_VALUE}
        case list():
            return [each for each in (decide(each, truths) for each in value) if each != NO_VALUE]
    return value


def references(value: Any) -> Iterator[str]:
    """Names that are referred to; AWS's own left out."""
    match value:
        case {"Ref": str(name)}:
            yield from [name] if not name.startswith("AWS::") else []
        case {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {"Fn::Sub": str(words)}:
            yield from in_words(words, {})
        case {"Fn::Sub": [str(words), dict(own)]}:
            yield from in_words(words, own)
            yield from references(own)
        case dict():
            for name, each in value.items():
                if name == "DependsOn":  # a container has one, too, which is no string
                    yield from (one for one in (each if isinstance(each, list) else [each]) if isinstance(one, str))
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


def in_words(words: str, own: Mapping[str, Any]) -> Iterator[str]:
    for name in re.findall(r"\$\{([A-Za-z0-9]+)(?:\.[^}]*)?\}", words):
        if name not in own:
            yield name


def main() -> None:
    template = load()
    found = list(combinations(template))
    sets: dict[frozenset[str], list[Combination]] = {}
    for each in found:
        sets.setdefault(frozenset(made(template, each.conditions)), []).append(each)
    print(f"{len(found)} combinations of parameters make {len(sets)} different sets of resources:\n")
    for number, (resources, alike) in enumerate(sets.items(), 1):
        true = [name for name in template["Conditions"] if all(each.conditions[name] for each in alike)]
        print(f"{number}: {len(resources)} resources; {', '.join(true) or 'no condition'}; {len(alike)} combinations")
    print("\n" + " " * 41 + "".join(f"{number:>4}" for number in range(1, len(sets) + 1)))
    for type_ in sorted({each["Type"] for each in template["Resources"].values()}):
        counts = [sum(template["Resources"][name]["Type"] == type_ for name in each) for each in sets]
        print(f"{type_.partition('::')[2]:<41}" + "".join(f"{count or '-':>4}" for count in counts))


if __name__ == "__main__":
    main()
