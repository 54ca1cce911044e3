"""A coroutine stepped by hand until it waits goes on as if it had been awaited from the start."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import WorkflowBuilder
from lexigram_actors.graph.suspended import Suspended


async def stepped(coroutine: Any) -> Any:
    """Await a coroutine that waits, by its first step and the rest."""
    return await Suspended(coroutine, coroutine.send(None))


async def test_its_value_is_returned_after_any_number_of_waits(autojump_clock: MockClock) -> None:
    async def work() -> str:
        for _ in range(3):
            await trio.sleep(1)
        return "done"

    assert await stepped(work()) == "done"
    assert trio.current_time() == 3


async def test_what_it_raises_comes_out() -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("total")

    with pytest.raises(KeyError, match="total"):
        await stepped(work())


async def test_scopes_opened_in_the_first_step_hold(autojump_clock: MockClock) -> None:
    async def work() -> bool:
        with trio.move_on_after(1) as scope:
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
        return scope.cancelled_caught

    assert await stepped(work())
    assert trio.current_time() == 2


async def test_it_is_cancelled_where_it_waits_and_cleans_up(autojump_clock: MockClock) -> None:
    cleaned = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            cleaned.append(trio.current_time())

    with trio.move_on_after(5) as scope:
        await stepped(work())
    assert scope.cancelled_caught
    assert cleaned == [6]


async def test_a_stack_of_a_waiting_task_shows_the_node_it_waits_in() -> None:
    async def here(state: Any) -> None:
        await trio.sleep_forever()

    builder = WorkflowBuilder("g").add_node("start", node=lambda state: {})
    for name in ("one", "two", "three"):
        builder.add_node(name, node=here).add_edge("start", name).set_terminal(name)
    engine = builder.set_entry("start").build()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.execute, "")
        await trio.testing.wait_all_tasks_blocked()
        tasks = [task for child in nursery.child_tasks for task in tasks_below(child)]
        waiting = [
            task
            for task in tasks
            if "here" in [f.f_code.co_name for f, _ in task.iter_await_frames()]
        ]
        nursery.cancel_scope.cancel()
    assert len(waiting) == 3


def tasks_below(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    below = [task]
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            below += tasks_below(child)
    return below
