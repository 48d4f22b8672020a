"""What is wrong with the options of `mailrelay local`, told before anything is started.

Each check raises StartError, whose one line names the option, its value and what to do.
"""

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import dns.message

from local.processes import StartError

LONGEST_USER: Final = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 1.0


def no_second(state_file: Path) -> None:
    """Two systems with one state file would delete each other's files."""
    try:
        state = json.loads(state_file.read_text("utf-8"))
        socket.create_connection((state["host"], state["port"]), timeout=2).close()
    except (OSError, ValueError, KeyError, TypeError):
        return  # none, or one that was killed
    raise StartError(f"--state {state_file}: a system that it describes is running; stop it, or give another file")


def ports_free(host: str, port: int, tls_port: int) -> None:
    if port == tls_port != 0:
        raise StartError(f"--port and --tls-port are both {port}: give two (0 = any free one)")
    for option, number in (("--port", port), ("--tls-port", tls_port)):
        _free(host, option, number)


def _free(host: str, option: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise StartError(f"{option} {port}: not allowed for this user; ports from 1024 on are") from None
        except OSError:
            raise StartError(
                f"{option} {port} is taken: stop what uses it, or give another (0 = any free one)"
            ) from None


def accounts_fit(users: Sequence[str]) -> None:
    """What AUTH could never take, or takes for one another."""
    seen: set[str] = set()
    for user in users:
        if not (user.isascii() and user.isprintable() and "@" in user and len(user) <= LONGEST_USER):
            raise StartError(f"--account {user}: the user name must be an e-mail address in ASCII")
        if user.lower() in seen:
            raise StartError(f"--account {user} is given twice (case does not count)")
        seen.add(user.lower())


def files_writable(state_file: Path, mail_dir: Path) -> None:
    """Makes the folders that are missing."""
    if state_file.is_dir():
        raise StartError(f"--state {state_file} is a folder; give a file")
    _folder("--state", state_file, state_file.parent)
    _folder("--mail-dir", mail_dir, mail_dir)


def _folder(option: str, given: Path, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{option} {given}: the folder can't be made: {error.strerror} ({error.filename})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"{option} {given}: the folder {folder} can't be written to")


def dns_address(given: str, name: str) -> str:
    """`given`, "host:port", as "ip:port": the functions take no host names. name: what a trial asks for.

    A server that doesn't answer the trial is taken all the same: it may be there to be slow.
    """
    host, _, port = given.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError):
        raise StartError(f"--dns {given}: there is no host {host}") from None
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as probe:
        probe.settimeout(ANSWER_SECONDS)
        try:
            probe.connect(address)
            probe.send(dns.message.make_query(name, "A").to_wire())
            probe.recv(65_535)
        except TimeoutError:
            pass
        except OSError as error:
            raise StartError(f"--dns {given}: no DNS server is there ({error.strerror})") from error
    return f"[{address[0]}]:{port}" if family == socket.AF_INET6 else f"{address[0]}:{port}"


def endpoint_answers(url: str) -> None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise StartError(
            f"--aws-endpoint {url}: nothing answers there ({getattr(error, 'strerror', None) or error})"
        ) from error
