"""What sslyze says of the gateway's two listeners, with an ECDSA and an RSA certificate. docs/tls.md has a result.

    python3 -m venv SOMEWHERE && SOMEWHERE/bin/pip install sslyze
    .venv/bin/python -m bench.tls_scan SOMEWHERE/bin/sslyze

sslyze is no dependency of ours: it brings an old OpenSSL of its own, to speak what nobody should any more.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
HOST: Final = "localhost"
ROOT: Final = Path(__file__).parents[1]
LISTENERS: Final = {"STARTTLS": ("port", ["--starttls", "smtp"]), "implicit TLS": ("tls_port", [])}
VERSIONS: Final = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")
ANSWERS: Final = {  # of scan commands, what is worth telling
    "heartbleed": "is_vulnerable_to_heartbleed",
    "openssl_ccs_injection": "is_vulnerable_to_ccs_injection",
    "robot": "robot_result",
    "tls_compression": "supports_compression",
    "tls_fallback_scsv": "supports_fallback_scsv",
    "tls_extended_master_secret": "supports_ems_extension",
    "tls_1_3_early_data": "supports_early_data",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sslyze", help="its path")
    parser.add_argument("--openssl-conf", default="", help="the gateway's OPENSSL_CONF")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ca_file = make_certificates(folder)
        with gateway(folder, options.openssl_conf) as ports:
            for listener, (key, more) in LISTENERS.items():
                print(json.dumps({listener: scan(options.sslyze, f"{HOST}:{ports[key]}", more, ca_file)}, indent=2))
    return 0


def make_certificates(folder: Path) -> Path:
    """ecdsa.pem, ecdsa.key, rsa.pem, rsa.key, each signed by a CA of its kind -> the file of both CAs."""
    cas = b""
    kinds: dict[str, tuple[Key, Key]] = {
        "ecdsa": (ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())),
        "rsa": (rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)),
    }
    for kind, (ca_key, key) in kinds.items():
        ca = certificate(f"{kind} CA", f"{kind} CA", ca_key, ca_key)
        leaf = certificate(HOST, f"{kind} CA", key, ca_key)
        cas += ca
        (folder / f"{kind}.pem").write_bytes(leaf + ca)
        (folder / f"{kind}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    (folder / "ca.pem").write_bytes(cas)
    return folder / "ca.pem"


def certificate(name: str, issuer: str, key: Key, signer: Key) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    ca = name == issuer
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=89))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(not ca, *[False] * 4, ca, *[False] * 3), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not ca:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@contextmanager
def gateway(folder: Path, openssl_conf: str) -> Iterator[dict[str, int]]:
    """Its "listening" event."""
    environment = {
        "AWS_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GATEWAY_HOST_NAME": HOST,
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_TLS_LISTEN": "127.0.0.1:0",
        "GATEWAY_CERT_FILE": str(folder / "ecdsa.pem"),
        "GATEWAY_KEY_FILE": str(folder / "ecdsa.key"),
        "GATEWAY_CERT_FILE_2": str(folder / "rsa.pem"),
        "GATEWAY_KEY_FILE_2": str(folder / "rsa.key"),
        "GATEWAY_VALIDATE_QUEUE_URL": "http://127.0.0.1:1/1/validate",
        "GATEWAY_VALIDATE_FUNCTION": "validate",
        "GATEWAY_ACCOUNTS_TABLE": "accounts",
        "GATEWAY_USAGE_TABLE": "usage",
        "GATEWAY_CONTENT_BUCKET": "content",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers/relay")]),
        "OPENSSL_CONF": openssl_conf,
    }
    log = folder / "log"
    with log.open("w") as out:  # not a pipe: nobody would read it
        process = subprocess.Popen([sys.executable, "-m", "smtp_gateway"], env=environment, stdout=out)
    try:
        yield listening(log)
    finally:
        process.terminate()
        process.wait()


def listening(log: Path) -> dict[str, int]:
    for _ in range(100):
        for line in log.read_text().splitlines():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "listening":
                return event
        time.sleep(0.1)
    raise RuntimeError("the gateway doesn't listen")


def scan(sslyze: str, target: str, more: list[str], ca_file: Path) -> dict[str, Any]:
    """What it says of one listener, in short."""
    found = ca_file.with_name("found.json")
    verdicts = {}
    for mozilla in ("modern", "intermediate"):
        command = [sslyze, "--resum", "--early_data", f"--certinfo_ca_file={ca_file}", f"--json_out={found}", *more]
        command += [f"--mozilla_config={mozilla}", target]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout  # noqa: S603
        verdicts[mozilla] = (
            said.partition("for more details.")[2].split("\n\n\n")[0].split(f"{target}: ")[-1].split("\n")
        )
    result = {
        name: each["result"]
        for name, each in json.loads(found.read_text())["server_scan_results"][0]["scan_result"].items()
    }
    return {
        "suites": {each: suites(result[f"{each}_cipher_suites"]) for each in VERSIONS},
        "groups": [each["name"] for each in result["elliptic_curves"]["supported_curves"]],
        "certificates": [trusted(each) for each in result["certificate_info"]["certificate_deployments"]],
        **{answer: result[command][answer] for command, answer in ANSWERS.items()},
        "renegotiation": result["session_renegotiation"],
        "resumption": {name: value for name, value in result["session_resumption"].items() if name.endswith("result")},
        "mozilla": {name: [line.strip() for line in lines if line.strip()] for name, lines in verdicts.items()},
    }


def suites(found: dict[str, Any]) -> list[str]:
    return [each["cipher_suite"]["name"] for each in found["accepted_cipher_suites"]]


def trusted(found: dict[str, Any]) -> str:
    key = found["received_certificate_chain"][0]["public_key"]
    valid = any(each["was_validation_successful"] for each in found["path_validation_results"])
    return f"{key['algorithm']} {key['key_size']}, {'valid' if valid else 'not valid'}"


if __name__ == "__main__":
    sys.exit(main())
