"""Steps: what can be one, how it is called, how often, and with which keys."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.errors import (
    ConfigurationError,
    LexigramError,
    SagaError,
    SagaStepError,
    WorkflowTimeoutError,
)
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga import MemorySagaStore, SagaContext, SagaState, SagaStep, saga_step
from tests.saga.making import Book, Flaky, Made, Switch, answering, forever, no, raising

# --- what can be a step ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("max_retries", "3"),
        ("max_retries", True),
        ("max_retries", None),
        ("retry_delay", -0.1),
        ("retry_delay", math.nan),
        ("retry_delay", math.inf),
        ("retry_delay", "1"),
        ("retry_delay", None),
        ("idempotent", 1),
        ("idempotent", "yes"),
        ("idempotent", None),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", math.nan),
        ("timeout", "1"),
        ("compensation_timeout", 0),
        ("compensation_timeout", None),
        ("compensation_timeout", math.nan),
        ("compensation_attempts", 0),
        ("compensation_attempts", 2.0),
        ("compensation_attempts", None),
        ("pivot", 1),
        ("pivot", None),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        SagaStep("a", no, **{setting: value})


@pytest.mark.parametrize("name", ["", "x" * 257, "a\0b", 7, None, b"a", ["a"]])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        SagaStep(name, no)


@pytest.mark.parametrize("what", ["action", "compensation", "probe"])
@pytest.mark.parametrize("value", [7, "reserve", object(), []])
def test_what_cannot_be_called_is_refused(what: str, value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        SagaStep("a", **{"action": no, what: value})


def test_a_step_must_do_something() -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="'a' cannot be called"):
        SagaStep("a", nothing)


def test_the_settings_that_need_not_be_given_are_those_that_are_promised() -> None:
    step = SagaStep("a", no)
    assert (step.compensation, step.max_retries, step.retry_delay) == (None, 3, 1.0)
    assert (step.idempotent, step.timeout, step.compensation_timeout) == (False, None, 30.0)
    assert (step.compensation_attempts, step.probe, step.pivot) == (3, None, False)
    assert SagaStep("a", no, no, 5, 2.0, True) == SagaStep(
        "a", no, compensation=no, max_retries=5, retry_delay=2.0, idempotent=True
    )


def test_a_step_does_not_change() -> None:
    step: Any = SagaStep("a", no)
    with pytest.raises(AttributeError):
        step.name = "b"


@pytest.mark.parametrize("given", [7, "a", None, no, lambda: 1])
def test_add_step_takes_steps_and_marked_functions_alone(given: Any) -> None:
    saga = Made()
    with pytest.raises(TypeError, match="SagaStep"):
        saga.add_step(given)
    with pytest.raises(TypeError, match="SagaStep"):
        saga.add_parallel(SagaStep("a", no), given)
    saga.add_step(SagaStep("a", no))  # nothing of what was refused stays


def test_a_name_used_twice_is_refused_and_changes_nothing() -> None:
    saga = Made(SagaStep("a", no))
    with pytest.raises(ValueError, match="'a'"):
        saga.add_step(SagaStep("a", no))
    with pytest.raises(ConfigurationError, match="'b'"):
        saga.add_parallel(SagaStep("b", no), SagaStep("b", raising(OSError())))
    with pytest.raises(ConfigurationError, match="'a'"):
        saga.add_parallel(SagaStep("c", no), SagaStep("a", no))
    saga.add_parallel(SagaStep("b", no), SagaStep("c", no))


def test_the_same_step_twice_in_one_group_is_refused() -> None:
    step = SagaStep("a", no)
    with pytest.raises(ConfigurationError, match="'a'"):
        Made().add_parallel(step, step)


def test_a_group_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Made().add_parallel()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", math.nan),
        ("timeout", "1"),
        ("timeout", True),
        ("in_doubt", "guess"),
        ("in_doubt", None),
        ("in_doubt", []),
        ("on_store_error", "ignore"),
        ("on_store_error", None),
    ],
)
def test_a_saga_refuses_a_setting_that_makes_no_sense(setting: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        Made(**{setting: value})


@pytest.mark.parametrize("store", [7, "memory:", object(), MemorySagaStore, {}])
def test_a_saga_refuses_what_is_no_store(store: Any) -> None:
    with pytest.raises(TypeError, match="store"):
        Made(store=store)


# --- @saga_step --------------------------------------------------------------------------------


def test_a_marked_function_stays_what_it_was() -> None:
    async def release() -> None: ...

    @saga_step(name="reserve it", compensation=release)
    async def reserve() -> None: ...

    marked: Any = reserve
    assert marked.__name__ == "reserve"
    assert marked.__saga_step__ is True
    assert marked.__saga_step_name__ == "reserve it"
    assert marked.__saga_compensation__ is release


def test_a_marked_function_has_its_own_name_if_no_other_is_given() -> None:
    @saga_step()
    async def reserve() -> None: ...

    assert reserve.__saga_step_name__ == "reserve"  # type: ignore[attr-defined]


def test_a_mark_wants_parentheses_and_an_undo_that_can_be_called() -> None:
    wrong: Any = no
    with pytest.raises(TypeError, match="parentheses"):
        saga_step(wrong)
    wrong = "release"
    with pytest.raises(TypeError, match="release"):
        saga_step(compensation=wrong)


async def test_marked_functions_are_steps_and_are_undone(autojump_clock: MockClock) -> None:
    log: list[str] = []

    async def release(context: SagaContext) -> None:
        log.append(f"released {context.results[context.step_name]}")

    @saga_step(compensation=release)
    async def reserve() -> str:
        return "seat 7"

    @saga_step("pay")
    def fail() -> Any:
        return Err("no money")

    saga = Made()
    saga.add_step(reserve)
    saga.add_step(fail)
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.cause) == ("pay", "no money")
    assert log == ["released seat 7"]


# --- how it is called ------------------------------------------------------------------------


class Callable0:
    def __call__(self) -> str:
        return "none"


class Callable1:
    async def __call__(self, context: SagaContext) -> SagaContext:
        return context


class Methods:
    def without(self) -> str:
        return "none"

    def with_context(self, context: SagaContext) -> SagaContext:
        return context

    async def with_default(self, context: Any = "none") -> Any:
        return context

    @classmethod
    def of_class(cls, context: SagaContext) -> SagaContext:
        return context

    @classmethod
    def of_class_without(cls) -> str:
        return "none"

    @staticmethod
    async def static(context: SagaContext) -> SagaContext:
        return context


def wrapping(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


async def async_plain() -> str:
    return "none"


async def async_context(context: Any) -> Any:
    return context


def plain() -> str:
    return "none"


def with_context(context: Any) -> Any:
    return context


def with_default(context: Any = "none") -> Any:
    return context


def with_more(context: SagaContext, other: int = 1) -> SagaContext:
    return context


def starred(*args: Any, **kwargs: Any) -> str:
    assert (args, kwargs) == ((), {})
    return "none"


def starred_too(context: SagaContext, *args: Any) -> SagaContext:
    assert not args
    return context


def positional(context: SagaContext, /) -> SagaContext:
    return context


def by_keyword(*, context: Any = "none") -> Any:
    return context


def two(first: Any, second: Any) -> Any:
    return second


WITHOUT: list[Callable[..., Any]] = [
    plain,
    async_plain,
    with_default,
    starred,
    by_keyword,
    lambda: "none",
    lambda context="none": context,
    Methods().without,
    Methods().with_default,
    Methods.of_class_without,
    Callable0(),
    functools.partial(with_context, "none"),
    functools.partial(two, 1, second="none"),
    functools.partial(async_context, context="none"),
    wrapping(plain),
    wrapping(with_default),
    wrapping(async_plain),
    functools.partial(wrapping(with_context), "none"),
    "none".lower,  # a builtin
]
WITH: list[Callable[..., Any]] = [
    with_context,
    async_context,
    with_more,
    starred_too,
    positional,
    lambda context: context,
    lambda context, other=1: context,
    Methods().with_context,
    Methods.of_class,
    Methods.static,
    Callable1(),
    functools.partial(with_more, other=2),
    functools.partial(two, "first"),
    wrapping(with_context),
    wrapping(async_context),
    wrapping(Methods().with_context),
    functools.partial(with_context),
]


@pytest.mark.parametrize("action", WITHOUT)
async def test_what_can_be_called_without_arguments_is(action: Callable[..., Any]) -> None:
    saga = Made(SagaStep("a", action, max_retries=1))
    assert (await saga.execute()) == Ok(None)
    assert saga.results == {"a": "none"}


@pytest.mark.parametrize("action", WITH)
async def test_what_needs_an_argument_gets_the_context(action: Callable[..., Any]) -> None:
    saga = Made(SagaStep("z", plain), SagaStep("a", action, max_retries=1), id="order-7")
    assert (await saga.execute()) == Ok(None)
    context = saga.results["a"]
    assert isinstance(context, SagaContext)
    assert (context.saga_id, context.step_name, context.attempt) == ("order-7", "a", 1)
    assert context.results == {"z": "none"}
    assert context.idempotency_key


@pytest.mark.parametrize("undo", [each for each in WITH if each is not Methods.static])
async def test_undos_are_called_as_actions_are(undo: Callable[..., Any]) -> None:
    told: list[Any] = []
    # What an undo returns is not kept: the context is told by what it reads of it.
    saga = Made(
        SagaStep("z", plain, wrapping(lambda context: told.append(context.step_name))),
        SagaStep("a", plain, undo),
        SagaStep("b", no, max_retries=1),
    )
    error = (await saga.execute()).unwrap_err()
    assert (error.compensation_errors, error.uncompensated) == ({}, [])
    assert told == ["z"]
    assert saga.was_compensated("a")


@pytest.mark.parametrize("undo", WITHOUT)
async def test_undos_that_can_be_called_without_arguments_are(undo: Callable[..., Any]) -> None:
    saga = Made(SagaStep("a", plain, undo), SagaStep("b", no, max_retries=1))
    error = (await saga.execute()).unwrap_err()
    assert (error.compensation_errors, error.uncompensated) == ({}, [])


async def test_what_a_step_is_told_of_earlier_results_is_a_copy() -> None:
    def spoil(context: SagaContext) -> None:
        context.results["a"] = "spoilt"  # type: ignore[index]

    saga = Made(SagaStep("a", plain), SagaStep("b", spoil, max_retries=1))
    await saga.execute()
    assert saga.results["a"] == "none"
    saga.results["a"] = "spoilt"  # type: ignore[index]
    assert saga.results["a"] == "none"


def two_needed(first: Any, second: Any) -> None: ...


def keyword_needed(*, context: Any) -> None: ...


def more_needed(context: Any, *, other: Any) -> None: ...


@pytest.mark.parametrize("fn", [two_needed, keyword_needed, more_needed, lambda a, b, c: None])
@pytest.mark.parametrize("what", ["action", "compensation", "probe"])
def test_what_can_be_called_in_neither_way_is_refused(what: str, fn: Callable[..., Any]) -> None:
    """An undo that cannot be called would be found out when it is needed."""
    with pytest.raises((TypeError, ConfigurationError), match="'a'"):
        SagaStep("a", **cast("Any", {"action": no, what: fn}))


# --- what it answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (7, 7),
        (None, None),
        (Ok(7), 7),
        (Ok(None), None),
        (Ok(Ok(7)), Ok(7)),
        (OSError("a value"), None),
        (False, False),
    ],
)
async def test_a_plain_value_and_ok_are_the_result(answer: Any, result: Any) -> None:
    saga = Made(SagaStep("a", answering(answer)))
    assert await saga.execute() == Ok(None)
    assert saga.results == {"a": answer if isinstance(answer, OSError) else result}
    assert (saga.state, saga.completed) == (SagaState.COMPLETED, ["a"])


@pytest.mark.parametrize("error", [OSError("no"), "no", 7, None, SagaStepError("a", "no")])
@pytest.mark.parametrize("stored", [False, True])
async def test_the_cause_is_what_the_step_returned(error: Any, stored: bool) -> None:
    store = MemorySagaStore() if stored else None
    saga = Made(SagaStep("a", answering(Err(error)), max_retries=1), store=store)
    found = (await saga.execute()).unwrap_err()
    assert found.step_name == "a"
    assert found.cause is error
    assert isinstance(found, LexigramError)
    assert saga.state is SagaState.FAILED


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", [OSError, KeyError, AssertionError, ExceptionGroup])
async def test_what_a_step_raised_is_the_cause_of_a_step_error(
    kind: type[Exception], stored: bool
) -> None:
    error = kind("no") if kind is not ExceptionGroup else ExceptionGroup("no", [OSError("no")])
    store = MemorySagaStore() if stored else None
    saga = Made(SagaStep("a", raising(error), max_retries=1), store=store)
    found = (await saga.execute()).unwrap_err()
    assert isinstance(found.cause, SagaStepError)
    assert (found.cause.step_name, found.cause.code) == ("a", "LEX_ERR_WF_023")
    assert found.cause.cause in (error, *getattr(error, "exceptions", ()))
    assert "no" in str(found)


# --- attempts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 1), (2, 2), (5, 5)])
@pytest.mark.parametrize("fail", [no, raising(OSError("no"))])
@pytest.mark.parametrize("stored", [False, True])
async def test_max_retries_counts_all_attempts(
    max_retries: int,
    attempts: int,
    fail: Callable[[], Any],
    stored: bool,
    autojump_clock: MockClock,
) -> None:
    book = Book()
    store = MemorySagaStore() if stored else None
    step = book.step("a", fail, max_retries=max_retries, retry_delay=7)
    (await Made(step, store=store).execute()).unwrap_err()
    assert book.log == ["a"] * attempts
    assert trio.current_time() == 7 * (attempts - 1)


async def test_attempts_end_with_the_first_that_succeeds(autojump_clock: MockClock) -> None:
    book = Book()
    action = Switch(no, raising(OSError()), answering(7), no)
    saga = Made(book.step("a", action, max_retries=10, retry_delay=1), book.step("b"))
    assert (await saga.execute()).is_ok()
    assert book.log == ["a", "a", "a", "b"]
    assert saga.results["a"] == 7
    assert trio.current_time() == 2


async def test_a_step_that_may_be_tried_three_times_waits_a_second_between(
    autojump_clock: MockClock,
) -> None:
    times: list[float] = []

    def late() -> Any:
        times.append(trio.current_time())
        return Err("no")

    saga = Made(SagaStep("a", late))
    (await saga.execute()).unwrap_err()
    assert times == [0, 1, 2]


async def test_a_time_limit_is_that_of_each_attempt(autojump_clock: MockClock) -> None:
    book = Book()
    step = book.step("a", forever, timeout=5, max_retries=2, retry_delay=1, idempotent=True)
    error = (await Made(step).execute()).unwrap_err()
    assert isinstance(error.cause, WorkflowTimeoutError)
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.step_name == "a"
    assert book.log == ["a", "a", "-a"]  # it is in doubt, and may be undone
    assert trio.current_time() == 11


async def test_an_attempt_after_one_that_was_late_may_succeed(autojump_clock: MockClock) -> None:
    book = Book()
    step = book.step("a", Switch(forever, answering(7)), timeout=5, max_retries=2, retry_delay=0)
    saga = Made(step)
    assert (await saga.execute()).is_ok()
    assert saga.results == {"a": 7}


# --- keys --------------------------------------------------------------------------------------


class Calls:
    """A step that writes down what it was told."""

    def __init__(self) -> None:
        self.actions: list[SagaContext] = []
        self.undos: list[SagaContext] = []

    def step(self, name: str, action: Callable[[], Any] = plain, **options: Any) -> SagaStep:
        def act(context: SagaContext) -> Any:
            self.actions.append(context)
            return action()

        def undo(context: SagaContext) -> None:
            self.undos.append(context)

        return SagaStep(name, act, undo, **{"retry_delay": 0, **options})


@pytest.mark.parametrize("stored", [False, True])
async def test_the_key_is_the_same_on_every_attempt_and_the_attempt_is_not(stored: bool) -> None:
    calls = Calls()
    store = MemorySagaStore() if stored else None
    (await Made(calls.step("a", no, max_retries=3), store=store).execute()).unwrap_err()
    assert [each.attempt for each in calls.actions] == [1, 2, 3]
    assert len({each.idempotency_key for each in calls.actions}) == 1
    assert len({each.epoch for each in calls.actions}) == 1


class Crash(BaseException):
    pass


async def test_after_a_crash_the_key_is_the_same_and_the_epoch_higher() -> None:
    calls, store = Calls(), MemorySagaStore()

    def saga() -> Made:
        return Made(calls.step("a"), calls.step("b", action), store=store)

    action = Switch(raising(Crash()), plain)
    with pytest.raises(Crash):
        await saga().execute()
    assert (await saga().execute()).is_ok()
    first, *again = [each for each in calls.actions if each.step_name == "b"]
    assert [each.idempotency_key for each in again] == [first.idempotency_key]
    assert [(each.attempt, each.epoch > first.epoch) for each in again] == [(1, True)]
    assert len(calls.actions) == 3  # what was recorded did not run again


KEYS = [
    ("saga", "a"),
    ("saga", "b"),
    ("saga/a", "b"),
    ("saga", "a/b"),
    ("saga", "a/undo"),
    ("saga/a", "undo"),
    ("saga/a", "probe"),
    ("saga%2Fa", "undo"),
    ("saga", "a%2Fundo"),
    ("saga", "undo"),
    ("other", "a"),
]


async def test_no_two_steps_nor_undos_of_any_sagas_share_a_key() -> None:
    keys: list[str] = []
    for id, name in KEYS:
        calls = Calls()
        saga = Made(calls.step(name), SagaStep("fails", no, max_retries=1), id=id)
        (await saga.execute()).unwrap_err()
        keys += [calls.actions[0].idempotency_key, calls.undos[0].idempotency_key]
    assert len(keys) == 2 * len(KEYS)
    assert len(set(keys)) == len(keys), sorted(keys)


async def test_an_undo_is_told_what_its_step_returned_and_which_attempt_it_is(
    autojump_clock: MockClock,
) -> None:
    told: list[SagaContext] = []

    def undo(context: SagaContext) -> Any:
        told.append(context)
        return no() if len(told) < 3 else None

    step = SagaStep("a", answering(7), undo, retry_delay=4, idempotent=True)
    (await Made(step, SagaStep("b", no, max_retries=1)).execute()).unwrap_err()
    assert [each.attempt for each in told] == [1, 2, 3]
    assert {each.results["a"] for each in told} == {7}
    assert len({each.idempotency_key for each in told}) == 1
    assert trio.current_time() == 8


async def test_an_error_says_all_of_it_in_a_dictionary() -> None:
    error = (await Made(SagaStep("a", no, max_retries=1)).execute()).unwrap_err()
    assert isinstance(error, SagaError)
    assert error.to_dict()["code"] == "LEX_ERR_WF_019"
    assert error.to_dict()["cause"]["type"] == "OSError"


async def test_a_store_sees_n_steps_in_n_plus_1_writes() -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    await Made(book.step("a"), book.step("b"), book.step("c"), store=store).execute()
    states = [state for state, _ in store.saves]
    assert states == [SagaState.RUNNING] * 3 + [SagaState.COMPLETED]


async def test_a_stand_in_that_has_every_attribute_is_called() -> None:
    action, undo = AsyncMock(return_value=Ok(1)), AsyncMock()
    saga = Made(
        SagaStep("a", action, undo), SagaStep("b", AsyncMock(return_value=Err("no")), max_retries=1)
    )
    assert (await saga.execute()).is_err()
    assert saga.results == {"a": 1}
    action.assert_awaited_once_with()
    undo.assert_awaited_once_with()
