"""functions/accounts/app.py, with fakes behind its ports."""

import asyncio
import io
import json
import uuid
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from relay.account import BouncePause
from relay.errors import TemporaryError
from relay.settings import FunctionSettings
from tests.fakes import FakeAccounts, FakeClock, FakeSms, FakeUsage
from tests.functions import ENVIRONMENT, load
from tests.unit.smtp.zone import Zone

DNS = Zone(mx_records={"example.com": ((10, "mx.example.com"),)})
SETTINGS = FunctionSettings.from_environment(ENVIRONMENT)


@pytest.fixture(scope="module")
def app() -> Any:
    return load("accounts")


class World:
    def __init__(self, app: Any) -> None:
        self.accounts, self.sms, self.log, self.usage = FakeAccounts(), FakeSms(), io.StringIO(), FakeUsage()
        logger = Logger(service=f"test-{uuid.uuid4()}", stream=self.log)
        self._handler = app.AccountsHandler(
            SETTINGS,
            accounts=self.accounts,
            bounces=self.usage,
            sms=self.sms,
            resolver=DNS,
            clock=FakeClock(7.0),
            logger=logger,
        )

    def __call__(self, event: Any) -> Any:
        return json.loads(json.dumps(asyncio.run(self._handler(event))))  # as Lambda returns it


@pytest.fixture
def world(app: Any) -> World:
    return World(app)


CREATE = {"action": "create", "user": "Jo@Example.com", "phone": "+46 70 987 65 43"}


def test_create_answers_with_the_records_to_publish(world: World) -> None:
    answer = world(CREATE)
    assert answer["ok"] is True
    assert answer["user"] == "Jo@Example.com"
    assert [(record["name"], record["type"]) for record in answer["records"]] == [
        ("example.com", "TXT"),
        ("example.com", "TXT"),
        ("_dmarc.example.com", "TXT"),
    ]
    assert list(world.accounts.items) == ["jo@example.com"]


def test_the_password_is_in_the_sms_alone(world: World) -> None:
    answer = world(CREATE)
    ((_, text),) = world.sms.sent
    assert text.startswith("smtp.relay.example: user Jo@Example.com password ")
    password = text.rpartition(" ")[2]
    listed = world({"action": "list"})
    assert password not in json.dumps([answer, listed]) + world.log.getvalue()


def test_events_are_not_logged(world: World) -> None:
    world({**CREATE, "phone": "+4670999999999999"})
    world(CREATE)
    assert world.log.getvalue()
    assert "70999999999999" not in world.log.getvalue()
    assert "709876543" not in world.log.getvalue().replace(" ", "")


def test_list(world: World) -> None:
    world(CREATE)
    assert world({"action": "list"}) == {
        "ok": True,
        "accounts": [JO],
    }


JO: dict[str, Any] = {
    "user": "Jo@Example.com",
    "phone": "+46709876543",
    "created": 7.0,
    "disabled": False,
    "paused": None,
    "limits": {"per_second": 100, "per_day": 200_000, "recipients": 1000, "size": 41_943_040},
    "own_limits": [],
}


def test_the_life_of_an_account(world: World) -> None:
    def do(action: str, **more: Any) -> Any:
        return world({"action": action, "user": "jo@example.com", **more})

    world(CREATE)
    shown = do("show")
    assert JO.items() <= shown.items()
    assert (shown["server"], shown["old_password_until"], len(shown["records"])) == ("smtp.relay.example", None, 3)
    assert do("rotate") == {"ok": True, **JO, "changed": True, "old_password_until": 7.0 + 24 * 3600}
    assert do("show")["old_password_until"] == 7.0 + 24 * 3600
    assert do("rotate", now=True) == {"ok": True, **JO, "changed": True, "old_password_until": None}
    assert do("disable") == {"ok": True, **JO, "disabled": True, "changed": True}
    assert do("disable")["changed"] is False
    assert do("enable") == {"ok": True, **JO, "changed": True}
    assert do("delete")["changed"] is True
    assert do("delete")["changed"] is False
    assert "is deleted" in do("show")["error"]
    assert "is taken" in world(CREATE)["error"]
    passwords = [text.rpartition(" ")[2] for _, text in world.sms.sent]
    assert len(set(passwords)) == 3
    assert not [each for each in passwords if each in world.log.getvalue()]
    assert "709876543" not in world.log.getvalue()


def test_limits_and_a_pause(world: World) -> None:
    def do(action: str, **more: Any) -> Any:
        return world({"action": action, "user": "jo@example.com", **more})

    world(CREATE)
    answer = do("limits", limits={"per_day": 5})
    assert (answer["limits"]["per_day"], answer["own_limits"], answer["changed"]) == (5, ["per_day"], True)
    assert do("limits", limits={"per_day": 5})["changed"] is False
    assert do("limits", limits={"per_day": 0})["limits"]["per_day"] == 200_000
    asyncio.run(world.accounts.pause("jo@example.com", BouncePause(3.0, 60, 200)))
    assert do("show")["paused"] == {"since": 3.0, "bounced": 60, "finished": 200}
    assert do("resume")["paused"] is None
    assert do("resume")["changed"] is False


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({}, "action must be one of: create, list, show, rotate, disable, enable, resume, limits, delete"),
        ({"action": "drop"}, "action must be one of"),
        ({"action": ["list"]}, "action must be one of"),
        ({"action": "create", "phone": "+46701234567"}, "user is missing"),
        ({"action": "create", "user": "jo@example.com"}, "phone is missing"),
        ({"action": "rotate"}, "user is missing"),
        ({"action": "limits", "user": "jo@example.com"}, "limits must be whole numbers for one or more of: per_second"),
        ({"action": "limits", "user": "jo@example.com", "limits": {}}, "limits must be"),
        ({"action": "limits", "user": "jo@example.com", "limits": {"per_hour": 1}}, "limits must be"),
        ({"action": "limits", "user": "jo@example.com", "limits": {"per_day": True}}, "limits must be"),
        ({"action": "limits", "user": "jo@example.com", "limits": {"per_day": 1.5}}, "limits must be"),
        ({"action": "limits", "user": "jo@example.com", "limits": {"per_day": -1}}, "per_day must be from 1 to"),
        ({"action": "rotate", "user": "jo@example.com", "now": "yes"}, "now must be true or false"),
        ({"action": "disable", "user": "jo@example.com"}, "there is no account jo@example.com"),
        ({"action": "create", "user": 3, "phone": "+46701234567"}, "user is missing"),
        ({"action": "create", "user": "jo", "phone": "+46701234567"}, "user name must be an e-mail address"),
        ({"action": "create", "user": "jo@example.com", "phone": "070"}, "country code"),
        ({"action": "create", "user": "jo@b.example", "phone": "+46701234567"}, "b.example does not exist in DNS"),
    ],
)
def test_a_wrong_event_is_told_what_is_wrong(world: World, event: Any, words: str) -> None:
    answer = world(event)
    assert answer["ok"] is False
    assert words in answer["error"]
    assert world.accounts.items == {}


def test_a_taken_name_is_said(world: World) -> None:
    world(CREATE)
    assert "taken" in world(CREATE)["error"]


def test_an_outage_is_said_without_its_details(world: World) -> None:
    world.accounts.fail = TemporaryError("a service is away", "dynamodb: 503")
    assert world(CREATE) == {"ok": False, "error": "a service is away"}
    assert "dynamodb: 503" in world.log.getvalue()
