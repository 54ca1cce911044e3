from __future__ import annotations

import pickle
from contextvars import ContextVar
from typing import Any
from unittest.mock import AsyncMock

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import Err, Ok, PipelineExecutionError, PipelineStepError
from lexigram_actors.pipeline import (
    FunctionStep,
    Pipeline,
    PipelineContext,
    PipelineStep,
    StepExecutionResult,
    StepStatus,
    step,
)
from lexigram_actors.pipeline.models import completed
from tests.pipeline.helpers import Later, Notes, reason, records


async def test_an_empty_pipeline_returns_its_context() -> None:
    context = PipelineContext("p")
    assert await Pipeline("p", []).execute(context) == Ok(context)
    assert context.metadata["step_results"] == []


async def test_of_the_ready_steps_the_one_added_first_runs_first() -> None:
    notes = Notes()
    pipeline = Pipeline("p", [notes.step("a"), notes.step("c", "a"), notes.step("b")])
    await pipeline.execute()
    assert notes == ["+a", "-a", "+c", "-c", "+b", "-b"]


async def test_a_step_may_be_added_before_what_it_waits_for() -> None:
    notes = Notes()
    context = PipelineContext("p")
    await Pipeline("p", [notes.step("a", "b"), notes.step("b")]).execute(context)
    assert notes == ["+b", "-b", "+a", "-a"]
    assert list(records(context)) == ["a", "b"]  # in the order of declaration


async def test_results_and_records_stand_in_the_context(autojump_clock: object) -> None:
    notes = Notes()
    pipeline = Pipeline("p", [notes.step("a", sleep=2), notes.step("b", sleep=3)])
    context = (await pipeline.execute()).unwrap()
    assert context.step_results == {"a": "A", "b": "B"}
    assert [each.duration for each in context.successful_steps] == [2, 3]
    assert context.metadata["total_duration"] == context.duration == 5
    assert not context.has_failed()


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize(
    ("returned", "result"),
    [(1, 1), (Ok(1), 1), (None, None), (Ok(Ok(1)), Ok(1)), (Ok(Err(1)), Err(1))],
)
async def test_a_step_returns_a_plain_value_or_a_result_which_is_taken_out_once(
    limit: int, returned: object, result: object
) -> None:
    async def waits(context: PipelineContext) -> object:
        return returned

    steps = [
        step("sync", lambda _: returned),
        step("async", waits),
        step("timed", waits, timeout=5),
        FunctionStep("cleaned", waits, cleanup_func=lambda _: None),
    ]
    context = (await Pipeline("p", steps, max_concurrency=limit).execute()).unwrap()
    assert context.step_results == dict.fromkeys(("sync", "async", "timed", "cleaned"), result)


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("timeout", [None, 5])
async def test_whatever_can_be_awaited_is_awaited(limit: int, timeout: float | None) -> None:
    steps = [step("a", lambda _: Later(Ok(7)), timeout=timeout), step("b", lambda _: [], ["a"])]
    context = (await Pipeline("p", steps, max_concurrency=limit).execute()).unwrap()
    assert context.step_results == {"a": 7, "b": []}


class Odd(Exception):
    pass


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("timeout", [None, 5])
async def test_an_exception_of_any_class_is_an_err(limit: int, timeout: float | None) -> None:
    error = Odd("strange")

    async def fails(context: PipelineContext) -> None:
        raise error

    pipeline = Pipeline(
        "p", [step("a", lambda _: 1), step("b", fails, timeout=timeout)], max_concurrency=limit
    )
    context = PipelineContext("p")
    failure = (await pipeline.execute(context)).unwrap_err()
    assert isinstance(failure, PipelineExecutionError)
    assert (failure.step_name, failure.error, failure.cause) == ("b", error, error)
    assert failure.details == {"errors": {"b": error}}
    assert context.step_results == {"a": 1}
    assert [each.error for each in context.failed_steps] == [error]
    assert context.metadata["total_duration"] >= 0


async def test_a_group_of_one_exception_is_that_exception() -> None:
    error = Odd()

    async def fails(context: PipelineContext) -> None:
        async with trio.open_nursery():
            raise error

    failure = (await Pipeline("p", [step("a", fails)]).execute()).unwrap_err()
    assert failure.error is error


async def test_a_group_of_several_stays_one_error() -> None:
    group = ExceptionGroup("two", [Odd(), ValueError()])

    def fails(context: PipelineContext) -> None:
        raise group

    assert (await Pipeline("p", [step("a", fails)]).execute()).unwrap_err().error is group


async def test_an_err_without_an_exception_is_put_into_one() -> None:
    failure = (await Pipeline("p", [step("a", lambda _: Err("no stock"))]).execute()).unwrap_err()
    assert isinstance(failure.error, PipelineStepError)
    assert failure.error.details == {"error": "no stock"}
    assert "no stock" in str(failure)


async def test_after_a_failure_no_further_step_runs() -> None:
    notes = Notes()
    context = PipelineContext("p")
    pipeline = Pipeline("p", [notes.step("a", error=Odd()), notes.step("b")])
    assert (await pipeline.execute(context)).is_err()
    assert notes == ["+a"]
    assert records(context) == {"a": "failed"}


