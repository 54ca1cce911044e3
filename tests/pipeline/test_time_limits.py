"""Steps with a time limit that follow each other."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from lexigram_actors import WorkflowTimeoutError
from lexigram_actors.pipeline import FunctionStep, Pipeline, PipelineContext, step
from lexigram_actors.pipeline.sequence import Limit
from tests.pipeline.helpers import Notes, reason, records


async def run(*steps: Any, **options: Any) -> tuple[Any, PipelineContext]:
    context = PipelineContext("p")
    return await Pipeline("p", steps).execute(context, **options), context


async def test_each_step_has_its_own_time(autojump_clock: object) -> None:
    notes = Notes()
    steps = [notes.step(name, sleep=2, timeout=3) for name in "abc"]
    outcome, context = await run(*steps)
    assert outcome.is_ok()
    assert [each.duration for each in context.successful_steps] == [2, 2, 2]


@pytest.mark.parametrize("limits", [(3, 3, 3), (5, 4, 3), (2.5, 5, 3), (float("inf"), 9, 3)])
async def test_the_step_that_is_late_is_to_blame_and_stopped_at_its_time(
    limits: tuple[float, ...], autojump_clock: object
) -> None:
    notes = Notes()
    outcome, context = await run(
        notes.step("a", sleep=2, timeout=limits[0]),
        notes.step("b", sleep=2, timeout=limits[1]),
        notes.step("c", sleep=9, timeout=limits[2]),
        notes.step("d"),
    )
    error = outcome.unwrap_err().error
    assert type(error) is WorkflowTimeoutError
    assert error.step_name == outcome.unwrap_err().step_name == "c"
    assert context.duration == 7
    assert notes == ["+a", "-a", "+b", "-b", "+c", "!c"]


async def test_after_a_time_out_the_handler_and_the_steps_behind_have_all_their_time(
    autojump_clock: object,
) -> None:
    async def handler(context: PipelineContext, error: Exception) -> str:
        await trio.sleep(50)
        return "recovered"

    notes = Notes()
    outcome, context = await run(
        notes.step("a", sleep=9, timeout=1, error_handler=handler),
        notes.step("b", sleep=2, timeout=3),
        notes.step("c", sleep=9, timeout=1),
        notes.step("d", sleep=2, timeout=3),
        notes.step("e", "c", timeout=3),
        fail_fast=False,
    )
    assert list(outcome.unwrap_err().details["errors"]) == ["c"]
    assert context.step_results == {"a": "recovered", "b": "B", "d": "D"}
    assert reason(context, "e") == "dependency 'c' failed"
    assert context.duration == 51 + 2 + 1 + 2


async def test_the_limit_of_a_step_does_not_stop_one_behind_it_that_has_none(
    autojump_clock: object,
) -> None:
    notes = Notes()
    outcome, _context = await run(
        notes.step("a", timeout=1),
        notes.step("b", sleep=9),
        notes.step("c", timeout=1),
        notes.step("d", sleep=9, cleanup=True),
        notes.step("e", timeout=1),
        notes.step("f", sleep=9, timeout=float("inf")),
    )
    assert outcome.is_ok()


async def test_a_step_that_ends_late_without_having_waited_completes_and_the_next_has_its_time(
    autojump_clock: Any,
) -> None:
    notes = Notes()

    async def shielded(context: PipelineContext) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)

    outcome, context = await run(
        step("blocks", lambda _: autojump_clock.jump(5), timeout=3),
        notes.step("a", sleep=2, timeout=3),
        step("shielded", shielded, timeout=3),
        notes.step("b", sleep=2, timeout=3),
    )
    assert outcome.is_ok()
    assert [each.duration for each in context.successful_steps] == [5, 2, 5, 2]


@pytest.mark.parametrize("limit", [1, 2])
async def test_what_a_late_step_raises_beside_its_cancellation_is_its_error(
    limit: int, autojump_clock: object
) -> None:
    async def fails_at_the_end() -> None:
        try:
            await trio.sleep(9)
        finally:
            raise OSError("while closing")

    async def work(context: PipelineContext) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 9)
            nursery.start_soon(fails_at_the_end)

    context = PipelineContext("p")
    steps = [step("a", work, timeout=3), step("b", lambda _: 1, timeout=3)]
    outcome = await Pipeline("p", steps, max_concurrency=limit).execute(context, fail_fast=False)
    assert isinstance(outcome.unwrap_err().error, OSError)
    assert records(context) == {"a": "failed", "b": "completed"}


async def test_a_cancellation_from_outside_is_no_time_out_of_the_second_step_either(
    autojump_clock: object,
) -> None:
    context = PipelineContext("p")
    notes = Notes()
    steps = [notes.step("a", sleep=2, timeout=3), notes.step("b", sleep=9, timeout=3)]
    with trio.move_on_after(4) as scope:
        await Pipeline("p", steps).execute(context)
    assert scope.cancelled_caught
    assert records(context) == {"a": "completed", "b": "skipped"}
    assert reason(context, "b") == "cancelled"


async def test_a_step_without_a_limit_may_leave_a_scope_open_behind_it(
    autojump_clock: object,
) -> None:
    scope = trio.CancelScope()
    notes = Notes()
    outcome, _context = await run(
        notes.step("a", timeout=3),
        step("open", lambda _: scope.__enter__() and None),
        notes.step("b", sleep=1, timeout=3),
        notes.step("c", sleep=1, timeout=3),
        step("close", lambda _: scope.__exit__(None, None, None)),
        notes.step("d", timeout=3),
    )
    assert outcome.is_ok()


async def test_many_quick_steps_with_limits_leave_others_their_turn() -> None:
    turns: list[int] = []
    done: list[int] = []

    async def other() -> None:
        while len(done) < 1000:
            turns.append(len(done))
            await trio.lowlevel.checkpoint()

    steps = [FunctionStep(f"s{n}", done.append, timeout=60) for n in range(1000)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert (await Pipeline("p", steps).execute()).is_ok()
    assert len(set(turns)) >= 5


async def test_a_deadline_that_serves_several_steps_is_moved_when_it_no_longer_does() -> None:
    limit = Limit(10.0, 1.0, has_slack=True)
    assert limit.scope.deadline == 11.001
    assert limit.serves_until == 10.001
    assert limit.is_moved_for(10.5, 1.0)
    assert limit.scope.deadline == 11.501
    assert limit.is_moved_for(10.5, 0.01)
    assert limit.scope.deadline == 10.5101
    assert not limit.is_moved_for(10.5101, 1.0)
    assert limit.scope.deadline == 10.5101
