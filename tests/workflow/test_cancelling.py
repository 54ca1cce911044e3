"""A durable function cancelled before each of its task steps, and gone on with afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from lexigram_actors import Ok, WorkflowContext, WorkflowStepError, current_step, workflow
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import RunContext
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import Definition, NewInstance
from lexigram_actors.testing import cancel_at_every_step

began: list[str] = []


async def work(seconds: float) -> str:
    path = current_step().path
    began.append(path)
    await trio.sleep(seconds)
    return path


async def fail(seconds: float) -> None:
    await trio.sleep(seconds)
    raise ValueError("no")


async def branch(ctx: WorkflowContext, seconds: float) -> str:
    async with ctx.move_on_after(seconds + 1):
        await ctx.sleep(seconds)
    return await ctx.step(work, seconds)


async def failing(ctx: WorkflowContext) -> None:
    await ctx.sleep(3)
    await ctx.step(fail, 1, retry=1)


@workflow
async def part(ctx: WorkflowContext, seconds: float) -> str:
    await ctx.step(work, seconds)
    return await ctx.step(work, seconds)


@workflow(timeout=1000, retries=1)
async def everything(ctx: WorkflowContext) -> Any:
    await ctx.step(work, 1)
    values = await ctx.map(branch, [1, 2, 3], limit=2)
    try:
        async with ctx.parallel() as group:
            group.start(failing)
            group.start(branch, 100.0)
    except WorkflowStepError as error:
        values.append(error.path)
    async with ctx.move_on_after(5) as limit:
        await ctx.step(work, 10)
    return [*values, limit.fired, await ctx.run(part, 1), ctx.patched("x")]


EXPECTED = Ok(
    [
        "branch/item/work",
        "branch/item#2/work",
        "branch/item#3/work",
        "parallel/failing/fail",
        True,
        "part/work#2",
        True,
    ]
)


async def live(store: Any) -> Any:
    loaded = await store.load("order")
    journal = Journal(loaded, store, lambda: 1e9 + trio.current_time())
    context = RunContext(run_id="order", journal=journal)
    return await everything.__runnable__.run(context)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", [0, 1])
def test_cancelled_before_any_step_it_goes_on_and_repeats_nothing(seed: int) -> None:
    stores: list[Any] = []

    async def scenario() -> None:
        store = MemoryStore(clock=trio.current_time).instances
        stores.append(store)
        began.clear()
        await store.enter("host", 1e9)
        new = NewInstance(id="order", definition=Definition("workflow", "everything", 1))
        await store.create(new, host="host")
        assert await live(store) == EXPECTED

    async def go_on(_: object) -> None:
        store = stores[-1]
        if await store.get("order") is None:
            return
        entries = await store.journal("order")
        recorded = {entry.path for entry in entries if entry.kind == "step"}
        began.clear()
        assert await live(store) == EXPECTED
        assert not recorded & set(began)

    report = cancel_at_every_step(scenario, check=go_on, may_finish=True, seed=seed)
    assert report.points > 40
