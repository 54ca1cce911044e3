"""Starting, failing and stopping one actor."""

from __future__ import annotations

import contextvars
import gc
import logging
import weakref
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorError,
    ActorFailed,
    ActorNameTaken,
    ActorRestarted,
    ActorStopped,
    ActorUnresponsive,
    AskTimeout,
    ConfigurationError,
    Exit,
    Restart,
    open_system,
)


class Echo(Actor[Any]):
    async def receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return await message(self)
        return message


class Noting(Echo):
    """Writes down its hooks."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    async def started(self) -> None:
        self.notes.append("started")

    async def stopping(self, reason: str) -> None:
        self.notes.append(f"stopping: {reason}")


async def test_a_crash_answers_the_ask_in_hand_and_the_next_one_after_the_restart() -> None:
    async with open_system(max_restarts=3) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Echo, restart=Restart.PERMANENT)
        answers: list[Any] = []

        async def ask(message: Any) -> None:
            try:
                answers.append(await ref.ask(message))
            except ActorFailed as exc:
                answers.append(repr(exc.__cause__))

        nursery.start_soon(ask, ValueError("boom"))
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, "after")
        await wait_all_tasks_blocked()
        assert answers == ["ValueError('boom')", "after"]


async def test_without_a_restart_queued_asks_fail_with_the_crash() -> None:
    gate = trio.Event()

    async def wait_then_fail(_: Echo) -> None:
        await gate.wait()
        raise KeyError("lost")

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Echo)
        failures: list[BaseException | None] = []

        async def ask(message: Any) -> None:
            with pytest.raises(ActorFailed) as caught:
                await ref.ask(message)
            failures.append(caught.value.__cause__)

        nursery.start_soon(ask, wait_then_fail)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, "queued")
        await wait_all_tasks_blocked()
        gate.set()
        await wait_all_tasks_blocked()
        assert [type(failure) for failure in failures] == [KeyError, KeyError]


async def test_an_ask_times_out_and_its_answer_is_thrown_away(autojump_clock: MockClock) -> None:
    async def slow(_: Echo) -> str:
        await trio.sleep(10)
        return "late"

    async with open_system() as system:
        ref = await system.spawn(Echo)
        with pytest.raises(AskTimeout) as caught:
            await ref.ask(slow, timeout=1)
        assert isinstance(caught.value, TimeoutError)
        assert await ref.ask("next", timeout=20) == "next"


async def test_an_actor_that_asks_itself_is_told_so() -> None:
    async def ask_self(actor: Echo) -> None:
        await actor.context.self.ask("me")

    async with open_system() as system:
        ref = await system.spawn(Echo)
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(ask_self)
        assert type(caught.value.__cause__) is ActorError


async def test_a_function_actor_answers_by_reply_and_none_otherwise() -> None:
    async def odd_only(context: ActorContext[int]) -> None:
        async for message in context.messages():
            if message % 2:
                context.reply(message)
                context.reply("a second answer does not count")

    async with open_system() as system:
        ref = await system.spawn(odd_only)
        assert [await ref.ask(number) for number in range(4)] == [None, 1, None, 3]


@pytest.mark.parametrize("where", ["__init__", "started"])
async def test_a_start_that_fails_raises_from_spawn_and_leaves_nothing(where: str) -> None:
    class Broken(Echo):
        def __init__(self) -> None:
            if where == "__init__":
                raise OSError("no socket")

        async def started(self) -> None:
            await trio.lowlevel.checkpoint()
            raise OSError("no socket")

    async with open_system() as system:
        with pytest.raises(ActorFailed) as caught:
            await system.spawn(Broken, name="broken", restart=Restart.PERMANENT)
        assert isinstance(caught.value.__cause__, OSError)
        assert system.tree().children == ()
        await system.spawn(Echo, name="broken")  # the name is free


async def test_a_spawn_cancelled_in_started_leaves_nothing(autojump_clock: MockClock) -> None:
    ended: list[str] = []

    class Slow(Echo):
        async def started(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append("cancelled")

    async with open_system() as system:
        for restart in Restart:
            with trio.move_on_after(1) as scope:
                await system.spawn(Slow, name="slow", restart=restart)
            assert scope.cancelled_caught
            assert system.tree().children == ()
    assert ended == ["cancelled"] * 3


async def test_stopping_runs_after_the_last_message_with_the_reason() -> None:
    notes: list[str] = []
    async with open_system() as system:
        ref = await system.spawn(Noting, notes)
        await ref.tell("x")
        await ref.stop("upgrade")
        assert await ref.monitor() == Exit("Noting-1", "upgrade")
    assert notes == ["started", "stopping: upgrade"]


async def test_a_stop_drains_the_mailbox_within_its_grace(autojump_clock: MockClock) -> None:
    handled: list[int] = []

    class Slow(Actor[int]):
        async def receive(self, message: int) -> None:
            await trio.sleep(1)
            handled.append(message)

    async with open_system() as system:
        ref = await system.spawn(Slow)
        for number in range(10):
            await ref.tell(number)
        began = trio.current_time()
        await ref.stop(grace=3.5)
        assert trio.current_time() - began == pytest.approx(3.5)
    assert handled == [0, 1, 2]


async def test_a_second_stop_can_only_shorten_the_grace(autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Echo)

        async def forever(_: Echo) -> None:
            await trio.sleep_forever()

        await ref.tell(forever)
        nursery.start_soon(ref.stop, "slowly", 100.0)
        await wait_all_tasks_blocked(0.1)
        await ref.stop("now", grace=1.0)
        assert trio.current_time() < 3
        assert (await ref.monitor()).reason == "slowly"


async def test_a_stop_goes_on_when_who_waits_for_it_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    async def forever(_: Echo) -> None:
        await trio.sleep_forever()

    async with open_system() as system:
        ref = await system.spawn(Echo)
        await ref.tell(forever)
        with trio.move_on_after(1):
            await ref.stop(grace=5)
        assert (await ref.monitor()).reason == "stopped"
        assert trio.current_time() == pytest.approx(5)


async def test_an_actor_may_stop_itself() -> None:
    async def leave(actor: Echo) -> str:
        await actor.context.self.stop("had enough")
        return "answered all the same"

    async with open_system() as system:
        ref = await system.spawn(Echo)
        assert await ref.ask(leave) == "answered all the same"
        assert (await ref.monitor()).reason == "had enough"


async def test_an_actor_that_shields_itself_is_reported_with_its_stack_and_waited_for(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def hide_behind_a_shield(_: Echo) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    async with open_system() as system, system.events.subscribe(ActorUnresponsive) as reports:
        ref = await system.spawn(Echo, name="shielded")
        await ref.tell(hide_behind_a_shield)
        await wait_all_tasks_blocked()
        await ref.stop(grace=2)
        assert trio.current_time() >= 30
        report = await anext(reports)
        assert report.actor == "shielded"
        assert "hide_behind_a_shield" in report.stack
    assert "hide_behind_a_shield" in caplog.text


async def test_stopping_is_cut_off_at_its_deadline(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Clinging(Echo):
        async def stopping(self, reason: str) -> None:
            await trio.sleep_forever()

    async with open_system() as system:
        ref = await system.spawn(Clinging)
        await ref.stop(grace=2)
        assert trio.current_time() == pytest.approx(2)
    assert "cut off" in caplog.text


async def test_stopping_that_raises_makes_the_exit_a_failure() -> None:
    class Untidy(Echo):
        async def stopping(self, reason: str) -> None:
            raise OSError("cannot close")

    async with open_system() as system:
        ref = await system.spawn(Untidy)
        await ref.stop()
        exit_ = await ref.monitor()
        assert (exit_.reason, type(exit_.error)) == ("failed", OSError)


async def test_children_end_before_their_parent_the_last_started_first() -> None:
    notes: list[str] = []

    class Child(Echo):
        def __init__(self, name: str) -> None:
            self.name = name

        async def stopping(self, reason: str) -> None:
            notes.append(f"{self.name}: {reason}")

    async def parent(context: ActorContext[str]) -> None:
        for name in ("first", "second"):
            await context.spawn(Child, name, name=name)
        async for _ in context.messages():
            pass
        notes.append("parent's own end")

    async with open_system() as system:
        ref = await system.spawn(parent, name="parent")
        await wait_all_tasks_blocked()
        assert system.whereis("parent/first") is not None
        await ref.stop()
        assert system.whereis("parent/first") is None
    assert notes == ["parent's own end", "second: shutdown", "first: shutdown"]


async def test_a_permanent_actor_that_is_stopped_comes_back_and_terminate_child_ends_it() -> None:
    async with open_system() as system, system.events.subscribe(ActorRestarted) as restarts:
        ref = await system.spawn(Echo, name="permanent", restart=Restart.PERMANENT)
        await ref.stop()
        assert (await anext(restarts)).restarts == 1
        assert await ref.ask("back") == "back"
        await system.terminate_child("permanent")
        with pytest.raises(ActorStopped):
            await ref.ask("gone")


async def test_names_are_unique_in_a_system() -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo, name="one")
        with pytest.raises(ActorNameTaken):
            await system.spawn(Echo, name="one")
        assert system.whereis("one") is ref
        await ref.stop()
        await system.spawn(Echo, name="one")


@pytest.mark.parametrize("behaviour", [None, 7, "Echo", int, lambda context: None])
async def test_what_cannot_run_as_an_actor_is_refused(behaviour: Any) -> None:
    async with open_system() as system:
        with pytest.raises(ConfigurationError, match=r"behaviour is|is async"):
            await system.spawn(behaviour)


async def test_the_spawners_context_variables_reach_every_incarnation() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def read(_: Echo) -> str:
        return variable.get()

    async with open_system() as system:
        variable.set("the spawner's")
        ref = await system.spawn(Echo, restart=Restart.PERMANENT)
        variable.set("the asker's")
        assert await ref.ask(read) == "the spawner's"
        with pytest.raises(ActorFailed):
            await ref.ask(ValueError())
        assert await ref.ask(read) == "the spawner's"


async def test_one_error_in_a_group_is_the_error_itself() -> None:
    async def fails_in_a_nursery(_: Echo) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise LookupError("deep")

    async with open_system() as system:
        ref = await system.spawn(Echo)
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(fails_in_a_nursery)
        assert type(caught.value.__cause__) is LookupError


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_failure_ends_the_system_and_comes_out_as_it_is(
    kind: type[BaseException],
) -> None:
    notes: list[str] = []

    async def main() -> None:
        async with open_system() as system:
            await system.spawn(Noting, notes)
            ref = await system.spawn(Echo, restart=Restart.PERMANENT)
            await ref.tell(kind())
            await trio.sleep_forever()

    with pytest.raises(kind):
        trio.run(main)
    assert notes[0] == "started"
    assert len(notes) == 2


async def test_a_stopped_actor_is_freed() -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo)
        await ref.ask("x")
        await ref.stop()
        cell = weakref.ref(ref.cell) if hasattr(ref.cell, "__weakref__") else None
        seen = weakref.ref(ref) if hasattr(ref, "__weakref__") else None
        del ref
        gc.collect()
        assert cell is None or cell() is None
        assert seen is None or seen() is None
        assert not system.registry.cells


async def test_a_crash_is_logged_once_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_system() as system:
        ref = await system.spawn(Echo, name="unlucky")
        with caplog.at_level(logging.ERROR), pytest.raises(ActorFailed):
            await ref.ask(ValueError("boom"))
    (record,) = caplog.records
    assert "unlucky" in record.getMessage()
    assert record.exc_info is not None
