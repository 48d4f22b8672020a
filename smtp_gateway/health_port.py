"""The health endpoint's socket, in the parent's loop: few connections, none of them long, nothing ever waited for."""

import ipaddress
import selectors
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from smtp_gateway.health import LONGEST, Health, answer
from smtp_gateway.proxy import Network, plain

MOST: Final = 64  # connections; with more, the oldest is closed
PATIENCE: Final = 5.0  # seconds for a request


@dataclass(slots=True)
class _Exchange:
    balancer: bool
    until: float
    request: bytes = b""


@dataclass(slots=True)
class HealthPort:
    """listening: not blocking. selector: each key's data is called when there is something to read."""

    listening: socket.socket
    selector: selectors.BaseSelector
    health: Callable[[], Health]
    proxy_from: Sequence[Network] = ()
    _open: OrderedDict[socket.socket, _Exchange] = field(default_factory=OrderedDict)  # the oldest first

    def start(self) -> None:
        self.selector.register(self.listening, selectors.EVENT_READ, self._accept)

    def tick(self) -> None:
        """Now and then: closes whose time is over."""
        now = time.monotonic()
        for each in [sock for sock, exchange in self._open.items() if exchange.until <= now]:
            self._close(each)

    def _accept(self) -> None:
        try:
            sock, peer = self.listening.accept()
        except OSError:  # gone already, or no descriptor for it: others close
            return
        sock.setblocking(False)
        if len(self._open) >= MOST:
            self._close(next(iter(self._open)))
        address = ipaddress.ip_address(plain(ipaddress.ip_address(peer[0].partition("%")[0])))
        balancer = any(address in network for network in self.proxy_from)
        self._open[sock] = _Exchange(balancer, time.monotonic() + PATIENCE)
        self.selector.register(sock, selectors.EVENT_READ, lambda: self._read(sock))

    def _read(self, sock: socket.socket) -> None:
        exchange = self._open.get(sock)
        if not exchange:  # closed since
            return
        try:
            data = sock.recv(LONGEST)
            exchange.request += data
            said = answer(exchange.request, self.health(), balancer=exchange.balancer)
            if said:
                sock.send(said)  # a few hundred octets, the first: the kernel has room
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            data = said = b""
        if not data or said is not None:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        del self._open[sock]
        self.selector.unregister(sock)
        sock.close()
