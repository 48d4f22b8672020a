"""Makes the messages of this folder anew: `python -m tests.messages.make [NAME ...]`, where the programs are.

Each recipe is a shell script that sends one message to a server that keeps what it gets ($PORT), or writes $OUT.
In the folder that it runs in are logo.png, report.pdf, text.txt and letter.eml, and dkim.pem: a key for the
signers, which is thrown away; its public half is kept beside a signed message as NAME.txt, a DNS record's value.
README.md is written from the recipes, too.
"""

import asyncio
import base64
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.sink import SinkServer
from tests.clients.programs import NODE_MODULES

FOLDER: Final = Path(__file__).parent
LOGO: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """by: the program that made it. what: what is special. script: bash. dkim: the message carries a signature."""

    by: str
    what: str
    script: str
    dkim: bool = False


SIGN_WITH_DKIMPY = """python3 - <<'END'
import dkim, os
content = open("letter.eml", "rb").read()
key = open("dkim.pem", "rb").read()
canonicalize = tuple(os.environ["CANON"].encode().split(b"/"))
fields = [b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type"]
signature = dkim.sign(content, os.environ["SELECTOR"].encode(), b"proved.example", key, canonicalize=canonicalize,
                      include_headers=fields)
open(os.environ["OUT"], "wb").write(signature + content)
END
"""
SIGN_WITH_OPENDKIM = "opendkim-testmsg -C -d proved.example -s $SELECTOR -k dkim.pem < letter.eml > $OUT"
SIGN_WITH_PERL = r"""
perl - <<'END'
use Mail::DKIM::Signer;
use Mail::DKIM::PrivateKey;
open my $in, '<:raw', 'letter.eml' or die; my $content = do { local $/; <$in> };
my $signer = Mail::DKIM::Signer->new(Algorithm => 'rsa-sha256', Method => $ENV{CANON}, Domain => 'proved.example',
  Selector => $ENV{SELECTOR}, Key => Mail::DKIM::PrivateKey->load(File => 'dkim.pem'));
$signer->PRINT($content); $signer->CLOSE;
open my $out, '>:raw', $ENV{OUT} or die; print $out $signer->signature->as_string, "\r\n", $content;
END
"""
NODE = """node - <<'END'
const fs = require("node:fs");
const nodemailer = require("nodemailer");
const relay = nodemailer.createTransport({ host: "127.0.0.1", port: +process.env.PORT, name: "app.proved.example",
  tls: { rejectUnauthorized: false } });
relay.sendMail(%s).catch((error) => { console.error(error); process.exit(1); });
END
"""
PYTHON = """python3 - <<'END'
import email.policy, os, smtplib
from email.header import Header
from email.message import EmailMessage
from email.mime.text import MIMEText
from email.utils import formataddr, formatdate, make_msgid
def head(message, name, subject):
    message["From"] = "News <news@proved.example>"
    message["To"] = "you@in.example"
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = f"<{name}@proved.example>"
relay = smtplib.SMTP("127.0.0.1", int(os.environ["PORT"]), local_hostname="app.proved.example")
%s
END
"""
SWAKS = (
    "swaks --server 127.0.0.1:$PORT --helo app.proved.example --from news@proved.example --to you@in.example "
    "--header 'Message-Id: <'$NAME'@proved.example>' "
)
S_NAIL = (
    "s-nail -:/ -Sv15-compat -Smta=smtp://127.0.0.1:$PORT -Ssmtp-auth=none -Ssmtp-hostname=app.proved.example "
    "-Shostname=proved.example -Sfrom='Åsa på nyheterna <news@proved.example>' -Ssendwait "
)
GPG = """
export GNUPGHOME=$PWD/gpg && mkdir -m 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key 'News <news@proved.example>' rsa2048 sign,encr 20y
gpg --armor --export news@proved.example > $BESIDE/$NAME.asc
"""
SMIME = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -subj "/CN=Test CA" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout me.key -out me.csr -subj "/CN=News/emailAddress=news@proved.example" 2>/dev/null
openssl x509 -req -in me.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out me.pem \
  -extfile <(printf 'extendedKeyUsage=emailProtection\\nsubjectAltName=email:news@proved.example\\n') 2>/dev/null
