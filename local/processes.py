"""Child processes of the local system: started, watched until ready, stopped, never left behind."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

SHIM: Final = Path(__file__).with_name("child.py")
POLL_SECONDS: Final = 0.02


class StartError(Exception):
    """Something could not be started; the text is one line for a person: what, which value, what to do."""


class Child:
    """One process, its output in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, offset: int) -> None:
        self.name = name
        self.process = process
        self.log = log
        self._offset = offset

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        if self.process.returncode is None and hasattr(os, "waitid"):
            # poll() says "running" as long as another thread is in wait().
            try:
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            except ChildProcessError:
                return False  # waited for already
        return self.process.poll() is None

    def lines(self) -> list[str]:
        """What it has written since it was started, as lines."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            return file.read().decode("utf-8", "replace").splitlines()

    def ready(self, timeout: float = 30.0) -> dict[str, Any]:
        """Wait for its JSON line {"event": "listening", ...} and return that.

        timeout: seconds. StartError with the process's last line if it ends, or falls silent, instead.
        """
        deadline = time.monotonic() + timeout
        while True:
            ended = not self.running  # before reading: what it wrote last is in the file by then
            for line in self.lines():
                if (event := _event(line)) is not None:
                    return event
            if ended:
                words = [line for line in self.lines() if line.strip()]
                raise StartError(f"{self.name}: {words[-1] if words else 'ended without a word'}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name}: not ready after {timeout:g} s; see {self.log}")
            time.sleep(POLL_SECONDS)

    def stop(self, timeout: float = 5.0) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds; returns once it is gone."""
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would have it."""
        self.process.kill()
        self.process.wait()


def _event(line: str) -> dict[str, Any] | None:
    if '"listening"' not in line:
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("event") == "listening" else None


class Spawner:
    """Starts children, all from one thread that lives as long as the spawner: a child dies with
    the thread that started it (see child.py), and threads of a pool come and go."""

    def __init__(self, logs: Path) -> None:
        """logs: the folder that the children's output goes to, `<log name>.log` each."""
        self._logs = logs
        self._children: list[Child] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
        logs.mkdir(parents=True, exist_ok=True)

    def start(
        self, name: str, command: list[str], environment: Mapping[str, str], *, cwd: Path, log: str = ""
    ) -> Child:
        """Start `command` with exactly this environment; `log` names its file (default `name`).

        It gets a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone,
        which then stops everything in order.
        """
        return self._thread.submit(self._start, name, command, dict(environment), cwd, log or name).result()

    def python(
        self, name: str, arguments: list[str], environment: Mapping[str, str], *, cwd: Path, log: str = ""
    ) -> Child:
        """`start` with this interpreter."""
        return self.start(name, [sys.executable, *arguments], environment, cwd=cwd, log=log)

    def close(self) -> None:
        """Kills every child that still runs."""
        self._thread.shutdown()
        for child in self._children:
            child.kill()

    def _start(self, name: str, command: list[str], environment: dict[str, str], cwd: Path, log: str) -> Child:
        path = self._logs / f"{log}.log"
        with path.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SHIM), str(os.getpid()), *command],
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            child = Child(name, process, path, output.tell())
        self._children = [each for each in self._children if each.running] + [child]
        return child


def base_environment() -> dict[str, str]:
    """What every child gets of this process's environment: nothing that could point at a real AWS
    account, an index of packages or another system's settings."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ}
