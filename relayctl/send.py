"""`mailrelay send`: submits a file or a test message as any mail program would."""

import argparse
import asyncio
import re
import smtplib
import socket
import ssl
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any, Final

from relay.address import Address, AddressError, parse_address
from relayctl import render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError, UsageError

TIMEOUT: Final = 60.0  # seconds for each answer
PASSWORD: Final = "MAILRELAY_PASSWORD"  # noqa: S105 - the variable's name
LARGEST: Final = 100 * 1024 * 1024  # octets read; what the relay takes is for it to say

EPILOG: Final = """\
examples:
  mailrelay send --from news@mycorp.se --to jo@example.com --user app@mycorp.se
  mailrelay send invoice.eml --to jo@example.com --to bo@example.com
  mailrelay send invoice.eml --to jo@example.com --server smtp.example.net --tls

FILE is a whole message, header and body; "-" is standard input; without FILE a
test message is made. Lone line feeds become CRLF, nothing else is changed. The
password comes from MAILRELAY_PASSWORD or is asked for. --json prints an object:
id, reply, refused (a list of recipient, code, text). Exit code 1 if any
recipient is refused.
"""


@dataclass(frozen=True, slots=True)
class Server:
    """Where to submit. tls: from the start (port 465) rather than by STARTTLS. ca_file: "" = the system's."""

    host: str
    port: int
    tls: bool = False
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """reply: to the message. id: the relay's, "" if the reply has none. refused: (recipient, code, text)."""

    reply: str
    id: str
    refused: tuple[tuple[str, int, str], ...] = ()


def add(commands: Any) -> None:
    parser = commands.add_parser("send", help="submit a file or a test message", epilog=EPILOG)
    parser.add_argument("file", nargs="?", metavar="FILE", help="the message (default: a test message)")
    parser.add_argument("--to", action="append", required=True, metavar="ADDRESS", help="a recipient (repeatable)")
    parser.add_argument("--from", dest="sender", metavar="ADDRESS", help="the sender (default: the user name)")
    parser.add_argument("--user", metavar="USER", help="the user name (default: the local system's)")
    parser.add_argument("--server", metavar="HOST", help="the relay's host name (default: the local system's)")
    parser.add_argument("--port", type=_port, metavar="N", help="default: 587, or 465 with --tls")
    parser.add_argument("--tls", action="store_true", help="TLS from the start instead of STARTTLS")
    parser.add_argument("--ca-file", metavar="FILE", help="trust the certificates in this file")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--state-file", "--state", type=Path, metavar="FILE", help="the local system of this state file"
    )
    parser.set_defaults(run=run, stack=None, region=None)


def run(arguments: argparse.Namespace, context: Context) -> int:
    recipients = [_address("--to", each) for each in arguments.to]
    state = {} if arguments.server else target.find(arguments, context).state
    server = _server(arguments, state)
    user = arguments.user or asyncio.run(_only_user(arguments, context))
    sender = _address("--from", arguments.sender or user)
    content = _read(arguments.file) if arguments.file else test_message(sender, recipients)
    password = context.environment.get(PASSWORD) or context.ask(f"Password of {user}: ")
    answer = submit(server, user, password, sender, recipients, content)
    if arguments.json:
        refused = [{"recipient": each, "code": code, "text": text} for each, code, text in answer.refused]
        render.print_json(context.out, {"id": answer.id, "reply": answer.reply, "refused": refused})
    else:
        for recipient, code, text in answer.refused:
            context.out.write(f"refused: {recipient}: {code} {render.safe(text)}\n")
        context.out.write(f"{render.safe(answer.reply)}\n")
        if answer.id:
            context.out.write(f"What becomes of it: mailrelay trace {answer.id}\n")
    return 1 if answer.refused else DONE


async def _only_user(arguments: argparse.Namespace, context: Context) -> str:
    """The local system's user, if it has just one."""
    answer: dict[str, Any] = {}
    if not arguments.server:
        async with context.connect(target.find(arguments, context)) as cloud:
            answer = await cloud.accounts({"action": "list"})
    users = [str(account["user"]) for account in answer.get("accounts", ())]
    if len(users) != 1:
        choice = f"one of {', '.join(users)}" if users else "the account to log in with"
        raise UsageError(f"--user USER is needed: {choice}")
    return users[0]


