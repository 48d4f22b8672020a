"""What a load balancer is told: the workers' reports into a verdict, a request into an answer. No I/O."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import h11

from smtp_gateway.proxy import ProxyError, parse

PATH: Final = "/health"
LONGEST: Final = 8192  # octets of a request, with a PROXY header before it
SILENT: Final = 10.0  # seconds without a report after which a worker may be stuck; connections may wait for it
DEATHS: Final = 3

DRAINING: Final = "shutting down"
NOBODY: Final = "no worker takes connections"
STUCK: Final = "a worker does not report"
DYING: Final = "a worker ends soon after each start"
QUEUE: Final = "the queue does not acknowledge messages"
ACCOUNTS: Final = "the accounts cannot be read"
CERTIFICATE: Final = "a certificate has expired"


@dataclass(frozen=True, slots=True)
class Report:
    """A worker's, once a second. reasons: why it can't take mail, of those above. cut_off: in its last one, the
    connections that were still in a transaction at the deadline."""

    connections: int = 0
    reasons: tuple[str, ...] = ()
    cut_off: int = 0

    def encode(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "Report":
        fields = json.loads(line)
        return cls(fields["connections"], tuple(fields["reasons"]), fields["cut_off"])


@dataclass(frozen=True, slots=True)
class Heard:
    """The last report of a worker, and how old it is, in seconds. None: it is starting, or has died. deaths: how many
    times in a row it has ended soon after its start."""

    report: Report | None
    age: float
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """reasons: why no mail should be sent here; none if all is well."""

    reasons: tuple[str, ...]
    workers: int
    connections: int

    def encode(self) -> bytes:
        status = "unavailable" if self.reasons else "ok"
        return json.dumps({"status": status, **asdict(self)}).encode() + b"\n"


def judge(heard: Sequence[Heard], *, draining: bool) -> Health:
    """heard: of each worker. One that has died is being replaced, and its connections wait meanwhile: that is no reason
    as long as another takes some, unless it dies again and again. What one of them finds wrong with what all depend on
    is."""
    reports = [each.report for each in heard if each.report]
    reasons = [DRAINING] if draining else []
    if not reports and not draining:
        reasons.append(NOBODY)
    if any(each.age >= SILENT for each in heard):
        reasons.append(STUCK)
    if any(each.deaths >= DEATHS for each in heard):
        reasons.append(DYING)
    reasons += [reason for report in reports for reason in report.reasons]
    return Health(tuple(dict.fromkeys(reasons)), len(reports), sum(each.connections for each in reports))


def answer(request: bytes, health: Health, *, balancer: bool) -> bytes | None:
    """The answer to all that has come on a connection so far, which then ends; None if more is needed. balancer: it
    may begin with a PROXY header (AWS's sends one with its checks, too), which says nothing that matters here."""
    if balancer:
        try:
            header = parse(request)
        except ProxyError:
            header = None
        else:
            if header is None:
                return None
        request = request[header.size :] if header else request
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST)
    try:
        http.receive_data(request)
        event = http.next_event()
    except h11.RemoteProtocolError:
        return _response(http, 400)
    if not isinstance(event, h11.Request):
        return None
    if event.target.partition(b"?")[0] != PATH.encode():
        return _response(http, 404)
    if event.method not in {b"GET", b"HEAD"}:
        return _response(http, 405, allow="GET, HEAD")
    return _response(http, 503 if health.reasons else 200, health.encode(), head=event.method == b"HEAD")


def _response(http: h11.Connection, status: int, body: bytes = b"", *, head: bool = False, **fields: str) -> bytes:
    headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("cache-control", "no-store")]
    headers += [("connection", "close"), *fields.items()]
    data = h11.Data(data=b"" if head else body)  # RFC 9110 §9.3.2: the length all the same
    events = h11.Response(status_code=status, headers=headers), data, h11.EndOfMessage()
    return b"".join(part for event in events if (part := http.send(event)))
