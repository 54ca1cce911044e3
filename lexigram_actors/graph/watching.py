"""Whoever attends to a run from outside: is told what happens, or records what was done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, final

import trio

from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.models import GraphEvent
from lexigram_actors.graph.visits import Visit
from lexigram_actors.nurseries import split_cancelled

RECORDING_GRACE: Final = 5.0
"""Seconds in which a node that finished is still recorded when its run is cancelled."""

Recorder = Callable[[Visit], Awaitable[None] | None]
"""Records a visit; what it returns, if it has to wait, is awaited."""


class Watcher(Protocol):
    """Whoever is told of what happens in a run."""

    @property
    def is_full(self) -> bool: ...

    async def wait_room(self) -> None: ...

    def tell(self, event: GraphEvent, /) -> None: ...


@final
class Recording:
    """Visits on their way into the record of a run."""

    __slots__ = ("_execution", "_record", "_unrecorded")

    def __init__(self, execution: Execution, record: Recorder) -> None:
        self._execution = execution
        self._record = record
        self._unrecorded: dict[Visit, None] = {}

    async def write(self, visit: Visit, before_waiting: Callable[[], None]) -> None:
        """Have a visit recorded. Cancelled, it is still recorded, within `RECORDING_GRACE`.

        Args:
            before_waiting: Called where the record has to be waited for.
        """
        waiting = self._record(visit)
        if waiting is None:
            return
        before_waiting()
        self._unrecorded[visit] = None
        try:
            await waiting
        except BaseException as error:
            if split_cancelled(error)[1] is None:  # nothing but a cancellation
                with trio.move_on_after(RECORDING_GRACE, shield=True):
                    await self._make_up_for(visit)
            raise
        del self._unrecorded[visit]

    async def catch_up(self) -> None:
        """Record what was cut short because another node failed."""
        while self._unrecorded:
            await self._make_up_for(next(iter(self._unrecorded)))

    async def _make_up_for(self, visit: Visit) -> None:
        again = self._record(visit)
        if again is not None:
            await again
        del self._unrecorded[visit]
        self._execution.sync(visit)
        self._execution.take_over(visit)
