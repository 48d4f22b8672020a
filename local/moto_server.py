"""moto's server in a process of its own: `python -m local.moto_server [--port N] [--lambda-url URL]`.

moto as it is loses work under load, so a few places are replaced at start-up (never on import),
each for a reason said where it is done: `patch_queues`, `patch_functions`, `Serialised`, `Handler`.
Everything else is moto's own. It keeps nothing on disk: what it holds is gone when it stops.
When ready it prints {"event": "listening", "port": N} on stdout.
"""

import argparse
import functools
import http.client
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any, Final

INVOKE_PATH: Final = "/2015-03-31/functions/"
LONGEST_INVOKE: Final = 900.0  # seconds; Lambda's own limit
RECHECK_SECONDS: Final = 0.25  # how late a delayed message may be noticed by a waiting receive

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class Serialised:
    """One call at a time, but for those that wait.

    moto's backends check and then act without locks, behind a threaded server: two conditional
    writes may both succeed, and `Queue.delete_message` loses what is sent while it builds its new
    list. The interpreter runs one thread at a time anyway, so a lock costs no speed. Outside of it
    are a receive, which waits (and takes the lock for its scans, see `patch_queues`), and an
    invocation, whose function makes calls itself.
    """

    def __init__(self, application: Application, lock: threading.RLock) -> None:
        self._application = application
        self._lock = lock

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        # Read the body first: the lock never waits for a slow client, and a kept-alive connection
        # has nothing left of it when the next request comes.
        body = _body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        if _waits(environ):
            return self._application(environ, start_response)
        with self._lock:
            return self._application(environ, start_response)


def _body(environ: Environ) -> bytes:
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):  # chunked: werkzeug takes the chunks apart
        return bytes(stream.read())
    return bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))


def _waits(environ: Environ) -> bool:
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    return bool(target == "AmazonSQS.ReceiveMessage" or environ.get("PATH_INFO", "").startswith(INVOKE_PATH))


def patch_queues(lock: threading.RLock) -> None:
    """Make SQS carry a load: at a depth of 1,000, moto needs 190 ms for a batch and 560 ms for a receive."""
    from moto.sqs import models
    from moto.sqs.exceptions import ReceiptHandleIsInvalid

    _patch_sending(models.SQSBackend, models.Queue)
    _patch_receiving(models.SQSBackend, lock)

    # moto goes twice through all messages and their handles, for each handle. One handle has one
    # message, and that is near the front.
    def delete_message(self: Any, receipt_handle: str) -> None:
        if receipt_handle in self.deleted_messages:
            return
        for position, message in enumerate(self._messages):
            if message.had_receipt_handle(receipt_handle):
                self.pending_messages.discard(message)
                self.deleted_messages.update(message.all_receipt_handles)
                del self._messages[position]
                return
        raise ReceiptHandleIsInvalid

    models.Queue.delete_message = delete_message  # type: ignore[method-assign]


def _patch_sending(backend: Any, queue: Any) -> None:
    """`send_message` reads queue.attributes["ContentBasedDeduplication"], and so counts every message three
    times, for each message sent. Only a FIFO queue has that attribute."""
    send, all_attributes = backend.send_message, queue.attributes
    sending = threading.local()

    @functools.wraps(send)
    def send_message(self: Any, *arguments: Any, **named: Any) -> Any:
        sending.active = True
        try:
            return send(self, *arguments, **named)
        finally:
            sending.active = False

    def attributes(self: Any) -> dict[str, Any]:
        if getattr(sending, "active", False) and not self.fifo_queue:
            return {}
        return dict(all_attributes.fget(self))

    backend.send_message = send_message
    queue.attributes = property(attributes)


