"""Certificates from secrets into files, and from there into the gateway's handshakes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from relay.errors import OutageError
from relay.settings import SettingsError
from smtp_gateway.certificates import Certificates
from smtp_gateway.fetched import CertificateFile
from smtp_gateway.log import Log
from smtp_gateway.settings import KeyPair, certificate_secrets
from tests.fakes import FakeClock
from tests.gateway import make_certificate
from tests.unit.aws.contract import REGION, boto, unique

ROOT = Path(__file__).parents[3]


def secret_of(folder: Path, days: float = 30.0) -> str:
    folder.mkdir()
    cert_file, key_file = make_certificate(folder, ec.generate_private_key(ec.SECP256R1()), days)
    return json.dumps({"certificate": cert_file.read_text(), "private_key": key_file.read_text()})


class Secret:
    """What Secrets Manager says, which the test changes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.away = False

    async def __call__(self) -> str:
        if self.away:
            raise OutageError("away", "detail")
        return self.text


def fetched(ask: Callable[[], Awaitable[str]], path: Path) -> list[dict[str, Any]]:
    """What is logged by one fetch."""
    lines: list[str] = []
    asyncio.run(CertificateFile(ask, path, Log(FakeClock(), lines.append)).fetch())
    return [json.loads(each) for each in lines]


def test_a_renewal_reaches_new_handshakes(tmp_path: Path) -> None:
    secret, path = Secret(secret_of(tmp_path / "old", days=20)), tmp_path / "pair.pem"
    assert fetched(secret, path) == []
    certificates = Certificates([KeyPair(str(path), str(path), "C", "K")], FakeClock(), Log(FakeClock(), lambda _: 0))
    context, expires = certificates.context, certificates.expires
    certificates.check()
    assert certificates.context is context
    secret.text = secret_of(tmp_path / "new", days=80)
    assert fetched(secret, path) == []
    certificates.check()
    assert certificates.context is not context
    assert certificates.expires > expires


def test_the_file_is_its_owner_s_only_and_written_when_the_secret_has_changed(tmp_path: Path) -> None:
    secret, path = Secret(secret_of(tmp_path / "old")), tmp_path / "pair.pem"
    fetched(secret, path)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    fetched(secret, path)
    assert path.stat().st_ino == before
    assert not list(tmp_path.glob("*.partial"))


def test_what_cannot_be_used_leaves_the_file_and_is_logged_without_its_content(tmp_path: Path) -> None:
    good = secret_of(tmp_path / "one")
    other = json.loads(secret_of(tmp_path / "two"))["private_key"]
    secret, path = Secret(good), tmp_path / "pair.pem"
    fetched(secret, path)
    before = path.read_text()
    for text in ("pässword", "[]", '{"certificate": "x"}', '{"certificate": 1, "private_key": "x"}',
                 json.dumps(json.loads(good) | {"private_key": other}),
                 json.dumps(json.loads(good) | {"private_key": ""}),
                 json.dumps(json.loads(good) | {"certificate": "é"})):  # fmt: skip
        secret.text = text
        (line,) = fetched(secret, path)
        assert line["event"] == "certificate_not_fetched"
        assert text not in json.dumps(line)
        assert "BEGIN" not in json.dumps(line)
        assert path.read_text() == before
    secret.away = True
    (line,) = fetched(secret, path)
    assert (line["error"], line["detail"]) == ("away", "detail")
    assert path.read_text() == before


def test_which_secret_goes_into_which_file() -> None:
    one = {"GATEWAY_CERT_SECRET": "a", "GATEWAY_CERT_FILE": "/tls/1"}
    two = {"GATEWAY_CERT_SECRET_2": "b", "GATEWAY_CERT_FILE_2": "/tls/2"}
    assert certificate_secrets(one) == {"a": Path("/tls/1")}
    assert certificate_secrets(one | two) == {"a": Path("/tls/1"), "b": Path("/tls/2")}
    assert certificate_secrets(one | {"GATEWAY_CERT_SECRET_2": ""}) == {"a": Path("/tls/1")}
    with pytest.raises(SettingsError, match="GATEWAY_CERT_SECRET is not set"):
        certificate_secrets({})
    with pytest.raises(SettingsError, match="GATEWAY_CERT_FILE is not set"):
        certificate_secrets({"GATEWAY_CERT_SECRET": "a"})


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GATEWAY_"))}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "layers/relay")])
    return subprocess.Popen(
        [sys.executable, "-m", "smtp_gateway", *arguments],
        env={**kept, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_process_fetches_at_once_and_ends_on_sigterm(moto_endpoint: str, tmp_path: Path) -> None:
    name, path = unique("secret"), tmp_path / "pair.pem"
    boto("secretsmanager", moto_endpoint).create_secret(Name=name, SecretString=secret_of(tmp_path / "one"))
    environment = {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": moto_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "GATEWAY_CERT_SECRET": name,
        "GATEWAY_CERT_FILE": str(path),
        "GATEWAY_CERT_SECRET_2": "nothing",
        "GATEWAY_CERT_FILE_2": str(tmp_path / "second.pem"),
    }
    with start("fetch-certificates", **environment) as process:
        assert process.stdout
        line = json.loads(process.stdout.readline())  # the first has been fetched by then
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (line["event"], line["file"]) == ("certificate_not_fetched", str(tmp_path / "second.pem"))
    assert "PRIVATE KEY" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["fetch-certificates"], "GATEWAY_CERT_SECRET is not set"), (["fetch", "it"], "'fetch it' is not")],
    ids=["no secret", "no such command"],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    with start(*arguments, AWS_REGION=REGION) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert words in said
    assert said.count("\n") == 1
