"""An actor's timers, and the one heap behind them all."""

from __future__ import annotations

from functools import partial
from math import inf, nan
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorSystem,
    Backoff,
    ConfigurationError,
    DeadLetter,
    Restart,
    open_system,
)


class Timed(Actor[Any]):
    """Runs `begin(context)` at its start and notes what comes, with the time."""

    def __init__(self, begin: Any, got: list[Any]) -> None:
        self.begin = begin
        self.got = got

    async def started(self) -> None:
        self.begin(self.context)

    async def receive(self, message: Any) -> None:
        self.got.append((trio.current_time(), message))
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            await message()


async def timed(system: ActorSystem, begin: Any, got: list[Any], **options: Any) -> ActorRef[Any]:
    return await system.spawn(Timed, begin, got, **options)


async def test_timers_of_one_instant_fire_in_the_order_they_were_made(
    autojump_clock: MockClock,
) -> None:
    def begin(context: ActorContext[Any]) -> None:
        for number in range(20):
            context.send_after(1, number)
        context.send_after(0.5, "sooner")

    got: list[Any] = []
    async with open_system() as system:
        await timed(system, begin, got)
        await trio.sleep(2)
    assert [message for _, message in got] == ["sooner", *range(20)]


@pytest.mark.parametrize("delay", [0, 0.0])
async def test_no_delay_at_all_still_comes_by_mail(delay: float, autojump_clock: MockClock) -> None:
    got: list[Any] = []
    async with open_system() as system:
        await timed(system, lambda context: context.send_after(delay, "x"), got)
        await wait_all_tasks_blocked()
        await trio.sleep(0.1)
    assert [message for _, message in got] == ["x"]


@pytest.mark.parametrize("wrong", [-1, nan, "1", None, True])
async def test_what_is_no_duration_is_refused(wrong: Any) -> None:
    caught: list[str] = []

    async def body(context: ActorContext[Any]) -> None:
        for method in (context.send_after, context.send_every):
            try:
                method(wrong, "x")
            except ConfigurationError:
                caught.append(method.__name__)
        with pytest.raises(ConfigurationError):
            context.send_every(0, "x")

    async with open_system() as system:
        assert (await (await system.spawn(body)).monitor()).reason == "normal"
    assert caught == ["send_after", "send_every"]


async def test_a_timer_of_infinite_delay_never_fires(autojump_clock: MockClock) -> None:
    got: list[Any] = []
    async with open_system() as system:
        await timed(system, lambda context: context.send_after(inf, "never"), got)
        await trio.sleep(80_000)
    assert got == []


async def test_a_cancelled_timer_does_not_fire_and_can_be_cancelled_again(
    autojump_clock: MockClock,
) -> None:
    timers: list[Any] = []

    def begin(context: ActorContext[Any]) -> None:
        timers.append(context.send_after(1, "once"))
        timers.append(context.send_every(1, "beat"))
        timers.append(context.send_after(3, "kept"))

    got: list[Any] = []
    async with open_system() as system:
        await timed(system, begin, got)
        assert all(timer.active for timer in timers)
        timers[0].cancel()
        await trio.sleep(2.5)
        for timer in timers[:2]:
            timer.cancel()
            timer.cancel()
        await trio.sleep(5)
        assert not any(timer.active for timer in timers)
    assert got == [(1, "beat"), (2, "beat"), (3, "kept")]


async def test_a_timer_that_stops_another_of_the_same_instant_stops_it(
    autojump_clock: MockClock,
) -> None:
    from lexigram_actors.kernel.timers import TimerService

    fired: list[str] = []

    def make_another() -> None:
        service.call_at(0, lambda: fired.append("made meanwhile"))

    async with trio.open_nursery() as nursery:
        service = TimerService(nursery)
        service.call_at(1, lambda: second.cancel())
        second = service.call_at(1, lambda: fired.append("second"))
        service.call_at(1, make_another)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert fired == ["made meanwhile"]


async def test_a_callback_that_raises_stops_no_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    from lexigram_actors.kernel.timers import TimerService

    fired: list[int] = []

    def fail() -> None:
        raise ValueError("boom")

    async with trio.open_nursery() as nursery:
        service = TimerService(nursery)
        service.call_at(1, fail)
        service.call_at(1, lambda: fired.append(1))
        service.call_at(2, lambda: fired.append(2))
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert fired == [1, 2]
    assert "boom" in caplog.text


