"""template.yaml as a stack in a local AWS: translated by SAM's own translator, created by CloudFormation.

CodeUri and ContentUri are zipped into a bucket, as `sam deploy` does, but nothing runs from there: the
local Lambda service runs the handlers from their folders. Event source mappings are created disabled,
because moto's own lose messages; local.mappings runs them. What was created is then checked
(local.stack_check).
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.processes import StartError

ROOT: Final = Path(__file__).resolve().parent.parent
TEMPLATE: Final = ROOT / "template.yaml"
REGION: Final = "us-east-1"
STACK_NAME: Final = "mailrelay"
CODE_BUCKET: Final = "mailrelay-local-code"
# Never a person's own credentials: the endpoint may be any URL.
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
CREATE_SECONDS: Final = 120
NO_EDGE: Final = {"Edge": "off", "Alarms": "off"}  # what no local AWS can play: network, balancer, Fargate, alarms


class Aws:
    """boto3 clients for one endpoint, made when first asked for; they may be shared by threads."""

    def __init__(self, endpoint: str, region: str = REGION) -> None:
        self.endpoint = endpoint
        self.region = region
        self._session = boto3.session.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=region,
        )
        self._config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=50,
            s3={"addressing_style": "path"},
        )
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(service, endpoint_url=self.endpoint, config=self._config)
        return self._clients[service]


@dataclass(frozen=True, slots=True)
class Stack:
    """A created stack.

    resources: {logical id: physical id}. template: the translated one. parameters: all values, defaults
    included. folders: {logical id of a function: the folder of its code}.
    """

    name: str
    resources: Mapping[str, str]
    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    folders: Mapping[str, Path] = field(default_factory=dict)

    def of_type(self, type_: str) -> dict[str, str]:
        """{logical id: physical id} of the resources of one CloudFormation type."""
        return {
            logical: self.resources[logical]
            for logical, resource in self.template["Resources"].items()
            if resource["Type"] == type_ and logical in self.resources
        }


def parse(text: str) -> dict[str, Any]:
    """A template with CloudFormation's short forms (!Ref and so on) as their long ones."""
    from samtranslator.yaml_helper import yaml_parse

    template = yaml_parse(text)
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise StartError("the template has no Resources")
    return template


def parameters_of(template: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, str]:
    """Every parameter's value as text. StartError for one without a value, or an override of none."""
    declared = template.get("Parameters", {})
    if unknown := sorted(overrides.keys() - declared.keys()):
        raise StartError(f"template.yaml has no parameter {', '.join(unknown)}")
    values = {name: str(facts["Default"]) for name, facts in declared.items() if "Default" in facts}
    values.update(overrides)
    if missing := sorted(declared.keys() - values.keys()):
        raise StartError(f"template.yaml: parameter {', '.join(missing)} has no default and the local system no value")
    return values


def deploy(
    aws: Aws, template: dict[str, Any], overrides: Mapping[str, str], root: Path = ROOT, name: str = STACK_NAME
) -> Stack:
    """Create the stack of a parsed template, whose CodeUri are relative to `root`; returns it unchecked.

    `template` is changed. A stack of that name that is there already (an endpoint that outlives us) is used,
    with what is in its queues and tables; its functions get the environment of these parameters.
    overrides: parameter values. StartError with CloudFormation's (or the translator's) reason.
    """
    parameters = parameters_of(template, overrides)
    try:
        folders = _upload_code(aws, template, root)
        translated = translate(template, parameters, aws.region)
        there = _exists(aws, name)
        if not there:
            _create(aws, name, translated, parameters)
        resources = _resources(aws, name)
        if there:
            _renew_environments(aws, translated, resources, parameters)
    except (ClientError, BotoCoreError) as error:
        raise StartError(f"the stack can't be created at {aws.endpoint}: {error}") from error
    return Stack(name, resources, translated, parameters, folders)


