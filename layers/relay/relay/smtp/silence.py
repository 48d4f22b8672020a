"""Whether the network lets connections to mail servers out at all. AWS drops those to port 25 until it is asked not to:
nothing comes back, from anybody."""

from collections.abc import Hashable
from typing import Final

SITES: Final = 3  # silent ones that are enough: one or two may be dead themselves
BLOCKED_PORT: Final = 25
WAY_OUT: Final = "AWS blocks port 25 until asked to open it: see Port 25 in docs/operators.md, or use smarthost or ses"


class Silence:
    """Of one process, since it began. port: where the servers listen."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._silent: set[Hashable] = set()
        self._heard = False

    def heard(self) -> None:
        """Some server answered, if only to refuse the connection."""
        self._heard = True
        self._silent.clear()

    def silent(self, site: Hashable) -> str:
        """A connection to a host of `site` timed out. Returns what there is to say about it, "" if nothing."""
        if self._heard or self._port != BLOCKED_PORT:
            return ""
        self._silent.add(site)
        if len(self._silent) < SITES:
            return ""
        return f"none to port {self._port} of {len(self._silent)} destinations has worked so far; {WAY_OUT}"
