"""HTTP/1.1 over kept-alive asyncio connections: as much of a client as the AWS calls need."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import cast

from relay.aws.response import Response, ResponseError, ResponseReader

CONNECT = 5.0  # seconds, for TLS, too
CONNECTIONS = 50  # for each origin; further callers wait for one
IDLE = 15.0  # seconds after which a connection isn't used again: AWS closes idle ones from 20 s on
JOINED = 1_500_000  # octets up to which copying head and body together costs less than a second send


class NotConnectedError(OSError):
    """There is no connection: nothing was sent."""


class ConnectionLostError(OSError):
    """The other side closed, or said what isn't HTTP."""


@dataclass(frozen=True, slots=True)
class Origin:
    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As the Host header has it: with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. headers: with host and content-length."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._reader = ResponseReader()
        self._answer: asyncio.Future[Response] | None = None
        self._lost = False
        self.answering = False  # a byte of the current answer has come
        self.idle_since: float | None = None

    @property
    def reusable(self) -> bool:
        return self._reader.keep and not self._answer and not self._lost and not self._transport.is_closing()

    async def exchange(self, message: Message) -> Response:
        self.answering = False
        self._reader = ResponseReader()
        if self._lost:
            raise ConnectionLostError("closed before the request")
        self._answer = asyncio.get_running_loop().create_future()
        fields = "".join(f"{name}: {value}\r\n" for name, value in message.headers)
        head = f"{message.method} {message.target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1")
        for part in [head + message.body] if len(message.body) < JOINED else [head, message.body]:
            self._transport.write(part)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        self._transport.close()

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._answer or self._answer.done():  # nobody asked
            self._transport.abort()
            return
        self.answering = True
        try:
            if response := self._reader.receive(data):
                self._answer.set_result(response)
        except ResponseError as error:
            self._answer.set_exception(ConnectionLostError(str(error)))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if not self._answer or self._answer.done():
            return
        try:
            if error:
                raise ResponseError(type(error).__name__)
            self._answer.set_result(self._reader.end())
        except ResponseError as failure:
            self._answer.set_exception(ConnectionLostError(str(failure)))


@dataclass(slots=True)
class _Host:
    """slots: one for each connection that may be in use."""

    idle: deque[_Connection] = field(default_factory=deque)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))


class Pool:
    """Connections of one event loop to any number of origins. Nothing is opened before the first request."""

    def __init__(self) -> None:
        self._hosts: dict[Origin, _Host] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tls: ssl.SSLContext | None = None

    async def request(self, origin: Origin, message: Message, *, seconds: float, once: bool = False) -> Response:
        """One request and its answer. seconds: the time-out, not counting the wait for a free connection.

        OSError (NotConnectedError and ConnectionLostError among them) if the other side cannot be reached or goes
        away; TimeoutError. A request on a kept connection that turns out dead goes out once more on a new one, unless
        it must go out `once`.
        """
        host = self._host(origin)
        async with host.slots, asyncio.timeout(seconds):
            while (kept := self._kept(host)) is not None:
                try:
                    return await self._exchange(host, kept, message)
                except OSError:
                    if once or kept.answering:
                        raise
            return await self._exchange(host, await self._connect(origin), message)

    def forget(self, origin: Origin) -> None:
        """Close what is kept of `origin`: after a time-out its like may be dead, too, with nobody to say so
        (a function that was frozen, a NAT that lost its table)."""
        idle = self._hosts[origin].idle if origin in self._hosts else deque[_Connection]()
        while idle:
            idle.pop().close()

    async def close(self) -> None:
        for origin in self._hosts:
            self.forget(origin)
        await asyncio.sleep(0)  # the transports' own closing

    def _host(self, origin: Origin) -> _Host:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections of another loop are of no use here
            self._loop = loop
            self._hosts = {}
        if origin not in self._hosts:
            self._hosts[origin] = _Host()
        return self._hosts[origin]

    def _kept(self, host: _Host) -> _Connection | None:
        oldest = asyncio.get_running_loop().time() - IDLE
        while host.idle:
            connection = host.idle.pop()  # the last used: the rest may grow old and go
            if connection.reusable and connection.idle_since is not None and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _connect(self, origin: Origin) -> _Connection:
        if origin.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        tls = self._tls if origin.tls else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT):
                _, connection = await loop.create_connection(_Connection, origin.host, origin.port, ssl=tls)
        except OSError as error:  # TimeoutError and ssl.SSLError are, too
            raise NotConnectedError(type(error).__name__) from error
        return connection

    async def _exchange(self, host: _Host, connection: _Connection, message: Message) -> Response:
        try:
            response = await connection.exchange(message)
        except BaseException:  # cancelled and timed-out ones too: an answer is still to come on it
            connection.close()
            raise
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            host.idle.append(connection)
        else:
            connection.close()
        return response
