"""Calls to AWS, counted on their way: a proxy in front of an endpoint, and what DynamoDB's writes would be billed.

`Books` are pure: a call's target, request and answer go in. `counting` is the proxy, for HTTP without TLS; `apart` the
same in a process of its own, `python -m bench.aws_calls --endpoint URL`, which prints {"url": its}.
Write units as AWS has them (DynamoDB Developer Guide, "DynamoDB throughput" and "item sizes"): one for each started KB
of the larger of the item before and after; twice that in a transaction; each index whose entry changes costs its
own; a write whose condition fails costs the item that is there, one unit at least.
"""

import argparse
import asyncio
import json
import math
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import urlopen

import uvloop

KB: Final = 1024
SQS_CHUNK: Final = 64 * KB
ELEMENT, CONTAINER = 1, 3  # octets that each element of a list or map, and each list or map, adds

Item = Mapping[str, Mapping[str, Any]]


def item_size(item: Item) -> int:
    """In octets, names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return math.ceil(len(content.lstrip("-").replace(".", "").strip("0")) / 2) + 1
        case "B":
            return len(content) * 3 // 4
        case "M":
            return CONTAINER + sum(len(key.encode()) + _value_size(each) + ELEMENT for key, each in content.items())
        case "L":
            return CONTAINER + sum(_value_size(each) + ELEMENT for each in content)
    return 1  # BOOL, NULL


def units(size: int) -> int:
    return max(1, math.ceil(size / KB))


def sqs_requests(operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
    """Each started 64 KiB of what is sent or received is a request (AWS: SQS pricing)."""
    match operation:
        case "SendMessage":
            bodies = [request["MessageBody"]]
        case "SendMessageBatch":
            bodies = [each["MessageBody"] for each in request["Entries"]]
        case "ReceiveMessage":
            bodies = [each["Body"] for each in answer.get("Messages", ())]
        case _:
            bodies = []
    return max(1, math.ceil(sum(len(each.encode()) for each in bodies) / SQS_CHUNK))


def read_units(operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    """One for each started 4 KB that is read consistently, else half of one; of each item, or of a query's sum (AWS:
    DynamoDB Developer Guide, "Read consistency" and "Capacity unit consumption")."""
    match operation:
        case "GetItem":
            return _read(item_size(answer.get("Item", {})), request)
        case "Query" | "Scan":
            return _read(sum(map(item_size, answer.get("Items", ()))), request)
        case "BatchGetItem":
            found = 0.0
            for name, asked in request["RequestItems"].items():
                items = answer.get("Responses", {}).get(name, ())
                sizes = [*map(item_size, items), *[0] * (len(asked["Keys"]) - len(items))]  # none there is half of one
                found += sum(_read(size, asked) for size in sizes)
            return found
    return 0.0


def _read(size: int, request: Mapping[str, Any]) -> float:
    return max(1, math.ceil(size / (4 * KB))) * (1.0 if request.get("ConsistentRead") else 0.5)


@dataclass(frozen=True, slots=True)
class Index:
    """keys: its own and the table's. projected: names of attributes besides them; None: all."""

    keys: tuple[str, ...]
    projected: tuple[str, ...] | None = None

    def entry(self, item: Item | None) -> Item | None:
        """What it has of the item."""
        if item is None or any(key not in item for key in self.keys):
            return None
        names = item.keys() if self.projected is None else (*self.keys, *self.projected)
        return {name: item[name] for name in names if name in item}

    def units(self, before: Item | None, after: Item | None) -> int:
        old, new = self.entry(before), self.entry(after)
        if old == new:
            return 0
        if old and new and [old[key] for key in self.keys] != [new[key] for key in self.keys]:
            return units(item_size(old)) + units(item_size(new))
        return units(max(item_size(old or {}), item_size(new or {})))


@dataclass(frozen=True, slots=True)
class Table:
    """name: in the template. keys: of the table."""

    name: str
    keys: tuple[str, ...]
    indexes: tuple[Index, ...] = ()


def table_of(name: str, described: Mapping[str, Any]) -> Table:
    """described: as DescribeTable and a template alike have it (KeySchema, GlobalSecondaryIndexes)."""
    keys = tuple(each["AttributeName"] for each in described["KeySchema"])
    indexes = []
    for each in (*described.get("GlobalSecondaryIndexes", ()), *described.get("LocalSecondaryIndexes", ())):
        own = (part["AttributeName"] for part in each["KeySchema"])
        projection = each["Projection"]
        projected = None if projection["ProjectionType"] == "ALL" else tuple(projection.get("NonKeyAttributes", ()))
        indexes.append(Index(tuple(dict.fromkeys((*own, *keys))), projected))
    return Table(name, keys, tuple(indexes))


