"""Beyond Erlang/OTP's suite: the edges of restart intensity, and escalation through levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from lexigram_actors.errors import ActorFailed, RestartIntensityExceeded
from lexigram_actors.kernel import (
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Strategy,
    Supervisor,
)

from .behaviours import ABNORMAL, NORMAL, Died, Log, child, children
from .views import LONG, counts, end, escalated, exit_of, ids, is_alive, root_cause

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem


@pytest.mark.parametrize("how", [ABNORMAL, NORMAL, "shutdown"])
async def test_with_max_restarts_zero_the_first_end_of_a_permanent_child_escalates(
    system: ActorSystem, log: Log, how: str, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(Supervisor(children(log, "a", "b"), max_restarts=0))
    await end(log, "a", how)
    assert escalated(await exit_of(supervisor))
    assert log.starts == ["a", "b"]
    assert log.ends == ["a", "b"]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_children_that_need_no_restart_do_not_use_the_intensity_up(
    system: ActorSystem, log: Log, restart: Restart, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(Supervisor(max_restarts=0))
    for number in range(5):
        await supervisor.start_child(child(log, str(number), restart=restart))
        await end(log, str(number), NORMAL)
    assert await is_alive(supervisor)


@pytest.mark.parametrize("max_restarts", [1, 2, 5])
async def test_exactly_max_restarts_within_the_period_are_allowed_and_one_more_is_not(
    system: ActorSystem, log: Log, max_restarts: int, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(children(log, "a"), max_restarts=max_restarts, period=10.0)
    )
    for _ in range(max_restarts):
        await end(log, "a", ABNORMAL)
    assert await counts(supervisor) == (1, 1, 0, 1)
    await trio.sleep(9.9)
    await end(log, "a", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert log.count("a") == 1 + max_restarts


async def test_a_restart_older_than_the_period_is_forgotten(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(Supervisor(children(log, "a"), max_restarts=2, period=10.0))
    await end(log, "a", ABNORMAL)  # at 0
    await trio.sleep(6.0)
    await end(log, "a", ABNORMAL)  # at 6
    await trio.sleep(4.5)
    await end(log, "a", ABNORMAL)  # at 10.5: the first is forgotten
    assert await counts(supervisor) == (1, 1, 0, 1)
    await trio.sleep(5.0)
    await end(log, "a", ABNORMAL)  # at 15.5: those at 6 and 10.5 are not
    assert escalated(await exit_of(supervisor))


async def test_a_restart_exactly_a_period_ago_still_counts(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """As OTP, which drops what is older than the period only."""
    supervisor = await system.spawn(Supervisor(children(log, "a"), max_restarts=1, period=8.0))
    await end(log, "a", ABNORMAL)
    await trio.sleep(8.0)
    await end(log, "a", ABNORMAL)
    assert escalated(await exit_of(supervisor))


async def test_the_restart_of_a_group_counts_once(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a", "b", "c", "d"),
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=2,
            period=LONG,
        )
    )
    await end(log, "a", ABNORMAL)
    await end(log, "d", ABNORMAL)
    assert await counts(supervisor) == (4, 4, 0, 4)


async def test_every_child_uses_the_same_intensity(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(children(log, "a", "b", "c"), max_restarts=2, period=LONG)
    )
    for name in ("a", "b", "c"):
        await end(log, name, ABNORMAL)
    assert escalated(await exit_of(supervisor))


async def test_two_children_that_crash_at_once_count_twice(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(children(log, "a", "b", "c"), max_restarts=1, period=LONG)
    )
    log.refs["a"].tell_nowait(ABNORMAL)
    log.refs["b"].tell_nowait(ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert log.ends[-2] == "c"  # then the one that was started again
    assert sorted(log.ends) == sorted(log.starts)


async def test_what_a_supervisor_fails_with_says_who_how_often_and_why(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(children(log, "a"), max_restarts=0, period=7.5), name="watchman"
    )
    await end(log, "a", ABNORMAL)
    error = (await exit_of(supervisor)).error
    assert isinstance(error, RestartIntensityExceeded)
    assert error.supervisor == "watchman"
    assert (error.max_restarts, error.period) == (0, 7.5)
    assert isinstance(root_cause(error), Died)
    assert "watchman" in str(error)


def three_levels(log: Log, restart: Restart = Restart.PERMANENT) -> Supervisor:
    """Low and middle give up at the first crash, the top at the second."""
    low = Supervisor(children(log, "low1", "low2"), max_restarts=0)
    middle = Supervisor(
        [child(log, "middle1"), ChildSpec("low", low, restart=restart)], max_restarts=0
    )
    return Supervisor(
        [child(log, "top1"), ChildSpec("middle", middle), child(log, "top2")],
        max_restarts=1,
        period=LONG,
    )


async def test_a_crash_escalates_through_three_levels(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """The level that may restart does; what it restarts comes back whole and in order."""
    top = await system.spawn(three_levels(log))
    assert log.starts == ["top1", "middle1", "low1", "low2", "top2"]

    await end(log, "low1", ABNORMAL)
    assert log.ends == ["low1", "low2", "middle1"]
    assert log.starts[5:] == ["middle1", "low1", "low2"]
    assert await is_alive(top)

    await end(log, "low2", ABNORMAL)
    exit = await exit_of(top)
    assert escalated(exit)
    assert log.ends[3:] == ["low2", "low1", "middle1", "top2", "top1"]
    assert len(log.starts) == 8


async def test_the_causes_of_an_escalation_lead_down_to_the_crash(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    low = Supervisor(children(log, "worker"), max_restarts=0)
    middle = Supervisor([ChildSpec("low", low)], max_restarts=0)
    top = await system.spawn(Supervisor([ChildSpec("middle", middle)], max_restarts=0))
    await end(log, "worker", ABNORMAL)
    exit = await exit_of(top)
    assert exit.error is not None
    chain: list[BaseException] = [exit.error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    exceeded = [error for error in chain if isinstance(error, RestartIntensityExceeded)]
    assert len(exceeded) == 3
    assert isinstance(chain[-1], Died)


async def test_an_escalating_transient_supervisor_is_started_again(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Deviation from OTP, where it exits with shutdown and stays down: here it failed."""
    inner = Supervisor(children(log, "a"), max_restarts=0)
    outer = await system.spawn(
        Supervisor([ChildSpec("inner", inner, restart=Restart.TRANSIENT)], max_restarts=1)
    )
    await end(log, "a", ABNORMAL)
    assert log.count("a") == 2
    assert await counts(outer) == (1, 1, 1, 0)


