"""Sagas for tests: short to write, and they say what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from lexigram_actors.result import Err
from lexigram_actors.saga import AbstractSaga, SagaState, SagaStep


class Made(AbstractSaga[None]):
    """A saga of the steps it is given; those in a list are done side by side."""

    def __init__(
        self, *steps: SagaStep | list[SagaStep], id: str = "saga", store: Any = None, **options: Any
    ) -> None:
        super().__init__(store, **options)
        self.id = id
        for step in steps:
            if isinstance(step, list):
                self.add_parallel(*step)
            else:
                self.add_step(step)

    def get_id(self) -> str:
        return self.id

    def is_completed(self) -> bool:
        return self.state in (SagaState.COMPLETED, SagaState.FAILED)


class Second(Made):
    """The same, of another version."""

    VERSION = 2


class Third(Made):
    """The same, which goes on with what version 1 began."""

    VERSION = 3

    def is_compatible_with(self, stored_version: int) -> bool:
        return stored_version in (1, 3)


class Book:
    """Makes steps, and writes down what they did: `a`, and `-a` for its undo."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def step(
        self,
        name: str,
        action: Callable[[], Any] | None = None,
        undo: Callable[[], Any] | None = None,
        **options: Any,
    ) -> SagaStep:
        """Make a step; what it really does, and how that is undone, come after the entry."""
        return SagaStep(
            name,
            self.noting(name, action, f"{name}!"),
            self.noting(f"-{name}", undo, None),
            **{"max_retries": 1, **options},
        )

    def noting(self, what: str, call: Callable[[], Any] | None, value: Any) -> Callable[[], Any]:
        async def noted() -> Any:
            self.log.append(what)
            if call is None:
                return value
            given = call()
            return await given if hasattr(given, "__await__") else given

        return noted

    def bare(self, name: str, action: Callable[[], Any] | None = None, **options: Any) -> SagaStep:
        """Make a step that nothing undoes."""
        noting = self.noting(name, action, f"{name}!")
        return SagaStep(name, noting, **{"max_retries": 1, **options})


def raising(error: BaseException) -> Callable[[], Any]:
    """Return a function that raises it."""

    def fail() -> Any:
        raise error

    return fail


def answering(value: Any) -> Callable[[], Any]:
    """Return a function that returns it."""
    return lambda: value


def no() -> Any:
    """Fail as a step does that says why."""
    return Err(OSError("no"))


async def forever() -> None:
    """Wait for what never comes."""
    await trio.sleep_forever()


def sleeping(seconds: float, then: Callable[[], Any] | None = None) -> Callable[[], Any]:
    """Return a function that takes so long, and then does the other."""

    async def sleep() -> Any:
        await trio.sleep(seconds)
        return None if then is None else then()

    return sleep


class Switch:
    """Says one thing after the other; the last for good."""

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self.calls = list(calls)

    def __call__(self) -> Any:
        call = self.calls.pop(0) if len(self.calls) > 1 else self.calls[0]
        return call()


class Flaky:
    """A saga store whose n-th save, or every load, does something else.

    Args:
        bad: By number of the save from 1, what is called in its place; 0 stands for all.
    """

    def __init__(self, inner: Any, bad: dict[int, Callable[[], Any]] | None = None) -> None:
        self.inner = inner
        self.bad = bad or {}
        self.on_load: Callable[[], Any] | None = None
        self.saves: list[tuple[SagaState, dict[str, Any]]] = []

    async def save(self, saga_id: str, state: SagaState, data: dict[str, Any]) -> None:
        self.saves.append((state, data))
        instead = self.bad.get(len(self.saves), self.bad.get(0))
        if instead is None:
            await self.inner.save(saga_id, state, data)
        else:
            given = instead()
            if hasattr(given, "__await__"):
                await given

    async def load(self, saga_id: str) -> Any:
        if self.on_load is not None:
            return self.on_load()
        return await self.inner.load(saga_id)

    async def delete(self, saga_id: str) -> None:
        await self.inner.delete(saga_id)
