"""The mail sink: an SMTP server that takes mail for anybody and keeps it as files.

`python -m local.sink --mail-dir DIR --cert FILE --key FILE [--listen HOST:PORT]`; when ready it prints
{"event": "listening", "port": N} on stdout. For each message, `<n>.eml` has the content as received, byte
for byte, and `<n>.json` (written last, by a rename: once it is there, both are whole) has

    mail_from   envelope sender, "" for the null reverse-path
    rcpt_to     the recipients taken, in order
    options     MAIL's parameters, such as ["SIZE=123", "BODY=8BITMIME"]
    tls         "TLSv1.3" and the like, or "" for plaintext
    time        when it was taken, epoch seconds

It offers STARTTLS, SIZE (64 MiB), 8BITMIME and SMTPUTF8. How it treats a recipient goes by what the local
part starts with; a number right after the word is its N:

    greylist[N]    451 4.7.1 to the first N (1) attempts for this sender and recipient, then taken
    nobody         550 5.1.1 (no such user); `unknown` likewise
    full           452 4.2.2 (mailbox full), always
    defer          451 4.3.0, always
    away           421 4.3.2 and the connection is closed, at RCPT
    spam           554 5.7.1 after the end of data
    late           451 4.3.0 after the end of data, always
    slow[N]        taken, but the answer to the end of data comes after N (3) seconds
    drop           the connection is closed at the end of data, nothing is kept, nothing answered
    lost           the message is kept, then the connection is closed without an answer
"""

import argparse
import asyncio
import json
import os
import re
import signal
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

LARGEST: Final = 64 * 1024 * 1024
LONGEST_LINE: Final = 1024 * 1024  # tolerant: what was sent is to be seen, not judged
BEHAVIOUR: Final = re.compile(r"(greylist|nobody|unknown|full|defer|away|spam|late|slow|drop|lost)(\d*)")
AT_RCPT: Final = {
    "nobody": "550 5.1.1 No such user here",
    "unknown": "550 5.1.1 No such user here",
    "full": "452 4.2.2 Mailbox full",
    "defer": "451 4.3.0 Try again later",
    "away": "421 4.3.2 Not taking mail at the moment",
}
AT_DATA: Final = {
    "spam": "554 5.7.1 Message refused by policy",
    "late": "451 4.3.0 Could not store the message",
}


def behaviour(recipient: str) -> tuple[str, int | None]:
    """What the recipient's local part asks for: (word or "", N or None)."""
    match = BEHAVIOUR.match(recipient.lower())
    return (match[1], int(match[2]) if match[2] else None) if match else ("", None)


class MailDir:
    """Numbered messages in a folder; goes on after those that are there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._last = max((int(path.stem) for path in folder.glob("*.eml") if path.stem.isdecimal()), default=0)

    def add(self, content: bytes, facts: dict[str, Any]) -> None:
        self._last += 1
        (self._folder / f"{self._last}.eml").write_bytes(content)
        partial = self._folder / f".{self._last}.json.partial"
        partial.write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
        partial.rename(self._folder / f"{self._last}.json")


class Sink:
    """aiosmtpd's handler: its hooks decide by recipient."""

    def __init__(self, mail: MailDir) -> None:
        self._mail = mail
        self._attempts: Counter[tuple[str, str]] = Counter()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        word, number = behaviour(address)
        if word == "away":
            transport = cast(asyncio.WriteTransport, server.transport)
            transport.write(f"{AT_RCPT[word]}\r\n".encode())
            transport.close()
        if word in AT_RCPT:
            return AT_RCPT[word]
        if word == "greylist":
            self._attempts[str(envelope.mail_from), address] += 1
            if self._attempts[str(envelope.mail_from), address] <= (1 if number is None else number):
                return "451 4.7.1 Greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        asked = dict(behaviour(recipient) for recipient in envelope.rcpt_tos)
        for word, refusal in AT_DATA.items():
            if word in asked:
                return refusal
        if "slow" in asked:
            await asyncio.sleep(3 if asked["slow"] is None else asked["slow"])
        if "drop" not in asked:
            self._mail.add(bytes(envelope.original_content or b""), _facts(session, envelope))
        if asked.keys() & {"drop", "lost"}:
            cast(asyncio.WriteTransport, server.transport).abort()
        return "250 2.0.0 OK"


def _facts(session: Session, envelope: Envelope) -> dict[str, Any]:
    tls = session.ssl["ssl_object"].version() if session.ssl else ""
    return {
        "mail_from": "" if envelope.mail_from == "<>" else envelope.mail_from,  # aiosmtpd's way of saying it
        "rcpt_to": envelope.rcpt_tos,
        "options": envelope.mail_options,
        "tls": tls,
        "time": time.time(),
    }


class _Protocol(SMTP):
    line_length_limit = LONGEST_LINE


class SinkServer:
    """The sink on `host`. `await start()`, then `.port`, then `await stop()`."""

    def __init__(self, mail_dir: Path, tls: ssl.SSLContext | None, host: str = "127.0.0.1", port: int = 0) -> None:
        self._handler = Sink(MailDir(mail_dir))
        self._tls = tls
        self._host = host
        self.port = port

    async def start(self) -> None:
        """OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, self._host, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()

    def _protocol(self) -> SMTP:
        return _Protocol(
            self._handler,
            data_size_limit=LARGEST,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname="sink.localhost",
            ident="mail sink",
            tls_context=self._tls,
            command_call_limit=None,
            loop=asyncio.get_running_loop(),
        )


async def _run(mail_dir: Path, tls: ssl.SSLContext, host: str, port: int) -> None:
    server = SinkServer(mail_dir, tls, host, port)
    await server.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps({"event": "listening", "port": server.port}), flush=True)  # noqa: T201 - the protocol
    await stop.wait()
    await server.stop()
    os._exit(0)  # not waiting for the sessions of slow recipients


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="local.sink", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--mail-dir", type=Path, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    options = parser.parse_args(arguments)
    host, _, port = options.listen.rpartition(":")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(options.cert, options.key)
    try:
        asyncio.run(_run(options.mail_dir, tls, host, int(port)))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