def submit(
    server: Server, user: str, password: str, sender: Address, recipients: list[Address], content: bytes
) -> Answer:
    """Hand the message over. CommandError if the server can't be reached or trusted, or refuses all of it."""
    where = f"{server.host}:{server.port}"
    try:
        with _connected(server) as client:
            client.login(user, password)
            return _transaction(client, sender, recipients, content)
    except smtplib.SMTPAuthenticationError as error:
        said = _text(error.smtp_error)
        raise CommandError(f"{where} refused user {user}: {error.smtp_code} {said}; check user and password") from None
    except smtplib.SMTPNotSupportedError as error:
        raise CommandError(f"{where}: {error} Is it a submission port (587, or 465 with --tls)?") from None
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message or error.reason
        raise CommandError(
            f"{where}: its certificate can't be trusted ({why}); name its CA with --ca-file FILE"
        ) from None
    except ssl.SSLError as error:
        raise CommandError(f"{where}: TLS failed ({error.reason}); --tls is for port 465 only") from None
    except (smtplib.SMTPServerDisconnected, TimeoutError):
        raise CommandError(f"{where} broke the connection off or fell silent; try again") from None
    except smtplib.SMTPResponseException as error:
        raise CommandError(f"{where} refused it: {error.smtp_code} {_lines(error.smtp_error)}") from None
    except socket.gaierror:
        raise CommandError(f"{where}: no such host; check --server {server.host}") from None
    except OSError as error:
        raise CommandError(f"{where}: {error.strerror or error}; is the relay running there?") from None


def test_message(sender: Address, recipients: list[Address]) -> bytes:
    utf8 = sender.needs_smtputf8 or any(each.needs_smtputf8 for each in recipients)
    message = EmailMessage(SMTPUTF8 if utf8 else SMTP)
    message["From"] = str(sender)
    message["To"] = ", ".join(map(str, recipients))
    message["Subject"] = "Test message"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.domain)
    message.set_content("This is a test message sent with mailrelay.\n")
    return message.as_bytes()


test_message.__test__ = False  # type: ignore[attr-defined]  # not one of pytest's


def _connected(server: Server) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=server.ca_file or None)
    if server.tls:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT, context=context)
    client = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT)
    try:
        client.starttls(context=context)
    except BaseException:
        client.close()
        raise
    return client


def _transaction(client: smtplib.SMTP, sender: Address, recipients: list[Address], content: bytes) -> Answer:
    client.ehlo_or_helo_if_needed()
    options = [f"SIZE={len(content)}"] if client.has_extn("size") else []
    if not content.isascii():
        options.append("BODY=8BITMIME")
    if any(each.needs_smtputf8 for each in (sender, *recipients)):
        options.append("SMTPUTF8")
    _accepted(client.mail(str(sender), options))
    refused = []
    for recipient in recipients:
        code, text = client.rcpt(str(recipient))
        if code // 100 != 2:
            refused.append((str(recipient), code, _text(text)))
    if len(refused) == len(recipients):
        _, code, said = refused[0]
        raise smtplib.SMTPResponseException(code, said)
    reply = _accepted(client.data(content))
    found = re.search(r"queued as (\S+)$", reply)
    return Answer(reply, found[1] if found else "", tuple(refused))


def _accepted(answer: tuple[int, bytes]) -> str:
    code, text = answer
    if code // 100 != 2:
        raise smtplib.SMTPResponseException(code, text)
    return f"{code} {_text(text)}"


def _text(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(render.safe(line) for line in text.splitlines())


def _lines(said: bytes | str) -> str:
    """A reply of several lines below each other, as they are made to be read; the status once (RFC 2034 §4)."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    first, *rest = map(render.safe, text.splitlines() or [""])
    status, space, _ = first.partition(" ")
    return "\n  ".join([first, *(line.removeprefix(status + space) for line in rest)])


def _server(arguments: argparse.Namespace, state: Any) -> Server:
    ca_file = arguments.ca_file or state.get("ca_file", "")
    if ca_file and not Path(ca_file).is_file():
        raise UsageError(f"--ca-file {ca_file}: there is no such file")
    if arguments.server:
        return Server(arguments.server, arguments.port or (465 if arguments.tls else 587), arguments.tls, ca_file)
    port = arguments.port or state["tls_port" if arguments.tls else "port"]
    return Server(state["host"], port, arguments.tls, ca_file)


def _address(option: str, text: str) -> Address:
    try:
        return parse_address(text)
    except AddressError as error:
        raise UsageError(f"{option} {text!r}: {error.safe}") from None


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65_536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")


def _read(name: str) -> bytes:
    try:
        content = sys.stdin.buffer.read(LARGEST) if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from None
    if not content.strip():
        raise CommandError(f"{name} is empty: a message has at least a header")
    return re.sub(rb"(?<!\r)\n", b"\r\n", content)
