"""Programs that begin instances of every kind in a host, for crashing them everywhere.

Each is `async def program(world)`: it opens a host on the world's store, begins what it begins
under ids of its own choice, acknowledges what was begun, and waits for the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from lexigram_actors import (
    BulkOperation,
    BulkOperationConfig,
    Pipeline,
    WorkflowBuilder,
    WorkflowContext,
    step,
    workflow,
)
from lexigram_actors.errors import StoreError, WorkflowStateError
from lexigram_actors.graph import WorkflowRunner
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.opening import open_host
from lexigram_actors.kernel import Backoff
from lexigram_actors.result import Err, Ok
from lexigram_actors.retry import RetryPolicy
from lexigram_actors.storage.instances import InstanceStatus
from lexigram_actors.testing import World

QUICK = Backoff(initial=0.1, jitter=0.0)


@asynccontextmanager
async def hosting(world: World, *definitions: Any, **options: Any) -> AsyncIterator[WorkflowHost]:
    """Open a host that looks into its store rarely: nobody else writes there."""
    options = {"poll": 1e6, "backoff": QUICK, **options}
    async with open_host(world.store, register=definitions, **options) as host:
        yield host


async def begun(world: World, host: WorkflowHost, definition: Any, input: Any, id: str) -> Any:
    """Begin an instance, as whoever calls it would: again, where it is not known whether it did."""
    while True:
        try:
            handle = await host.start(definition, input, id=id)
            break
        except StoreError:
            await trio.sleep(1)
    await world.acknowledge(id)
    return handle


async def surely(call: Any, *args: Any, **kwargs: Any) -> Any:
    """Make a call of the store that may be made twice, until it says that it is done."""
    while True:
        try:
            return await call(*args, **kwargs)
        except StoreError:
            await trio.sleep(1)
        except WorkflowStateError:
            return None  # done before, and the instance has ended


async def check_all_ended(world: World) -> None:
    """Every start that was acknowledged has come to an end (I3), and nothing is left unfinished."""
    for id in set(world.acknowledged):
        instance = await world.store.instances.get(id)
        assert instance is not None, f"{id} was acknowledged, and is gone"
        assert instance.status.has_ended, f"{id} is {instance.status}"


# --- a durable function with everything ------------------------------------------------------


async def order(world: World) -> Any:
    """Steps, a retry, a timer, a signal, parallel branches, a time limit, a question."""

    async def charge(item: str) -> str:
        await world.effect("charge")
        return f"paid {item}"

    async def flaky() -> str:
        await world.effect("flaky")
        if world.started("flaky") == 1:
            raise OSError("no route")
        return "sent"

    async def ship(part: str) -> str:
        await world.effect(f"ship {part}", seconds=len(part))
        return part.upper()

    async def branch(ctx: WorkflowContext, part: str) -> str:
        return str(await ctx.step(ship, part))

    @workflow
    async def order(ctx: WorkflowContext, item: str) -> dict[str, Any]:
        paid = await ctx.step(charge, item)
        sent = await ctx.step(flaky, retry=RetryPolicy(retries=5, delay=10, jitter=0.0))
        await ctx.sleep(3600)
        async with ctx.parallel() as group:
            parts = [group.start(branch, part) for part in ("a", "bb", "ccc")]
        approved = await ctx.wait_signal("approved")
        async with ctx.move_on_after(60) as limit:
            await ctx.wait_signal("never")
        await ctx.step(world.effect, "last", name="last")
        return {
            "paid": paid,
            "sent": sent,
            "parts": [each.value for each in parts],
            "approved": approved,
            "gave_up": limit.fired,
            "id": str(ctx.uuid()),
        }

    async with hosting(world, order) as host:
        handle = await begun(world, host, order, "book", "order")
        await surely(handle.signal, "approved", True, key="once")
        return (await handle.result()).unwrap()


def check_order(world: World) -> Any:
    assert world.result["paid"] == "paid book"
    assert world.result["parts"] == ["A", "BB", "CCC"]
    assert world.result["gave_up"] is True
    return check_all_ended(world)


ORDER_AFTER = {
    "flaky": ["charge"],
    **{f"ship {part}": ["flaky"] for part in ("a", "bb", "ccc")},
    "last": ["ship a", "ship bb", "ship ccc"],
}


# --- a question for a person ----------------------------------------------------------------------


async def question(world: World) -> Any:
    @workflow
    async def ask(ctx: WorkflowContext) -> Any:
        await ctx.step(world.effect, "before", name="before")
        answer = await ctx.ask_human("how many?", schema=int)
        await ctx.step(world.effect, "after", name="after")
        return answer

    async with hosting(world, ask) as host:
        handle = await begun(world, host, ask, None, "ask")
        await answered(handle, 3)
        return (await handle.result()).unwrap()


async def answered(handle: Any, value: Any) -> None:
    """Answer what is asked, once somebody is asked; nothing where it ended before."""
    while True:
        try:
            asked = await handle.questions()
            if asked:
                await handle.answer(value, question=asked[0].id)
                return
            if (await handle.describe()).status.has_ended:
                return
            if any(each.kind == "answered" for each in await handle.history()):
                return
        except (StoreError, WorkflowStateError):
            pass
        await trio.sleep(1)


def check_question(world: World) -> Any:
    assert world.result == 3
    return check_all_ended(world)


# --- pipelines, graphs, bulk operations ---------------------------------------------------------


async def pipeline(world: World) -> Any:
    def stage(name: str) -> Any:
        async def run(context: Any) -> str:
            await world.effect(name)
            return name

        return run

    inner = Pipeline("inner", [step(each, stage(each)) for each in ("i1", "i2")])
    outer = Pipeline(
        "outer",
        [
            step("one", stage("one")),
            inner.as_step("inner", ["one"]),
            step("two", stage("two"), ["inner"]),
        ],
    )
    async with hosting(world, outer) as host:
        handle = await begun(world, host, outer, None, "pipeline")
        return (await handle.result()).unwrap()


def check_pipeline(world: World) -> Any:
    assert world.result == {"one": "one", "inner": {"i1": "i1", "i2": "i2"}, "two": "two"}
    return check_all_ended(world)


async def graph(world: World) -> Any:
    """A fan-out that joins, a node that fails once, and a person who is asked."""

    def node(name: str, seconds: float = 0.0) -> Any:
        async def run(state: dict[str, Any]) -> dict[str, Any]:
            await world.effect(name, seconds=seconds)
            if name == "right" and world.started("right") == 1:
                raise OSError("once")
            return {name: True}

        return run

    engine = (
        WorkflowBuilder("graph")
        .add_node("start", node=node("start"))
        .add_node("left", node=node("left", 5))
        .add_node("right", node=node("right"))
        .add_node("ask", human_prompt="go on?", output_key="verdict")
        .add_node("end", node=node("end"))
        .add_edge("start", "left")
        .add_edge("start", "right")
        .add_edge("left", "ask")
        .add_edge("right", "ask")
        .add_edge("ask", "end")
        .set_entry("start")
        .set_terminal("end")
        .build()
    )
    runner = WorkflowRunner(engine, max_retries=3, retry_delay=1.0).as_runnable()
    async with hosting(world, runner) as host:
        handle = await begun(world, host, runner, "x", "graph")
        await answered(handle, "yes")
        return (await handle.result()).unwrap()


def check_graph(world: World) -> Any:
    assert {key: world.result[key] for key in ("start", "left", "right", "end", "verdict")} == {
        "start": True,
        "left": True,
        "right": True,
        "end": True,
        "verdict": "yes",
    }
    return check_all_ended(world)


GRAPH_AFTER = {"left": ["start"], "right": ["start"], "end": ["left", "right"]}


async def bulk(world: World) -> Any:
    async def process(items: list[int]) -> list[int]:
        await world.effect(f"batch {items[0]}")
        return [10 * each for each in items]

    config = BulkOperationConfig(batch_size=3, max_concurrency=2, retry_attempts=0)
    operation: BulkOperation[Any, Any] = BulkOperation(config, process, keep_results=True)
    runnable = operation.as_runnable("numbers")
    async with hosting(world, runnable) as host:
        handle = await begun(world, host, runnable, list(range(10)), "bulk")
        return (await handle.result()).unwrap()


def check_bulk(world: World) -> Any:
    assert sorted(world.result["results"]) == [10 * each for each in range(10)]
    return check_all_ended(world)


# --- kinds inside each other --------------------------------------------------------------------


async def nested(world: World) -> Any:
    """A function that runs a pipeline and begins a child, which raises a bug once."""

    async def stage(context: Any) -> str:
        await world.effect("stage")
        return "stage"

    inner = Pipeline("inner", [step("stage", stage)])

    @workflow
    async def child(ctx: WorkflowContext, input: int) -> int:
        await ctx.step(world.effect, "child", name="child")
        if world.started("bug") == 0:
            await world.effect("bug")
            raise KeyError("bug")
        return input + 1

    @workflow
    async def parent(ctx: WorkflowContext) -> Any:
        ran = await ctx.run(inner)
        started = await ctx.start_child(child, 1, id="child")
        return [ran, await ctx.child_result(started)]

    async with hosting(world, parent, child) as host:
        handle = await begun(world, host, parent, None, "parent")
        return (await handle.result()).unwrap()


def check_nested(world: World) -> Any:
    assert world.result == [{"stage": "stage"}, 2]
    return check_all_ended(world)


# --- ends that are no success -------------------------------------------------------------------


async def failure(world: World) -> Any:
    """A step that fails for good; an operator mends the world, and the instance is retried."""

    async def pay() -> str:
        await world.effect("pay")
        if world.started("mended") == 0:
            raise OSError("no money")
        return "paid"

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        await ctx.step(world.effect, "reserve", name="reserve")
        return await ctx.step(pay)

    async with hosting(world, flow) as host:
        handle = await begun(world, host, flow, None, "failure")
        result = await handle.result()
        if result.is_err():
            if world.started("mended") == 0:
                await world.effect("mended")
            await surely(handle.retry)
            result = await handle.result()
        return result.unwrap()


def check_failure(world: World) -> Any:
    assert world.result == "paid"
    return check_all_ended(world)


async def cancelled(world: World) -> Any:
    """Cancelled while it waits, it undoes what it did."""

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        try:
            await ctx.step(world.effect, "do", name="do")
            await ctx.sleep(1e6)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await ctx.step(world.effect, "undo", name="undo")
            raise

    async with hosting(world, flow) as host:
        handle = await begun(world, host, flow, None, "cancelled")
        with trio.move_on_after(1e5):
            await handle.status.wait_value(
                lambda status: status is InstanceStatus.WAITING or status.has_ended
            )
        await surely(handle.cancel, "enough", grace=0)
        return str((await handle.result()).unwrap_err())


def check_cancelled(world: World) -> Any:
    assert "enough" in world.result
    if world.started("do"):
        assert world.started("undo")
    return check_all_ended(world)


async def again(world: World) -> Any:
    """It continues as new, with the signals that it has not taken."""

    @workflow
    async def flow(ctx: WorkflowContext, seen: list[int]) -> Any:
        number = await ctx.wait_signal("n")
        await ctx.step(world.effect, f"step {number}", name="step")
        seen = [*seen, number]
        if len(seen) < 3:
            await ctx.continue_as_new(seen)
        return seen

    async with hosting(world, flow) as host:
        handle = await begun(world, host, flow, [], "again")
        for number in range(3):
            await surely(handle.signal, "n", number, key=str(number))
        return (await handle.result()).unwrap()


def check_again(world: World) -> Any:
    assert world.result == [0, 1, 2]
    return check_all_ended(world)


async def many(world: World) -> Any:
    """Several side by side, begun one after the other."""

    @workflow
    async def flow(ctx: WorkflowContext, number: int) -> Any:
        await ctx.step(world.effect, f"{number} first", name="first")
        await ctx.sleep(10)
        await ctx.step(world.effect, f"{number} second", name="second")
        return Ok(number) if number else Err(ValueError("zero"))

    async with hosting(world, flow) as host:
        handles = [await begun(world, host, flow, n, f"many {n}") for n in range(4)]
        return [(await handle.result()).unwrap_or(None) for handle in handles]


def check_many(world: World) -> Any:
    assert world.result == [None, 1, 2, 3]
    return check_all_ended(world)