async def test_an_escalating_temporary_supervisor_is_forgotten(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    inner = Supervisor(children(log, "a"), max_restarts=0)
    outer = await system.spawn(
        Supervisor([ChildSpec("inner", inner, restart=Restart.TEMPORARY), child(log, "b")])
    )
    await end(log, "a", ABNORMAL)
    assert await ids(outer) == ["b"]
    assert log.starts == ["a", "b"]


async def test_an_escalating_supervisor_under_the_system_leaves_its_neighbours_alone(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    neighbour = await system.spawn(Supervisor(children(log, "b")))
    supervisor = await system.spawn(Supervisor(children(log, "a"), max_restarts=0))
    await end(log, "a", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert await is_alive(neighbour)
    assert await counts(neighbour) == (1, 1, 0, 1)


async def test_a_started_again_supervisor_has_its_whole_intensity_back(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    inner = Supervisor(children(log, "a"), max_restarts=1, period=LONG)
    await system.spawn(Supervisor([ChildSpec("inner", inner)], max_restarts=5, period=LONG))
    for starts in (2, 3, 4, 5):
        await end(log, "a", ABNORMAL)
        assert log.count("a") == starts


async def test_asks_that_wait_when_a_supervisor_gives_up_are_answered_with_failure(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Nobody waits for ever for an answer of an actor that will not come back."""
    supervisor = await system.spawn(DynamicSupervisor(max_restarts=0))
    await supervisor.start_child(child(log, "a"))
    await log.refs["a"].tell(ABNORMAL)
    with trio.fail_after(1.0), pytest.raises(ActorFailed):
        await log.refs["a"].ask("anything")
    assert escalated(await exit_of(supervisor))
