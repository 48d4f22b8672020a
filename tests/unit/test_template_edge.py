"""The edge in template.yaml: the gateway starts with what its task says, is reached where it listens, ends in time."""

from typing import Any, Final

import pytest

from relay.quota import DEFAULT_LIMITS
from smtp_gateway import health
from smtp_gateway.server import DRAIN
from smtp_gateway.settings import KeyPair, Settings, certificate_secrets
from smtp_gateway.workers import LONGEST
from tests.conditions import SECRET, Combination, combinations, load, made

TEMPLATE = load()
# One with all of the edge and a second certificate, one without what can be left out.
FULL, LEAST = (
    next(each for each in combinations(TEMPLATE) if each.words[:4] == words)
    for words in (("edge", "VPC made", "mx", "two"), ("edge", "VPC given", "ses", "one certificate"))
)
BOTH = pytest.mark.parametrize("combination", [FULL, LEAST], ids=["all", "least"])
VALUES: Final = {  # of resources in the gateway's environment
    "AWS::Region": "eu-north-1",
    "ValidateQueue": "https://sqs.eu-north-1.amazonaws.com/123456789012/validate",
    "ValidateFunction": "arn:aws:lambda:eu-north-1:123456789012:function:validate",
    "AccountsTable": "accounts",
    "UsageTable": "usage",
    "ContentBucket": "content",
}


def properties(name: str, combination: Combination = FULL) -> dict[str, Any]:
    return dict(made(TEMPLATE, combination.conditions)[name]["Properties"])


def container(name: str, combination: Combination = FULL) -> dict[str, Any]:
    (found,) = [each for each in properties("GatewayTask", combination)["ContainerDefinitions"] if each["Name"] == name]
    return dict(found)


def environment(name: str, combination: Combination) -> dict[str, str]:
    def value(of: Any) -> str:
        match of:
            case {"Ref": str(what)} | {"Fn::GetAtt": [str(what), "Arn"]}:
                return {**VALUES, **combination.parameters}[what]
        return str(of)

    return {each["Name"]: value(each["Value"]) for each in container(name, combination)["Environment"]}


@BOTH
def test_the_gateway_starts_with_its_task_s_environment(combination: Combination) -> None:
    settings = Settings.from_environment(environment("gateway", combination))
    assert settings.listen.port == 2587
    assert settings.tls_listen.port == 2465
    assert settings.health_listen is not None
    assert settings.validate_function == VALUES["ValidateFunction"]
    assert settings.account_limits == DEFAULT_LIMITS
    assert (settings.workers, settings.endpoint_url, settings.proxy_from) == (2, None, ())


@BOTH
def test_the_gateway_reads_the_files_that_are_fetched_beside_it(combination: Combination) -> None:
    fetched = certificate_secrets(environment("certificates", combination))
    settings = Settings.from_environment(environment("gateway", combination))
    files = [str(path) for path in fetched.values()]
    assert [(each.cert_file, each.key_file) for each in settings.certificates] == [(each, each) for each in files]
    assert list(fetched) == [f"{SECRET}tls", f"{SECRET}tls2"][: 1 + combination.conditions["TwoCertificates"]]
    assert isinstance(settings.certificates[0], KeyPair)
    mounts = {each: container(each, combination)["MountPoints"][0] for each in ("gateway", "certificates")}
    assert {each["SourceVolume"] for each in mounts.values()} == {properties("GatewayTask")["Volumes"][0]["Name"]}
    assert all(file.startswith(each["ContainerPath"] + "/") for each in mounts.values() for file in files)
    assert mounts["gateway"]["ReadOnly"] is True
    awaited = container("certificates", combination)["HealthCheck"]["Command"]
    assert [each for each in awaited if each.startswith("/")] == files
    assert container("gateway")["DependsOn"] == [{"ContainerName": "certificates", "Condition": "HEALTHY"}]


def test_one_port_all_the_way() -> None:
    """Listener -> target group -> container, each let through by the security groups."""
    public = {each["FromPort"] for each in properties("LoadBalancerSecurityGroup")["SecurityGroupIngress"]}
    inside = {each["FromPort"] for each in properties("GatewaySecurityGroup")["SecurityGroupIngress"]}
    service = {each["TargetGroupArn"]["Ref"]: each for each in properties("GatewayService")["LoadBalancers"]}
    ports = {each["ContainerPort"] for each in container("gateway")["PortMappings"]}
    settings = Settings.from_environment(environment("gateway", FULL))
    assert settings.health_listen
    assert ports == inside == {settings.listen.port, settings.tls_listen.port, settings.health_listen.port}
    for name, port, container_port in (
        ("Submission", 587, settings.listen.port),
        ("Tls", 465, settings.tls_listen.port),
    ):
        assert properties(f"{name}Listener")["Port"] == port
        assert port in public
        group = properties(f"{name}Targets")
        assert group["Port"] == service[f"{name}Targets"]["ContainerPort"] == container_port
        assert (group["HealthCheckPort"], group["HealthCheckPath"]) == (str(settings.health_listen.port), health.PATH)


