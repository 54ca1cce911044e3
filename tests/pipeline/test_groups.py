from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors import Err, Ok, PipelineExecutionError, WorkflowTimeoutError
from lexigram_actors.pipeline import (
    ConditionalStep,
    FunctionStep,
    ParallelStep,
    Pipeline,
    PipelineContext,
    conditional,
    parallel,
    step,
)
from tests.pipeline.helpers import Notes, reason, records


async def run(*steps: Any, **options: Any) -> tuple[Any, PipelineContext]:
    context = PipelineContext("p")
    return await Pipeline("p", list(steps), **options).execute(context), context


async def test_steps_of_a_parallel_step_run_side_by_side_and_results_keep_their_order(
    autojump_clock: object,
) -> None:
    notes = Notes()
    inner = [notes.step("slow", sleep=3), notes.step("fast", sleep=1), notes.step("none")]
    _outcome, context = await run(parallel("par", inner), notes.step("after", "par"))
    assert context.get_step_result("par") == ["SLOW", "FAST", "NONE"]
    assert context.get_step_result("slow") == "SLOW"
    assert context.duration == 3
    assert list(records(context)) == ["par", "slow", "fast", "none", "after"]
    assert not context.has_failed()


async def test_an_empty_parallel_step_returns_an_empty_list() -> None:
    assert (await run(ParallelStep("par", [])))[1].step_results == {"par": []}
    assert await ParallelStep("par", []).execute(PipelineContext("p")) == Ok([])


async def test_steps_inside_are_full_steps(autojump_clock: object) -> None:
    notes = Notes()
    inner = [
        notes.step("skipped", skip_condition=lambda _: True, cleanup=True),
        notes.step("handled", error=KeyError(), error_handler=lambda *_: "saved", cleanup=True),
        notes.step("late", sleep=9, timeout=2, error_handler=lambda _, error: type(error)),
        notes.step("behind", "late"),
    ]
    _, context = await run(ParallelStep("par", inner))
    assert context.step_results["par"] == [None, "saved", WorkflowTimeoutError, "BEHIND"]
    assert notes == ["+handled", "+late", "~handled", "!late", "+behind", "-behind"] or (
        notes == ["+late", "+handled", "~handled", "!late", "+behind", "-behind"]
    )
    assert context.duration == 2


async def test_a_failing_step_cancels_its_siblings_at_once(autojump_clock: object) -> None:
    notes = Notes()
    error = KeyError("bad")
    inner = [
        notes.step("first", sleep=1),
        notes.step("waits", sleep=50, cleanup=True),
        notes.step("bad", sleep=2, error=error),
    ]
    outcome, context = await run(ParallelStep("par", inner))
    failure = outcome.unwrap_err()
    assert (failure.step_name, failure.error) == ("bad", error)
    assert failure.details["errors"] == {"bad": error}
    assert context.duration == pytest.approx(2.1)  # the cleanup
    assert notes[-2:] == ["!waits", "~waits"]
    assert records(context) == {
        "par": "failed",
        "first": "completed",
        "waits": "skipped",
        "bad": "failed",
    }
    assert reason(context, "waits") == "cancelled: step 'bad' failed"
    assert context.step_results == {"first": "FIRST"}


@pytest.mark.parametrize("inside", [True, False])
async def test_of_several_that_fail_at_once_each_is_looked_at(inside: bool) -> None:
    go = trio.Event()
    errors = [KeyError(1), KeyError(2)]

    def failing(number: int) -> FunctionStep:
        async def work(context: PipelineContext) -> None:
            await go.wait()
            raise errors[number]

        return step(f"bad{number}", work)

    async def fine(context: PipelineContext) -> str:
        await go.wait()
        return "done"

    steps: list[Any] = [failing(0), step("fine", fine), failing(1)]
    steps = [ParallelStep("par", steps)] if inside else steps
    context = PipelineContext("p")
    outcome: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def execute() -> None:
            outcome.append(await Pipeline("p", steps, max_concurrency=3).execute(context))

        nursery.start_soon(execute)
        await wait_all_tasks_blocked()
        go.set()
    failure = outcome[0].unwrap_err()
    assert failure.details["errors"] == {"bad0": errors[0], "bad1": errors[1]}
    assert failure.step_name == "bad0"  # the first declared, whichever Trio woke first
    assert failure.error is errors[0]
    assert context.step_results == {"fine": "done"}


