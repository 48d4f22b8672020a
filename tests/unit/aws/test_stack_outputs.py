import json
import socket

import pytest

from relay.aws.stack import StackFacts, stack_facts
from relay.errors import PermanentError, TemporaryError
from tests.unit.aws.contract import KEYS, REGION, boto, unique


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def test_a_stack_s_outputs_and_parameters(moto_endpoint: str) -> None:
    template = {
        "Parameters": {"Given": {"Type": "String"}, "Empty": {"Type": "String", "Default": ""}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {"One": {"Value": "1"}, "Two": {"Value": {"Ref": "AWS::Region"}}},
    }
    name = unique("stack")
    boto("cloudformation", moto_endpoint).create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": "Given", "ParameterValue": "value"}],
    )
    facts = StackFacts({"One": "1", "Two": REGION}, {"Given": "value", "Empty": ""})
    assert stack_facts(name, REGION, moto_endpoint) == facts


def test_a_missing_stack_is_named(moto_endpoint: str) -> None:
    with pytest.raises(PermanentError, match="no stack 'nothing' in eu-north-1"):
        stack_facts("nothing", REGION, moto_endpoint)


def test_nobody_to_ask() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TemporaryError, match="cannot be asked"):
        stack_facts("name", REGION, f"http://127.0.0.1:{port}")