def test_only_the_balancer_reaches_the_gateway() -> None:
    sources = {
        str(each["SourceSecurityGroupId"]) for each in properties("GatewaySecurityGroup")["SecurityGroupIngress"]
    }
    assert sources == {"{'Ref': 'LoadBalancerSecurityGroup'}"}


@pytest.mark.parametrize("name", ["SubmissionTargets", "TlsTargets"])
def test_clients_addresses_are_kept_and_sessions_outlive_a_deployment(name: str) -> None:
    attributes = {each["Key"]: each["Value"] for each in properties(name)["TargetGroupAttributes"]}
    assert properties(name)["TargetType"] == "ip"
    assert attributes["preserve_client_ip.enabled"] == "true"
    assert int(attributes["deregistration_delay.timeout_seconds"]) > 30
    assert attributes["target_health_state.unhealthy.connection_termination.enabled"] == "false"


def test_a_deployment_drains_and_turns_back_by_itself() -> None:
    configuration = properties("GatewayService")["DeploymentConfiguration"]
    assert configuration["MinimumHealthyPercent"] == 100
    assert configuration["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert DRAIN < LONGEST < container("gateway")["StopTimeout"]
    assert "DesiredCount" not in properties("GatewayService")
    assert int(TEMPLATE["Parameters"]["MinGateways"]["Default"]) >= 2


@pytest.mark.parametrize("name", ["gateway", "certificates"])
def test_containers_cannot_write_to_their_image(name: str) -> None:
    assert container(name)["ReadonlyRootFilesystem"] is True


def test_the_task_s_memory_holds_its_workers_at_their_limits() -> None:
    """docs/operators.md, "The gateway's processes and limits"."""
    settings = Settings.from_environment(environment("gateway", FULL))
    room = max(settings.room, 2 * settings.max_size * settings.workers)
    storing = 4 * settings.max_size * settings.workers
    connections = settings.max_connections * settings.workers * (80 + 64) * 1024
    idle = (settings.workers + 2) * 60_000_000  # the parent and fetch-certificates, too
    assert room + storing + connections + idle < int(properties("GatewayTask")["Memory"]) * 2**20


def test_who_runs_the_gateway_has_these_rights() -> None:
    def rights(role: str) -> dict[str, list[str]]:
        (policy,) = properties(role)["Policies"]
        return {
            str(each["Resource"]): [each["Action"]] if isinstance(each["Action"], str) else each["Action"]
            for each in policy["PolicyDocument"]["Statement"]
        }

    assert rights("GatewayRole") == {
        "{'Fn::GetAtt': ['ValidateQueue', 'Arn']}": ["sqs:SendMessage", "sqs:GetQueueAttributes"],
        "{'Fn::GetAtt': ['ValidateFunction', 'Arn']}": ["lambda:InvokeFunction"],
        "{'Fn::GetAtt': ['AccountsTable', 'Arn']}": ["dynamodb:GetItem"],
        "{'Fn::GetAtt': ['UsageTable', 'Arn']}": ["dynamodb:GetItem", "dynamodb:UpdateItem"],
        "{'Fn::Sub': '${ContentBucket.Arn}/*'}": ["s3:PutObject"],
        "[{'Ref': 'CertificateSecret'}, {'Ref': 'SecondCertificateSecret'}]": ["secretsmanager:GetSecretValue"],
    }
    assert rights("GatewayExecutionRole")["*"] == ["ecr:GetAuthorizationToken"]


NO_NARROWER = {
    "sns:Publish",
    "ecr:GetAuthorizationToken",
    "cloudwatch:GetMetricStatistics",
    *(f"ec2:Describe{each}" for each in ("NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")),
    *("sns:GetSMSSandboxAccountStatus", "sns:ListSMSSandboxPhoneNumbers"),
    *("sns:CheckIfPhoneNumberIsOptedOut", "sns:GetSMSAttributes"),
}


def test_a_star_is_there_only_where_aws_has_nothing_narrower() -> None:
    found: set[str] = set()
    for name, each in made(TEMPLATE, FULL.conditions).items():
        if each["Type"] == "AWS::IAM::Role":
            assert "ManagedPolicyArns" not in each["Properties"], name
            for statement in each["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
                if statement["Effect"] == "Allow" and statement["Resource"] == "*":
                    found |= {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
    assert found <= NO_NARROWER
