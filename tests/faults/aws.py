"""A proxy between the relay's processes and the local cloud: it knows who calls and what, does what the rules say to
a call, and notes what the cloud took. Lambda's own polling goes through it untouched.

Beside the rules, for all of a run: `copies` of each queue message come again, shuffled; `visibility` seconds instead
of the mapping's; `poison` names deliveries whose worker dies at their claim, each time.
"""

import hashlib
import http.client
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.faults.journal import Journal
from tests.faults.peers import NOBODY, Peer, Peers, kill
from tests.faults.rules import Act, Rules

RESOURCES = (
    *("Validate", "Deliver", "Record"),
    *("Ledger", "Messages", "Accounts", "Suppressions", "Receipts", "Notices", "Policies"),
)
STEPS = {"#claimed_until = :until": "claim", "#outcomes.#r": "settle", ":nobody": "advance"}
THROTTLES = {
    "sqs": (400, "RequestThrottled"),
    "dynamodb": (400, "ProvisionedThroughputExceededException"),
    "s3": (503, "SlowDown"),
}
Answer = tuple[int, list[tuple[str, str]], bytes]
JSON = [("Content-Type", "application/x-amz-json-1.0")]
SHUFFLE = 2.0  # seconds within which the copies of a message come


@dataclass(slots=True)
class Call:
    """name: "role service operation resource step", such as "deliver dynamodb UpdateItem Ledger settle"."""

    peer: Peer
    name: str
    body: dict[str, Any]
    service: str


@dataclass(slots=True)
class Standing:
    """What holds for all calls of a run. after_put: told of each object that was stored."""

    copies: int = 1
    visibility: int | None = None
    poison: set[str] = field(default_factory=set)
    after_put: Callable[[str], None] | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(0))


