"""A connection from a balancer, until its PROXY header has said whose it is; then a Connection has it."""

import asyncio
import ipaddress
from typing import cast

from smtp_gateway.connection import Connection
from smtp_gateway.peer import address_of
from smtp_gateway.proxy import ProxyError, parse
from smtp_gateway.site import Site


class Proxied(asyncio.Protocol):
    """tls: as of Connection. From the networks of `site.proxy_from` a header is required, and nothing is said or
    read before it ("The PROXY protocol" §2: a receiver must not guess); from anywhere else none is looked for."""

    def __init__(self, site: Site, *, tls: bool) -> None:
        self._site = site
        self._tls = tls
        self._peer = ""
        self._octets = b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._peer = address_of(transport)
        peer = ipaddress.ip_address(self._peer)
        if not any(peer in network for network in self._site.proxy_from):
            self._hand_over(self._peer)
            return
        self._site.connections.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._site.timeouts.proxy, self._refuse, "no PROXY header in time")
        if self._site.draining:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._octets += data
        try:
            header = parse(self._octets)
        except ProxyError as error:
            self._refuse(str(error))
            return
        if header:
            self._hand_over(header.address or self._peer, self._octets[header.size :])

    def eof_received(self) -> None:
        if self._octets:  # who goes without a word only looked whether somebody listens
            self._refuse("ended within the PROXY header")

    def connection_lost(self, _exc: Exception | None) -> None:
        self._forget()

    def drain(self) -> None:
        self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()

    def _hand_over(self, client: str, data: bytes = b"") -> None:
        self._forget()
        connection = Connection(self._site, tls=self._tls, client=client)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if data:
            connection.data_received(data)

    def _refuse(self, why: str) -> None:
        self._site.log.proxy_refused(peer=self._peer, why=why)
        self._transport.abort()

    def _forget(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._site.connections.discard(self)
        if not self._site.connections:
            self._site.empty.set()
