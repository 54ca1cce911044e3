"""What an operator does to instances, and what the host that takes them up makes of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import Pipeline, WorkflowBuilder, step, workflow
from lexigram_actors.errors import WorkflowStepError, WorkflowTimeoutError
from lexigram_actors.host.handle import WorkflowHandle
from lexigram_actors.host.opening import open_host
from lexigram_actors.host.operator import Operator
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import InstanceStatus


class World:
    """What the steps of a test do, counted, and which of them fail."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.store = MemoryStore()

    def act(self, name: str) -> str:
        self.calls[name] += 1
        if name in self.broken:
            raise ValueError(f"{name} is broken")
        return name


@pytest.fixture
def world() -> World:
    return World()


async def retried(world: World, definition: Any, *broken: str) -> tuple[Any, Counter[str]]:
    """Run it with something broken; mend that and retry; return the value, and the calls since."""
    world.broken.update(broken)
    async with open_host(world.store, register=[definition]) as host:
        handle = await host.start(definition, id="a")
        assert isinstance(await handle.result(), Err)
    world.broken.clear()
    before = world.calls.copy()
    await Operator(world.store).retry("a")
    async with open_host(world.store, register=[definition]) as host:
        handle = await host.find("a")
        return (await handle.result()).unwrap(), world.calls - before


async def test_a_retry_goes_on_at_the_step_that_failed_with_all_its_attempts(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: Any) -> Any:
        loaded = await ctx.step(world.act, "load", name="load")
        return loaded, await ctx.step(world.act, "pay", name="pay", retry=2)

    value, again = await retried(world, order, "pay")
    assert value == ("load", "pay")
    assert again == {"pay": 1}


async def test_a_retry_does_not_meet_what_was_done_because_of_the_failure(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: Any) -> Any:
        try:
            return await ctx.step(world.act, "pay", name="pay")
        except WorkflowStepError as error:
            failure = error
        await ctx.step(world.act, "apologise", name="apologise")
        return Err(failure)

    assert await retried(world, order, "pay") == ("pay", {"pay": 1})


async def test_a_retry_of_a_branch_leaves_the_others_alone(
    world: World, autojump_clock: MockClock
) -> None:
    async def branch(ctx: Any, name: str, delay: float) -> Any:
        await ctx.sleep(delay)
        return await ctx.step(world.act, name, name=name)

    @workflow
    async def order(ctx: Any) -> Any:
        async with ctx.parallel() as group:
            branches = [
                group.start(branch, name, delay, name=name)
                for name, delay in (("quick", 1), ("bad", 2), ("slow", 3))
            ]
        return [each.value for each in branches]

    value, again = await retried(world, order, "bad")
    assert value == ["quick", "bad", "slow"]
    assert again == {"bad": 1, "slow": 1}


async def test_a_retry_of_several_failures_tries_each_again(
    world: World, autojump_clock: MockClock
) -> None:
    async def branch(ctx: Any, name: str) -> Any:
        return await ctx.step(world.act, name, name=name)

    @workflow
    async def order(ctx: Any) -> Any:
        async with ctx.parallel(fail_fast=False) as group:
            branches = [group.start(branch, name, name=name) for name in ("a", "b", "c")]
        return [each.value for each in branches]

    assert await retried(world, order, "a", "c") == (["a", "b", "c"], {"a": 1, "c": 1})


