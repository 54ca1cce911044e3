"""Cancelled before any of its steps, a host loses nothing acknowledged, and leaves nothing behind.

Each scenario is run once undisturbed, and then once for each step of its tasks. What follows a
cancellation is the same as what follows a crash: the next host goes on from what is recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import Pipeline, WorkflowBuilder, WorkflowContext, step, workflow
from lexigram_actors.errors import WorkflowStateError
from lexigram_actors.events import WorkflowStatusEvent
from lexigram_actors.graph import WorkflowRunner
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.opening import open_host
from lexigram_actors.result import Ok
from lexigram_actors.storage.instances import InstanceStatus
from lexigram_actors.testing import CancelAt, World, at_every_step, check_steps, no_leaks, run
from lexigram_actors.testing.faults import Life
from lexigram_actors.testing.leaks import descendants
from lexigram_actors.testing.world import StoreKind
from tests.host.hosts import QUICK, Home

CANCELLED, COMPLETED = InstanceStatus.CANCELLED, InstanceStatus.COMPLETED
WITHIN: Final = 1e6

MOST: Final = {"memory": None, "sqlite": 50}
"""Steps that are tried: in memory all."""


class Flows:
    """Workflows of two kinds whose steps are effects of a world."""

    def __init__(self, world: World) -> None:
        async def stage(context: Any) -> str:
            await world.effect("stage", seconds=1)
            return "stage"

        async def stage2(context: Any) -> str:
            await world.effect("stage2", seconds=1)
            return "stage2"

        @workflow
        async def order(ctx: WorkflowContext, input: str) -> Any:
            await ctx.step(world.effect, "one", 1.0, name="one")
            await ctx.sleep(10)
            payload = await ctx.wait_signal("go")
            await ctx.step(world.effect, "two", 1.0, name="two")
            return [input, payload]

        self.order = order
        self.pipeline = Pipeline("stages", [step("stage", stage), step("stage2", stage2)])

    def host(self, world: World, **options: Any) -> Any:
        options = {"poll": 1e9, "backoff": QUICK, "grace": 0.5, **options}
        return open_host(world.store, register=[self.order, self.pipeline], **options)


def cancelled_at_every_step(
    scenario: Callable[[World, Flows, CancelAt], Awaitable[None]],
    *,
    kind: StoreKind = "memory",
    most: int | None = None,
) -> None:
    """Try a scenario with a cancellation before each of its steps; it is told by its instrument."""

    def attempt(instrument: CancelAt) -> None:
        instrument.counts = False
        with no_leaks(), TemporaryDirectory() as folder:
            world = World(kind, folder)

            async def main() -> None:
                with trio.fail_after(WITHIN):
                    async with world.opened(Life(1)):
                        await scenario(world, Flows(world), instrument)

            run(main, instruments=[instrument])

    at_every_step(attempt, most=most)


async def all_end(world: World, flows: Flows) -> None:
    """Let the next host see everything to its end."""
    async with flows.host(world) as host:
        for each in await host.operator.select():
            if not each.status.has_ended and each.definition.name == "order":
                await host.handle(each.id).signal("go", "late")
        for each in await host.operator.select():
            await host.handle(each.id).result()


# --- the life of a host -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_host_cancelled_at_any_step_of_its_life_leaves_all_to_the_next(kind: StoreKind) -> None:
    async def scenario(world: World, flows: Flows, instrument: CancelAt) -> None:
        signalled = False
        with instrument.scope:
            instrument.counts = True
            async with flows.host(world) as host:
                handle = await host.start(flows.order, "book", id="order")
                await world.acknowledge("order")
                stages = await host.start(flows.pipeline, id="stages")
                await world.acknowledge("stages")
                await handle.signal("go", "now")
                signalled = True
                assert await stages.result() == Ok({"stage": "stage", "stage2": "stage2"})
                assert await handle.result() == Ok(["book", "now"])
        instrument.counts = False
        await all_end(world, flows)
        async with flows.host(world) as host:
            for id in world.acknowledged:
                assert (await host.handle(id).describe()).status is COMPLETED
            if signalled:
                assert await host.handle("order").result() == Ok(["book", "now"])
        check_steps(
            world.ledger,
            crashes=int(instrument.cancelled_at < inf),
            after={"two": ["one"], "stage2": ["stage"]},
            at_once=2,
        )

    cancelled_at_every_step(scenario, kind=kind, most=MOST[kind])


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_host_cancelled_while_it_recovers_leaves_all_to_the_next(kind: StoreKind) -> None:
    async def scenario(world: World, flows: Flows, instrument: CancelAt) -> None:
        async with flows.host(world) as host:
            handle = await host.start(flows.order, "book", id="order")
            await host.start(flows.pipeline, id="stages")
            await handle.signal("go", "now")
            await trio.sleep(1.25)
        with instrument.scope:
            instrument.counts = True
            async with flows.host(world) as host:
                await trio.sleep(3)
        instrument.counts = False
        await all_end(world, flows)
        async with flows.host(world) as host:
            assert await host.handle("order").result() == Ok(["book", "now"])
            assert (await host.handle("stages").result()).is_ok()
        assert world.started("one") == 1, "it was recorded by then"
        assert world.started("stage") == 1
        assert world.started("stage2") <= 3

    cancelled_at_every_step(scenario, kind=kind, most=MOST[kind])


# --- calls of a host that goes on -------------------------------------------------------------


def test_a_start_that_is_cancelled_has_begun_the_instance_or_not() -> None:
    async def scenario(world: World, flows: Flows, instrument: CancelAt) -> None:
        async with flows.host(world) as host:
            with instrument.scope:
                instrument.counts = True
                await host.start(flows.order, "book", id="order")
            instrument.counts = False
            begun = await host.operator.select()
            handle = await host.start(flows.order, "book", id="order")
            await handle.signal("go", "now")
            assert await handle.result() == Ok(["book", "now"])
            assert len(begun) <= 1
        assert world.started("one") == world.started("two") == 1

    cancelled_at_every_step(scenario)


def test_a_signal_that_is_cancelled_was_sent_or_not_and_never_twice() -> None:
    async def scenario(world: World, flows: Flows, instrument: CancelAt) -> None:
        async with flows.host(world) as host:
            handle = await host.start(flows.order, "book", id="order")
            with instrument.scope:
                instrument.counts = True
                await handle.signal("go", "now", key="once")
            instrument.counts = False
            await handle.signal("go", "now", key="once")
            assert await handle.result() == Ok(["book", "now"])
            assert [each.kind for each in await handle.history()].count("signal") == 1

    cancelled_at_every_step(scenario)


def test_a_wait_for_the_result_that_is_cancelled_changes_nothing() -> None:
    async def scenario(world: World, flows: Flows, instrument: CancelAt) -> None:
        async with flows.host(world) as host:
            handle = await host.start(flows.order, "book", id="order")
            await handle.signal("go", "now")
            with instrument.scope:
                instrument.counts = True
                await handle.result()
            instrument.counts = False
            assert await handle.result() == Ok(["book", "now"])
        assert world.started("one") == world.started("two") == 1

    cancelled_at_every_step(scenario)


@pytest.mark.parametrize("grace", [0, 2, 100])
@pytest.mark.parametrize(
    "after", [0.0, 0.5, 5.0, 20.0], ids=["begun", "in a step", "asleep", "waiting"]
)
def test_a_cancel_that_is_cancelled_has_asked_or_not(grace: float, after: float) -> None:
    async def scenario(world: World, flows: Flows, instrument: CancelAt) -> None:
        returned = False
        async with flows.host(world) as host:
            await wait_all_tasks_blocked()
            before = tasks()
            handle = await host.start(flows.order, "book", id="order")
            if after:
                await trio.sleep(after)
            with instrument.scope:
                instrument.counts = True
                await handle.cancel("enough", grace)
                returned = True
            instrument.counts = False
            if returned:
                assert (await handle.describe()).status is CANCELLED
                assert tasks() <= before
            await handle.cancel("again", grace=0)
            assert (await handle.describe()).status is CANCELLED
            assert tasks() <= before
            assert (await handle.result()).is_err()
        assert world.started("two") == 0

    cancelled_at_every_step(scenario)


def test_closing_that_is_cancelled_leaves_every_instance_to_the_next_host() -> None:
    async def scenario(world: World, flows: Flows, instrument: CancelAt) -> None:
        with instrument.scope:
            async with flows.host(world, grace=5) as host:
                handle = await host.start(flows.order, "book", id="order")
                await host.start(flows.pipeline, id="stages")
                await handle.signal("go", "now")
                await trio.sleep(0.5)
                instrument.counts = True
        instrument.counts = False
        await all_end(world, flows)
        async with flows.host(world) as host:
            assert await host.handle("order").result() == Ok(["book", "now"])
        assert world.started("two") == world.started("stage2") == 1
        assert world.started("one") <= 2

    cancelled_at_every_step(scenario)


def tasks() -> set[trio.lowlevel.Task]:
    """Return every task of the Trio run."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return set(descendants(root, leave_out=root))


