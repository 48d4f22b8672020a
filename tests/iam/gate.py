"""A proxy in front of the local cloud that lets through what the caller's role allows, by the access key that it signs
with, and answers the rest as AWS does. Who has no role here, such as Lambda's own poller, passes."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.iam.calls import asks, who
from tests.iam.policy import Ask, allows

Roles = Mapping[str, list[dict[str, Any]]]
"""Statements by access key."""


class Gate:
    """target: host, port. allowed, denied: (access key, action, resource) of what roles were asked about, counted.
    roles: set once the stack is there; before, everybody passes."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.roles: Roles = {}
        self.allowed: Counter[tuple[str, str, str]] = Counter()
        self.denied: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        gate = self

        class Handler(_Handler):
            owner = gate

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def lets_through(self, key: str, asked: list[Ask]) -> bool:
        if key not in self.roles:
            return True
        return all([self._decide(key, each) for each in asked])  # noqa: C419 - each is noted

    def _decide(self, key: str, ask: Ask) -> bool:
        allowed = allows(self.roles[key], ask)
        with self._lock:
            (self.allowed if allowed else self.denied)[key, ask.action, ask.resource] += 1
        return allowed


class _Handler(BaseHTTPRequestHandler):
    owner: Gate
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _pass(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        key, service = who(headers)
        if key in self.owner.roles and not self.owner.lets_through(
            key, asks(service, self.command, self.path, headers, body)
        ):
            self._refuse(service)
            return
        upstream = http.client.HTTPConnection(*self.owner.target, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            said = answer.read()
            self._answer(answer.status, answer.getheaders(), said)
        finally:
            upstream.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815 - as http.server names them

    def _refuse(self, service: str) -> None:
        if service in ("s3", "sns", "monitoring", "sts"):
            self._answer(403, [], b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
        else:
            denied = {"__type": "AccessDeniedException", "message": "no identity-based policy allows it"}
            self._answer(400, [("Content-Type", "application/x-amz-json-1.0")], json.dumps(denied).encode())

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
