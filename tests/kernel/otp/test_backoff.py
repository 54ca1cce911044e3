"""Beyond Erlang/OTP, which restarts at once: restarts that wait longer and longer."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.kernel import (
    ActorContext,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Strategy,
    Supervisor,
)

from .behaviours import ABNORMAL, Died, Log, Starter, Starts, child, children
from .views import counts, end, escalated, exit_of, ids, is_active, is_alive, refuses

if TYPE_CHECKING:
    from trio.testing import MockClock

    from lexigram_actors.kernel import ActorSystem

DOUBLING = Backoff(initial=1.0, factor=2.0, maximum=8.0, jitter=0.0, reset_after=60.0)
MANY = 1000


def gaps(times: list[float]) -> list[float]:
    """Seconds between one time and the next."""
    return [round(later - earlier, 6) for earlier, later in pairwise(times)]


async def crashes_at_once(context: ActorContext[Any], times: list[float]) -> None:
    """Notes when it was started, and fails."""
    times.append(trio.current_time())
    raise Died


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
async def test_restarts_in_a_row_wait_longer_up_to_the_maximum(
    system: ActorSystem, kind: Any, autojump_clock: MockClock
) -> None:
    times: list[float] = []
    supervisor = await system.spawn(kind(max_restarts=MANY, backoff=DOUBLING))
    await supervisor.start_child(ChildSpec("a", crashes_at_once, args=(times,)))
    await trio.sleep(32.0)
    assert gaps(times) == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


async def test_starts_that_fail_wait_longer_too(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    starts = Starts(good=1)
    supervisor = await system.spawn(
        Supervisor([child(log, "a", Starter, starts)], max_restarts=MANY, backoff=DOUBLING)
    )
    await end(log, "a", ABNORMAL)
    await trio.sleep(16.0)
    assert gaps(starts.attempts) == [1.0, 2.0, 4.0, 8.0]
    starts.failing = False
    await trio.sleep(8.0)
    assert await is_active(supervisor, "a")


async def test_jitter_adds_at_most_its_share(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    times: list[float] = []
    jittery = Backoff(initial=10.0, factor=1.0, jitter=0.5)
    await system.spawn(
        Supervisor(
            [ChildSpec("a", crashes_at_once, args=(times,))], max_restarts=MANY, backoff=jittery
        )
    )
    await trio.sleep(1000.0)
    assert len(times) > 50
    assert all(10.0 <= gap <= 15.0 for gap in gaps(times))
    assert len(set(gaps(times))) > 10


async def test_a_child_that_ran_long_enough_begins_anew(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    await system.spawn(Supervisor(children(log, "a"), max_restarts=MANY, backoff=DOUBLING))
    for wait in (1.0, 2.0):
        await end(log, "a", ABNORMAL)
        await trio.sleep(wait)
        await wait_all_tasks_blocked()
    assert log.count("a") == 3
    await trio.sleep(60.0)
    await end(log, "a", ABNORMAL)
    await trio.sleep(1.0)
    await wait_all_tasks_blocked()
    assert log.count("a") == 4


async def test_waiting_children_do_not_hold_their_siblings_up(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(children(log, "a", "b"), max_restarts=MANY, backoff=Backoff(initial=20.0))
    )
    with trio.fail_after(5.0):
        await end(log, "a", ABNORMAL)
        assert await counts(supervisor) == (2, 1, 0, 2)
        await supervisor.start_child(child(log, "c"))
        await supervisor.terminate_child("b")
        await supervisor.restart_child("b")
    assert log.starts == ["a", "b", "c", "b"]
    await trio.sleep(30.0)
    assert log.starts[4:] == ["a"]


async def test_a_waiting_child_is_restarting_until_it_is_terminated(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    slow = Backoff(initial=20.0, jitter=0.0)
    spec = child(log, "a")
    supervisor = await system.spawn(Supervisor([spec], max_restarts=MANY, backoff=slow))
    await end(log, "a", ABNORMAL)
    with trio.fail_after(1.0):
        assert not await is_active(supervisor, "a")
        with refuses("restarting", "a"):
            await supervisor.restart_child("a")
        with refuses("restarting", "a"):
            await supervisor.delete_child("a")
        with refuses("already_present", "a"):
            await supervisor.start_child(spec)
        await supervisor.terminate_child("a")
    await trio.sleep(100.0)
    assert log.count("a") == 1
    await supervisor.delete_child("a")
    assert await ids(supervisor) == []


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_a_group_waits_together(
    system: ActorSystem, log: Log, strategy: Strategy, autojump_clock: MockClock
) -> None:
    """What the strategy stops is stopped at once and started after the wait, in order."""
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a", "b", "c"),
            strategy=strategy,
            max_restarts=MANY,
            backoff=Backoff(initial=20.0, jitter=0.0),
        )
    )
    await end(log, "b", ABNORMAL)
    first = strategy is Strategy.ONE_FOR_ALL
    assert log.ends == ["b", "c", "a"][: 3 if first else 2]
    await trio.sleep(19.0)
    assert len(log.starts) == 3
    await trio.sleep(2.0)
    assert log.starts[3:] == (["a", "b", "c"] if first else ["b", "c"])
    assert await counts(supervisor) == (3, 3, 0, 3)


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
async def test_stopping_does_not_wait_for_the_backoff(
    system: ActorSystem, log: Log, kind: Any, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(kind(max_restarts=MANY, backoff=Backoff(initial=1000.0)))
    await supervisor.start_child(child(log, "a"))
    await supervisor.start_child(child(log, "b"))
    await end(log, "a", ABNORMAL)
    with trio.fail_after(1.0):
        await supervisor.stop("shutdown")
    assert log.ends == ["a", "b"]
    assert log.count("a") == 1


async def test_restarts_count_towards_the_intensity_however_long_they_wait(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    times: list[float] = []
    supervisor = await system.spawn(
        Supervisor(
            [ChildSpec("a", crashes_at_once, args=(times,))],
            max_restarts=3,
            period=100.0,
            backoff=DOUBLING,
        )
    )
    assert escalated(await exit_of(supervisor))
    assert gaps(times) == [1.0, 2.0, 4.0]


async def test_a_second_child_that_crashes_during_the_wait_waits_for_itself(
    system: ActorSystem, log: Log, autojump_clock: MockClock
) -> None:
    supervisor = await system.spawn(
        Supervisor(
            children(log, "a", "b"), max_restarts=MANY, backoff=Backoff(initial=10.0, jitter=0.0)
        )
    )
    await end(log, "a", ABNORMAL)
    await trio.sleep(5.0)
    await end(log, "b", ABNORMAL)
    assert await counts(supervisor) == (2, 0, 0, 2)
    await trio.sleep(6.0)
    assert log.starts[2:] == ["a"]
    await trio.sleep(5.0)
    assert log.starts[2:] == ["a", "b"]


async def test_messages_sent_during_the_wait_are_handled_after_it(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    handled: list[tuple[float, object]] = []

    async def worker(context: ActorContext[Any]) -> None:
        async for message in context.messages():
            if message == ABNORMAL:
                raise Died
            handled.append((trio.current_time(), message))

    supervisor = await system.spawn(
        Supervisor(max_restarts=MANY, backoff=Backoff(initial=10.0, jitter=0.0))
    )
    ref = await supervisor.start_child(ChildSpec("worker", worker))
    began = trio.current_time()
    await ref.tell(ABNORMAL)
    await wait_all_tasks_blocked()
    await ref.tell("waits")
    await trio.sleep(11.0)
    assert handled == [(began + 10.0, "waits")]
    assert await is_alive(supervisor)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initial", -1.0),
        ("initial", "soon"),
        ("factor", 0.5),
        ("factor", math.nan),
        ("maximum", -0.1),
        ("jitter", -0.1),
        ("reset_after", -1.0),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Backoff(**{field: value})
