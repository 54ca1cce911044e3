"""I13: only declared transitions, one event at a time, and what fails changes nothing.

These need Hypothesis. They stand apart, so that the rest of the suite also runs without it.
"""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.errors import (
    StateConcurrencyError,
    StateError,
    StoreCorruptedError,
    StoreError,
)
from lexigram_actors.machine import State, StateMachine, StateTransitionRecord, Transition
from lexigram_actors.machine.history import Position, replayed
from lexigram_actors.machine.models import checked_states
from lexigram_actors.testing import run
from tests.machine.machines import ListPersistence

NAMES = st.sampled_from("abcd")
EVENTS = st.sampled_from(["go", "stop", "turn"])
EDGES = st.dictionaries(st.tuples(NAMES, EVENTS), NAMES, max_size=10)
FATES = st.lists(
    st.sampled_from(["fine"] * 4 + ["raise", "no", "cancel", "before", "after", "unread"]),
    max_size=30,
)


class Planned(Exception):
    """What was planned to happen."""


class Fate:
    """What the next guard, hook or write does: read from a list, and fine at its end."""

    def __init__(self, plan: list[str]) -> None:
        self.plan = plan
        self.busy = 0
        self.scope = trio.CancelScope()
        """Of the event that was sent last."""

    def next(self) -> str:
        return self.plan.pop(0) if self.plan else "fine"

    async def guard(self) -> bool:
        return await self.hook() != "no"

    async def hook(self, *args: Any) -> str:
        self.busy += 1
        assert self.busy == 1, "two moves at once"
        try:
            await trio.lowlevel.checkpoint()
            fate = self.next()
            if fate == "raise":
                raise Planned
            if fate == "cancel":
                self.scope.cancel()
                await trio.lowlevel.checkpoint()
            return fate
        finally:
            self.busy -= 1


class Fateful(ListPersistence):
    """Writes that fail as planned."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.fate = fate

    async def append_transition(self, *args: Any) -> int:
        fate = self.fate.next()
        self.fail_before = Planned() if fate == "before" else None
        self.fail_after = Planned() if fate in ("after", "unread") else None
        self.fail_reads = Planned() if fate == "unread" else None
        return await super().append_transition(*args)


def states_of(edges: dict[tuple[str, str], str], fate: Fate | None = None) -> list[State]:
    hook = None if fate is None else fate.hook
    guard = None if fate is None else fate.guard
    return [
        State(
            name,
            {
                event: Transition(event, target, guard, hook)
                for (source, event), target in edges.items()
                if source == name
            },
            hook,
            hook,
        )
        for name in "abcd"
    ]


@given(edges=EDGES, events=st.lists(EVENTS, max_size=12), plan=FATES, senders=st.integers(1, 3))
def test_whatever_fails_only_declared_transitions_are_made_and_memory_is_what_is_stored(
    edges: dict[tuple[str, str], str], events: list[str], plan: list[str], senders: int
) -> None:
    async def main() -> None:
        fate = Fate(list(plan))
        persistence = Fateful(fate)
        machine = StateMachine(states_of(edges, fate), "a", persistence, "m")
        plain = checked_states(states_of(edges), "a")

        async def send(mine: list[str]) -> None:
            for event in mine:
                await handle(event)

        async def handle(event: str) -> None:
            with trio.CancelScope() as fate.scope:
                try:
                    await machine.transition(event)
                except (Planned, StateError):
                    pass
                except StoreError:
                    persistence.fail_reads = None
                    await machine.recover()
            check()

        def check() -> None:
            if fate.busy or machine._move is not None or machine._is_unknown:
                return
            stored = replayed("m", persistence.records, plain, "a")
            assert (machine.current_state, machine.version) == stored

        async with trio.open_nursery() as nursery:
            for number in range(senders):
                nursery.start_soon(send, events[number::senders])
        persistence.fail_reads = None
        await machine.recover()
        check()
        versions = [each.version for each in persistence.records]
        assert versions == list(range(1, len(versions) + 1))
        assert all(edges[r.from_state, r.event] == r.to_state for r in persistence.records)

    run(main)


@given(edges=EDGES, events=st.lists(EVENTS, max_size=12), seed=st.integers(0, 99))
def test_two_machines_of_one_name_make_one_history(
    edges: dict[tuple[str, str], str], events: list[str], seed: int
) -> None:
    async def main() -> None:
        persistence = ListPersistence()
        won = 0

        async def drive() -> None:
            nonlocal won
            machine = StateMachine(states_of(edges), "a", persistence, "m")
            for event in events:
                try:
                    await machine.transition(event)
                    won += 1
                except StateConcurrencyError:
                    await machine.recover()
                except StateError:
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drive)
            nursery.start_soon(drive)
        where = replayed("m", persistence.records, checked_states(states_of(edges), "a"), "a")
        assert where.version == won == len(persistence.records)

    run(main, seed=seed)


RECORDS = st.lists(
    st.builds(
        StateTransitionRecord,
        st.just("m"),
        st.integers(0, 4),
        NAMES,
        EVENTS,
        NAMES,
        st.just(0.0),
    ),
    max_size=4,
)


@given(edges=EDGES, records=RECORDS)
def test_a_history_leads_somewhere_or_is_refused_with_its_place(
    edges: dict[tuple[str, str], str], records: list[StateTransitionRecord]
) -> None:
    at = Position("a", 0)
    for record in records:
        declared = edges.get((at.state, record.event)) == record.to_state
        if record.version != at.version + 1 or record.from_state != at.state or not declared:
            break
        at = Position(record.to_state, record.version)
    try:
        found = replayed("m", records, checked_states(states_of(edges), "a"), "a")
    except StoreCorruptedError as error:
        assert at.version < len(records)
        assert error.details == {"machine_id": "m", "version": at.version + 1}
    else:
        assert (found, found.version) == (at, len(records))
