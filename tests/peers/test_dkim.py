"""The relay's own signatures as opendkim and Perl's Mail::DKIM find them, over odd messages."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from relay.dkim_keys import DkimKey, make_key_pair
from relay.header import read_header
from relay.proof.dkim_sign import SigningKey, sign
from tests.odd_messages import NO_FINAL_CRLF, ODD

DOMAIN, SELECTOR, NOW = "d.example", "mr20231114-0001", 1_700_000_000.0
OPENDKIM = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
PERL = Path(__file__).with_name("verify_dkim.pl")
HAS_PERL = (
    shutil.which("perl")
    and not subprocess.run(["perl", "-MMail::DKIM::Verifier", "-e", "1"], capture_output=True, check=False).returncode
)
needs_opendkim = pytest.mark.skipif(OPENDKIM is None, reason="opendkim is not here")
needs_perl = pytest.mark.skipif(not HAS_PERL, reason="Mail::DKIM is not here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every message signed, as <name>.eml, and with its subject changed, as <name>.changed; the key in `keys`."""
    folder = tmp_path_factory.mktemp("dkim")
    pair = make_key_pair()
    private = load_der_private_key(pair.private, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    for name, content in {**ODD, **NO_FINAL_CRLF}.items():
        signature = sign(content, read_header(content), [SigningKey(DOMAIN, SELECTOR, private)], now=NOW)
        whole = signature + content + (b"\r\n" if name in NO_FINAL_CRLF else b"")
        (folder / f"{name}.eml").write_bytes(whole)
        (folder / f"{name}.changed").write_bytes(whole.replace(b"al@in.example", b"bo@in.example", 1))
    record = DkimKey(SELECTOR, pair.public, b"", NOW).record(DOMAIN)
    (folder / "keys").write_text(f"{record.name} {record.value}\n")
    (folder / "conf").write_text(f"Mode v\nTestPublicKeys {folder}/keys\n")
    return folder


def by_opendkim(folder: Path, name: str) -> str:
    assert OPENDKIM
    done = subprocess.run(
        [OPENDKIM, "-x", str(folder / "conf"), "-t", str(folder / name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    return done.stdout.decode(errors="replace")


@needs_opendkim
@pytest.mark.parametrize("name", sorted({**ODD, **NO_FINAL_CRLF}.keys() - {"blanks-before-the-colon"}))
def test_opendkim(folder: Path, name: str) -> None:
    """But for blanks before a colon (RFC 5322 §4.5), with which it says nothing of any message."""
    assert f"d={DOMAIN}, 2048-bit key) succeeded" in by_opendkim(folder, f"{name}.eml")
    assert "succeeded" not in by_opendkim(folder, f"{name}.changed")


@needs_perl
def test_mail_dkim(folder: Path) -> None:
    names = [*ODD, *NO_FINAL_CRLF]
    paths = [f"{name}.{end}" for name in names for end in ("eml", "changed")]
    done = subprocess.run(["perl", str(PERL), "keys", *paths], cwd=folder, capture_output=True, check=True, timeout=120)
    found = dict(line.split(" ", 1) for line in done.stdout.decode().splitlines())
    assert {name for name in names if f"{DOMAIN}=pass" not in found[f"{name}.eml"]} == set()
    assert {name for name in names if f"{DOMAIN}=pass" in found[f"{name}.changed"]} == set()
