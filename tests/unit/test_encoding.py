"""Queue messages: round trips, golden version 1, unreadable bodies, and where inline ends."""

import base64
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import encoding
from relay.errors import PermanentError
from relay.outcome import Outcome, Report, State
from relay.smtp.replies import Reply
from relay.submission import MAX_RECIPIENTS_PER_DELIVERY, Delivery, Dsn, Inline, Stored, Submission

addresses = st.builds("{}@{}".format, st.text(min_size=1, max_size=20), st.sampled_from(["a.example", "b.example"]))
times = st.floats(0, 4e9)
counts = st.integers(0, 2**53)  # more isn't the same number to every reader of JSON (RFC 8259 §6)
contents = st.one_of(st.builds(Inline, st.binary(max_size=2000)), st.builds(Stored, st.text(min_size=1), counts))
asked = st.dictionaries(addresses, st.builds(Dsn, st.text(), st.text()), max_size=3)
recipients = st.lists(addresses, min_size=1, max_size=5).map(tuple)
queued = {
    "id": st.uuids().map(str),
    "rcpt_to": recipients,
    "received": times,
    "content": contents,
    "due": times,
    "attempt": counts,
    "tried": times,
    "dsn": asked,
}
submissions = st.builds(Submission, **queued)
deliveries = st.builds(Delivery, **queued, chunk=counts)
outcomes = st.builds(Outcome, recipient=addresses, time=times, next_due=times, attempt=counts, code=counts)
reports = st.builds(
    Report,
    received=times,
    chunk=counts,
    tried=times,
    dsn=asked,
    outcomes=st.lists(outcomes, max_size=3).map(tuple),
    content=st.none() | contents,
)
GOLDEN = Path(__file__).parents[1] / "golden"


@given(submissions)
def test_a_submission_survives_the_queue(submission: Submission) -> None:
    assert encoding.decode_submission(encoding.encode_submission(submission)) == submission


@given(deliveries)
def test_a_delivery_survives_the_queue(delivery: Delivery) -> None:
    assert encoding.decode_delivery(encoding.encode_delivery(delivery)) == delivery


@given(reports)
def test_a_report_survives_the_queue(report: Report) -> None:
    assert encoding.decode_report(encoding.encode_report(report)) == report


@given(submissions)
def test_a_body_is_printable_ascii(submission: Submission) -> None:
    """SQS refuses most control characters; moto does not, so this test does."""
    body = encoding.encode_submission(submission)
    assert body.isascii()
    assert body.isprintable()


@pytest.mark.parametrize("golden", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_version_1_decodes_for_ever(golden: str) -> None:
    kind = golden.partition("-")[0]
    body = (GOLDEN / f"{golden}.json").read_text()
    decode = {
        "submission": encoding.decode_submission,
        "delivery": encoding.decode_delivery,
        "report": encoding.decode_report,
    }[kind]
    encode = {
        "submission": encoding.encode_submission,
        "delivery": encoding.encode_delivery,
        "report": encoding.encode_report,
    }[kind]
    assert json.loads(encode(decode(body))) == json.loads(body)  # type: ignore[operator]


GOOD = json.loads(
    encoding.encode_delivery(Delivery("id", "user", "", "a.example", 0, ("x@a.example",), 1.0, Inline(b"content")))
)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "null",
        "[]",
        "{}",
        json.dumps(GOOD | {"v": 0}),
        json.dumps(GOOD | {"v": 2}),
        json.dumps(GOOD | {"kind": "submission"}),
        json.dumps({name: value for name, value in GOOD.items() if name != "rcpt_to"}),
        json.dumps(GOOD | {"rcpt_to": []}),
        json.dumps(GOOD | {"rcpt_to": "x@a.example"}),
        json.dumps(GOOD | {"rcpt_to": [1]}),
        json.dumps(GOOD | {"content": None}),
        json.dumps(GOOD | {"content": {"base64": "*"}}),
        json.dumps(GOOD | {"content": {"zlib": "AAAA"}}),
        json.dumps(GOOD | {"content": {"key": 1, "size": 1}}),
        json.dumps(GOOD | {"attempt": "x"}),
        json.dumps(GOOD | {"received": "NaN"}),
        json.dumps(GOOD | {"received": math.inf}),
        json.dumps(GOOD | {"tried": None}),
        json.dumps(GOOD | {"ret": 1}),
        json.dumps(GOOD | {"dsn": []}),
        json.dumps(GOOD | {"dsn": {"x@a.example": ["NEVER"]}}),
        json.dumps(GOOD | {"dsn": {"x@a.example": ["NEVER", 1]}}),
        "[" * 100_000,
    ],
    ids=lambda body: str(body)[:40] or "empty",
)
def test_an_unreadable_body_is_a_permanent_error(body: str) -> None:
    with pytest.raises(PermanentError):
        encoding.decode_delivery(body)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_body_decodes_or_is_a_permanent_error(body: str) -> None:
    with pytest.raises(PermanentError):
        encoding.decode_submission(body)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"a word " * 1300, "base64"),
        (b"a word " * 1500, "zlib"),
        (random.Random(0).randbytes(20_000), "base64"),
        (random.Random(0).randbytes(40_000) + b"a" * 10_000, "zlib"),
        (base64.encodebytes(random.Random(0).randbytes(15_000)), "base64"),
    ],
    ids=["a small one", "a fifth of a chunk", "noise", "a chunk less", "an attachment"],
)
def test_what_is_compressed(content: bytes, form: str) -> None:
    assert set(json.loads(encoding.encode_submission(submission(content)))["content"]) == {form}
    assert encoding.decode_submission(encoding.encode_submission(submission(content))) == submission(content)


