"""HTTP/1.1 over kept-alive asyncio connections: as much of a client as the AWS calls need."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field

import h11

CONNECTIONS = 50  # for each origin; further callers wait for one
IDLE = 15.0  # seconds after which a connection isn't used again: AWS closes idle ones from 20 s on
READ_SIZE = 262_144
JOINED = 1_500_000  # octets up to which copying head and body together costs less than a second send


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


@dataclass(frozen=True, slots=True)
class Response:
    """header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self.answering = False  # a byte of the current answer has come
        self.idle_since: float | None = None

    @property
    def reusable(self) -> bool:
        return self._http.our_state is h11.IDLE and not self._reader.at_eof() and not self._writer.is_closing()

    async def exchange(self, message: Message) -> Response:
        self.answering = False
        head = h11.Request(method=message.method, target=message.target, headers=message.headers)
        events: tuple[h11.Event, ...] = (head, h11.Data(data=message.body), h11.EndOfMessage())
        parts = [part for event in events if (part := self._http.send(event))]
        for part in [b"".join(parts)] if len(message.body) < JOINED else parts:
            self._writer.write(part)
        try:
            await self._writer.drain()
        except ConnectionError:
            pass  # the answer may be there already: S3 refuses a body before it has all of it
        try:
            return await self._answer()
        except h11.RemoteProtocolError as error:
            raise ConnectionLostError(str(error)) from error

    async def _answer(self) -> Response:
        head: h11.Response | None = None
        body: list[bytes] = []
        while True:
            match await self._event():
                case h11.Response() as head:
                    pass
                case h11.Data(data=data):
                    body.append(bytes(data))
                case h11.EndOfMessage():
                    break
                case h11.ConnectionClosed():
                    raise ConnectionLostError("closed before the answer")
        if self._http.their_state is h11.DONE and self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        assert head is not None
        fields = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        return Response(head.status_code, fields, b"".join(body))

    async def _event(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(READ_SIZE)
            self.answering = self.answering or bool(data)
            self._http.receive_data(data)
        assert isinstance(event, h11.Event)
        return event

    def close(self) -> None:
        self._writer.close()


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

    async def request(self, origin: Origin, message: Message, *, seconds: float) -> Response:
        """One request and its answer. seconds: the time-out, not counting the wait for a free connection.

        OSError (ConnectionLostError among them) if the other side cannot be reached or goes away;
        TimeoutError. A request on a kept connection that turns out dead goes out once more on a new one.
        """
        host = self._host(origin)
        async with host.slots, asyncio.timeout(seconds):
            while (kept := self._kept(host)) is not None:
                try:
                    return await self._exchange(host, kept, message)
                except OSError:
                    if kept.answering:
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
        return _Connection(*await asyncio.open_connection(origin.host, origin.port, ssl=tls, limit=READ_SIZE))

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
