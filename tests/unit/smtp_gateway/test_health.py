"""What the workers' reports come to, and what a balancer is answered."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.health import (
    ACCOUNTS,
    DEATHS,
    DRAINING,
    DYING,
    LONGEST,
    NOBODY,
    QUEUE,
    SILENT,
    STUCK,
    Health,
    Heard,
    Report,
    judge,
)
from smtp_gateway.health import answer as answered

FINE, BUSY = Report(), Report(connections=7)
NO_QUEUE, NO_ACCOUNTS = Report(1, (QUEUE,)), Report(2, (ACCOUNTS, QUEUE))

VERDICTS = {
    "all well": ([Heard(FINE, 0.2), Heard(BUSY, 0.9)], False, Health((), 2, 7)),
    "one is starting": ([Heard(None, 0.0), Heard(BUSY, 0.9)], False, Health((), 1, 7)),
    "all are starting": ([Heard(None, 0.1)], False, Health((NOBODY,), 0, 0)),
    "all have died": ([], False, Health((NOBODY,), 0, 0)),
    "one is stuck": ([Heard(FINE, SILENT), Heard(FINE, 0.0)], False, Health((STUCK,), 2, 0)),
    "one starts for long": ([Heard(None, SILENT), Heard(FINE, 0.0)], False, Health((STUCK,), 1, 0)),
    "one has died": ([Heard(None, 0.0, 1), Heard(BUSY, 0.0)], False, Health((), 1, 7)),
    "one dies again and again": ([Heard(None, 0.0, DEATHS), Heard(BUSY, 0.0)], False, Health((DYING,), 1, 7)),
    "the queue is away for one": ([Heard(NO_QUEUE, 0.0), Heard(BUSY, 0.0)], False, Health((QUEUE,), 2, 8)),
    "each reason once": ([Heard(NO_QUEUE, 0.0), Heard(NO_ACCOUNTS, 0.0)], False, Health((QUEUE, ACCOUNTS), 2, 3)),
    "draining": ([Heard(BUSY, 0.0)], True, Health((DRAINING,), 1, 7)),
    "drained": ([], True, Health((DRAINING,), 0, 0)),
}


@pytest.mark.parametrize(("heard", "draining", "health"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(heard: list[Heard], draining: bool, health: Health) -> None:
    assert judge(heard, draining=draining) == health


@given(st.builds(Report, st.integers(0, 10**6), st.lists(st.text()).map(tuple), st.integers(0, 10**6)))
def test_a_report_is_one_line(report: Report) -> None:
    line = report.encode()
    assert line.count(b"\n") == 1
    assert Report.decode(line) == report


GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWERS = {
    "get": (GET, 200),
    "with a query": (b"GET /health?from=nlb HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "HTTP/1.0": (b"GET /health HTTP/1.0\r\n\r\n", 200),
    "elsewhere": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "post": (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
    "not HTTP": (b"EHLO x\r\n\r\n", 400),
    "too long": (b"GET /health HTTP/1.1\r\nX: " + b"x" * LONGEST, 400),
    "PROXY from nobody": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET, 400),
}


@pytest.mark.parametrize(("request_", "status"), ANSWERS.values(), ids=ANSWERS)
def test_answers(request_: bytes, status: int) -> None:
    answer = answered(request_, Health((), 2, 7), balancer=False)
    assert answer
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_the_answer_says_why() -> None:
    answer = answered(GET, Health((QUEUE,), 2, 7), balancer=False)
    assert answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body) == {"status": "unavailable", "reasons": [QUEUE], "workers": 2, "connections": 7}


def test_head_has_no_body() -> None:
    answer = answered(GET.replace(b"GET", b"HEAD"), Health((), 1, 0), balancer=False)
    assert answer
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"PROXY UNKNOWN\r\n", b""])
def test_a_balancers_header_is_no_part_of_the_request(header: bytes) -> None:
    answer = answered(header + GET, Health((), 1, 0), balancer=True)
    assert answer
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("balancer", [False, True])
def test_a_part_of_a_request_waits_for_the_rest(balancer: bool) -> None:
    for size in range(len(GET)):
        assert answered(GET[:size], Health((), 1, 0), balancer=balancer) is None


@given(st.binary(max_size=300), st.booleans())
def test_any_octets_are_answered_or_waited_for(data: bytes, balancer: bool) -> None:
    answer = answered(data, Health((), 1, 0), balancer=balancer)
    assert answer is None or answer.startswith(b"HTTP/1.1 ")
