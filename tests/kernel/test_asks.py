"""Asking: every ask ends, with the right answer or the right error, whoever goes away meanwhile."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorError,
    ActorFailed,
    ActorStopped,
    AskTimeout,
    Backoff,
    ConfigurationError,
    Restart,
    Supervisor,
    open_system,
)
from tests.kernel.behaviours import Echo, adds_up, busy_for, forever, outcome_of, reader, until


@pytest.mark.parametrize("answer", [None, 0, False, "", (), ValueError("as a value"), ...])
async def test_any_value_is_an_answer(answer: Any) -> None:
    async def give(_: Actor[Any]) -> Any:
        return answer

    async with open_system() as system:
        ref = await system.spawn(Echo)
        assert await ref.ask(give) is answer


async def test_a_second_answer_does_not_count() -> None:
    async def twice(actor: Actor[Any]) -> str:
        actor.context.reply("early")
        actor.context.reply("again")
        return "late"

    async with open_system() as system:
        ref = await system.spawn(Echo)
        assert await ref.ask(twice) == "early"
        assert await ref.ask("next") == "next"


async def test_an_early_answer_holds_when_the_actor_crashes_after_it() -> None:
    async def answer_and_crash(actor: Actor[Any]) -> None:
        actor.context.reply("done")
        raise ValueError

    async with open_system() as system:
        ref = await system.spawn(Echo)
        assert await ref.ask(answer_and_crash) == "done"
        assert (await ref.monitor()).reason == "failed"


async def test_a_reply_to_a_tell_is_ignored() -> None:
    async with open_system() as system:
        ref = await system.spawn(reader)
        await ref.tell("not asked")
        assert await ref.ask("asked") == "asked"


@pytest.mark.parametrize("timeout", [0, 0.5])
async def test_an_ask_times_out_wherever_its_message_is(
    timeout: float, autojump_clock: MockClock
) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Echo, mailbox=1)
        with pytest.raises(AskTimeout):  # in hand
            await ref.ask(busy_for(10), timeout=timeout)
        if timeout == 0:
            await wait_all_tasks_blocked()
        with pytest.raises(TimeoutError):  # queued
            await ref.ask("queued", timeout=timeout)
        with pytest.raises(AskTimeout) as caught:  # waiting for room
            await ref.ask("waiting", timeout=timeout)
        assert caught.value.timeout == timeout
        nursery.cancel_scope.cancel()
    s = ref.statistics()
    assert adds_up(s)
    assert s.accepted == 2


async def test_an_answer_in_time_wins(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        assert await ref.ask(busy_for(1), timeout=1.5) == "done"
        assert await ref.ask("x", timeout=float("inf")) == "x"


@pytest.mark.parametrize("timeout", [-1, nan, "1", True])
async def test_a_timeout_that_is_none_is_refused_before_anything_is_sent(timeout: Any) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        with pytest.raises(ConfigurationError, match="timeout"):
            await ref.ask("x", timeout=timeout)
        assert ref.statistics().accepted == 0


async def test_a_time_out_around_an_ask_is_no_ask_timeout(autojump_clock: MockClock) -> None:
    async with open_system(grace=0) as system:
        ref = await system.spawn(Echo)
        with trio.move_on_after(1) as scope:
            await ref.ask(forever, timeout=5)
        assert scope.cancelled_caught


async def test_an_asker_that_is_cancelled_never_disturbs_the_actor(
    autojump_clock: MockClock,
) -> None:
    async with open_system() as system, trio.open_nursery() as outer:
        ref = await system.spawn(Echo, mailbox=1)
        gate = trio.Event()
        for message in (until(gate), "queued", "waiting for room"):
            outer.start_soon(outcome_of, ref.ask, message)
            await wait_all_tasks_blocked()
        outer.cancel_scope.cancel()
        gate.set()
        with trio.CancelScope(shield=True):
            assert await ref.ask("alive") == "alive"
            assert ref.statistics().handled == 3


@pytest.mark.parametrize("restart", [Restart.TEMPORARY, Restart.PERMANENT])
@pytest.mark.parametrize("behaviour", [Echo, reader])
async def test_every_ask_has_an_end_when_the_actor_crashes(
    behaviour: Any, restart: Restart
) -> None:
    async with open_system(max_restarts=10) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(behaviour, restart=restart, mailbox=2)
        ends: dict[int, Any] = {}

        async def ask(number: int, message: Any) -> None:
            ends[number] = await outcome_of(ref.ask, message)

        for number, message in enumerate([ValueError("in hand"), 1, 2, KeyError("b"), 4]):
            nursery.start_soon(ask, number, message)
        await wait_all_tasks_blocked()
        assert len(ends) == 5
        for end in ends.values():
            assert isinstance(end, int | ActorFailed | ActorStopped)
        if restart is Restart.PERMANENT:
            assert sum(isinstance(end, int) for end in ends.values()) == 3


async def test_an_ask_during_a_backoff_waits_for_the_restart(autojump_clock: MockClock) -> None:
    async with open_system(backoff=Backoff(initial=3, jitter=0), max_restarts=5) as system:
        ref = await system.spawn(Echo, restart=Restart.PERMANENT)
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        began = trio.current_time()
        assert await ref.ask("patient") == "patient"
        assert trio.current_time() - began == pytest.approx(3)
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        with pytest.raises(AskTimeout):
            await ref.ask("impatient", timeout=1)


async def test_an_ask_during_a_backoff_that_is_given_up_is_told(
    autojump_clock: MockClock,
) -> None:
    async with open_system(backoff=Backoff(initial=30), max_restarts=5) as system:
        ref = await system.spawn(Echo, name="x", restart=Restart.PERMANENT)
        await ref.tell(ValueError())
        async with trio.open_nursery() as nursery:
            ends: list[Any] = []

            async def ask() -> None:
                ends.append(await outcome_of(ref.ask, "q"))

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await system.terminate_child("x")
        assert isinstance(ends[0], ActorStopped)


async def test_one_exit_is_announced_for_one_incarnation(autojump_clock: MockClock) -> None:
    from lexigram_actors import Exit

    async with (
        open_system(backoff=Backoff(initial=30), max_restarts=5) as system,
        system.events.subscribe(Exit) as exits,
    ):
        ref = await system.spawn(Echo, name="x", restart=Restart.PERMANENT)
        await ref.tell(ValueError())
        await wait_all_tasks_blocked()
        await system.terminate_child("x")
        assert exits.queued == 1


async def test_an_ask_to_an_actor_that_stops_is_handled_within_the_grace(
    autojump_clock: MockClock,
) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Echo)
        ends: dict[int, Any] = {}

        async def ask(number: int, message: Any) -> None:
            ends[number] = await outcome_of(ref.ask, message)

        for number, message in enumerate((busy_for(1), "within", busy_for(10), "after")):
            nursery.start_soon(ask, number, message)
            await wait_all_tasks_blocked()
        await ref.stop(grace=3)
        await wait_all_tasks_blocked()
        assert (ends[0], ends[1]) == ("done", "within")
        assert type(ends[2]) is type(ends[3]) is ActorStopped
        assert ref.statistics().dead_lettered == 1
        assert adds_up(ref.statistics())


async def test_asks_to_one_that_has_ended_say_why() -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        await ref.stop("moved")
        with pytest.raises(ActorStopped) as caught:
            await ref.ask("x")
        assert caught.value.reason == "moved"


async def test_two_askers_of_a_crash_get_errors_of_their_own() -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Echo)
        ends: list[Any] = []

        async def ask(message: Any) -> None:
            ends.append(await outcome_of(ref.ask, message))

        nursery.start_soon(ask, ValueError("x"))
        nursery.start_soon(ask, ValueError("x"))
        await wait_all_tasks_blocked()
        assert ends[0] is not ends[1]


async def test_actors_may_ask_each_other() -> None:
    async with open_system() as system:
        back = await system.spawn(Echo)

        async def ask_the_other(_: Actor[Any]) -> Any:
            return await back.ask("deep")

        front = await system.spawn(Echo)
        assert await front.ask(ask_the_other) == "deep"


async def test_a_function_actor_that_asks_itself_is_told_so() -> None:
    async def body(context: ActorContext[Any]) -> None:
        with pytest.raises(ActorError, match="asks itself"):
            await context.self.ask("me", timeout=1)

    async with open_system() as system:
        ref = await system.spawn(body)
        assert (await ref.monitor()).reason == "normal"


async def test_an_unanswered_ask_ends_with_its_function(autojump_clock: MockClock) -> None:
    async def one_message(context: ActorContext[Any]) -> None:
        async for _ in context.messages():
            return

    async with open_system() as system:
        ref = await system.spawn(one_message)
        end = await outcome_of(ref.ask, "never answered")
        assert isinstance(end, ActorStopped)
        assert end.reason == "normal"


async def test_a_supervisor_is_not_asked_in_vain(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        supervisor = await system.spawn(Supervisor([]))
        with trio.move_on_after(10) as scope:
            with pytest.raises((ActorError, TypeError, NotImplementedError)):
                await supervisor.ask("anything")
        assert not scope.cancelled_caught
