"""Where the credentials come from: given ones, or botocore's chain (container, instance, profile, ...)."""

import asyncio
import time
from typing import Any, Protocol

from relay.aws.signing import Credentials
from relay.errors import OutageError

FRESH = 60.0  # seconds for which the chain isn't asked again; it refreshes 15 minutes before expiry


class CredentialSource(Protocol):
    async def get(self) -> Credentials:
        """OutageError if there are none now."""
        ...


class Given:
    """Credentials that were given, such as those of a function's environment."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def get(self) -> Credentials:
        return self._credentials


class Chain:
    """botocore's credential chain, asked in a thread: it reads files and calls metadata services."""

    def __init__(self) -> None:
        self._source: Any = None
        self._current: Credentials | None = None
        self._asked = 0.0

    async def get(self) -> Credentials:
        if self._current is None or time.monotonic() - self._asked >= FRESH:
            # Two callers at once may both ask: botocore locks, and the second finds the first's answer.
            self._current = await asyncio.to_thread(self._ask)
            self._asked = time.monotonic()
        return self._current

    def _ask(self) -> Credentials:
        from botocore.exceptions import BotoCoreError  # 0.6 s to import, so only when it is needed
        from botocore.session import Session

        try:
            if self._source is None:
                self._source = Session().get_credentials()
            if self._source is None:
                raise OutageError("the relay has no access to its storage", "no AWS credentials found")
            frozen = self._source.get_frozen_credentials()
        except (BotoCoreError, OSError) as error:
            raise OutageError("the relay has no access to its storage", f"credentials: {error}") from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")
