"""The service that a relay offers, from the values of the template's parameters."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from relay.proof.judge import Patience
from relayctl.context import Service
from relayctl.errors import CommandError

TEMPLATE: Final = Path(__file__).resolve().parents[1] / "template.yaml"
DEFAULT: Final = re.compile(r"^  (\w+):\n(?:    .*\n)*?    Default: (.*)$", re.MULTILINE)
# what stacks of an earlier template lack
LATER: Final = {
    "EgressAddresses": "",
    "DmarcMissing": "refuse",
    "DkimCheck": "warn",
    "VerdictStaleHours": "24",
    "HoldHours": "24",
    "ClockSpeed": "1",
}


def service_of(parameters: Mapping[str, str]) -> Service:
    """parameters: their values by name; those of an earlier template will do. KeyError names what is missing."""
    of = {**LATER, **parameters}
    speed = float(of["ClockSpeed"])
    return Service(
        token_name=of["TokenName"],
        spf_domain=of["SpfDomain"],
        host_name=of["HostName"],
        egress=tuple(filter(None, of["EgressAddresses"].replace(" ", "").split(","))),
        dmarc_required=of["DmarcMissing"] == "refuse",
        dkim=of["DkimCheck"],
        patience=Patience(
            stale=float(of["VerdictStaleHours"]) * 3600 / speed,
            memory=Patience().memory / speed,
            hold=float(of["HoldHours"]) * 3600 / speed,
        ),
    )


def template_parameters(path: Path = TEMPLATE) -> dict[str, str]:
    """The parameters' defaults. CommandError if there is no template here."""
    try:
        text = path.read_text("utf-8")
    except OSError:
        raise CommandError("which relay? name one with --state-file FILE or --stack NAME --region REGION") from None
    head = text.partition("\nResources:\n")[0]
    found = {name: value.strip('"') for name, value in DEFAULT.findall(head)}
    for name in ("TokenName", "SpfDomain", "HostName"):
        if not found.get(name):
            raise CommandError(f"{path}: parameter {name} has no default; name a relay with --stack NAME")
    return found


def template_service(path: Path = TEMPLATE) -> Service:
    return service_of(template_parameters(path))
