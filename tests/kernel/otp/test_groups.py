"""Beyond Erlang/OTP's suite: what happens to a group while it is being restarted.

Each answer is what OTP 25's `supervisor` gives to the same sequence of events, where it has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.kernel import AutoShutdown, Backoff, Restart, Strategy, Supervisor

from .behaviours import ABNORMAL, NORMAL, Log, Starter, Starts, child, children, slow_to_stop
from .views import LONG, counts, end, escalated, exit_of, ids, is_active, is_alive

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem, SupervisorRef

GROUPS = [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]
ANY = AutoShutdown.ANY_SIGNIFICANT
ALL = AutoShutdown.ALL_SIGNIFICANT


async def test_siblings_that_crash_at_once_are_one_restart_of_their_group(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a", "b"),
            strategy=Strategy.ONE_FOR_ALL,
            max_restarts=1,
            period=LONG,
        )
    )
    log.refs["a"].tell_nowait(ABNORMAL)
    log.refs["b"].tell_nowait(ABNORMAL)
    await wait_all_tasks_blocked()
    assert await counts(supervisor) == (2, 2, 0, 2)


async def halting(
    system: ActorSystem, log: Log, b: Any, strategy: Strategy = Strategy.ONE_FOR_ALL, **options: Any
) -> SupervisorRef:
    """A supervisor of a, b and c, which is stopping c for the sake of a: for five seconds."""
    slow = child(log, "c", slow_to_stop, 5.0, shutdown=10.0)
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "a"), b, slow], strategy=strategy, max_restarts=1, period=LONG, **options
        )
    )
    await end(log, "a", ABNORMAL)
    assert log.ends == ["a"]
    return supervisor


@pytest.mark.parametrize("strategy", GROUPS)
@pytest.mark.parametrize("how", [ABNORMAL, NORMAL, "shutdown"])
async def test_a_sibling_that_ends_before_its_turn_to_be_stopped_is_no_second_restart(
    system: ActorSystem, log: Log, how: str, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """The group is on its way already; it starts once, in order."""
    supervisor = await halting(system, log, child(log, "b"), strategy)
    await end(log, "b", how)
    await trio.sleep(10.0)
    assert log.ends == ["a", "b", "c"]
    assert log.starts[3:] == ["a", "b", "c"]
    assert await counts(supervisor) == (3, 3, 0, 3)


@pytest.mark.parametrize("strategy", GROUPS)
@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_a_significant_sibling_that_ends_well_before_its_turn_comes_back_with_its_group(
    system: ActorSystem,
    log: Log,
    auto_shutdown: AutoShutdown,
    strategy: Strategy,
    autojump_clock: MockClock,
) -> None:
    significant = child(log, "b", restart=Restart.TRANSIENT, significant=True)
    supervisor = await halting(system, log, significant, strategy, auto_shutdown=auto_shutdown)
    await end(log, "b", NORMAL)
    await trio.sleep(10.0)
    assert await counts(supervisor) == (3, 3, 0, 3)


@pytest.mark.parametrize("strategy", GROUPS)
async def test_a_temporary_significant_sibling_that_ends_before_its_turn_is_only_gone(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    significant = child(log, "b", restart=Restart.TEMPORARY, significant=True)
    supervisor = await halting(system, log, significant, strategy, auto_shutdown=ANY)
    await end(log, "b", ABNORMAL)
    await trio.sleep(10.0)
    assert await ids(supervisor) == ["a", "c"]
    assert await counts(supervisor) == (2, 2, 0, 2)


async def test_a_child_terminated_by_hand_while_its_group_is_stopped_stays_down(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """Deviation: OTP answers the call only when the group runs again, and stops it then."""
    supervisor = await halting(system, log, child(log, "b"))
    await supervisor.terminate_child("b")
    await trio.sleep(10.0)
    assert log.starts[3:] == ["a", "c"]
    assert not await is_active(supervisor, "b")


@pytest.mark.parametrize("strategy", GROUPS)
async def test_a_child_restarted_by_hand_while_its_group_is_stopped_holds_nobody_up(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """Whether it is started once more with its group is open; all run in the end."""
    supervisor = await halting(system, log, child(log, "b"), strategy)
    await supervisor.terminate_child("b")
    await supervisor.restart_child("b")
    await trio.sleep(20.0)
    assert await counts(supervisor) == (3, 3, 0, 3)


async def test_a_child_that_was_down_and_is_restarted_while_its_group_is_stopped_holds_nobody_up(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "a"), child(log, "b"), child(log, "c", slow_to_stop, 3.0)],
            strategy=Strategy.ONE_FOR_ALL,
        )
    )
    await supervisor.terminate_child("a")
    await end(log, "b", ABNORMAL)
    await supervisor.restart_child("a")
    await trio.sleep(20.0)
    assert await counts(supervisor) == (3, 3, 0, 3)


async def test_a_child_replaced_by_hand_while_its_group_is_stopped_is_the_new_one(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await halting(system, log, child(log, "b"))
    await supervisor.terminate_child("b")
    await supervisor.delete_child("b")
    await supervisor.start_child(child(log, "b"))
    await trio.sleep(20.0)
    assert await counts(supervisor) == (3, 3, 0, 3)
    assert log.count("a") == log.count("c") == 2


@pytest.mark.parametrize("strategy", GROUPS)
async def test_a_child_restarted_by_hand_the_moment_it_is_down_holds_nobody_up(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """Its group and a caller wait for the same end; each time either may be the first to go on."""

    async def renew(supervisor: SupervisorRef) -> None:
        await supervisor.terminate_child("b")
        await supervisor.restart_child("b")

    for _ in range(16):
        supervisor = await system.spawn(
            Supervisor(
                [child(log, "a"), child(log, "b", slow_to_stop, 2.0), child(log, "c")],
                strategy=strategy,
            )
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(renew, supervisor)
            await wait_all_tasks_blocked()
            await end(log, "a", ABNORMAL)
        await trio.sleep(20.0)
        assert await counts(supervisor) == (3, 3, 0, 3)
        await supervisor.stop()


@pytest.mark.parametrize("joined", [False, True])
async def test_an_elder_terminated_before_its_turn_leaves_nobody_waiting_for_it(
    system: ActorSystem, log: Log, joined: bool, autojump_clock: MockClock
) -> None:
    """rest_for_one: "a" crashes while the group of "c" is stopped, and is then terminated."""
    supervisor = await system.spawn(
        Supervisor(
            [*children(log, "a", "b", "c"), child(log, "d", slow_to_stop, 3.0)],
            strategy=Strategy.REST_FOR_ONE,
            max_restarts=5,
        )
    )
    await end(log, "c", ABNORMAL)
    await end(log, "a", ABNORMAL)
    if joined:
        await end(log, "b", ABNORMAL)
    await supervisor.terminate_child("a")
    await trio.sleep(20.0)
    assert not await is_active(supervisor, "a")
    assert await counts(supervisor) == (4, 3, 0, 4)
    assert log.count("a") == 1
    assert log.count("b") == (2 if joined else 1)


async def test_a_child_deleted_while_its_group_is_stopped_is_gone_for_whoever_asks(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await halting(system, log, child(log, "b", restart=Restart.TRANSIENT))
    await supervisor.terminate_child("b")
    await supervisor.delete_child("b")
    await trio.sleep(10.0)
    assert await ids(supervisor) == ["a", "c"]
    assert log.starts[3:] == ["a", "c"]
    with trio.fail_after(1.0):
        assert (await log.refs["b"].monitor()).reason == "shutdown"


async def test_a_child_that_was_down_and_is_deleted_while_its_group_is_stopped_is_gone(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "a"), child(log, "b"), child(log, "c", slow_to_stop, 3.0)],
            strategy=Strategy.ONE_FOR_ALL,
        )
    )
    await supervisor.terminate_child("a")
    await end(log, "b", ABNORMAL)
    await supervisor.delete_child("a")
    await trio.sleep(10.0)
    assert await ids(supervisor) == ["b", "c"]
    with trio.fail_after(1.0):
        assert (await log.refs["a"].monitor()).reason == "shutdown"


async def test_a_child_added_while_its_group_is_stopped_runs_beside_it(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await halting(system, log, child(log, "b"))
    await supervisor.start_child(child(log, "d"))
    await trio.sleep(10.0)
    assert await ids(supervisor) == ["a", "b", "c", "d"]
    assert await counts(supervisor) == (4, 4, 0, 4)
    log.clear()
    await supervisor.stop("shutdown")
    assert log.ends == ["d", "c", "b", "a"]


async def test_an_elder_crash_is_dealt_with_while_a_later_child_cannot_start(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """rest_for_one: the loop of "c" does not keep "a" and "b" down."""
    starts = Starts(good=0, failing=False, delay=0.5)
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "a"), child(log, "b"), child(log, "c", Starter, starts)],
            strategy=Strategy.REST_FOR_ONE,
            max_restarts=20,
            period=5.0,
        )
    )
    starts.failing = True
    await end(log, "c", ABNORMAL)
    await trio.sleep(0.7)
    assert await counts(supervisor) == (3, 2, 0, 3)
    await end(log, "a", ABNORMAL)
    await trio.sleep(1.5)
    assert log.count("a") == 2
    assert log.count("b") == 2
    assert await counts(supervisor) == (3, 2, 0, 3)
    starts.failing = False
    await trio.sleep(1.0)
    assert await counts(supervisor) == (3, 3, 0, 3)


async def test_an_elder_crash_is_dealt_with_while_later_children_wait(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    """rest_for_one with backoff: the group of "a" takes that of "c" along."""
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a", "b", "c"),
            strategy=Strategy.REST_FOR_ONE,
            max_restarts=20,
            backoff=Backoff(initial=10.0, jitter=0.0),
        )
    )
    await end(log, "c", ABNORMAL)
    await trio.sleep(5.0)
    await end(log, "a", ABNORMAL)
    await trio.sleep(30.0)
    assert await counts(supervisor) == (3, 3, 0, 3)
    assert log.count("a") == log.count("b") == 2


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_crash_while_a_supervisor_starts_is_dealt_with_when_it_has(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """As OTP, which reads the exit after its init; the children come up, then the restart."""

    async def crashes_once(context: Any, log: Log, child_id: str) -> None:
        log.started(child_id, context.self)
        try:
            if log.count(child_id) == 1:
                raise RuntimeError
            async for _ in context.messages():
                pass
        finally:
            log.ended(child_id)

    class Slow(Starter):
        async def started(self) -> None:
            await trio.sleep(2.0)
            await super().started()

    supervisor = await system.spawn(
        Supervisor(
            [
                child(log, "a", crashes_once),
                child(log, "slow", Slow, Starts(failing=False)),
                child(log, "last"),
            ],
            strategy=strategy,
        )
    )
    await trio.sleep(5.0)
    assert log.count("a") == 2
    assert await counts(supervisor) == (3, 3, 0, 3)


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_a_significant_child_that_ends_while_its_supervisor_starts(
    system: ActorSystem, log: Log, auto_shutdown: AutoShutdown, autojump_clock: MockClock
) -> None:
    """It counts when all have started: enough for ANY, not for ALL while the last one runs."""

    async def ends_at_once(context: Any, log: Log, child_id: str) -> None:
        log.started(child_id, context.self)
        log.ended(child_id)

    class Slow(Starter):
        async def started(self) -> None:
            await trio.sleep(2.0)
            await super().started()

    supervisor = await system.spawn(
        Supervisor(
            [
                child(log, "a", ends_at_once, restart=Restart.TRANSIENT, significant=True),
                child(log, "slow", Slow, Starts(failing=False)),
                child(log, "last", restart=Restart.TRANSIENT, significant=True),
            ],
            auto_shutdown=auto_shutdown,
        )
    )
    assert log.count("last") == 1
    if auto_shutdown is ANY:
        assert (await exit_of(supervisor)).reason == "shutdown"
        assert log.ends == ["a", "last", "slow"]
    else:
        assert await is_alive(supervisor)
        await end(log, "last", NORMAL)
        assert (await exit_of(supervisor)).reason == "shutdown"


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_permanent_child_stopped_from_outside_while_it_waits_still_comes_back(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """Only `terminate_child` keeps a permanent child down; OTP has no wait and so no such case."""
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a"),
            strategy=strategy,
            max_restarts=5,
            backoff=Backoff(initial=10.0, jitter=0.0),
        )
    )
    await end(log, "a", ABNORMAL)
    await trio.sleep(5.0)
    await log.refs["a"].stop("shutdown")
    await trio.sleep(30.0)
    assert log.count("a") == 2
    assert await is_active(supervisor, "a")


@pytest.mark.parametrize("strategy", GROUPS)
async def test_terminating_a_child_while_its_group_waits_keeps_only_that_one_down(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a", "b", "c"),
            strategy=strategy,
            max_restarts=5,
            backoff=Backoff(initial=10.0, jitter=0.0),
        )
    )
    await end(log, "a", ABNORMAL)
    await supervisor.terminate_child("b")
    await trio.sleep(30.0)
    assert log.starts[3:] == ["a", "c"]
    assert await counts(supervisor) == (3, 2, 0, 3)


@pytest.mark.parametrize("strategy", GROUPS)
async def test_escalation_in_the_middle_of_a_group_leaves_nothing_running(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """ "b" cannot start any more: what was started before it is stopped, the rest never starts."""
    supervisor = await system.spawn(
        Supervisor(
            [child(log, "a"), child(log, "b", Starter, Starts(good=1)), child(log, "c")],
            strategy=strategy,
            max_restarts=2,
            period=LONG,
        )
    )
    await end(log, "a", ABNORMAL)
    assert escalated(await exit_of(supervisor))
    assert log.count("c") == 1
    assert sorted(log.ends) == sorted(log.starts)