async def test_what_a_sibling_raises_while_it_is_cancelled_is_kept(autojump_clock: object) -> None:
    second = OSError("while closing")

    async def stubborn(context: PipelineContext) -> None:
        try:
            await trio.sleep(9)
        finally:
            raise second

    notes = Notes()
    first = KeyError()
    inner = [step("stubborn", stubborn), notes.step("bad", sleep=1, error=first)]
    outcome, _context = await run(ParallelStep("par", inner))
    assert outcome.unwrap_err().details["errors"] == {"stubborn": second, "bad": first}


async def test_without_fail_fast_all_run_and_every_error_is_kept(autojump_clock: object) -> None:
    notes = Notes()
    first, second = KeyError(), OSError()
    inner = [
        notes.step("bad", error=first),
        notes.step("slow", sleep=3),
        notes.step("worse", sleep=1, error=second),
        notes.step("behind", "worse"),
    ]
    outcome, context = await run(ParallelStep("par", inner, fail_fast=False))
    failure = outcome.unwrap_err()
    assert (failure.step_name, failure.error) == ("bad", first)
    assert failure.details["errors"] == {"bad": first, "worse": second}
    assert failure.cause.exceptions == (first, second)
    assert context.step_results == {"slow": "SLOW"}
    assert reason(context, "behind") == "dependency 'worse' failed"


async def test_a_failure_deep_inside_is_named(autojump_clock: object) -> None:
    notes = Notes()
    error = KeyError()
    deep = ParallelStep(
        "inner", [notes.step("bad", sleep=1, error=error), notes.step("n", sleep=9)]
    )
    choice = ConditionalStep("choice", lambda _: True, deep)
    outcome, context = await run(ParallelStep("outer", [choice, notes.step("far", sleep=9)]))
    failure = outcome.unwrap_err()
    assert (failure.step_name, failure.error) == ("bad", error)
    assert failure.details["errors"] == {"bad": error}
    assert reason(context, "n") == "cancelled: step 'bad' failed"
    assert reason(context, "far") == "cancelled: step 'choice' failed"


async def test_steps_inside_a_cancelled_sibling_know_whose_failure_it_was(
    autojump_clock: object,
) -> None:
    notes = Notes()
    inner = ParallelStep("inner", [notes.step("x", sleep=9), notes.step("y", sleep=9)])
    outcome, context = await run(
        inner, notes.step("bad", sleep=1, error=KeyError()), max_concurrency=2
    )
    assert outcome.unwrap_err().step_name == "bad"
    for name in ("inner", "x", "y"):
        assert reason(context, name) == "cancelled: step 'bad' failed"


async def test_a_time_out_of_a_parallel_step_stops_everything_inside(
    autojump_clock: object,
) -> None:
    notes = Notes()
    inner = [notes.step("x", sleep=9, cleanup=True), notes.step("y", sleep=1)]
    outcome, context = await run(ParallelStep("par", inner, timeout=2))
    failure = outcome.unwrap_err()
    assert failure.step_name == "par"
    assert type(failure.error) is WorkflowTimeoutError
    assert list(failure.details["errors"]) == ["par"]
    assert records(context) == {"par": "failed", "x": "skipped", "y": "completed"}
    assert "~x" in notes


