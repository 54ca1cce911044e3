"""Parking a task until another calls, without a Trio Event or a channel for each time.

An ask is one object: it lies in the mailbox as the message's envelope, and its answer reschedules
the asker directly. That is two task switches for a round trip, where a reply channel costs four and
an object to build besides.
"""

from __future__ import annotations

from typing import Any, final

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled


class Outcome:
    """Something that one task waits for and that happens once.

    `task` is the waiter while it waits, None before and after. The first `answer` or `fail` counts;
    what comes later, or after the waiter gave up, is ignored.
    """

    __slots__ = ("error", "settled", "task", "value")

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.settled = False
        self.value: Any = None
        self.error: Exception | None = None

    def answer(self, value: Any) -> None:
        if not self.settled:
            self.settled = True
            self.value = value
            self._wake()

    def fail(self, error: Exception) -> None:
        if not self.settled:
            self.settled = True
            self.error = error
            self._wake()

    def _wake(self) -> None:
        if self.task is not None:
            task, self.task = self.task, None
            reschedule(task)

    def give_up(self, _: Any) -> Abort:
        self.task = None
        self.settled = True
        return Abort.SUCCEEDED

    async def wait(self) -> Any:
        """The answer, or raise the failure. A waiter that is cancelled is forgotten."""
        if not self.settled:
            self.task = current_task()
            await wait_task_rescheduled(self.give_up)
        if self.error is not None:
            raise self.error
        return self.value


@final
class Ask(Outcome):
    """A message with somebody who waits for its answer."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:  # no super(): one is made for every ask
        self.task = None
        self.settled = False
        self.value = None
        self.error = None
        self.message = message
