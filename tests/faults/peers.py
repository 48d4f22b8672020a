"""Which process of the relay is at the other end of a loopback connection: Linux's /proc, so that the one that made
a call can be killed at that very call."""

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.journal import Journal

FUNCTION = re.compile(rb"LAMBDA_TASK_ROOT=[^\0]*/functions/(\w+)\0")


class Peer(NamedTuple):
    """role: "gateway", "validate", "deliver", "record"; "" for everybody else (the harness, Lambda's own polling)."""

    pid: int
    role: str


NOBODY = Peer(0, "")
YOUNG = 3.0  # seconds for which a process may still become another program


class Peers:
    """mine: text that the environment of every process of this system has, such as the endpoint's address."""

    def __init__(self, mine: str) -> None:
        self._mine = mine.encode() + b"\0"  # whole: a port may begin another
        self._seen: dict[int, tuple[str, float]] = {}  # of every process: its role, and since when we know it
        self._lock = threading.Lock()

    def of(self, near: tuple[str, int], far: tuple[str, int]) -> Peer:
        """near: the peer's own address, as accept() tells it. far: ours."""
        inode = _inode(near, far) or _inode(near, far)  # the table may be missing a line while it changes
        if inode is None:
            return NOBODY
        for fresh in (False, True):
            if fresh:
                self._look()
            for pid, (role, _) in list(self._seen.items()):
                if role and _has(pid, inode):
                    return Peer(pid, role)
        return NOBODY

    def _look(self) -> None:
        with self._lock:
            now = time.monotonic()
            there = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
            known = {pid: seen for pid, seen in self._seen.items() if pid in there}
            for pid in there:
                role, since = known.get(pid, ("", now))
                if not role and now - since < YOUNG:
                    known[pid] = (self._role(pid), since)
            self._seen = known

    def _role(self, pid: int) -> str:
        try:
            line, environment = (Path(f"/proc/{pid}/{name}").read_bytes() + b"\0" for name in ("cmdline", "environ"))
        except OSError:
            return ""
        if self._mine not in environment:
            return ""
        if b"awslambdaric" in line and (function := FUNCTION.search(environment)):
            return function[1].decode()
        return "gateway" if b"smtp_gateway" in line else ""


def kill(peer: Peer, journal: Journal) -> None:
    """SIGKILL; returns when it is noted, which is before anything else can come from it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(peer.pid, signal.SIGKILL)
    journal.note("killed", pid=peer.pid, role=peer.role)


def _hexed(address: tuple[str, int]) -> str:
    octets = [int(each) for each in address[0].split(".")]
    return "".join(f"{each:02X}" for each in reversed(octets)) + f":{address[1]:04X}"


def _inode(near: tuple[str, int], far: tuple[str, int]) -> str | None:
    ours, theirs = _hexed(near), _hexed(far)
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1] == ours and fields[2] == theirs:
                return fields[9]
    return None


def _has(pid: int, inode: str) -> bool:
    wanted = f"socket:[{inode}]"
    try:
        for each in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(each.path) == wanted:  # noqa: PTH115 - Path's is slow, and this is asked often
                    return True
    except OSError:
        pass
    return False
