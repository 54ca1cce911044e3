from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from lexigram_actors import Err, Ok, WorkflowTimeoutError
from lexigram_actors.pipeline import (
    FunctionStep,
    ParallelStep,
    Pipeline,
    PipelineContext,
    ResiliencePipelineProtocol,
)
from tests.pipeline.helpers import Hooked, Notes, records


async def fails(context: PipelineContext) -> None:
    raise KeyError("original")


async def sleeps(context: PipelineContext) -> None:
    await trio.sleep(100)


async def run_one(step: Any) -> tuple[Any, PipelineContext]:
    context = PipelineContext("p")
    return await Pipeline("p", [step]).execute(context), context


def both(value: Any) -> list[Any]:
    """Return a sync and an async function that return the value, or raise it."""

    def plain(*args: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    async def waiting(*args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return plain()

    return [plain, waiting]


@pytest.mark.parametrize("condition", [*both(True), *both(Ok(True))])
async def test_a_true_skip_condition_skips(condition: Any) -> None:
    outcome, context = await run_one(FunctionStep("a", fails, skip_condition=condition))
    assert outcome.is_ok()
    assert records(context) == {"a": "skipped"}


class Unclear:
    """What has no truth, as an array of several values."""

    def __bool__(self) -> bool:
        raise LookupError("which of them?")


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_skip_condition_whose_answer_is_neither_true_nor_false_fails_the_step(
    limit: int,
) -> None:
    context = PipelineContext("p")
    steps = [
        FunctionStep("a", lambda _: 1, skip_condition=lambda _: Unclear()),
        FunctionStep("b", lambda _: 2),
    ]
    outcome = await Pipeline("p", steps, max_concurrency=limit).execute(context, False)
    assert isinstance(outcome.unwrap_err().error, LookupError)
    assert records(context) == {"a": "failed", "b": "completed"}


@pytest.mark.parametrize("condition", [*both(False), *both(Ok(False)), *both(None)])
async def test_a_false_skip_condition_does_not(condition: Any) -> None:
    _outcome, context = await run_one(FunctionStep("a", lambda _: 1, skip_condition=condition))
    assert context.step_results == {"a": 1}


@pytest.mark.parametrize("condition", [*both(LookupError("no")), *both(Err(LookupError("no")))])
async def test_a_skip_condition_that_fails_fails_the_step_which_never_started(
    condition: Any,
) -> None:
    notes = Notes()
    step = notes.step("a", cleanup=True, skip_condition=condition, error_handler=lambda *_: 1)
    outcome, context = await run_one(step)
    assert isinstance(outcome.unwrap_err().error, LookupError)
    assert records(context) == {"a": "failed"}
    assert notes == []


@pytest.mark.parametrize("handler", [*both("better"), *both(Ok("better"))])
async def test_a_handler_that_returns_a_value_recovers(handler: Any) -> None:
    outcome, context = await run_one(FunctionStep("a", fails, error_handler=handler))
    assert outcome.is_ok()
    assert context.step_results == {"a": "better"}
    assert records(context) == {"a": "completed"}


@pytest.mark.parametrize("handler", [*both(ValueError("worse")), *both(Err(ValueError("worse")))])
async def test_a_handler_that_fails_fails_the_step_with_the_original_as_cause(handler: Any) -> None:
    outcome, _context = await run_one(FunctionStep("a", fails, error_handler=handler))
    error = outcome.unwrap_err().error
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, KeyError)


@dataclass(frozen=True)
class Frozen(Exception):
    """An error that takes no attributes, and so no cause either."""

    code: int


@pytest.mark.parametrize("handler", [*both(Frozen(3)), *both(Err(Frozen(3)))])
async def test_a_handler_may_fail_with_an_error_that_takes_no_cause(handler: Any) -> None:
    outcome, context = await run_one(FunctionStep("a", fails, error_handler=handler))
    assert outcome.unwrap_err().error.code == 3
    assert records(context) == {"a": "failed"}


async def test_an_error_that_a_handler_returns_again_and_again_has_the_cause_of_this_run() -> None:
    always = Err(ValueError("always"))
    causes = [KeyError(1), KeyError(2)]
    for cause in causes:
        step = FunctionStep("a", lambda _, cause=cause: Err(cause), error_handler=lambda *_: always)
        outcome, _context = await run_one(step)
        assert outcome.unwrap_err().error is always.error
        assert always.error.__cause__ is cause


async def test_a_handler_that_says_what_its_error_comes_from_is_believed() -> None:
    source = OSError("source")

    def handler(context: PipelineContext, error: Exception) -> None:
        raise ValueError("worse") from source

    outcome, _context = await run_one(FunctionStep("a", fails, error_handler=handler))
    assert outcome.unwrap_err().error.__cause__ is source


async def test_a_handler_is_given_the_context_and_the_error_and_may_raise_it_again() -> None:
    seen: list[Any] = []

    def handler(context: PipelineContext, error: Exception) -> None:
        seen.extend([context, error])
        raise error

    outcome, context = await run_one(FunctionStep("a", fails, error_handler=handler))
    assert seen == [context, outcome.unwrap_err().error]
    assert seen[1].__cause__ is None


async def test_a_handler_is_called_after_a_time_out(autojump_clock: object) -> None:
    step = FunctionStep("a", sleeps, timeout=2, error_handler=lambda _, error: type(error))
    _outcome, context = await run_one(step)
    assert context.step_results == {"a": WorkflowTimeoutError}
    assert context.duration == 2


async def test_the_hooks_of_a_subclass_may_be_async_or_not() -> None:
    step = Hooked("a", execute=lambda _: Err(KeyError()), on_error=lambda *_: Ok("saved"))
    assert (await run_one(step))[1].step_results == {"a": "saved"}
    step = Hooked("a", execute=lambda _: Err(KeyError()), on_error=lambda _, error: Err(error))
    assert (await run_one(step))[0].is_err()


# --- time ------------------------------------------------------------------------------------


async def test_a_time_out_is_a_workflow_timeout_error(autojump_clock: object) -> None:
    outcome, context = await run_one(FunctionStep("a", sleeps, timeout=3))
    failure = outcome.unwrap_err()
    assert type(failure.error) is WorkflowTimeoutError
    assert isinstance(failure.error, TimeoutError)
    assert failure.error.step_name == failure.step_name == "a"
    assert context.duration == 3


async def test_the_time_limit_of_a_subclass_is_kept(autojump_clock: object) -> None:
    class Slow(Hooked):
        async def execute(self, context: PipelineContext) -> None:
            await trio.sleep(9)

    outcome, _ = await run_one(Slow("a", timeout=3, on_error=lambda _, error: Err(error)))
    assert type(outcome.unwrap_err().error) is WorkflowTimeoutError


async def test_a_timeout_error_of_the_steps_own_is_no_time_out(autojump_clock: object) -> None:
    error = TimeoutError("mine")

    async def raises(context: PipelineContext) -> None:
        raise error

    outcome, _ = await run_one(FunctionStep("a", raises, timeout=3))
    assert outcome.unwrap_err().error is error


async def test_a_cancellation_from_outside_is_no_time_out(autojump_clock: object) -> None:
    context = PipelineContext("p")
    with trio.move_on_after(1) as scope:
        await Pipeline("p", [FunctionStep("a", sleeps, timeout=3)]).execute(context)
    assert scope.cancelled_caught
    assert records(context) == {"a": "skipped"}


async def test_when_both_times_are_up_the_outer_one_counts(autojump_clock: object) -> None:
    with trio.move_on_after(3) as scope:
        await Pipeline("p", [FunctionStep("a", sleeps, timeout=3)]).execute()
    assert scope.cancelled_caught


async def test_what_a_step_raises_when_its_time_is_up_is_its_error(autojump_clock: object) -> None:
    async def stubborn(context: PipelineContext) -> None:
        try:
            await trio.sleep(9)
        finally:
            raise OSError("while closing")

    outcome, _ = await run_one(FunctionStep("a", stubborn, timeout=3))
    assert isinstance(outcome.unwrap_err().error, OSError)


async def test_a_timeout_of_zero_stops_the_step_where_it_waits(autojump_clock: object) -> None:
    assert (await run_one(FunctionStep("a", sleeps, timeout=0)))[0].is_err()
    assert (await run_one(FunctionStep("a", lambda _: 1, timeout=0)))[0].is_ok()
    assert (await run_one(FunctionStep("a", lambda _: 1, timeout=float("inf"))))[0].is_ok()


# --- cleanup ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["+a", "-a", "~a"]),
        ({"error": KeyError()}, ["+a", "~a"]),
        ({"sleep": 9, "timeout": 1}, ["+a", "!a", "~a"]),
        ({"skip_condition": lambda _: True}, []),
    ],
)
async def test_a_step_is_cleaned_up_exactly_if_it_started(
    limit: int, options: dict[str, Any], expected: list[str], autojump_clock: object
) -> None:
    notes = Notes()
    step = notes.step("a", cleanup=True, **options)
    other = FunctionStep("b", lambda _: 1)
    await Pipeline("p", [step, other], max_concurrency=limit).execute()
    assert notes == expected


