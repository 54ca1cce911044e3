"""What waits between the tasks that call a store and the thread that serves them.

A task puts a request here and sleeps; the thread claims requests, and wakes their tasks, many at
once. Up to the claim a task that is cancelled takes its request back, and then it has not
happened. From the claim on its outcome is a matter of milliseconds, and the task waits for it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, final

import outcome
import trio

from lexigram_actors.errors import StoreError

Work = Callable[..., Any]

CLOSE_TIMEOUT: Final = 30.0
"""Seconds that closing waits for the disk, at most; a commit takes milliseconds."""


@final
class Request:
    """One call that waits for the thread."""

    __slots__ = ("arguments", "outcome", "task", "work")

    def __init__(self, work: Work, arguments: tuple[Any, ...], task: trio.lowlevel.Task) -> None:
        self.work = work
        self.arguments = arguments
        self.task = task
        self.outcome: outcome.Outcome[Any] | None = None


@final
class Requests:
    """The reads and the writes that wait for the thread of a store.

    Made on Trio's thread. `submit` and `close` are called there; the rest on the other.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.token = trio.lowlevel.current_trio_token()
        # All below is shared, and changed under the lock. Dicts, as sets that keep their order.
        self.lock = threading.Lock()
        self.reads: dict[Request, None] = {}
        self.writes: dict[Request, None] = {}
        self.idle = False
        self.closing = False
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    @trio.lowlevel.enable_ki_protection  # Ctrl-C between queueing and sleeping would be fatal
    async def submit(
        self, waiting: dict[Request, None], work: Work, arguments: tuple[Any, ...]
    ) -> Any:
        """Queue a call, and return or raise its outcome when the thread has done it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        request = Request(work, arguments, trio.lowlevel.current_task())
        with self.lock:
            if self.closing:
                raise self.closed()
            waiting[request] = None
            idle, self.idle = self.idle, False
        if idle:
            self.bell.put(None)

        def take_back(_: object) -> trio.lowlevel.Abort:
            taken = self.claim(waiting, (request,))
            return trio.lowlevel.Abort.SUCCEEDED if taken else trio.lowlevel.Abort.FAILED

        return await trio.lowlevel.wait_task_rescheduled(take_back)

    def close(self) -> None:
        """Take no more requests; `wait` is False when those that are here are done."""
        with self.lock:
            self.closing = True
        self.bell.put(None)

    def wait(self) -> bool:
        """Sleep until there is something to do; False when it is time to end."""
        while True:
            with self.lock:
                if self.reads or self.writes:
                    return True
                if self.closing:
                    return False
                self.idle = True
            self.bell.get()

    def claim(
        self, waiting: dict[Request, None], wanted: Collection[Request] | None = None
    ) -> list[Request]:
        """Take out those requests that still wait; None means all."""
        with self.lock:
            some = waiting if wanted is None else wanted
            claimed = [request for request in some if request in waiting]
            for request in claimed:
                del waiting[request]
        return claimed

    def waiting_now(self, waiting: dict[Request, None]) -> list[Request]:
        """Return those that wait, without claiming them."""
        with self.lock:
            return list(waiting)

    def wake(self, requests: Collection[Request]) -> None:
        """Wake the tasks of claimed requests, in one go.

        A request without an outcome was dropped by a thread that ended; its caller is told so.
        """
        told = [(each.task, each.outcome or outcome.Error(self.closed())) for each in requests]
        if told:
            self.post(reschedule_all, told)

    def end(self) -> None:
        """Refuse what still waits, and all that comes; the thread serves nothing any more."""
        with self.lock:
            self.closing = True
        self.wake([*self.claim(self.reads), *self.claim(self.writes)])

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function on Trio's thread, soon; it must not raise."""
        try:
            self.token.run_sync_soon(function, *arguments)
        except trio.RunFinishedError:
            # Nobody waits any more. The thread was not told to end, so it is now.
            self.closing = True

    def closed(self) -> StoreError:
        return StoreError(
            f"{self.path}: the store is closed", hint="use it inside its `async with`"
        )


def reschedule_all(told: Iterable[tuple[trio.lowlevel.Task, outcome.Outcome[Any]]]) -> None:
    """Wake each task with its outcome."""
    for task, result in told:
        trio.lowlevel.reschedule(task, result)
