"""An asynchronous AWS client for the few calls on hot paths; nothing in it blocks the event loop.

Retries: throttling, 5xx, time-outs and lost connections, with full jitter (AWS architecture blog,
"Exponential backoff and jitter"). A retry is the same request again, and the first may have taken
effect: callers use only calls that bear it.
"""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import orjson

from relay.aws.credentials import Chain, CredentialSource, Given
from relay.aws.http import Message, NotConnectedError, Origin, Pool
from relay.aws.response import Response
from relay.aws.signing import Credentials, Request, sign
from relay.errors import FaultError, OutageError
from relay.json_text import dump_bytes
from relay.settings import SettingsError

AWAY: Final = "a service that the relay needs is not available"
THROTTLES: Final = frozenset(
    {
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
ENDPOINT: Final = "AWS_ENDPOINT_URL"  # of all services; with _<SERVICE>, of one
SERVICE_IDS: Final = {"monitoring": "CLOUDWATCH", "ses": "SESV2"}  # that aren't the name in signatures
HOSTS: Final = {"ses": "email"}  # so are the names of hosts
VERSIONS: Final = {"monitoring": "2010-08-01", "sns": "2010-03-31", "sts": "2011-06-15"}  # of the query protocol
LARGE: Final = 262_144  # octets that take longer to hash than a hop to a thread
XML_CODE: Final = re.compile(rb"<Code>([^<]{1,200})</Code>")


class AwsError(FaultError):
    """AWS refused the call: a missing queue, a denied access or a malformed request is our fault, not the
    sender's, for whoever doesn't know better.

    code: AWS's name for it, such as "ConditionalCheckFailedException". fields: the answer's, if JSON.
    """

    def __init__(self, call: str, status: int, code: str, fields: Mapping[str, Any]) -> None:
        super().__init__(AWAY, f"{call}: {status} {code}")
        self.code = code
        self.fields = fields


class UncertainError(OutageError):
    """No answer, or none that says what was done: the call may have taken effect."""


class AwsClient:
    """region: such as "eu-north-1". endpoint_url: takes all calls instead of AWS (the local system).
    endpoint_urls: take those of one service, by its id such as "LAMBDA". credentials: instead of botocore's chain.
    tries, timeout: of each call, seconds a try. backoff: seconds, the longest wait before the second try; it doubles
    for each further one.
    """

    def __init__(
        self,
        region: str,
        endpoint_url: str | None = None,
        *,
        endpoint_urls: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        tries: int = 3,
        timeout: float = 10.0,
        backoff: float = 0.2,
    ) -> None:
        self._region = region
        self._endpoint = _origin(ENDPOINT, endpoint_url) if endpoint_url else None
        self._endpoints = {id: _origin(f"{ENDPOINT}_{id}", url) for id, url in (endpoint_urls or {}).items()}
        self._credentials: CredentialSource = Given(credentials) if credentials else Chain()
        self._tries = tries
        self._timeout = timeout
        self._backoff = backoff
        self._pool = Pool()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AwsClient":
        """By the usual AWS_ variables. Keys in it (every function has them) spare the import of botocore.

        SettingsError for a missing region or a bad endpoint. AWS_ENDPOINT_URL_<SERVICE> goes before AWS_ENDPOINT_URL
        (AWS SDKs and Tools Reference Guide, "Service-specific endpoints").
        """
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        if not region:
            raise SettingsError("AWS_REGION is not set")
        key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
        given = Credentials(key, secret, environment.get("AWS_SESSION_TOKEN", "")) if key and secret else None
        start = f"{ENDPOINT}_"
        services = {
            name.removeprefix(start): url for name, url in environment.items() if url and name.startswith(start)
        }
        return cls(region, environment.get(ENDPOINT) or None, endpoint_urls=services, credentials=given)

    async def json(
        self, service: str, target: str, payload: Mapping[str, Any] | bytes, *, version: str = "1.0"
    ) -> dict[str, Any]:
        """A call of the AWS JSON protocol. target: such as "AmazonSQS.SendMessageBatch". payload: bytes are JSON.
        version: of the protocol.

        OutageError when all tries failed; AwsError when AWS refused it.
        """
        headers = (("content-type", f"application/x-amz-json-{version}"), ("x-amz-target", target))
        body = payload if isinstance(payload, bytes) else dump_bytes(payload)
        response = await self.call(target, await self.request(service, "POST", "/", headers, body), body)
        answer = _fields(response.body)
        if answer is None:
            raise OutageError(AWAY, f"{target}: an answer that is no JSON")
        return answer

    async def query(
        self, service: str, action: str, parameters: Mapping[str, str], *, tries: int | None = None
    ) -> bytes:
        """A call of the query protocol; returns the answer's XML. tries: as of `call`."""
        body = urlencode({"Action": action, "Version": VERSIONS[service], **parameters}).encode()
        headers = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)
        request = await self.request(service, "POST", "/", headers, body)
        return (await self.call(action, request, body, tries=tries)).body

    async def s3(
        self, method: str, bucket: str, key: str, body: bytes = b"", *, headers: tuple[tuple[str, str], ...] = ()
    ) -> bytes:
        """A call on one object, addressed by path; returns the answer's body. headers: names in lower case."""
        path = f"/{bucket}/{quote(key, safe='/~')}"
        return (await self.call(f"{method} object", await self.request("s3", method, path, headers, body), body)).body

    async def call(
        self,
        name: str,
        request: Request,
        body: bytes,
        *,
        tries: int | None = None,
        seconds: float | None = None,
        once: bool = False,
    ) -> Response:
        """Any call. name: for errors. tries, seconds: instead of the client's. Errors as of `json`; the OutageError
        is an UncertainError if the last try may have taken effect. once: in one try, the request goes out once at most.
        """
        # Large content needs time on the wire: a second more for each MB.
        limit = (seconds or self._timeout) + len(body) / 1e6
        error = OutageError(AWAY, name)
        for attempt in range(1 if once else tries or self._tries):
            if attempt:
                await asyncio.sleep(random.random() * self._backoff * 2 ** (attempt - 1))  # noqa: S311 - jitter
            outcome = await self._try(f"{request.service} {name}", request, body, limit, once=once)
            if isinstance(outcome, Response):
                return outcome
            error = outcome
        raise error

    async def request(
        self, service: str, method: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> Request:
        """For `call`. path: percent-encoded, without a query. headers: names in lower case."""
        host = self.origin(service).authority
        return Request(service, method, host, path, headers, await _digest(body))

    async def close(self) -> None:
        await self._pool.close()

    def origin(self, service: str) -> Origin:
        """Where the calls of `service` (its name in signatures) go."""
        given = self._endpoints.get(SERVICE_IDS.get(service, service.upper())) or self._endpoint
        return given or Origin(True, f"{HOSTS.get(service, service)}.{self._region}.amazonaws.com", 443)

    async def _try(
        self, name: str, request: Request, body: bytes, seconds: float, *, once: bool
    ) -> Response | OutageError:
        """The answer, or the error if another try may help; raises any other."""
        headers = sign(request, await self._credentials.get(), self._region, time.time())
        headers.append(("content-length", str(len(body))))
        message = Message(request.method, request.path, headers, body)
        origin = self.origin(request.service)
        try:
            response = await self._pool.request(origin, message, seconds=seconds, once=once)
        except NotConnectedError as failure:
            return OutageError(AWAY, f"{name}: {failure}")
        except OSError as failure:  # TimeoutError and ssl.SSLError are, too
            if isinstance(failure, TimeoutError):
                self._pool.forget(origin)
            return UncertainError(AWAY, f"{name}: {type(failure).__name__}")
        if response.status < 300:
            return response
        error = _error(name, response)
        if response.status == 429 or error.code in THROTTLES:
            return OutageError(error.safe, error.detail)
        if response.status >= 500:
            return UncertainError(error.safe, error.detail)
        raise error


def _origin(variable: str, url: str) -> Origin:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{variable}={url!r} is not http://host:port or https://host:port")
    tls = parts.scheme == "https"
    return Origin(tls, parts.hostname, parts.port or (443 if tls else 80))


async def _digest(body: bytes) -> str:
    if len(body) < LARGE:
        return hashlib.sha256(body).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()


def _error(name: str, response: Response) -> AwsError:
    fields = _fields(response.body) or {}
    code = str(fields.get("__type") or response.headers.get("x-amzn-errortype") or "")
    if not code and (found := XML_CODE.search(response.body)):
        code = found[1].decode("latin-1")
    # "com.amazonaws.dynamodb.v20120810#ThrottlingException", "ResourceNotFoundException:http://..."
    code = code.rpartition("#")[2].partition(":")[0]
    return AwsError(name, response.status, code or "no code", fields)


def _fields(body: bytes) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
