"""ports.Transport over several back ends: the first that can have the message, and the next where it had none of it."""

from collections.abc import Mapping
from typing import Final

from relay.backends import BackEnd, BackEnds
from relay.failure_rules import Stage
from relay.ports import RecipientReply, Transport
from relay.submission import Delivery

LONGEST_TEXT: Final = 1_000  # octets, as of an Outcome


class Dispatch:
    """transports: of all that `back_ends` uses."""

    def __init__(self, back_ends: BackEnds, transports: Mapping[BackEnd, Transport]) -> None:
        self._back_ends = back_ends
        self._transports = transports

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        """ports.Transport.send; `via` says which back end's reply it is."""
        known: dict[str, RecipientReply] = {}
        pending = recipients
        for name in self._back_ends.of(delivery.mail_from.rpartition("@")[2], delivery.domain):
            replies = await self._transports[name].send(delivery, pending, content, deadline=deadline)
            for reply in replies:
                before = known.get(reply.recipient)
                known[reply.recipient] = _of_both(before, reply._replace(via=name))
            pending = tuple(reply.recipient for reply in replies if _is_open(reply))
            if not pending:
                break
        return tuple(known[recipient] for recipient in recipients)


def _is_open(reply: RecipientReply) -> bool:
    """Whether another back end may try: none of the content can have reached anybody by this one, and the domain
    has not said no. What is refused for good before MAIL is the server's, or what it lacks, not the recipient's."""
    if reply.ok or reply.stage in ("", Stage.DOT):
        return False
    return not reply.permanent or reply.stage in (Stage.CONNECT, Stage.EHLO)


def _of_both(before: RecipientReply | None, reply: RecipientReply) -> RecipientReply:
    """`reply`, unless it says less: that one back end can never have the message doesn't outweigh that another may
    have it later, nor that none of its servers was asked what another's said. If none can, each has its say."""
    if before is not None and reply.put_off and not before.put_off and not before.permanent:
        return before
    if before is None or not (reply.permanent and _is_open(reply)):
        return reply
    if not before.permanent:
        return before
    return before._replace(text=f"{before.text}; {reply.text}".encode()[:LONGEST_TEXT].decode("utf-8", "ignore"))
