"""Lambda on one machine: worker processes under the real runtime client, and a service that invokes them.

A worker is `python -m awslambdaric <handler>` in the function's folder, with the environment that the
stack gives the function. It gets its work from a Runtime API server of its own (AWS: Lambda Developer
Guide, "Using the Lambda runtime API"). As in AWS one worker has one invocation at a time; one that ends,
or exceeds the function's time-out, is gone, and the next invocation starts another.
"""

import json
import math
import queue
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple

from local.processes import Child, Spawner, StartError

RUNTIME: Final = "/2018-06-01/runtime"
START_SECONDS: Final = 30.0  # a cold start on a busy machine; not part of the time-out


@dataclass(frozen=True, slots=True)
class Function:
    """name: as the stack has it. title: its logical name, for logs and pids. timeout: seconds.
    environment: all of the worker's, the stack's variables included."""

    name: str
    title: str
    handler: str
    folder: Path
    timeout: float
    environment: Mapping[str, str] = field(repr=False)
    arn: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """payload: the function's answer, or the error as Lambda words it. ok: the handler returned."""

    payload: bytes
    ok: bool

    @classmethod
    def error(cls, kind: str, message: str) -> "Result":
        return cls(json.dumps({"errorType": kind, "errorMessage": message}).encode(), ok=False)

    @property
    def message(self) -> str:
        """An error's text, in one line."""
        try:
            return " ".join(str(json.loads(self.payload)["errorMessage"]).split())
        except (ValueError, KeyError, TypeError):
            return "no reason given"


@dataclass(slots=True)
class _Invocation:
    id: str
    payload: bytes
    deadline: float  # epoch seconds
    result: "Future[Result]" = field(default_factory=Future)

    def settle(self, result: Result) -> None:
        """The first result counts: a crash right after the answer changes nothing."""
        try:
            self.result.set_result(result)
        except Exception:  # noqa: BLE001, S110 - InvalidStateError is all that it can be
            pass


class Worker:
    """One process of a function. gone: set once it has ended."""

    def __init__(self, function: Function, number: int, spawner: Spawner) -> None:
        self.function = function
        self.title = f"{function.title}/{number}"
        self._work: queue.Queue[_Invocation | None] = queue.Queue()
        self._current: _Invocation | None = None
        self._ready = threading.Event()
        self.gone = threading.Event()
        self._failure: Result | None = None
        self._server = _serve(_runtime_handler(self))
        environment = {
            **function.environment,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{uuid.uuid4().hex}",
        }
        self.child: Child = spawner.python(
            self.title, ["-m", "awslambdaric", function.handler], environment, cwd=function.folder, log=function.title
        )
        threading.Thread(target=self._watch, name=f"watch {self.title}", daemon=True).start()

    @property
    def failure(self) -> Result | None:
        """Why it can't be used any more; None while it can."""
        return self._failure

    @property
    def alive(self) -> bool:
        return self._failure is None and self.child.running

    def wait_ready(self) -> None:
        """Until it asks for work (or has failed)."""
        if not self._ready.wait(START_SECONDS):
            self._fail(Result.error("Sandbox.Timedout", f"not started after {START_SECONDS:g} s"))
            self.child.kill()

    def invoke(self, payload: bytes) -> Result:
        """Blocks until the function has answered, failed, or run out of time (then it is killed)."""
        self.wait_ready()
        timeout = self.function.timeout
        invocation = _Invocation(str(uuid.uuid4()), payload, time.time() + timeout)
        self._current = invocation
        if self._failure is not None:
            return self._failure
        self._work.put(invocation)
        try:
            return invocation.result.result(timeout)
        except TimeoutError:
            invocation.settle(
                Result.error(
                    "Sandbox.Timedout", f"RequestId: {invocation.id} Error: Task timed out after {timeout:.2f} seconds"
                )
            )
            self.stop()
            return invocation.result.result()
        finally:
            self._current = None

    def stop(self) -> None:
        """Kill it, as Lambda does: a worker has nothing to save."""
        self._fail(Result.error("Sandbox.Stopped", "the worker was stopped"))
        self.child.kill()

    # --- the runtime's side ---

    def next(self) -> _Invocation | None:
        self._ready.set()
        return self._work.get()

    def answered(self, id: str, result: Result) -> bool:
        """False for an id that is not being worked on."""
        current = self._current
        if current is None or current.id != id:
            return False
        current.settle(result)
        return True

    def init_failed(self, result: Result) -> None:
        self._fail(result)

    def _watch(self) -> None:
        status = self.child.process.wait()
        words = f"signal: {-status}" if status < 0 else f"exit status {status}"
        self._fail(Result.error("Runtime.ExitError", f"Runtime exited with error: {words}"))
        self.gone.set()
        self._work.put(None)  # frees the handler that waits for work
        self._server.shutdown()
        self._server.server_close()

    def _fail(self, result: Result) -> None:
        self._failure = self._failure or result
        self._ready.set()
        if (current := self._current) is not None:
            current.settle(self._failure)