def test_content_is_compressed_only_where_that_saves_billed_chunks() -> None:
    assert "base64" in encoding.encode_submission(submission(b"a" * 1000))  # one chunk either way
    squeezed = encoding.encode_submission(submission(b"a" * 100_000))
    assert "zlib" in squeezed
    assert len(squeezed) < encoding.CHUNK
    noise = bytes(i * i * 31 % 251 ^ i >> 3 & 255 for i in range(40_000))
    assert len(encoding.encode_submission(submission(noise))) <= encoding.CHUNK


def submission(content: bytes) -> Submission:
    return Submission("id", "user", "", ("x@a.example",), 1.0, Inline(content))


def test_inline_ends_where_s3_is_cheaper() -> None:
    """4 x n billed chunks against 4 plus a PUT and two GETs."""
    inline = encoding.inline_limit() // encoding.CHUNK
    by_reference = 4 * encoding.SQS_REQUEST + encoding.S3_PUT + 2 * encoding.S3_GET
    assert 4 * encoding.SQS_REQUEST * inline <= by_reference < 4 * encoding.SQS_REQUEST * (inline + 1)
    assert encoding.inline_limit() < encoding.LARGEST_BODY


def test_several_copies_leave_less_room_each() -> None:
    content = bytes(i * i * 31 % 251 ^ i >> 3 & 255 for i in range(60_000))
    assert encoding.fits_inline(content)
    assert not encoding.fits_inline(content, copies=10)


def test_much_content_is_not_inline_however_well_it_packs() -> None:
    assert encoding.fits_inline(b"a" * encoding.MOST_INLINE)
    assert not encoding.fits_inline(b"a" * (encoding.MOST_INLINE + 1))


def test_content_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    body = encoding.encode_submission(submission(b"a" * 100_000))
    assert encoding.decode_submission(body) == submission(b"a" * 100_000)
    monkeypatch.setattr(encoding, "MOST_UNPACKED", 99_999)
    with pytest.raises(PermanentError, match="unreadable submission"):
        encoding.decode_submission(body)


def test_the_largest_inline_message_fits_the_queue() -> None:
    assert encoding.inline_limit() + encoding.ENVELOPE_ROOM <= encoding.LARGEST_BODY


WORDIEST = Reply(550, ("\N{PARTY POPPER}".encode() * 2000,)).text  # of a remote server that means ill
LONGEST_ADDRESS = f"{'é' * 32}@{'x' * 63}.{'x' * 63}.{'x' * 61}"
LONGEST_ORCPT = "rfc822;" + "x" * 493


def test_the_largest_report_fits_the_queue() -> None:
    recipients = [f"{number}{LONGEST_ADDRESS}" for number in range(MAX_RECIPIENTS_PER_DELIVERY)]
    remote = f"{'x' * 253}[2001:0db8:0000:0000:0000:0000:0000:0001]"
    outcomes = tuple(Outcome(each, State.BOUNCED, 1.0, 1, 550, "5.1.1", WORDIEST, remote) for each in recipients)
    dsn = {each: Dsn("SUCCESS,FAILURE,DELAY", LONGEST_ORCPT) for each in recipients}
    content = Inline(b"x" * 16_384)
    report = Report("id", "user", recipients[0], "d", 0, 1.0, "deliver", outcomes, content, envid="x" * 100, dsn=dsn)
    assert len(encoding.encode_report(report)) <= encoding.LARGEST_BODY


def test_every_state_but_deferred_is_final() -> None:
    assert [state for state in State if not state.final] == [State.DEFERRED]
