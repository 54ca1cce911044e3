"""Cancelled at any step, a machine stands where it stood or where the store has it."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest
import trio

from lexigram_actors.machine import StateMachine
from lexigram_actors.machine.history import replayed
from lexigram_actors.machine.models import checked_states
from lexigram_actors.testing import CancelAt, cancel_at_every_step
from tests.machine.machines import PERSISTENCES, Diary, ListPersistence, moved, opened


def test_cancelled_at_any_step_it_stands_where_the_store_has_it() -> None:
    held: dict[str, StateMachine] = {}
    stores: dict[str, ListPersistence] = {}

    async def scenario() -> None:
        stores["it"] = ListPersistence()
        held["it"] = machine = StateMachine(Diary().door(), "closed", stores["it"], "door-1")
        await moved(machine, "open", "close", "lock")

    def check(instrument: CancelAt) -> None:
        machine, records = held["it"], stores["it"].records
        where = replayed("door-1", records, checked_states(Diary().door(), "closed"), "closed")
        assert (machine.current_state, machine.version) == where
        assert instrument.cancelled_at < inf or machine.version == 3

    report = cancel_at_every_step(scenario, check=check, may_finish=True)
    assert report.points > 20


@pytest.mark.parametrize("kind", PERSISTENCES)
def test_cancelled_at_any_step_over_any_store_memory_is_what_the_store_says(
    kind: str, tmp_path: Path
) -> None:
    runs = 0

    async def scenario() -> None:
        nonlocal runs
        runs += 1
        folder = tmp_path / str(runs)
        folder.mkdir()
        async with opened(kind, folder) as persistence:
            machine = StateMachine(Diary().door(), "closed", persistence, "door-1")
            try:
                await moved(machine, "open", "close")
            finally:
                with trio.move_on_after(60, shield=True):
                    other = StateMachine(Diary().door(), "closed", persistence, "door-1")
                    assert await other.recover() == machine.current_state
                    assert other.version == machine.version

    cancel_at_every_step(scenario, may_finish=True)
