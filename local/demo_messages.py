"""What the demo sends: whole messages as applications make them (local/messages), and the fate of each."""

import base64
import random
import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Final

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from relay.outcome import State
from relay.proof.token import DnsRecord

FOLDER: Final = Path(__file__).with_name("messages")
DOMAIN: Final = "corp.example"  # signed up in the demo
STRANGER: Final = "partner.example"  # not signed up
INBOX: Final = "in.example"  # local.names: its server is the sink
SELECTOR: Final = "demo"
LARGE: Final = 5_000_000  # octets, about

DELIVERED: Final[tuple[State, ...]] = (State.DELIVERED,)


@dataclass(frozen=True, slots=True)
class Mail:
    """name: for people. fates: {recipient: the states that it goes through, the last one final}.
    refused: in the SMTP session already."""

    name: str
    sender: str
    content: bytes
    fates: dict[str, tuple[State, ...]]
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """A DKIM key made for this run: the private part, and what to publish."""

    private: bytes
    record: DnsRecord


def new_key() -> Key:
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    value = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    return Key(
        private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        DnsRecord(f"{SELECTOR}._domainkey.{DOMAIN}", "TXT", value),
    )


def messages(key: Key) -> tuple[Mail, ...]:
    """All that the demo sends, in the order sent."""
    inbox = f"@{INBOX}"
    both = (f"bo{inbox}", f"cia{inbox}")
    return (
        Mail("plain text", f"orders@{DOMAIN}", read("plain"), {f"alice{inbox}": DELIVERED}),
        Mail("HTML, attachment", f"news@{DOMAIN}", read("newsletter"), dict.fromkeys(both, DELIVERED)),
        Mail("8-bit text", f"support@{DOMAIN}", read("eight-bit"), {f"asa{inbox}": DELIVERED}),
        Mail("DKIM-signed", f"invoices@{DOMAIN}", sign(read("signed"), key), {f"eva{inbox}": DELIVERED}),
        Mail("5 MB", f"orders@{DOMAIN}", large(), {f"frida{inbox}": DELIVERED}),
        Mail(
            "greylisted",
            f"noreply@{DOMAIN}",
            read("password-reset"),
            {f"greylist{inbox}": (State.DEFERRED, State.DELIVERED)},
        ),
        Mail("to nobody", f"news@{DOMAIN}", read("to-nobody"), {f"nobody{inbox}": (State.BOUNCED,)}),
        Mail(
            "not signed up",
            f"hello@{STRANGER}",
            read("not-signed-up"),
            {f"alice{inbox}": (State.REJECTED,)},
            refused=True,
        ),
    )


def read(name: str) -> bytes:
    """A message of local/messages with CRLF line ends, whatever a checkout made of them."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", (FOLDER / f"{name}.eml").read_bytes())


def sign(content: bytes, key: Key) -> bytes:
    """`content` with a DKIM-Signature on top (RFC 6376), relaxed header and simple body, which forgives nothing."""
    signature = dkim.sign(
        content, SELECTOR.encode(), DOMAIN.encode(), key.private, canonicalize=(b"relaxed", b"simple")
    )
    return bytes(signature) + content


def large() -> bytes:
    """A report of about 5 MB, its attachment in base64, as mail libraries make it."""
    message = EmailMessage(SMTP)
    message["Date"] = "Mon, 23 Nov 2026 09:14:50 +0100"
    message["From"] = f"Corp Orders <orders@{DOMAIN}>"
    message["To"] = f"frida@{INBOX}"
    message["Subject"] = "The whole catalogue"
    message["Message-ID"] = f"<catalogue.2026@{DOMAIN}>"
    message.set_content("The catalogue is attached.\n")
    data = random.Random(47).randbytes(LARGE * 57 // 78)  # noqa: S311 - filler: 57 octets make a line of 78
    message.add_attachment(data, "application", "pdf", filename="catalogue.pdf")
    return message.as_bytes()