cp ca.pem $BESIDE/$NAME.pem
openssl smime -sign %s -in part.txt -signer me.pem -inkey me.key \
  -from news@proved.example -to you@in.example -subject "Signed by openssl" -out signed.eml
sed -i "s/\\r$//" signed.eml
curl --silent --show-error --crlf --url smtp://127.0.0.1:$PORT/app.proved.example --mail-from news@proved.example \
  --mail-rcpt you@in.example --upload-file signed.eml
"""

RECIPES: Final = {
    "swaks-test": Recipe("swaks", "its test message: nothing but the least", SWAKS),
    "swaks-attachments": Recipe(
        "swaks",
        "multipart/mixed with an image and a PDF",
        SWAKS + "--h-Subject 'Two files' --body @text.txt --attach-type image/png --attach @logo.png "
        "--attach-type application/pdf --attach @report.pdf",
    ),
    "swaks-long-line": Recipe(
        "swaks",
        "a line of 5,000 octets, and empty lines at the end",
        SWAKS + "--body \"$(printf 'x%.0s' {1..5000})\\n\\n\\n\"",
    ),
    "msmtp-cron": Recipe(
        "msmtp",
        "as from cron: what has no From and no Date gets them from msmtp; undisclosed recipients",
        "printf 'Subject: Cron <root@app> backup\\nX-Cron-Env: <SHELL=/bin/sh>\\n\\n.: file\\n..: folder\\ndone   \\n' | "
        "msmtp --host=127.0.0.1 --port=$PORT --domain=app.proved.example --from=news@proved.example "
        "--set-from-header=on --undisclosed-recipients=on you@in.example",
    ),
    "curl-mime": Recipe(
        "curl",
        "multipart made by `curl -F`: text and HTML as alternatives, an attachment, quoted-printable",
        "curl --silent --show-error --url smtp://127.0.0.1:$PORT/app.proved.example --mail-from news@proved.example "
        "--mail-rcpt you@in.example -F '=(;type=multipart/alternative' -F '=<text.txt;type=text/plain; charset=utf-8;encoder=quoted-printable' "
        "-F '=\"<b>Hello</b>\";type=text/html' -F '=)' -F 'report=@report.pdf;type=application/pdf;encoder=base64' "
        "-H 'From: News <news@proved.example>' -H 'To: you@in.example' -H 'Subject: From curl' "
        "-H 'Date: Mon, 23 Nov 2026 12:00:00 +0000' -H 'Message-ID: <curl-mime@proved.example>'",
    ),
    "s-nail-8bit": Recipe(
        "s-nail",
        "8-bit UTF-8 in the body, RFC 2047 in From and Subject",
        S_NAIL
        + "-Sttycharset=utf-8 -Ssendcharsets=utf-8 -Smime-encoding=8bit -s 'Räksmörgås på tåget' you@in.example < text.txt",
    ),
    "s-nail-latin1": Recipe(
        "s-nail",
        "8-bit ISO-8859-1 in the body",
        S_NAIL
        + "-Sttycharset=utf-8 -Ssendcharsets=iso-8859-1 -Smime-encoding=8bit -s 'Räksmörgås' you@in.example < text.txt",
    ),
    "s-nail-rfc2231": Recipe(
        "s-nail",
        "attachments whose names are long and not ASCII (RFC 2231 continuations), base64 and quoted-printable",
        "name='Årsredovisning för räkenskapsåret 2026, med bilagor och revisorns anmärkningar i ett enda dokument.pdf'; "
        'cp report.pdf "$name"; '
        + S_NAIL
        + "-Sttycharset=utf-8 -s 'Filer' -a \"$name\" -a logo.png you@in.example < text.txt",
    ),
    "s-nail-empty": Recipe("s-nail", "an empty body", S_NAIL + "-s 'Nothing in it' you@in.example < /dev/null"),
    "git-patch": Recipe(
        "git send-email",
        "a patch, 8bit: lines that start with dots, trailing blanks, From in the body, non-ASCII author",
        """git init -q . && git config user.name "Åsa Öberg" && git config user.email asa@proved.example
