"""A worker without a thread: SQL runs in the task that calls.

For tests: on a virtual clock, which a thread does not wait for, and where one seed has to give one
order of events. Each call is a checkpoint first, then runs to its end; the disk holds up all tasks
meanwhile, so it is nothing for a server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, final

import apsw
import outcome
import trio

from lexigram_actors.errors import StoreError
from lexigram_actors.storage.sqlite.failures import store_error
from lexigram_actors.storage.sqlite.requests import Work
from lexigram_actors.storage.sqlite.session import Session

NAP: Final = 0.001
"""Seconds between two looks at a lock that another process holds."""


@final
class InlineWorker(Session):
    """A connection on Trio's own thread. Who opened it closes it.

    Args:
        path: Shown in errors.
        open_connection: Called with the busy handler to install.
        busy_timeout: Seconds to wait for a lock that another process holds; everything waits.
    """

    def __init__(
        self,
        path: str,
        open_connection: Callable[[Callable[[int], bool]], apsw.Connection],
        busy_timeout: float,
    ) -> None:
        super().__init__(path)
        self.open_connection = open_connection
        self.busy_timeout = busy_timeout
        self.give_up_at = 0.0
        self.closed = False

    async def open(self) -> None:
        """Make the connection ready."""
        await trio.lowlevel.checkpoint()
        try:
            self.connection = self.open_connection(self.keep_waiting)
        except Exception as error:
            known = store_error(error, self.path)
            if known is error:
                raise
            raise known from error

    async def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self.connection.close()
        await trio.lowlevel.checkpoint()

    async def read(self, work: Work, *arguments: Any) -> Any:
        """Return what `work(connection, *arguments)` returns, outside any transaction."""
        await trio.lowlevel.checkpoint()
        self.check_open()
        try:
            return work(self.connection, *arguments)
        except Exception as error:  # noqa: BLE001 - raised as its caller shall see it
            refusal = self.judged(error)
        return refusal.unwrap()

    async def write(self, work: Work, *arguments: Any) -> Any:
        """Return what `work(connection, *arguments)` returns, once it is committed."""
        await trio.lowlevel.checkpoint()
        self.check_open()
        return self.in_transaction(work, arguments).unwrap()

    def in_transaction(self, work: Work, arguments: tuple[Any, ...]) -> outcome.Outcome[Any]:
        try:
            self.begin()
            result = work(self.connection, *arguments)
            stopped = self.stopped_before_commit()
            if stopped is not None:
                return outcome.Error(stopped)
            self.commit()
        except Exception as error:  # noqa: BLE001 - raised as its caller shall see it
            self.roll_back()
            return self.judged(error)
        except BaseException:
            self.roll_back()
            raise
        return outcome.Value(result)

    def check_open(self) -> None:
        if self.closed:
            raise StoreError(
                f"{self.path}: the store is closed", hint="use it inside its `async with`"
            )

    def keep_waiting(self, tries: int) -> bool:
        """Sleep a moment before SQLite tries for a lock again; False to give up."""
        now = time.monotonic()
        if tries == 0:
            self.give_up_at = now + self.busy_timeout
        if now >= self.give_up_at:
            return False
        time.sleep(NAP)
        return True
