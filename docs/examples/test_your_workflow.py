"""How to test a workflow: thirty days in a moment, and a crash at every call of its store.

    python -m pytest docs/examples/test_your_workflow.py

These are plain functions: the tools make Trio runs of their own, each on a virtual clock.
"""

from __future__ import annotations

from typing import Any

import trio

from lexigram_actors import (
    InstanceStatus,
    MemoryStore,
    StoreError,
    WorkflowContext,
    WorkflowHandle,
    WorkflowHost,
    open_host,
    workflow,
)
from lexigram_actors.testing import (
    CancelAt,
    World,
    cancel_at_every_step,
    check_steps,
    crash_everywhere,
    no_leaks,
    run,
)

MONTH = 30 * 24 * 3600.0


# --- what is tested: it does things outside through `world` ----------------------------------


def trial_of(world: World) -> Any:
    async def welcome(user: str) -> None:
        await world.effect(f"welcome {user}")

    async def bill(user: str) -> str:
        await world.effect(f"bill {user}", seconds=2)
        return f"bill of {user}"

    @workflow
    async def trial(ctx: WorkflowContext, user: str) -> str:
        await ctx.step(welcome, user)
        async with ctx.move_on_after(MONTH) as limit:
            await ctx.wait_signal("leave")
        return await ctx.step(bill, user) if limit.fired else "left"

    return trial


async def begun(host: WorkflowHost, definition: object) -> WorkflowHandle:
    """Start as a good client does: again, where it is not known whether it did."""
    while True:
        try:
            return await host.start(definition, "ada", id="trial-ada")
        except StoreError:
            await trio.sleep(1)


async def program(world: World) -> str:
    """Be one process: begin, or find, the instance, and wait for its end."""
    trial = trial_of(world)
    async with open_host(world.store, register=[trial], poll=1e6) as host:
        handle = await begun(host, trial)
        await world.acknowledge("trial-ada")
        return str((await handle.result()).unwrap())


# --- the tests -------------------------------------------------------------------------------


def test_who_does_not_leave_gets_a_bill_after_a_month() -> None:
    async def scenario() -> float:
        world = World()
        trial = trial_of(world)
        began = world.time()
        async with open_host(MemoryStore(clock=world.time), register=[trial]) as host:
            handle = await host.start(trial, "ada", id="trial-ada")
            assert (await handle.result()).unwrap() == "bill of ada"
        return world.time() - began

    with no_leaks():
        assert MONTH < run(scenario) < MONTH + 60


def test_who_leaves_gets_none() -> None:
    async def scenario() -> None:
        world = World()
        trial = trial_of(world)
        async with open_host(MemoryStore(clock=world.time), register=[trial]) as host:
            handle = await host.start(trial, "ada", id="trial-ada")
            await handle.status.wait_value(InstanceStatus.WAITING)
            await handle.signal("leave")
            assert (await handle.result()).unwrap() == "left"
        assert world.started("bill ada") == 0

    run(scenario, seed=7)


def test_a_crash_anywhere_bills_nobody_twice() -> None:
    def check(world: World) -> None:
        assert world.result == "bill of ada"
        check_steps(world.ledger, world.crashes)  # none again once the next had begun

    report = crash_everywhere(program, check=check, store="sqlite", within=2 * MONTH)
    assert report.points > 20


def test_cancelled_at_any_step_nothing_is_left() -> None:
    worlds: list[World] = []

    async def scenario() -> None:
        world = World()
        worlds.append(world)
        trial = trial_of(world)
        async with open_host(MemoryStore(clock=world.time), register=[trial]) as host:
            handle = await host.start(trial, "ada", id="trial-ada")
            await handle.result()

    def check(cancelled: CancelAt) -> None:
        world = worlds.pop()
        assert world.started("welcome ada") >= world.started("bill ada")

    report = cancel_at_every_step(scenario, check=check, within=2 * MONTH)
    assert report.delivered > 20
