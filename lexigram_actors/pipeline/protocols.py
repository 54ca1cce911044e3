"""What others may supply in the place of a pipeline, or around its steps. An object that fits,
fits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lexigram_actors.result import Result

if TYPE_CHECKING:
    from lexigram_actors.pipeline.context import PipelineContext


@runtime_checkable
class PipelineProtocol(Protocol):
    """Runs steps, to which more can be added."""

    def add_step(self, step: Any) -> None:
        """Append a step."""
        ...

    async def execute(
        self, initial_context: PipelineContext | None = None
    ) -> Result[PipelineContext, Exception]:
        """Run every step; return the context, or why not."""
        ...


@runtime_checkable
class ResilienceProtocol(Protocol):
    """Calls a function as often as it takes: what a step asks of its `resilience`.

    A `RetryPolicy` does.
    """

    async def execute(self, func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Return what `await func(*args, **kwargs)` returns, after as many calls as it takes."""
        ...


@runtime_checkable
class ResiliencePipelineProtocol(ResilienceProtocol, Protocol):
    """Calls a function through retries, breakers and the like, which are added to it."""

    def add(self, pattern: Any) -> ResiliencePipelineProtocol:
        """Add a pattern around those that are there; return the pipeline itself."""
        ...
