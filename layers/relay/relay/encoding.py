"""Queue messages: JSON with a version, content in base64, compressed only where that saves billed chunks: its
own, or of a batch of ten.

SQS takes only legal XML characters (AWS API reference, SendMessage), so bytes travel as base64 and
JSON stays ASCII. `v` is the version; the previous one still decodes (there is none before 1). A field that
came later is optional: left out while it has its default, and so what was queued before it decodes.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import orjson
from pybase64 import b64decode, b64encode_as_string

from relay.errors import PermanentError
from relay.failure_rules import FailureClass
from relay.json_text import dump
from relay.outcome import Outcome, Report, State
from relay.submission import NOTHING_PROVED, Content, Delivery, Dsn, Inline, Proved, Stored, Submission

T = TypeVar("T")

VERSION: Final = 1
CHUNK: Final = 65_536  # SQS bills each request per 64 KiB of payload (AWS: SQS pricing)
SHARE: Final = CHUNK // 5  # ten such messages are two chunks: their batch is billed by its sum
WORTH: Final = 0.75  # of its size: what is compressed into less is worth the time
LARGEST_BODY: Final = 1_048_576  # SQS: of a message and of a whole batch
MOST_INLINE: Final = 1_048_576  # octets; more isn't worth the time to find out how it packs, nor the memory unpacked
MOST_UNPACKED: Final = 67_108_864  # octets, of a message that somebody else may have put there
ENVELOPE_ROOM: Final = 24_576  # what 100 recipients and the other fields may take of a message

# Dollars per million requests (us-east-1, autumn 2026): where the two cross decides inline or stored.
SQS_REQUEST: Final = 0.40 + 0.10  # with fair queues
S3_PUT: Final = 5.00
S3_GET: Final = 0.40


def inline_limit() -> int:
    """Octets of queue-message body up to which inline content costs no more than S3.

    A chunk is billed four times (sent to and received from ValidateQueue and DeliverQueue); a
    reference costs one chunk each time, one PUT, and a GET by validate and by deliver.
    """
    by_reference = 4 * SQS_REQUEST + S3_PUT + 2 * S3_GET
    return int(by_reference / (4 * SQS_REQUEST)) * CHUNK


def fits_inline(content: bytes, copies: int = 1) -> bool:
    """Whether `content` goes inline in each of `copies` queue messages, or once to the content store."""
    room = inline_limit() - ENVELOPE_ROOM
    if len(content) > MOST_INLINE:
        return False
    return _plain_size(content) * copies <= room or len(_pack(content)[1]) * copies <= room


def encode_submission(submission: Submission) -> str:
    return dump({**_outer("submission", submission), **_inner(submission), **_later(submission)})


def encode_delivery(delivery: Delivery) -> str:
    part = {"domain": delivery.domain, "chunk": delivery.chunk, "notice": delivery.notice}
    return dump({**_outer("delivery", delivery), **part, **_inner(delivery), **_later(delivery)})


def encode_report(report: Report) -> str:
    return dump(
        {
            **_outer("report", report),
            "domain": report.domain,
            "chunk": report.chunk,
            "stage": report.stage,
            "outcomes": [encode_outcome(outcome) for outcome in report.outcomes],
            "content": None if report.content is None else _encode_content(report.content),
            "notice": report.notice,
            **_later(report),
        }
    )


def decode_submission(body: str) -> Submission:
    """PermanentError if `body` is not a submission of a version that we know; so the other two."""
    return _load(body, "submission", _submission)


def decode_delivery(body: str) -> Delivery:
    return _load(body, "delivery", _delivery)


def decode_report(body: str) -> Report:
    return _load(body, "report", _report)


def encode_outcome(outcome: Outcome) -> dict[str, Any]:
    """As JSON types; also how the ledger keeps it."""
    fields: dict[str, Any] = {
        "recipient": outcome.recipient,
        "state": outcome.state,
        "time": outcome.time,
        "attempt": outcome.attempt,
        "code": outcome.code,
        "enhanced": outcome.enhanced,
        "text": outcome.text,
        "remote": outcome.remote,
        "tls": outcome.tls,
        "next_due": outcome.next_due,
    }
    if outcome.dsn:  # from here on such as came later
        fields["dsn"] = True
    if outcome.failure:
        fields["failure"] = outcome.failure
    if outcome.dead:
        fields["dead"] = True
    if outcome.via:
        fields["via"] = outcome.via
    return fields


def decode_outcome(fields: dict[str, Any]) -> Outcome:
    """The inverse of encode_outcome; KeyError, TypeError or ValueError for anything else."""
    return Outcome(
        recipient=_text(fields["recipient"]),
        state=State(fields["state"]),
        time=_time(fields["time"]),
        attempt=int(fields["attempt"]),
        code=int(fields["code"]),
        enhanced=_text(fields["enhanced"]),
        text=_text(fields["text"]),
        remote=_text(fields.get("remote", "")),
        tls=_text(fields.get("tls", "")),
        next_due=_time(fields.get("next_due", 0.0)),
        dsn=bool(fields.get("dsn", False)),
        failure=FailureClass(fields["failure"]) if "failure" in fields else None,
        dead=bool(fields.get("dead", False)),
        via=_text(fields.get("via", "")),
    )


def _outer(kind: str, thing: Submission | Delivery | Report) -> dict[str, Any]:
    """What all three have."""
    return {
        "v": VERSION,
        "kind": kind,
        "id": thing.id,
        "account": thing.account,
        "mail_from": thing.mail_from,
        "received": thing.received,
    }


def _inner(thing: Submission | Delivery) -> dict[str, Any]:
    """What a submission and a delivery have."""
    return {
        "rcpt_to": thing.rcpt_to,
        "content": _encode_content(thing.content),
        "eightbit": thing.eightbit,
        "smtputf8": thing.smtputf8,
        "attempt": thing.attempt,
        "due": thing.due,
    }


def _later(thing: Submission | Delivery | Report) -> dict[str, Any]:
    """The fields that came later, without those that have their default."""
    fields: dict[str, Any] = {}
    if thing.tried:
        fields["tried"] = thing.tried
    if thing.ret:
        fields["ret"] = thing.ret
    if thing.envid:
        fields["envid"] = thing.envid
    if thing.dsn:
        fields["dsn"] = {recipient: tuple(asked) for recipient, asked in thing.dsn.items()}
    if not isinstance(thing, Submission) and thing.proved is not NOTHING_PROVED and thing.proved != NOTHING_PROVED:
        fields["proved"] = {"receipts": thing.proved.receipts, "warnings": thing.proved.warnings}
    if isinstance(thing, Delivery) and thing.signature:
        fields["signature"] = thing.signature
    return fields


def _encode_content(content: Content) -> dict[str, Any]:
    match content:
        case Inline(data):
            form, packed = _pack(data)
            return {form: packed}
        case Stored(key, size):
            return {"key": key, "size": size}


def _load(body: str, kind: str, build: Callable[[dict[str, Any]], T]) -> T:
    try:
        fields = orjson.loads(body)
        if fields["v"] != VERSION or fields["kind"] != kind:
            raise ValueError(f"not a {kind} of version {VERSION}")
        return build(fields)
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error, RecursionError) as error:
        raise PermanentError(f"unreadable {kind}", f"{type(error).__name__}: {error}") from error


def _submission(fields: dict[str, Any]) -> Submission:
    return Submission(**_message(fields), **_envelope(fields))


def _delivery(fields: dict[str, Any]) -> Delivery:
    return Delivery(
        **_message(fields),
        **_envelope(fields),
        domain=_text(fields["domain"]),
        chunk=int(fields["chunk"]),
        notice=bool(fields["notice"]),
        proved=_proved(fields),
        signature=_text(fields.get("signature", "")),
    )


def _report(fields: dict[str, Any]) -> Report:
    return Report(
        **_message(fields),
        domain=_text(fields["domain"]),
        chunk=int(fields["chunk"]),
        stage=_text(fields["stage"]),
        outcomes=tuple(decode_outcome(outcome) for outcome in fields["outcomes"]),
        content=None if fields["content"] is None else _decode_content(fields["content"]),
        notice=bool(fields["notice"]),
        proved=_proved(fields),
    )


def _proved(fields: dict[str, Any]) -> Proved:
    found = fields.get("proved", {"receipts": (), "warnings": ()})
    return Proved(tuple(map(_text, found["receipts"])), tuple(map(_text, found["warnings"])))


def _message(fields: dict[str, Any]) -> dict[str, Any]:
    """What all three have."""
    return {
        "id": _text(fields["id"]),
        "account": _text(fields["account"]),
        "mail_from": _text(fields["mail_from"]),
        "received": _time(fields["received"]),
        "tried": _time(fields.get("tried", 0.0)),
        "ret": _text(fields.get("ret", "")),
        "envid": _text(fields.get("envid", "")),
        "dsn": {
            recipient: Dsn(_text(notify), _text(orcpt)) for recipient, (notify, orcpt) in fields.get("dsn", {}).items()
        },
    }


def _envelope(fields: dict[str, Any]) -> dict[str, Any]:
    """What a submission and a delivery have."""
    return {
        "rcpt_to": _texts(fields["rcpt_to"]),
        "content": _decode_content(fields["content"]),
        "eightbit": bool(fields["eightbit"]),
        "smtputf8": bool(fields["smtputf8"]),
        "attempt": int(fields["attempt"]),
        "due": _time(fields["due"]),
    }


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text belongs")
    return value


def _time(value: object) -> float:
    time = float(value)  # type: ignore[arg-type]  # TypeError for what is no number
    if not math.isfinite(time):
        raise ValueError(f"{value} where a time belongs")
    return time


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError("a list with at least one text belongs here")
    return tuple(_text(each) for each in value)


def _pack(data: bytes) -> tuple[str, str]:
    """The name of the form and the text, base64 in either."""
    plain = _plain_size(data)
    if plain > SHARE:
        squeezed = b64encode_as_string(zlib.compress(data, 1))
        if len(squeezed) < WORTH * plain or _chunks(len(squeezed)) < _chunks(plain):
            return "zlib", squeezed
    return "base64", b64encode_as_string(data)


def _unpack(packed: bytes) -> bytes:
    """Never more than MOST_UNPACKED: a thousand times what it was is no rarity with zlib."""
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(packed, MOST_UNPACKED)
    if not unpacking.eof:
        raise ValueError("content that is cut off, or that unpacks to too much")
    return data


def _plain_size(data: bytes) -> int:
    """Octets of it in base64 (RFC 4648 §4)."""
    return (len(data) + 2) // 3 * 4


def _chunks(size: int) -> int:
    return -(-(size + 1024) // CHUNK)  # 1 KiB: a usual envelope


def _decode_content(fields: dict[str, Any]) -> Content:
    match fields:
        case {"key": str(key), "size": int(size)}:
            return Stored(key, size)
        case {"base64": str(packed)}:
            return Inline(b64decode(packed, validate=True))
        case {"zlib": str(packed)}:
            return Inline(_unpack(b64decode(packed, validate=True)))
    raise ValueError("content is of no known form")
