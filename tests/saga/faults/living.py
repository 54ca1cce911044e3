"""Letting the saga of a case live, die, come back, and come to its end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Final, Literal, NamedTuple, final

import trio
from attrs import define, field

from lexigram_actors.errors import SagaError, StoreError, WorkflowCompensationError
from lexigram_actors.result import Ok
from lexigram_actors.saga import AbstractSaga, CacheSagaStore, SagaState
from tests.saga.faults.bench import Trial, saga_of
from tests.saga.faults.checking import check_errors, check_i4
from tests.saga.faults.dying import DyingCache, How, Life, PlainStore
from tests.saga.faults.plans import Case
from tests.saga.faults.states import Event

WITHIN: Final = 1e6
LIVES: Final = 8
ENDED: Final = (SagaState.COMPLETED, SagaState.FAILED)
IDS: Final = count(1)


class Crash(NamedTuple):
    """Where a life ends: the moment, from 1, and how."""

    moment: int
    how: How = "dies"


Operation = tuple[Literal["retry", "skip", "force", "go on"], str]
"""What an operator does, to which step; `"go on"` executes what has stopped past its pivot."""


@final
@define
class Shelf:
    """What outlives a process: a dict, or the key-value view of a store that is open."""

    cache: Any = None
    kept: dict[str, tuple[str, str]] = field(factory=dict)

    def store(self, life: Life) -> Any:
        """Return the saga's store, for one life."""
        if self.cache is None:
            return PlainStore(self.kept, life)
        return CacheSagaStore(DyingCache(self.cache, life))


@final
@define
class Course:
    """What came of a case.

    Attributes:
        struck: At which moment each life met with what was planned for it; 0: it did not.
    """

    trial: Trial
    struck: list[int] = field(factory=list)


async def try_case(
    case: Case,
    *crashes: Crash,
    shelf: Shelf | None = None,
    operations: Sequence[Operation] = (),
) -> Course:
    """Let a saga live until it ends, one life for each crash and one more, and check it.

    Args:
        operations: What an operator does once it has ended; crashes that are left come here.

    Raises:
        AssertionError: With the line that repeats it.
    """
    try:
        shelf = Shelf() if shelf is None else shelf
        return await tried_case(case, list(crashes), shelf, list(operations))
    except BaseException as error:
        error.add_note(
            f"repeat it with: try_case({case!r}, *{list(crashes)!r}, operations={operations!r})"
        )
        raise


async def tried_case(
    case: Case, crashes: list[Crash], shelf: Shelf, operations: list[Operation]
) -> Course:
    id = f"saga {next(IDS)}"
    course = Course(Trial(case))
    while not await lived(course, shelf, id, crashes.pop(0) if crashes else None):
        assert len(course.struck) < LIVES, f"it does not end: {course.trial.events}"
    while operations:
        if await lived(course, shelf, id, crashes.pop(0) if crashes else None, operations[0]):
            operations.pop(0)
        assert len(course.struck) < 3 * LIVES, f"it does not end: {course.trial.events}"
    check_i4(course.trial.events, case)
    check_keys(course.trial)
    if not any(step.pivot for step in case.steps):
        await check_rests(course, shelf, id)
    return course


async def lived(
    course: Course, shelf: Shelf, id: str, crash: Crash | None, operation: Operation | None = None
) -> bool:
    """Live one life; return whether the saga, or the operation, came to an end in it."""
    trial = course.trial
    life = Life(*crash) if crash is not None else Life()
    saga = saga_of(trial, life, shelf.store(life), id)
    failure: BaseException | None = None
    end = Event("end")
    began = len(trial.events)
    try:
        with trio.fail_after(WITHIN):
            if operation is None or operation[0] == "go on":
                end = await executed(trial, saga)
            else:
                end = await operated(trial, saga, operation)
    except BaseException as error:  # noqa: ASYNC103 - a life that is over, seen from outside
        failure = error
    course.struck.append(life.struck_at)
    if life.is_dead:
        trial.events.append(Event("crash"))
        return False
    if life.is_struck and (isinstance(failure, StoreError) or end.how == "cancelled"):
        trial.events.append(Event("crash"))  # it stops, and can be executed again
        return False
    if failure is not None:
        failure.add_note(f"in a life with: {trial.events[began:]}")
        raise failure
    assert saga.state in ENDED
    trial.events.append(end)
    check_errors(trial.events, saga.uncompensated, saga.compensation_errors)
    assert life.refused == 0
    return True


