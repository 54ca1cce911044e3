"""The input, batch by batch. Workers pull: nobody feeds them, and nothing is read ahead of need.

A list is sliced, any other iterable is drained step by step; both give a batch without waiting. An
async iterable is read by one task, always the same, because an async generator may hold scopes and
nurseries open across its yields, which must not change tasks. It reads only what a worker could
take at once.

All have `take()`: the next batch, None where there is none now; `over`: there will be none any
more; `known_items`: their number, None where it cannot be known beforehand.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sized
from typing import Any, final

import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled

from lexigram_actors.bulk.executors import name_of
from lexigram_actors.bulk.turns import Turn

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 5.0
TURN = 100
"""Batches without a pause; there is seldom room for so many."""


@final
class ListSource:
    """Slices a list; its length counts as it was at the beginning."""

    def __init__(self, items: list[Any], batch_size: int) -> None:
        self.known_items = len(items)
        self.over = not items
        self._items = items
        self._size = batch_size
        self._next = 0

    def take(self) -> list[Any] | None:
        """Return the next slice."""
        if self.over:
            return None
        start = self._next
        end = self._next = min(start + self._size, self.known_items)
        batch = self._items[start:end]
        # A list that shrank meanwhile ends early.
        self.over = end == self.known_items or not batch
        return batch or None


@final
class IterableSource:
    """Drains an iterable; whatever it raises comes out of `take`."""

    def __init__(self, items: Iterable[Any], batch_size: int) -> None:
        self.known_items = len(items) if isinstance(items, Sized) else None
        self.over = False
        self._items = iter(items)
        self._size = batch_size

    def take(self) -> list[Any] | None:
        """Return the next items; a batch that is not full is the last."""
        if self.over:
            return None
        try:
            batch = list(itertools.islice(self._items, self._size))
        except BaseException:
            self.over = True
            raise
        self.over = len(batch) < self._size
        return batch or None


@final
class AsyncSource:
    """Reads an async iterable in the task that runs `read`, into batches for the workers.

    Args:
        room: Says how many more batches could be taken up at once.
        announce: Called when a batch is there, and when no more will come.
    """

    def __init__(self, items: AsyncIterable[Any], batch_size: int) -> None:
        self.known_items: int | None = None
        self.over = False
        self.room: Callable[[], int] = lambda: 0
        self.announce: Callable[[], None] = lambda: None
        self.batches: deque[list[Any]] = deque()
        self._items = items
        self._size = batch_size
        self._ended = False
        self._reader: trio.lowlevel.Task | None = None

    def take(self) -> list[Any] | None:
        """Return a batch that was read."""
        batch = self.batches.popleft() if self.batches else None
        self.over = self._ended and not self.batches
        return batch

    def ready(self) -> bool:
        """Say whether a batch was read."""
        return bool(self.batches)

    def demand(self) -> None:
        """Let the reader look whether there is room again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reschedule(reader)

    async def read(self) -> None:
        """Read to the end, as there is room. Closes the iterator, whatever happens.

        Raises:
            Exception: What the iterable raised; items that did not fill a batch are dropped.
        """
        try:
            iterator = aiter(self._items)
            try:
                await self._fill(iterator)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
                    await close(iterator)
                if scope.cancelled_caught:
                    name = name_of(type(iterator))
                    logger.warning("closing the input %s was cut off, it took too long", name)
        finally:
            self._ended = True
            self.over = not self.batches
            self.announce()

    async def _fill(self, iterator: AsyncIterator[Any]) -> None:
        batch: list[Any] = []
        turn = Turn(TURN)
        await self._wait_for_room()
        async for item in iterator:
            batch.append(item)
            if len(batch) < self._size:
                continue
            self.batches.append(batch)
            self.announce()
            batch = []
            if self.room() <= 0:
                await self._wait_for_room()
                turn.begin()
            elif turn.is_over():
                await trio.lowlevel.checkpoint()
                turn.begin()
        if batch:
            self.batches.append(batch)

    async def _wait_for_room(self) -> None:
        def abort(_: RaiseCancelT) -> Abort:
            self._reader = None
            return Abort.SUCCEEDED

        while self.room() <= 0:
            self._reader = current_task()
            await wait_task_rescheduled(abort)


async def close(iterator: AsyncIterator[Any]) -> None:
    """Close an async iterator that can be closed; what that raises is logged."""
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        try:
            await aclose()
        except Exception:
            logger.exception("closing the input %s failed", name_of(type(iterator)))


def source_of(items: Any, batch_size: int) -> ListSource | IterableSource | AsyncSource:
    """Return the source for what was given to `execute`.

    Raises:
        TypeError: It is neither iterable nor async iterable.
    """
    if isinstance(items, list):
        return ListSource(items, batch_size)
    if isinstance(items, AsyncIterable):
        return AsyncSource(items, batch_size)
    if isinstance(items, Iterable) or hasattr(type(items), "__getitem__"):
        return IterableSource(items, batch_size)
    hint = "; call it: execute(source(...))" if callable(items) else ""
    raise TypeError(
        "items must be a list, an iterable or an async iterable, "
        f"and is {items!r:.80} ({type(items).__qualname__}){hint}"
    )
