"""What the tests of instances share."""

from __future__ import annotations

from typing import Any

from lexigram_actors.storage import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    InstanceStore,
    NewInstance,
)

ORDER = Definition("pipeline", "order", 1)
OTHER = Definition("graph", "review", 2)
LEASE = 10.0


def new(id: str = "order-1", **facts: Any) -> NewInstance:
    """Return what an instance begins with."""
    return NewInstance(**{"id": id, "definition": ORDER, "input": {"of": id}, **facts})


def step(position: int, value: Any = None, **facts: Any) -> Entry:
    """Return an entry at a position."""
    return Entry(f"step{position}", "step", value, position, **facts)


async def begin(
    store: InstanceStore, id: str = "order-1", host: str = "a", **facts: Any
) -> Instance:
    """Enter a host and begin an instance that it owns."""
    await store.enter(host, LEASE)
    instance, is_new = await store.create(new(id, **facts), host=host)
    assert is_new
    return instance


async def ended(
    store: InstanceStore,
    id: str = "order-1",
    status: InstanceStatus = InstanceStatus.FAILED,
    outcome: Any = "why",
) -> Instance:
    """Begin an instance, and end it."""
    await begin(store, id)
    await store.end(id, 1, status, outcome, note="so")
    instance = await store.get(id)
    assert instance is not None
    return instance