# --- cancelling: what is left, and what wins ----------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Any) -> Home:
    return Home(None if request.param == "memory" else tmp_path / "flows.db")


async def helped() -> None:
    """Run tasks of its own, which take a moment to clean up."""
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(tidy)


async def tidy() -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.5)


async def tidy_stage(context: Any) -> None:
    await helped()


async def tidy_node(state: dict[str, Any]) -> dict[str, Any]:
    await helped()
    return {}


TWO_STAGES = Pipeline(
    "two stages", [step("x", tidy_stage), step("y", tidy_stage)], max_concurrency=2
)
GRAPH = WorkflowRunner(
    WorkflowBuilder("graph")
    .add_node("a", node=tidy_node)
    .add_node("b", node=tidy_node)
    .add_node("end", node=tidy_node)
    .add_edge("a", "end")
    .add_edge("b", "end")
    .add_node("start", node=lambda state: {})
    .add_edge("start", "a")
    .add_edge("start", "b")
    .set_entry("start")
    .set_terminal("end")
    .build()
).as_runnable()


@workflow
async def part(ctx: WorkflowContext) -> None:
    await ctx.step(helped)


@workflow
async def child(ctx: WorkflowContext) -> None:
    await ctx.step(helped)


@workflow
async def everything(ctx: WorkflowContext) -> str:
    """Every way to have something below itself."""

    async def pipeline(ctx: WorkflowContext) -> None:
        await ctx.run(TWO_STAGES)

    async def graph(ctx: WorkflowContext) -> None:
        await ctx.run(GRAPH, "x")

    async def function(ctx: WorkflowContext) -> None:
        await ctx.run(part)

    async def begins(ctx: WorkflowContext) -> None:
        await ctx.child_result(await ctx.start_child(child, id="child"))

    async def limited(ctx: WorkflowContext) -> None:
        async with ctx.fail_after(1e6):
            await ctx.step(helped)

    try:
        async with ctx.parallel() as group:
            for branch in (pipeline, graph, function, begins, limited):
                group.start(branch)
    except BaseException:  # noqa: ASYNC103 - what is tested
        return "as if nothing had happened"  # noqa: ASYNC104
    return "done"


