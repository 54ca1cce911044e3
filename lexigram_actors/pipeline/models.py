"""How one step of a pipeline went: values."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, TypeVar, final

from attrs import define, field, frozen

T = TypeVar("T")


class StepStatus(StrEnum):
    """Where a step stands.

    ========= ==================================================================================
    PENDING   not started
    RUNNING   started and not ended
    COMPLETED it returned a value, or its handler recovered with one
    FAILED    it, its skip condition or its handler raised or returned an `Err`
    SKIPPED   it did not run, or not to its end; `skipped_reason` says why
    ========= ==================================================================================
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


COMPLETED = StepStatus.COMPLETED


@final
@frozen(weakref_slot=False)  # a class with weak references takes no `Draft`
class StepExecutionResult(Generic[T]):
    """How one step went.

    Attributes:
        result: What it returned; for a step restored from a checkpoint, what it returned then.
        error: Why it failed.
        duration: Seconds of the Trio clock, with its skip condition and handler, without its
            cleanup.
        skipped_reason: Why it was skipped: its condition, a failed dependency, a cancellation, or
            that it was restored from a checkpoint.
    """

    step_name: str
    status: StepStatus
    result: T | None = None
    error: Exception | None = None
    duration: float = 0.0
    metadata: dict[str, Any] = field(factory=dict)
    skipped_reason: str | None = None


@final
@define(eq=False, init=False, weakref_slot=False)
class Draft(Generic[T]):
    """A record while it is made: the same slots, and not yet frozen."""

    step_name: str
    status: StepStatus
    result: T | None
    error: Exception | None
    duration: float
    metadata: dict[str, Any]
    skipped_reason: str | None


_new = object.__new__


def completed(step_name: str, result: Any, duration: float) -> StepExecutionResult[Any]:
    """Return the record of a step that completed.

    The constructor of a frozen class goes around its own `__setattr__` for each field, and takes
    five times as long as this, which shows in a run of quick steps.
    """
    record: Any = _new(Draft)
    record.step_name = step_name
    record.status = COMPLETED
    record.result = result
    record.error = None
    record.duration = duration
    record.metadata = {}
    record.skipped_reason = None
    record.__class__ = StepExecutionResult
    return record  # type: ignore[no-any-return]