async def test_a_subclass_may_handle_what_failed_inside(autojump_clock: object) -> None:
    class Forgiving(ParallelStep):
        async def on_error(self, context: PipelineContext, error: Exception) -> Any:
            assert isinstance(error, PipelineExecutionError)
            return Ok(f"without {error.step_name}")

    inner = [step("bad", lambda _: Err(KeyError())), step("good", lambda _: 1)]
    outcome, context = await run(Forgiving("par", inner))
    assert outcome.is_ok()
    assert context.step_results["par"] == "without bad"


async def test_a_subclass_may_replace_execute() -> None:
    class Counting(ParallelStep):
        async def execute(self, context: PipelineContext) -> Any:
            result = await super().execute(context)
            return Ok(len(result.unwrap()))

    _outcome, context = await run(Counting("par", [step("a", lambda _: 1), step("b", lambda _: 2)]))
    assert context.step_results == {"a": 1, "b": 2, "par": 2}
    assert list(records(context)) == ["par", "a", "b"]


async def test_a_parallel_step_alone_fills_the_context_given() -> None:
    context = PipelineContext("none")
    good = ParallelStep("par", [step("a", lambda _: 1), step("b", lambda _: 2)])
    assert await good.execute(context) == Ok([1, 2])
    assert records(context) == {"a": "completed", "b": "completed"}
    bad = ParallelStep("par", [step("c", lambda _: Err(KeyError()))])
    assert (await bad.execute(context)).unwrap_err().step_name == "c"


# --- conditional -----------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda value: value, Ok])
async def test_a_condition_decides_which_step_runs(wrap: Any) -> None:
    async def condition(context: PipelineContext) -> Any:
        return wrap(context.get_step_result("n") > 1)

    for n, expected in ((1, "small"), (2, "large")):
        _, context = await run(
            step("n", lambda _, n=n: n),
            conditional(
                "c", condition, step("l", lambda _: "large"), step("s", lambda _: "small"), ["n"]
            ),
        )
        assert context.get_step_result("c") == expected
        assert records(context) == {"n": "completed", "c": "completed", expected[0]: "completed"}


async def test_a_false_condition_without_a_false_step_gives_none() -> None:
    _, context = await run(conditional("c", lambda _: False, step("a", lambda _: 1)))
    assert context.step_results == {"c": None}


@pytest.mark.parametrize("outcome", [KeyError("no"), Err(KeyError("no"))])
async def test_a_condition_that_fails_fails_the_step(outcome: Any) -> None:
    def condition(context: PipelineContext) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    failure = (await run(conditional("c", condition, step("a", lambda _: 1))))[0].unwrap_err()
    assert failure.step_name == "c"
    assert isinstance(failure.error, KeyError)


async def test_the_step_of_a_branch_is_a_full_step(autojump_clock: object) -> None:
    notes = Notes()
    inner = notes.step("a", sleep=9, timeout=1, cleanup=True)
    outcome, context = await run(conditional("c", lambda _: True, inner))
    assert outcome.unwrap_err().step_name == "a"
    assert notes == ["+a", "!a", "~a"]
    assert context.duration == pytest.approx(1.1)


async def test_a_conditional_step_may_be_executed_alone_and_is_never_skipped() -> None:
    choice = conditional("c", lambda _: True, step("a", lambda _: 1))
    context = PipelineContext("p")
    assert await choice.execute(context) == Ok(1)
    assert await choice.should_skip(context) == Ok(False)
    assert context.step_results == {"a": 1}


class Overridden(ParallelStep):
    async def execute(self, context: PipelineContext) -> Any:
        return await super().execute(context)


class OverriddenChoice(ConditionalStep):
    async def execute(self, context: PipelineContext) -> Any:
        return await super().execute(context)


async def test_a_subclass_may_call_the_execute_it_overrides_whatever_it_depends_on() -> None:
    outcome, context = await run(
        step("a", lambda _: 1),
        step("b", lambda _: 2, ["a"]),
        Overridden("par", [step("x", lambda _: 3, ["a"]), step("y", lambda _: 4, ["x"])], ["b"]),
        OverriddenChoice("c", lambda _: True, step("z", lambda _: 5, ["b"]), None, ["par"]),
    )
    assert outcome.is_ok()
    assert context.step_results == {"a": 1, "b": 2, "x": 3, "y": 4, "par": [3, 4], "z": 5, "c": 5}
    assert list(records(context)) == ["a", "b", "par", "x", "y", "c", "z"]


