"""What comes of a machine that shares its database: with transactions, processes, observers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.errors import StateConcurrencyError, StateError, StoreError
from lexigram_actors.events import HookRegistry, WorkflowStateTransitionedHook
from lexigram_actors.host.observing import observed, observing
from lexigram_actors.machine import DatabaseStatePersistence, State, StateMachine, Transition
from lexigram_actors.storage.sqlite.database import SQLiteDatabase
from tests.machine.machines import Diary, ListPersistence, door


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLiteDatabase]:
    async with SQLiteDatabase(tmp_path / "machines.db", inline=True) as database:
        yield database


class Through:
    """A provider that hands everything on to another."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self.database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)


# --- the table ------------------------------------------------------------------------------------


async def test_in_a_transaction_and_outside_at_once_nobody_waits_for_ever(
    database: SQLiteDatabase, autojump_clock: MockClock
) -> None:
    persistence = DatabaseStatePersistence(database)
    versions: list[int] = []

    async def outside() -> None:
        versions.append(await persistence.get_current_version("m"))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery, database.transaction():
            nursery.start_soon(outside)
            await wait_all_tasks_blocked()
            assert await persistence.append_transition("m", "a", "go", "b", 0) == 1
    assert versions == [1]


async def test_a_table_that_a_transaction_took_back_is_made_again(
    database: SQLiteDatabase,
) -> None:
    persistence = DatabaseStatePersistence(database)
    with pytest.raises(KeyError):
        async with database.transaction():
            await persistence.append_transition("m", "a", "go", "b", 0)
            raise KeyError
    assert await persistence.get_current_version("m") == 0
    assert await persistence.append_transition("m", "a", "go", "b", 0) == 1


async def test_another_that_makes_the_table_at_the_same_moment_does_no_harm(
    database: SQLiteDatabase,
) -> None:
    class Racing(Through):
        refused = 0

        async def execute(self, sql: str, params: Any = None) -> Any:
            self.refused += 1
            if self.refused == 1:
                raise ValueError("duplicate key value violates unique constraint pg_type")
            return await self.database.execute(sql, params)

    persistence = DatabaseStatePersistence(Racing(database))
    assert await persistence.append_transition("m", "a", "go", "b", 0) == 1


# --- a provider that raises what means a refusal --------------------------------------------------


async def test_a_runtime_error_of_a_provider_is_no_refusal(database: SQLiteDatabase) -> None:
    class Broken(Through):
        async def execute_insert(self, table: str, data: Any, **options: Any) -> Any:
            raise RuntimeError("not connected")

    machine = StateMachine(door(), "closed", DatabaseStatePersistence(Broken(database)), "door-1")
    with pytest.raises(StoreError, match="not connected"):
        await machine.transition("open")
    assert (machine.current_state, machine.version) == ("closed", 0)


async def test_a_write_that_was_done_and_cannot_be_read_back_is_not_known(
    database: SQLiteDatabase,
) -> None:
    class Lost(Through):
        is_lost = False

        async def execute_query(self, sql: str, params: Any = None, **options: Any) -> Any:
            if self.is_lost:
                raise RuntimeError("connection lost")
            return await self.database.execute_query(sql, params)

        @asynccontextmanager
        async def transaction(self, isolation_level: str | None = None) -> AsyncIterator[Any]:
            async with self.database.transaction():
                yield self
            self.is_lost = True
            raise RuntimeError("connection lost")

    provider = Lost(database)
    machine = StateMachine(door(), "closed", DatabaseStatePersistence(provider), "door-1")
    with pytest.raises(StoreError, match="is not known"):
        await machine.transition("open")
    provider.is_lost = False
    assert await machine.recover() == "open"


# --- processes ------------------------------------------------------------------------------------

