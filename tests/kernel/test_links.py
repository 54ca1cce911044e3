"""Links: actors that live and die together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    ActorContext,
    ActorFailed,
    ActorRef,
    Exit,
    Restart,
    Supervisor,
    open_system,
)
from lexigram_actors.kernel.links import link
from tests.kernel.behaviours import Echo, Parting, adds_up, reader, until


async def linking(context: ActorContext[Any]) -> None:
    """Links itself to what it is asked with; "unlink" undoes the last. Fails or returns if told."""
    last: Any = None
    async for message in context.messages():
        if isinstance(message, BaseException):
            raise message
        if isinstance(message, ActorRef):
            context.link(message)
            last = message
        elif message == "unlink":
            context.unlink(last)
        elif message == "return":
            return


async def test_a_failure_goes_both_ways_and_a_second_time_after_a_new_link() -> None:
    async with open_system(max_restarts=50) as system:
        one = await system.spawn(linking, restart=Restart.PERMANENT)
        other = await system.spawn(linking, restart=Restart.PERMANENT)
        for failing in (one, other, one):
            await one.ask(other)
            await failing.tell(ValueError())
            await wait_all_tasks_blocked()
        assert (one.cell.restarts, other.cell.restarts) == (3, 3)
        await one.tell(ValueError())  # the links ended with the incarnations
        await wait_all_tasks_blocked()
        assert (one.cell.restarts, other.cell.restarts) == (4, 3)


async def test_a_link_made_twice_is_one_link() -> None:
    async with open_system() as system:
        one, other = await system.spawn(linking), await system.spawn(linking)
        await one.ask(other)
        await one.ask(other)
        await one.ask("unlink")
        await other.stop("gone")
        await wait_all_tasks_blocked()
        assert await one.ask("unlink") is None


async def test_a_failure_runs_through_all_who_are_linked() -> None:
    async with open_system() as system:
        chain = [await system.spawn(linking) for _ in range(10)]
        for one, other in pairwise(chain):
            await one.ask(other)
        await chain[5].tell(ValueError("the first"))
        exits = [await ref.monitor() for ref in chain]
        assert {exit_.reason for exit_ in exits} == {"failed"}
        error = exits[0].error
        while isinstance(error, ActorFailed):
            error = error.cause
        assert isinstance(error, ValueError)


async def test_a_ring_of_links_ends_once() -> None:
    async with open_system() as system, system.events.subscribe(Exit) as exits:
        ring = [await system.spawn(linking) for _ in range(5)]
        for number, ref in enumerate(ring):
            await ref.ask(ring[(number + 1) % 5])
        await ring[2].stop("upgrade")
        await wait_all_tasks_blocked()
        assert exits.queued == 5
        assert {(await anext(exits)).reason for _ in range(5)} == {"upgrade"}


@pytest.mark.parametrize("reason", ["bye", "failed", "normal"])
async def test_linking_to_one_that_has_ended_has_its_effect_at_once(reason: str) -> None:
    async with open_system() as system:
        other = await system.spawn(linking)
        if reason == "bye":
            await other.stop("bye")
        else:
            await other.tell(ValueError() if reason == "failed" else "return")
            await other.monitor()
        one = await system.spawn(linking)
        await one.tell(other)
        await wait_all_tasks_blocked()
        if reason == "normal":
            assert system.whereis(one.name) is one
        else:
            assert (await one.monitor()).reason == reason


async def test_a_link_in_init_is_refused_since_there_is_no_actor_yet() -> None:
    class TooEarly(Echo):
        def __init__(self, other: ActorRef[Any]) -> None:
            self.context.link(other)

    async with open_system() as system:
        other = await system.spawn(Echo)
        with pytest.raises(ActorFailed, match="not there yet"):
            await system.spawn(TooEarly, other)
        assert not other.cell.links


async def test_an_idle_actor_that_follows_a_failure_says_goodbye() -> None:
    notes: list[str] = []
    async with open_system() as system:
        idle = await system.spawn(Parting, notes)
        one = await system.spawn(linking)
        await one.ask(idle)
        await one.tell(ValueError())
        assert (await idle.monitor()).reason == "failed"
        assert notes == ["it failed"]


@pytest.mark.parametrize("behaviour", [Echo, reader, Parting])
async def test_a_failure_reaches_an_actor_that_was_just_told_something(behaviour: Any) -> None:
    async def tell_and_fail(context: ActorContext[Any], other: ActorRef[Any]) -> None:
        context.link(other)
        other.tell_nowait("not handled any more, or only just")
        other.tell_nowait("certainly not handled")
        raise ValueError

    async with open_system() as system:
        arguments: Any = ([],) if behaviour is Parting else ()
        other = await system.spawn(behaviour, *arguments)
        await system.spawn(tell_and_fail, other)
        assert (await other.monitor()).reason == "failed"
        assert adds_up(other.statistics())
        assert other.statistics().dead_lettered >= 1


async def test_a_failure_that_comes_as_the_message_in_hand_ends_is_not_lost() -> None:
    gate = trio.Event()

    async def open_and_fail(context: ActorContext[Any], other: ActorRef[Any]) -> None:
        context.link(other)
        await wait_all_tasks_blocked()
        gate.set()  # the other goes on, and will meet no checkpoint
        raise ValueError

    async with open_system() as system:
        other = await system.spawn(Echo)
        await other.tell(until(gate))
        await other.tell("queued")
        await wait_all_tasks_blocked()
        await system.spawn(open_and_fail, other)
        assert (await other.monitor()).reason == "failed"
        assert other.statistics().dead_lettered == 1


async def test_a_goodbye_is_not_disturbed_by_a_partners_failure(
    autojump_clock: MockClock,
) -> None:
    notes: list[str] = []

    class Tidies(Parting):
        async def stopping(self, reason: str) -> None:
            await trio.sleep(0.5)
            await super().stopping(reason)

    async with open_system() as system:
        one, other = await system.spawn(Tidies, notes), await system.spawn(linking)
        await other.ask(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.stop)
            await wait_all_tasks_blocked(0.1)
            await other.tell(ValueError())
        assert notes == ["it stopped"]


async def test_a_long_chain_of_idle_actors_falls_without_end_of_stack(
    no_log: None,
) -> None:
    async def link_all(context: ActorContext[Any], refs: list[ActorRef[Any]]) -> None:
        for one, other in pairwise(refs):
            link(one.cell, other.cell)

    async with open_system() as system:
        refs = [await system.spawn(Echo) for _ in range(400)]
        await system.spawn(link_all, refs)
        await wait_all_tasks_blocked()
        await refs[0].tell(ValueError())
        await wait_all_tasks_blocked()
        assert system.tree().children == ()


async def test_a_link_to_oneself_means_nothing() -> None:
    async with open_system(max_restarts=3) as system:
        ref = await system.spawn(linking, restart=Restart.PERMANENT)
        await ref.ask(ref)
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        assert ref.cell.restarts == 1
        assert await ref.ask("alive") is None


async def test_a_link_may_be_to_a_supervisor() -> None:
    async with open_system() as system:
        supervisor = await system.spawn(Supervisor([]))
        ref = await system.spawn(linking)
        await ref.ask(supervisor)
        await ref.tell(ValueError())
        exit_ = await supervisor.monitor()
        assert exit_.reason == "failed"
        assert isinstance(exit_.error, ActorFailed)


async def test_links_are_forgotten_with_their_actors() -> None:
    async with open_system() as system:
        hub = await system.spawn(reader)
        for way in ("return", "stop"):
            for _ in range(20):
                ref = await system.spawn(linking)
                await ref.ask(hub)
                await ref.ask("unlink" if way == "stop" else "nothing")
                if way == "return":
                    await ref.tell("return")
                    await ref.monitor()
                else:
                    await ref.stop()
        assert not hub.cell.links
        assert await hub.ask("alive") == "alive"


async def test_a_crash_of_many_linked_to_one_hub_ends_them_all() -> None:
    async with open_system() as system:
        hub = await system.spawn(linking)
        spokes = [await system.spawn(linking) for _ in range(200)]
        for spoke in spokes:
            await spoke.ask(hub)
        await hub.tell(ValueError())
        async with trio.open_nursery() as nursery:
            for spoke in spokes:
                nursery.start_soon(spoke.monitor)
        assert system.tree().children == ()
