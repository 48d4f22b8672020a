"""The health endpoint over real sockets; the selector is turned by hand."""

import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from smtp_gateway.health import Health
from smtp_gateway.health_port import MOST, PATIENCE, HealthPort
from smtp_gateway.server import bind
from smtp_gateway.settings import Endpoint

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Turned:
    """A port, and what the parent's loop does with its selector."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.listening = bind(Endpoint("127.0.0.1", 0, "GATEWAY_HEALTH_LISTEN"))[0]
        self.health = Health((), 2, 7)
        self.port = HealthPort(self.listening, self.selector, lambda: self.health)
        self.port.start()

    def turn(self) -> None:
        for key, _ in self.selector.select(5):
            key.data()

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.listening.getsockname(), 5)
        self.turn()
        return client

    @property
    def open(self) -> int:
        return len(self.selector.get_map()) - 1

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self.selector.close()


@pytest.fixture
def turned() -> Iterator[Turned]:
    made = Turned()
    yield made
    made.close()


def everything(client: socket.socket) -> bytes:
    said = b""
    while data := client.recv(4096):
        said += data
    return said


def test_a_request_is_answered_and_the_connection_closed(turned: Turned) -> None:
    with turned.connect() as client:
        client.sendall(GET)
        turned.turn()
        assert everything(client).startswith(b"HTTP/1.1 200 ")
    assert turned.open == 0


def test_it_says_how_it_is_now(turned: Turned) -> None:
    turned.health = Health(("shutting down",), 2, 7)
    with turned.connect() as client:
        client.sendall(GET)
        turned.turn()
        assert everything(client).startswith(b"HTTP/1.1 503 ")


def test_a_request_may_come_in_pieces(turned: Turned) -> None:
    with turned.connect() as client:
        for piece in (GET[:5], GET[5:20], GET[20:]):
            assert turned.open == 1
            client.sendall(piece)
            turned.turn()
        assert everything(client).startswith(b"HTTP/1.1 200 ")


def test_who_goes_away_is_forgotten(turned: Turned) -> None:
    turned.connect().close()
    turned.turn()
    assert turned.open == 0


def test_who_says_nothing_is_closed(turned: Turned, monkeypatch: pytest.MonkeyPatch) -> None:
    with turned.connect() as client:
        turned.port.tick()
        assert turned.open == 1
        now = time.monotonic()
        monkeypatch.setattr("smtp_gateway.health_port.time.monotonic", lambda: now + PATIENCE)
        turned.port.tick()
        assert turned.open == 0
        assert client.recv(1) == b""


def test_with_too_many_the_oldest_goes(turned: Turned) -> None:
    clients = [turned.connect() for _ in range(MOST + 1)]
    assert turned.open == MOST
    assert clients[0].recv(1) == b""
    clients[-1].sendall(GET)
    turned.turn()
    assert everything(clients[-1]).startswith(b"HTTP/1.1 200 ")
    for client in clients:
        client.close()
