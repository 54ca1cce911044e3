"""Running one step of an instance: its attempts, their time limits, and the record of it all.

| entry | value | when |
| --- | --- | --- |
| `attempt` | `{"attempt", "error", "next_at"}` | an attempt failed, and there is another |
| `step` | `{"value": ...}` | the step succeeded |
| `step` | `{"error": ...}` | its last attempt failed |

An error is recorded as `{"type", "message"}`, and `"details": {"path"}` where it names the place in
the instance at which it began, `{"paths"}` where it began at several. After a crash a step whose
end is not recorded runs again: the attempt that was in flight with the same number, those before it
not.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import partial
from math import inf
from typing import Any, Final, NamedTuple, final

import trio
from attrs import frozen
from trio.lowlevel import checkpoint_if_cancelled

from lexigram_actors.errors import (
    NotStorableError,
    WorkflowStateError,
    WorkflowStepError,
    WorkflowTimeoutError,
    describe,
)
from lexigram_actors.errors.base import json_safe, sole_error
from lexigram_actors.host.cancelling import came_of_cancellation, passing
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.outcomes import paths_behind
from lexigram_actors.invoking import invoke
from lexigram_actors.result import Err, Ok
from lexigram_actors.retry import RetryPolicy
from lexigram_actors.storage.instances import Entry

logger = logging.getLogger(__name__)

STEP: Final = "step"
ATTEMPT: Final = "attempt"

LONGEST_REASON: Final = 10_000
"""Characters of a failure's message that are recorded."""

LONGEST_DELAY: Final = 1e9
"""Seconds: a policy may come to an infinite delay, and no store keeps that."""


class StepInfo(NamedTuple):
    """What tells a step's body which step it is, and which attempt.

    Attributes:
        path: Where in the instance.
        attempt: From 1.
        epoch: Of the instance's owner: with the attempt, what a system outside can fence by.
        idempotency_key: The same on every attempt, and of no other step.
    """

    instance_id: str
    path: str
    attempt: int
    epoch: int
    idempotency_key: str


CURRENT: Final[ContextVar[StepInfo]] = ContextVar("the step whose body is running")


def current_step() -> StepInfo:
    """Return which step is running; for its body, and what the body calls.

    Raises:
        WorkflowStateError: None is.
    """
    try:
        return CURRENT.get()
    except LookupError:
        raise WorkflowStateError(
            "current_step() was called outside of a step",
            hint="call it in the function that is given to ctx.step(...)",
        ) from None


@final
@frozen
class Step:
    """What is to be run, and how.

    Attributes:
        name: For messages.
        call: The body without its arguments; sync or async, a plain value or a `Result`.
        policy: None: one attempt.
        timeout: Seconds for each attempt; None: no limit.
    """

    path: str
    name: str
    call: Callable[[], Any]
    policy: RetryPolicy | None = None
    timeout: float | None = None


@final
class Failure:
    """The outcome of an attempt that failed."""

    __slots__ = ("error",)

    def __init__(self, error: object) -> None:
        self.error = error


async def run_step(
    journal: Journal, step: Step, recorded: Sequence[Entry] = ()
) -> tuple[Entry, object]:
    """Run a step to its end, record it, and return the entry, with the error it failed with.

    Cancelled in an attempt or between two, the step is not recorded, and runs again when the
    instance goes on. A result that cannot be stored is a failure that is not tried again.

    Args:
        recorded: What an earlier life recorded of its attempts.
    """
    attempt = 1
    for entry in recorded:
        if entry.kind == ATTEMPT:
            attempt = entry.value["attempt"] + 1
            next_at = entry.value["next_at"]
    if attempt > 1:
        await wait_until(journal, next_at, f"another attempt of step {step.name!r}")
    retries = 0 if step.policy is None else step.policy.retries
    while True:
        if not journal.is_open:
            await journal.ready()
        await checkpoint_if_cancelled()
        outcome = await attempted(journal, step, attempt)
        if type(outcome) is not Failure:
            try:
                return await journal.append(step.path, STEP, {"value": outcome}), None
            except NotStorableError as error:
                return await record_failure(journal, step.path, error), error
        if attempt > retries:
            return await record_failure(journal, step.path, outcome.error), outcome.error
        await fail_attempt(journal, step, attempt, outcome.error)
        attempt += 1


async def attempted(journal: Journal, step: Step, attempt: int) -> Any:
    """Call the body once; return its value, or a `Failure`."""
    info = StepInfo(journal.id, step.path, attempt, journal.epoch, key_of(journal, step.path))
    token = CURRENT.set(info)
    journal.working += 1
    tell_working(journal)
    try:
        outcome = await guarded(partial(within_timeout, step), f"step {step.name!r}")
    finally:
        journal.working -= 1
        tell_working(journal)
        CURRENT.reset(token)
    if journal.scope.cancel_called and trio.current_effective_deadline() == -inf:
        logger.warning(
            "instance %r: step %r went on after it was cancelled; let trio.Cancelled pass",
            journal.id,
            step.path,
        )
    if isinstance(outcome, Err):
        return Failure(outcome.error)
    return outcome.value if isinstance(outcome, Ok) else outcome


