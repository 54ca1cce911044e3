"""`FunctionNode`: a plain function as a node."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, final

from lexigram_actors.checks import given
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.invoking import invoke


@final
class FunctionNode(AbstractWorkflowNode):
    """Calls a function with the state, and returns the update that it returns.

    Args:
        name: Names the node where it is used alone.
        fn: `(state) -> update`, sync or async. A sync one runs in the task, so it must not block:
            whatever waits belongs into an async function, or behind `trio.to_thread.run_sync`.

    Raises:
        ConfigurationError: `fn` cannot be called.
    """

    def __init__(self, name: str, fn: Callable[[dict[str, Any]], Any]) -> None:
        if not callable(fn):
            raise ConfigurationError(
                f"node {name!r}: a function (state) -> update is needed, {given(fn)} was given"
            )
        super().__init__(name)
        self._fn = fn
        self.coroutine_function = fn if inspect.iscoroutinefunction(fn) else None
        """The function where it is `async def`: calling it does what `execute` does."""

    async def execute(self, state: dict[str, Any]) -> Any:
        """Return what the function returns; what it raises passes."""
        return await invoke(self._fn, state)
