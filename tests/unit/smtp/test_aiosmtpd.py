"""SmtpTransport against aiosmtpd: an SMTP server that is not ours."""

import asyncio
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope

from relay.smtp.https import Fetch
from relay.smtp.mx import Routes
from relay.smtp.policies import Policies
from relay.smtp.reach import Reach
from relay.smtp.tls import verified_tls
from relay.smtp.transport import SmtpTransport
from relay.submission import Delivery, Inline
from tests.fakes import FakeClock
from tests.unit.smtp.world import FakePolicies
from tests.unit.smtp.zone import Zone


class Mailbox:
    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(
        self, server: SMTP, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 taken"


@pytest.mark.parametrize(
    ("content", "recipients"),
    [
        (b"Subject: x\r\n\r\n.\r\n..\r\nx\r\n", ("a@b.example",)),
        ("Subject: é\r\n\r\né\r\n".encode(), ("é@b.example", "b@b.example")),
        (b"Subject: x\r\n\r\n" + b".x" * 400 + b"\r\n", ("a@b.example", "nobody@b.example")),
    ],
)
def test_delivered(content: bytes, recipients: tuple[str, ...]) -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(mailbox, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
        clock = FakeClock()
        zone = Zone(a_records={"b.example": ("127.0.0.1",)})
        routes = Routes(zone, "relay.example", Reach(opened=("127.0.0.0/8",)))
        transport = SmtpTransport(
            routes=routes,
            policies=Policies(zone, FakePolicies(), Fetch(routes.addresses, verified_tls), clock),
            host_name="relay.example",
            clock=clock,
            port=server.sockets[0].getsockname()[1],
        )
        delivery = Delivery(
            "id", "account", "s@a.example", "b.example", 0, recipients, clock.now(), Inline(content), smtputf8=True
        )
        for _ in range(3):
            replies = await transport.send(delivery, recipients, content, deadline=clock.now() + 100)
            assert [reply.ok for reply in replies] == ["nobody" not in each for each in recipients]
        transport.close()
        server.close()
        taken = [each for each in recipients if "nobody" not in each]
        assert [(each.content, each.rcpt_tos) for each in mailbox.envelopes] == [(content, taken)] * 3

    asyncio.run(scenario())
