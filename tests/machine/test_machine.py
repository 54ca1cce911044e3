"""`StateMachine`: what it refuses, the order of things, and that a failure changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.errors import (
    ConfigurationError,
    StateConcurrencyError,
    StateError,
    StoreCorruptedError,
    StoreError,
    WorkflowStateError,
)
from lexigram_actors.machine import (
    State,
    StateMachine,
    StateMachineProtocol,
    StatePersistenceProtocol,
    StateTransitionRecord,
    Transition,
)
from lexigram_actors.result import Err, Ok
from tests.machine.machines import Diary, ListPersistence, door, moved

# --- making one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "initial", "says"),
    [
        ([State("a")], "b", "initial state 'b'"),
        ([], "a", "initial state 'a'"),
        ([State("a"), State("a")], "a", "two states 'a'"),
        ([State("a", {"go": Transition("go", "nowhere")})], "a", "the target 'nowhere' is no"),
        ([State("a", {"go": Transition("run", "a")})], "a", "is that of 'run'"),
        ([State("a", {"go": "a"})], "a", "is no Transition"),  # type: ignore[dict-item]
        (["a"], "a", "'a' is no State"),
    ],
)
def test_what_is_no_machine_is_refused(states: Any, initial: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        StateMachine(states, initial)
    with pytest.raises(ValueError, match="wrong state machine"):
        StateMachine(states, initial)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        StateMachine([State("a", {"go": Transition("go", "b"), "no": Transition("x", "a")})], "c")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("machine_id", [None, "", 7])
def test_a_persistence_needs_the_name_of_the_machine(machine_id: Any) -> None:
    with pytest.raises(ConfigurationError, match="machine_id"):
        StateMachine(door(), "closed", ListPersistence(), machine_id)


def test_it_fits_the_protocols() -> None:
    assert isinstance(StateMachine(door(), "closed"), StateMachineProtocol)
    assert isinstance(ListPersistence(), StatePersistenceProtocol)


async def test_states_that_are_changed_later_change_nothing() -> None:
    transitions = {"go": Transition("go", "a")}
    machine = StateMachine([State("a", transitions)], "a")
    transitions.clear()
    assert await machine.transition("go") == "a"


# --- moving ---------------------------------------------------------------------------------------


async def test_hooks_are_called_in_order_and_see_the_new_state_from_the_entry_on() -> None:
    diary = Diary()
    machine = StateMachine(diary.door(), "closed")
    seen = {}
    for name in ("guard open", "exit closed", "enter open", "opening"):
        diary.at[name] = lambda name=name: seen.update({name: machine.current_state})  # type: ignore[misc]
    assert await machine.transition("open") == "open"
    assert diary.calls == ["guard open", "exit closed", "enter open", "opening['open', 'open']"]
    assert seen == {
        "guard open": "closed",
        "exit closed": "closed",
        "enter open": "open",
        "opening": "open",
    }
    assert (machine.current_state, machine.version) == ("open", 1)
    assert "'open', version 1" in repr(machine)


async def test_guards_and_hooks_may_be_plain_functions() -> None:
    called: list[Any] = []
    states = [
        State("a", {"go": Transition("go", "b", lambda: 1, lambda *args: called.append(args))}),
        State("b", {}, lambda: called.append("enter")),
    ]
    machine = StateMachine(states, "a")
    assert machine.can_transition("go")
    assert await machine.transition("go") == "b"
    assert called == ["enter", ("go", "b")]
    assert not machine.can_transition("go")


async def test_an_event_may_lead_back_to_where_it_came_from() -> None:
    machine = StateMachine([State("a", {"tick": Transition("tick", "a")})], "a")
    assert await moved(machine, "tick", "tick") == "a"
    assert machine.version == 2


async def test_an_undeclared_event_is_refused() -> None:
    machine = StateMachine(door(), "closed")
    with pytest.raises(StateError, match="'close' is not permitted from state 'closed'") as caught:
        await machine.transition("close")
    assert (caught.value.event, caught.value.current_state) == ("close", "closed")
    assert "'lock'" in str(caught.value.hint)
    assert (machine.current_state, machine.version) == ("closed", 0)


@pytest.mark.parametrize("answer", [False, 0, Err("no"), Ok(False)])
async def test_a_guard_that_says_no_changes_nothing(answer: Any) -> None:
    diary = Diary()
    diary.at["guard open"] = lambda: answer
    machine = StateMachine(diary.door(), "closed")
    with pytest.raises(StateError, match="guard"):
        await machine.transition("open")
    assert diary.calls == ["guard open"]
    assert (machine.current_state, machine.version) == ("closed", 0)


@pytest.mark.parametrize("name", ["guard open", "exit closed", "enter open", "opening"])
async def test_what_a_guard_or_hook_raises_passes_and_changes_nothing(name: str) -> None:
    def fail() -> None:
        raise KeyError(name)

    diary = Diary()
    diary.at[name] = fail
    persistence = ListPersistence()
    machine = StateMachine(diary.door(), "closed", persistence, "door-1")
    with pytest.raises(KeyError):
        await machine.transition("open")
    assert (machine.current_state, machine.version) == ("closed", 0)
    assert persistence.records == []
    diary.at.clear()
    assert await machine.transition("open") == "open"


@pytest.mark.parametrize("error", [OSError("jammed"), "jammed"])
async def test_a_hook_that_returns_an_err_fails(error: Any) -> None:
    diary = Diary()
    diary.at["enter open"] = lambda: Err(error)
    machine = StateMachine(diary.door(), "closed")
    with pytest.raises((OSError, StateError), match="jammed"):
        await machine.transition("open")
    assert machine.current_state == "closed"


async def test_events_that_come_at_once_are_handled_one_after_the_other() -> None:
    diary = Diary()
    persistence = ListPersistence()
    machine = StateMachine(diary.door(), "closed", persistence, "door-1")
    ends = []

    async def send(event: str) -> None:
        try:
            ends.append(await machine.transition(event))
        except StateError as error:
            ends.append(f"not {error.event}")

    async with trio.open_nursery() as nursery:
        for event in ["open"] * 3 + ["close"] * 3:
            nursery.start_soon(send, event)
    assert machine.version == len(persistence.records) == len([e for e in ends if "not" not in e])
    calls = [each for each in diary.calls if not each.startswith("guard")]
    for place in range(0, len(calls), 3):  # none between those of one move
        assert calls[place].startswith("exit")
        assert calls[place + 1].startswith("enter")


# --- from inside ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["guard open", "exit closed", "enter open", "opening"])
@pytest.mark.parametrize("call", ["transition", "recover"])
async def test_a_hook_that_moves_its_own_machine_is_told_so(name: str, call: str) -> None:
    diary = Diary()
    machine = StateMachine(diary.door(), "closed")
    diary.at[name] = machine.recover if call == "recover" else lambda: machine.transition("close")
    with trio.fail_after(5), pytest.raises(WorkflowStateError, match="called by a guard or a hook"):
        await machine.transition("open")
    assert (machine.current_state, machine.version) == ("closed", 0)


async def test_a_task_that_a_hook_waits_for_is_told_so_too() -> None:
    async def inside() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(machine.transition, "close")

    diary = Diary()
    diary.at["enter open"] = inside
    machine = StateMachine(diary.door(), "closed")
    with trio.fail_after(5), pytest.RaisesGroup(WorkflowStateError):
        await machine.transition("open")
    assert machine.current_state == "closed"


async def test_a_task_that_a_hook_starts_elsewhere_waits_for_its_turn() -> None:
    async def start() -> None:
        nursery.start_soon(machine.transition, "close")
        await wait_all_tasks_blocked()

    diary = Diary()
    diary.at["enter open"] = start
    machine = StateMachine(diary.door(), "closed")
    async with trio.open_nursery() as nursery:
        assert await machine.transition("open") == "open"
    assert (machine.current_state, machine.version) == ("closed", 2)


# --- the write ------------------------------------------------------------------------------------


async def test_each_transition_is_recorded() -> None:
    persistence = ListPersistence()
    machine = StateMachine(door(), "closed", persistence, "door-1")
    await moved(machine, "open", "close", "lock")
    assert [each[:5] for each in persistence.records] == [
        ("door-1", 1, "closed", "open", "open"),
        ("door-1", 2, "open", "close", "closed"),
        ("door-1", 3, "closed", "lock", "locked"),
    ]


async def test_a_machine_that_was_moved_meanwhile_is_refused_until_it_recovers() -> None:
    persistence = ListPersistence()
    one, two = (StateMachine(door(), "closed", persistence, "door-1") for _ in range(2))
    await one.transition("open")
    with pytest.raises(StateConcurrencyError) as caught:
        await two.transition("lock")
    assert (caught.value.expected_version, caught.value.actual_version) == (0, 1)
    assert (two.current_state, two.version) == ("closed", 0)
    assert await two.recover() == "open"
    assert two.version == 1
    assert await two.transition("close") == "closed"


@pytest.mark.parametrize("reads", [True, False])
async def test_a_runtime_error_of_the_persistence_is_a_refusal(reads: bool) -> None:
    persistence = ListPersistence()
    persistence.fail_before = RuntimeError("version conflict")
    persistence.fail_reads = None if reads else OSError("gone")
    machine = StateMachine(door(), "closed", persistence, "door-1")
    with pytest.raises(StateConcurrencyError) as caught:
        await machine.transition("open")
    assert caught.value.actual_version == (0 if reads else -1)
    assert isinstance(caught.value.cause, RuntimeError)
    assert (machine.current_state, machine.version) == ("closed", 0)


async def test_a_write_that_failed_changes_nothing() -> None:
    persistence = ListPersistence()
    persistence.fail_before = OSError("disk full")
    machine = StateMachine(door(), "closed", persistence, "door-1")
    with pytest.raises(OSError, match="disk full"):
        await machine.transition("open")
    assert (machine.current_state, machine.version) == ("closed", 0)
    persistence.fail_before = None
    assert await machine.transition("open") == "open"


async def test_a_write_that_was_done_although_it_failed_counts() -> None:
    persistence = ListPersistence()
    persistence.fail_after = OSError("connection lost")
    machine = StateMachine(door(), "closed", persistence, "door-1")
    assert await machine.transition("open") == "open"
    assert (machine.current_state, machine.version) == ("open", 1)


async def test_where_it_is_not_known_whether_it_was_written_the_machine_has_to_recover() -> None:
    persistence = ListPersistence()
    persistence.fail_after = OSError("connection lost")
    persistence.fail_reads = OSError("still lost")
    machine = StateMachine(door(), "closed", persistence, "door-1")
    with pytest.raises(StoreError, match="not known") as caught:
        await machine.transition("open")
    assert caught.value.cause is persistence.fail_after
    assert (machine.current_state, machine.version) == ("closed", 0)
    persistence.fail_after = persistence.fail_reads = None
    with pytest.raises(StoreError, match="was not handled"):
        await machine.transition("open")
    assert len(persistence.records) == 1
    assert await machine.recover() == "open"
    assert await machine.transition("close") == "closed"


async def test_somebody_elses_transition_in_its_place_is_a_refusal() -> None:
    class Raced(ListPersistence):
        async def append_transition(self, *args: Any) -> int:
            self.records.append(StateTransitionRecord("door-1", 1, "closed", "lock", "locked", 0.0))
            raise OSError("connection lost")

    machine = StateMachine(door(), "closed", Raced(), "door-1")
    with pytest.raises(StateConcurrencyError) as caught:
        await machine.transition("open")
    assert caught.value.actual_version == 1
    assert await machine.recover() == "locked"


async def test_a_persistence_that_counts_otherwise_is_not_trusted() -> None:
    class Odd(ListPersistence):
        async def append_transition(self, *args: Any) -> int:
            return 7

    machine = StateMachine(door(), "closed", Odd(), "door-1")
    with pytest.raises(StoreError, match="not known"):
        await machine.transition("open")
    assert await machine.recover() == "closed"


async def test_cancelled_while_it_is_written_it_is_written_and_has_moved() -> None:
    persistence = ListPersistence()
    persistence.hold = trio.Event()
    machine = StateMachine(door(), "closed", persistence, "door-1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.transition, "open")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            assert not persistence.records
            persistence.hold.set()
    assert (machine.current_state, machine.version) == ("open", 1)
    assert len(persistence.records) == 1


async def test_a_store_that_hangs_holds_a_machine_for_a_while_only(
    autojump_clock: MockClock,
) -> None:
    persistence = ListPersistence()
    persistence.hold = trio.Event()
    machine = StateMachine(door(), "closed", persistence, "door-1")
    began = trio.current_time()
    with trio.move_on_after(1), pytest.raises(StoreError, match="longer than 30 s"):
        try:
            await machine.transition("open")
        except StoreError as error:
            assert "not written" not in str(error)
            raise
    assert trio.current_time() - began == 30
    assert (machine.current_state, machine.version) == ("closed", 0)


@pytest.mark.parametrize("failure", [OSError("lost"), RuntimeError("no")])
async def test_a_store_that_hangs_when_it_is_asked_what_became_of_it_is_not_waited_for(
    failure: Exception, autojump_clock: MockClock
) -> None:
    class Silent(ListPersistence):
        async def load_transitions(self, machine_id: str) -> list[StateTransitionRecord]:
            await trio.sleep_forever()
            raise AssertionError

    persistence = Silent()
    persistence.fail_before = failure
    machine = StateMachine(door(), "closed", persistence, "door-1")
    with pytest.raises((StoreError, StateConcurrencyError)) as caught:
        await machine.transition("open")
    assert trio.current_time() == 30
    assert caught.value.cause is failure
    assert (machine.current_state, machine.version) == ("closed", 0)


async def test_cancelled_while_it_waits_for_its_turn_nothing_is_done() -> None:
    diary = Diary()
    held = trio.Event()
    diary.at["enter open"] = held.wait
    machine = StateMachine(diary.door(), "closed")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.transition, "open")
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await machine.transition("close")
        assert scope.cancelled_caught
        held.set()
    assert (machine.current_state, machine.version) == ("open", 1)


# --- recovering -----------------------------------------------------------------------------------


async def test_recovering_calls_no_hook_and_leads_to_where_it_stood() -> None:
    persistence = ListPersistence()
    await moved(StateMachine(door(), "closed", persistence, "door-1"), "open", "close", "open")
    diary = Diary()
    machine = StateMachine(diary.door(), "closed", persistence, "door-1")
    assert await machine.recover() == "open"
    assert (machine.version, diary.calls) == (3, [])


async def test_without_a_past_or_a_persistence_it_stays() -> None:
    assert await StateMachine(door(), "closed").recover() == "closed"
    machine = StateMachine(door(), "open", ListPersistence(), "door-1")
    assert await machine.recover() == "open"
    assert machine.version == 0


async def test_recovered_under_another_name_it_is_that_machine_from_then_on() -> None:
    persistence = ListPersistence()
    await moved(StateMachine(door(), "closed", persistence, "door-1"), "open")
    machine = StateMachine(door(), "closed", persistence, "door-2")
    assert await machine.recover("door-1") == "open"
    await machine.transition("close")
    assert persistence.records[-1].machine_id == machine.machine_id == "door-1"
    with pytest.raises(ConfigurationError):
        await machine.recover("")


async def test_recovering_waits_for_the_transition_under_way() -> None:
    persistence = ListPersistence()
    persistence.hold = trio.Event()
    machine = StateMachine(door(), "closed", persistence, "door-1")
    recovered = []

    async def recover() -> None:
        recovered.append(await machine.recover())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.transition, "open")
        await wait_all_tasks_blocked()
        nursery.start_soon(recover)
        await wait_all_tasks_blocked()
        assert recovered == []
        persistence.hold.set()
    assert recovered == ["open"]


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({"version": 3}, 2),
        ({"from_state": "closed"}, 2),
        ({"from_state": "cellar"}, 2),
        ({"event": "burn"}, 2),
        ({"to_state": "locked"}, 2),
    ],
)
async def test_a_history_that_cannot_be_is_refused(change: dict[str, Any], version: int) -> None:
    persistence = ListPersistence()
    machine = StateMachine(door(), "closed", persistence, "door-1")
    await moved(machine, "open", "close", "open")
    persistence.records[1] = persistence.records[1]._replace(**change)
    other = StateMachine(door(), "closed", persistence, "door-1")
    with pytest.raises(StoreCorruptedError, match="door-1") as caught:
        await other.recover()
    assert caught.value.details == {"machine_id": "door-1", "version": version}
    assert (other.current_state, other.version) == ("closed", 0)


async def test_a_history_with_a_gap_at_its_beginning_is_refused() -> None:
    persistence = ListPersistence()
    await moved(StateMachine(door(), "closed", persistence, "door-1"), "open", "close")
    del persistence.records[0]
    with pytest.raises(StoreCorruptedError, match="version 2 follows version 0"):
        await StateMachine(door(), "closed", persistence, "door-1").recover()


async def test_recovering_that_fails_leaves_the_machine_as_it_was() -> None:
    persistence = ListPersistence()
    machine = StateMachine(door(), "closed", persistence, "door-1")
    await machine.transition("open")
    persistence.fail_reads = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        await machine.recover("door-2")
    assert (machine.current_state, machine.version, machine.machine_id) == ("open", 1, "door-1")
