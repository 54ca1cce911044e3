"""Steps that note what they do."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import trio

from lexigram_actors import Ok
from lexigram_actors.pipeline import FunctionStep, PipelineContext, PipelineStep


class Notes(list[str]):
    """What happened, in its order."""

    def step(
        self,
        name: str,
        *dependencies: str,
        sleep: float = 0.0,
        error: Exception | None = None,
        cleanup: bool = False,
        **options: Any,
    ) -> FunctionStep:
        """Return a step that notes its start, end, cancellation and cleanup."""

        async def work(context: PipelineContext) -> Any:
            self.append(f"+{name}")
            try:
                if sleep:
                    await trio.sleep(sleep)
            except trio.Cancelled:
                self.append(f"!{name}")
                raise
            if error is not None:
                raise error
            self.append(f"-{name}")
            return Ok(name.upper())

        async def clean(context: PipelineContext) -> None:
            await trio.sleep(0.1)
            self.append(f"~{name}")

        return FunctionStep(
            name, work, list(dependencies), cleanup_func=clean if cleanup else None, **options
        )


class Later:
    """What can be awaited and is no coroutine; comes to the value after a checkpoint."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        await trio.lowlevel.checkpoint()
        return self.value


class Hooked(PipelineStep):
    """A step of a subclass with every method replaced, each by a function or None."""

    def __init__(self, name: str, **hooks: Any) -> None:
        super().__init__(name, timeout=hooks.pop("timeout", None))
        self.hooks = hooks

    async def execute(self, context: PipelineContext) -> Any:
        return self.hooks["execute"](context)

    async def on_error(self, context: PipelineContext, error: Exception) -> Any:
        return self.hooks["on_error"](context, error)


def records(context: PipelineContext) -> dict[str, str]:
    """Return the status of each step that has a record."""
    return {each.step_name: str(each.status) for each in context.metadata["step_results"]}


def reason(context: PipelineContext, name: str) -> str | None:
    """Return why a step was skipped."""
    return next(
        each.skipped_reason for each in context.metadata["step_results"] if each.step_name == name
    )