printf 'first\\n' > file && git add file && git commit -qm first
printf '.profile\\n..\\n.\\ntrailing blanks  \\t \\n\\nFrom the start\\nsmörgås' > file && git commit -qam 'Dots, blanks and a smörgås'
git format-patch -q -1
git send-email --quiet --smtp-server=127.0.0.1 --smtp-server-port=$PORT --smtp-domain=app.proved.example \\
  --confirm=never --suppress-cc=all --transfer-encoding=8bit --from='News <news@proved.example>' --to=you@in.example 0001-*.patch""",
    ),
    "git-patch-encoded": Recipe(
        "git send-email",
        "a patch with a line of 1,200 octets, so quoted-printable; part of a thread",
        """git init -q . && git config user.name "Jo" && git config user.email news@proved.example
printf 'first\\n' > file && git add file && git commit -qm first
printf '=%.0s' {1..1200} > file && git commit -qam 'A long line'
git format-patch -q -1
git send-email --quiet --smtp-server=127.0.0.1 --smtp-server-port=$PORT --smtp-domain=app.proved.example \\
  --confirm=never --suppress-cc=all --in-reply-to='<first@in.example>' --from='Jo <news@proved.example>' --to=you@in.example 0001-*.patch""",
    ),
    "nodemailer-newsletter": Recipe(
        "nodemailer",
        "HTML with an inline image and text beside it, a PDF with a name not ASCII, List-Unsubscribe with one click",
        NODE
        % """{ from: { name: "Nyheter från Å", address: "news@proved.example" }, to: "you@in.example", subject: "November på en minut ✉",
  text: fs.readFileSync("text.txt"), html: '<p>Hej <b>du</b>! <img src="cid:logo@proved.example"></p>',
  attachments: [{ path: "logo.png", cid: "logo@proved.example" }, { path: "report.pdf", filename: "rapport från årsmötet.pdf" }],
  list: { unsubscribe: "https://proved.example/u/1234" }, headers: { "List-Unsubscribe-Post": "List-Unsubscribe=One-Click" },
  messageId: "<nodemailer-newsletter@proved.example>" }""",
    ),
    "nodemailer-calendar": Recipe(
        "nodemailer",
        "an invitation: text/calendar as alternative and as attachment",
        NODE
        % """{ from: "news@proved.example", to: "you@in.example", subject: "Meeting", text: "Please come.",
  messageId: "<nodemailer-calendar@proved.example>", icalEvent: { method: "REQUEST", content: ["BEGIN:VCALENDAR", "VERSION:2.0",
  "PRODID:-//proved//EN", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:1@proved.example", "DTSTAMP:20261123T120000Z",
  "DTSTART:20261201T090000Z", "SUMMARY:Möte", "END:VEVENT", "END:VCALENDAR", ""].join("\\r\\n") } }""",
    ),
    "nodemailer-smtputf8": Recipe(
        "nodemailer",
        "SMTPUTF8: sender and recipient have local parts that are not ASCII",
        NODE
        % """{ from: "Från <från@proved.example>", to: "användare@in.example", subject: "Hej", text: "Hej då.\\n",
  messageId: "<nodemailer-smtputf8@proved.example>" }""",
    ),
    "nodemailer-dkim": Recipe(
        "nodemailer",
        "signed by nodemailer itself, relaxed/relaxed",
        NODE
        % """{ from: "news@proved.example", to: "you@in.example", subject: "Signed  by   nodemailer", text: "trailing blanks  \\n\\n\\n",
  messageId: "<nodemailer-dkim@proved.example>",
  dkim: { domainName: "proved.example", keySelector: process.env.SELECTOR, privateKey: fs.readFileSync("dkim.pem", "utf8") } }""",
        dkim=True,
    ),
    "python-rfc2047": Recipe(
        "Python's email (legacy API)",
        "RFC 2047 in four charsets, B and Q, folded between encoded words",
        PYTHON
        % """message = MIMEText("Hej.\\n", "plain", "iso-8859-1")
