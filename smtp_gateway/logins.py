"""The sessions that are logged in, by account, and the end of those whose account is disabled, gone, or has another
password."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

from relay.account import Account
from relay.errors import TemporaryError
from relay.password import holds
from smtp_gateway.log import Log

EVERY: Final = 30.0  # seconds between looks at all accounts; accounts.TRUST and this are a minute at most
AT_ONCE: Final = 8  # reads of the table under way


class Session(Protocol):
    def log_out(self) -> None:
        """End: no message that isn't on its way to the queue already is taken any more."""
        ...


class Logins:
    """read: an account by its name in lower case, TemporaryError if the table can't say. now: epoch seconds. One
    read for each account that has open sessions."""

    def __init__(self, read: Callable[[str], Awaitable[Account | None]], log: Log, now: Callable[[], float]) -> None:
        self._read = read
        self._now = now
        self._log = log
        self._sessions: dict[str, dict[Session, Account]] = {}
        self._latest: dict[str, Account] = {}

    def enter(self, account: Account, session: Session) -> None:
        """account: as the password opened it (relay.password.verify)."""
        name = account.user.lower()
        self._sessions.setdefault(name, {})[session] = self._latest[name] = account

    def leave(self, name: str, session: Session) -> None:
        """name: of the account, in lower case."""
        sessions = self._sessions[name]
        del sessions[session]
        if not sessions:
            del self._sessions[name], self._latest[name]

    def account(self, name: str) -> Account:
        """As it was last read; it has a session here."""
        return self._latest[name]

    def count(self, name: str) -> int:
        return len(self._sessions.get(name, ()))

    async def watch(self, every: float = EVERY) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(every)
            await self.look()

    async def look(self) -> None:
        """At each account once."""
        names = iter(tuple(self._sessions))
        errors: list[TemporaryError] = []
        await asyncio.gather(*(self._look_at(names, errors) for _ in range(min(AT_ONCE, len(self._sessions)))))
        if errors:
            self._log.accounts_unread(accounts=len(errors), error=errors[-1])

    async def _look_at(self, names: Iterator[str], errors: list[TemporaryError]) -> None:
        for name in names:
            if name not in self._sessions:
                continue  # all have left meanwhile
            try:
                account = await self._read(name)
            except TemporaryError as error:
                errors.append(error)
                continue
            except Exception as error:  # noqa: BLE001 - our bug ends no session, and no watch
                self._log.bug(error=error)
                continue
            if account and name in self._latest:
                self._latest[name] = account
            for session, before in tuple(self._sessions.get(name, {}).items()):
                if not holds(before, account, self._now()):
                    self._end(session)

    def _end(self, session: Session) -> None:
        try:
            session.log_out()
        except Exception as error:  # noqa: BLE001 - our bug in one session keeps no other open
            self._log.bug(error=error)
