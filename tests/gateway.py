"""A gateway on loopback, with the ports faked: what its socket tests stand on."""

import asyncio
import datetime
import functools
import ipaddress
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from relay.account import Account
from relay.password import hash_password
from relay.proof.ruling import Question, Ruling, Standing
from relay.quota import Limits as AccountLimits
from smtp_gateway.accounts import Authenticator
from smtp_gateway.certificates import Certificates
from smtp_gateway.data import Room
from smtp_gateway.deadlines import Timeouts
from smtp_gateway.leases import Leases
from smtp_gateway.limits import Limits
from smtp_gateway.log import Log
from smtp_gateway.logins import Logins
from smtp_gateway.quotas import Allowance, Quotas
from smtp_gateway.senders import Senders
from smtp_gateway.server import Server, bind
from smtp_gateway.settings import Endpoint, KeyPair
from smtp_gateway.site import Site
from smtp_gateway.submit import Submit
from tests.fakes import FakeAccounts, FakeClock, FakeContent, FakeQueue, FakeUsage

HOST_NAME = "gw.example"
USER = "jo@example.com"
PASSWORD = "correct-horse-battery"
GENEROUS = AccountLimits(per_second=1_000_000, per_day=10_000_000, recipients=1000, size=41_943_040)
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""The fixture `run` of tests/unit/smtp_gateway."""


def account(user: str = USER, password: str = PASSWORD, *, disabled: bool = False) -> Account:
    return Account(user, b"salt", hash_password(password, b"salt"), "+46700000000", 0.0, disabled)


@functools.cache
def certificate() -> tuple[Path, Path]:
    """(certificate, key): self-signed for localhost, made once a run."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-test-"))
    return make_certificate(folder, ec.generate_private_key(ec.SECP256R1()))


def make_certificate(
    folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, days: float = 30.0
) -> tuple[Path, Path]:
    """(cert.pem, key.pem) in `folder`: self-signed for localhost. days: until it expires, from now by this machine's
    clock."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert_file, key_file


def key_pair(cert_file: Path, key_file: Path, suffix: str = "") -> KeyPair:
    return KeyPair(str(cert_file), str(key_file), f"GATEWAY_CERT_FILE{suffix}", f"GATEWAY_KEY_FILE{suffix}")


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate()[0]))


@dataclass
class FakeAsk:
    """ruling.Ask: every domain is proved but those in `rulings`; `asked` in order. While `answer` is cleared, and
    for a domain in `silent`, there is no answer; `fail` is raised."""

    rulings: dict[str, Ruling] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    asked: list[Question] = field(default_factory=list)
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    fail: Exception | None = None

    def __post_init__(self) -> None:
        self.answer.set()

    async def __call__(self, question: Question) -> Ruling:
        self.asked.append(question)
        await self.answer.wait()
        if question.domain in self.silent:
            await asyncio.Event().wait()
        if self.fail:
            raise self.fail
        return self.rulings.get(question.domain, Ruling(Standing.PASSED, (), 60.0))

    @property
    def domains(self) -> list[str]:
        return [each.domain for each in self.asked]


@dataclass
class Gateway:
    queue: FakeQueue = field(default_factory=FakeQueue)
    content: FakeContent = field(default_factory=FakeContent)
    accounts: FakeAccounts = field(default_factory=lambda: FakeAccounts(account()))
    ask: FakeAsk = field(default_factory=FakeAsk)
    usage: FakeUsage = field(default_factory=FakeUsage)
    clock: FakeClock = field(default_factory=FakeClock)
    lines: list[str] = field(default_factory=list)
    port: int = 0
    tls_port: int = 0
    site: Site = field(init=False)
    server: Server = field(init=False)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in map(json.loads, self.lines) if each["event"] == name]

    @property
    def log(self) -> Log:
        return Log(self.clock, self.lines.append)


@asynccontextmanager
async def running(
    gateway: Gateway,
    *,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    allowance: Allowance | None = None,
    account_limits: AccountLimits = GENEROUS,
    max_connections: int = 100,
    proxy_from: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    patience: float = 10.0,
) -> AsyncIterator[Gateway]:
    """patience: with rulings, seconds."""
    log = gateway.log
    authenticate = Authenticator(gateway.accounts, gateway.clock, step=0.0)
    senders = Senders(gateway.ask, gateway.clock, log, patience=patience)
    gateway.site = Site(
        host_name=HOST_NAME,
        tls=Certificates((key_pair(*certificate()),), gateway.clock, Log(gateway.clock, lambda _: None)),
        authenticate=authenticate,
        logins=Logins(authenticate.read, log, gateway.clock.now),
        leases=Leases(gateway.usage, gateway.clock, log, account_limits),
        senders=senders,
        submit=Submit(gateway.queue, gateway.content, senders, gateway.clock, log, HOST_NAME),
        log=log,
        room=Room(268_435_456),
        limits=limits or Limits(),
        timeouts=timeouts or Timeouts(),
        quotas=Quotas(allowance or Allowance()),
        max_connections=max_connections,
        proxy_from=tuple(map(ipaddress.ip_network, proxy_from)),
    )
    sockets = [bind(Endpoint(host, 0, name))[0] for name in ("GATEWAY_LISTEN", "GATEWAY_TLS_LISTEN")]
    gateway.port, gateway.tls_port = (each.getsockname()[1] for each in sockets)
    gateway.server = Server(gateway.site, sockets[0], sockets[1])
    await gateway.server.start()
    try:
        yield gateway
    finally:
        if not gateway.site.draining:
            await gateway.server.stop(0.0)


async def until(condition: Callable[[], Any]) -> Any:
    """What it is once it is true."""
    async with asyncio.timeout(10):
        while not (found := condition()):
            await asyncio.sleep(0.001)
    return found


class Wire:
    """A client that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, tls: bool = False, host: str = "127.0.0.1") -> "Wire":
        context = client_context() if tls else None
        name = "localhost" if tls else None
        return cls(*await asyncio.open_connection(host, port, ssl=context, server_hostname=name))

    @classmethod
    async def logged_in(cls, gateway: Gateway) -> "Wire":
        wire = await cls.open(gateway.tls_port, tls=True)
        assert (await wire.reply()).startswith(b"220 ")
        assert (await wire.ask(b"EHLO app.example")).startswith(b"250-")
        assert (await wire.ask(b"AUTH PLAIN " + plain(USER, PASSWORD))).startswith(b"235 ")
        return wire

    async def reply(self) -> bytes:
        """One whole reply; b"" at the end of the connection."""
        lines = b""
        while line := await asyncio.wait_for(self.reader.readline(), 10):
            lines += line
            if line[3:4] != b"-":
                break
        return lines

    async def ask(self, command: bytes) -> bytes:
        self.writer.write(command + b"\r\n")
        return await self.reply()

    async def start_tls(self) -> None:
        assert (await self.ask(b"STARTTLS")).startswith(b"220 ")
        await self.upgrade()

    async def upgrade(self) -> None:
        await self.writer.start_tls(client_context(), server_hostname="localhost")

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""


def plain(user: str, password: str) -> bytes:
    import base64

    return base64.b64encode(f"\0{user}\0{password}".encode())
