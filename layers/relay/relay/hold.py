"""A domain that was proved and isn't any more: its owner is told once, whoever finds it out."""

from datetime import UTC, datetime

from relay.owner_mail import Letter, OwnerMail, wrapped
from relay.proof.judge import Judged
from relay.proof.spf_record import shown
from relay.proof.verdict import to_publish


class TellOwner:
    def __init__(self, owner_mail: OwnerMail) -> None:
        self._owner_mail = owner_mail

    async def __call__(self, judged: Judged, account: str) -> None:
        """judged: of a domain that is held. To the user's own address. Raises as `OwnerMail`."""
        await self._owner_mail(judged.verdict.user, account, letter(judged, account))


def letter(judged: Judged, account: str) -> Letter:
    domain, user = judged.verdict.domain, judged.verdict.user
    body = [
        *wrapped(
            [
                f"The DNS records by which {domain} lets {user} send mail through this relay are not as they were. Mail"
                f" from {domain} waits and is not lost: it goes out by itself once the records are back.",
                f"What is not put right by {time(judged.held_until)} is refused, and its senders are told.",
            ]
        )
    ]
    for problem in judged.verdict.problems:  # a record stands alone on its line, to be copied
        said = ". ".join(filter(None, (problem.what, problem.hint)))
        body += [*wrapped([f"{shown(said, 800)}. To mend it,"]), f"  {to_publish(problem, judged.verdict)}", ""]
    body += ["Record by record:", "", f"  mailrelay check {user} --domain {domain}"]
    subject = f"Mail from {domain} waits: its DNS records have changed"
    return Letter(f"hold/{account}/{domain}", judged.failing_since, subject, tuple(body))


def time(seconds: float) -> str:
    """Epoch seconds as a person reads them."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")
