"""What a server's reply, or what stops it before one is asked, makes of a recipient."""

from collections.abc import Mapping

from relay.failure import Ends, judge
from relay.outcome import Outcome, State
from relay.ports import RecipientReply


def waits(recipient: str, why: str) -> RecipientReply:
    """On the clock of the retries: what was stopped by mistake is not lost, and the rest can be cancelled."""
    return RecipientReply(recipient, False, False, 451, "4.7.13", why)  # IANA: X.7.13, user account disabled


def delivered(reply: RecipientReply, attempt: int, now: float) -> Outcome:
    """Of a reply that is ok. attempt: 1, 2, ...; now: epoch seconds."""
    return Outcome(
        reply.recipient,
        State.DELIVERED,
        now,
        attempt,
        reply.code,
        reply.enhanced,
        reply.text,
        reply.remote,
        reply.tls,
        dsn=reply.dsn,
        via=reply.via,
    )


def failed(
    reply: RecipientReply, attempt: int, now: float, clock: Mapping[Ends, float | None], *, is_dead: bool
) -> Outcome:
    """Of one that isn't. clock: when the next attempt is due (epoch seconds), None if there is to be none."""
    judged = judge(reply.code, reply.enhanced, reply.text, reply.stage, reply.remote)
    next_due = clock[judged.ends]
    if next_due is not None:
        state = State.DEFERRED
    elif judged.ends is Ends.NOW:
        state = State.BOUNCED
    else:
        state = State.EXPIRED
    return Outcome(
        reply.recipient,
        state,
        now,
        attempt,
        reply.code,
        reply.enhanced,
        reply.text,
        reply.remote,
        reply.tls,
        next_due=next_due or 0.0,
        dsn=reply.dsn,
        failure=judged.failure,
        dead=is_dead,
        via=reply.via,
    )
