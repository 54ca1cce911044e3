"""Machines and persistences for the tests of state machines."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from lexigram_actors.errors import StateConcurrencyError
from lexigram_actors.machine import (
    DatabaseStatePersistence,
    State,
    StateMachine,
    StatePersistenceProtocol,
    StateTransitionRecord,
    StoreStatePersistence,
    Transition,
)
from lexigram_actors.storage import MemoryStore, SQLiteStore
from lexigram_actors.storage.sqlite.database import SQLiteDatabase


class Diary:
    """Remembers which guards and hooks were called, and lets one of them do something."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at: dict[str, Callable[[], Any]] = {}

    def hook(self, name: str) -> Callable[..., Any]:
        async def called(*args: Any) -> Any:
            self.calls.append(f"{name}{list(args) if args else ''}")
            await trio.lowlevel.checkpoint()
            action = self.at.get(name)
            answer = None if action is None else action()
            if inspect.isawaitable(answer):
                answer = await answer
            return True if name.startswith("guard") and answer is None else answer

        return called

    def door(self) -> list[State]:
        """Return a door: closed, open, locked for good."""
        hook = self.hook
        return [
            State(
                "closed",
                {
                    "open": Transition("open", "open", hook("guard open"), hook("opening")),
                    "lock": Transition("lock", "locked"),
                },
                hook("enter closed"),
                hook("exit closed"),
            ),
            State(
                "open",
                {"close": Transition("close", "closed", hook("guard close"), hook("closing"))},
                hook("enter open"),
                hook("exit open"),
            ),
            State("locked"),
        ]


def door() -> list[State]:
    """Return the door alone."""
    return Diary().door()


class ListPersistence:
    """Transitions in a list, with a checkpoint before and after, and failures to order."""

    def __init__(self) -> None:
        self.records: list[StateTransitionRecord] = []
        self.fail_before: BaseException | None = None
        self.fail_after: BaseException | None = None
        self.fail_reads: BaseException | None = None
        self.hold: trio.Event | None = None

    async def append_transition(
        self, machine_id: str, from_state: str, event: str, to_state: str, expected_version: int
    ) -> int:
        await trio.lowlevel.checkpoint()
        if self.hold is not None:
            await self.hold.wait()
        if self.fail_before is not None:
            raise self.fail_before
        if len(self.records) != expected_version:
            raise StateConcurrencyError(event, from_state, expected_version, len(self.records))
        self.records.append(
            StateTransitionRecord(
                machine_id, expected_version + 1, from_state, event, to_state, time.time()
            )
        )
        await trio.lowlevel.checkpoint()
        if self.fail_after is not None:
            raise self.fail_after
        return len(self.records)

    async def load_transitions(self, machine_id: str) -> list[StateTransitionRecord]:
        await trio.lowlevel.checkpoint()
        if self.fail_reads is not None:
            raise self.fail_reads
        return list(self.records)

    async def get_current_version(self, machine_id: str) -> int:
        return len(await self.load_transitions(machine_id))


# --- every persistence --------------------------------------------------------------------------

PERSISTENCES = ("list", "database", "memory store", "sqlite store")


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[StatePersistenceProtocol]:
    """Open one of them, in a folder."""
    if kind == "list":
        yield ListPersistence()
    elif kind == "database":
        async with SQLiteDatabase(folder / "machines.db", inline=True) as database:
            yield DatabaseStatePersistence(database)
    elif kind == "memory store":
        yield StoreStatePersistence(MemoryStore())
    else:
        async with SQLiteStore(folder / "store.db", inline=True) as store:
            yield StoreStatePersistence(store)


async def moved(machine: StateMachine, *events: str) -> str:
    """Handle events one after the other."""
    for event in events:
        await machine.transition(event)
    return machine.current_state
