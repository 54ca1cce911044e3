"""What lasts for weeks, and what ends in any order: no time passes, and no order matters."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Any, Final

import pytest
import trio

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.host.handle import WorkflowHandle
from lexigram_actors.host.opening import open_host
from lexigram_actors.retry import RetryPolicy
from lexigram_actors.storage.instances import InstanceStatus
from lexigram_actors.testing import World, run
from lexigram_actors.testing.faults import Life
from lexigram_actors.testing.schedules import Schedule

DAY: Final = 86_400.0
WAITING: Final = InstanceStatus.WAITING

# --- a month --------------------------------------------------------------------------------


def subscription(world: World) -> Any:
    """Return a workflow of thirty days: a reminder each day, attempts, a signal and a question."""

    async def remind(day: int) -> int:
        await world.effect(f"remind {day}")
        return day

    async def charge() -> str:
        await world.effect("charge")
        if world.started("charge") < 4:
            raise OSError("declined")
        return "paid"

    @workflow
    async def subscription(ctx: WorkflowContext) -> dict[str, Any]:
        begun = ctx.now()
        days = []
        for day in range(25):
            await ctx.sleep(DAY)
            days.append(await ctx.step(remind, day))
        policy = RetryPolicy(retries=5, delay=DAY / 8, jitter=0.0)
        paid = await ctx.step(charge, retry=policy)
        async with ctx.move_on_after(2 * DAY) as limit:
            await ctx.wait_signal("extended")
        async with ctx.parallel() as group:
            upgraded = group.start(upgrade)
            asked = group.start(renew)
        await ctx.sleep_until(begun + timedelta(days=30))
        return {
            "days": days,
            "paid": paid,
            "extended": not limit.fired,
            "upgraded": upgraded.value,
            "renewed": asked.value,
            "took": (ctx.now() - begun).total_seconds(),
        }

    async def upgrade(ctx: WorkflowContext) -> Any:
        return await ctx.wait_signal("upgrade")

    async def renew(ctx: WorkflowContext) -> Any:
        return await ctx.ask_human("go on?", schema=bool, expires_after=DAY / 10, default=False)

    return subscription


async def one_life(world: World, flow: Any, days: float | None) -> Any:
    """Let a host live for some days, or until the end."""
    async with world.opened(Life(1)):
        async with open_host(world.store, register=[flow], poll=1e9, grace=0) as host:
            handle = await host.start(flow, id="subscription")
            await handle.signal("upgrade", "gold", key="once")
            if days is None:
                return (await handle.result()).unwrap()
            await trio.sleep(days * DAY)
    return None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("lives", [1, 10], ids=["undisturbed", "ten lives"])
def test_thirty_days_of_timers_retries_and_signals_pass_within_a_second(
    tmp_path: Any, kind: Any, lives: int
) -> None:
    world = World(kind, tmp_path)
    flow = subscription(world)
    began, first_day = time.perf_counter(), world.time()
    for _ in range(lives - 1):
        run(one_life, world, flow, 2.9)
    result = run(one_life, world, flow, None)
    assert result == {
        "days": list(range(25)),
        "paid": "paid",
        "extended": False,
        "upgraded": "gold",
        "renewed": False,
        "took": pytest.approx(30 * DAY, abs=60),
    }
    assert world.time() - first_day == pytest.approx(30 * DAY, abs=60)
    assert all(world.started(f"remind {day}") == 1 for day in range(25))
    assert world.started("charge") == 4
    assert time.perf_counter() - began < 1 * lives


def test_a_month_in_which_nobody_was_there_costs_no_reminder_twice(tmp_path: Any) -> None:
    world = World("sqlite", tmp_path)
    flow = subscription(world)
    run(one_life, world, flow, 10.5)
    world.time.jump(300 * DAY)
    result = run(one_life, world, flow, None)
    assert result["days"] == list(range(25))
    assert all(world.started(f"remind {day}") == 1 for day in range(25))
    reminded = [each.at for each in world.ledger if each.name == "remind 9"]
    late = [each.at for each in world.ledger if each.name == "remind 10"]
    assert late[0] - reminded[0] >= 300 * DAY


# --- a hundred orders ------------------------------------------------------------------------

BRANCHES: Final = 6
ORDERS: Final = 100


class Orders:
    """A workflow whose parallel steps end in an order that is drawn anew in each life."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ended: list[str] = []
        self.begun: list[str] = []

        @workflow
        async def flow(ctx: WorkflowContext) -> list[Any]:
            async with ctx.parallel() as group:
                branches = [group.start(self.branch, name="branch") for _ in range(BRANCHES)]
            mapped = await ctx.map(self.mapped, range(BRANCHES), limit=3)
            await ctx.wait_signal("go")
            return [*(each.value for each in branches), mapped, str(ctx.uuid())]

        self.flow = flow

    async def branch(self, ctx: WorkflowContext) -> list[Any]:
        one = await ctx.step(self.work, f"{ctx.place} one", name="work")
        drawn = ctx.random().random()
        if drawn < 0.5:
            await ctx.sleep(drawn)
        two = await ctx.step(self.work, f"{ctx.place} two", name="work")
        return [one, drawn, two]

    async def mapped(self, ctx: WorkflowContext, item: int) -> str:
        return await ctx.step(self.work, f"item {item}", name="work")

    async def work(self, name: str) -> str:
        self.begun.append(name)
        await trio.sleep(self.chance.random())
        self.ended.append(name)
        return name


async def live(world: World, orders: Orders, seconds: float | None) -> Any:
    async with world.opened(Life(1)):
        async with open_host(world.store, register=[orders.flow], poll=1e9, grace=0) as host:
            handle: WorkflowHandle = await host.start(orders.flow, id="x")
            if seconds is not None:
                await trio.sleep(seconds)
                return None
            await handle.signal("go", key="once")
            return await handle.result()


@pytest.mark.parametrize("schedule", ["shuffled", "priority"])
def test_steps_that_end_in_a_hundred_orders_all_replay_alike(schedule: Schedule) -> None:
    results, recorded, lives = set(), set(), 0
    for seed in range(ORDERS):
        world, orders = World(), Orders(seed)
        chance = random.Random(seed)
        # Cut off while the branches run, then in between, then when all is recorded.
        for number, seconds in enumerate((chance.uniform(0.1, 2), chance.uniform(0.1, 3), 20)):
            run(live, world, orders, seconds, seed=seed * 10 + number, schedule=schedule)
            lives += 1
        begun = len(orders.begun)
        recorded.add(tuple(orders.ended))
        result = run(live, world, orders, None, seed=seed * 10 + 9, schedule=schedule)
        assert len(orders.begun) == begun, "everything was recorded, and something ran again"
        value = result.unwrap()
        results.add(repr([[one, two] for one, _, two in value[:BRANCHES]] + [value[BRANCHES]]))
    assert len(recorded) > 0.9 * ORDERS, "the orders are to differ"
    assert len(results) == 1


def test_what_is_drawn_is_drawn_alike_in_every_order() -> None:
    """The same instance, copied at one moment, goes on in other orders to the same result."""
    results = set()
    for seed in range(20):
        world, orders = World(), Orders(seed)
        run(live, world, orders, 0.2, seed=0)
        first = run(live, world, orders, None, seed=seed, schedule="priority").unwrap()
        again = run(live, world, orders, None, seed=seed + 100).unwrap()
        assert first == again
        results.add(first[-1])
    assert len(results) == 20, "each instance draws for itself"