@pytest.mark.parametrize("limit", [1, 3])
async def test_without_fail_fast_only_what_is_behind_a_failure_is_skipped(
    limit: int, autojump_clock: object
) -> None:
    notes = Notes()
    first, second = Odd("first"), Odd("second")
    pipeline = Pipeline(
        "p",
        [
            notes.step("late", sleep=2, error=first),
            notes.step("behind", "soon", "late"),
            notes.step("far", "behind"),
            notes.step("soon", sleep=1, error=second),
            notes.step("free"),
        ],
        max_concurrency=limit,
    )
    context = PipelineContext("p")
    failure = (await pipeline.execute(context, fail_fast=False)).unwrap_err()
    assert (failure.step_name, failure.error) == ("late", first)
    assert failure.details["errors"] == {"late": first, "soon": second}
    assert list(failure.details["errors"]) == ["late", "soon"]
    assert isinstance(failure.cause, ExceptionGroup)
    assert failure.cause.exceptions == (first, second)
    assert list(records(context).items()) == [
        ("late", "failed"),
        ("behind", "skipped"),
        ("far", "skipped"),
        ("soon", "failed"),
        ("free", "completed"),
    ]
    assert reason(context, "behind") == "dependency 'late' failed"
    assert reason(context, "far") == "dependency 'late' failed"


async def test_steps_that_do_not_wait_for_each_other_run_side_by_side(
    autojump_clock: object,
) -> None:
    notes = Notes()
    pipeline = Pipeline(
        "p",
        [
            notes.step("slow", sleep=10),
            notes.step("a", sleep=1),
            notes.step("b", "a", sleep=1),
            notes.step("c", "b", sleep=1),
            notes.step("end", "c", "slow"),
        ],
        max_concurrency=2,
    )
    context = (await pipeline.execute()).unwrap()
    assert context.duration == 10
    assert notes.index("-c") < notes.index("-slow") < notes.index("+end")
    assert list(context.step_results) == ["a", "b", "c", "slow", "end"]
    assert list(records(context)) == ["slow", "a", "b", "c", "end"]


async def test_no_more_steps_than_allowed_run_and_ready_ones_start_in_order_of_addition(
    autojump_clock: object,
) -> None:
    notes = Notes()
    names = list("abcdefgh")
    now = most = 0

    async def work(context: PipelineContext) -> None:
        nonlocal now, most
        now += 1
        most = max(now, most)
        await trio.sleep(1)
        now -= 1

    steps = [
        FunctionStep(name, work, skip_condition=lambda _, n=name: notes.append(n)) for name in names
    ]
    await Pipeline("p", steps, max_concurrency=3).execute()
    assert notes == names
    assert most == 3


async def test_a_skipped_dependency_does_not_stop_its_dependents() -> None:
    notes = Notes()
    context = PipelineContext("p")
    steps = [notes.step("a", skip_condition=lambda _: True), notes.step("b", "a")]
    assert (await Pipeline("p", steps).execute(context)).is_ok()
    assert records(context) == {"a": "skipped", "b": "completed"}
    assert reason(context, "a") == "its skip condition is met"
    assert "a" not in context.step_results


async def test_one_pipeline_runs_several_times_at_once_without_shared_state(
    autojump_clock: object,
) -> None:
    async def work(context: PipelineContext) -> object:
        await trio.sleep(context.get_metadata("n"))
        return context.get_metadata("n")

    async def run(n: int) -> None:
        context = PipelineContext("p", metadata={"n": n})
        await pipeline.execute(context)
        assert context.step_results == {"a": n, "b": n}
        assert context.duration == n

    pipeline = Pipeline("p", [step("a", work), step("b", work)], max_concurrency=2)
    async with trio.open_nursery() as nursery:
        for n in (1, 2, 3):
            nursery.start_soon(run, n)


async def test_a_step_added_during_a_run_waits_for_the_next() -> None:
    notes = Notes()
    pipeline = Pipeline("p", [])
    pipeline.add_step(step("a", lambda _: pipeline.add_step(notes.step("b"))))
    context = (await pipeline.execute()).unwrap()
    assert records(context) == {"a": "completed"}