async def test_missed_beats_are_skipped_and_the_beat_stays_fixed(
    autojump_clock: MockClock,
) -> None:
    got: list[Any] = []

    def begin(context: ActorContext[Any]) -> None:
        context.send_every(1, "beat")

    async with open_system() as system:
        ref = await timed(system, begin, got, mailbox=1)
        await ref.tell(partial(trio.sleep, 3.5))
        await trio.sleep(6.2)
    beats = [at for at, message in got if message == "beat"]
    assert beats == [3.5, 4, 5, 6]


async def test_a_beat_that_finds_the_mailbox_full_goes_on_beating(
    autojump_clock: MockClock,
) -> None:
    got: list[Any] = []
    async with open_system() as system, system.dead_letters() as letters:
        ref = await timed(system, lambda context: context.send_every(1, "beat"), got, mailbox=1)
        await ref.tell(partial(trio.sleep, 5.5))
        await trio.sleep(8.5)
        assert letters.queued == 4  # type: ignore[attr-defined]
        assert await anext(letters) == DeadLetter("beat", ref.name, (await anext(letters)).reason)
        assert ref.statistics().rejected == 4
    assert [at for at, message in got if message == "beat"] == [5.5, 6, 7, 8]


async def test_a_dead_letter_of_a_timer_says_why_as_any_other(autojump_clock: MockClock) -> None:
    got: list[Any] = []
    async with open_system() as system, system.dead_letters() as letters:
        ref = await timed(system, lambda context: context.send_after(1, "beat"), got, shutdown=50)
        await ref.tell(partial(trio.sleep, 5))
        await wait_all_tasks_blocked()
        await ref.stop("upgrade")
        assert (await anext(letters)).reason == "upgrade"


@pytest.mark.parametrize("backoff", [None, Backoff(initial=5, jitter=0)])
async def test_timers_end_with_their_incarnation(
    backoff: Backoff | None, autojump_clock: MockClock
) -> None:
    got: list[Any] = []

    def begin(context: ActorContext[Any]) -> None:
        context.send_every(2, "beat")
        context.send_after(30, "late")

    async with open_system(max_restarts=9, backoff=backoff) as system:
        ref = await timed(system, begin, got, restart=Restart.PERMANENT)
        await trio.sleep(3)
        await ref.tell(ValueError())
        await trio.sleep(6.5)
        beats = [at for at, message in got if message == "beat"]
        assert beats == ([2, 5, 7, 9] if backoff is None else [2])
        await trio.sleep(22)
        assert "late" not in [message for _, message in got]


async def test_thousands_of_cancelled_timers_do_not_pile_up(autojump_clock: MockClock) -> None:
    def begin(context: ActorContext[Any]) -> None:
        for number in range(20_000):
            context.send_after(1e6, number).cancel()
        assert len(context.system.timers.heap) < 5_000
        assert len(context.timers or ()) < 5_000

    got: list[Any] = []
    async with open_system() as system:
        ref = await timed(system, begin, got)
        await ref.stop()
        assert not [timer for _, _, timer in system.timers.heap if timer.active]


async def test_timers_that_are_over_do_not_pile_up_in_their_actor(
    autojump_clock: MockClock,
) -> None:
    kept: list[int] = []

    def begin(context: ActorContext[Any]) -> None:
        for number in range(5_000):
            context.send_after(1e6, number).cancel()
        kept.append(len(context.timers or ()))

    async with open_system() as system:
        await timed(system, begin, [])
    assert kept[0] < 100


async def test_timers_and_stops_share_a_clock_without_waiting_for_each_other(
    autojump_clock: MockClock,
) -> None:
    got: list[Any] = []
    async with open_system() as system:
        far = await timed(system, lambda context: context.send_after(100, "far"), got)
        near = await timed(system, lambda context: context.send_after(1, "near"), got)
        await trio.sleep(2)
        assert got == [(1, "near")]
        await near.stop()
        await trio.sleep(99)
        assert got == [(1, "near"), (100, "far")]
        assert far.statistics().handled == 1
