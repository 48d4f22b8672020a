"""The programs of docs/senders.md: their settings are read out of the guide, so that what is tested is what is told."""

import functools
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
GUIDE: Final = ROOT / "docs" / "senders.md"
NODE_MODULES: Final = ROOT / ".node" / "node_modules"

_SECTION: Final = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.M | re.S)
_BLOCK: Final = re.compile(r"(?:^`([^`\n]+)`[^\n]*:\n\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
_OTHER_PORT: Final = re.compile(r"^Port 465: (.*)\.$", re.M)
_CHANGE: Final = re.compile(r"`([^`]+)` for `([^`]+)`|no `([^`]+)`")


@dataclass(frozen=True, slots=True)
class Relay:
    """Where the relay is, and the login."""

    host: str
    port: int
    tls_port: int
    ca_file: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Program:
    """What the guide says of one program.

    files: name -> content. command: what to run in a shell. for_465: (old, new) replacements for port 465.
    """

    name: str
    files: tuple[tuple[str, str], ...]
    command: str
    for_465: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        return re.sub(r"\W+", "-", _SHORT.get(self.name, self.name))

    @property
    def takes_messages(self) -> bool:
        """It submits a message that is made already; s-nail and git send-email make their own."""
        return any("message.eml" in text for text in (self.command, *(text for _, text in self.files)))

    def version(self) -> str:
        """In a few words, "" if it cannot be had here."""
        done = subprocess.run(
            ["bash", "-c", _VERSION[self.id]], capture_output=True, text=True, env=environment(Path("/"))
        )
        found = re.search(r"v?(\d+\.?\d[\w.-]*)", done.stdout)
        return found[1] if found and done.returncode == 0 else ""

    def absent(self) -> str:
        """Why it can't be tried here; "" if it can."""
        if not self.version():
            return f"{self.name} is not here; tests/clients/install.sh says why"
        if self.id == "Postfix" and os.geteuid() != 0:
            return "Postfix runs as root only"
        return ""

    def fit(self, text: str, relay: Relay, mail_from: str, rcpt_to: str, *, tls: bool) -> str:
        """The guide's text with the names of here; tls: for port 465."""
        for old, new in self.for_465 if tls else ():
            text = text.replace(old, new)
        text = re.sub(r"\b465\b" if tls else r"\b587\b", str(relay.tls_port if tls else relay.port), text)
        for old, new in (
            ("/etc/ssl/certs/ca-certificates.crt", relay.ca_file),
            ("app%40corp.example", relay.user.replace("@", "%40")),
            ("app@corp.example", relay.user),
            ("the-password", relay.password),
            ("smtp.elastx.email", relay.host),
            ("news@corp.example", mail_from),
            ("you@in.example", rcpt_to),
            ("python3 ", f"{sys.executable} "),
        ):
            text = text.replace(old, new)
        return text

    def write(self, home: Path, relay: Relay, mail_from: str, rcpt_to: str, *, tls: bool) -> None:
        """Its files, into the folder `home` wherever the guide puts them."""
        for name, told in self.files:
            path = home / Path(name).name
            text = self.fit(told, relay, mail_from, rcpt_to, tls=tls).replace("/etc/postfix", str(home))
            path.write_text(text, "utf-8")
            path.chmod(0o600)

    def run(
        self, home: Path, relay: Relay, mail_from: str, rcpt_to: str, *, tls: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """The guide's command, in `home`, where its files and message.eml (or the patch) are."""
        return subprocess.run(
            ["bash", "-c", self.fit(self.command, relay, mail_from, rcpt_to, tls=tls)],
            cwd=home,
            env=environment(home, relay),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )


def environment(home: Path, relay: Relay | None = None) -> dict[str, str]:
    """A user's plain environment, with the local system's CA as one that the machine trusts."""
    variables = {
        "HOME": str(home),
        "MAIL_CONFIG": str(home),  # Postfix's commands: the instance there
        "MAILRC": str(home / ".mailrc"),  # s-nail, of root, goes by the password file and not by HOME
        "DEAD": "/dev/null",
        "EMAIL": "news@corp.example",  # git: who commits
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "NODE_PATH": str(NODE_MODULES),
    }
    if relay:
        variables |= {
            "MAIL_PASSWORD": relay.password,
            "SSL_CERT_FILE": relay.ca_file,
            "NODE_EXTRA_CA_CERTS": relay.ca_file,
            # git names the machine's folder of CAs itself
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "sendemail.smtpsslcertpath",
            "GIT_CONFIG_VALUE_0": relay.ca_file,
        }
    return variables


_SHORT: Final = {
    "s-nail (mailx)": "s-nail",
    "Perl: Net::SMTP": "Net-SMTP",
    "Node.js: nodemailer": "nodemailer",
    "Python: smtplib": "smtplib",
    "Python: aiosmtplib": "aiosmtplib",
    "Postfix as a null client": "Postfix",
}

_VERSION: Final = {
    "swaks": "swaks --version",
    "msmtp": "msmtp --version",
    "curl": "curl --version && curl --version | grep -q smtps",
    "s-nail": "s-nail -V",
    "git-send-email": "test -x $(git --exec-path)/git-send-email && perl -MIO::Socket::SSL -MAuthen::SASL -e 1 "
    "&& git --version",
    "Net-SMTP": "perl -MIO::Socket::SSL -MAuthen::SASL -MNet::SMTP -e 'print $Net::SMTP::VERSION'",
    "nodemailer": "node -p 'require(\"nodemailer/package.json\").version'",
    "smtplib": f"{sys.executable} --version",
    "aiosmtplib": f"{sys.executable} -c 'import aiosmtplib; print(aiosmtplib.__version__)'",
    "Postfix": "postconf -d -h mail_version && ls /usr/lib/*/sasl2/libplain.so",
}


@functools.cache
def _version(id: str) -> str:
    done = subprocess.run(
        ["bash", "-c", _VERSION[id]], capture_output=True, text=True, env=environment(Path("/")), check=False
    )
    found = re.search(r"v?(\d+\.?\d[\w.-]*)", done.stdout)
    return found[1] if found and done.returncode == 0 else ""


def programs() -> tuple[Program, ...]:
    """All that the guide has, in its order."""
    text = GUIDE.read_text("utf-8")
    start = text.index("## Settings, program by program")
    end = text.find("\n## ", start)
    found = []
    for name, section in _SECTION.findall(text[start : end + 1 if end > 0 else None]):
        blocks = _BLOCK.findall(section)
        other = _OTHER_PORT.search(section)
        assert other, f"{name}: no line that begins with 'Port 465: '"
        found.append(
            Program(
                name,
                tuple((file, block) for file, _, block in blocks if file),
                "".join(block for file, _, block in blocks if not file),
                tuple((old or gone, new) for new, old, gone in _CHANGE.findall(other[1])),
            )
        )
    return tuple(found)
