"""Whether Amazon SES can send a message without breaking it: what its signature covers, and what SES changes. Pure.

From the SES developer guide: "Amazon SES header fields" (fields that it overrides, or refuses when they come twice),
"Manual DKIM signing" (fields that a signature must not cover), "Service quotas"; and the API reference of SendEmail.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from relay.header import Header, HeaderError, read_header
from relay.proof.dkim_tags import parse_tags

LARGEST: Final = 40_000_000  # octets of the message in base64
LONGEST_LINE: Final = 998  # octets without CRLF (RFC 5322 §2.1.1)

# It puts its own in their place, or adds more of them: a signature that covers the name, there or not, fails then.
REWRITTEN: Final = frozenset((b"date", b"message-id", b"return-path", b"bounces-to"))
ADDED: Final = frozenset((b"dkim-signature", b"feedback-id", b"x-ses-outgoing"))
REMOVED: Final = b"x-ses-"

ONCE: Final = frozenset(
    b"""accept-language acceptlanguage archived-at auto-submitted bounces-to comments content-alternative content-base
    content-class content-description content-disposition content-duration content-id content-language content-length
    content-location content-md5 content-transfer-encoding content-type date delivered-to
    disposition-notification-options disposition-notification-to dkim-signature domainkey-signature errors-to from
    importance in-reply-to keywords list-archive list-help list-id list-owner list-post list-subscribe list-unsubscribe
    list-unsubscribe-post message-context message-id mime-version organization original-from original-message-id
    original-recipient original-subject precedence priority references reply-to return-path return-receipt-to sender
    solicitation sensitivity subject thread-index thread-topic user-agent vbr-info""".split()
)


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why SES is not to have it, as a permanent refusal: an SMTP reply code, an RFC 3463 status, a clause."""

    code: int
    enhanced: str
    why: str


NULL_SENDER: Final = Unfit(554, "5.3.3", "SES does not send with the null reverse-path")
NO_SMTPUTF8: Final = Unfit(553, "5.6.7", "SES does not send internationalized mail (SMTPUTF8)")
EIGHTBIT: Final = Unfit(554, "5.6.2", "the message is signed and has 8-bit content, which SES may convert")


def unfit(mail_from: str, content: bytes, *, smtputf8: bool = False) -> Unfit | None:
    """None if SES can send it. content: the whole message. smtputf8: it was submitted with SMTPUTF8."""
    if not mail_from:  # RFC 5321 §4.5.5, and no address for SES to check
        return NULL_SENDER
    size = -(-len(content) // 3) * 4
    if size > LARGEST:
        return Unfit(552, "5.3.4", f"the message has {size} octets in base64; SES takes {LARGEST}")
    try:
        header = read_header(content)
    except HeaderError as error:
        return Unfit(554, "5.6.0", f"SES would not read the header: {error.safe}")
    if not mail_from.isascii() or (smtputf8 and not content[: header.end].isascii()):
        return NO_SMTPUTF8
    return _malformed(header) or _signature_breaks(header)


def _malformed(header: Header) -> Unfit | None:
    counts = Counter(each.name for each in header.fields)
    if twice := sorted(name for name, count in counts.items() if count > 1 and name in ONCE):
        return Unfit(554, "5.6.0", f"SES refuses a message with more than one {_shown(twice)}")
    if _has_long_line(header.content):
        return Unfit(554, "5.6.0", f"SES refuses lines of more than {LONGEST_LINE} octets")
    return None


def _has_long_line(content: bytes) -> bool:
    """Looks at a line's end now and then: at most once for each 1,000 octets, unless lines are long."""
    longest, start = LONGEST_LINE + 2, 0
    while len(content) - start >= longest:
        end = content.rfind(b"\n", start, start + longest)
        if end < 0:
            return True
        start = end + 1
    return False


def _signature_breaks(header: Header) -> Unfit | None:
    """RFC 6376 §3.5: h= names what is signed, also what isn't there (§5.4.2). A signature that can't be read is none
    that could break."""
    for value in header.values(b"dkim-signature"):
        tags = parse_tags(value)
        if tags is None:
            continue
        names = {name.strip(b" \t\r\n").lower() for name in tags.get(b"h", b"").split(b":")}
        if changed := sorted(name for name in names if _is_changed(name)):
            why = f"the DKIM signature covers {_shown(changed)}, which SES changes: it would not verify any more"
            return Unfit(554, "5.6.2", why)
        if not header.content.isascii():
            return EIGHTBIT
    return None


def _is_changed(name: bytes) -> bool:
    return name in REWRITTEN or name in ADDED or name.startswith(REMOVED)


def _shown(names: list[bytes]) -> str:
    usual = {b"message-id": "Message-ID", b"dkim-signature": "DKIM-Signature", b"mime-version": "MIME-Version"}
    return ", ".join(usual.get(name) or name.decode("ascii", "replace").title() for name in names[:3])
