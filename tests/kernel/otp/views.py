"""How the ported cases look at a supervisor from outside, and how they end a child."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import ChildError, RestartIntensityExceeded

from .behaviours import ABNORMAL, NORMAL, Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lexigram_actors.kernel import ActorRef, ChildInfo, Exit

LONG = 3600.0
"""A restart period that no test outlives."""


async def ids(supervisor: Any) -> list[str]:
    """The ids of the children that the supervisor knows, running or not."""
    return [info.id for info in await supervisor.which_children()]


async def info(supervisor: Any, child_id: str) -> ChildInfo:
    """What the supervisor says of one child; fails when there is none or more than one."""
    listed: list[ChildInfo] = await supervisor.which_children()
    (found,) = [each for each in listed if each.id == child_id]
    return found


async def running(supervisor: Any, child_id: str) -> Any:
    """The ref of a child that runs; fails when it does not."""
    ref = (await info(supervisor, child_id)).ref
    assert ref is not None
    return ref


async def is_active(supervisor: Any, child_id: str) -> bool:
    return (await info(supervisor, child_id)).ref is not None


async def counts(supervisor: Any) -> tuple[int, int, int, int]:
    """Specs, active, supervisors, workers."""
    counted = await supervisor.count_children()
    return counted.specs, counted.active, counted.supervisors, counted.workers


async def end(log: Log, child_id: str, how: str) -> None:
    """End a child and wait until its supervisor has dealt with that.

    "normal" and "abnormal" are done by the child itself, any other word is the reason of a stop
    from outside, as `exit(Pid, Reason)` there.
    """
    ref = log.refs[child_id]
    if how in (NORMAL, ABNORMAL):
        await ref.tell(how)
    else:
        await ref.stop(how)
    await wait_all_tasks_blocked()


async def exit_of(ref: ActorRef[Any]) -> Exit:
    """The final exit of an actor; fails when it still runs an hour later."""
    with trio.fail_after(LONG):
        return await ref.monitor()


async def is_alive(ref: ActorRef[Any]) -> bool:
    """Whether nothing ends the actor within ten seconds."""
    with trio.move_on_after(10.0):
        await ref.monitor()
        return False
    return True


@asynccontextmanager
async def watched(log: Log, *child_ids: str) -> AsyncIterator[dict[str, Exit]]:
    """Monitors children; when the block ends, each of them has ended and the dict says how."""
    exits: dict[str, Exit] = {}

    async def watch(child_id: str) -> None:
        exits[child_id] = await exit_of(log.refs[child_id])

    async with trio.open_nursery() as nursery:
        for child_id in child_ids:
            nursery.start_soon(watch, child_id)
        await wait_all_tasks_blocked()
        yield exits


def refuses(problem: str, child_id: str | None = None) -> Any:
    """The block raises `ChildError` with this problem."""

    def fits(error: ChildError) -> bool:
        return error.problem == problem and child_id in (None, error.child_id)

    return pytest.RaisesExc(ChildError, check=fits)


def escalated(exit: Exit) -> bool:
    """Whether a supervisor gave up because its restart intensity was exceeded."""
    return exit.reason == "failed" and isinstance(exit.error, RestartIntensityExceeded)


def root_cause(error: BaseException) -> BaseException:
    """The first exception of a chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
