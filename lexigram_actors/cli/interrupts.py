"""SIGINT and SIGTERM: the first ends the run in order, the second at once."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from multiprocessing import resource_tracker
from typing import NoReturn

import trio
from attrs import define

from lexigram_actors.cli.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def workers_spared() -> Iterator[None]:
    """Keep Ctrl-C from worker processes that are started in the block, until they ignore it.

    A terminal sends SIGINT to all processes at once, and one that is just starting would print a
    traceback. A process starts with the signals blocked that its parent's thread has blocked. So
    SIGINT is blocked here, in this thread and in all that it starts from now on, but for one that
    does nothing else than take it: Python hands it on to the main thread, whichever takes it.
    """
    # Starting this helper of multiprocessing unblocks the signal again: so it is started before.
    resource_tracker.ensure_running()
    over = threading.Event()
    taker = threading.Thread(target=over.wait, name="takes SIGINT", daemon=True)
    taker.start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        over.set()
        taker.join()


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
