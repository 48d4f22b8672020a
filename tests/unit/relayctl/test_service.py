"""The service's parameters: of a stack, of an earlier template's, of the template itself."""

from pathlib import Path

import pytest

from relay.proof.judge import Patience
from relay.proof.verdict import Terms
from relayctl.context import Service
from relayctl.errors import CommandError
from relayctl.service import service_of, template_parameters, template_service

EARLIER = {"TokenName": "token", "SpfDomain": "spf.example", "HostName": "smtp.example"}


def test_all_parameters() -> None:
    more = {
        "EgressAddresses": "192.0.2.1, 2001:db8::1",
        "DmarcMissing": "warn",
        "DkimCheck": "require",
        "VerdictStaleHours": "2",
        "HoldHours": "12",
        "ClockSpeed": "2",
        "SmtpPort": "25",
    }
    service = service_of({**EARLIER, **more})
    assert service.terms == Terms("token", "spf.example", ("192.0.2.1", "2001:db8::1"), "smtp.example", False)
    assert service.dkim == "require"
    assert service.patience == Patience(stale=3600.0, memory=15 * 86_400.0, hold=6 * 3600.0)


def test_those_of_an_earlier_template() -> None:
    assert service_of(EARLIER) == Service("token", "spf.example", "smtp.example")


def test_the_template_s_own_are_the_usual_ones() -> None:
    found = template_parameters()
    assert found["TokenName"] == "elastx-mrs"
    assert found["EgressAddresses"] == ""
    assert template_service() == Service("elastx-mrs", "elastx.email", "smtp.elastx.email")


def test_no_template_here(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"which relay\? name one"):
        template_parameters(tmp_path / "template.yaml")


def test_a_template_without_defaults(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("Parameters:\n  TokenName:\n    Type: String\n  SpfDomain:\n    Type: String\n    Default: a\n")
    with pytest.raises(CommandError, match="parameter TokenName has no default"):
        template_parameters(path)
