"""A connection with its transactions: what a worker is, with a thread or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import apsw
import outcome

from lexigram_actors.storage.sqlite.failures import is_damage, store_error
from lexigram_actors.storage.sqlite.requests import Work


class SQLWorker(Protocol):
    """Whoever owns the connection of an open store.

    Attributes:
        path: Of the database, absolute.
        before_commit: Called in each transaction, when its work is done and before it is
            committed. What it raises undoes the transaction, and its callers get it.
    """

    path: str
    before_commit: Callable[[], None] | None

    async def open(self) -> None:
        """Make the connection ready. Cancelled, or failed: everything is closed again."""
        ...

    async def close(self) -> None:
        """Finish what is queued and close the connection."""
        ...

    async def read(self, work: Work, *arguments: Any) -> Any:
        """Return what `work(connection, *arguments)` returns, outside any transaction."""
        ...

    async def write(self, work: Work, *arguments: Any) -> Any:
        """Return what `work(connection, *arguments)` returns, once it is committed.

        What `work` raises is raised here, and nothing of it was written. It may be called a second
        time, after the first was rolled back.
        """
        ...


class Session:
    """A connection, and what is known of the file. For one thread.

    Args:
        path: Shown in errors.
    """

    connection: apsw.Connection

    def __init__(self, path: str) -> None:
        self.path = path
        self.damaged = False
        self.before_commit: Callable[[], None] | None = None

    def begin(self) -> None:
        if self.damaged:
            raise apsw.CorruptError("it was found to be so before, and is not written to any more")
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def stopped_before_commit(self) -> Exception | None:
        """Ask whoever may stop the transaction; stopped, it is undone, and the reason returned."""
        if self.before_commit is None:
            return None
        try:
            self.before_commit()
        except Exception as error:  # noqa: BLE001 - raised in the caller's task
            self.roll_back()
            return error
        return None

    def roll_back(self) -> None:
        """Undo the transaction, which a full disk or an I/O error may have ended already."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def judged(self, error: Exception) -> outcome.Error:
        """Return the error as its caller shall see it; after damage nothing is written any more."""
        self.damaged = self.damaged or is_damage(error)
        return outcome.Error(store_error(error, self.path))