class AwsProxy:
    """On 127.0.0.1:port, in front of `target` (host, port)."""

    def __init__(self, target: tuple[str, int], rules: Rules, journal: Journal) -> None:
        self.target = target
        self.rules = rules
        self.journal = journal
        self.standing = Standing()
        self._timers: set[threading.Timer] = set()
        self._copied: set[str] = set()
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.peers = Peers(self.url)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def close(self) -> None:
        for timer in list(self._timers):
            timer.cancel()
        self._server.shutdown()
        self._server.server_close()

    @property
    def pending(self) -> int:
        """Copies of messages that are still to come."""
        return sum(timer.is_alive() for timer in list(self._timers))

    def copy(self, body: dict[str, Any]) -> None:
        """Each entry of a batch again, each copy by itself and at its own time."""
        for entry in body["Entries"]:
            name = _message_name(entry["MessageBody"])
            with self._lock:
                if name in self._copied:  # a copy that was put off is no new message, or they would be ever more
                    continue
                self._copied.add(name)
            for number in range(self.standing.copies - 1):
                again = {**body, "Entries": [{**entry, "Id": f"copy{number}"}]}
                timer = threading.Timer(self.standing.chance.uniform(0, SHUFFLE), self._send, (again,))
                timer.daemon = True
                self._timers.add(timer)
                timer.start()

    def _send(self, body: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection(*self.target, timeout=60)
        headers = {
            "X-Amz-Target": "AmazonSQS.SendMessageBatch",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/eu-north-1/sqs/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        connection.request("POST", "/", json.dumps(body), headers)
        connection.getresponse().read()
        connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what this is about."""


class _Handler(BaseHTTPRequestHandler):
    owner: AwsProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _far: http.client.HTTPConnection | None = None
    _peer: Peer | None = None

    def _any(self) -> None:
        owner = self.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._peer is None:  # looked up once a connection: it belongs to one process for good
            self._peer = owner.peers.of(self.client_address, self.request.getsockname()) or NOBODY
        call = _call(self._peer, self.command, self.path, dict(self.headers.items()), body)
        if not self._peer.role:
            if owner.standing.visibility and "VisibilityTimeout" in call.body:
                call.body["VisibilityTimeout"] = owner.standing.visibility
                body = json.dumps(call.body).encode()
            answer = self._forward(body)
            self._note(call, answer, answered=False)  # nobody lives that it could be answered to
            self._answer(*answer)
            return
        if call.name == "deliver dynamodb UpdateItem Ledger claim" and _key(call)[0] in owner.standing.poison:
            owner.journal.note("fault", kind="poison", at=call.name, act="KILL_BEFORE", pid=call.peer.pid)
            kill(call.peer, owner.journal)
            self._cut()
            return
        taken = owner.rules.take(call.name)
        if taken is None:
            self._pass(call, body)
            return
        rule, label = taken
        killed = {"pid": call.peer.pid} if rule.act in (Act.KILL_BEFORE, Act.KILL_AFTER) else {}
        owner.journal.note("fault", at=call.name, act=rule.act.name, **label, **killed)
        self._fault(call, body, rule.act, rule.seconds)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any  # noqa: N815 - http.server's names

    def _fault(self, call: Call, body: bytes, act: Act, seconds: float) -> None:
        match act:
            case Act.REFUSE:
                self._error(call, 500, "InternalFailure")
            case Act.THROTTLE:
                self._error(call, *THROTTLES[call.service])
            case Act.RESET:
                self._cut()
            case Act.KILL_BEFORE:
                kill(call.peer, self.owner.journal)
                self._cut()
            case Act.SLOW:
                threading.Event().wait(seconds)
                self._pass(call, body)
            case Act.LOSE | Act.FAIL_AFTER | Act.KILL_AFTER:
                self._note(call, self._forward(body), answered=False)
                if act is Act.KILL_AFTER:
                    kill(call.peer, self.owner.journal)
                if act is Act.FAIL_AFTER:
                    self._error(call, 500, "InternalFailure")
                else:
                    self._cut()
            case Act.FAIL_ENTRY:
                self._fail_entry(call, body)
            case Act.DROP:
                taken = [
                    {"Id": each["Id"], "MessageId": each["Id"], "MD5OfMessageBody": ""} for each in call.body["Entries"]
                ]
                self._answer(200, JSON, json.dumps({"Successful": taken}).encode())

    def _pass(self, call: Call, body: bytes) -> None:
        answer = self._forward(body)
        self._note(call, answer, answered=True)
        self._answer(*answer)

    def _fail_entry(self, call: Call, body: bytes) -> None:
        entries = call.body.get("Entries", [])
        if not entries:
            self._answer(*self._forward(body))
            return
        refused = entries[0]
        failed = {"Id": refused["Id"], "SenderFault": False, "Code": "InternalError", "Message": "injected"}
        result: dict[str, Any] = {"Successful": []}
        if rest := entries[1:]:
            call.body["Entries"] = rest
            status, headers, answer = self._forward(json.dumps(call.body).encode())
            self._note(call, (status, headers, answer), answered=True)
            result = json.loads(answer)
        result.setdefault("Failed", []).append(failed)
        self._answer(200, JSON, json.dumps(result).encode())

    def _note(self, call: Call, answer: Answer, *, answered: bool) -> None:
        """What the cloud took."""
        owner = self.owner
        if answer[0] >= 300:
            return
        if "SendMessageBatch" in call.name:
            failed = {each["Id"] for each in json.loads(answer[2]).get("Failed") or []}
            if call.name in ("gateway sqs SendMessageBatch Validate", "sqs SendMessageBatch Validate"):
                for entry in call.body["Entries"]:
                    if entry["Id"] not in failed:
                        facts = {name: json.loads(entry["MessageBody"])[name] for name in ("id", "rcpt_to")}
                        owner.journal.note("stored", **facts, pid=call.peer.pid, answered=answered)
            if owner.standing.copies > 1:
                owner.copy(call.body)
        elif call.name.endswith("Ledger settle"):
            id, part = _key(call)
            owner.journal.note("settled", id=id, part=part)
        elif " s3 PUT" in call.name and owner.standing.after_put:
            owner.standing.after_put(self.path)

    # --- HTTP ---

    def _forward(self, body: bytes) -> Answer:
        skip = {"content-length", "connection", "expect", "transfer-encoding"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in skip}
        headers["Content-Length"] = str(len(body))
        for fresh in (False, True):
            if self._far is None:
                self._far = http.client.HTTPConnection(*self.owner.target, timeout=60)
            try:
                self._far.request(self.command, self.path, body, headers)
                response = self._far.getresponse()
                data = response.read()
                break
            except (http.client.RemoteDisconnected, ConnectionError, http.client.CannotSendRequest):
                self._far.close()
                self._far = None
                if fresh:
                    raise
        hop = {"connection", "transfer-encoding", "content-length"}
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in hop]
        return response.status, kept, data

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, call: Call, status: int, code: str) -> None:
        if call.service == "s3":
            body = f"<Error><Code>{code}</Code></Error>".encode()
        else:
            body = json.dumps({"__type": code, "message": "injected"}).encode()
        self._answer(status, JSON, body)

    def _cut(self) -> None:
        self.close_connection = True

    def finish(self) -> None:
        if self._far is not None:
            self._far.close()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _call(peer: Peer, method: str, path: str, headers: dict[str, str], body: bytes) -> Call:
    target = next((value for name, value in headers.items() if name.lower() == "x-amz-target"), "")
    if not target:
        return Call(peer, f"{peer.role} s3 {method} object", {}, "s3")
    service = "sqs" if target.startswith("AmazonSQS") else "dynamodb"
    fields = json.loads(body or b"{}")
    where = str(fields.get("QueueUrl") or fields.get("TableName") or next(iter(fields.get("RequestItems", {})), ""))
    resource = next((each for each in RESOURCES if f"-{each}" in where or f"/{each}" in where), where)
    update = f"{fields.get('UpdateExpression', '')}"
    step = next((name for text, name in STEPS.items() if text in update), "")
    name = f"{peer.role} {service} {target.rpartition('.')[2]} {resource} {step}".strip()
    return Call(peer, name, fields, service)


def _key(call: Call) -> tuple[str, str]:
    return call.body["Key"]["id"]["S"], call.body["Key"]["part"]["S"]


def _message_name(body: str) -> str:
    """The same for all that is the same work: a message that waits again isn't another one."""
    try:
        fields = json.loads(body)
        outcomes = fields.get("outcomes", [])
        mine = [
            fields["kind"],
            fields["id"],
            fields.get("domain"),
            fields.get("chunk"),
            fields.get("attempt"),
            outcomes,
        ]
    except (ValueError, KeyError, TypeError):
        mine = [body]
    return hashlib.sha256(json.dumps(mine).encode()).hexdigest()