async def executed(trial: Trial, saga: AbstractSaga[Any]) -> Event:
    """Execute a saga, and return its end."""
    trial.events.append(Event("start"))
    with trio.CancelScope() as scope:
        trial.canceller = partial(cancel, scope)
        result = await saga.execute()
    trial.canceller = None
    stuck = frozenset(saga.uncompensated)
    assert len(stuck) == len(saga.uncompensated)
    if scope.cancelled_caught:
        assert scope.cancel_called
        return Event("end", "", "cancelled", stuck)
    if result == Ok(None):
        assert saga.state is SagaState.COMPLETED
        check_results(trial, saga)
        return Event("end", "", "ok", stuck)
    error = result.unwrap_err()
    assert isinstance(error, SagaError)
    assert saga.state is SagaState.FAILED
    assert set(error.uncompensated) == stuck
    assert set(error.compensation_errors) == set(saga.compensation_errors)
    return Event("end", error.step_name, "err", stuck)


async def operated(trial: Trial, saga: AbstractSaga[Any], operation: Operation) -> Event:
    """Let an operator do something about what is stuck, and return the end."""
    what, step = operation
    assert what != "go on"
    trial.events.append(Event("start"))
    (await saga.execute()).unwrap_err()
    if what == "retry":
        await retried(trial, saga)
    elif step in saga.uncompensated:
        trial.events.append(Event(what, step))
        if what == "skip":
            await saga.skip_compensation(step)
        else:
            saga.mark_compensated(step)
            await retried(trial, saga)  # writes it
    assert saga.state is SagaState.FAILED
    return Event("end", "", "err", frozenset(saga.uncompensated))


async def retried(trial: Trial, saga: AbstractSaga[Any]) -> None:
    trial.events.append(Event("retry"))
    try:
        await saga.retry_compensation()
    except WorkflowCompensationError:
        assert saga.uncompensated


def cancel(scope: trio.CancelScope, delay: float) -> None:
    """Cancel a scope, now or in a while."""
    if delay:
        scope.deadline = trio.current_time() + delay
    else:
        scope.cancel()


def check_results(trial: Trial, saga: AbstractSaga[Any]) -> None:
    """A saga that has succeeded has the results of all lives."""
    names = {step.name for step in trial.case.steps}
    assert dict(saga.results) == {name: {"of": name} for name in names}
    assert set(saga.completed) == names


def check_keys(trial: Trial) -> None:
    """An effect has the same idempotency key whenever it begins, and no other has it."""
    for what, keys in trial.keys.items():
        assert len(keys) == 1, f"{what} began under several keys: {keys}"
    for what, tokens in trial.tokens.items():
        assert len(set(tokens)) == len(tokens), f"{what} began twice as the same: {tokens}"
    actions = [key for what, keys in trial.keys.items() if what[:2] == "do" for key in keys]
    assert len(set(actions)) == len(actions), f"two steps have one key: {trial.keys}"


async def check_rests(course: Course, shelf: Shelf, id: str) -> None:
    """Executed once more it does nothing, and answers as it did."""
    trial = course.trial
    life = Life()
    end = next(event for event in reversed(trial.events) if event.what == "end")
    before = len(trial.events)
    saga = saga_of(trial, life, shelf.store(life), id)
    result = await saga.execute()
    assert len(trial.events) == before, f"it goes on after its end: {trial.events[before:]}"
    if end.how == "ok":
        assert result == Ok(None)
    elif end.how == "err":
        error = result.unwrap_err()
        assert isinstance(error, SagaError)
        assert frozenset(error.uncompensated) == end.stuck == frozenset(saga.uncompensated)
        assert not end.name or error.step_name == end.name
    check_errors(trial.events, saga.uncompensated, saga.compensation_errors)
