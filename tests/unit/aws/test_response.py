"""RFC 9112 responses, as AWS and what stands before it send them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.aws.response import MAX_HEAD, Response, ResponseError, ResponseReader

WHOLE = [
    ("length", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: \t1 \r\n\r\nabc", b"abc", True),
    ("no body", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", True),
    ("no reason", b"HTTP/1.1 500\r\nContent-Length: 1\r\n\r\nx", b"x", True),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", True),
    ("closes", b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", b"x", False),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", False),
    ("same length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", b"x", True),
    (
        "chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0b;x=y\r\nd\r\nefghijkl\r\n0\r\n\r\n",
        b"abcd\r\nefghijkl",
        True,
    ),
    (
        "trailers",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        b"a",
        True,
    ),
]


def read(wire: bytes, *cuts: int) -> tuple[Response | None, bool]:
    reader = ResponseReader()
    edges = [0, *sorted(cuts), len(wire)]
    answers = [reader.receive(wire[start:end]) for start, end in pairwise(edges)]
    assert answers[:-1] == [None] * (len(answers) - 1)
    return answers[-1], reader.keep


@pytest.mark.parametrize(("wire", "body", "keep"), [case[1:] for case in WHOLE], ids=[case[0] for case in WHOLE])
def test_a_response_and_whether_the_connection_is_kept(wire: bytes, body: bytes, keep: bool) -> None:
    response, kept = read(wire)
    assert response
    assert (response.body, kept) == (body, keep)


@given(st.data())
def test_it_is_the_same_in_any_pieces(data: st.DataObject) -> None:
    wire = data.draw(st.sampled_from([case[1] for case in WHOLE]))
    cuts = data.draw(st.lists(st.integers(1, len(wire) - 1), max_size=5))
    assert read(wire, *cuts) == read(wire)


def test_header_names_are_in_lower_case() -> None:
    response, _ = read(b"HTTP/1.1 503 Slow Down\r\nX-Amzn-ErrorType: A: b\r\nContent-Length: 0\r\n\r\n")
    assert response == Response(503, {"x-amzn-errortype": "A: b", "content-length": "0"}, b"")


def test_octets_after_the_response_end_the_connection() -> None:
    response, kept = read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy")
    assert response
    assert (response.body, kept) == (b"x", False)


def test_a_body_without_length_ends_with_the_connection() -> None:
    reader = ResponseReader()
    assert reader.receive(b"HTTP/1.1 200 OK\r\n\r\nab") is None
    assert reader.receive(b"c") is None
    assert (reader.end().body, reader.keep) == (b"abc", False)


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (MAX_HEAD + 1),
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * MAX_HEAD,
    ],
    ids=lambda wire: repr(wire[:60]),
)
def test_what_is_no_response(wire: bytes) -> None:
    with pytest.raises(ResponseError):
        ResponseReader().receive(wire)


@pytest.mark.parametrize("wire", [case[1][:-1] for case in WHOLE], ids=[case[0] for case in WHOLE])
def test_the_end_comes_too_early(wire: bytes) -> None:
    reader = ResponseReader()
    assert reader.receive(wire) is None
    with pytest.raises(ResponseError):
        reader.end()
