"""The check for what tests leave behind sees what it should, and nothing else."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest
import trio
import trio.testing

from tests.leaks import left_behind, no_task_left, possessions


def test_a_running_thread_is_left_behind_until_it_ends() -> None:
    earlier, release = possessions(), threading.Event()
    thread = threading.Thread(target=release.wait, name="forgotten")
    thread.start()
    assert left_behind(earlier, grace=0) == {"threads": ["forgotten"]}
    release.set()
    assert left_behind(earlier) == {}


def test_an_open_file_is_left_behind_until_it_is_closed() -> None:
    earlier = possessions()
    reading, writing = os.pipe()
    kinds = left_behind(earlier, grace=0)
    os.close(reading)
    os.close(writing)
    assert [len(names) for names in kinds.values()] == [2]
    assert left_behind(earlier) == {}


async def test_an_idle_worker_of_trio_is_not_left_behind() -> None:
    earlier = possessions()
    await trio.to_thread.run_sync(int)
    assert "threads" not in left_behind(earlier, grace=0)


async def test_a_worker_at_a_forgotten_call_is_left_behind() -> None:
    earlier, release = possessions(), threading.Event()
    begun = threading.Event()

    def forgotten() -> None:
        begun.set()
        release.wait()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.to_thread.run_sync, forgotten, abandon_on_cancel=True))
            await trio.to_thread.run_sync(begun.wait)
            scope.cancel()
    (name,) = left_behind(earlier, grace=0)["threads"]
    assert name.startswith("forgotten")
    release.set()


async def test_a_system_task_is_left_behind_until_it_ends() -> None:
    release, ended = trio.Event(), trio.Event()

    async def linger() -> None:
        await release.wait()
        ended.set()

    with pytest.raises(AssertionError, match="lingering"), no_task_left():
        trio.lowlevel.spawn_system_task(linger, name="lingering")
    release.set()
    await ended.wait()
    await trio.testing.wait_all_tasks_blocked()


async def test_structured_tasks_are_not_left_behind() -> None:
    with no_task_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(trio.lowlevel.checkpoint)