async def test_a_retry_finds_the_failure_inside_of_a_run(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def inner(ctx: Any) -> Any:
        await ctx.step(world.act, "load", name="load")
        return await ctx.step(world.act, "pay", name="pay")

    @workflow
    async def outer(ctx: Any) -> Any:
        await ctx.step(world.act, "begin", name="begin")
        return await ctx.run(inner)

    assert await retried(world, outer, "pay") == ("pay", {"pay": 1})


async def test_a_retry_finds_the_failure_inside_of_a_pipeline(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def inner(ctx: Any) -> Any:
        await ctx.step(world.act, "load", name="load")
        return await ctx.step(world.act, "pay", name="pay")

    steps = [step("first", lambda context: world.act("first")), step("inner", inner.__runnable__)]
    value, again = await retried(world, Pipeline("etl", steps), "pay")
    assert value == {"first": "first", "inner": "pay"}
    assert again == {"pay": 1}


def etl_around(world: World, function: Any) -> Pipeline:
    steps = [
        step("first", lambda context: world.act("first")),
        step("inner", function.__runnable__, ["first"]),
    ]
    return Pipeline("etl", steps)


async def test_a_retry_finds_the_failure_in_a_function_in_a_pipeline_in_a_function(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def inner(ctx: Any) -> Any:
        await ctx.step(world.act, "load", name="load")
        return await ctx.step(world.act, "pay", name="pay")

    @workflow
    async def outer(ctx: Any) -> Any:
        await ctx.step(world.act, "begin", name="begin")
        return await ctx.run(etl_around(world, inner))

    value, again = await retried(world, outer, "pay")
    assert value == {"first": "first", "inner": "pay"}
    assert again == {"pay": 1}


async def test_a_function_calls_itself_again_for_a_failure_in_a_function_in_a_pipeline(
    world: World, autojump_clock: MockClock
) -> None:
    def pay() -> str:
        try:
            return world.act("pay")
        finally:
            world.broken.clear()

    @workflow
    async def inner(ctx: Any) -> Any:
        await ctx.step(world.act, "load", name="load")
        async with ctx.parallel(fail_fast=False) as group:
            group.start(lambda ctx: ctx.step(pay), name="paid")
            group.start(lambda ctx: ctx.step(world.act, "send", name="send"), name="sent")
        return "done"

    @workflow(retries=1)
    async def outer(ctx: Any) -> Any:
        return await ctx.run(etl_around(world, inner))

    world.broken.add("pay")
    async with open_host(world.store, register=[outer]) as host:
        handle = await host.start(outer, id="a")
        assert await handle.result() == Ok({"first": "first", "inner": "done"})
    assert world.calls == {"first": 1, "load": 1, "pay": 2, "send": 1}


async def test_a_retry_lets_go_on_what_the_failure_beside_it_had_cut_off(
    world: World, autojump_clock: MockClock
) -> None:
    async def send() -> None:
        world.act("send")
        await trio.sleep(5)

    async def paid(ctx: Any) -> None:
        await ctx.sleep(3)
        await ctx.step(world.act, "pay", name="pay")

    async def sent(ctx: Any) -> None:
        await ctx.step(world.act, "pack", name="pack")
        try:
            await ctx.step(send)
        finally:
            with trio.CancelScope(shield=True):
                await ctx.step(world.act, "tell", name="tell")

    @workflow
    async def order(ctx: Any) -> str:
        async with ctx.parallel() as group:
            group.start(paid)
            group.start(sent)
        return "done"

    value, again = await retried(world, order, "pay")
    assert value == "done"
    assert again == {"pay": 1, "send": 1, "tell": 1}


async def test_a_retry_finds_the_failure_inside_of_a_graph(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def inner(ctx: Any, state: Any) -> Any:
        await ctx.step(world.act, "load", name="load")
        return {"paid": await ctx.step(world.act, "pay", name="pay")}

    engine = (
        WorkflowBuilder("review")
        .add_node("first", node=lambda state: {"first": world.act("first")})
        .add_node("inner", node=inner.__runnable__)
        .add_edge("first", "inner")
        .set_entry("first")
        .set_terminal("inner")
        .build()
    )
    _, again = await retried(world, engine, "pay")
    assert again == {"pay": 1}


async def test_a_retry_gives_a_run_that_took_too_long_its_time_again(
    world: World, autojump_clock: MockClock
) -> None:
    async def dawdle() -> str:
        world.act("dawdle")
        if world.broken:
            await trio.sleep(100)
        return "done"

    @workflow(timeout=10)
    async def order(ctx: Any) -> Any:
        return await ctx.step(dawdle)

    world.broken.add("time")
    async with open_host(world.store, register=[order]) as host:
        result = await (await host.start(order, id="a")).result()
        assert isinstance(result.unwrap_err(), WorkflowTimeoutError)
        world.broken.clear()
        handle = await host.retry("a")
        assert await handle.result() == Ok("done")


async def test_a_fork_runs_what_came_after_the_step_and_no_more(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: Any) -> Any:
        drawn = ctx.random().random()
        for name in ("a", "b", "c"):
            await ctx.step(world.act, name, name=name)
        return drawn

    async with open_host(world.store, register=[order]) as host:
        first = (await (await host.start(order, id="one")).result()).unwrap()
        forked = await host.fork("one", "two", step="b")
        assert (await forked.result()).unwrap() == first
    assert world.calls == {"a": 1, "b": 2, "c": 2}


async def test_what_is_posted_while_no_host_runs_is_done_by_the_next(
    world: World, autojump_clock: MockClock
) -> None:
    @workflow
    async def order(ctx: Any) -> Any:
        paid = await ctx.wait_signal("paid")
        return paid, await ctx.ask_human("send?", schema=bool)

    async def waiting(handle: WorkflowHandle) -> None:
        await handle.status.wait_value(InstanceStatus.WAITING)

    operator = Operator(world.store)
    async with open_host(world.store, register=[order]) as host:
        await waiting(await host.start(order, id="a"))
    await operator.signal("a", "paid", 7)
    async with open_host(world.store, register=[order]) as host:
        await wait_all_tasks_blocked()
        assert await operator.questions("a")
    await operator.answer("a", True)
    async with open_host(world.store, register=[order]) as host:
        handle = await host.find("a")
        assert await handle.result() == Ok((7, True))
    assert await operator.outcome("a") == Ok((7, True))
