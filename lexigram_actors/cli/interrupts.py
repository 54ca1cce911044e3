"""SIGINT and SIGTERM: the first ends the run in order, the second at once."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

import trio
from attrs import define

from lexigram_actors.cli.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@define(eq=False)
class Interrupts:
    """What signals do to a run: the first cancels `scope`, the second ends the process."""

    scope: trio.CancelScope
    on_first: Callable[[], None]
    before_exit: Callable[[], None]
    """Called before the process ends at once; puts the terminal in order."""
    received: int | None = None

    @property
    def exit_code(self) -> int | None:
        """What the process ends with because of a signal, None when none came."""
        if self.received is None:
            return None
        return EXIT_INTERRUPTED if self.received == signal.SIGINT else EXIT_TERMINATED

    async def listen(self, signals: AsyncIterator[int]) -> None:
        """Answer signals until cancelled; `signals` is an open signal receiver."""
        async for number in signals:
            if self.received is not None:
                self._exit_at_once(number)
            self.received = number
            self.on_first()
            self.scope.cancel()

    def _exit_at_once(self, number: int) -> NoReturn:
        """End the process without waiting for threads. Every line on the disk is whole already."""
        for worker in multiprocessing.active_children():
            with contextlib.suppress(OSError):
                worker.kill()
        self.before_exit()
        os._exit(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED)
