"""How long the outbound side waits, and how much it tries."""

from dataclasses import dataclass, fields, replace
from typing import Final

from relay.smtp.protocol import Phase

_NAMES: Final = {phase: phase.name.lower() for phase in Phase}  # an enum's name is slow to get at


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, unless said otherwise. RFC 5321 §4.5.3.2 wants 5 minutes for most of these; a Lambda
    function lives for that long in all, and one that waits keeps 99 other deliveries' places.

    content: for the final dot's answer, cut to what is left of the invocation (the RFC wants 600; giving
    up early risks a duplicate). least: no content is sent unless that much is left to wait for the answer.
    policy: for an MTA-STS policy, by HTTPS. turn: for a connection to a site that is shaped, or a turn at its rate.
    block: for the remote to take more of a large message.
    per_connection: messages. hosts: MX hosts whose addresses are looked up; addresses: how many of these are tried.
    """

    connect: float = 30.0
    greeting: float = 60.0
    hello: float = 60.0
    tls: float = 30.0
    auth: float = 60.0
    mail: float = 60.0
    rcpt: float = 60.0
    data: float = 60.0
    block: float = 60.0
    content: float = 600.0
    reset: float = 10.0
    policy: float = 20.0
    turn: float = 60.0
    least: float = 60.0
    idle: float = 10.0
    hosts: int = 10
    addresses: int = 5
    connections_per_site: int = 10
    per_connection: int = 100
    longest_connection: float = 300.0

    def scaled(self, factor: float) -> "Limits":
        """Every duration times `factor`, for an invocation that lives that much shorter (trials)."""
        durations = [each.name for each in fields(self) if each.type is float]
        return replace(self, **{name: getattr(self, name) * factor for name in durations})

    def wait(self, phase: Phase) -> float:
        """How long a reply that answers `phase` may take."""
        seconds: float = getattr(self, _NAMES[phase])
        return seconds