def _upload_code(aws: Aws, template: dict[str, Any], root: Path) -> dict[str, Path]:
    """Replace every local CodeUri and ContentUri by an S3 URI; {logical id: folder}."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=CODE_BUCKET)
    folders: dict[str, Path] = {}
    for logical, resource in template["Resources"].items():
        for name in ("CodeUri", "ContentUri"):
            uri = resource.get("Properties", {}).get(name)
            if not isinstance(uri, str) or uri.startswith("s3://"):
                continue
            folder = (root / uri).resolve()
            if not folder.is_dir():
                raise StartError(f"template.yaml: {logical} {name}: there is no folder {uri}")
            archive = _zip(folder)
            key = hashlib.sha256(archive).hexdigest()
            s3.put_object(Bucket=CODE_BUCKET, Key=key, Body=archive)
            resource["Properties"][name] = f"s3://{CODE_BUCKET}/{key}"
            folders[logical] = folder
    return folders


def _zip(folder: Path) -> bytes:
    """The folder's files, always the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
    return buffer.getvalue()


def _managed_policies() -> dict[str, str]:
    """{name: ARN} of AWS's managed policies, as moto knows them; the translator asks for them."""
    from moto.iam.aws_managed_policies import aws_managed_policies_data

    return {name: facts["Arn"] for name, facts in json.loads(aws_managed_policies_data).items()}


def translate(template: dict[str, Any], parameters: Mapping[str, str], region: str) -> dict[str, Any]:
    """SAM to CloudFormation, every event source mapping disabled. `template` is changed; its code has s3 URIs."""
    from samtranslator.model.exceptions import InvalidDocumentException
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator
    from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template

    values: dict[str, Any] = dict(parameters)
    # Logical ids that it makes up hash the template's text as Python 2 had it; so does the real one.
    to_py27_compatible_template(template, values)
    # samtranslator.translator.transform would take the region from the environment.
    translator = Translator(None, Parser(), boto_session=boto3.session.Session(region_name=region))
    try:
        translated: dict[str, Any] = undo_mark_unicode_str_in_template(
            translator.translate(template, values, get_managed_policy_map=_managed_policies)
        )
    except InvalidDocumentException as error:
        causes = "; ".join(str(cause.message) for cause in error.causes)
        raise StartError(f"template.yaml: {causes or error.message}") from error
    translated.pop("Transform", None)
    for resource in translated["Resources"].values():
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            resource["Properties"]["Enabled"] = False
    return translated


def _exists(aws: Aws, name: str) -> bool:
    try:
        found = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ValidationError", "404"):  # CloudFormation's word for "no such stack"
            return False
        raise
    return any(stack["StackStatus"] != "DELETE_COMPLETE" for stack in found)


def _renew_environments(
    aws: Aws, template: Mapping[str, Any], resources: Mapping[str, str], parameters: Mapping[str, str]
) -> None:
    """Not by UpdateStack: moto's fails over functions that have layers."""
    for logical, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Lambda::Function" or not resources.get(logical):
            continue
        wanted = resource["Properties"].get("Environment", {}).get("Variables", {})
        client, function = aws.client("lambda"), resources[logical]
        now = client.get_function_configuration(FunctionName=function).get("Environment", {}).get("Variables", {})
        variables = {name: str(value) for name, value in now.items()}
        for name, value in wanted.items():
            if isinstance(value, dict) and value.get("Ref") in parameters:
                variables[name] = parameters[value["Ref"]]
        client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})


def _create(aws: Aws, name: str, template: dict[str, Any], parameters: Mapping[str, str]) -> None:
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    waiter = cloudformation.get_waiter("stack_create_complete")
    try:
        waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": CREATE_SECONDS})
    except BotoCoreError as error:
        raise StartError(f"the stack was not created: {_reasons(cloudformation, name) or error}") from error


def _resources(aws: Aws, name: str) -> dict[str, str]:
    pages = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    return {
        resource["LogicalResourceId"]: resource.get("PhysicalResourceId", "")
        for page in pages
        for resource in page["StackResourceSummaries"]
    }


def _reasons(cloudformation: Any, name: str) -> str:
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    return "; ".join(
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
        for event in events
        if event["ResourceStatus"].endswith("_FAILED")
    )
