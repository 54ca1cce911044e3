"""Crashed at every call of its store, a machine ends as if it had not been."""

from __future__ import annotations

from typing import Any

import pytest

from lexigram_actors import WorkflowContext, workflow
from lexigram_actors.errors import StateError, StoreError
from lexigram_actors.host.steps import current_step
from lexigram_actors.machine import (
    State,
    StateMachine,
    StateMachineDefinition,
    StoreStatePersistence,
    Transition,
)
from lexigram_actors.testing import World, check_steps, crash_everywhere
from tests.crash.points import tried
from tests.crash.programs import begun, check_all_ended, hosting, surely

EVENTS = ("pay", "nonsense", "ship", "ship", "deliver")


def order_states(world: World) -> list[State]:
    def effect(name: str) -> Any:
        async def hook(*args: Any) -> None:
            await world.effect(name)
            assert current_step().attempt == 1

        return hook

    def may_ship() -> bool:
        return True

    return [
        State(
            "new", {"pay": Transition("pay", "paid", None, effect("paid"))}, None, effect("left")
        ),
        State("paid", {"ship": Transition("ship", "shipped", may_ship)}, effect("in paid")),
        State("shipped", {"deliver": Transition("deliver", "done", None, effect("delivered"))}),
        State("done"),
    ]


async def machine(world: World) -> Any:
    """A machine whose events are sent under keys, by whoever sends them until they are taken."""
    order = StateMachineDefinition("order", order_states(world), "new")
    async with hosting(world, order) as host:
        handle = await begun(world, host, order, None, "order")
        for number, event in enumerate(EVENTS):
            await surely(handle.signal, event, None, key=str(number))
        return (await handle.result()).unwrap()


async def nested(world: World) -> Any:
    """The same as a part of a durable function, between two steps."""
    order = StateMachineDefinition("order", order_states(world), "new")

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        await ctx.step(world.effect, "before", name="before")
        end = await ctx.run(order)
        await ctx.step(world.effect, "after", name="after")
        return end

    async with hosting(world, flow) as host:
        handle = await begun(world, host, flow, None, "flow")
        for number, event in enumerate(EVENTS):
            await surely(handle.signal, event, None, key=str(number))
        return (await handle.result()).unwrap()


STEPS = ["left", "in paid", "paid", "delivered"]
AFTER = {"delivered": ["left", "in paid", "paid"]}
"""The hooks of one event belong together: after a crash in the last one all are called again."""

NESTED_AFTER = {
    **{name: ["before"] for name in STEPS[:3]},
    "delivered": STEPS[:3],
    "after": ["delivered"],
}


async def check(world: World, after: dict[str, list[str]]) -> None:
    assert world.result == "done"
    check_steps(world.ledger, world.crashes, after=after, at_once=3)
    (id,) = set(world.acknowledged)
    entries = await world.store.instances.journal(id)
    made = [each for each in entries if each.kind == "transition"]
    assert [each.value["version"] for each in made] == [1, 2, 3]
    assert len({each.mail for each in entries if each.mail}) == sum(bool(e.mail) for e in entries)
    await check_all_ended(world)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_crashed_at_any_call_a_machine_ends_as_if_it_had_not_been(store: Any) -> None:
    report = crash_everywhere(
        machine, check=lambda world: check(world, AFTER), store=store, within=1e6
    )
    tried(f"machine {store}", report.points)


def test_crashed_twice_a_machine_ends_as_if_it_had_not_been() -> None:
    report = crash_everywhere(
        machine, check=lambda world: check(world, AFTER), twice=True, most=25, within=1e6
    )
    tried("machine twice", report.points)


def test_crashed_at_any_call_a_machine_inside_a_function_ends_as_if_it_had_not_been() -> None:
    report = crash_everywhere(nested, check=lambda world: check(world, NESTED_AFTER), within=1e6)
    tried("machine nested", report.points)


# --- without a host -------------------------------------------------------------------------------


async def alone(world: World) -> Any:
    """A `StateMachine` over a store: it recovers, and goes on with what is left to do."""
    doors = [
        State("closed", {"open": Transition("open", "open")}),
        State("open", {"close": Transition("close", "closed")}),
    ]
    while True:
        try:
            machine = StateMachine(doors, "closed", StoreStatePersistence(world.store), "door")
            await machine.recover()
            while machine.version < 4:
                before = machine.version
                await machine.transition("close" if machine.current_state == "open" else "open")
                assert machine.version == before + 1
            return [machine.current_state, machine.version]
        except (StoreError, StateError):
            continue


async def check_alone(world: World) -> None:
    assert world.result == ["closed", 4]
    records = await StoreStatePersistence(world.store).load_transitions("door")
    assert [each.version for each in records] == [1, 2, 3, 4]
    assert [each.event for each in records] == ["open", "close"] * 2


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_machine_over_a_store_loses_and_doubles_nothing(store: Any) -> None:
    twice = store == "memory"  # on disk that takes long, and shows the same
    report = crash_everywhere(alone, check=check_alone, store=store, twice=twice, within=1e6)
    tried(f"stored machine {store}", report.points)
