"""Whoever attends to a run from outside: is told what happens, or records what was done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from lexigram_actors.graph.models import GraphEvent
from lexigram_actors.graph.visits import Visit

Recorder = Callable[[Visit], Awaitable[None] | None]
"""Records a visit; what it returns, if it has to wait, is awaited."""


class Watcher(Protocol):
    """Whoever is told of what happens in a run."""

    @property
    def is_full(self) -> bool: ...

    async def wait_room(self) -> None: ...

    def tell(self, event: GraphEvent, /) -> None: ...