PROCESS = """
import sys, trio
from lexigram_actors.errors import StateConcurrencyError
from lexigram_actors.machine import DatabaseStatePersistence, State, StateMachine, Transition
from lexigram_actors.storage.sqlite.database import SQLiteDatabase

STATES = [State("a", {"go": Transition("go", "b")}), State("b", {"go": Transition("go", "a")})]

async def main():
    sys.stdin.readline()
    async with SQLiteDatabase(sys.argv[1]) as database:
        machine = StateMachine(STATES, "a", DatabaseStatePersistence(database), "m")
        moves = 0
        while moves < 15:
            try:
                await machine.transition("go")
                moves += 1
            except StateConcurrencyError:
                await machine.recover()

trio.run(main)
"""


def test_two_processes_on_one_file_make_one_history(tmp_path: Path) -> None:
    path = tmp_path / "machines.db"
    command = [sys.executable, "-c", PROCESS, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said

    async def history() -> Any:
        async with SQLiteDatabase(path, inline=True) as database:
            return await DatabaseStatePersistence(database).load_transitions("m")

    records = trio.run(history)
    assert [record.version for record in records] == list(range(1, 31))
    assert [record.from_state for record in records] == ["a", "b"] * 15


# --- observing ------------------------------------------------------------------------------------


@asynccontextmanager
async def transitions() -> AsyncIterator[list[WorkflowStateTransitionedHook]]:
    """Observe; what was told is complete when the block is left."""
    told: list[WorkflowStateTransitionedHook] = []
    hooks = HookRegistry()
    hooks.add(WorkflowStateTransitionedHook, told.append)
    async with observing(hooks=hooks):
        yield told


async def test_each_transition_is_told_of_once() -> None:
    async with transitions() as told:
        machine = StateMachine(door(), "closed", ListPersistence(), "door-1")
        await machine.transition("open")
        await machine.transition("close")
        await StateMachine(door(), "closed").transition("lock")
        await machine.recover()
    assert told == [
        WorkflowStateTransitionedHook("door-1", "closed", "open"),
        WorkflowStateTransitionedHook("door-1", "open", "closed"),
        WorkflowStateTransitionedHook("machine", "closed", "locked"),
    ]


async def test_an_event_back_to_its_own_state_is_a_transition_too() -> None:
    async with transitions() as told:
        await StateMachine([State("a", {"go": Transition("go", "a")})], "a").transition("go")
    assert told == [WorkflowStateTransitionedHook("machine", "a", "a")]


async def test_what_is_not_recorded_is_not_told_of() -> None:
    diary, persistence = Diary(), ListPersistence()
    machine = StateMachine(diary.door(), "closed", persistence, "door-1")
    async with transitions() as told:
        with pytest.raises(StateError):
            await machine.transition("close")
        diary.at["guard open"] = lambda: False
        with pytest.raises(StateError):
            await machine.transition("open")
        diary.at = {"enter open": partial(int, "none")}
        with pytest.raises(ValueError, match="none"):
            await machine.transition("open")
        diary.at = {}
        persistence.fail_before = StateConcurrencyError("open", "closed", 0, 1)
        with pytest.raises(StateConcurrencyError):
            await machine.transition("open")
        persistence.fail_before = OSError("disk on fire")
        with pytest.raises(OSError, match="disk on fire"):
            await machine.transition("open")
    assert told == []


async def test_a_hook_that_is_told_may_move_the_same_machine() -> None:
    machine = StateMachine(door(), "closed")
    hooks = HookRegistry()
    hooks.add(WorkflowStateTransitionedHook, lambda moved: close(moved.to_state))

    async def close(state: str) -> None:
        if state == "open":
            await machine.transition("close")

    async with observing(hooks=hooks):
        await machine.transition("open")
    assert (machine.current_state, machine.version) == ("closed", 2)


async def test_inside_a_run_a_machine_is_a_part_of_that() -> None:
    async with transitions() as told:
        await observed("run", "run", StateMachine(door(), "closed").transition, "lock")
    assert {hook.workflow_id for hook in told} == {"run"}
