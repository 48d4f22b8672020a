"""Which records of an SQS event are run, and in whose company: pure.

A stage that kills its process (out of memory, a crash, a loop until the time-out) costs every record of the event a
receive, and SQS moves a message to the dead-letter queue after LAST of them, whoever was at fault. Nothing says who
it was but the receive counts; an invocation that returns is the only way to have its records counted no further.

    crowd     receives 1 and 2                     run, all at once
    suspect   receive 3 or later, or set apart     run alone, after the crowd
    last      receive 5                            run alone, and nothing else is

    several suspects      none is run: they are queued again as new messages, set apart, each at a random time, so that
                          they don't meet again (at fixed times they do: all come back after the visibility time-out)
    all of them set apart a short while ago: in turn, each alone (after an outage of the functions that lasted for
                          hours there are thousands of them; they have to get through)
    one set apart, and others that are suspect: it stays, unrun, for its next receive, and the others go. They came to
                          be suspects beside it; were it queued again its count would begin anew, for ever
    a last one            the others are queued again as they are; several last ones are set apart

So no message gets to the dead-letter queue by the fault of another one, as long as the queue takes what is queued
again: on its last receive a message is run by itself or not at all. And what kills gets there: after two receives
with company, or a few more, and five set apart (tests/unit/test_turns.py lets queues with all kinds of company run
dry). A death after messages were queued again leaves them there twice, which the stages don't mind.

Being set apart has to outlast the queue, where a new message counts from 1: it is white space after the JSON, which
means nothing (RFC 8259 §2), and goes when a stage has had the message and queues it again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

Record = dict[str, Any]

SUSPECT: Final = 3  # from this receive on a message may be what killed the process twice
LAST: Final = 5  # maxReceiveCount (template.yaml)
APART: Final = 5.0  # seconds a message: over how long those are spread that are set apart together
MARK: Final = "\n"


@dataclass(frozen=True, slots=True)
class Turns:
    """crowd: run all at once. alone: after that, one after the other. again: queued again as they are.
    apart: queued again, set apart. left: not run, and reported as failed."""

    crowd: tuple[Record, ...] = ()
    alone: tuple[Record, ...] = ()
    again: tuple[Record, ...] = ()
    apart: tuple[Record, ...] = ()
    left: tuple[Record, ...] = ()


def turns(records: Iterable[Record]) -> Turns:
    """records: of one event, as Lambda hands them over; each is in one of the parts."""
    records = tuple(records)
    last = tuple(each for each in records if receives(each) >= LAST)
    if last:
        others = tuple(each for each in records if receives(each) < LAST)
        return Turns(alone=last, again=others) if len(last) == 1 else Turns(apart=last, again=others)
    crowd = tuple(each for each in records if not is_suspect(each))
    suspects = tuple(each for each in records if is_suspect(each))
    if len(suspects) == 1 or all(receives(each) < SUSPECT for each in suspects):
        return Turns(crowd=crowd, alone=suspects)
    before = tuple(each for each in suspects if is_apart(each) and receives(each) > 1)
    if len(before) != 1:
        return Turns(crowd=crowd, apart=suspects)
    return Turns(crowd=crowd, apart=tuple(each for each in suspects if each is not before[0]), left=before)


def is_suspect(record: Record) -> bool:
    return receives(record) >= SUSPECT or is_apart(record)


def is_apart(record: Record) -> bool:
    return str(record["body"]).endswith(MARK)


def receives(record: Record) -> int:
    return int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))


def plain(body: str) -> str:
    """The body as its sender made it."""
    return body.removesuffix(MARK)


def set_apart(body: str) -> str:
    return plain(body) + MARK
