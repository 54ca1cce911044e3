"""A system as a whole: how its block ends, what it shows, and that nothing is left."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorNode,
    ActorStopped,
    Backoff,
    ChildSpec,
    DeadLetter,
    DynamicSupervisor,
    Exit,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Supervisor,
    open_system,
)


class Echo(Actor[Any]):
    async def receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message


async def waits(context: ActorContext[Any], notes: list[str], name: str) -> None:
    try:
        async for _ in context.messages():
            pass
        notes.append(f"{name}: asked to stop")
    except trio.Cancelled:
        notes.append(f"{name}: cancelled")
        raise


async def deaf(context: ActorContext[Any], notes: list[str], name: str) -> None:
    """Reads no mail, so only a cancellation ends it."""
    try:
        await trio.sleep_forever()
    finally:
        notes.append(f"{name}: cancelled")


async def test_leaving_the_block_stops_the_last_started_first() -> None:
    notes: list[str] = []
    async with open_system() as system:
        for name in ("a", "b", "c"):
            await system.spawn(waits, notes, name)
    assert notes == ["c: asked to stop", "b: asked to stop", "a: asked to stop"]


async def test_the_grace_holds_for_all_together(autojump_clock: MockClock) -> None:
    notes: list[str] = []
    async with open_system(grace=7) as system:
        for name in ("a", "b", "c"):
            await system.spawn(deaf, notes, name, shutdown=5)
    assert trio.current_time() == pytest.approx(7)
    assert notes == ["c: cancelled", "b: cancelled", "a: cancelled"]


async def test_an_exception_of_the_block_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    notes: list[str] = []
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        async with open_system(grace=50) as system:
            await system.spawn(deaf, notes, "a", shutdown=50)
            await system.spawn(waits, notes, "b")
            raise error
    assert caught.value is error
    assert trio.current_time() == 0
    assert len(notes) == 2


async def test_a_group_raised_by_the_block_stays_the_group_it_is() -> None:
    group = ExceptionGroup("mine", [ValueError(), KeyError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_system():
            raise group
    assert {type(error) for error in caught.value.exceptions} >= {ValueError, KeyError} or (
        caught.value.exceptions[0] is group
    )


async def test_a_cancelled_block_stops_the_actors_at_once_and_in_order(
    autojump_clock: MockClock,
) -> None:
    notes: list[str] = []
    with trio.move_on_after(3) as scope:
        async with open_system(grace=50) as system:
            for name in ("a", "b"):
                await system.spawn(deaf, notes, name, shutdown=50)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert notes == ["b: cancelled", "a: cancelled"]
    assert trio.current_time() == pytest.approx(3)


async def test_cancelling_while_the_block_ends_shortens_its_grace(
    autojump_clock: MockClock,
) -> None:
    notes: list[str] = []
    with trio.move_on_after(3) as scope:
        async with open_system(grace=50) as system:
            await system.spawn(deaf, notes, "a", shutdown=50)
    assert notes == ["a: cancelled"]
    assert trio.current_time() == pytest.approx(3)
    assert scope.cancel_called


async def test_restarting_too_often_cancels_the_block_and_comes_out_of_it() -> None:
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_system(max_restarts=2) as system:
            ref = await system.spawn(Echo, restart=Restart.PERMANENT)
            for number in range(3):
                await ref.tell(ValueError(number))
            await trio.sleep_forever()
    assert caught.value.max_restarts == 2
    assert isinstance(caught.value.cause, ValueError)


async def test_nothing_is_started_in_a_system_that_closes() -> None:
    refused: list[str] = []

    async def spawns_at_its_end(context: ActorContext[Any]) -> None:
        async for _ in context.messages():
            pass
        try:
            await context.system.spawn(Echo)
        except ActorStopped:
            refused.append("spawn")
        try:
            await context.spawn(Echo)
        except ActorStopped:
            refused.append("child")

    async with open_system() as system:
        await system.spawn(spawns_at_its_end)
    assert refused == ["spawn"]


async def test_systems_side_by_side_and_one_in_another_do_not_meet() -> None:
    async with open_system("one") as one, open_system("two") as two:
        first = await one.spawn(Echo, name="echo")
        second = await two.spawn(Echo, name="echo")
        await first.stop()
        assert await second.ask(1) == 1
        async with open_system("inner") as inner:
            assert inner.whereis("echo") is None
        assert two.whereis("echo") is second


def test_two_runs_in_one_process_do_not_meet() -> None:
    async def main() -> Any:
        async with open_system() as system:
            return await (await system.spawn(Echo, name="echo")).ask("x")

    assert [trio.run(main), trio.run(main)] == ["x", "x"]


async def test_the_tree_shows_who_supervises_whom_and_how_each_does() -> None:
    async with open_system("shop") as system:
        await system.spawn(
            Supervisor([ChildSpec("a", Echo), ChildSpec("b", Echo)], max_restarts=5), name="sup"
        )
        b = system.whereis("sup/b")
        assert b is not None
        await b.tell(ValueError())
        await wait_all_tasks_blocked()
        assert system.tree() == ActorNode(
            "shop",
            "running",
            0,
            0,
            (
                ActorNode(
                    "sup",
                    "running",
                    0,
                    0,
                    (
                        ActorNode("sup/a", "running", 0, 0),
                        ActorNode("sup/b", "running", 1, 0),
                    ),
                ),
            ),
        )


async def test_exits_are_published_and_a_slow_subscriber_loses_the_oldest() -> None:
    async with open_system() as system, system.events.subscribe(Exit, bound=2) as exits:
        for number in range(4):
            await (await system.spawn(Echo, name=f"n{number}")).stop()
        assert [(await anext(exits)).name for _ in range(2)] == ["n2", "n3"]
        assert exits.dropped == 2


async def test_ten_thousand_idle_actors_cost_no_task(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        for _ in range(10_000):
            await system.spawn(Echo)
        assert trio.lowlevel.current_statistics().tasks_living < 20
        assert len(system.tree().children) == 10_000
        supervisor = await system.spawn(DynamicSupervisor())
        for number in range(1_000):
            await supervisor.start_child(ChildSpec(f"c{number}", Echo))
        assert (await supervisor.count_children()).active == 1_000


async def test_a_thousand_actors_that_crash_at_once_all_come_back() -> None:
    async with open_system(max_restarts=10_000) as system:
        refs = [await system.spawn(Echo, restart=Restart.PERMANENT) for _ in range(1_000)]
        for ref in refs:
            await ref.tell(ValueError())
        assert [await ref.ask(1) for ref in refs] == [1] * 1_000


async def test_a_deep_tree_ends_from_below() -> None:
    ends: list[int] = []

    async def level(context: ActorContext[Any], depth: int) -> None:
        if depth:
            await context.spawn(level, depth - 1, name="below")
        async for _ in context.messages():
            pass
        ends.append(depth)

    async with open_system() as system:
        await system.spawn(level, 50, name="top")
        await wait_all_tasks_blocked()
    assert sorted(ends) == list(range(51))


async def test_nothing_piles_up_over_many_starts_and_stops() -> None:
    class Tidy(Echo):
        async def stopping(self, reason: str) -> None:
            await trio.lowlevel.checkpoint()

    async with open_system() as system:
        for _ in range(3_000):
            ref = await system.spawn(Tidy)
            await ref.tell(1)
            await ref.stop()
        assert not system.registry.cells
        assert not system.children.children
        assert len(system.timers.heap) <= 2_000
        assert trio.lowlevel.current_statistics().tasks_living < 20


async def test_a_group_that_restarts_respects_what_was_terminated_meanwhile(
    autojump_clock: MockClock,
) -> None:
    started: list[str] = []

    async def child(context: ActorContext[Any], name: str) -> None:
        started.append(name)
        async for message in context.messages():
            if isinstance(message, BaseException):
                raise message
        if name == "c" and context.stop_reason:
            await trio.sleep(3)  # slow to stop: the group waits for it

    specs = [ChildSpec(name, child, args=(name,), shutdown=10) for name in ("a", "b", "c")]
    async with open_system() as system, trio.open_nursery() as nursery:
        supervisor = await system.spawn(
            Supervisor(specs, strategy=Strategy.ONE_FOR_ALL, max_restarts=5), name="sup"
        )
        crashing = system.whereis("sup/a")
        assert crashing is not None
        await crashing.tell(ValueError())
        await wait_all_tasks_blocked(0.1)
        nursery.start_soon(supervisor.terminate_child, "c")
        await trio.sleep(5)
        assert started == ["a", "b", "c", "a", "b"]
        assert [info.ref is not None for info in await supervisor.which_children()] == [
            True,
            True,
            False,
        ]


async def test_links_share_a_failure_and_a_stop_but_no_normal_end() -> None:
    async def body(context: ActorContext[Any]) -> None:
        async for message in context.messages():
            if isinstance(message, BaseException):
                raise message
            if message == "return":
                return
            context.link(message)

    async with open_system() as system:
        for message, reason in ((ValueError("x"), "failed"), ("return", "still here")):
            one, other = await system.spawn(body), await system.spawn(body)
            await one.ask(other)
            await other.tell(message)
            await wait_all_tasks_blocked()
            if reason == "failed":
                exit_ = await one.monitor()
                assert exit_.reason == "failed"
                assert isinstance(exit_.error.cause, ValueError)  # type: ignore[union-attr]
            else:
                assert system.whereis(one.name) is one
        one, other = await system.spawn(body), await system.spawn(body)
        await one.ask(other)
        await other.stop("upgrade")
        assert (await one.monitor()).reason == "upgrade"
        late = await system.spawn(body)
        await late.tell(other)
        assert (await late.monitor()).reason == "upgrade"


async def test_timers_beat_on_the_clock_and_end_with_the_incarnation(
    autojump_clock: MockClock,
) -> None:
    beats: list[tuple[float, str]] = []

    async def body(context: ActorContext[str]) -> None:
        context.send_every(2, "tick")
        context.send_after(3, "once")
        never = context.send_after(1, "never")
        never.cancel()
        async for message in context.messages():
            beats.append((trio.current_time(), message))
            if message == "fail":
                raise ValueError

    async with open_system() as system:
        ref = await system.spawn(body, restart=Restart.PERMANENT)
        await trio.sleep(5)
        assert beats == [(2, "tick"), (3, "once"), (4, "tick")]
        await ref.tell("fail")
        beats.clear()
        await trio.sleep(4.5)
        assert [message for _, message in beats] == ["fail", "tick", "once", "tick"]


async def test_a_timer_that_finds_the_mailbox_full_makes_a_dead_letter(
    autojump_clock: MockClock,
) -> None:
    async def busy(context: ActorContext[str]) -> None:
        context.send_after(1, "timer")
        await trio.sleep(10)

    async with open_system() as system, system.dead_letters() as letters:
        ref = await system.spawn(busy, mailbox=1)
        await ref.tell("queued")
        await trio.sleep(2)
        assert (await anext(letters)).message == "timer"


async def test_backoff_waits_longer_and_messages_wait_with_it(autojump_clock: MockClock) -> None:
    backoff = Backoff(initial=1, factor=2, jitter=0)
    async with open_system(max_restarts=10, period=100, backoff=backoff) as system:
        ref = await system.spawn(Echo, restart=Restart.PERMANENT)
        for waited in (1, 2, 4):
            began = trio.current_time()
            await ref.tell(ValueError())
            await wait_all_tasks_blocked()
            assert await ref.ask("patience") == "patience"
            assert trio.current_time() - began == pytest.approx(waited)


async def test_dead_letters_name_message_recipient_and_reason() -> None:
    async with open_system() as system, system.dead_letters() as letters:
        ref = await system.spawn(Echo, name="gone")
        await ref.stop()
        with pytest.raises(ActorStopped):
            await ref.tell("late")
        assert await anext(letters) == DeadLetter("late", "gone", "stopped")
