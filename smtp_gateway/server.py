"""Listeners, and how it all stops."""

import asyncio
import contextlib
import resource
import socket
from dataclasses import replace
from typing import Final

from relay.settings import SettingsError
from smtp_gateway.connection import Connection
from smtp_gateway.proxied import Proxied
from smtp_gateway.settings import Endpoint
from smtp_gateway.site import Site

PENDING: Final = 1024  # connections that the kernel holds for us
SPARE: Final = (
    400  # open files beside connections: to each of four services up to relay.aws.http.CONNECTIONS, and our own
)
TURN: Final = 0.01  # seconds in which who is in the kernel's queue is told; once it is closed they get a reset
DRAIN: Final = 25.0  # seconds for what is under way: ECS kills 30 s after SIGTERM (AWS: StopTask)


def open_files(connections: int) -> None:
    """Raise this process's limit, and of those it starts, to what so many connections need. SettingsError if the system
    does not allow that: who is one too many could not be told so."""
    needed = connections + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        wants = f"GATEWAY_MAX_CONNECTIONS={connections} needs {needed} open files in each worker"
        raise SettingsError(f"{wants}, and the system allows {hard} (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class ListenError(Exception):
    """Says which setting, which address, and why."""


def bind(endpoint: Endpoint, count: int = 1) -> tuple[socket.socket, ...]:
    """So many listening sockets of one address, among which the kernel distributes connections (socket(7),
    SO_REUSEPORT). ListenError if the address is taken, or isn't ours."""
    first = _bind(endpoint)  # alone: SO_REUSEPORT would share the port with another gateway of this user
    if count == 1:
        first.listen(PENDING)
        return (first,)
    found = replace(endpoint, port=first.getsockname()[1])
    first.close()
    bound = tuple(_bind(found, shared=True) for _ in range(count))
    for each in bound:  # now, so that who connects is waited for until the workers are there
        each.listen(PENDING)
    return bound


def _bind(endpoint: Endpoint, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    # IPPROTO_TCP and not 0: asyncio turns Nagle's algorithm off only on sockets that say they are TCP
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((endpoint.host, endpoint.port))
    except OSError as error:
        bound.close()
        where = f"{endpoint.variable}: port {endpoint.port} of {endpoint.host}"
        raise ListenError(f"{where} cannot be listened on: {error.strerror}") from None
    bound.setblocking(False)
    return bound


class Server:
    """Serves `site` on two bound sockets: SMTP with STARTTLS, and SMTP over TLS."""

    def __init__(self, site: Site, plain: socket.socket, tls: socket.socket) -> None:
        self._site = site
        self._sockets = (plain, tls)
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for sock, over_tls in zip(self._sockets, (False, True), strict=True):
            make = _Maker(self._site, over_tls)
            self._servers.append(await loop.create_server(make, sock=sock, backlog=PENDING))

    async def stop(self, patience: float = DRAIN) -> int:
        """Listen no more; let transactions finish, for `patience` seconds at most; end the rest. Returns how many
        these were."""
        site = self._site
        site.draining = True
        await asyncio.sleep(TURN)
        for server in self._servers:
            server.close()
        for connection in tuple(site.connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while site.connections:
                    site.empty.clear()
                    await site.empty.wait()
        left = tuple(site.connections)
        for connection in left:
            connection.abort()
        await asyncio.sleep(0)
        return len(left)


class _Maker:
    def __init__(self, site: Site, tls: bool) -> None:
        self._site = site
        self._tls = tls

    def __call__(self) -> asyncio.Protocol:
        kind = Proxied if self._site.proxy_from else Connection
        return kind(self._site, tls=self._tls)
