"""Crashed at every call of its store, a host tells nothing twice, and nothing that is not recorded.

A process that dies between recording a transition and telling of it never tells of it; so over all
lives there is at most one begin and one end, and within each life the transitions are a chain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from lexigram_actors.events import (
    HookRegistry,
    WorkflowCompletedHook,
    WorkflowStartedHook,
    WorkflowStateTransitionedHook,
)
from lexigram_actors.storage.instances import InstanceStatus
from lexigram_actors.testing import World, crash_everywhere
from tests.crash import programs
from tests.crash.programs import hosting

BEGINS = {"failure": 2}
"""How often an instance begins that is retried."""

PROGRAMS = {
    name: getattr(programs, name)
    for name in (
        "order",
        "question",
        "pipeline",
        "graph",
        "bulk",
        "nested",
        "failure",
        "cancelled",
        "again",
        "many",
    )
}

Told = list[tuple[int, Any]]


def told_in(world: World) -> Told:
    """Return what hooks were given, with the life in which they were."""
    told: Told = vars(world).setdefault("told", [])
    return told


@pytest.fixture(autouse=True)
def every_host_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def telling(world: World, *definitions: Any, **options: Any) -> AsyncIterator[Any]:
        told, life = told_in(world), world.life
        hooks = HookRegistry()
        hooks.add(object, lambda payload: told.append((life, payload)))
        async with hosting(world, *definitions, hooks=hooks, **options) as host:
            yield host

    monkeypatch.setattr(programs, "hosting", telling)


async def examine(world: World, begins: int) -> None:
    recorded = {each.id: each.status for each in await world.store.instances.select()}
    told = told_in(world)
    assert told, "hooks were called"
    for id, status in recorded.items():
        own = [(life, each) for life, each in told if each.workflow_id == id]
        assert sum(isinstance(each, WorkflowStartedHook) for _, each in own) <= begins
        assert sum(isinstance(each, WorkflowCompletedHook) for _, each in own) <= begins
        for life in range(1, world.life + 1):
            examine_life([each for number, each in own if number == life])
        last = [each for life, each in own if life == world.life]
        if last:
            assert isinstance(last[-1], WorkflowCompletedHook), last
            assert last[-1].succeeded == (status is InstanceStatus.COMPLETED)
            assert last[-2].to_state == status.value
    if world.life == 1:
        for id in recorded:
            assert any(each == WorkflowStartedHook(id, each.workflow_type) for each in begun(told))


def begun(told: Told) -> list[WorkflowStartedHook]:
    return [each for _, each in told if isinstance(each, WorkflowStartedHook)]


def examine_life(told: list[Any]) -> None:
    """Check what one process told of one instance."""
    moves = [each for each in told if isinstance(each, WorkflowStateTransitionedHook)]
    for before, after in pairwise(moves):
        is_retried = InstanceStatus(before.to_state).has_ended and after.from_state == "pending"
        assert before.to_state == after.from_state or is_retried, moves
    assert all(each.from_state != each.to_state for each in moves)
    for number, each in enumerate(told):
        if isinstance(each, WorkflowStartedHook):
            assert told[number + 1].from_state == "pending"
        elif isinstance(each, WorkflowCompletedHook):
            assert InstanceStatus(told[number - 1].to_state).has_ended


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_crashed_at_any_call_nothing_is_told_twice_or_out_of_order(name: str, store: Any) -> None:
    most = 40 if store == "memory" else 12
    begins = BEGINS.get(name, 1)
    crash_everywhere(
        PROGRAMS[name],
        check=lambda world: examine(world, begins),
        store=store,
        most=most,
        within=1e6,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_crashed_again_while_it_recovers_nothing_is_told_twice(name: str) -> None:
    begins = BEGINS.get(name, 1)
    crash_everywhere(
        PROGRAMS[name],
        check=lambda world: examine(world, begins),
        twice=True,
        most=8,
        within=1e6,
    )
