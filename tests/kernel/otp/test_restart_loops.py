"""Erlang/OTP `supervisor_SUITE`: calls while a child cannot start again, over and over.

A start that fails takes two seconds there and here, so eight restarts in ten seconds are never
exceeded and the loop has no end of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from lexigram_actors.kernel import DynamicSupervisor, Strategy, Supervisor, open_system

from .behaviours import ABNORMAL, Log, Starter, Starts, child
from .views import counts, end, exit_of, ids, is_active, refuses

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def crash_into_loop(log: Log, child_id: str, starts: Starts) -> None:
    """Crash a child that then cannot start; return while it is trying."""
    starts.failing = True
    await end(log, child_id, ABNORMAL)
    await trio.sleep(3.0)


async def stop_at_once(supervisor: Any) -> None:
    """Stopping waits at most for the start that is being tried."""
    with trio.fail_after(2.0):
        await supervisor.stop("shutdown")
    assert (await exit_of(supervisor)).reason == "shutdown"


async def test_hanging_restart_loop(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child that keeps failing to start can be terminated, and its supervisor stopped.

    Until then it is "restarting": neither restarted nor deleted by hand.
    """
    starts = Starts(good=0, failing=False, delay=2.0)
    spec = child(log, "child1", Starter, starts, shutdown=0)
    supervisor = await system.spawn(Supervisor(max_restarts=8, period=10.0))
    await supervisor.start_child(spec)

    await crash_into_loop(log, "child1", starts)
    with refuses("already_present", "child1"):
        await supervisor.start_child(spec)
    with refuses("restarting", "child1"):
        await supervisor.restart_child("child1")
    with refuses("restarting", "child1"):
        await supervisor.delete_child("child1")
    assert not await is_active(supervisor, "child1")
    assert await counts(supervisor) == (1, 0, 0, 1)

    await supervisor.terminate_child("child1")
    assert not await is_active(supervisor, "child1")
    attempts = len(starts.attempts)
    await trio.sleep(10.0)
    assert len(starts.attempts) == attempts

    starts.failing = False
    await supervisor.restart_child("child1")
    assert await is_active(supervisor, "child1")
    await crash_into_loop(log, "child1", starts)
    await stop_at_once(supervisor)


async def test_hanging_restart_loop_rest_for_one(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The same under rest_for_one: the earlier child runs, the later one waits its turn."""
    starts = Starts(good=0, failing=False, delay=2.0)
    looping = child(log, "child2", Starter, starts, shutdown=0)
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "child1", shutdown=0), looping, child(log, "child3", shutdown=0)],
            strategy=Strategy.REST_FOR_ONE,
            max_restarts=8,
            period=10.0,
        )
    )
    await crash_into_loop(log, "child2", starts)
    with refuses("already_present", "child2"):
        await supervisor.start_child(looping)
    with refuses("restarting", "child2"):
        await supervisor.restart_child("child2")
    with refuses("restarting", "child2"):
        await supervisor.delete_child("child2")
    assert await is_active(supervisor, "child1")
    assert not await is_active(supervisor, "child2")
    assert not await is_active(supervisor, "child3")
    assert await counts(supervisor) == (3, 1, 0, 3)

    await supervisor.terminate_child("child2")
    assert await is_active(supervisor, "child1")
    assert not await is_active(supervisor, "child2")
    assert not await is_active(supervisor, "child3")

    starts.failing = False
    await supervisor.restart_child("child2")
    assert await is_active(supervisor, "child2")
    assert not await is_active(supervisor, "child3")
    await crash_into_loop(log, "child2", starts)
    await stop_at_once(supervisor)
    assert not log.is_running("child1")


async def test_hanging_restart_loop_simple(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The same in a dynamic supervisor, where a terminated child is forgotten.

    Deviation: restarting or deleting by hand is refused as "restarting", not for its kind.
    """
    starts = Starts(good=0, failing=False, delay=2.0)
    spec = child(log, "child1", Starter, starts, shutdown=0)
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=8, period=10.0))
    await supervisor.start_child(spec)

    await crash_into_loop(log, "child1", starts)
    with refuses("restarting", "child1"):
        await supervisor.restart_child("child1")
    with refuses("restarting", "child1"):
        await supervisor.delete_child("child1")
    assert not await is_active(supervisor, "child1")
    assert await counts(supervisor) == (1, 0, 0, 1)

    await supervisor.terminate_child("child1")
    assert await ids(supervisor) == []
    starts.failing = False
    await supervisor.start_child(spec)
    await crash_into_loop(log, "child1", starts)
    await stop_at_once(supervisor)


async def test_count_restarting_children(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Children that are being started again count as workers, not as active."""
    starts = {name: Starts(good=0, failing=False, delay=2.0) for name in ("a", "b", "c")}
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=20, period=10.0))
    for number, name in enumerate(starts, start=1):
        await supervisor.start_child(child(log, name, Starter, starts[name], shutdown=0))
        assert await counts(supervisor) == (number, number, 0, number)
    for name in starts:
        await end(log, name, ABNORMAL)
    assert await counts(supervisor) == (3, 3, 0, 3)

    for name in ("a", "b"):
        starts[name].failing = True
        await end(log, name, ABNORMAL)
    await trio.sleep(5.0)
    assert await counts(supervisor) == (3, 1, 0, 3)

    for name in ("a", "b"):
        starts[name].failing = False
    await trio.sleep(5.0)
    assert await counts(supervisor) == (3, 3, 0, 3)

    for left, name in ((2, "c"), (1, "a"), (0, "b")):
        await supervisor.terminate_child(name)
        assert await counts(supervisor) == (left, left, 0, left)


@pytest.mark.parametrize("when", [0.5, 2.0, 3.5])
async def test_hanging_restart_loop_cancelled(log: Log, autojump_clock: Any, when: float) -> None:
    """Cancelling the whole system ends the loop at once, wherever it is.

    Not in OTP, which has no cancellation.
    """
    starts = Starts(good=1, delay=2.0)
    with trio.move_on_after(when) as scope:
        async with open_system() as system:
            await system.spawn(
                Supervisor(
                    [child(log, "other"), child(log, "child1", Starter, starts)],
                    max_restarts=8,
                    period=10.0,
                )
            )
            await log.refs["child1"].tell(ABNORMAL)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == scope.deadline
    assert not log.is_running("other")