@pytest.mark.parametrize("grace", [0, 3])
async def test_after_a_cancel_no_task_below_the_instance_exists_and_it_never_completes(
    home: Home, grace: float, autojump_clock: MockClock
) -> None:
    async with home.host(everything, child, part) as host:
        await wait_all_tasks_blocked()
        before = tasks()
        handle = await host.start(everything, id="a")
        await trio.sleep(5)
        assert len(tasks() - before) > 15, "there is much to cancel"
        async with host.events(WorkflowStatusEvent) as events:
            await handle.cancel("enough", grace)
            assert tasks() <= before
            told = [await anext(events) for _ in range(events.queued)]
        for id in ("a", "child"):
            assert (await host.handle(id).describe()).status is CANCELLED
        assert "enough" in str((await handle.result()).unwrap_err())
    assert {each.workflow_id for each in told if each.to_status == "cancelled"} == {"a", "child"}
    assert not [each for each in told if each.to_status == "completed"]


async def test_two_cancels_at_once_both_return_when_it_has_ended(
    home: Home, autojump_clock: MockClock
) -> None:
    async with home.host(everything, child, part) as host:
        handle = await host.start(everything, id="a")
        await trio.sleep(5)

        async def cancel(reason: str, grace: float) -> None:
            await handle.cancel(reason, grace)
            assert (await handle.describe()).status is CANCELLED

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel, "one", 2)
            nursery.start_soon(cancel, "two", 0)
        first = str((await handle.result()).unwrap_err())
        await handle.cancel("three", grace=0)
        assert str((await handle.result()).unwrap_err()) == first
        assert "three" not in first


