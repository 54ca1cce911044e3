"""The plain steps of a saga that is recorded nowhere, at a tenth of what the general way costs.

A step without a time limit that succeeds at once needs none of what stands around an attempt: no
scope, no outcome object, no record. A row of them is done in one coroutine. Whatever is not plain,
and every failure, is left to the general way.

**Invariants.** While a call is under way its step is in `in_flight`, as it is for every attempt; so
what is cut off is in doubt. Undos share a scope, whose deadline moves with them: an undo that is
late ends the row, since a scope that fired stays cancelled; so does one that came to its end after
its time. A deadline is moved only when the clock has; it is set later by `SLACK` where the clock
runs, so that it never fires early.

There is a checkpoint after 100 calls or 1 ms, whichever is first, and none in a shorter row.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import partial
from inspect import isawaitable
from math import inf
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

import trio

from lexigram_actors.host.cancelling import came_of_cancellation
from lexigram_actors.host.steps import Failure, guarded
from lexigram_actors.invoking import PLAIN_TYPES
from lexigram_actors.kernel.pacing import BATCH, BATCH_SECONDS
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga.calling import late
from lexigram_actors.saga.models import SagaStep, Way

if TYPE_CHECKING:
    from lexigram_actors.saga.execution import Execution
    from lexigram_actors.saga.plan import Stage

SLACK: Final = 0.001


class Row(Enum):
    """What came of a row of undos of which none failed."""

    UNDONE = 0
    HAS_MORE = 1


async def sprint(
    execution: Execution, stages: Iterator[Stage]
) -> tuple[Stage, Failure | None] | None:
    """Do plain steps until one is not, or fails: that stage, and the failure of its first attempt.

    None where all are done.
    """
    done, undone = execution.progress.done, execution.progress.undone
    in_flight = execution.in_flight
    left, turn_ends = BATCH, perf_counter() + BATCH_SECONDS
    for stage in stages:
        step = stage[0]
        way = step.calls.action
        if way is Way.RUN or step.timeout is not None or len(stage) > 1:
            return stage, None
        name = execution.current = step.name
        action: Any = step.action
        in_flight[name] = None
        try:
            value = action() if way is Way.PLAIN else action(execution.context_for(step, 1))
            kind = type(value)
            if kind is CoroutineType or (kind not in PLAIN_TYPES and isawaitable(value)):
                value = await value
                kind = type(value)
                was_awaited = True
            else:
                was_awaited = False
        except BaseException as error:  # noqa: ASYNC103, BLE001 - `judged` raises what passes
            what = f"saga step {name!r}"
            # In no variable: the traceback has this frame, and the error would be in a cycle.
            return stage, execution.ended(step, await judged(error, what))  # noqa: ASYNC102, ASYNC104
        del in_flight[name]
        if kind is Ok:
            value = value.value
        elif kind is Err:
            return stage, Failure(value.error)
        done[name] = value
        if undone:
            undone.pop(name, None)
        left -= 1
        if not left or perf_counter() > turn_ends:
            await trio.lowlevel.checkpoint()
            left, turn_ends = BATCH, perf_counter() + BATCH_SECONDS
        elif was_awaited:
            await trio.lowlevel.checkpoint_if_cancelled()
    return None


async def judged(error: BaseException, what: str) -> Any:
    """Return the failure that an error is; whatever came of a cancellation passes."""
    is_plain = isinstance(error, Exception) and not isinstance(error, ExceptionGroup)
    if is_plain and not came_of_cancellation(error):
        return Failure(error)
    return await guarded(partial(raised, error), what)


async def raised(error: BaseException) -> None:
    """Raise it."""
    raise error


async def undo_row(execution: Execution) -> tuple[SagaStep, object] | Row:
    """Undo what is done, the last first, under a shield.

    Returns:
        The step whose undo failed at its first attempt, and with what; else whether all is undone.
    """
    progress, steps = execution.progress, execution.steps
    done, undone, left_alone = progress.done, progress.undone, progress.left
    errors = execution.errors
    if not done:
        return Row.UNDONE
    clock = trio.lowlevel.current_clock().current_time
    began = clock()
    # A clock that stands still between two looks, as one for tests does, is followed exactly.
    is_running = clock() > began
    tick, slack = (perf_counter, SLACK) if is_running else (clock, 0.0)
    timeout = steps[next(reversed(done))].compensation_timeout
    now = tick()
    serves_until, ends = now + slack, now + timeout + slack
    left, turn_ends = BATCH, now + BATCH_SECONDS
    scope = trio.CancelScope(deadline=began + timeout + slack, shield=True)
    try:
        with scope:
            for name in reversed(list(done)):
                step = steps[name]
                undo: Any = step.compensation
                if undo is None or name in undone or name in left_alone:
                    continue
                at, now = now, tick()
                if now >= ends and now > at:
                    return Row.HAS_MORE  # the scope may have fired, and would at what follows
                if now > serves_until or step.compensation_timeout != timeout:
                    timeout, serves_until = step.compensation_timeout, now + slack
                    ends = now + timeout + slack
                    scope.deadline = clock() + timeout + slack
                is_plain = step.calls.compensation is Way.PLAIN
                value = undo() if is_plain else undo(execution.context_for(step, 1, "#undo"))
                kind = type(value)
                if kind is CoroutineType or (kind not in PLAIN_TYPES and isawaitable(value)):
                    value = await value
                    kind = type(value)
                if kind is Err:
                    return step, value.error
                undone[name] = None
                if errors:
                    errors.pop(name, None)
                left -= 1
                if not left or now > turn_ends:
                    if tick() >= ends:
                        return Row.HAS_MORE
                    scope.deadline, serves_until = inf, -inf  # the next undo sets it
                    await trio.lowlevel.checkpoint()
                    left, turn_ends = BATCH, tick() + BATCH_SECONDS
            return Row.UNDONE
    except BaseException as error:  # noqa: ASYNC103, BLE001 - `judged` raises what passes
        if not (scope.cancel_called and isinstance(error, Exception)):
            what = f"the undo of saga step {step.name!r}"
            with trio.CancelScope(shield=True):
                return step, (await judged(error, what)).error  # noqa: ASYNC104
    return step, late(step, timeout, "the undo of ")
