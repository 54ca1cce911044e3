"""Cancelling one of several users, or the whole system, at each task step in turn.

A scenario is run once to count its steps, then once for every step. Whoever waits outside of the
system for something must have an end, whatever was cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorError,
    ActorRef,
    ActorSystem,
    AutoShutdown,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Mailbox,
    Overflow,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Supervisor,
    open_system,
)
from lexigram_actors.testing import CancelAt, at_every_step, run
from tests.kernel.behaviours import adds_up


class World:
    """The incarnations that live now, and all references that were ever seen."""

    def __init__(self) -> None:
        self.living: list[str] = []
        self.refs: list[ActorRef[Any]] = []

    def enter(self, context: ActorContext[Any]) -> None:
        self.living.append(context.self.name)
        if context.self not in self.refs:
            self.refs.append(context.self)

    def leave(self, context: ActorContext[Any]) -> None:
        self.living.remove(context.self.name)

    def check(self) -> None:
        assert self.living == []
        for ref in self.refs:
            assert adds_up(ref.statistics()), ref
            assert ref.statistics().queued == 0, ref
            assert "stopped" in repr(ref)
            assert not ref.cell.monitors
            assert not ref.cell.links


class Citizen(Actor[Any]):
    def __init__(self, world: World, link_to: ActorRef[Any] | None = None) -> None:
        self.world = world
        self.link_to = link_to

    async def started(self) -> None:
        self.world.enter(self.context)
        if self.link_to is not None:
            self.context.link(self.link_to)
        self.context.send_every(0.7, "tick")
        try:
            await trio.sleep(0.1)
        except BaseException:
            self.world.leave(self.context)
            raise

    async def receive(self, message: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if isinstance(message, BaseException):
            raise message
        return message

    async def stopping(self, reason: str) -> None:
        try:
            await trio.sleep(0.1)
        finally:
            self.world.leave(self.context)


async def parent(context: ActorContext[Any], world: World) -> None:
    world.enter(context)
    try:
        for _ in range(2):
            await context.spawn(Citizen, world, restart=Restart.TRANSIENT)
        async for message in context.messages():
            if message == "crash a child":
                await context.children[0].tell(ValueError())
            context.reply(len(context.children))
    finally:
        world.leave(context)


Scenario = Callable[[ActorSystem, World], Awaitable[None]]


async def spawns(system: ActorSystem, world: World) -> None:
    for restart in Restart:
        await system.spawn(Citizen, world, restart=restart)
        ref = await system.spawn(parent, world, restart=restart)
        assert await ref.ask("how many") == 2


async def waits_for_room(system: ActorSystem, world: World) -> None:
    for overflow in (Overflow.BLOCK, Overflow.DROP_OLDEST, Overflow.COALESCE):
        key = (lambda message: message) if overflow is Overflow.COALESCE else None
        ref = await system.spawn(Citizen, world, mailbox=Mailbox(1, overflow, key))
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(ref.tell, number)
        await ref.stop(grace=0.5)


async def rendezvous(system: ActorSystem, world: World) -> None:
    ref = await system.spawn(parent, world, mailbox=0)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ref.ask, "how many")
            nursery.start_soon(ref.tell, "how many")
    await ref.stop()


async def timed_asks(system: ActorSystem, world: World) -> None:
    ref = await system.spawn(Citizen, world)
    for number in range(3):
        assert await ref.ask(number, timeout=5) == number
    try:
        await ref.ask("x", timeout=0)
    except TimeoutError:
        await ref.stop()


async def links_fall(system: ActorSystem, world: World) -> None:
    first = await system.spawn(Citizen, world)
    second = await system.spawn(Citizen, world, first)
    await system.spawn(Citizen, world, second)
    await first.tell(ValueError())
    await second.monitor()


async def children_crash(system: ActorSystem, world: World) -> None:
    ref = await system.spawn(parent, world, restart=Restart.PERMANENT)
    for _ in range(2):
        with suppress(ActorError):
            await ref.ask("crash a child")
        await trio.sleep(1)


async def significant_ends(system: ActorSystem, world: World) -> None:
    specs = [
        ChildSpec("a", Citizen, (world,)),
        ChildSpec("b", Citizen, (world,), restart=Restart.TRANSIENT, significant=True),
    ]
    supervisor = await system.spawn(
        Supervisor(specs, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT), name="sup"
    )
    b = system.whereis("sup/b")
    assert b is not None
    await b.stop()
    await supervisor.monitor()


async def by_hand(system: ActorSystem, world: World) -> None:
    supervisor = await system.spawn(DynamicSupervisor(max_children=2))
    await supervisor.start_child(ChildSpec("a", Citizen, (world,)))
    await supervisor.start_child(ChildSpec("b", parent, (world,), restart=Restart.TEMPORARY))
    await supervisor.terminate_child("a")
    await supervisor.start_child(ChildSpec("a", Citizen, (world,)))
    static = await system.spawn(Supervisor([ChildSpec("c", Citizen, (world,))]))
    await static.terminate_child("c")
    await static.restart_child("c")
    await static.terminate_child("c")
    await static.delete_child("c")
    await supervisor.stop()


async def group_with_backoff(system: ActorSystem, world: World) -> None:
    specs = [ChildSpec(name, Citizen, (world,)) for name in "abc"]
    await system.spawn(
        Supervisor(specs, strategy=Strategy.REST_FOR_ONE, backoff=Backoff(), max_restarts=3),
        name="sup",
    )
    b = system.whereis("sup/b")
    assert b is not None
    await b.tell(ValueError())
    await b.ask("after")


SCENARIOS: list[Scenario] = [
    spawns,
    waits_for_room,
    rendezvous,
    timed_asks,
    links_fall,
    children_crash,
    significant_ends,
    by_hand,
    group_with_backoff,
]


def run_cancelled(scenario: Scenario, whom: str, instrument: CancelAt) -> None:
    """Run it with the system, or one of two users, cancelled when the instrument does it."""
    world = World()

    async def one_user(system: ActorSystem) -> None:
        with instrument.scope:
            await scenario(system, world)

    async def watch_from_outside(nursery: trio.Nursery) -> None:
        """Ask and watch each actor, also while everything ends."""
        known = 0
        while not done.is_set():
            for ref in world.refs[known:]:
                known += 1
                for call in (ref.monitor, ref.tell):
                    nursery.start_soon(ignore, call, *(["x"] if call == ref.tell else []))
            await trio.lowlevel.checkpoint()
            await trio.sleep(0.01)

    async def ignore(call: Any, *args: Any) -> None:
        with suppress(ActorError):
            await call(*args)

    async def main() -> None:
        async with trio.open_nursery() as outside:
            outside.start_soon(watch_from_outside, outside)
            try:
                if whom == "the system":
                    with instrument.scope:
                        async with open_system(max_restarts=50, grace=2.0) as system:
                            await scenario(system, world)
                else:
                    async with open_system(max_restarts=50, grace=2.0) as system:
                        await one_user(system)
                        alive = await system.spawn(Citizen, world)
                        assert await alive.ask("unharmed") == "unharmed"
            except* (RestartIntensityExceeded, ActorError):
                pass
            done.set()
            outside.cancel_scope.deadline = trio.current_time() + 100
        assert not outside.cancel_scope.cancelled_caught, "somebody waits for ever"
        world.check()
        assert system_is_empty(world)

    done = trio.Event()
    run(main, seed=0, instruments=[instrument])


def system_is_empty(world: World) -> bool:
    return all(not ref.cell.system.registry.cells for ref in world.refs)


@pytest.mark.parametrize("whom", ["the system", "one user"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_whoever_is_cancelled_at_whatever_step_everything_ends(
    scenario: Scenario, whom: str
) -> None:
    report = at_every_step(partial(run_cancelled, scenario, whom), most=150)
    assert report.steps > 20
    assert report.points > 20
