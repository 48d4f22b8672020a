"""What one session may do, and the count of what it has done."""

from dataclasses import dataclass

from smtp_gateway import replies
from smtp_gateway.replies import Reply


@dataclass(frozen=True, slots=True)
class Limits:
    """size: octets of a message. recipients: of a message. The rest are of a session.

    errors, failed_logins: counts. lines: command lines up to the login. idle_lines: command lines after it, or after
    a message that was taken, to the next one, beside a line for each recipient that was accepted. messages: begun.
    octets: heard, of commands and content.
    """

    size: int = 41_943_040
    recipients: int = 1000
    errors: int = 20
    failed_logins: int = 3
    lines: int = 50
    idle_lines: int = 1000
    messages: int = 20_000
    octets: int = 10_000_000_000


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