@pytest.mark.parametrize("wait", [None, 0, 0.1, 0.6])
async def test_a_cancel_while_the_host_closes_is_done_by_it_or_by_the_next(
    home: Home, wait: float | None, autojump_clock: MockClock
) -> None:
    left = False
    close = trio.Event()

    async def run(store: Any, task_status: trio.TaskStatus[WorkflowHost]) -> None:
        options: Any = {"register": [everything, child, part], "poll": 1e9, "backoff": QUICK}
        async with open_host(store, grace=0.5, **options) as host:
            task_status.started(host)
            await close.wait()

    async with home.store() as store, trio.open_nursery() as nursery:
        host: WorkflowHost = await nursery.start(run, store)
        await host.start(everything, id="a")
        await trio.sleep(5)
        close.set()
        if wait is not None:
            await trio.sleep(wait)
        try:
            await host.handle("a").cancel("enough", grace=0)
        except WorkflowStateError:
            left = True
        else:
            assert (await host.operator.find("a")).status is CANCELLED
    async with home.host(everything, child, part) as host:
        await trio.sleep(100)
        assert (await host.handle("a").describe()).status is CANCELLED, left
        assert (await host.handle("a").result()).is_err()


@pytest.mark.parametrize("steps", range(0, 12, 2))
async def test_a_cancel_while_the_host_recovers_is_heeded(
    home: Home, steps: int, autojump_clock: MockClock
) -> None:
    async with home.host(everything, child, part) as host:
        await host.start(everything, id="a")
        await trio.sleep(5)
    async with home.host() as host:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.register, everything, child, part)
            await host.handle("a").cancel("enough", grace=0)
        for id in ("a", "child"):
            assert (await host.handle(id).describe()).status is CANCELLED


async def test_an_instance_that_ends_within_its_grace_is_cancelled_all_the_same(
    home: Home, autojump_clock: MockClock
) -> None:
    @workflow
    async def polite(ctx: WorkflowContext) -> str:
        while not ctx.cancel_requested:
            await ctx.sleep(1)
        return "ended by itself"

    async with home.host(polite) as host:
        handle = await host.start(polite, id="a")
        await trio.sleep(3.5)
        before = trio.current_time()
        await handle.cancel("enough", grace=1000)
        assert trio.current_time() - before < 2
        assert (await handle.describe()).status is CANCELLED


async def test_a_cancel_of_what_has_ended_changes_nothing(
    home: Home, autojump_clock: MockClock
) -> None:
    @workflow
    async def short(ctx: WorkflowContext) -> int:
        return 7

    async with home.host(short) as host:
        handle = await host.start(short, id="a")
        assert await handle.result() == Ok(7)
        await handle.cancel("too late", grace=0)
        assert (await handle.describe()).status is COMPLETED
        assert await handle.result() == Ok(7)