async def guarded(call: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Return what a call returns; a `Failure` where it raised an error.

    A cancellation passes, also where an error was raised on the way out of it.
    """
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - whatever it is, the call failed
        if came_of_cancellation(error):
            await give_way(what, error)
        return Failure(sole_error(error))
    except trio.Cancelled as cancelled:  # noqa: ASYNC103 - of this task, it is raised
        if not is_stray(cancelled):
            raise
        return Failure(stray_cancellation(what))  # noqa: ASYNC104
    except BaseExceptionGroup as group:  # noqa: ASYNC103 - as above
        passed = passing(group, what)
        if not is_stray(passed):
            raise passed from None  # noqa: ASYNC104
        return Failure(stray_cancellation(what))


async def within_timeout(step: Step) -> Any:
    """Call the body; a `Failure` where its time was up."""
    if step.timeout is None:
        return await invoke(step.call)
    with trio.move_on_after(step.timeout):
        return await invoke(step.call)
    return Failure(
        WorkflowTimeoutError(
            f"step {step.name!r} was stopped: it took longer than {step.timeout:g} s",
            step_name=step.name,
            details={"timeout": step.timeout},
        )
    )


def is_stray(error: BaseException) -> bool:
    """Say whether an exception is a cancellation of a scope that is not around this task.

    Let through, it would end a nursery further out that nobody has cancelled, as if all were well.
    """
    return isinstance(error, trio.Cancelled) and trio.current_effective_deadline() > -inf


def stray_cancellation(what: str) -> WorkflowStateError:
    """Return the error that stands for a cancellation of a scope that is not around."""
    return WorkflowStateError(
        f"{what} raised a trio.Cancelled, and nothing had cancelled it",
        hint="do not keep a trio.Cancelled, nor raise one: it belongs to the scope it came from",
    )


async def give_way(what: str, error: Exception) -> None:
    """Let a cancellation pass that an error raised on the way out of it would hide."""
    try:
        await checkpoint_if_cancelled()
    except trio.Cancelled:
        logger.exception("%s failed while it was cancelled", what, exc_info=error)
        raise


def tell_working(journal: Journal) -> None:
    """Say that the status may be another, where something else waits."""
    if journal.waits and journal.on_status is not None:
        journal.on_status()


def key_of(journal: Journal, path: str) -> str:
    """Return the idempotency key of the step at a path."""
    run = journal.instance.run
    return f"{journal.id}/{path}" if not run else f"{journal.id}/{path}@{run}"


async def fail_attempt(journal: Journal, step: Step, attempt: int, error: object) -> None:
    """Record that an attempt failed, and wait for the next."""
    assert step.policy is not None
    delay = min(step.policy.delay_before(attempt), LONGEST_DELAY)
    next_at = journal.clock() + delay
    value = {"attempt": attempt, "error": failure_record(error), "next_at": next_at}
    await journal.append(step.path, ATTEMPT, value)
    if delay > 0:
        await wait_until(journal, next_at, f"another attempt of step {step.name!r}")


async def wait_until(journal: Journal, at: float, what: str) -> None:
    """Wait until a time, if it is not past."""
    left = at - journal.clock()
    if left > 0:
        with journal.waiting(what):
            await trio.sleep(left)


# --- failures --------------------------------------------------------------------------------


async def record_failure(journal: Journal, path: str, error: object) -> Entry:
    """Record that what stands at a path failed for good."""
    return await journal.append(path, STEP, {"error": failure_record(error)})


def failure_record(error: object) -> dict[str, Any]:
    """Return a failure as plain data that any store takes."""
    reason = str(json_safe(describe(error))).replace("\0", "\\x00")
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]}..."
    record: dict[str, Any] = {"type": type(error).__name__, "message": reason}
    paths = paths_behind(error) if isinstance(error, BaseException) else []
    if paths:
        record["details"] = {"path": paths[0]} if len(paths) == 1 else {"paths": paths}
    return record


def value_of(entry: Entry, name: str, cause: object = None) -> Any:
    """Return what a step is recorded to have returned.

    Raises:
        WorkflowStepError: It failed.
    """
    value = entry.value
    if "value" in value:
        return value["value"]
    record = value["error"]
    error = cause if isinstance(cause, Exception) else None
    raise WorkflowStepError(
        name,
        record["message"],
        error=error,
        path=entry.path,
        error_type=record["type"],
        details={"path": entry.path, "error_type": record["type"]},
    ) from error
