"""The embedded store: one SQLite file."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, final

import trio

from lexigram_actors.errors import ConfigurationError, StoreError
from lexigram_actors.storage.book import InstanceBook
from lexigram_actors.storage.cache import KeyValueCache
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.instances import InstanceStore
from lexigram_actors.storage.ports import CacheBackendProtocol
from lexigram_actors.storage.sqlite.instances import SQLiteInstanceRows
from lexigram_actors.storage.sqlite.requests import CLOSE_TIMEOUT
from lexigram_actors.storage.sqlite.rows import SQLiteRows

if TYPE_CHECKING:
    from lexigram_actors.storage.sqlite.session import SQLWorker

Synchronous = Literal["full", "normal"]

BUSY_TIMEOUT: Final = 5.0

POLL: Final = 0.5
"""Seconds between two looks for what other processes have posted, unless a host wants another."""


@final
class SQLiteStore:
    """Keeps everything in one SQLite file; `Ok` of a write means that it is on disk.

    `async with SQLiteStore("flows.db") as store:` opens it and closes it again, on a thread of its
    own. A file that is not there is made, readable by its owner only, in a folder that must be
    there. Several processes may have the same file open.

    After a crash, of the process or the machine, everything that was acknowledged is there, and of
    a write that was not, either all or nothing.

    Args:
        path: The file. Relative to the working directory at the time of opening.
        synchronous: `"full"`: every commit is forced to disk. `"normal"`: a power loss may take the
            last commits, acknowledged ones too; a crash of the process alone takes none.
        busy_timeout: Seconds to wait for a lock that another process holds; then the call is an
            `Err(StoreError)`.
        codec: Holds your registered types and the limits. None: a plain one.
        clock: Returns wall time in seconds; times to live and leases are judged by it.
        inline: Run SQL in the calling task instead of a thread: for tests on a virtual clock. A
            host then looks for nothing that others post.

    Hosts may enter through one store at a time, in whatever process; those of one store are told
    apart by their leases. Closing the store without `leave` is to its hosts as a crash.

    Raises:
        ConfigurationError: One of these is wrong. On entering also:
        StoreVersionError: The file is another program's, or of a newer version; it is untouched.
        StoreCorruptedError: The file is damaged; it is untouched.
        StoreError: It cannot be opened or made; the message says what to do.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = BUSY_TIMEOUT,
        codec: Codec | None = None,
        clock: Callable[[], float] = time.time,
        inline: bool = False,
    ) -> None:
        self.path = checked_path(path)
        self.synchronous: Synchronous = checked_synchronous(synchronous)
        self.busy_timeout = checked_timeout(busy_timeout)
        self.rows = SQLiteRows(self.path)
        self.inline = inline
        self.instance_rows = SQLiteInstanceRows(self.rows)
        codec = Codec() if codec is None else codec
        self._cache = KeyValueCache(self.rows, codec, clock)
        self._instances = InstanceBook(
            self.instance_rows, codec, clock, lease=math.inf, poll=POLL if not inline else math.inf
        )

    @property
    def cache(self) -> CacheBackendProtocol:
        """The key-value view; works while the store is open."""
        return self._cache

    @property
    def instances(self) -> InstanceStore:
        """Instances, their journals and their mail; works while the store is open."""
        return self._instances

    async def __aenter__(self) -> Self:
        if self.rows.worker is not None:
            raise StoreError(f"{self.path}: this store is open already", hint="make a second one")
        self.rows.worker = worker = self.make_worker()
        try:
            await worker.open()
        except BaseException:
            self.rows.worker = None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        worker, self.rows.worker = self.rows.running(), None
        try:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await worker.close()
        finally:
            self.instance_rows.forget_hosts()

    def make_worker(self) -> SQLWorker:
        # Here, so that only who opens a SQLite store loads the driver.
        from lexigram_actors.storage.sqlite.inline import InlineWorker
        from lexigram_actors.storage.sqlite.opening import open_database
        from lexigram_actors.storage.sqlite.worker import Worker

        path = os.path.realpath(self.path)
        kind = InlineWorker if self.inline else Worker
        return kind(path, partial(open_database, path, self.synchronous), self.busy_timeout)


def checked_path(path: str | os.PathLike[str]) -> str:
    """Return the path as text that SQLite can take."""
    text = os.fspath(path)
    if not isinstance(text, str) or not text or text == ":memory:" or "\0" in text:
        raise ConfigurationError(
            f"the path of a SQLite store is {text!r}; give the path of a file "
            "(MemoryStore keeps everything in memory)"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"the path of a SQLite store must be UTF-8, and is {text!r}", cause=error
        ) from error
    return text


def checked_synchronous(synchronous: str) -> Synchronous:
    """Return the mode, or refuse one that there is not."""
    if synchronous == "full":
        return "full"
    if synchronous == "normal":
        return "normal"
    raise ConfigurationError(
        f"synchronous is 'full' (nothing acknowledged is ever lost) or 'normal' (a power loss may "
        f"take the last commits), and not {synchronous!r}"
    )


def checked_timeout(busy_timeout: float) -> float:
    """Return the seconds, or refuse what is no finite number of them."""
    known = isinstance(busy_timeout, int | float) and not isinstance(busy_timeout, bool)
    if not known or not math.isfinite(busy_timeout) or busy_timeout < 0:
        raise ConfigurationError(
            f"busy_timeout must be seconds, finite and not negative, and is {busy_timeout!r}"
        )
    return busy_timeout