head(message, "python-rfc2047", Header("Räksmörgås och blåbärspaj till alla som kommer i kväll, och kaffe efteråt", "iso-8859-1"))
message["X-Greek"] = Header("Καλημέρα κόσμε, τι κάνετε σήμερα; Ελπίζω να είστε καλά.", "iso-8859-7")
message["X-Japanese"] = Header("こんにちは、世界。お元気ですか。", "iso-2022-jp")
message["Cc"] = formataddr(("Ångström, Ärlig", "cc@in.example"))
relay.send_message(message, "news@proved.example", ["you@in.example"])""",
    ),
    "python-long-header": Recipe(
        "Python's email",
        "a References field of 60 ids and a To of 50 addresses, folded over many lines",
        PYTHON
        % """message = EmailMessage(policy=email.policy.SMTP)
head(message, "python-long-header", "A long thread " + "and a long subject " * 20)
message.replace_header("To", ", ".join(f"Person {n} <person{n}@in.example>" for n in range(50)))
message["References"] = " ".join(f"<{n:032x}@mail.in.example>" for n in range(60))
message.set_content("Still here.\\n")
relay.send_message(message, "news@proved.example", ["you@in.example"])""",
    ),
    "python-smtputf8": Recipe(
        "Python's email and smtplib",
        "SMTPUTF8: UTF-8 in header fields as it is, not encoded",
        PYTHON
        % """message = EmailMessage(policy=email.policy.SMTPUTF8)
head(message, "python-smtputf8", "Blåbär och 蓝莓")
message.replace_header("From", "Blåbär <blåbär@proved.example>")
message.replace_header("To", "用户@in.example")
message.set_content("Blåbär.\\n", cte="8bit")
relay.send_message(message)""",
    ),
    "python-forward": Recipe(
        "Python's email",
        "a message/rfc822 inside, with Received and DKIM-Signature fields of its own",
        PYTHON
        % """inner = EmailMessage()
for name, value in (("Received", "from a by b; Mon, 23 Nov 2026 10:00:00 +0000"), ("DKIM-Signature", "v=1; a=rsa-sha256; d=x.example; b=AAAA"),
                    ("From", "them@elsewhere.example"), ("To", "us@proved.example"), ("Subject", "What came")):
    inner[name] = value
inner.set_content("Inside.\\n")
message = EmailMessage(policy=email.policy.SMTP)
head(message, "python-forward", "Fwd: What came")
message.set_content("See below.\\n")
message.add_attachment(inner)
relay.send_message(message)""",
    ),
    "python-dots": Recipe(
        "Python's smtplib",
        "lines that are or start with dots, at the beginning, the end and in series",
        PYTHON
        % """message = MIMEText(".\\n..\\n...\\n.hidden\\n \\n.\\n.\\n\\n..end\\n.\\n")
head(message, "python-dots", "Dots")
relay.send_message(message)""",
    ),
    "python-no-final-crlf": Recipe(
        "Python's email",
        "the last line has no CRLF (SMTP adds one)",
        PYTHON
        % """message = EmailMessage(policy=email.policy.SMTP)
head(message, "python-no-final-crlf", "No end")
message.set_content("The last line has no end")
open(os.environ["OUT"], "wb").write(message.as_bytes().removesuffix(b"\\r\\n"))
relay.quit()""",
    ),
    "python-blanks": Recipe(
        "Python's email",
        "blanks and tabs at line ends, lines of blanks, empty lines at the end, in header fields, too",
        PYTHON
        % """message = MIMEText("one \\ntwo\\t\\n   \\n\\t\\n\\n\\n\\n")
head(message, "python-blanks", "Blanks   inside and behind   ")
message["X-Empty"] = ""
relay.send_message(message)""",
    ),
    "postfix-cron": Recipe(
        "Postfix (sendmail -t)",
        "what a null client sends: with Received, Message-Id and Date of Postfix",
        """cat > null.py <<'END'
