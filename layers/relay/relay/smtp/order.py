"""Whether a server answers in the order it was asked, as far as its replies show it: then the next envelope may be
written behind a message's content (RFC 2920 §3.1), which saves a round trip for each message.

Of a server that doesn't, the answer to the next MAIL would be taken for that to the final dot, and a message that it
has not taken, for delivered. Enhanced codes tell the two apart: X.1.Z is about an address (RFC 3463 §3.2).
"""

from typing import Final

from relay.smtp.replies import ProtocolError, Reply

QUICK: Final = 5.0  # seconds to answer the final dot; behind a slower server's message nobody is made to wait
ADDRESS: Final = b"2.1."


class Order:
    """What one connection has shown. kept: an envelope may follow content at once."""

    __slots__ = ("_address", "kept")

    def __init__(self) -> None:
        self._address = False
        self.kept = False

    def mail(self, reply: Reply) -> None:
        """`reply` answers MAIL."""
        self._address = reply.lines[0].startswith(ADDRESS)

    def content(self, reply: Reply, seconds: float, *, followed: bool) -> None:
        """`reply` answers the final dot, after `seconds`; followed: by an envelope. ProtocolError if it's another's."""
        status = reply.lines[0]
        if not reply.ok:
            return  # says nothing new
        if followed and status.startswith(ADDRESS):
            self.kept = False
            raise ProtocolError("an answer to what came behind the message, before the answer to the message")
        self.kept = self._address and status.startswith(b"2.") and not status.startswith(ADDRESS) and seconds < QUICK