async def test_quick_steps_leave_others_their_turn_and_a_run_is_a_checkpoint() -> None:
    turns: list[int] = []
    done: list[int] = []

    async def other() -> None:
        while len(done) < 1000:
            turns.append(len(done))
            await trio.lowlevel.checkpoint()

    pipeline = Pipeline("p", [step(f"s{n}", done.append) for n in range(1000)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await pipeline.execute()
    assert len(set(turns)) >= 5
    with trio.CancelScope() as scope:
        scope.cancel()
        await Pipeline("p", []).execute()
    assert scope.cancelled_caught


async def test_steps_that_take_time_without_waiting_leave_others_their_turn_sooner(
    mock_clock: MockClock,
) -> None:
    turns: list[int] = []
    done: list[int] = []

    async def other() -> None:
        while len(done) < 10:
            turns.append(len(done))
            await trio.lowlevel.checkpoint()

    def work(context: PipelineContext) -> None:
        mock_clock.jump(0.002)
        done.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await Pipeline("p", [step(f"s{n}", work) for n in range(10)]).execute()
    # Of two tasks that take turns either may be first: one may be passed over, not two.
    assert len(set(turns)) >= 4


@pytest.mark.parametrize("timeout", [None, 5])
async def test_what_stands_around_a_step_is_seen_to_behind_steps_that_have_none_of_it(
    timeout: float | None,
) -> None:
    notes = Notes()

    def plain(name: str) -> FunctionStep:
        return notes.step(name, timeout=timeout)

    class Noting:
        async def execute(self, func: Any, *args: Any) -> Any:
            notes.append("called")
            return await func(*args)

    steps = [
        plain("a"),
        plain("b"),
        notes.step("skipped", timeout=timeout, skip_condition=lambda _: True),
        plain("c"),
        notes.step("cleaned", timeout=timeout, cleanup=True),
        plain("d"),
        notes.step("retried", timeout=timeout, resilience=Noting()),
    ]
    assert (await Pipeline("p", steps).execute()).is_ok()
    assert [note for note in notes if note[0] != "+"] == [
        *("-a", "-b", "-c", "-cleaned", "~cleaned", "-d", "called", "-retried")
    ]


async def test_behind_a_failure_each_step_is_looked_at_by_itself() -> None:
    notes = Notes()
    steps = [
        notes.step("bad", error=Odd()),
        notes.step("free"),
        notes.step("behind", "bad"),
        notes.step("last", "free"),
        notes.step("far", "behind"),
    ]
    context = PipelineContext("p")
    await Pipeline("p", steps).execute(context, fail_fast=False)
    assert notes == ["+bad", "+free", "-free", "+last", "-last"]
    assert records(context) == {
        "bad": "failed",
        "free": "completed",
        "behind": "skipped",
        "last": "completed",
        "far": "skipped",
    }


async def test_a_step_of_a_subclass_is_run() -> None:
    class Double(PipelineStep):
        async def execute(self, context: PipelineContext) -> Ok[int]:
            return Ok(context.get_metadata("input") * 2)

    context = PipelineContext("p", metadata={"input": 21})
    await Pipeline("p", [Double("double")]).execute(context)
    assert context.get_step_result("double") == 42


async def test_arguments_of_execute_are_checked() -> None:
    with pytest.raises(TypeError, match="initial_context"):
        await Pipeline("p", []).execute({})
    with pytest.raises(TypeError, match="run_id"):
        await Pipeline("p", []).execute(run_id=3)


async def test_execute_on_a_function_step_alone_honours_its_timeout(autojump_clock: object) -> None:
    notes = Notes()
    context = PipelineContext("p")
    assert await notes.step("a").execute(context) == Ok("A")
    late = await notes.step("b", sleep=9, timeout=1).execute(context)
    assert isinstance(late.unwrap_err(), TimeoutError)


async def test_records_are_frozen_however_they_were_made() -> None:
    context = (await Pipeline("p", [step("a", lambda _: 1)]).execute()).unwrap()
    with pytest.raises(AttributeError):
        context.metadata["step_results"][0].result = 2


def test_records_are_equal_and_travel_however_they_were_made() -> None:
    quick = completed("a", [1], 0.5)
    plain = StepExecutionResult("a", StepStatus.COMPLETED, [1], None, 0.5)
    assert quick == plain == pickle.loads(pickle.dumps(quick))
    assert repr(quick) == repr(plain)


async def test_a_mock_is_a_function_like_any_other() -> None:
    work = AsyncMock(return_value=Ok(1))
    context = (await Pipeline("p", [step("a", work)]).execute()).unwrap()
    assert context.step_results == {"a": 1}
    work.assert_awaited_once_with(context)


async def test_side_by_side_a_step_sees_no_context_variable_that_another_set(
    autojump_clock: object,
) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def work(context: PipelineContext) -> str:
        seen = variable.get()
        variable.set("set")
        return seen

    steps = [step("a", work), step("b", work, ["a"]), step("c", work)]
    context = (await Pipeline("p", steps, max_concurrency=2).execute()).unwrap()
    assert set(context.step_results.values()) == {"unset"}


async def test_the_duration_of_a_context_grows_while_it_runs(autojump_clock: object) -> None:
    async def work(context: PipelineContext) -> float:
        await trio.sleep(2)
        return context.duration

    context = PipelineContext("p")
    assert context.duration == 0
    await Pipeline("p", [step("a", work), step("b", lambda _: 1)]).execute(context)
    assert context.get_step_result("a") == 2


def test_a_context_keeps_what_is_put_into_it() -> None:
    context = PipelineContext("p")
    context.set_step_result("a", 1)
    context.add_metadata("k", 2)
    assert (context.get_step_result("a"), context.get_metadata("k")) == (1, 2)
    assert (context.get_step_result("b", 3), context.get_metadata("l", 4)) == (3, 4)
    assert not context.has_failed()
