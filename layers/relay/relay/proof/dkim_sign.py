"""DKIM signatures of the relay's own: rsa-sha256, relaxed/relaxed (RFC 6376 §5, RFC 8301 §3.1). Pure.

No l=: what it leaves unsigned anybody may replace (§8.2). No x=: mail may wait for days, and a signature that has
expired is worse than one that can be replayed. No i= and no z=.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.header import Header
from relay.proof.dkim_canonical import canonical_body, canonical_field, signed_fields

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# Named once more than they are there, so that none can be added: a second From may be the one that is shown (§8.15),
# and an unsubscribe link that somebody adds isn't the sender's (RFC 8058 §4).
OVERSIGNED: Final = (b"from", b"list-unsubscribe", b"list-unsubscribe-post")
# §5.4.1; what identifies a message to its sender's feedback loop; not the trace, which changes on the way
SIGNED: Final = (
    *OVERSIGNED,
    *(b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references"),
    *(b"mime-version", b"content-type", b"content-transfer-encoding", b"content-id", b"content-description"),
    *(b"resent-date", b"resent-from", b"resent-sender", b"resent-to", b"resent-cc", b"resent-message-id"),
    *(b"list-id", b"list-help", b"list-subscribe", b"list-post", b"list-owner", b"list-archive", b"feedback-id"),
)
MOST_OF_A_NAME: Final = 10  # the lowest of a field that is there more often: h= has to stay readable
_LINE: Final = 72  # octets of h= or b= in a line


class SigningKey(NamedTuple):
    """domain: d=, in A-labels. selector: s=."""

    domain: str
    selector: str
    private: "RSAPrivateKey"


def sign(content: bytes, header: Header, keys: Sequence[SigningKey], *, now: float) -> bytes:
    """A DKIM-Signature field by each of `keys`, whole with its CRLF, to stand above `content`, which stays as it is.

    content: a whole message with CRLF line ends; header: of `content`. now: epoch seconds (t=).
    """
    names = _names(header)
    fields = b"".join(
        canonical_field(content[each.start : each.end], relaxed=True) for each in signed_fields(header, names)
    )
    body_hash = base64.b64encode(_body_hash(content, header.end))
    return b"".join(_signature(key, names, fields, body_hash, now) for key in keys)


def _names(header: Header) -> list[bytes]:
    """h=, each name as often as it is signed."""
    count = Counter(each.name for each in header.fields)
    return [name for name in SIGNED for _ in range(min(count[name], MOST_OF_A_NAME) + (1 if name in OVERSIGNED else 0))]


def _body_hash(content: bytes, start: int) -> bytes:
    if start < len(content) and not content.endswith(b"\r\n"):
        content += b"\r\n"  # as the DATA command will (RFC 5321 §4.1.1.4): blanks before it don't count then
    digest = hashlib.sha256()
    for piece in canonical_body(content, start, relaxed=True):
        digest.update(piece)
    return digest.digest()


def _signature(key: SigningKey, names: list[bytes], fields: bytes, body_hash: bytes, now: float) -> bytes:
    from cryptography.hazmat.primitives import hashes  # here, because most invocations sign nothing
    from cryptography.hazmat.primitives.asymmetric import padding

    unsigned = b"\r\n\t".join(
        (
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;",
            b"d=%b;" % key.domain.encode("ascii"),
            b"s=%b; t=%d;" % (key.selector.encode("ascii"), int(now)),
            b"h=" + b":\r\n\t ".join(map(b":".join, _lines(names))) + b";",
            b"bh=%b;" % body_hash,
            b"b=",
        )
    )
    own = canonical_field(unsigned + b"\r\n", relaxed=True)[:-2]  # §3.7: without its CRLF
    made = base64.b64encode(key.private.sign(fields + own, padding.PKCS1v15(), hashes.SHA256()))
    return unsigned + b"\r\n\t ".join(made[at : at + _LINE] for at in range(0, len(made), _LINE)) + b"\r\n"


def _lines(names: Sequence[bytes]) -> Iterator[list[bytes]]:
    line: list[bytes] = []
    for name in names:
        if line and sum(map(len, line)) + len(line) + len(name) > _LINE:
            yield line
            line = []
        line.append(name)
    yield line
