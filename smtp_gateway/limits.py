"""What one session may do, and the count of what it has done."""

from dataclasses import dataclass

from smtp_gateway import replies
from smtp_gateway.replies import Reply


@dataclass(frozen=True, slots=True)
class Limits:
    """size: octets of a message. The rest are counts: recipients of a message; errors and failed
    authentications of a session."""

    size: int = 41_943_040
    recipients: int = 1000
    errors: int = 20
    failed_logins: int = 3


class Tally:
    """One session's count."""

    __slots__ = ("_errors", "_failed_logins", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._errors = 0
        self._failed_logins = 0

    def refused(self, reply: Reply) -> tuple[Reply, str] | None:
        """After `reply` to a command: the reply that ends the session, and why for the log; None if it goes on."""
        if reply is replies.WRONG_LOGIN:
            self._failed_logins += 1
            if self._failed_logins >= self._limits.failed_logins:
                return replies.TOO_MANY_FAILED_LOGINS, "failed logins"
        elif reply.counts:
            self._errors += 1
            if self._errors >= self._limits.errors:
                return replies.TOO_MANY_ERRORS, "errors"
        return None