async def test_steps_that_wait_for_each_other_are_refused_outside_of_a_run_too() -> None:
    circle = ParallelStep("par", [step("x", lambda _: 1, ["y"]), step("y", lambda _: 1, ["x"])])
    with pytest.raises(ValueError, match="wait for each other"):
        await circle.execute(PipelineContext("p"))


# --- cancellation ----------------------------------------------------------------------------


async def test_with_concurrency_a_failure_cancels_the_steps_in_flight(
    autojump_clock: object,
) -> None:
    notes = Notes()
    outcome, context = await run(
        notes.step("waits", sleep=9, cleanup=True),
        notes.step("bad", sleep=1, error=KeyError()),
        notes.step("next", "bad"),
        notes.step("never"),
        max_concurrency=2,
    )
    assert outcome.unwrap_err().step_name == "bad"
    assert sorted(notes) == sorted(["+waits", "+bad", "!waits", "~waits"])
    assert records(context) == {"waits": "skipped", "bad": "failed"}
    assert reason(context, "waits") == "cancelled: step 'bad' failed"


async def test_a_skip_condition_in_flight_is_cancelled_without_cleanup(
    autojump_clock: object,
) -> None:
    async def slowly(context: PipelineContext) -> bool:
        await trio.sleep(9)
        return False

    notes = Notes()
    _, context = await run(
        notes.step("undecided", skip_condition=slowly, cleanup=True),
        notes.step("bad", sleep=1, error=KeyError()),
        max_concurrency=2,
    )
    assert reason(context, "undecided") == "cancelled: step 'bad' failed"
    assert notes == ["+bad"]


async def test_cancelled_before_it_began_a_run_starts_no_step() -> None:
    notes = Notes()
    for limit in (1, 2):
        with trio.CancelScope() as scope:
            scope.cancel()
            steps = [notes.step("a"), notes.step("b")]
            await Pipeline("p", steps, max_concurrency=limit).execute()
        assert scope.cancelled_caught
    assert notes == []


async def test_a_step_made_ready_by_one_that_cancels_the_run_does_not_begin() -> None:
    notes = Notes()
    scope = trio.CancelScope()
    steps = [
        step("stop", lambda _: scope.cancel()),
        notes.step("b", "stop"),
        notes.step("c", "stop"),
    ]
    with scope:
        await Pipeline("p", steps, max_concurrency=2).execute()
    assert scope.cancelled_caught
    assert notes == []


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("at", [0.5, 1.05, 1.5, 2.05, 2.5, 3.05])
async def test_cancelled_anywhere_what_started_is_cleaned_up_and_what_was_done_is_kept(
    limit: int, at: float, autojump_clock: object
) -> None:
    notes = Notes()
    context = PipelineContext("p")
    steps = [
        notes.step("a", sleep=1, cleanup=True),
        ParallelStep(
            "par",
            [notes.step("b", sleep=1, cleanup=True), notes.step("c", sleep=2, cleanup=True)],
            ["a"],
        ),
        notes.step("d", "par", cleanup=True),
    ]
    with trio.move_on_after(at) as scope:
        await Pipeline("p", steps, max_concurrency=limit).execute(context)
    assert scope.cancelled_caught
    started = {note[1:] for note in notes if note[0] == "+"}
    assert {note[1:] for note in notes if note[0] == "~"} == started
    finished = {note[1:] for note in notes if note[0] == "-"}
    assert set(context.step_results) - {"par"} == finished
    statuses = records(context)
    assert {name for name in started if statuses[name] == "completed"} == finished
    assert context.end_time is not None
