"""`@saga_step`: what turns a function into a step of a saga, kept beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lexigram_actors.saga.models import SagaStep

F = TypeVar("F", bound=Callable[..., Any])


def saga_step(
    name: str | None = None, *, compensation: Callable[..., Any] | None = None
) -> Callable[[F], F]:
    """Mark a function as a step of a saga; `add_step` takes it as it is.

    Args:
        name: None: the function's.
        compensation: Undoes it.

    Returns:
        The decorator. The function stays what it was, and carries `__saga_step__`,
        `__saga_step_name__` and `__saga_compensation__`.

    Raises:
        TypeError: It is used without parentheses, or the compensation cannot be called.
    """
    if callable(name):
        raise TypeError("write @saga_step(), with parentheses")
    if compensation is not None and not callable(compensation):
        raise TypeError(f"the compensation {compensation!r} cannot be called")

    def mark(fn: F) -> F:
        marks = {
            "__saga_step__": True,
            "__saga_step_name__": fn.__name__ if name is None else name,
            "__saga_compensation__": compensation,
        }
        for attribute, value in marks.items():
            setattr(fn, attribute, value)
        return fn

    return mark


def step_of(given: object) -> SagaStep:
    """Return what `add_step` was given as a step.

    Raises:
        TypeError: It is no step.
    """
    if isinstance(given, SagaStep):
        return given
    if getattr(given, "__saga_step__", False) and callable(given):
        marked: Any = given
        return SagaStep(marked.__saga_step_name__, marked, marked.__saga_compensation__)
    raise TypeError(f"expected a SagaStep or a function marked @saga_step(), not {given!r:.100}")
