"""The recipients' mail server: it breaks where it is told to, and keeps what it took with who brought it.

How it treats a recipient goes by the start of the local part (the mail sink's way, local/sink.py):

    nobody     550 5.1.1, always
    policy     554 5.7.1, always
    grey       451 4.7.1 the first time, then taken
    full       452 4.2.2 twice, then taken
    late       451 4.3.0 after the end of data the first time, then taken
    spam       554 5.7.1 after the end of data
    wait       451 4.3.0, always

A `Break` is done to the next transaction that comes to its stage, once.
"""

import asyncio
import email
import email.policy
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.journal import Journal
from tests.faults.peers import Peer, Peers, kill

STAGES = ("connect", "hello", "mail", "rcpt", "data", "content", "dot")
LATE = 5.0  # seconds
SILENCE = 60.0  # seconds: longer than any of the relay's waits in trials
AT_RCPT = {"nobody": "550 5.1.1 No such user here", "policy": "554 5.7.1 Not from you", "wait": "451 4.3.0 Not now"}
FIRST = {"grey": (1, "451 4.7.1 Greylisted"), "full": (2, "452 4.2.2 Mailbox full")}
ID = re.compile(rb"^Received: by \S+ with \w+ id ([0-9a-f-]{36})\r", re.MULTILINE)


@dataclass(slots=True)
class Break:
    """how: "cut" the connection; "silent"; "slow", an octet a second; "late", after some seconds; "kill" the worker at
    the other end. At the dot also with the mail kept first: "kept cut" and so on, and "answered kill", which is after
    the 250."""

    stage: str
    how: str
    label: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Taking:
    """A message that was kept. answered: the whole 250 was written. broken: what was done to this transaction."""

    time: float
    mail_from: str
    rcpt_to: list[str]
    content: bytes
    pid: int
    answered: bool = False
    broken: str = ""

    @property
    def id(self) -> str:
        """The relay's, by our trace header; of a notice, by its Message-ID."""
        if self.mail_from and (found := ID.search(self.content[:4096])) is not None:
            return found[1].decode()
        return str(self._headers["Message-ID"] or "").strip("<>").partition("@")[0]

    @property
    def mark(self) -> str:
        return str(self._headers["X-Mark"] or "")

    @property
    def _headers(self) -> email.message.EmailMessage:
        head = self.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return email.message_from_bytes(head, policy=email.policy.default)  # type: ignore[return-value]


class _CutError(Exception):
    """The session ends here."""


