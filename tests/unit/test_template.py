"""template.yaml: the table of clocks (docs/flow.md), and what holds mail is kept and encrypted."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from relay import dkim_keys, retry

STAGES = ("Validate", "Deliver", "Record")
TIMEOUTS = {"Validate": 60, "Deliver": 300, "Record": 60}
FOURTEEN_DAYS = 14 * 24 * 3600


def load() -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        pass

    def tagged(loader: yaml.Loader, suffix: str, node: yaml.Node) -> Any:
        match node:
            case yaml.ScalarNode():
                return {suffix: node.value}
            case yaml.SequenceNode():
                return {suffix: loader.construct_sequence(node, deep=True)}
        return {suffix: loader.construct_mapping(node, deep=True)}

    Loader.add_multi_constructor("!", tagged)
    text = (Path(__file__).parents[2] / "template.yaml").read_text()
    return yaml.load(text, Loader)  # a SafeLoader


TEMPLATE = load()
RESOURCES = TEMPLATE["Resources"]


def properties(logical_name: str) -> dict[str, Any]:
    return dict(RESOURCES[logical_name]["Properties"])


def mapping(stage: str) -> dict[str, Any]:
    (event,) = properties(f"{stage}Function")["Events"].values()
    return dict(event["Properties"])


@pytest.mark.parametrize("stage", STAGES)
def test_clocks(stage: str) -> None:
    queue, dead = properties(f"{stage}Queue"), properties(f"{stage}DeadLetterQueue")
    assert properties(f"{stage}Function")["Timeout"] == TIMEOUTS[stage]
    assert queue["VisibilityTimeout"] == 6 * TIMEOUTS[stage]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 5
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"GetAtt": f"{stage}DeadLetterQueue.Arn"}
    assert queue["MessageRetentionPeriod"] == dead["MessageRetentionPeriod"] == FOURTEEN_DAYS


def test_a_claim_outlives_the_function_and_ends_before_the_message_comes_back() -> None:
    claim = float(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["RELAY_CLAIM_SECONDS"])
    assert TIMEOUTS["Deliver"] < claim < properties("DeliverQueue")["VisibilityTimeout"]


@pytest.mark.parametrize("stage", STAGES)
def test_mappings(stage: str) -> None:
    assert mapping(stage)["Queue"] == {"GetAtt": f"{stage}Queue.Arn"}
    assert mapping(stage)["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping(stage)["ScalingConfig"]["MaximumConcurrency"]
    assert mapping(stage)["MaximumBatchingWindowInSeconds"] <= 1  # a password reset waits for it


def test_content_outlives_retries_and_dead_letters() -> None:
    (rule,) = properties("ContentBucket")["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] * 86400 > retry.LIFETIME + FOURTEEN_DAYS + 24 * 3600


@pytest.mark.parametrize(
    "logical_name", [key for key, each in RESOURCES.items() if each["Type"].split("::")[1] in {"SQS", "DynamoDB", "S3"}]
)
def test_what_holds_mail_or_accounts_is_kept_and_encrypted(logical_name: str) -> None:
    resource = RESOURCES[logical_name]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    assert resource["Properties"].keys() & {"SqsManagedSseEnabled", "SSESpecification", "BucketEncryption"}, (
        "no encryption at rest"
    )


def test_the_names_of_the_service_are_parameters_only() -> None:
    defaults = {"TokenName": "elastx-mrs", "SpfDomain": "elastx.email", "HostName": "smtp.elastx.email"}
    assert {key: TEMPLATE["Parameters"][key]["Default"] for key in defaults} == defaults
    root = Path(__file__).parents[2]
    for folder in ("layers", "functions", "smtp_gateway", "relayctl", "local"):
        for path in (root / folder).rglob("*.py"):
            assert "elastx" not in path.read_text(), path


def test_what_is_not_configured_of_the_back_ends_is_denied() -> None:
    """A statement each in deliver's policy, which allows what a parameter names or denies all."""
    policy = statements(role_of("DeliverFunction"))
    found = {str(each["Action"]): each for each in policy if "If" in each["Resource"]}
    assert {(action, *each["Effect"]["If"], str(each["Resource"]["If"])) for action, each in found.items()} == {
        (
            "secretsmanager:GetSecretValue",
            *("SmarthostHasSecret", "Allow", "Deny"),
            "['SmarthostHasSecret', {'Ref': 'SmarthostSecret'}, '*']",
        ),
        (
            "['ses:SendEmail', 'ses:SendRawEmail']",
            *("SesHasIdentities", "Allow", "Deny"),
            "['SesHasIdentities', {'Ref': 'SesIdentities'}, '*']",
        ),
    }


def statements(role: str) -> list[dict[str, Any]]:
    return [each for policy in properties(role)["Policies"] for each in policy["PolicyDocument"]["Statement"]]


def role_of(function: str) -> str:
    name, attribute = properties(function)["Role"]["GetAtt"].split(".")
    assert attribute == "Arn"
    return str(name)


def allowed(function: str) -> dict[str, set[str]]:
    """Of the statements of a function's role: what is allowed, by resource."""
    found: dict[str, set[str]] = {}
    for each in statements(role_of(function)):
        if each["Effect"] == "Deny":
            continue
        actions = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
        resources = each["Resource"] if isinstance(each["Resource"], list) else [each["Resource"]]
        for resource in resources:
            found.setdefault(str(resource), set()).update(actions)
    return found


FUNCTIONS = [name for name, each in RESOURCES.items() if each["Type"] == "AWS::Serverless::Function"]


