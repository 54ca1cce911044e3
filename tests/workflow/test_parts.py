"""Other kinds as parts of a durable function, and a function on a store that really writes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    Err,
    HumanNode,
    NotStorableError,
    Ok,
    Pipeline,
    RunContext,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowError,
    WorkflowStepError,
    step,
    workflow,
)
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.surroundings import Suspended
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import Definition, NewInstance
from tests.workflow.lives import Lives


async def journal_in(store: Any) -> Journal:
    """Return the journal of an instance in a memory store, begun where there is none."""
    await store.enter("host", 1e9)
    new = NewInstance(id="order-42", definition=Definition("workflow", "order", 1))
    await store.create(new, host="host")
    return Journal(await store.load("order-42"), store, trio.current_time)


def context(journal: Journal) -> RunContext:
    return RunContext(run_id="order-42", journal=journal)


async def test_a_pipeline_goes_on_inside_a_function() -> None:
    done: list[str] = []
    bugs = [True]

    async def extract(_: Any) -> int:
        done.append("extract")
        return 1

    async def load(_: Any) -> int:
        done.append("load")
        if bugs:
            bugs.clear()
            raise ValueError("not yet")
        return 2

    etl = Pipeline("etl", [step("extract", extract), step("load", load, ["extract"])])

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> Any:
        return await ctx.run(etl)

    store = MemoryStore().instances
    result = await order.__runnable__.run(context(await journal_in(store)))  # type: ignore[attr-defined]
    assert result == Ok({"extract": 1, "load": 2})
    assert done == ["extract", "load", "load"]
    again = await order.__runnable__.run(context(await journal_in(store)))  # type: ignore[attr-defined]
    assert again == result
    assert done == ["extract", "load", "load"]


async def test_a_graph_inside_a_function_asks_and_waits() -> None:
    builder = WorkflowBuilder("review")
    builder.add_node("ask", node=HumanNode("ask", prompt="Ship it?", output_key="answer"))
    engine = builder.set_entry("ask").set_terminal("ask").build()

    @workflow
    async def order(ctx: WorkflowContext) -> Any:
        state = await ctx.run(engine, {"input": "book"}, name="review")
        return state["answer"]

    lives = Lives(order)
    await lives.die_when_idle()
    [asked] = [entry.path for entry in lives.entries if entry.kind == "asked"]
    assert asked == "review/ask"
    lives.signal("review/ask", "yes", kind="answer")
    assert await lives.run() == Ok("yes")
    assert await lives.run() == Ok("yes")


async def test_a_retried_function_is_given_what_was_recorded_not_what_it_made_of_it() -> None:
    failures = [Err("down")]

    @workflow(retries=1)
    async def order(ctx: WorkflowContext) -> Any:
        items = await ctx.step(lambda: ["book"], name="items")
        items.append("pen")
        await ctx.step(lambda: failures.pop() if failures else None, name="charge")
        return items

    store = MemoryStore().instances
    result = await order.__runnable__.run(context(await journal_in(store)))  # type: ignore[attr-defined]
    assert result == Ok(["book", "pen"])
    kinds = [entry.kind for entry in await store.journal("order-42")]
    assert kinds == ["step", "step", "retry", "void", "step"]


async def test_a_part_whose_result_cannot_be_stored_has_failed() -> None:
    @workflow
    async def part(ctx: WorkflowContext) -> Any:
        return object()

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        await ctx.run(part)

    store = MemoryStore().instances
    result = await order.__runnable__.run(context(await journal_in(store)))  # type: ignore[attr-defined]
    error = result.unwrap_err()
    assert isinstance(error, WorkflowStepError)
    assert isinstance(error.cause, NotStorableError)


async def test_what_is_no_runnable_is_refused() -> None:
    @workflow
    async def order(ctx: WorkflowContext, how: str) -> None:
        if how == "run":
            await ctx.run(5)  # type: ignore[arg-type]
        elif how == "step":
            await ctx.step(5)  # type: ignore[call-overload]
        else:
            await ctx.step(order, 1, retry=3)

    for how in ("run", "step", "retry"):
        with pytest.raises(TypeError):
            await Lives(order, how).run()


async def test_branches_end_as_one_where_the_host_stops(autojump_clock: MockClock) -> None:
    async def branch(ctx: WorkflowContext, seconds: float) -> None:
        with trio.CancelScope(shield=True):
            await ctx.step(trio.sleep, seconds)
        await ctx.step(trio.sleep, seconds)

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(branch, 2.0)
            group.start(branch, 3.0)
            assert lives.journal is not None
            lives.journal.held = lives.journal.stopping = True

    lives = Lives(order)
    with pytest.raises(Suspended):
        await lives.run()


async def test_a_bug_beside_a_cancellation_from_outside_lets_that_pass(
    autojump_clock: MockClock,
) -> None:
    async def buggy(ctx: WorkflowContext) -> None:
        try:
            await ctx.sleep(100)
        finally:
            raise ValueError("clean-up")

    @workflow
    async def order(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(buggy)
            await ctx.sleep(100)

    @workflow
    async def buggy_block(ctx: WorkflowContext) -> None:
        async with ctx.parallel() as group:
            group.start(patient)
            try:
                await ctx.sleep(100)
            finally:
                raise WorkflowError("clean-up")

    async def patient(ctx: WorkflowContext) -> None:
        await ctx.sleep(100)

    for function in (order, buggy_block):
        lives = Lives(function)
        with trio.move_on_after(5) as scope:
            await lives.run()
        assert scope.cancelled_caught
        assert {kind for _, kind in lives.recorded()} == {"sleep"}
