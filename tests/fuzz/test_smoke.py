"""The fuzz target without atheris: all seeds, what is near them, and the shapes that are made to be slow."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from relay.header import HeaderError
from smtp_gateway import replies
from tests.fuzz.core import CONTENT, Core, run
from tests.fuzz.seeds import corpus, seeds
from tests.fuzz.slowest import PIECES, SIZE, shapes

SHAPES = shapes(SIZE)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_what_fuzzing_found_holds(loop: asyncio.AbstractEventLoop) -> None:
    found = list(seeds())
    assert len(found) > len(list(corpus())) > 100
    for seed in found:
        run(seed, loop)


def test_what_is_near_a_seed_holds(loop: asyncio.AbstractEventLoop) -> None:
    """The same 3,000 inputs each time: pieces put in, taken out and doubled."""
    chance = random.Random(6)
    found = list(seeds())
    for _ in range(3000):
        seed = chance.choice(found)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(2, len(seed) + 1) if len(seed) > 2 else len(seed)
            end = min(len(seed), at + chance.randrange(20))
            put = chance.choice([b"", b"\r\n", seed[at:end] * 2, bytes([chance.randrange(256)]), chance.choice(PIECES)])
            seed = seed[:at] + put + seed[end:]
        run(seed, loop)


def test_an_invariant_that_does_not_hold_is_noticed(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes([CONTENT, 0]) + b"From: jo@example.com\r\n\r\nx\r\n"
    run(content, loop)
    monkeypatch.setattr("smtp_gateway.message.Trace.header", lambda _: b"Received: x\n")
    with pytest.raises((AssertionError, HeaderError)):
        run(content, loop)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_slowest_shapes_are_made_and_answered(loop: asyncio.AbstractEventLoop, shape: bytes) -> None:
    core = Core(loop, tls=True)
    said = core.feed(shape) + core.feed(b"\r\n.\r\nNOOP\r\n")
    assert said.endswith((replies.OK.wire, replies.TOO_MANY_COMMANDS.wire, replies.TOO_MANY_ERRORS.wire))