async def test_a_cancelled_step_is_cleaned_up_under_a_shield(autojump_clock: object) -> None:
    notes = Notes()
    context = PipelineContext("p")
    steps = [notes.step("a", cleanup=True), notes.step("b", sleep=9, cleanup=True), notes.step("c")]
    with trio.move_on_after(1) as scope:
        await Pipeline("p", steps).execute(context)
    assert scope.cancelled_caught
    assert notes == ["+a", "-a", "~a", "+b", "!b", "~b"]
    assert context.step_results == {"a": "A"}
    assert records(context) == {"a": "completed", "b": "skipped"}
    assert context.metadata["total_duration"] == pytest.approx(1.1)


async def test_a_cleanup_that_takes_too_long_is_stopped_and_logged(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    step = FunctionStep("a", lambda _: 1, cleanup_func=sleeps)
    context = PipelineContext("p")
    with caplog.at_level(logging.ERROR):
        outcome = await Pipeline("p", [step], cleanup_timeout=5).execute(context)
    assert outcome.is_ok()
    assert context.duration == 5
    assert "longer than 5 s" in caplog.text


@pytest.mark.parametrize("cleanup", [*both(OSError("busy")), *both(Err(OSError("busy")))])
async def test_a_cleanup_that_fails_is_logged_and_changes_nothing(
    cleanup: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, _ = await run_one(FunctionStep("a", lambda _: 1, cleanup_func=cleanup))
    assert outcome.is_ok()
    assert "busy" in caplog.text
    assert "'a'" in caplog.text


async def test_interrupts_pass_and_steps_are_cleaned_up() -> None:
    notes = Notes()

    def interrupted(context: PipelineContext) -> None:
        raise KeyboardInterrupt

    step = FunctionStep("a", interrupted, cleanup_func=lambda _: notes.append("~a"))
    for limit in (1, 2):
        for steps in ([step], [FunctionStep("b", interrupted)]):
            waiting = FunctionStep("w", lambda _: 1)
            with pytest.raises(KeyboardInterrupt):
                await Pipeline("p", [*steps, waiting], max_concurrency=limit).execute()
            with pytest.raises(KeyboardInterrupt):
                await Pipeline("p", [ParallelStep("par", [*steps, waiting])]).execute()
    assert notes == ["~a"] * 4


# --- resilience ------------------------------------------------------------------------------


class Twice:
    """Calls again after one failure, and notes each call."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def add(self, pattern: object) -> Twice:
        return self

    async def execute(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await func(*args, **kwargs)
        except Exception as error:
            self.errors.append(error)
            return await func(*args, **kwargs)


async def test_resilience_calls_a_failing_step_again_whether_it_raises_or_returns_an_err() -> None:
    for outcomes in ([Err(OSError())], [OSError()]):
        left = [*outcomes, Ok(Ok(7))]

        def work(context: PipelineContext, left: list[Any] = left) -> Any:
            outcome = left.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        twice = Twice()
        assert isinstance(twice, ResiliencePipelineProtocol)
        _, context = await run_one(FunctionStep("a", work, resilience=twice))
        assert context.step_results == {"a": Ok(7)}
        assert [type(error) for error in twice.errors] == [OSError]


async def test_the_time_limit_is_for_each_call_of_the_resilience(autojump_clock: object) -> None:
    twice = Twice()
    outcome, context = await run_one(FunctionStep("a", sleeps, timeout=3, resilience=twice))
    assert isinstance(outcome.unwrap_err().error, WorkflowTimeoutError)
    assert [type(error) for error in twice.errors] == [WorkflowTimeoutError]
    assert context.duration == 6


async def test_what_resilience_itself_raises_fails_the_step_and_goes_to_its_handler() -> None:
    class Closed(Twice):
        async def execute(self, func: Any, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("open circuit")

    step = FunctionStep("a", sleeps, resilience=Closed(), error_handler=lambda _, e: str(e))
    assert (await run_one(step))[1].step_results == {"a": "open circuit"}


async def test_steps_inside_that_were_called_again_have_the_record_of_the_last_call() -> None:
    calls: list[str] = []

    def flaky(context: PipelineContext) -> str:
        calls.append("x")
        if len(calls) == 1:
            raise OSError
        return "x"

    inner = ParallelStep(
        "in", [FunctionStep("x", flaky), FunctionStep("y", lambda _: "y")], fail_fast=False
    )
    context = PipelineContext("p")
    steps = [FunctionStep("a", lambda _: 1), ParallelStep("par", [inner], resilience=Twice())]
    assert (await Pipeline("p", steps).execute(context)).is_ok()
    assert not context.has_failed()
    names = [each.step_name for each in context.metadata["step_results"]]
    assert names == ["a", "par", "in", "x", "y"]


async def test_a_result_of_a_call_before_the_last_is_no_result() -> None:
    calls: list[str] = []

    def fails_later(context: PipelineContext) -> str:
        calls.append("x")
        if len(calls) == 2:
            raise OSError
        return "x"

    steps = [
        FunctionStep("x", fails_later),
        FunctionStep("y", lambda _: Err(KeyError()), ["x"]),
    ]
    context = PipelineContext("p", step_results={"mine": 1})
    step = ParallelStep("par", steps, resilience=Twice())
    assert (await Pipeline("p", [step]).execute(context)).is_err()
    assert context.step_results == {"mine": 1}
    assert records(context) == {"par": "failed", "x": "failed"}
