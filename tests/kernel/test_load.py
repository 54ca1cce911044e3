"""Many actors, long lives, deep and wide trees: nothing piles up, nothing starves."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Supervisor,
    open_system,
)
from lexigram_actors.kernel.cell import Cell
from tests.kernel.behaviours import Echo, Noting, deaf, reader


def cells() -> int:
    gc.collect()
    return sum(type(thing) is Cell for thing in gc.get_objects())


@pytest.mark.parametrize("behaviour", [Echo, reader, Noting, deaf])
@pytest.mark.parametrize("way", ["stop", "crash", "transient"])
async def test_actors_that_ended_are_freed(behaviour: Any, way: str, no_log: None) -> None:
    if behaviour is deaf and way == "crash":
        return  # it reads no mail
    before = cells()
    async with open_system() as system:
        restart = Restart.TRANSIENT if way == "transient" else Restart.TEMPORARY
        for _ in range(50):
            arguments: Any = ([],) if behaviour is Noting else ()
            ref = await system.spawn(behaviour, *arguments, restart=restart)
            if way == "crash":
                await ref.tell(ValueError())
                await ref.monitor()
            else:
                await ref.stop(grace=0)
        del ref
        assert cells() <= before + 2
        assert not system.registry.cells
        assert not system.children.children
    del system
    assert cells() <= before + 2


async def test_an_actors_instance_is_freed_when_it_ends_though_its_reference_is_kept() -> None:
    seen: list[weakref.ref[Any]] = []

    class Heavy(Echo):
        def __init__(self) -> None:
            seen.append(weakref.ref(self))

    async with open_system(max_restarts=5) as system:
        ref = await system.spawn(Heavy, restart=Restart.PERMANENT)
        await ref.ask("x")
        await ref.stop()
        gc.collect()
        assert seen[0]() is None
        await system.terminate_child(ref.name)
        gc.collect()
        assert seen[1]() is None


async def test_nothing_grows_with_the_number_of_lives(autojump_clock: MockClock) -> None:
    async def short(context: ActorContext[Any]) -> None:
        context.send_after(1_000, "late")

    async with open_system() as system:
        hub = await system.spawn(reader)
        for number in range(4_000):
            ref = await system.spawn(short if number % 4 == 0 else Echo)
            if number % 4 == 1:
                await ref.ask("x", timeout=1_000)
            if number % 4 == 2:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await hub.monitor()
            await ref.stop()
        await wait_all_tasks_blocked()
        assert len(system.registry.cells) == 1
        assert len(system.children.children) == 1
        assert len(system.timers.heap) <= 3_000
        assert not hub.cell.monitors
        assert trio.lowlevel.current_statistics().tasks_living < 15


async def test_ten_thousand_idle_actors_close_in_reverse_order() -> None:
    ends: list[int] = []

    class Last(Actor[Any]):
        def __init__(self, number: int) -> None:
            self.number = number

        async def receive(self, message: Any) -> None: ...

        async def stopping(self, reason: str) -> None:
            ends.append(self.number)

    async with open_system() as system:
        for number in range(10_000):
            await system.spawn(Last if number % 100 == 0 else Echo, *[number] * (number % 100 == 0))
        tasks = trio.lowlevel.current_statistics().tasks_living
        assert tasks < 15
    assert ends == list(range(9_900, -1, -100))


async def test_a_wide_tree_of_supervisors_closes(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        for number in range(100):
            specs = [ChildSpec(str(child), (Echo, reader)[child % 2]) for child in range(20)]
            await system.spawn(Supervisor(specs), name=str(number))
        assert len(system.registry.cells) == 2_100
        tree = system.tree()
        assert sum(len(node.children) for node in tree.children) == 2_000
    assert system.tree().children == ()


async def test_a_deep_tree_of_supervisors_starts_restarts_and_closes() -> None:
    behaviour: Any = Echo
    for _ in range(50):
        behaviour = Supervisor([ChildSpec("x", behaviour)], max_restarts=5)
    async with open_system() as system:
        await system.spawn(behaviour, name="x")
        name = "/".join(["x"] * 51)
        ref = system.whereis(name)
        assert ref is not None
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        assert await ref.ask("alive") == "alive"
        depth, node = 0, system.tree()
        while node.children:
            depth, node = depth + 1, node.children[0]
        assert depth == 51


async def test_an_escalation_climbs_a_deep_tree(no_log: None) -> None:
    behaviour: Any = Echo
    for _ in range(30):
        behaviour = Supervisor([ChildSpec("x", behaviour)], max_restarts=0)
    async with open_system() as system:
        top = await system.spawn(behaviour, name="x")
        ref = system.whereis("/".join(["x"] * 31))
        assert ref is not None
        await ref.tell(ValueError("at the bottom"))
        exit_ = await top.monitor()
        error: Any = exit_.error
        while getattr(error, "cause", None) is not None:
            error = error.cause
        assert str(error) == "at the bottom"


async def test_thousand_crashes_under_one_dynamic_supervisor() -> None:
    async with open_system() as system:
        supervisor = await system.spawn(DynamicSupervisor(max_restarts=3_000))
        refs = [
            await supervisor.start_child(ChildSpec(str(number), (Echo, reader)[number % 2]))
            for number in range(1_000)
        ]
        for _ in range(2):
            for ref in refs:
                ref.tell_nowait(ValueError())
        for ref in refs:
            assert await ref.ask("alive") == "alive"
            assert ref.cell.restarts == 2


async def test_two_actors_that_talk_without_end_let_others_run() -> None:
    turns = 0

    class Ponging(Actor[Any]):
        async def receive(self, message: Any) -> None:
            message.tell_nowait(self.context.self)

    async def other() -> None:
        nonlocal turns
        for _ in range(200):
            turns += 1
            await trio.lowlevel.checkpoint()

    class Alone(Actor[Any]):
        async def receive(self, message: Any) -> None:
            self.context.self.tell_nowait("again")

    async with open_system(grace=0) as system:
        one, two = await system.spawn(Ponging), await system.spawn(Ponging)
        await one.tell(two)
        await (await system.spawn(Alone)).tell("begin")
        await other()
    assert turns == 200


async def test_an_actor_that_fails_at_every_start_does_not_keep_others_from_running() -> None:
    starts = 0

    class Broken(Echo):
        def __init__(self) -> None:
            nonlocal starts
            starts += 1
            if starts > 1:
                raise OSError

    async with open_system() as system:
        supervisor = await system.spawn(
            Supervisor([ChildSpec("x", Broken)], max_restarts=2_000), name="sup"
        )
        ref = system.whereis("sup/x")
        assert ref is not None
        await ref.tell(ValueError())
        turns = 0
        while starts < 1_000:
            turns += 1
            await trio.lowlevel.checkpoint()
        assert turns > 500
        await supervisor.stop()
