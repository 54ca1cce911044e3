"""Sagas of five steps: shapes that ours and the reference have in common, and the reference.

A shape takes a library: a namespace with `AbstractSaga`, `SagaStep`, `Ok` and `Err`, and returns
what makes one saga. Each step returns 1 and has an undo; all functions are async.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from harness import now

STEPS = 5
LAST = STEPS - 1
Make = Callable[[], Any]
Build = Callable[[Any], Make]


def succeeding(library: Any) -> Make:
    """All steps succeed."""
    return _saga(library, "one")


def failing(library: Any) -> Make:
    """The last step returns an error, and is not tried again; four are undone."""
    return _saga(library, "refuse")


def raising(library: Any) -> Make:
    """The last step raises, and is not tried again; four are undone."""
    return _saga(library, "crash")


def _saga(library: Any, last: str) -> Make:
    """Return the class; what it counts is looked at by `check`."""

    class Five(library.AbstractSaga):  # type: ignore[misc]
        def __init__(self, store: Any = None, id: str = "bench") -> None:
            super().__init__(store)
            self.id = id
            self.undone = 0
            for number in range(LAST):
                self.add_step(library.SagaStep(f"s{number}", self.one, self.undo))
            action = getattr(self, last)
            self.add_step(library.SagaStep(f"s{LAST}", action, self.undo, max_retries=1))

        def get_id(self) -> str:
            return self.id

        def is_completed(self) -> bool:
            return False

        async def one(self) -> Any:
            return library.Ok(1)

        async def refuse(self) -> Any:
            return library.Err(ValueError("no stock"))

        async def crash(self) -> Any:
            raise ValueError("no stock")

        async def undo(self) -> None:
            self.undone += 1

    return Five


async def execute(make: Make, count: int) -> float:
    """Seconds to execute so many sagas that are there already."""
    sagas = [make() for _ in range(count)]
    # Those that wait for their turn are no garbage, and not to be looked at.
    gc.collect()
    gc.freeze()
    start = now()
    for saga in sagas:
        check(saga, await saga.execute())
    return now() - start


async def make_and_execute(make: Make, count: int) -> float:
    """Seconds to make and execute so many sagas, one after the other."""
    start = now()
    for _ in range(count):
        saga = make()
        check(saga, await saga.execute())
    return now() - start


def check(saga: Any, result: Any) -> None:
    """Raise unless all is done, or all that was done before the last step is undone."""
    assert saga.undone == (LAST if result.is_err() else 0)


def reference(count: int, build: Build, run: Callable[[Make, int], Any] = execute) -> float:
    """``lexigram.workflow`` on asyncio, logs off."""
    import structlog
    from lexigram import workflow  # type: ignore[import-not-found, unused-ignore]
    from lexigram.result import Err, Ok  # type: ignore[import-not-found, unused-ignore]

    # A line for every saga would go to standard output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    library = SimpleNamespace(
        AbstractSaga=workflow.AbstractSaga, SagaStep=workflow.SagaStep, Ok=Ok, Err=Err
    )
    seconds: float = asyncio.run(run(build(library), count))
    return seconds