def _runtime_handler(worker: Worker) -> type["_Handler"]:
    class Runtime(_Handler):
        def do_GET(self) -> None:
            invocation = worker.next() if self.path == f"{RUNTIME}/invocation/next" else None
            if invocation is None:
                self.answer(404, b"{}")
                return
            headers = {
                "Lambda-Runtime-Aws-Request-Id": invocation.id,
                "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": worker.function.arn,
            }
            self.answer(200, invocation.payload, headers)

        def do_POST(self) -> None:
            body = self.body()
            match self.path.removeprefix(RUNTIME).strip("/").split("/"):
                case ["init", "error"]:
                    worker.init_failed(Result(body, ok=False))
                    self.answer(202, b'{"status":"OK"}')
                case ["invocation", id, ("response" | "error") as kind]:
                    known = worker.answered(id, Result(body, ok=kind == "response"))
                    self.answer(202 if known else 400, b'{"status":"OK"}')
                case _:
                    self.answer(404, b"{}")

    return Runtime


class Pool:
    """A function's workers: at most `limit`, started when needed."""

    def __init__(self, function: Function, limit: int, spawner: Spawner, changed: Callable[[], None]) -> None:
        """changed: called whenever a worker starts or ends."""
        self.function = function
        self._spawner = spawner
        self._changed = changed
        self._slots = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._all: list[Worker] = []
        self._started = 0
        self._closed = False
        self.billed = Billed()

    def warm(self) -> None:
        """Start one worker and wait until it asks for work. StartError if its code can't be loaded."""
        worker = self._take()
        worker.wait_ready()
        self._give_back(worker)
        if (failure := worker.failure) is not None:
            raise StartError(f"{self.function.title} doesn't start: {failure.message}; see {worker.child.log}")

    def invoke(self, payload: bytes) -> Result:
        """On an idle worker, or a new one; waits for one while `limit` are busy."""
        with self._slots:
            worker = self._take()
            worker.wait_ready()
            began = time.monotonic()
            try:
                return worker.invoke(payload)
            finally:
                milliseconds = math.ceil(1000 * (time.monotonic() - began))
                with self._lock:
                    self.billed = Billed(self.billed.invocations + 1, self.billed.milliseconds + milliseconds)
                self._give_back(worker)

    def workers(self) -> list[Worker]:
        with self._lock:
            return [worker for worker in self._all if worker.alive]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            workers, self._all, self._idle = self._all, [], []
        for worker in workers:
            worker.stop()

    def _take(self) -> Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
            if self._closed:
                raise RuntimeError("the Lambda service is closed")
            self._started += 1
            worker = Worker(self.function, self._started, self._spawner)
            self._all = [each for each in self._all if each.alive] + [worker]
        self._changed()
        return worker

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.alive and not self._closed:
                self._idle.append(worker)
                return
        self._changed()


class Billed(NamedTuple):
    """Of a function: invocations, and their milliseconds, each rounded up (AWS: Lambda pricing)."""

    invocations: int = 0
    milliseconds: int = 0


class LambdaService:
    """Invokes functions by name; also over HTTP, as Lambda's Invoke has it, at `url`."""

    def __init__(self, spawner: Spawner, changed: Callable[[], None] = lambda: None) -> None:
        self._spawner = spawner
        self._changed = changed
        self._pools: dict[str, Pool] = {}
        self._server = _serve(_invoke_handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, function: Function, limit: int) -> Pool:
        """limit: the most workers at once."""
        pool = self._pools[function.name] = Pool(function, limit, self._spawner, self._changed)
        return pool

    def invoke(self, name: str, payload: bytes) -> Result:
        """KeyError for a function that isn't there."""
        return self._pools[name].invoke(payload)

    def workers(self, name: str) -> list[Worker]:
        """A function's workers that run."""
        return self._pools[name].workers()

    def billed(self) -> dict[str, Billed]:
        """By logical name, since the start."""
        return {pool.function.title: pool.billed for pool in self._pools.values()}

    def pids(self) -> dict[str, int]:
        """{"DeliverFunction/1": process id} of all workers that run."""
        return {worker.title: worker.child.pid for pool in self._pools.values() for worker in pool.workers()}

    def close(self) -> None:
        """Kill every worker; invocations under way fail. May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        for pool in self._pools.values():
            pool.close()


def _invoke_handler(service: LambdaService) -> type["_Handler"]:
    class Invoke(_Handler):
        def do_POST(self) -> None:
            body = self.body()
            match self.path.strip("/").split("/"):
                case ["2015-03-31", "functions", quoted, "invocations"]:
                    self._invoke(urllib.parse.unquote(quoted), body)
                case _:
                    self.answer(404, b"{}")

        def _invoke(self, name: str, body: bytes) -> None:
            try:
                result = service.invoke(name, body)
            except KeyError:
                self.answer(404, json.dumps({"Message": f"Function not found: {name}"}).encode())
                return
            self.answer(200, result.payload, {} if result.ok else {"X-Amz-Function-Error": "Unhandled"})

    return Invoke


# --- HTTP ------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # 88 ms an invocation with it

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(100).partition(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline(100)
        return data

    def answer(self, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass  # the worker was killed

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections made at the same moment: one that is dropped comes again after a second


def _serve(handler: type[_Handler]) -> ThreadingHTTPServer:
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server
