"""When a connection's time is over; test_connection.py has it over sockets."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.deadlines import Deadlines, Due, Timeouts
from smtp_gateway.events import Authenticate, Prove
from smtp_gateway.limits import Limits
from smtp_gateway.session import Session

TIMES = Timeouts(
    idle=1000.0,
    handshake=30.0,
    login=60.0,
    line=50.0,
    envelope=400.0,
    data=900.0,
    data_start=100.0,
    data_rate=10.0,
    message=2000.0,
    unread=120.0,
    lone_lf=1.0,
)
LOGIN = b"EHLO a.example\r\nAUTH PLAIN AGEAYg==\r\n"
ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<a@b.example>\r\n"


class World:
    """A session over TLS whose clock is set by hand, and which is asked for its deadline as a connection does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.alarm = inf
        self.session = Session("gw.example", Limits(), tls=True)
        self.deadlines = Deadlines(TIMES, self.now)

    def say(self, octets: bytes, after: float = 0.0) -> None:
        self.now += after
        self.deadlines.heard(self.now)
        self.session.receive(octets)
        while isinstance(self.session.event, Authenticate | Prove):
            if isinstance(self.session.event, Prove):
                self.session.proved()
            else:
                self.session.authenticated("a@b.example")
                self.deadlines.progressed(self.now)
            self.session.receive(b"")
        self.alarm = min(self.alarm, self.deadlines.moved(self.session))

    def due(self, busy: bool = False) -> Due:
        return self.deadlines.nearest(self.session, self.now, busy=busy)

    @property
    def when(self) -> tuple[float, str]:
        due = self.due()
        return due.when, due.why


def said(*steps: tuple[bytes, float]) -> World:
    world = World()
    for octets, after in steps:
        world.say(octets, after)
    return world


CASES: dict[str, tuple[tuple[tuple[bytes, float], ...], tuple[float, str]]] = {
    "nothing": ((), (60, "no login in time")),
    "a login that drags on": (((b"EHLO a.example\r\n", 20), (b"NOOP\r\n", 20)), (60, "no login in time")),
    "logged in": (((LOGIN, 5),), (1005, "idle")),
    "a line of which octets drip": (((LOGIN, 5), (b"N", 10), (b"O", 10), (b"O", 10)), (65, "line took too long")),
    "the line after it": (((LOGIN, 5), (b"N", 10), (b"OOP\r\nN", 40)), (105, "line took too long")),
    "lines that never end where a packet does": (
        ((LOGIN + b"N", 5), *(((b"OOP\r\nN", 40),) * 9)),
        (415, "line took too long"),
    ),
    "a whole line": (((LOGIN, 5), (b"N", 10), (b"OOP\r\n", 40)), (1055, "idle")),
    "a line in LF": (((LOGIN, 5), (b"NOOP\n", 10)), (16, "line ends in LF")),
    "an envelope that drips": (((LOGIN, 5), (ENVELOPE, 5), (b"NOOP\r\n", 300)), (410, "envelope took too long")),
    "an envelope begun anew in one packet": (
        ((LOGIN, 5), (ENVELOPE, 5), (b"RSET\r\n" + ENVELOPE, 300)),
        (710, "envelope took too long"),
    ),
    "no message": (((LOGIN, 5), (b"NOOP\r\n", 900), (b"NOOP\r\n", 900)), (2005, "no message in time")),
    "no message, but envelopes": (
        ((LOGIN, 5), *((ENVELOPE + b"RSET\r\n", 390),) * 5),
        (2005, "no message in time"),
    ),
    "content that doesn't come": (((LOGIN, 5), (ENVELOPE + b"DATA\r\n", 5)), (110, "data took too long")),
    "content that drips": (
        ((LOGIN, 5), (ENVELOPE + b"DATA\r\n", 5), (b"x", 90), (b"x", 9)),
        (110.2, "data took too long"),
    ),
    "content that comes slowly": (
        ((LOGIN, 5), (ENVELOPE + b"DATA\r\n", 5), (b"x" * 1000, 90)),
        (210, "data took too long"),
    ),
    "content that is long": (
        ((LOGIN, 5), (ENVELOPE + b"DATA\r\n", 5), *((b"x" * 9000, 300),) * 2),
        (910, "data took too long"),
    ),
    "content is no line": (
        ((LOGIN, 5), (ENVELOPE + b"DATA\r\n", 5), (b"x", 1), (b"\n", 60)),
        (110.2, "data took too long"),
    ),
}


@pytest.mark.parametrize(("steps", "due"), CASES.values(), ids=CASES)
def test_the_nearest(steps: tuple[tuple[bytes, float], ...], due: tuple[float, str]) -> None:
    assert said(*steps).when == (pytest.approx(due[0]), due[1])


def test_a_handshake_has_its_own() -> None:
    world = World()
    assert world.deadlines.handshake(10.0) == 40.0
    assert world.when == (40.0, "no handshake in time")
    world.deadlines.handshake(inf)
    assert world.when == (60.0, "no login in time")


def test_so_has_a_client_that_does_not_read() -> None:
    world = said((LOGIN, 5))
    assert world.deadlines.unread(10.0) == 130.0
    assert world.when == (130.0, "replies not read")
    world.deadlines.unread(inf)
    assert world.when == (1005.0, "idle")


BUSY = {
    "half a line": b"NO",
    "a line in LF": b"NOOP\n",
    "an envelope": ENVELOPE,
}


@pytest.mark.parametrize("octets", BUSY.values(), ids=BUSY)
def test_while_the_client_waits_for_us_its_own_are_not_counted(octets: bytes) -> None:
    world = said((LOGIN, 5), (octets, 5))
    world.now = 5000.0
    assert world.due(busy=True) == Due(6000.0, world.due(busy=True).reply, "idle")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    LOGIN,
                    ENVELOPE,
                    b"DATA\r\n",
                    b"x",
                    b"\n",
                    b"\r\n.\r\n",
                    b"NOOP\r\n",
                    b"NO",
                    b"OP\r\n",
                    b"RSET\r\n",
                    b"x" * 600,
                ]
            ),
            st.sampled_from([0.0, 0.5, 7.0, 40.0]),
        ),
        max_size=30,
    )
)
def test_a_timer_that_is_set_by_what_each_step_says_is_never_late(steps: list[tuple[bytes, float]]) -> None:
    """As Connection does: set at the start, set earlier when a step says so, looked at again when it calls."""
    world = World()
    world.alarm = world.due().when
    for octets, after in steps:
        if world.session.event:
            break  # closed, or a message: nothing more is read
        world.say(octets, after)
        if world.now >= world.alarm:
            world.alarm = world.due().when
        if not world.session.event:
            assert world.alarm <= world.due().when