import os, subprocess, tempfile, time
from pathlib import Path
from tests.clients import null_client
from tests.clients.programs import environment
with tempfile.TemporaryDirectory() as name:
    home = Path(name)
    (home / "main.cf").write_text(f"relayhost = [127.0.0.1]:{os.environ['PORT']}\\nmydestination =\\ninet_interfaces = loopback-only\\n"
                                  "myorigin = proved.example\\n")
    with null_client.running(home) as log:
        subprocess.run(["sendmail", "-i", "-t", "-f", "news@proved.example"], env=environment(home), check=True,
            input=b"From: Cron <news@proved.example>\\nTo: you@in.example\\nSubject: Cron job\\n\\nDone: sm\\xc3\\xb6rg\\xc3\\xa5s\\n.\\n")
        while "status=sent" not in log.read_text():
            time.sleep(0.1)
END
python3 null.py""",
    ),
    "dkimpy-simple": Recipe(
        "dkimpy", "DKIM simple/simple", "CANON=simple/simple; export CANON\n" + SIGN_WITH_DKIMPY, dkim=True
    ),
    "dkimpy-relaxed": Recipe(
        "dkimpy", "DKIM relaxed/relaxed", "CANON=relaxed/relaxed; export CANON\n" + SIGN_WITH_DKIMPY, dkim=True
    ),
    "perl-dkim-mixed": Recipe(
        "Mail::DKIM", "DKIM relaxed/simple", "CANON=relaxed/simple; export CANON\n" + SIGN_WITH_PERL, dkim=True
    ),
    "opendkim": Recipe(
        "opendkim-testmsg", "DKIM relaxed/simple with rsa-sha1, as old signers do", SIGN_WITH_OPENDKIM, dkim=True
    ),
    "smime-signed": Recipe("openssl smime", "S/MIME, multipart/signed; its CA beside", SMIME % ""),
    "smime-opaque": Recipe("openssl smime", "S/MIME, the text inside the PKCS #7; its CA beside", SMIME % "-nodetach"),
    "mutt-latin1": Recipe(
        "mutt",
        "8-bit ISO-8859-1 and a PDF in base64",
        """cat > muttrc <<END