class Remote:
    """Listens on host:port until `close`. peers: to find the worker that has connected."""

    def __init__(self, host: str, port: int, peers: Peers, journal: Journal) -> None:
        self.takings: list[Taking] = []
        self._journal = journal
        self._peers = peers
        self._breaks: list[Break] = []
        self._tries: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(asyncio.start_server(self._session, host, port, limit=2**20))
            ready.set()
            self._loop.run_forever()
            sessions = asyncio.all_tasks(self._loop)
            for session in sessions:
                session.cancel()
            self._loop.run_until_complete(asyncio.gather(*sessions, return_exceptions=True))
            self._loop.run_until_complete(asyncio.sleep(0))  # the transports' own closing
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(10), f"nothing could listen on {host}:{port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def plan(self, breaks: list[Break]) -> None:
        with self._lock:
            self._breaks += breaks

    def clear(self) -> None:
        """What has not come to its stage by now is not done."""
        with self._lock:
            self._breaks.clear()

    def _next(self, stage: str) -> Break | None:
        with self._lock:
            for each in self._breaks:
                if each.stage == stage:
                    self._breaks.remove(each)
                    return each
        return None

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        peer = await self._loop.run_in_executor(None, self._peers.of, *ends)
        session = _Session(self, reader, writer, peer)
        try:
            await session.run()
        except (_CutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            pass
        finally:
            writer.transport.abort()


class _Session:
    def __init__(self, remote: Remote, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        self._remote = remote
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._mail_from = ""
        self._rcpt_to: list[str] = []

    async def run(self) -> None:
        await self._at("connect", "220 mx.example ESMTP")
        while line := await self._reader.readline():
            verb = line[:4].upper()
            match verb:
                case b"EHLO":
                    await self._at("hello", "250-mx.example\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SIZE 40000000")
                case b"MAIL":
                    self._mail_from, self._rcpt_to = _path(line), []
                    await self._at("mail", "250 2.1.0 OK")
                case b"RCPT":
                    await self._at("rcpt", self._rcpt(_path(line)))
                case b"DATA":
                    await self._data()
                case b"RSET" | b"NOOP":
                    self._rcpt_to = []
                    await self._say("250 2.0.0 OK")
                case b"QUIT":
                    await self._say("221 2.0.0 Bye")
                    return
                case _:
                    await self._say("500 5.5.1 What?")

    def _rcpt(self, recipient: str) -> str:
        word = (re.match(r"[a-z]+", recipient) or [""])[0]
        if word in AT_RCPT:
            return AT_RCPT[word]
        if word in FIRST:
            tries = self._remote._tries
            tries[self._mail_from, recipient] += 1
            if tries[self._mail_from, recipient] <= FIRST[word][0]:
                return FIRST[word][1]
        self._rcpt_to.append(recipient)
        return "250 2.1.5 OK"

    async def _data(self) -> None:
        if not self._rcpt_to:
            await self._at("data", "554 5.5.1 No valid recipients")
            return
        await self._at("data", "354 Go ahead")
        if (breaks := self._remote._next("content")) is not None:
            await self._reader.readline()
            await self._break(breaks, "")
        content = (await self._reader.readuntil(b"\r\n.\r\n"))[:-3]
        await self._dot(content.replace(b"\r\n..", b"\r\n."))

    async def _dot(self, content: bytes) -> None:
        words = {(re.match(r"[a-z]+", each) or [""])[0]: each for each in self._rcpt_to}
        if "spam" in words:
            await self._say("554 5.7.1 No")
            return
        if "late" in words:
            tries = self._remote._tries
            tries["late", words["late"]] += 1
            if tries["late", words["late"]] == 1:
                await self._say("451 4.3.0 Could not store it")
                return
        breaks = self._remote._next("dot")
        how = breaks.how if breaks else ""
        taking = Taking(time.time(), self._mail_from, self._rcpt_to, content, self._peer.pid, broken=how)
        if breaks is None or how.startswith(("kept ", "answered ")):
            self._remote.takings.append(taking)
        if breaks is not None and how != "answered kill":
            await self._break(breaks, "250 2.0.0 Taken")
        else:
            await self._say("250 2.0.0 Taken")
        taking.answered = not self._reader.at_eof()  # it was there to hear it
        if breaks is not None and how == "answered kill":
            await self._break(breaks, "")

    async def _at(self, stage: str, reply: str) -> None:
        if (breaks := self._remote._next(stage)) is not None:
            await self._break(breaks, reply)
        else:
            await self._say(reply)

    async def _break(self, breaks: Break, reply: str) -> None:
        how = breaks.how.rpartition(" ")[2]
        killed = {"pid": self._peer.pid} if how == "kill" else {}
        self._remote._journal.note("fault", at=f"remote {breaks.stage}", act=breaks.how, **breaks.label, **killed)
        match how:
            case "kill":
                kill(self._peer, self._remote._journal)
                raise _CutError
            case "cut":
                raise _CutError
            case "silent":
                await asyncio.wait_for(self._reader.read(), SILENCE)  # until it gives up
                raise _CutError
            case "late":
                await asyncio.sleep(LATE)
                await self._say(reply)
            case "slow":
                for octet in f"{reply}\r\n".encode():
                    self._writer.write(bytes([octet]))
                    await self._writer.drain()
                    if self._reader.at_eof():
                        raise _CutError
                    await asyncio.sleep(1)

    async def _say(self, reply: str) -> None:
        self._writer.write(f"{reply}\r\n".encode())
        await self._writer.drain()


def _path(line: bytes) -> str:
    return line.partition(b"<")[2].partition(b">")[0].decode()
