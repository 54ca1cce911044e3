"""Stopping: asked first, then cancelled, reported when it does not help, and children before."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorStopped,
    ActorUnresponsive,
    ChildSpec,
    ConfigurationError,
    DynamicSupervisor,
    Restart,
    Supervisor,
    open_system,
)
from tests.kernel.behaviours import Echo, Noting, busy_for, deaf, forever, outcome_of, reader


@pytest.mark.parametrize("behaviour", [Echo, reader, Noting])
@pytest.mark.parametrize("grace", [None, 0, 1, inf])
async def test_an_actor_that_waits_for_mail_ends_at_once_whatever_the_grace(
    behaviour: Any, grace: float | None, autojump_clock: MockClock
) -> None:
    async with open_system() as system:
        arguments: Any = ([],) if behaviour is Noting else ()
        for told in (False, True):
            ref = await system.spawn(behaviour, *arguments, shutdown=inf)
            if told:
                await ref.ask("x")
            await ref.stop(grace=grace)
            assert trio.current_time() == 0


async def test_grace_zero_cancels_what_is_in_hand(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        await ref.tell(forever)
        await ref.tell("queued")
        await wait_all_tasks_blocked()
        await ref.stop(grace=0)
        assert trio.current_time() == 0
        assert ref.statistics().dead_lettered == 1


async def test_grace_inf_waits_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo, shutdown=1)
        for _ in range(3):
            await ref.tell(busy_for(100))
        await ref.stop(grace=inf)
        assert trio.current_time() == pytest.approx(300)
        assert ref.statistics().handled == 3


@pytest.mark.parametrize("grace", [-1, "1", True, float("nan")])
async def test_a_grace_that_is_none_is_refused_and_nothing_happens(grace: Any) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        with pytest.raises(ConfigurationError, match="grace"):
            await ref.stop(grace=grace)
        assert await ref.ask(1) == 1


@pytest.mark.parametrize("reason", [None, 5])
async def test_a_reason_is_words(reason: Any, autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        await ref.ask("x")
        with trio.move_on_after(10) as scope:
            with pytest.raises((ConfigurationError, TypeError)):
                await ref.stop(reason)
        assert not scope.cancelled_caught


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_no_reason_given_to_stop_makes_it_a_failure(restart: Restart) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo, name="x", restart=restart)
        await outcome_of(ref.stop, "failed")  # refused, or taken as the word it is
        await wait_all_tasks_blocked()
        if system.whereis("x") is not None:
            assert ref.cell.restarts == 0


async def test_while_it_stops_an_actor_takes_no_more_messages(autojump_clock: MockClock) -> None:
    async with open_system() as system, system.dead_letters() as letters:
        ref = await system.spawn(Echo)
        await ref.tell(busy_for(1))
        await ref.tell("before")
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop, "closing")
            await wait_all_tasks_blocked()
            for send in (ref.tell, ref.ask):
                with pytest.raises(ActorStopped, match="closing"):
                    await send("after")
        assert ref.statistics().handled == 2
        assert ref.statistics().accepted == 2
        assert [(await anext(letters)).reason for _ in range(2)] == ["closing", "closing"]


async def test_a_stop_may_be_hastened_but_not_delayed(autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Echo)
        await ref.tell(forever)
        await wait_all_tasks_blocked()
        nursery.start_soon(ref.stop, "first", 3)
        nursery.start_soon(ref.stop, "second", 100)
        await ref.monitor()
        assert trio.current_time() == pytest.approx(3)


async def test_a_goodbye_is_hastened_by_a_second_stop(autojump_clock: MockClock) -> None:
    class Slow(Echo):
        async def stopping(self, reason: str) -> None:
            await trio.sleep(1_000)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Slow, shutdown=inf)
        nursery.start_soon(ref.stop)
        await trio.sleep(1)
        await ref.stop(grace=2)
        assert trio.current_time() <= 1 + 2


async def test_a_goodbye_gets_a_second_when_the_deadline_has_passed(
    autojump_clock: MockClock,
) -> None:
    notes: list[str] = []

    class Tidies(Echo):
        async def stopping(self, reason: str) -> None:
            await trio.sleep(0.9)
            notes.append(reason)

    async with open_system() as system:
        ref = await system.spawn(Tidies)
        await ref.tell(forever)
        await wait_all_tasks_blocked()
        await ref.stop(grace=0)
    assert notes == ["stopped"]


async def test_an_actor_stops_itself_from_anywhere(autojump_clock: MockClock) -> None:
    class StopsInStarted(Echo):
        async def started(self) -> None:
            await self.context.self.stop("in started")

    async def stops_in_body(context: ActorContext[Any]) -> None:
        await context.self.stop("in body")
        async for _ in context.messages():
            raise AssertionError("a message of nobody")

    class StopsInGoodbye(Echo):
        async def stopping(self, reason: str) -> None:
            await self.context.self.stop("in goodbye")

    async with open_system() as system:
        ends = []
        for behaviour in (StopsInStarted, stops_in_body, StopsInGoodbye):
            ref = await system.spawn(behaviour)
            if behaviour is StopsInGoodbye:
                await ref.stop("from outside")
            ends.append((await ref.monitor()).reason)
    assert ends == ["in started", "in body", "from outside"]
    assert trio.current_time() == 0


@pytest.mark.parametrize("shutdown", [2, inf])
async def test_a_child_may_stop_its_parent(shutdown: float, autojump_clock: MockClock) -> None:
    async def child(context: ActorContext[Any], parent: Any) -> None:
        await parent.stop("asked by my child")
        async for _ in context.messages():
            pass

    async def parent(context: ActorContext[Any]) -> None:
        await context.spawn(child, context.self, shutdown=shutdown)
        async for _ in context.messages():
            pass

    async with open_system(grace=1_000) as system:
        ref = await system.spawn(parent, shutdown=inf)
        with trio.fail_after(10):
            assert (await ref.monitor()).reason == "asked by my child"


@pytest.mark.parametrize("shutdown", [2, inf])
async def test_a_child_may_have_itself_terminated(
    shutdown: float, autojump_clock: MockClock
) -> None:
    async def leaves(context: ActorContext[Any]) -> None:
        async for supervisor in context.messages():
            await supervisor.terminate_child("a")

    async with open_system(grace=1_000) as system:
        supervisor = await system.spawn(DynamicSupervisor())
        ref = await supervisor.start_child(ChildSpec("a", leaves, shutdown=shutdown))
        await ref.tell(supervisor)
        with trio.fail_after(10):
            await ref.monitor()
        assert await supervisor.which_children() == []


async def test_children_end_before_their_parent_in_reverse_order_whoever_they_are(
    autojump_clock: MockClock,
) -> None:
    ends: list[str] = []

    class Child(Noting):
        async def stopping(self, reason: str) -> None:
            await trio.sleep(0.5)
            ends.append(self.name)

    async def parent(context: ActorContext[Any]) -> None:
        for name in "abc":
            await context.spawn(Child, [], name, name=name)
        await context.spawn(
            Supervisor([ChildSpec("x", Child, args=([], "x")), ChildSpec("y", Child, ([], "y"))])
        )
        async for message in context.messages():
            if isinstance(message, BaseException):
                raise message
            return

    async with open_system(max_restarts=10) as system, system.events.subscribe() as events:
        for way in ("stop", "return", "crash", "cancel"):
            ends.clear()
            ref = await system.spawn(parent, name=f"parent-{way}")
            await wait_all_tasks_blocked()
            if way in ("stop", "cancel"):
                await ref.stop(grace=None if way == "stop" else 0)
            else:
                await ref.tell(ValueError() if way == "crash" else "return")
                await ref.monitor()
            assert ends == ["y", "x", "c", "b", "a"], way
            while events.queued:
                last = await anext(events)
            assert last.name == f"parent-{way}"


async def test_children_started_during_the_stop_keep_its_deadline(
    autojump_clock: MockClock,
) -> None:
    async def parent(context: ActorContext[Any]) -> None:
        async for _ in context.messages():
            pass
        await context.spawn(deaf, shutdown=50)

    async with open_system(grace=100) as system:
        ref = await system.spawn(parent, shutdown=3)
        await wait_all_tasks_blocked()
        await ref.stop()
        assert trio.current_time() == pytest.approx(3)


async def test_who_shields_itself_is_reported_once_and_the_stop_waits(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def shielded(context: ActorContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    async with open_system() as system, system.events.subscribe(ActorUnresponsive) as reports:
        ref = await system.spawn(shielded, name="stubborn")
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop, "slow", 9)
            await trio.sleep(1)
            nursery.start_soon(ref.stop, "fast", 2)
        assert trio.current_time() == pytest.approx(30)
        assert reports.queued == 1
        report = await anext(reports)
        assert report.actor == "stubborn"
        assert "in shielded" in report.stack
        assert "trio.sleep(30)" in report.stack
    assert "in shielded" in caplog.text


async def test_who_only_waits_for_its_children_is_not_reported(
    autojump_clock: MockClock,
) -> None:
    class Tidies(Echo):
        async def stopping(self, reason: str) -> None:
            await trio.sleep(0.9)

    async def parent(context: ActorContext[Any]) -> None:
        for _ in range(3):
            await context.spawn(Tidies)
        await trio.sleep_forever()

    async with open_system() as system, system.events.subscribe(ActorUnresponsive) as reports:
        ref = await system.spawn(parent)
        await wait_all_tasks_blocked()
        await ref.stop(grace=0)
        assert reports.queued == 0


async def test_a_stop_that_nobody_waits_for_any_more_still_has_its_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_system() as system:
        supervisor = await system.spawn(Supervisor([ChildSpec("a", deaf, shutdown=5)]))
        with trio.move_on_after(1):
            await supervisor.terminate_child("a")
        await trio.sleep(5)
        assert (await supervisor.which_children())[0].ref is None
        with trio.move_on_after(1):
            await supervisor.stop(grace=3)
        assert (await supervisor.monitor()).reason == "stopped"


async def test_stopping_what_waits_for_its_restart_keeps_it_down(
    autojump_clock: MockClock,
) -> None:
    from lexigram_actors import Backoff

    async with open_system(backoff=Backoff(initial=10), max_restarts=5) as system:
        for restart in (Restart.TRANSIENT, Restart.PERMANENT):
            ref = await system.spawn(Echo, name="x", restart=restart)
            await ref.tell(ValueError())
            await wait_all_tasks_blocked()
            await system.terminate_child("x")
            await trio.sleep(50)
            assert system.whereis("x") is None
            with pytest.raises(ActorStopped):
                await ref.tell("x")


async def test_an_actor_that_swallows_its_cancellation_is_not_stopped_by_it_but_ends(
    autojump_clock: MockClock,
) -> None:
    async def swallows(context: ActorContext[Any]) -> None:
        try:
            await trio.sleep_forever()
        except BaseException:
            return

    async with open_system() as system:
        ref = await system.spawn(swallows)
        await wait_all_tasks_blocked()
        await ref.stop(grace=0)
        assert (await ref.monitor()).reason == "stopped"


class Sleepy(Actor[float]):
    async def receive(self, message: float) -> None:
        await trio.sleep(message)


async def test_a_dynamic_supervisor_stops_all_at_once(autojump_clock: MockClock) -> None:
    async with open_system(grace=100) as system:
        supervisor = await system.spawn(DynamicSupervisor())
        for number in range(20):
            child = await supervisor.start_child(ChildSpec(str(number), Sleepy, shutdown=50))
            await child.tell(10.0)
        await supervisor.stop()
        assert trio.current_time() == pytest.approx(10)
