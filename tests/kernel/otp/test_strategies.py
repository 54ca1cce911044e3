"""Erlang/OTP `supervisor_SUITE`: the restart strategies, their limits and their escalation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.kernel import Strategy, Supervisor

from .behaviours import ABNORMAL, CannotStart, Log, Starter, Starts, child, children, slow_to_stop
from .views import (
    LONG,
    counts,
    end,
    escalated,
    exit_of,
    ids,
    is_active,
    is_alive,
    root_cause,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


async def test_multiple_restarts(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A child may crash for ever as long as it stays within its intensity."""
    supervisor = await system.spawn(
        Supervisor(children(log, "child1", shutdown=0), max_restarts=1, period=1.0)
    )
    for starts in (2, 3, 4, 5):
        await end(log, "child1", ABNORMAL)
        assert log.count("child1") == starts
        await trio.sleep(2.1)
    await supervisor.terminate_child("child1")
    await supervisor.delete_child("child1")
    assert await is_alive(supervisor)


async def test_one_for_one(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Only the child that crashed is started again; one crash too many ends the supervisor."""
    supervisor = await system.spawn(
        Supervisor(children(log, "child1", "child2"), max_restarts=2, period=LONG)
    )
    await end(log, "child1", ABNORMAL)
    assert log.starts == ["child1", "child2", "child1"]
    assert log.ends == ["child1"]
    assert await counts(supervisor) == (2, 2, 0, 2)

    await end(log, "child2", ABNORMAL)
    assert log.starts == ["child1", "child2", "child1", "child2"]
    await end(log, "child2", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert len(log.starts) == 4
    assert log.ends == ["child1", "child2", "child2", "child1"]


async def test_one_for_one_escalation(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A child that cannot start again uses the intensity up, then its sibling ends as well.

    The first crash and every failed start count, so with an intensity of four there are four
    attempts, and no spinning.
    """
    starts = Starts(good=1)
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "child1", Starter, starts), child(log, "child2")],
            max_restarts=4,
            period=LONG,
        )
    )
    await end(log, "child1", ABNORMAL)
    exit = await exit_of(supervisor)
    assert escalated(exit)
    assert exit.error is not None
    assert isinstance(root_cause(exit.error), CannotStart)
    assert len(starts.attempts) == 1 + 4
    assert log.ends == ["child1", "child2"]


async def test_one_for_all(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A crash stops the others, latest first, and starts all again in order."""
    supervisor = await system.spawn(
        Supervisor(
            children(log, "child1", "child2"),
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=2,
            period=LONG,
        )
    )
    await end(log, "child1", ABNORMAL)
    assert log.starts == ["child1", "child2"] * 2
    assert log.ends == ["child1", "child2"]
    assert await counts(supervisor) == (2, 2, 0, 2)

    await end(log, "child2", ABNORMAL)
    assert log.starts == ["child1", "child2"] * 3
    await end(log, "child1", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert log.starts == ["child1", "child2"] * 3
    assert len(log.ends) == 6


async def test_one_for_all_escalation(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A sibling that cannot start again uses the intensity up; all end with the supervisor."""
    starts = Starts(good=1)
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "child1"), child(log, "child2", Starter, starts)],
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=4,
            period=LONG,
        )
    )
    await end(log, "child1", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert len(starts.attempts) == 1 + 4
    assert not log.is_running("child1")
    assert not log.is_running("child2")


async def test_one_for_all_other_child_fails_restart(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """When a sibling cannot start, the child started again before it is stopped once more.

    Then both are tried again, in order.
    """
    starts = Starts(bad=frozenset({2}))
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "child1"), child(log, "child2", Starter, starts)],
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=3,
            period=LONG,
        )
    )
    await end(log, "child1", ABNORMAL)
    assert log.starts == ["child1", "child2", "child1", "child1", "child2"]
    assert log.ends == ["child1", "child2", "child1"]
    assert len(starts.attempts) == 3
    assert await counts(supervisor) == (2, 2, 0, 2)


async def test_rest_for_one(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """A crash stops the children started later, latest first, and starts these again."""
    supervisor = await system.spawn(
        Supervisor(
            children(log, "child1", "child2", "child3"),
            strategy=Strategy.REST_FOR_ONE,
            max_restarts=2,
            period=LONG,
        )
    )
    await end(log, "child2", ABNORMAL)
    assert log.ends == ["child2", "child3"]
    assert log.starts == ["child1", "child2", "child3", "child2", "child3"]
    assert await counts(supervisor) == (3, 3, 0, 3)

    await end(log, "child3", ABNORMAL)
    assert log.starts[5:] == ["child3"]
    assert log.ends[2:] == ["child3"]
    await end(log, "child2", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert log.ends[3:] == ["child2", "child3", "child1"]


async def test_rest_for_one_escalation(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """A later child that cannot start again uses the intensity up; all end."""
    starts = Starts(good=1)
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "child1"), child(log, "child2", Starter, starts)],
            strategy=Strategy.REST_FOR_ONE,
            max_restarts=4,
            period=LONG,
        )
    )
    await end(log, "child1", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert len(starts.attempts) == 1 + 4
    assert not log.is_running("child1")


async def test_rest_for_one_other_child_fails_restart(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """When a later child cannot start, only it is tried again; the earlier one runs on."""
    starts = Starts(bad=frozenset({2}))
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "child1"), child(log, "child2", Starter, starts)],
            strategy=Strategy.REST_FOR_ONE,
            max_restarts=3,
            period=LONG,
        )
    )
    await end(log, "child1", ABNORMAL)
    assert log.starts == ["child1", "child2", "child1", "child2"]
    assert log.ends == ["child1", "child2"]
    assert len(starts.attempts) == 3
    assert await counts(supervisor) == (2, 2, 0, 2)


async def test_order_of_children(system: ActorSystem, log: Log, autojump_clock: MockClock) -> None:
    """Children start in the order given and stop in the opposite one, whatever their ids."""
    names = ["ch7", "ch3", "ch10", "ch2", "ch5"]
    supervisor = await system.spawn(
        Supervisor(
            children(log, *names), strategy=Strategy.REST_FOR_ONE, max_restarts=2, period=LONG
        )
    )
    assert log.starts == names
    await end(log, "ch10", ABNORMAL)
    assert log.ends == ["ch10", "ch5", "ch2"]
    assert log.starts[5:] == ["ch10", "ch2", "ch5"]
    assert await ids(supervisor) == names
    await supervisor.stop("shutdown")
    assert log.ends[3:] == names[::-1]


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_child_unlink(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """A child that resists its end does not hang its supervisor.

    Deviation: there are no links to cut; the child sleeps on when it is asked to stop, is
    cancelled after its shutdown time, and the supervisor answers the next call.
    """
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "naughty", slow_to_stop, 1e9, shutdown=1.0), child(log, "good")],
            strategy=strategy,
        )
    )
    with trio.fail_after(1.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.terminate_child, "naughty")
            await wait_all_tasks_blocked()
            assert await ids(supervisor) == ["naughty", "good"]
    assert not await is_active(supervisor, "naughty")
    assert await is_active(supervisor, "good")
