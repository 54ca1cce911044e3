"""Tables that are made when they are first needed, in any SQL database.

There is no lock: whoever is in a transaction may have the database for themselves, and would wait
for a task that waits for the database. That it was done is remembered, but not relied on: a
transaction of the caller's that is rolled back takes a table with it that was made inside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, final

from lexigram_actors.storage.database import DatabaseProviderProtocol

P = ParamSpec("P")
T = TypeVar("T")


@final
class Tables:
    """What has to be in a database before the first statement that needs it.

    Args:
        provider: The database.
        statements: Make what is missing, and are fine with what is there.
    """

    def __init__(self, provider: DatabaseProviderProtocol, *statements: str) -> None:
        self._provider = provider
        self._statements = statements
        self._are_made = False

    async def make(self) -> None:
        """Make what is missing, unless that was done. Cut off, the next call makes up for it."""
        if self._are_made:
            return
        for statement in self._statements:
            try:
                await self._provider.execute(statement)
            except Exception:  # noqa: BLE001 - PostgreSQL refuses the second of two at one moment
                await self._provider.execute(statement)
        self._are_made = True

    async def using(self, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `fn(*args)` does, which needs the tables and may be called twice.

        That it is where the tables had been made before, and may be gone.
        """
        were_made = self._are_made
        await self.make()
        try:
            return await fn(*args, **kwargs)
        except Exception:
            if not were_made:
                raise
        self._are_made = False
        await self.make()
        return await fn(*args, **kwargs)
