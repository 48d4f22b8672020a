"""Our signatures are botocore's."""

import datetime
import hashlib
from typing import Any
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from relay.aws.signing import Credentials, Request, sign

NOW = 1_800_000_000.7
HOST = "example.eu-north-1.amazonaws.com"


def botocore_signs(request: Request, body: bytes, credentials: Credentials) -> dict[str, str]:
    headers = {**dict(request.headers), "host": HOST}
    if request.service != "s3":
        headers["X-Amz-Content-SHA256"] = request.digest
    theirs = AWSRequest(request.method, f"https://{HOST}{request.path}", headers=headers, data=body)
    keys = BotoCredentials(credentials.access_key, credentials.secret_key, credentials.token or None)
    signer: Any = (S3SigV4Auth if request.service == "s3" else SigV4Auth)(keys, request.service, "eu-north-1")
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        signer.add_auth(theirs)
    return {name.lower(): value for name, value in theirs.headers.items()}


@pytest.mark.parametrize("token", ["", "a/token=="], ids=["lasting", "temporary"])
@pytest.mark.parametrize(
    ("service", "method", "path", "headers"),
    [
        ("sqs", "POST", "/", (("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.X"))),
        ("sns", "POST", "/", (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)),
        ("s3", "PUT", "/bucket/a%20b%2Bc/~d//e%C3%A9", ()),
        ("s3", "GET", "/bucket/../x", ()),
        ("lambda", "POST", "/2015-03-31/functions/arn%3Aaws%3Ax/invocations", (("content-type", "application/json"),)),
    ],
    ids=["json", "query", "s3 put", "s3 get", "rest"],
)
def test_as_botocore_signs(
    service: str, method: str, path: str, headers: tuple[tuple[str, str], ...], token: str
) -> None:
    body = b'{"a": "\xc3\xbc"}'
    request = Request(service, method, HOST, path, headers, hashlib.sha256(body).hexdigest())
    credentials = Credentials("AKIA", "sec/ret", token)
    assert dict(sign(request, credentials, "eu-north-1", NOW)) == botocore_signs(request, body, credentials)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1), st.binary(max_size=99))
def test_any_target_and_body(target: str, body: bytes) -> None:
    request = Request("dynamodb", "POST", HOST, "/", (("x-amz-target", target),), hashlib.sha256(body).hexdigest())
    credentials = Credentials("AKIA", "secret")
    assert dict(sign(request, credentials, "eu-north-1", NOW)) == botocore_signs(request, body, credentials)


def test_no_secret_in_the_credentials_representation() -> None:
    shown = repr(Credentials("AKIA", "se/cret", "to/ken"))
    assert "se/cret" not in shown
    assert "to/ken" not in shown
