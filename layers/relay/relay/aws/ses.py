"""ports.Transport on Amazon SES: SendEmail of the API v2, with the message as it is ("Raw").

What SES changes and which messages it is not given are relay.ses_fit's; docs/backends.md tells both. A call takes 50
recipients and answers for all of them alike: what becomes of each after that, SES tells the sender by mail.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final

from relay.aws.client import AwsClient, AwsError, UncertainError
from relay.errors import OutageError
from relay.failure_rules import Stage
from relay.ports import Clock, RecipientReply
from relay.ses_fit import NO_SMTPUTF8, Unfit, unfit
from relay.submission import Delivery

MOST_RECIPIENTS: Final = 50  # of a call (SES developer guide, "Service quotas")
PATIENCE: Final = 30.0
PATH: Final = "/v2/email/outbound-emails"
# MessageRejected is also said of an identity that isn't verified, which the operator can mend.
UNVERIFIED: Final = re.compile(r"not verified|not authorized|failed the check", re.IGNORECASE)
LONGEST_WORDS: Final = 600  # characters of SES's own


class SesTransport:
    """clock: of the deadlines. patience: seconds for an answer, and one more for each MB; no call is begun with less
    left. warn: told what SES says that is for the operator."""

    def __init__(
        self,
        client: AwsClient,
        clock: Clock,
        *,
        patience: float = PATIENCE,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._patience = patience
        self._warn = warn

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        """ports.Transport.send. What SES can't send, it isn't given: a permanent refusal at EHLO, as where a server
        lacks what the message needs. A signature of the relay's stays behind: it covers Date and Message-ID, which SES
        changes, and SES signs for its identities itself."""
        content = content.removeprefix(delivery.signature.encode("ascii"))
        refusal = unfit(delivery.mail_from, content, smtputf8=delivery.smtputf8)
        replies = {each: _unfit(each, refusal or NO_SMTPUTF8) for each in recipients if refusal or not each.isascii()}
        rest = [each for each in recipients if each not in replies]
        for start in range(0, len(rest), MOST_RECIPIENTS):
            part = rest[start : start + MOST_RECIPIENTS]
            reply = await self._send(delivery.mail_from, part, content, deadline)
            replies |= {each: reply._replace(recipient=each) for each in part}
        return tuple(replies[each] for each in recipients)

    async def _send(self, mail_from: str, recipients: list[str], content: bytes, deadline: float) -> RecipientReply:
        """One reply for all of `recipients`."""
        body = _body(mail_from, recipients, content)
        if deadline - self._clock.now() < self._patience + len(body) / 1e6:
            return _later("no time left in this attempt", "4.4.7")
        origin = self._client.origin("ses")
        try:
            request = await self._client.request("ses", "POST", PATH, (("content-type", "application/json"),), body)
            # Once: a request that is repeated is mail that is sent twice.
            response = await self._client.call("SendEmail", request, body, once=True, seconds=self._patience)
            id = str(json.loads(response.body)["MessageId"])
        except AwsError as error:
            return self._refused(error)
        except UncertainError as error:
            return _later(f"no answer from SES, which may have the message: {error.detail}", "4.4.2", Stage.DOT)
        except OutageError as error:  # throttled, or not reached
            return _later(f"SES takes nothing now: {error.detail}", "4.3.2")
        except (KeyError, TypeError, ValueError):
            return _later("an answer from SES that is none; it may have the message", "4.4.2", Stage.DOT)
        tls = "HTTPS" if origin.tls else ""
        text = f"SES has it as {id[:100]}"
        return RecipientReply("", True, False, 250, "2.0.0", text, origin.authority, tls, stage=Stage.DOT)

    def _refused(self, error: AwsError) -> RecipientReply:
        """By code (API reference, SendEmail). The message's fault is for good; what the account may is the
        operator's matter, and SES's words about that are for the log alone."""
        said = str(error.fields.get("message") or error.fields.get("Message") or "")
        words = "".join(filter(str.isprintable, said))[:LONGEST_WORDS]
        match error.code:
            case "MessageRejected" if not UNVERIFIED.search(words):
                return _never(f"SES refuses the message: {words}", Stage.DATA)
            case "BadRequestException" | "InvalidParameterValue":  # its form, which another back end may take
                return _never(f"SES refuses the message: {words}", Stage.EHLO)
        self._warn(f"SES: {error.code}: {words}")
        unverified = error.code in ("MessageRejected", "MailFromDomainNotVerifiedException")
        why = f"{error.code}{', the sender is no verified identity' if unverified else ''}"
        return _later(f"SES does not send for the relay: {why}", "4.3.0")


def _body(mail_from: str, recipients: list[str], content: bytes) -> bytes:
    """Without a copy of the content in each of JSON's layers."""
    envelope = {"FromEmailAddress": mail_from, "Destination": {"ToAddresses": recipients}}
    head = json.dumps(envelope, separators=(",", ":"))[:-1].encode()
    return b"".join((head, b',"Content":{"Raw":{"Data":"', b64encode(content), b'"}}}'))


def _unfit(recipient: str, why: Unfit) -> RecipientReply:
    return RecipientReply(recipient, False, True, why.code, why.enhanced, why.why, stage=Stage.EHLO)


def _later(text: str, enhanced: str, stage: Stage = Stage.ROUTE) -> RecipientReply:
    """At ROUTE, 4.3.* is the relay's own matter and never expires (relay.failure)."""
    return RecipientReply("", False, False, 451, enhanced, text, stage=stage)


def _never(text: str, stage: Stage) -> RecipientReply:
    return RecipientReply("", False, True, 554, "5.6.0", text, stage=stage)
