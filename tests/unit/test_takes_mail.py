"""relay.takes_mail: RFC 5321 §5.1 and RFC 7505, by what DNS answers."""

import asyncio

import pytest

from relay.errors import PermanentError, RelayError, TemporaryError
from relay.takes_mail import check_takes_mail
from tests.unit.smtp.zone import Zone

SILENT = TemporaryError("no answer", "timeout")


@pytest.mark.parametrize(
    "zone",
    [
        pytest.param(Zone(mx_records={"b.example": ((10, "mx.c.example"),)}), id="mx"),
        pytest.param(Zone(mx_records={"b.example": ((0, ""), (10, "mx.c.example"))}), id="null-mx-beside-one"),
        pytest.param(Zone(a_records={"b.example": ("192.0.2.1",)}), id="a"),
        pytest.param(Zone(aaaa_records={"b.example": ("2001:db8::1",)}), id="aaaa"),
    ],
)
def test_takes_mail(zone: Zone) -> None:
    asyncio.run(check_takes_mail("b.example", zone))


@pytest.mark.parametrize(
    ("zone", "kind", "why"),
    [
        pytest.param(Zone(), PermanentError, "b.example does not exist", id="no-such-domain"),
        pytest.param(Zone(mx_records={"b.example": ((0, ""),)}), PermanentError, "null MX", id="null-mx"),
        pytest.param(Zone(mx_records={"b.example": ()}), PermanentError, "neither MX nor address", id="no-data"),
        pytest.param(Zone(mx_records={"b.example": SILENT}), TemporaryError, "does not answer now", id="mx-silent"),
        pytest.param(
            Zone(mx_records={"b.example": ()}, a_records={"b.example": SILENT}),
            TemporaryError,
            "does not answer now",
            id="address-silent",
        ),
    ],
)
def test_takes_none(zone: Zone, kind: type[RelayError], why: str) -> None:
    with pytest.raises(kind, match=why):
        asyncio.run(check_takes_mail("b.example", zone))
