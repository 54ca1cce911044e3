"""The thread that owns a SQLite connection, and commits what has gathered in one transaction.

**Group commit.** Writers queue; the thread takes the write lock, then *everything* that queued up
to then, runs it in one transaction and wakes all its callers at once. While it syncs the next
group gathers. A lone writer is served at once; a hundred share one sync.

**A refusal is alone.** Where anything in a group fails the transaction is rolled back, and each of
its requests runs again in a transaction of its own. Rare, so it may be slow; the usual case needs
no savepoints.

**Cancellation.** A request can be taken back until the thread has claimed it. The write lock comes
before the claim: waiting for another process never holds a cancelled caller, and `Cancelled`
always means "not written".

**Reads** are answered between groups, outside any transaction, so they see what is committed, and
everything that was acknowledged is. They go on while another process holds the write lock.

Rejected: apsw's own Trio mode. Each call is a trip of its own there, so a task has to gather the
groups; a caller's deadline interrupts the statements of a whole group; it imports asyncio; and its
thread is no daemon, so a store left open would hang the exit of the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import apsw
import outcome
import trio

from lexigram_actors.errors import StoreError
from lexigram_actors.storage.sqlite.failures import store_error
from lexigram_actors.storage.sqlite.requests import CLOSE_TIMEOUT, Request, Requests, Work
from lexigram_actors.storage.sqlite.session import Session

logger = logging.getLogger(__name__)

LONGEST_NAP: Final = 0.02
"""Seconds between two looks at a lock that another process holds."""


@final
class Worker(Session):
    """A thread with a connection. Who opened it closes it.

    Args:
        path: Shown in errors.
        open_connection: Called on the thread, with the busy handler to install.
        busy_timeout: Seconds to wait for a lock that another process holds.
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
        self.requests = Requests(path)
        self.opened = trio.Event()
        self.ended = trio.Event()
        self.failure: BaseException | None = StoreError(f"{path}: the store's thread broke down")
        # Of the thread alone:
        self.give_up_at = 0.0
        self.taking_lock = False
        # A daemon: a store that nobody closed must not keep the process from ending.
        self.thread = threading.Thread(target=self.run, name=f"store {path}", daemon=True)

    # --- for callers ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Start the thread and wait until the connection is ready.

        Cancelled, or failed: everything is closed again.
        """
        self.thread.start()
        try:
            await self.opened.wait()
        except BaseException:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self.close()
            raise
        if self.failure is not None:
            await self.close()
            raise self.failure

    async def close(self) -> None:
        """Finish what is queued, close the connection and end the thread.

        To be called under a shield that ends after `CLOSE_TIMEOUT`. A disk that hangs for longer
        is logged, and the thread left to it.
        """
        self.requests.close()
        give_up_at = time.monotonic() + CLOSE_TIMEOUT
        try:
            await self.ended.wait()
        finally:
            # A mock clock that jumps has not waited for the thread; this does.
            self.thread.join(max(0.0, give_up_at - time.monotonic()))
            if self.thread.is_alive():
                logger.error("%s: not closed after %g s", self.path, CLOSE_TIMEOUT)

    async def read(self, work: Work, *arguments: Any) -> Any:
        """Return what `work(connection, *arguments)` returns, outside any transaction."""
        return await self.requests.submit(self.requests.reads, work, arguments)

    async def write(self, work: Work, *arguments: Any) -> Any:
        """Return what `work(connection, *arguments)` returns, once it is committed.

        What `work` raises is raised here, and nothing of it was written. It may be called a second
        time, after the first was rolled back.
        """
        return await self.requests.submit(self.requests.writes, work, arguments)

    # --- the thread -----------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self.connection = self.open_connection(self.keep_waiting)
        except Exception as error:  # noqa: BLE001 - raised where the store is opened
            self.failure = store_error(error, self.path)
        else:
            self.failure = None
            self.requests.post(self.opened.set)
            self.serve()
        finally:
            self.requests.end()
            self.requests.post(self.opened.set)
            self.requests.post(self.ended.set)

    def serve(self) -> None:
        try:
            while self.requests.wait():
                self.answer_reads()
                self.commit_writes()
        finally:
            self.close_connection()

    def close_connection(self) -> None:
        try:
            self.connection.close()
        except apsw.Error as error:
            # What was acknowledged is in the log, and whoever opens the file next finds it there.
            logger.warning("%s", store_error(error, self.path))

    def answer_reads(self) -> None:
        requests = self.requests.claim(self.requests.reads)
        try:
            for request in requests:
                request.outcome = self.attempt(request)
        finally:
            self.requests.wake(requests)

    def attempt(self, request: Request) -> outcome.Outcome[Any]:
        try:
            return outcome.Value(request.work(self.connection, *request.arguments))
        except Exception as error:  # noqa: BLE001 - raised in the caller's task
            return self.judged(error)

    def commit_writes(self) -> None:
        if not self.take_lock():
            return
        requests = self.requests.claim(self.requests.writes)
        try:
            if self.run_in_transaction(requests) is not None:
                for request in requests:
                    self.run_alone(request)
        finally:
            self.requests.wake(requests)

    def run_in_transaction(self, requests: Sequence[Request]) -> Exception | None:
        """Run requests in the transaction that is open, and commit; or undo all, and say why."""
        try:
            results = [request.work(self.connection, *request.arguments) for request in requests]
            stopped = self.stopped_before_commit()
            if stopped is not None:
                # Not tried again one by one: it concerns all of them.
                for request in requests:
                    request.outcome = outcome.Error(stopped)
                return None
            self.commit()
        except Exception as error:  # noqa: BLE001 - raised in the caller's task
            self.roll_back()
            return error
        for request, result in zip(requests, results, strict=True):
            request.outcome = outcome.Value(result)
        return None

    def run_alone(self, request: Request) -> None:
        try:
            self.begin()
        except apsw.Error as error:
            request.outcome = self.judged(error)
            return
        refusal = self.run_in_transaction((request,))
        if refusal is not None:
            request.outcome = self.judged(refusal)

    # --- locks of other processes ---------------------------------------------------------------

    def take_lock(self) -> bool:
        """Begin a transaction that may write; False when there is none to begin.

        Reads are answered while another process holds the lock. When it holds it for too long,
        those who have waited all the time are refused.
        """
        waiting = self.requests.waiting_now(self.requests.writes)
        give_up_at = time.monotonic() + self.busy_timeout
        while self.requests.writes:
            try:
                self.begin_before(give_up_at)
                return True
            except apsw.BusyError as error:
                if self.requests.closing or time.monotonic() >= give_up_at:
                    self.refuse(waiting, error)
                    return False
            except apsw.Error as error:
                self.refuse(waiting, error)
                return False
            self.answer_reads()
        return False

    def begin_before(self, give_up_at: float) -> None:
        self.give_up_at = give_up_at
        self.taking_lock = True
        try:
            self.begin()
        finally:
            self.taking_lock = False

    def refuse(self, requests: Sequence[Request], error: apsw.Error) -> None:
        refused = self.requests.claim(self.requests.writes, requests)
        for request in refused:
            request.outcome = self.judged(error)
        self.requests.wake(refused)

    def keep_waiting(self, tries: int) -> bool:
        """Sleep a moment before SQLite tries for a lock again; False to give up.

        Called by SQLite, on this thread.
        """
        now = time.monotonic()
        if tries == 0 and not self.taking_lock:
            self.give_up_at = now + self.busy_timeout
        if self.requests.closing or now >= self.give_up_at:
            return False
        if self.taking_lock and (self.requests.reads or not self.requests.writes):
            return False
        time.sleep(min(0.001 * (tries + 1), LONGEST_NAP))
        return True