set from="News <news@proved.example>" hostname=proved.example use_envelope_from copy=no record=""
set smtp_url=smtp://127.0.0.1:$PORT ssl_starttls=no ssl_force_tls=no send_charset=iso-8859-1
END
mutt -F muttrc -s "Blåbär" -a report.pdf -- you@in.example < text.txt""",
    ),
    "pgp-signed": Recipe(
        "Python's email and gpg",
        "PGP/MIME signed (RFC 3156); its key beside",
        GPG
        + PYTHON
        % """import subprocess
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
part = EmailMessage(policy=email.policy.SMTP)
part.set_content("Signed, med å, ä och ö.\\n.punkt\\nblanka sist  \\n", cte="quoted-printable")
del part["MIME-Version"]
signed = part.as_bytes()
made = subprocess.run(["gpg", "--batch", "--armor", "--detach-sign", "--digest-algo", "SHA512"], input=signed, capture_output=True, check=True)
message = MIMEMultipart("signed", protocol="application/pgp-signature", micalg="pgp-sha512", policy=email.policy.SMTP)
head(message, "pgp-signed", "Signed by gpg")
message.attach(part)
message.attach(MIMEApplication(made.stdout, "pgp-signature", lambda part: None))
content = message.as_bytes(policy=email.policy.SMTP)
assert signed in content
relay.sendmail("news@proved.example", ["you@in.example"], content)""",
    ),
    "pgp-encrypted": Recipe(
        "Python's email and gpg",
        "PGP/MIME encrypted (RFC 3156)",
        GPG.replace("$BESIDE/$NAME.asc", "key.asc")
        + PYTHON
        % """import subprocess
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
command = ["gpg", "--batch", "--armor", "--trust-model", "always", "--encrypt", "--recipient", "news@proved.example"]
made = subprocess.run(command, input=b"Content-Type: text/plain\\r\\n\\r\\nSecret.\\r\\n", capture_output=True, check=True)
message = MIMEMultipart("encrypted", protocol="application/pgp-encrypted")
head(message, "pgp-encrypted", "...")
message.attach(MIMEApplication(b"Version: 1\\r\\n", "pgp-encrypted", lambda part: None))
message.attach(MIMEApplication(made.stdout, "octet-stream", lambda part: None))
relay.send_message(message)""",
    ),
}
GENERATED: Final = {"20 MB": "Python's email, at test time: a base64 attachment of 15 MB, 20 MB in all (not kept here)"}


def prepare(folder: Path) -> None:
    (folder / "logo.png").write_bytes(LOGO)
    (folder / "report.pdf").write_bytes(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + bytes(range(256)) + b"\n%%EOF\n")
    text = "Hej på dig!\n\n.en rad med punkt\nblanka sist   \nFrån och med nu: åäö ÅÄÖ é ü\n-- \nNyheter\n"
    (folder / "text.txt").write_text(text, "utf-8")
    (folder / "part.txt").write_text(
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" + text
    )
    (folder / "letter.eml").write_bytes(
        b"From: News  <news@proved.example>\r\nTo: you@in.example\r\nSubject: Signed,\r\n  and   folded \r\n"
        b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <signed@proved.example>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + text.replace("\n", "\r\n").encode()
        + b"\r\n\r\n"
    )
    subprocess.run(
        ["openssl", "genrsa", "-traditional", "-out", "dkim.pem", "2048"], cwd=folder, check=True, capture_output=True
    )


def dns_record(key: Path) -> str:
    command = ["openssl", "rsa", "-in", str(key), "-pubout", "-outform", "DER"]
    public = subprocess.run(command, check=True, capture_output=True).stdout
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}\n"


async def make(name: str, recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory(prefix="mailrelay-make-") as where:
        folder = Path(where)
        prepare(folder)
        sink = SinkServer(folder / "taken", None)
        await sink.start()
        process = await asyncio.create_subprocess_exec(
            *["bash", "-euo", "pipefail", "-c", recipe.script],
            cwd=folder,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(FOLDER.parents[1]),
                "HOME": where,
                "LANG": "C.UTF-8",
                "NODE_PATH": str(NODE_MODULES),
                "PORT": str(sink.port),
                "NAME": name,
                "SELECTOR": name,
                "OUT": str(folder / "out.eml"),
                "BESIDE": str(FOLDER),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        await sink.stop()
        taken = [folder / "out.eml"] if (folder / "out.eml").exists() else sorted((folder / "taken").glob("*.eml"))
        if process.returncode or len(taken) != 1:
            print(f"{name}: exit code {process.returncode}, {len(taken)} messages\n{said.decode()[-1000:]}")
            return
        (FOLDER / f"{name}.eml").write_bytes(taken[0].read_bytes())
        if recipe.dkim:
            (FOLDER / f"{name}.txt").write_text(dns_record(folder / "dkim.pem"))


def readme() -> str:
    lines = [
        "# Messages",
        "",
        "Whole messages that mail programs made, as they came over SMTP. `make.py` makes them anew and holds",
        "each one's recipe; this list is written by it. Each is submitted in `test_messages.py` and arrives byte for byte",
        "below the trace header, with every signature still good.",
        "",
        "| message | made by | what is special |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{name}.eml` | {recipe.by} | {recipe.what} |" for name, recipe in RECIPES.items()]
    lines += ["| `dkim.eml` | Python's email and dkimpy | multipart, DKIM simple/simple |"]
    lines += [f"| {name} | {text.split(', ', 1)[0]} | {text.split(', ', 1)[1]} |" for name, text in GENERATED.items()]
    lines += [
        "",
        "Beside them: `NAME.txt`, the DNS record of a DKIM signature's key; `NAME.pem`, the CA of an S/MIME signature;",
        "`NAME.asc`, the public key of a PGP signature. The private keys are gone.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    for name, recipe in RECIPES.items():
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            asyncio.run(make(name, recipe))
    (FOLDER / "README.md").write_text(readme(), "utf-8")


if __name__ == "__main__":
    main()
