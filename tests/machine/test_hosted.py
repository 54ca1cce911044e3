"""Machines in a host: signals are events, and each instance ends in a final state."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    HookRegistry,
    Pipeline,
    RunContext,
    Runnable,
    SubworkflowNode,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowStateTransitionedHook,
    step,
    workflow,
)
from lexigram_actors.errors import (
    ConfigurationError,
    NonDeterminismError,
    WorkflowFailedError,
    WorkflowStateError,
)
from lexigram_actors.host.steps import current_step
from lexigram_actors.machine import (
    MachineEvent,
    State,
    StateMachineDefinition,
    StoreStatePersistence,
    Transition,
    current_event,
)
from lexigram_actors.storage import InstanceStatus
from tests.host.hosts import Home
from tests.machine.machines import Diary, door

WAITING = InstanceStatus.WAITING


async def settled(handle: Any) -> None:
    """Wait until nothing is left to do for now."""
    await trio.sleep(1)


def kinds(rows: list[Any]) -> list[tuple[str, str]]:
    return [(row.path, row.kind) for row in rows]


# --- what it is -----------------------------------------------------------------------------------


def test_it_is_a_runnable() -> None:
    machine = StateMachineDefinition("door", door(), "closed", version=3)
    assert isinstance(machine, Runnable)
    assert (machine.kind, machine.name, machine.version) == ("machine", "door", 3)
    assert repr(machine) == "StateMachineDefinition('door', version=3)"


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"name": 3},
        {"version": 0},
        {"initial_state": "ajar"},
        {"states": []},
    ],
)
def test_what_is_no_machine_is_refused(arguments: dict[str, Any]) -> None:
    given = {"name": "door", "states": door(), "initial_state": "closed", **arguments}
    with pytest.raises(ConfigurationError):
        StateMachineDefinition(**given)


async def test_without_a_host_there_is_nobody_to_bring_events() -> None:
    with pytest.raises(WorkflowStateError, match="StateMachine"):
        await StateMachineDefinition("door", door(), "closed").run(RunContext())
    with pytest.raises(WorkflowStateError, match="current_event"):
        current_event()


# --- in a host ------------------------------------------------------------------------------------


async def test_signals_are_events_and_a_final_state_is_the_end(autojump_clock: MockClock) -> None:
    diary = Diary()
    machine = StateMachineDefinition("door", diary.door(), "closed")
    async with Home().host(machine) as host:
        handle = await host.start(machine, id="door-1")
        await handle.status.wait_value(WAITING)
        assert await handle.query("state") == "closed"
        for event in ("open", "close", "lock"):
            await handle.signal(event)
        assert (await handle.result()).unwrap() == "locked"
        rows = await handle.history()
        assert kinds(rows) == [(event, "transition") for event in ("open", "close", "lock")]
        assert all(row.mail for row in rows)
    assert diary.calls[:4] == ["guard open", "exit closed", "enter open", "opening['open', 'open']"]


async def test_hooks_of_the_host_are_told_of_each_transition(autojump_clock: MockClock) -> None:
    moves: list[tuple[str, str]] = []
    hooks = HookRegistry()
    hooks.add(WorkflowStateTransitionedHook, lambda p: moves.append((p.from_state, p.to_state)))
    machine = StateMachineDefinition("door", door(), "closed")
    home = Home()
    async with home.host(machine, hooks=hooks) as host:
        handle = await host.start(machine, id="door-1")
        await handle.signal("open")
        await handle.signal("open")  # refused
        await handle.signal("close")
        await trio.sleep(1)
    async with home.host(machine, hooks=hooks) as host:
        handle = host.handle("door-1")
        await handle.signal("lock")
        await handle.result()
    own = [move for move in moves if not {*move} & {status.value for status in InstanceStatus}]
    assert own == [("closed", "open"), ("open", "closed"), ("closed", "locked")]


async def test_a_listing_shows_where_it_stands(autojump_clock: MockClock) -> None:
    machine = StateMachineDefinition("door", door(), "closed")
    home = Home()
    async with home.host(machine) as host:
        handle = await host.start(machine, id="door-1")
        await handle.signal("open")
        await settled(handle)
        instance = await handle.describe()
        assert (instance.status, instance.note) == (WAITING, "an event in state 'open'")


async def test_what_is_not_permitted_is_recorded_as_refused(autojump_clock: MockClock) -> None:
    diary = Diary()
    answers = iter([False, True])
    diary.at["guard open"] = lambda: next(answers)
    machine = StateMachineDefinition("door", diary.door(), "closed")
    async with Home().host(machine) as host:
        handle = await host.start(machine, id="door-1")
        for event in ("burn", "open", "open", "open"):
            await handle.signal(event)
        await settled(handle)
        assert kinds(await handle.history()) == [
            ("burn", "refused"),
            ("open", "refused"),
            ("open", "transition"),
            ("open", "refused"),
        ]
        assert await handle.query("state") == "open"


@pytest.mark.parametrize("name", ["guard open", "exit closed", "enter open", "opening"])
async def test_a_hook_that_fails_leaves_it_where_it_is(
    name: str, autojump_clock: MockClock
) -> None:
    def fail() -> None:
        raise KeyError("jammed")

    diary = Diary()
    diary.at[name] = fail
    machine = StateMachineDefinition("door", diary.door(), "closed")
    async with Home().host(machine) as host:
        handle = await host.start(machine, id="door-1")
        await handle.signal("open")
        await settled(handle)
        (row,) = await handle.history()
        assert (row.path, row.kind) == ("open", "refused")
        assert "jammed" in row.outcome
        assert await handle.query("state") == "closed"
        diary.at.clear()
        await handle.signal("open")
        await handle.signal("close")
        await handle.signal("lock")
        assert (await handle.result()).unwrap() == "locked"


async def test_hooks_know_the_event_and_the_instance(autojump_clock: MockClock) -> None:
    seen: list[Any] = []

    def note() -> None:
        info = current_step()
        seen.append((current_event(), info.instance_id, info.path))

    states = [State("new", {"pay": Transition("pay", "paid")}), State("paid", {}, note)]
    machine = StateMachineDefinition("order", states, "new")
    async with Home().host(machine) as host:
        handle = await host.start(machine, id="o-1")
        await handle.signal("pay", {"amount": 3})
        await handle.result()
    ((event, instance, path),) = seen
    assert event == MachineEvent("pay", {"amount": 3})
    assert instance == "o-1"
    assert path.startswith("pay#")


async def test_an_event_that_is_sent_again_has_another_key(autojump_clock: MockClock) -> None:
    keys: list[str] = []

    def note() -> None:
        keys.append(current_step().idempotency_key)
        if len(keys) == 1:
            raise OSError("no answer")

    states = [State("new", {"pay": Transition("pay", "paid")}, None, note), State("paid")]
    machine = StateMachineDefinition("order", states, "new")
    async with Home().host(machine) as host:
        handle = await host.start(machine, id="o-1")
        await handle.signal("pay")
        await handle.signal("pay")
        assert (await handle.result()).unwrap() == "paid"
    assert len(set(keys)) == 2


async def test_states_may_be_made_for_the_input(autojump_clock: MockClock) -> None:
    def states(limit: int) -> list[State]:
        def small() -> bool:
            return bool(current_event().payload <= limit)

        return [State("new", {"pay": Transition("pay", "paid", small)}), State("paid")]

    machine = StateMachineDefinition("order", states, "new")
    async with Home().host(machine) as host:
        handle = await host.start(machine, 5, id="o-1")
        await handle.signal("pay", 7)
        await handle.signal("pay", 4)
        assert (await handle.result()).unwrap() == "paid"
        assert [row.kind for row in await handle.history()] == ["refused", "transition"]


@pytest.mark.parametrize("found", [[State("other")], None, KeyError("no")])
async def test_states_that_cannot_be_had_end_the_instance(
    found: Any, autojump_clock: MockClock
) -> None:
    def states(input: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    machine = StateMachineDefinition("order", states, "new")
    async with Home().host(machine) as host:
        handle = await host.start(machine, id="o-1")
        error = (await handle.result()).unwrap_err()
        assert isinstance(error, WorkflowFailedError)
        assert error.error_type == "ConfigurationError"


async def test_it_goes_on_in_the_next_life_of_its_host(autojump_clock: MockClock) -> None:
    home = Home()
    first, second = Diary(), Diary()
    machine = StateMachineDefinition("door", first.door(), "closed")
    async with home.host(machine) as host:
        handle = await host.start(machine, id="door-1")
        await handle.signal("open")
        await settled(handle)
    machine = StateMachineDefinition("door", second.door(), "closed")
    async with home.host(machine) as host:
        handle = host.handle("door-1")
        await settled(handle)
        assert await handle.query("state") == "open"
        assert second.calls == []
        await handle.signal("close")
        await handle.signal("lock")
        assert (await handle.result()).unwrap() == "locked"
    assert second.calls[0] == "guard close"


async def test_other_states_than_it_was_begun_with_are_told_of(autojump_clock: MockClock) -> None:
    home = Home()
    machine = StateMachineDefinition("door", door(), "closed")
    async with home.host(machine) as host:
        handle = await host.start(machine, id="door-1")
        await handle.signal("open")
        await settled(handle)
    other = StateMachineDefinition(
        "door", [State("closed", {"x": Transition("x", "closed")})], "closed"
    )
    async with home.host(other) as host:
        error = (await host.handle("door-1").result()).unwrap_err()
        assert isinstance(error, NonDeterminismError)
        assert "'open' from 'closed' to 'open'" in str(error)


async def test_cancelled_it_ends_also_while_a_hook_is_at_work(autojump_clock: MockClock) -> None:
    diary = Diary()
    diary.at["enter open"] = trio.sleep_forever
    machine = StateMachineDefinition("door", diary.door(), "closed")
    async with Home().host(machine) as host:
        for id, events in (("waits", []), ("works", ["open"])):
            handle = await host.start(machine, id=id)
            for event in events:
                await handle.signal(event)
            await settled(handle)
            await handle.cancel("enough", grace=0)
            assert (await handle.describe()).status is InstanceStatus.CANCELLED
            assert await handle.history() == []


async def test_paused_it_handles_nothing_until_it_is_resumed(autojump_clock: MockClock) -> None:
    diary = Diary()
    machine = StateMachineDefinition("door", diary.door(), "closed")
    async with Home().host(machine) as host:
        handle = await host.start(machine, id="door-1")
        await settled(handle)
        await handle.pause()
        await handle.signal("open")
        await settled(handle)
        assert diary.calls == []
        await handle.resume()
        await settled(handle)
        assert await handle.query("state") == "open"


async def test_a_host_that_closes_during_a_hook_leaves_the_event_to_the_next(
    autojump_clock: MockClock,
) -> None:
    home = Home()
    diary = Diary()
    diary.at["enter open"] = trio.sleep_forever
    machine = StateMachineDefinition("door", diary.door(), "closed")
    async with home.host(machine, grace=1.0) as host:
        handle = await host.start(machine, id="door-1")
        await handle.signal("open")
        await settled(handle)
    assert diary.calls[-1] == "enter open"
    keys: list[str] = []
    diary.at["enter open"] = lambda: keys.append(current_step().idempotency_key)
    async with home.host(machine) as host:
        await settled(host)
        assert await host.handle("door-1").query("state") == "open"
    assert len(keys) == 1


# --- inside others --------------------------------------------------------------------------------


async def test_a_durable_function_runs_one_and_takes_other_signals_itself(
    autojump_clock: MockClock,
) -> None:
    machine = StateMachineDefinition("door", door(), "closed")

    @workflow
    async def visit(ctx: WorkflowContext) -> list[Any]:
        first = await ctx.run(machine)
        note = await ctx.wait_signal("note")
        return [first, note, await ctx.run(machine, name="second door")]

    home = Home()
    async with home.host(visit) as host:
        handle = await host.start(visit, id="v-1")
        for event in ("note", "open", "close", "lock"):
            await handle.signal(event, event)
        await settled(handle)
    async with home.host(visit) as host:
        handle = host.handle("v-1")
        await settled(handle)
        assert await handle.query("second door/state") == "closed"
        await handle.signal("lock")
        assert (await handle.result()).unwrap() == ["locked", "note", "locked"]
        paths = [row.path for row in await handle.history() if row.kind == "transition"]
        assert paths == ["door/open", "door/close", "door/lock", "second door/lock"]


@pytest.mark.parametrize("kind", ["pipeline", "graph"])
async def test_a_pipeline_and_a_graph_run_one(kind: str, autojump_clock: MockClock) -> None:
    machine = StateMachineDefinition("door", door(), "closed")
    outer: Any
    if kind == "pipeline":
        outer = Pipeline("visit", [step("door", machine), step("after", lambda context: 1)])
    else:
        outer = (
            WorkflowBuilder("visit")
            .add_node("door", node=SubworkflowNode("door", workflow=machine))
            .set_entry("door")
            .set_terminal("door")
            .build()
        )
    home = Home()
    async with home.host(outer, grace=0.5) as host:
        handle = await host.start(outer, id="v-1")
        await handle.signal("open")
        await settled(handle)
    async with home.host(outer, grace=0.5) as host:
        handle = host.handle("v-1")
        await handle.signal("close")
        await handle.signal("lock")
        result = (await handle.result()).unwrap()
        assert result["door" if kind == "pipeline" else "output"] == "locked"


# --- machines that are only stored ----------------------------------------------------------------


async def test_a_host_leaves_stored_machines_alone(autojump_clock: MockClock) -> None:
    home = Home()
    machine = StateMachineDefinition("machine", door(), "closed")
    async with home.store() as store:
        persistence = StoreStatePersistence(store)
        await persistence.append_transition("m", "closed", "open", "open", 0)
    async with home.host(machine) as host:
        await settled(host)
        instance = await host.handle("m").describe()
        assert (instance.owner, instance.epoch, instance.status) == (None, 0, WAITING)
    async with home.store() as store:
        persistence = StoreStatePersistence(store)
        assert await persistence.append_transition("m", "open", "close", "closed", 1) == 2
