"""A small SQL database for what has tables of its own: `DatabaseProviderProtocol` over SQLite."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, final

import trio

from lexigram_actors.errors import ConfigurationError, StoreError, StoreVersionError
from lexigram_actors.storage.database import QueryResult, is_identifier
from lexigram_actors.storage.sqlite.store import BUSY_TIMEOUT, checked_path, checked_timeout

if TYPE_CHECKING:
    import apsw

CLEANUP_TIMEOUT: Final = 30.0
"""Seconds for the commit or the end of a transaction that was cancelled."""

NAP: Final = 0.005
"""Seconds between two looks at a lock that another process holds."""


@final
class SQLiteDatabase:
    """A SQLite file as a database for tables of your own; not for a file of a `SQLiteStore`.

    `async with SQLiteDatabase("machines.db") as database:` connects and disconnects. A file that is
    not there is made, readable by its owner only. What has returned outside of a transaction is on
    disk; inside of one everything is, once the block is left.

    There is one connection. A transaction has it for itself: the statements of other tasks wait for
    its end, also those of tasks that it has started, which it must not wait for in turn. A
    transaction inside another, in the same task, is undone by itself.

    Args:
        path: The file. Relative to the working directory at the time of connecting.
        busy_timeout: Seconds to wait for a lock that another process holds.
        inline: Run SQL in the calling task instead of a thread: for tests on a virtual clock.

    Raises:
        ConfigurationError: One of these is wrong. Of its methods:
        StoreError: SQLite refused, and nothing of the statement was done; the cause is its own.
        ConfigurationError: A table or a column has no name of letters, digits and underscores.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_timeout: float = BUSY_TIMEOUT,
        inline: bool = False,
    ) -> None:
        self.path = checked_path(path)
        self._busy_timeout = checked_timeout(busy_timeout)
        self._inline = inline
        self._connection: apsw.Connection | None = None
        self._lock = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._owner: trio.lowlevel.Task | None = None  # of the transaction; it has the lock
        self._depth = 0

    # --- connecting

    async def connect(self) -> None:
        """Open the file. Fine where it is open.

        Raises:
            StoreVersionError: It is that of a `SQLiteStore`; it is untouched.
            StoreError: It cannot be opened.
        """
        async with self._lock:
            if self._connection is None:
                self._connection = await self._call(self._opened)

    async def disconnect(self) -> None:
        """Close the file; waits for the end of a transaction. Fine where it is closed.

        Raises:
            StoreError: It is called inside of a transaction.
        """
        if self._is_inside():
            raise StoreError(f"{self.path}: a transaction cannot close its own database")
        async with self._lock:
            if self._connection is not None:
                await self._call(self._connection.close)
                self._connection = None

    async def is_connected(self) -> bool:
        """Say whether the file is open."""
        await trio.lowlevel.checkpoint()
        return self._connection is not None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.move_on_after(CLEANUP_TIMEOUT, shield=True):
            await self.disconnect()

    # --- statements

    async def execute(self, sql: str, params: Any = None) -> QueryResult:
        """Run one statement, or several without parameters.

        Cancelled while it waits for its turn, nothing was done; once begun it is finished.
        """
        if self._is_inside():
            self._check_going_on()
            return await self._run(sql, params)
        async with self._lock:
            return await self._run(sql, params)

    async def execute_query(
        self, sql: str, params: Sequence[Any] | None = None, **options: Any
    ) -> QueryResult:
        """Run a query; the options count for nothing."""
        return await self.execute(sql, params)

    async def execute_insert(
        self, table: str, data: Mapping[str, Any], **options: Any
    ) -> QueryResult:
        """Add a row."""
        columns = ", ".join(map(quoted, data))
        places = ", ".join("?" * len(data))
        sql = f"INSERT INTO {quoted(table)} ({columns}) VALUES ({places})"  # noqa: S608
        return await self.execute(sql, list(data.values()))

    async def execute_update(
        self,
        table: str,
        data: Mapping[str, Any],
        where_clause: str,
        where_params: Sequence[Any] | None = None,
        **options: Any,
    ) -> QueryResult:
        """Change the rows of which the clause, which is SQL as it is, holds."""
        changes = ", ".join(f"{quoted(column)} = ?" for column in data)
        sql = f"UPDATE {quoted(table)} SET {changes} WHERE {where_clause}"  # noqa: S608
        return await self.execute(sql, [*data.values(), *(where_params or ())])

    async def execute_delete(
        self,
        table: str,
        where_clause: str,
        where_params: Sequence[Any] | None = None,
        **options: Any,
    ) -> QueryResult:
        """Remove the rows of which the clause, which is SQL as it is, holds."""
        sql = f"DELETE FROM {quoted(table)} WHERE {where_clause}"  # noqa: S608
        return await self.execute(sql, list(where_params or ()))

    @asynccontextmanager
    async def transaction(self, isolation_level: str | None = None) -> AsyncIterator[Self]:
        """Commit at the end of the block; roll back where it raises, or is cancelled.

        A commit that has begun is finished.

        Args:
            isolation_level: Of no account: those of SQLite are serializable, and nothing is
                stricter.
        """
        if self._is_inside():
            self._check_going_on()
            name = f"level_{self._depth}"
            async with self._ended_by(
                f"SAVEPOINT {name}", f"RELEASE {name}", f"ROLLBACK TO {name}; RELEASE {name}"
            ):
                yield self
            return
        async with self._lock:
            self._owner = trio.lowlevel.current_task()
            try:
                async with self._ended_by("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"):
                    yield self
            finally:
                self._owner = None

    # --- inside

    @asynccontextmanager
    async def _ended_by(self, begin: str, commit: str, roll_back: str) -> AsyncIterator[None]:
        await self._run(begin)
        self._depth += 1
        try:
            yield
            await trio.lowlevel.checkpoint_if_cancelled()
            with trio.fail_after(CLEANUP_TIMEOUT, shield=True):
                await self._run(commit)
        except BaseException:
            # A full disk or an I/O error may have ended it already.
            if self._connection is not None and self._connection.in_transaction:
                with trio.move_on_after(CLEANUP_TIMEOUT, shield=True):
                    await self._run(roll_back)
            raise
        finally:
            self._depth -= 1

    def _is_inside(self) -> bool:
        return self._owner is not None and self._owner is trio.lowlevel.current_task()

    def _check_going_on(self) -> None:
        """Refuse to go on in a transaction that is over: a statement would be on disk at once."""
        if self._connection is not None and not self._connection.in_transaction:
            raise StoreError(
                f"{self.path}: the transaction is over already, and nothing more is done in it",
                hint="leave the block when a statement in it fails; SQLite rolls back where the "
                "disk is full, and for INSERT OR ROLLBACK. Leave COMMIT and ROLLBACK to the block",
            )

    async def _run(self, sql: str, params: Any = None) -> QueryResult:
        connection = self._connection
        if connection is None:
            raise StoreError(
                f"{self.path}: the database is not connected", hint="use it inside its `async with`"
            )
        result: QueryResult = await self._call(lambda: result_of(connection, sql, params))
        return result

    async def _call(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns; in a thread, for the disk is slow. Not cut off once begun."""

        def judged() -> Any:
            with refusals_of(self.path):
                return work()

        if self._inline:
            await trio.lowlevel.checkpoint()
            return judged()
        return await trio.to_thread.run_sync(judged, limiter=self._limiter)

    def _opened(self) -> apsw.Connection:
        import apsw

        path = os.path.realpath(self.path)
        create(path)
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_handler(waiting_for(self._busy_timeout))
            make_ready(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def create(path: str) -> None:
    """Make a file for its owner only, unless there is one.

    Not through SQLite, which would take the rights from the umask. And one that is there is not
    opened: closing it would drop the locks that other connections of this process have on it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def make_ready(connection: apsw.Connection, path: str) -> None:
    """Set a connection up.

    Raises:
        StoreVersionError: The file is that of a `SQLiteStore`; it is untouched.
    """
    from lexigram_actors.storage.sqlite.creation import use_write_ahead_log
    from lexigram_actors.storage.sqlite.schema import APPLICATION_ID

    connection.pragma("trusted_schema", False)
    if connection.pragma("application_id") == APPLICATION_ID:
        raise StoreVersionError(
            f"{path} is the file of a SQLiteStore, which refuses tables of others",
            hint="give another file, or use the store itself: StoreStatePersistence(store)",
        )
    use_write_ahead_log(connection, path)
    connection.pragma("synchronous", "FULL")


def result_of(connection: apsw.Connection, sql: str, params: Any) -> QueryResult:
    """Run SQL, and return its rows by the names of their columns."""
    before = connection.total_changes()
    cursor = connection.execute(sql, None if params is None else params)
    rows = [
        dict(zip((name for name, *_ in cursor.description), values, strict=True))
        for values in cursor
    ]
    changed = connection.total_changes() - before
    return QueryResult(rows, len(rows) or changed)


def quoted(name: str) -> str:
    """Return the name of a table or a column as SQL.

    Raises:
        ConfigurationError: It is something else.
    """
    if not is_identifier(name):
        raise ConfigurationError(
            f"a table or a column is named {name!r}; letters, digits and underscores are possible"
        )
    return f'"{name}"'


@contextmanager
def refusals_of(path: str) -> Iterator[None]:
    """Raise what SQLite or the system refuses as a `StoreError`."""
    from lexigram_actors.storage.sqlite.failures import store_error

    try:
        yield
    except Exception as error:
        known = store_error(error, path)
        if known is error:
            raise
        raise known from error


def waiting_for(seconds: float) -> Callable[[int], bool]:
    """Return what SQLite calls before it tries for a lock again; False gives up."""
    give_up_at = 0.0

    def keep_waiting(tries: int) -> bool:
        nonlocal give_up_at
        now = time.monotonic()
        if tries == 0:
            give_up_at = now + seconds
        if now >= give_up_at:
            return False
        time.sleep(NAP)
        return True

    return keep_waiting
