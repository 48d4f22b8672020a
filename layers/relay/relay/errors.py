"""The two kinds of failure: temporary (try again) and permanent (never will work).

Each has two audiences: `safe` may be shown to a peer, `detail` is for the log only.
"""


class RelayError(Exception):
    """Base of both kinds; never raised itself.

    safe: one sentence without secrets, for the peer. detail: the cause, for the log.
    """

    def __init__(self, safe: str, detail: str = "") -> None:
        super().__init__(f"{safe} ({detail})" if detail else safe)
        self.safe = safe
        self.detail = detail


class TemporaryError(RelayError):
    """It may work later: an outage, a throttle, a time-out, DNS that doesn't answer."""


class OutageError(TemporaryError):
    """One of our own parts is away or throttles us: however long that lasts, it never ends anybody's mail."""


class FaultError(OutageError):
    """One of our own parts refuses the call as it is: our bug or our settings, which time alone doesn't mend.
    The peer is told to try again; a queue message goes to the dead-letter queue, to be seen."""


class PermanentError(RelayError):
    """It will never work as it is: bad syntax, a domain that does not exist."""
