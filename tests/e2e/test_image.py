"""The gateway's image without Docker: the Dockerfile's steps followed in a folder, then its two commands as the task
runs them, under `python -I` with nothing but the image to import from."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests import image
from tests.gateway import make_certificate
from tests.image import Folder
from tests.unit.aws.contract import REGION, boto, make_table, unique


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("image"))
    try:
        folder.build()
    except subprocess.CalledProcessError as error:
        if "No matching distribution" in error.stderr or "Connection" in error.stderr:
            pytest.skip("no package index can be reached")
        raise
    return folder


@pytest.fixture(scope="module")
def aws(moto_endpoint: str) -> dict[str, str]:
    return {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": moto_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


@pytest.fixture(scope="module")
def pair(built: Folder, aws: dict[str, str], moto_endpoint: str) -> Path:
    """Where fetch-certificates has put what the secret has, run as the task's first container."""
    path = built.path("/run/tls/pair.pem")
    path.parent.mkdir(parents=True, mode=0o700)
    folder = built.root / "made"
    folder.mkdir()
    cert_file, key_file = make_certificate(folder, ec.generate_private_key(ec.SECP256R1()))
    secret = json.dumps({"certificate": cert_file.read_text(), "private_key": key_file.read_text()})
    name = unique("tls")
    boto("secretsmanager", moto_endpoint).create_secret(Name=name, SecretString=secret)
    environment = {
        "GATEWAY_CERT_SECRET": name,
        "GATEWAY_CERT_FILE": str(path),
        "GATEWAY_CERT_SECRET_2": "nothing",  # so that there is a line to wait for
        "GATEWAY_CERT_FILE_2": str(path.with_name("pair-2.pem")),
    }
    with built.run([*image.command(), "fetch-certificates"], {**aws, **environment}) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["file"].endswith("pair-2.pem")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    return path


def listing(folder: Folder) -> set[tuple[str, float]]:
    return {(str(each), each.stat().st_mtime) for each in folder.path("/opt/gateway").rglob("*")}


def test_the_image_s_commands_fetch_the_certificate_serve_and_are_healthy(
    built: Folder, pair: Path, aws: dict[str, str], moto_endpoint: str
) -> None:
    before = listing(built)
    environment = {
        **aws,
        "GATEWAY_HOST_NAME": "gw.example",
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_TLS_LISTEN": "127.0.0.1:0",
        "GATEWAY_HEALTH_LISTEN": "127.0.0.1:0",
        "GATEWAY_CERT_FILE": str(pair),
        "GATEWAY_KEY_FILE": str(pair),
        "GATEWAY_VALIDATE_QUEUE_URL": boto("sqs", moto_endpoint).create_queue(QueueName=unique("q"))["QueueUrl"],
        "GATEWAY_VALIDATE_FUNCTION": "validate",
        "GATEWAY_ACCOUNTS_TABLE": make_table(moto_endpoint, "user"),
        "GATEWAY_USAGE_TABLE": make_table(moto_endpoint, "account", "day"),
        "GATEWAY_CONTENT_BUCKET": "content",
        "GATEWAY_WORKERS": "2",
    }
    with built.run(image.command(), environment) as gateway:
        assert gateway.stdout
        events = {}
        while "listening" not in events:
            line = gateway.stdout.readline()
            assert line, gateway.stderr.read() if gateway.stderr else ""
            events[json.loads(line)["event"]] = json.loads(line)
        port = events["listening"]["health_port"]
        check = built.run(image.health_check(), {"GATEWAY_HEALTH_LISTEN": f"0.0.0.0:{port}"})
        _, said = check.communicate(timeout=20)
        assert check.returncode == 0, said
        gateway.send_signal(signal.SIGTERM)
        gateway.communicate(timeout=30)
    assert gateway.returncode == 0
    assert events["certificate_loaded"]["kind"] == "ECDSA"
    assert listing(built) == before, "it has written into its image"
    refused = built.run(image.health_check(), {"GATEWAY_HEALTH_LISTEN": f"0.0.0.0:{port}"})
    refused.communicate(timeout=20)
    assert refused.returncode == 1