@dataclass
class Books:
    """tables: by the name that calls have; writes to others aren't counted. calls: by operation, "dynamodb.PutItem"
    or "http.PUT". writes: units by table, and by "table, index". billed: "sqs": requests, "dynamodb": read units.
    An item that was there before `Books` began counts as new."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    billed: Counter[str] = field(default_factory=Counter)
    _items: dict[tuple[str, ...], Item] = field(default_factory=dict)

    def call(self, method: str, target: str, request: bytes, status: int, answer: bytes) -> None:
        """target: the header X-Amz-Target, "" without one."""
        service, _, operation = target.partition(".")
        if not service:
            self.calls[f"http.{method}"] += 1
            return
        service = "sqs" if service == "AmazonSQS" else service.partition("_")[0].lower()
        self.calls[f"{service}.{operation}"] += 1
        if service == "dynamodb" and operation in _WRITES:
            self.write(operation, json.loads(request), status, json.loads(answer or b"{}"))
        elif service in ("dynamodb", "sqs") and status < 300:
            count = sqs_requests if service == "sqs" else read_units
            self.billed[service] += count(operation, json.loads(request), json.loads(answer or b"{}"))

    def write(self, operation: str, request: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> None:
        if operation == "BatchWriteItem":
            left = answer.get("UnprocessedItems", {}) if status < 300 else request["RequestItems"]
            for table, requests in request["RequestItems"].items():
                for each in requests:
                    if each not in left.get(table, ()):
                        self._put(table, each["PutRequest"]["Item"])
            return
        table = self.tables.get(request["TableName"])
        if table is None:
            return
        if status >= 300:
            failed = str(answer.get("__type", "")).endswith("ConditionalCheckFailedException")
            self.writes[table.name] += units(item_size(answer.get("Item", {}))) if failed else 0
            return
        match operation:
            case "PutItem":
                self._put(request["TableName"], request["Item"])
            case "UpdateItem":
                if request.get("ReturnValues") != "ALL_NEW":
                    raise ValueError("an UpdateItem whose outcome is not seen")
                self._put(request["TableName"], answer["Attributes"])
            case "DeleteItem":
                self._changed(request["TableName"], request["Key"], None)
            case _:
                raise ValueError(f"{operation}: its units are not known here")

    def _put(self, name: str, item: Item) -> None:
        if name in self.tables:
            self._changed(name, {key: item[key] for key in self.tables[name].keys}, item)

    def _changed(self, name: str, key: Item, after: Item | None) -> None:
        table = self.tables[name]
        place = (name, *(json.dumps(key[each]) for each in table.keys))
        before = self._items.get(place)
        self.writes[table.name] += units(max(item_size(before or {}), item_size(after or {})))
        for index in table.indexes:
            self.writes[f"{table.name}, index"] += index.units(before, after)
        if after is None:
            self._items.pop(place, None)
        else:
            self._items[place] = after


_WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})


@asynccontextmanager
async def counting(endpoint: str, books: Books) -> AsyncIterator[str]:
    """The URL of a proxy in front of `endpoint` that enters each call into `books`."""
    upstream = urlsplit(endpoint)

    exchanges: set[asyncio.Task[Any]] = set()  # the loop itself holds them weakly

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        exchanges.add(task)
        task.add_done_callback(exchanges.discard)
        try:
            to = await asyncio.open_connection(upstream.hostname, upstream.port, limit=1 << 20)
            try:
                while await _exchange((reader, writer), to, books):
                    pass
            finally:
                to[1].close()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for each in exchanges:
            each.cancel()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _exchange(client: Stream, upstream: Stream, books: Books) -> bool:
    """One request and its answer; whether there may be another."""
    head = await _head(client[0])
    if not head:
        return False
    if "expect" in (fields := _fields(head)):
        client[1].write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = re.sub(rb"\r\nexpect:[^\r]*", b"", head, flags=re.IGNORECASE)
    request = await _body(client[0], fields)
    if b" /bench/" in head[:20]:
        _control(client[1], request, books)
        return True
    upstream[1].write(head + request)
    await upstream[1].drain()
    method = head.partition(b" ")[0].decode()
    answer_head = await _head(upstream[0])
    status = int(answer_head.split(b" ", 2)[1])
    answer = b"" if method == "HEAD" or status in (204, 304) else await _body(upstream[0], _fields(answer_head))
    books.call(method, fields.get("x-amz-target", ""), request, status, answer)
    client[1].write(answer_head + answer)
    await client[1].drain()
    return _fields(answer_head).get("connection", "").lower() != "close"


def _control(writer: asyncio.StreamWriter, request: bytes, books: Books) -> None:
    """What `apart` asks: tables to be known from now on; the figures so far."""
    if request:
        books.tables = {key: table_of(**each) for key, each in json.loads(request).items()}
    answer = json.dumps({"calls": books.calls, "writes": books.writes, "billed": books.billed}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)


async def _head(reader: asyncio.StreamReader) -> bytes:
    """b"" at the end."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
    """As it came."""
    if "chunked" in fields.get("transfer-encoding", ""):
        return await _chunks(reader)
    return await reader.readexactly(int(fields.get("content-length", "0")))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        found += line + await reader.readexactly(size + 2)
        if not size:
            return bytes(found)


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


@dataclass(frozen=True, slots=True)
class Apart:
    """url: of the proxy."""

    url: str
    pid: int

    def know(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """tables: {"name", "described"} for `table_of`, by the name that calls have."""
        self._ask(json.dumps(tables).encode())

    def figures(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """calls, writes, billed: as of `Books`."""
        found = self._ask(None)
        return Counter(found["calls"]), Counter(found["writes"]), Counter(found["billed"])

    def _ask(self, data: bytes | None) -> dict[str, dict[str, int]]:
        with urlopen(f"{self.url}/bench/", data, timeout=30) as answer:  # noqa: S310 - ours, on loopback
            found: dict[str, dict[str, int]] = json.load(answer)
        return found


@contextmanager
def apart(endpoint: str) -> Iterator[Apart]:
    command = [sys.executable, "-m", "bench.aws_calls", "--endpoint", endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout
        try:
            yield Apart(json.loads(process.stdout.readline())["url"], process.pid)
        finally:
            process.terminate()


async def _serve(endpoint: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with counting(endpoint, Books()) as url:
        print(json.dumps({"url": url}), flush=True)
        await stop.wait()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--endpoint", required=True, metavar="URL")
    uvloop.run(_serve(parser.parse_args(arguments).endpoint))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
