"""Toy functions under the real runtime client."""

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from local import functions
from local.functions import start_functions
from local.lambdas import Function, LambdaService
from local.processes import Spawner, StartError, base_environment
from relay.aws.client import AwsClient
from relay.aws.http import CONNECTIONS
from relay.aws.lambdas import invoke
from relay.aws.signing import Credentials
from tests.unit.local.toy import BROKEN, TOY


def toy(folder: Path, code: str = TOY, timeout: float = 30.0, **environment: str) -> Function:
    (folder / "app.py").write_text(code)
    return Function(
        name="toy-name",
        title=f"Toy{folder.name}",
        handler="app.handler",
        folder=folder,
        timeout=timeout,
        environment={
            **base_environment(),
            "AWS_LAMBDA_FUNCTION_NAME": "toy-name",
            "LAMBDA_TASK_ROOT": str(folder),
            **environment,
        },
        arn="arn:aws:lambda:us-east-1:123456789012:function:toy-name",
    )


@pytest.fixture
def service(spawner: Spawner) -> Iterator[LambdaService]:
    service = LambdaService(spawner)
    yield service
    service.close()


def call(service: LambdaService, **event: Any) -> Any:
    return json.loads(service.invoke("toy-name", json.dumps(event).encode()).payload)


def test_success_and_what_the_function_sees(service: LambdaService, folder: Path) -> None:
    service.add(toy(folder, RELAY_X="from the stack"), limit=2).warm()
    assert call(service, hello="wörld") == {"got": {"hello": "wörld"}}
    seen = call(service, do="context")
    assert 0 < seen["left"] <= 30_000
    assert seen["arn"].endswith(":toy-name")
    assert seen["name"] == "toy-name"
    assert Path(seen["folder"]) == folder
    names = ["RELAY_X", "LAMBDA_TASK_ROOT", "AWS_PROFILE"]
    assert call(service, do="environment", names=names) == {
        "RELAY_X": "from the stack",
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_PROFILE": None,
    }


def test_a_worker_is_used_again(service: LambdaService, folder: Path) -> None:
    service.add(toy(folder), limit=2)
    pids = {call(service, do="context")["pid"] for _ in range(5)}
    assert len(pids) == 1
    assert set(service.pids().values()) == pids


@pytest.mark.parametrize(
    ("do", "kind", "words", "survives"),
    [
        ("fail", "ValueError", "as asked", True),
        ("crash", "Runtime.ExitError", "Runtime exited with error: exit status 3", False),
        ("hang", "Sandbox.Timedout", "Task timed out after 0.50 seconds", False),
    ],
)
def test_failures(service: LambdaService, folder: Path, do: str, kind: str, words: str, survives: bool) -> None:
    service.add(toy(folder, timeout=0.5 if do == "hang" else 30.0), limit=1).warm()
    before = set(service.pids().values())
    result = service.invoke("toy-name", json.dumps({"do": do}).encode())
    assert not result.ok
    assert json.loads(result.payload)["errorType"] == kind
    assert words in result.message
    assert (set(service.pids().values()) == before) == survives
    assert call(service, next=1) == {"got": {"next": 1}}  # on another worker where that one is gone


def test_a_worker_killed_from_outside_is_replaced(service: LambdaService, folder: Path) -> None:
    pool = service.add(toy(folder), limit=1)
    pool.warm()
    (worker,) = pool.workers()
    os.kill(worker.child.pid, signal.SIGKILL)
    worker.gone.wait(10)
    assert call(service, next=1) == {"got": {"next": 1}}


def test_code_that_cannot_be_loaded(service: LambdaService, folder: Path) -> None:
    pool = service.add(toy(folder, BROKEN), limit=1)
    with pytest.raises(StartError, match="cannot be imported"):
        pool.warm()
    assert not service.invoke("toy-name", b"{}").ok


def test_no_more_workers_than_allowed(service: LambdaService, folder: Path) -> None:
    service.add(toy(folder), limit=2)
    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _: call(service, do="context"), range(24)))
    assert len({each["pid"] for each in seen}) <= 2
    assert len({each["id"] for each in seen}) == 24


def post(url: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_invoke_over_http(service: LambdaService, folder: Path) -> None:
    service.add(toy(folder), limit=1)
    url = f"{service.url}/2015-03-31/functions/toy-name/invocations"
    code, headers, body = post(url, b'{"a": 1}')
    assert (code, json.loads(body)) == (200, {"got": {"a": 1}})
    assert "X-Amz-Function-Error" not in headers
    assert post(url, b'{"do": "fail"}')[1]["X-Amz-Function-Error"] == "Unhandled"
    assert post(f"{service.url}/2015-03-31/functions/none/invocations", b"{}")[0] == 404


def test_many_at_once_over_kept_connections(service: LambdaService, folder: Path) -> None:
    """As the gateway asks: as many at once as its client has connections, again and again, none lost or mixed up."""
    service.add(toy(folder), limit=2).warm()

    async def main() -> list[Any]:
        client = AwsClient("us-east-1", endpoint_urls={"LAMBDA": service.url}, credentials=Credentials("x", "x"))
        try:
            async with asyncio.timeout(30):
                numbers = range(4 * CONNECTIONS)
                return await asyncio.gather(*(invoke(client, "toy-name", {"n": number}) for number in numbers))
        finally:
            await client.close()

    assert asyncio.run(main()) == [{"got": {"n": number}} for number in range(4 * CONNECTIONS)]


def test_a_direct_call_finds_a_worker_while_the_queue_s_are_busy(service: LambdaService, folder: Path) -> None:
    start_functions(service, [toy(folder)])
    with ThreadPoolExecutor(functions.WORKERS + 1) as threads:
        for _ in range(functions.WORKERS):  # a mapping has at most so many at once
            threads.submit(service.invoke, "toy-name", b'{"do": "hang"}')
        while len(service.workers("toy-name")) < functions.WORKERS:
            time.sleep(0.005)
        try:
            assert threads.submit(call, service, hello=1).result(10) == {"got": {"hello": 1}}
        finally:
            service.close()


def test_a_closed_service_leaves_no_process(spawner: Spawner, folder: Path) -> None:
    service = LambdaService(spawner)
    service.add(toy(folder), limit=1).warm()
    (pid,) = service.pids().values()
    service.close()
    service.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
