"""Certificates that are kept as secrets, into files that the gateway reads; again and again, so that a renewal arrives.

    Secrets Manager --every 5 min--> fetch-certificates --rename--> pair.pem --every 30 s--> the gateway's workers

A process of its own, because the gateway's can't wait for AWS at their start, and files are all that they know.
"""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from relay.errors import RelayError
from relay.settings import SettingsError
from smtp_gateway.certificates import tls_context
from smtp_gateway.log import Log
from smtp_gateway.settings import KeyPair

FETCH_EVERY: Final = 300.0  # seconds; with the gateway's own 30 s, so late is a renewal
TRY_EVERY: Final = 5.0  # seconds, as long as there is no file
FORM: Final = 'it is not {"certificate": "...", "private_key": "..."} with a PEM chain and its key'

Ask = Callable[[], Awaitable[str]]
"""The secret's text. RelayError if it can't be had."""


class CertificateFile:
    """path: gets the chain and the key, one after the other, so that no reader ever has one without the other."""

    def __init__(self, ask: Ask, path: Path, log: Log) -> None:
        self._ask = ask
        self._path = path
        self._log = log

    async def fetch(self) -> None:
        """A secret that can't be had or used leaves the file as it is, and is logged."""
        try:
            self._put(_pem(await self._ask()))
        except (RelayError, SettingsError, OSError) as error:
            self._log.certificate_not_fetched(file=str(self._path), error=error)

    @property
    def there(self) -> bool:
        return self._path.exists()

    def _put(self, pem: str) -> None:
        if self.there and self._path.read_text("ascii") == pem:
            return  # a new file would be news to the gateway
        partial = self._path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch(0o600, exist_ok=False)
        partial.write_text(pem, "ascii")
        tls_context([KeyPair(str(partial), str(partial), "the secret", "the secret")])
        partial.replace(self._path)


def _pem(text: str) -> str:
    try:
        fields = json.loads(text)
        chain, key = fields["certificate"], fields["private_key"]
        return f"{chain.strip()}\n{key.strip()}\n".encode("ascii").decode()
    except (AttributeError, KeyError, TypeError, ValueError):  # whose texts may quote the key
        raise SettingsError(FORM) from None


def keep_fetched(files: Sequence[CertificateFile]) -> None:
    """Until SIGTERM or SIGINT."""
    asyncio.run(_keep(files))


async def _keep(files: Sequence[CertificateFile]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        for each in files:
            await each.fetch()
        try:
            async with asyncio.timeout(FETCH_EVERY if all(each.there for each in files) else TRY_EVERY):
                await stop.wait()
        except TimeoutError:
            pass