def _patch_receiving(backend: Any, lock: threading.RLock) -> None:
    """The scan under the lock, the wait without it (see Serialised). And the retention period from its
    field: moto reads all attributes for it, for each message received, and so counts every message."""
    receive = backend.receive_message

    def within_retention(self: Any, queue_name: str, message: Any) -> bool:
        retention = self.get_queue(queue_name).message_retention_period
        return bool(message.sent_timestamp / 1000 + retention > time.time())

    @functools.wraps(receive)
    def receive_message(
        self: Any,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> list[Any]:
        deadline = time.monotonic() + wait_seconds_timeout
        while True:
            with lock:
                found = receive(self, queue_name, count, 0, visibility_timeout, message_attribute_names)
                queue = self.get_queue(queue_name)
            remaining = deadline - time.monotonic()
            if found or remaining <= 0:
                return list(found)
            queue.wait_for_messages(min(remaining, RECHECK_SECONDS))

    backend.is_message_valid_based_on_retention_period = within_retention
    backend.receive_message = receive_message


def patch_functions(lock: threading.RLock, url: str) -> None:
    """Invoke, SNS and S3 reach a function through one method, which wants Docker: forward it to `url`, the
    local Lambda service (local.lambdas)."""
    from moto.awslambda.models import LambdaFunction

    def invoke(self: Any, event: Any = None) -> tuple[str, bool, str]:
        payload = event if isinstance(event, str) else json.dumps(event if event is not None else {})
        if lock._is_owned():  # type: ignore[attr-defined]
            # From inside another call (SNS, S3): asynchronous in AWS, and here the function's own calls
            # need the lock that we hold.
            threading.Thread(target=_forward, args=(url, self.function_name, payload), daemon=True).start()
            return "", False, ""
        body, failed = _forward(url, self.function_name, payload)
        return body, failed, ""

    LambdaFunction._invoke_lambda = invoke  # type: ignore[method-assign]
    # /moto-api/data.json (where SMS can be read) reads every property, and this one wants Docker.
    LambdaFunction.docker_client = None  # type: ignore[assignment, method-assign]


def _forward(url: str, function: str, payload: str) -> tuple[str, bool]:
    """The function's answer, and whether it is an error."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=LONGEST_INVOKE)
    try:
        path = f"{INVOKE_PATH}{urllib.parse.quote(function)}/invocations"
        connection.request("POST", path, payload.encode(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read().decode()
        return body, response.status != 200 or response.getheader("X-Amz-Function-Error") is not None
    except OSError as error:
        message = f"local Lambda service at {url}: {error}"
        return json.dumps({"errorMessage": message, "errorType": "ServiceException"}), True
    finally:
        connection.close()


def handler_class() -> type:
    """moto's request handler with connections kept alive.

    werkzeug's closes every connection, after waiting 10 ms for more of the request, and writes an answer in
    pieces, which Nagle's algorithm holds back. Serialised has read the whole body, so what follows on the
    connection is the next request.
    """
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def run_wsgi(self) -> None:
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.environ = environ = self.make_environ()
            started: list[tuple[str, list[tuple[str, str]]]] = []

            def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
                started[:] = [(status, headers)]

            try:
                body = _run(self.server.app, environ, start_response)
            except Exception:  # noqa: BLE001 - a bug of moto's is an answer, too
                traceback.print_exc()
                started[:] = [("500 Internal Server Error", [])]
                body = b""
            self._answer(*started[0], body, head=environ["REQUEST_METHOD"] == "HEAD")

        def _answer(self, status: str, headers: list[tuple[str, str]], body: bytes, *, head: bool) -> None:
            code, _, reason = status.partition(" ")
            self.send_response(int(code), reason)
            for name, value in headers:
                if head or name.lower() != "content-length":
                    self.send_header(name, value)
            if not head and code not in ("204", "304"):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not head:
                self.wfile.write(body)
            self.wfile.flush()

        def handle_expect_100(self) -> bool:
            return True  # run_wsgi says it

        def log_request(self, *_: Any) -> None:
            """A line for each request would be most of the log."""

    return Handler


def _run(application: Any, environ: Environ, start_response: Any) -> bytes:
    chunks = application(environ, start_response)
    try:
        return b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="local.moto_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lambda-url", default="")
    options = parser.parse_args(arguments)

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    lock = threading.RLock()
    patch_queues(lock)
    if options.lambda_url:
        patch_functions(lock, options.lambda_url)
    application = Serialised(DomainDispatcherApplication(create_backend_app), lock)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing to save
    server = make_server("127.0.0.1", options.port, application, threaded=True, request_handler=handler_class())
    print(json.dumps({"event": "listening", "port": server.server_port}), flush=True)  # noqa: T201 - the protocol
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
