"""How a system ends when something is not an ordinary failure, and what comes out of its block."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorFailed,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Supervisor,
    open_system,
)
from tests.kernel.behaviours import Echo, Noting, Parting, deaf, forever, reader

Interrupt = Callable[[ActorSystem], Awaitable[Any]]


class Fatal(BaseException):
    """Neither a failure nor a cancellation."""


async def raise_in_receive(system: ActorSystem) -> None:
    ref = await system.spawn(Echo, restart=Restart.PERMANENT)
    await ref.tell(Fatal())


async def raise_in_function(system: ActorSystem) -> None:
    ref = await system.spawn(reader)
    await ref.tell(Fatal())


async def raise_in_nursery(system: ActorSystem) -> None:
    async def body(context: ActorContext[Any]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise Fatal

    await system.spawn(body)


async def raise_in_started(system: ActorSystem) -> None:
    class Starts(Echo):
        async def started(self) -> None:
            raise Fatal

    await system.spawn(Starts)


async def raise_in_stopping(system: ActorSystem) -> None:
    class Stops(Echo):
        async def stopping(self, reason: str) -> None:
            raise Fatal

    await (await system.spawn(Stops, restart=Restart.PERMANENT)).stop()


async def raise_in_init_of_a_restart(system: ActorSystem) -> None:
    class Once(Echo):
        starts = 0

        def __init__(self) -> None:
            Once.starts += 1
            if Once.starts == 2:
                raise Fatal

    await (await system.spawn(Once, restart=Restart.PERMANENT)).tell(ValueError())


async def raise_in_child_of_an_actor(system: ActorSystem) -> None:
    async def parent(context: ActorContext[Any]) -> None:
        await (await context.spawn(Echo)).tell(Fatal())
        await trio.sleep_forever()

    await system.spawn(parent)


async def raise_under_a_supervisor(system: ActorSystem) -> None:
    await system.spawn(Supervisor([ChildSpec("r", reader)]), name="inner")
    ref = system.whereis("inner/r")
    assert ref is not None
    await ref.tell(Fatal())


WAYS: list[Interrupt] = [
    raise_in_receive,
    raise_in_function,
    raise_in_nursery,
    raise_in_started,
    raise_in_stopping,
    raise_in_init_of_a_restart,
    raise_in_child_of_an_actor,
    raise_under_a_supervisor,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_what_is_no_failure_ends_the_system_and_comes_out_ungrouped(way: Interrupt) -> None:
    notes: list[str] = []
    with pytest.raises(Fatal):
        async with open_system() as system:
            await system.spawn(Parting, notes, "idle")
            await system.spawn(Noting, notes, "waiting")
            await system.spawn(
                Supervisor(
                    [ChildSpec("a", Parting, args=(notes, "child")), ChildSpec("b", reader)],
                    strategy=Strategy.ONE_FOR_ALL,
                )
            )
            await way(system)
            await trio.sleep_forever()
    assert sorted(note.split()[0] for note in notes) == ["child", "idle", "waiting", "waiting"]
    assert system.tree().children == ()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_whoever_waits_for_an_actor_from_outside_is_told_when_the_system_breaks(
    way: Interrupt,
) -> None:
    told: list[type] = []

    async def ask(ref: Any, message: Any) -> None:
        try:
            await ref.ask(message)
        except (ActorFailed, ActorStopped) as exc:
            told.append(type(exc))

    async def tell(ref: Any) -> None:
        try:
            await ref.tell("no room")
        except ActorStopped as exc:
            told.append(type(exc))

    async def monitor(ref: Any) -> None:
        await ref.monitor()
        told.append(type(None))

    async with trio.open_nursery() as outside:
        with pytest.raises(Fatal):
            async with open_system() as system:
                stuck = await system.spawn(Echo, mailbox=1)
                supervisor = await system.spawn(Supervisor([ChildSpec("b", reader)]))
                outside.start_soon(ask, stuck, forever)
                await wait_all_tasks_blocked()
                outside.start_soon(ask, stuck, "queued")
                await wait_all_tasks_blocked()
                for waiter in (tell, monitor):
                    outside.start_soon(waiter, stuck)
                outside.start_soon(monitor, supervisor)
                await wait_all_tasks_blocked()
                await way(system)
                await trio.sleep_forever()
        await wait_all_tasks_blocked()
        assert len(told) == 5


async def test_an_actor_that_raises_besides_its_cancellation_has_failed_with_that(
    autojump_clock: MockClock,
) -> None:
    async def body(context: ActorContext[Any]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in the clean-up")

    async with open_system() as system:
        ref = await system.spawn(body)
        await wait_all_tasks_blocked()
        await ref.stop(grace=0)
        exit_ = await ref.monitor()
        assert exit_.reason == "failed"
        assert isinstance(exit_.error, ValueError)
        other = await system.spawn(Echo)
        assert await other.ask(1) == 1


async def test_several_errors_of_one_actor_stay_a_group() -> None:
    async def body(context: ActorContext[Any]) -> None:
        raise ExceptionGroup("both", [ValueError(), KeyError()])

    async with open_system() as system:
        ref = await system.spawn(body)
        exit_ = await ref.monitor()
        assert isinstance(exit_.error, ExceptionGroup)
        assert len(exit_.error.exceptions) == 2


# --- what comes out of the block


async def test_the_blocks_exception_keeps_its_context_and_its_cause() -> None:
    with pytest.raises(ValueError, match="second") as caught:
        async with open_system():
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")  # noqa: B904 - the context is the point
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__

    with pytest.raises(ValueError, match="second") as caught:
        async with open_system():
            raise ValueError("second") from OSError("cause")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("errors", [1, 2])
async def test_a_group_that_the_block_raised_comes_out_itself(errors: int) -> None:
    group = ExceptionGroup("mine", [ValueError(number) for number in range(errors)])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_system() as system:
            await system.spawn(deaf)
            raise group
    assert caught.value is group


@pytest.mark.parametrize("kind", [ValueError, StopAsyncIteration, KeyboardInterrupt, Fatal])
async def test_an_exception_raised_while_the_block_is_cancelled_is_not_grouped(
    kind: type[BaseException],
) -> None:
    error = kind()
    caught: list[BaseException] = []
    with trio.CancelScope() as scope:
        try:
            async with open_system() as system:
                await system.spawn(deaf)
                scope.cancel()
                raise error
        except BaseException as exc:
            caught.append(exc)
    assert caught == [error]


def test_a_block_that_raises_stop_iteration_is_handled_like_any_other() -> None:
    error = StopIteration("from next()")

    async def main() -> None:
        try:
            async with open_system():
                raise error
        except StopIteration as exc:
            assert exc is error
            return
        raise AssertionError("it was lost")

    trio.run(main)


async def test_what_is_no_failure_is_not_lost_when_the_system_is_cancelled_as_it_closes(
    autojump_clock: MockClock,
) -> None:
    class Tidies(Echo):
        async def stopping(self, reason: str) -> None:
            await trio.sleep(0.9)

    with trio.move_on_after(0.5), pytest.raises(Fatal):
        async with open_system() as system:
            await system.spawn(Tidies)
            await raise_in_function(system)
            await trio.sleep_forever()


async def test_an_intensity_exceeded_in_a_block_that_then_raises_is_not_lost_unseen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        try:
            async with open_system(max_restarts=0) as system:
                ref = await system.spawn(Echo, restart=Restart.PERMANENT)
                await ref.tell(ValueError())
                try:
                    await trio.sleep_forever()
                finally:
                    raise LookupError("in the block's clean-up")
        except (LookupError, ExceptionGroup) as exc:
            seen = [repr(exc), repr(exc.__context__), repr(exc.__cause__), caplog.text]
    assert any("RestartIntensityExceeded" in text or "gave up" in text for text in seen)


async def test_a_failed_system_refuses_what_comes_later() -> None:
    with pytest.raises(RestartIntensityExceeded):
        async with open_system(max_restarts=0) as system:
            ref = await system.spawn(Echo, restart=Restart.PERMANENT)
            await ref.tell(ValueError())
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                with pytest.raises(ActorStopped):
                    await system.spawn(Echo)
                with pytest.raises(ActorStopped):
                    await ref.ask(1)


async def test_a_system_that_has_ended_answers_politely() -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo, name="echo")
        supervisor = await system.spawn(Supervisor([]))
    with pytest.raises(ActorStopped):
        await system.spawn(Echo)
    for call in (ref.tell, ref.ask):
        with pytest.raises(ActorStopped):
            await call(1)
    with pytest.raises(ActorStopped):
        ref.tell_nowait(1)
    with pytest.raises(ActorStopped):
        await supervisor.start_child(ChildSpec("x", Echo))
    await ref.stop()
    assert (await ref.monitor()).reason == "shutdown"
    assert system.whereis("echo") is None
    assert system.tree().children == ()


# --- the block is cancelled, with actors in every state


async def all_states(system: ActorSystem, notes: list[str]) -> None:
    """An actor in each state there is, each with a goodbye to note."""

    class Starting(Noting):
        async def started(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.notes.append(f"{self.name} start cancelled")

    class Ending(Noting):
        async def stopping(self, reason: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.notes.append(f"{self.name} goodbye cut off")

    async def spawn_slowly(context: ActorContext[Any]) -> None:
        await context.spawn(Starting, notes, "starting", name="x")

    await system.spawn(Parting, notes, "idle")
    await system.spawn(Noting, notes, "waiting")
    busy = await system.spawn(Noting, notes, "busy")
    await busy.tell(forever)
    await system.spawn(spawn_slowly)
    ending = await system.spawn(Ending, notes, "ending", shutdown=50)
    with trio.move_on_after(1):
        await ending.stop()
    draining = await system.spawn(Noting, notes, "draining", shutdown=50)
    await draining.tell(forever)
    with trio.move_on_after(1):
        await draining.stop()


@pytest.mark.parametrize("how", ["cancelled", "raises", "ends"])
async def test_a_block_ends_whatever_its_actors_are_doing(
    how: str, autojump_clock: MockClock
) -> None:
    notes: list[str] = []
    with trio.CancelScope() as scope:
        try:
            async with open_system(grace=4) as system:
                await all_states(system, notes)
                began = trio.current_time()
                if how == "cancelled":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                if how == "raises":
                    raise LookupError
        except LookupError:
            pass
    took = trio.current_time() - began
    assert took <= (4 if how == "ends" else 0) + 3, "one clean-up second for each that needs it"
    ends = [note for note in notes if not note.endswith("started")]
    assert sorted(ends) == sorted(
        [
            "idle shutdown",
            "waiting shutdown",
            "busy shutdown",
            "starting start cancelled",
            "ending goodbye cut off",
            "draining stopped",
        ]
    )


async def test_a_cancelled_system_cuts_off_a_goodbye_without_a_deadline(
    autojump_clock: MockClock,
) -> None:
    class Endless(Echo):
        async def stopping(self, reason: str) -> None:
            await trio.sleep(10_000)

    with trio.move_on_after(3):
        async with open_system(grace=float("inf")) as system:
            await system.spawn(Endless, shutdown=float("inf"))
    assert trio.current_time() <= 3 + 1


async def test_a_failed_parent_is_hastened_when_the_system_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    async def parent(context: ActorContext[Any], other: Any) -> None:
        context.link(other)
        await context.spawn(deaf, shutdown=50)
        await trio.sleep_forever()

    with trio.move_on_after(3):
        async with open_system(grace=100) as system:
            other = await system.spawn(Echo)
            await system.spawn(parent, other)
            await wait_all_tasks_blocked()
            await other.tell(ValueError())
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(3)


async def test_shutdown_zero_cancels_a_supervisors_whole_subtree_also_as_the_system_ends(
    autojump_clock: MockClock,
) -> None:
    async with open_system(grace=20) as system:
        inner = ChildSpec("inner", Supervisor([ChildSpec("a", deaf, shutdown=9)]))
        await system.spawn(Supervisor([inner]), shutdown=0)
    assert trio.current_time() == 0


async def test_a_system_whose_actor_shields_itself_waits_for_it(autojump_clock: MockClock) -> None:
    async def shielded(context: ActorContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    with trio.move_on_after(1):
        async with open_system(grace=2) as system:
            await system.spawn(shielded)
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(30)


async def test_an_actor_may_open_a_system_of_its_own(autojump_clock: MockClock) -> None:
    notes: list[str] = []

    async def owner(context: ActorContext[Any]) -> None:
        async with open_system("inner") as inner:
            await inner.spawn(Noting, notes, "inside")
            async for message in context.messages():
                context.reply(inner.name + message)

    async with open_system() as system:
        ref = await system.spawn(owner)
        assert await ref.ask("!") == "inner!"
    assert notes == ["inside started", "inside shutdown"]


async def test_an_inner_systems_end_leaves_the_outer_one_alone() -> None:
    async with open_system("outer") as outer:
        ref = await outer.spawn(Echo)
        with pytest.raises(Fatal):
            async with open_system("inner") as inner:
                broken = await inner.spawn(Echo)
                await broken.tell(Fatal())
                await trio.sleep_forever()
        assert await ref.ask("still here") == "still here"


def test_an_actor_that_outlives_nothing_is_no_task_of_the_next_run() -> None:
    refs: list[Any] = []

    async def first() -> None:
        async with open_system() as system:
            refs.append(await system.spawn(Actor_of_two_runs))

    async def second() -> None:
        with pytest.raises(ActorStopped):
            await refs[0].ask(1)

    trio.run(first)
    trio.run(second)


class Actor_of_two_runs(Actor[int]):
    async def receive(self, message: int) -> int:
        return message
