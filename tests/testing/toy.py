"""A small program that keeps a journal: the subject of tests of the testing kit itself."""

from __future__ import annotations

from typing import Any, Literal

import trio
from attrs import frozen

from lexigram_actors.storage.instances import Definition, Entry, InstanceStatus, NewInstance
from lexigram_actors.testing import World

TOY = Definition("toy", "toy", 1)
STEPS = ("reserve", "charge", "ship")
LEASE = 30.0

Bug = Literal[
    "none",
    "records before it acts",
    "promises before it is written",
    "forgets what is recorded",
]


@frozen
class Toy:
    """Runs three steps of one instance, each recorded; with a bug, if wanted."""

    bug: Bug = "none"
    seconds: float = 1.5

    async def __call__(self, world: World) -> list[str]:
        store = world.store.instances
        host = f"host-{world.life}"
        await store.enter(host, LEASE)
        if self.bug == "promises before it is written":
            await world.acknowledge("order")
        new = NewInstance(id="order", definition=TOY, input={"cents": 1299})
        instance, is_new = await store.create(new, host=host)
        await world.acknowledge("order")
        if instance.status.has_ended:
            return list(await store.outcome("order"))
        epoch = instance.epoch if is_new else await self.taken_over(world, host)
        await self.steps(world, epoch)
        await store.end("order", epoch, InstanceStatus.COMPLETED, list(STEPS))
        await store.leave(host)
        return list(STEPS)

    async def taken_over(self, world: World, host: str) -> int:
        while True:
            for instance in await world.store.instances.claim(host, [TOY]):
                return instance.epoch
            await trio.sleep(1)

    async def steps(self, world: World, epoch: int) -> None:
        store = world.store.instances
        loaded = await store.load("order")
        assert loaded is not None
        done = [entry.path for entry in loaded.entries]
        if self.bug == "forgets what is recorded":
            done = done[:1]
        for position, name in enumerate(STEPS, 1):
            if name in done:
                continue
            entry = Entry(name, "step", "done", position, world.time())
            if self.bug == "records before it acts":
                await store.append("order", epoch, [entry])
                await world.effect(name, self.seconds)
            else:
                await world.effect(name, self.seconds)
                await store.append("order", epoch, [entry])


async def steps_of(world: World) -> list[Any]:
    loaded = await world.store.instances.load("order")
    return [] if loaded is None else [entry.path for entry in loaded.entries]
