"""A scripted SMTP server on loopback: real sockets, behaviour by the test."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

CAPABILITIES = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 10000000", "ENHANCEDSTATUSCODES")


class HangError(Exception):
    """Say nothing more, keep the connection."""


class DropError(Exception):
    """Close the connection at once."""


@dataclass
class Received:
    mail: str
    rcpts: list[str]
    content: bytes
    tls: bool


@dataclass
class Script:
    """What the server says. Each answer is text without CRLF (several lines: "\\n"), "hang", "drop",
    or a function of the argument that returns one."""

    greeting: str = "220 sink ESMTP"
    ehlo: str | None = None
    helo: str = "250 sink"
    mail: Callable[[str], str] | str = "250 2.1.0 ok"
    rcpt: Callable[[str], str] | str = "250 2.1.5 ok"
    data: Callable[[str], str] | str = "354 go on"
    content: Callable[[str], str] | str = "250 2.0.0 queued as 1"
    rset: str = "250 2.0.0 ok"
    starttls: str = "220 2.0.0 go"
    auth: str = "235 2.7.0 ok"
    handshake: str = ""
    capabilities: tuple[str, ...] = CAPABILITIES
    tls: ssl.SSLContext | None = None
    before: Callable[[int, str], str | None] = lambda connection, line: None
    after_tls_capabilities: tuple[str, ...] | None = None


@dataclass
class Sink:
    script: Script
    port: int = 0
    address: str = "127.0.0.1"
    received: list[Received] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    server: asyncio.Server | None = None
    open_now: int = 0
    most_open: int = 0
    pause: dict[str, float] = field(default_factory=dict)  # seconds before a command is answered

    @property
    def connections(self) -> int:
        return len(self.commands)

    async def __aenter__(self) -> "Sink":
        self.server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.server
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        number = len(self.commands)
        self.commands.append([])
        try:
            await _Dialogue(self, number, reader, writer).run()
        except (DropError, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except HangError:
            await reader.read()
        finally:
            self.open_now -= 1
            writer.transport.abort()


class _Dialogue:
    def __init__(self, sink: Sink, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sink = sink
        self.script = sink.script
        self.number = number
        self.reader = reader
        self.writer = writer
        self.tls = False
        self.mail = ""
        self.rcpts: list[str] = []

    def say(self, answer: Callable[[str], str] | str, argument: str = "") -> str:
        if callable(answer):
            answer = answer(argument)
        if answer == "hang":
            raise HangError
        if answer == "drop":
            raise DropError
        _raw, _, rest = answer.partition("RAW:")
        self.writer.write(rest.encode() if rest else answer.replace("\n", "\r\n").encode() + b"\r\n")
        return answer

    async def run(self) -> None:
        self.say(self.script.greeting)
        while line := (await self.reader.readline()).decode("utf-8", "replace").rstrip("\r\n"):
            self.sink.commands[self.number].append(line)
            special = self.script.before(self.number, line)
            if special is not None:
                self.say(special)
                if special.startswith("421"):
                    raise DropError
                continue
            await self._command(line)
            await self.writer.drain()

    async def _command(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        if verb.upper() in self.sink.pause:
            await asyncio.sleep(self.sink.pause[verb.upper()])
        match verb.upper():
            case "EHLO":
                self._ehlo()
            case "HELO":
                self.say(self.script.helo)
            case "STARTTLS":
                await self._starttls()
            case "AUTH":
                self.say(self.script.auth)
            case "MAIL":
                self.rcpts = []
                self.mail = argument if self.say(self.script.mail, argument).startswith("2") else ""
            case "RCPT":
                self._rcpt(argument)
            case "DATA":
                await self._data()
            case "RSET":
                self.mail, self.rcpts = "", []
                self.say(self.script.rset)
            case _:
                self.say("221 2.0.0 bye")
                raise DropError

    def _ehlo(self) -> None:
        capabilities = self.script.capabilities
        if self.tls and self.script.after_tls_capabilities is not None:
            capabilities = self.script.after_tls_capabilities
        lines = ["sink", *capabilities]
        default = "\n".join([*(f"250-{each}" for each in lines[:-1]), f"250 {lines[-1]}"])
        self.say(default if self.script.ehlo is None else self.script.ehlo)

    async def _starttls(self) -> None:
        said = self.say(self.script.starttls)
        if self.script.handshake:
            self.say(self.script.handshake)
        if said.startswith("220") and self.script.tls is not None:
            await self.writer.drain()
            plain = self.writer.transport
            try:
                await self.writer.start_tls(self.script.tls)
            except AttributeError:  # asyncio's way of saying that the client hung up meanwhile
                self.writer._transport = plain
                raise DropError from None
            self.tls = True

    def _rcpt(self, argument: str) -> None:
        if not self.mail:
            self.say("503 5.5.1 MAIL first")
        elif self.say(self.script.rcpt, argument).startswith("2"):
            self.rcpts.append(argument.removeprefix("TO:<").removesuffix(">"))

    async def _data(self) -> None:
        if not self.rcpts and self.script.data == "354 go on":
            self.say("554 5.5.1 no valid recipients")
        elif self.say(self.script.data).startswith("354"):
            await self._content()

    async def _content(self) -> None:
        lines = []
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise DropError
            lines.append(line)
        content = b"".join(line[1:] if line.startswith(b".") else line for line in lines)
        received = Received(self.mail, list(self.rcpts), content, self.tls)
        answer = self.script.content
        answer = answer(self.mail) if callable(answer) else answer
        if not answer.startswith(("4", "5")):  # taken, also where the answer never comes
            self.sink.received.append(received)
        self.say(answer)
        self.mail, self.rcpts = "", []


@cache
def certificate(common_name: str = "elsewhere.example", days: int = -1) -> tuple[bytes, bytes]:
    """A self-signed certificate without a dNSName, and its key, PEM. It expires (or has) in so many days."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private