def test_each_function_has_a_role_of_its_own() -> None:
    """SAM's own would let each read every queue and write every log of the account."""
    assert len({role_of(name) for name in FUNCTIONS}) == len(FUNCTIONS)
    assert not [name for name in FUNCTIONS if "Policies" in properties(name)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_to_its_own_group_and_nowhere_else(name: str) -> None:
    group = properties(name)["LoggingConfig"]["LogGroup"]["Ref"]
    logs = {arn for arn, actions in allowed(name).items() if any(each.startswith("logs:") for each in actions)}
    assert logs == {str({"GetAtt": f"{group}.Arn"})}


def test_who_makes_keys_cannot_open_them_and_who_signs_cannot_make_them() -> None:
    key, table = "{'GetAtt': 'DkimKmsKey.Arn'}", "{'GetAtt': 'DkimKeysTable.Arn'}"
    rights = {name: allowed(name) for name in FUNCTIONS}
    assert {name: each[key] for name, each in rights.items() if key in each} == {
        "ValidateFunction": {"kms:Decrypt"},
        "DkimFunction": {"kms:Encrypt"},
    }
    others = {f"{{'GetAtt': '{name}.Arn'}}" for name in ("DkimLogGroup", "AuditTable")}
    assert rights["DkimFunction"].keys() == {key, table, *others}
    assert {name for name, each in rights.items() if table in each} == {"ValidateFunction", "DkimFunction"}
    assert not [each for rest in rights.values() for actions in rest.values() for each in actions if "*" in each]


def test_the_audit_is_only_ever_added_to() -> None:
    found = {name: allowed(name).get("{'GetAtt': 'AuditTable.Arn'}") for name in FUNCTIONS}
    put = {"dynamodb:PutItem"}
    assert {name: each for name, each in found.items() if each} == dict.fromkeys(
        ("RecordFunction", "AccountsFunction", "DkimFunction"), put
    )


def test_the_key_that_seals_is_kept_and_rotates() -> None:
    key = RESOURCES["DkimKmsKey"]
    assert key["DeletionPolicy"] == key["UpdateReplacePolicy"] == "Retain"
    assert key["Properties"]["EnableKeyRotation"] is True


def test_old_keys_stay_published_as_long_as_mail_may_wait() -> None:
    (rule,) = properties("ContentBucket")["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] <= dkim_keys.KEPT_DAYS


def test_mail_leaves_to_the_recipients_own_servers_unless_said_otherwise() -> None:
    assert TEMPLATE["Parameters"]["BackEnds"]["Default"] == "mx"
    names = ("BackEndRules", "Smarthost", "SmarthostSecret", "SmarthostNetworks", "SmarthostCa", "SesIdentities")
    assert [TEMPLATE["Parameters"][name]["Default"] for name in names] == [""] * len(names)


def test_each_function_takes_its_share_of_as_many_as_may_run() -> None:
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    concurrency = {"Ref": "DeliverConcurrency"}
    assert variables["RELAY_DELIVER_CONCURRENCY"] == mapping("Deliver")["ScalingConfig"]["MaximumConcurrency"]
    assert variables["RELAY_DELIVER_CONCURRENCY"] == concurrency


def test_only_deliver_may_touch_the_sites_and_one_at_a_time() -> None:
    table = "{'GetAtt': 'SitesTable.Arn'}"
    found = {(name, action) for name in FUNCTIONS for action in allowed(name).get(table, ())}
    assert found == {("DeliverFunction", f"dynamodb:{each}Item") for each in ("Get", "Put", "Delete")}


FOR_EVER = {"AccountsTable", "DkimKeysTable"}


@pytest.mark.parametrize("name", [name for name in RESOURCES if name.endswith("Table") and name not in FOR_EVER])
def test_what_is_not_for_ever_has_a_time_to_live(name: str) -> None:
    assert properties(name)["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


@pytest.mark.parametrize("name", [name for name, each in RESOURCES.items() if each["Type"] == "AWS::Logs::LogGroup"])
def test_logs_are_kept_for_a_while_only(name: str) -> None:
    """They have the addresses of clients and recipients."""
    assert 7 <= properties(name)["RetentionInDays"] <= 90


@pytest.mark.parametrize("name", [name for name in RESOURCES if name.endswith("Table")])
def test_tables_can_be_had_as_they_were(name: str) -> None:
    assert properties(name)["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_nobody_else_reads_the_bucket() -> None:
    assert set(properties("ContentBucket")["PublicAccessBlockConfiguration"].values()) == {True}


@pytest.mark.parametrize("name", ["EgressAddressA", "EgressAddressB"])
def test_an_address_with_a_reputation_is_kept(name: str) -> None:
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_nothing_that_is_kept_is_behind_a_condition_but_addresses() -> None:
    """A parameter that is set back would leave it behind, without its data in the new one."""
    kept = {name for name, each in RESOURCES.items() if "Retain" in each.get("DeletionPolicy", "")}
    assert {name for name in kept if "Condition" in RESOURCES[name]} == {"EgressAddressA", "EgressAddressB"}


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_a_parameter_says_what_it_is_and_takes_no_nonsense(name: str) -> None:
    parameter = TEMPLATE["Parameters"][name]
    assert parameter["Description"].rstrip().endswith((".", ")"))
    assert "Default" in parameter
    free = {"BackEndRules", "SmarthostCa"}  # read by code that says what is wrong
    lists = parameter["Type"] == "CommaDelimitedList"
    assert lists or name in free or parameter.keys() & {"AllowedPattern", "AllowedValues", "MinValue"}
