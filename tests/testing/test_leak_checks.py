"""`no_leaks` sees a thread, a file and a task that are left behind, and nothing else."""

from __future__ import annotations

import os
import threading

import pytest
import trio

from lexigram_actors.testing import no_leaks


def test_a_thread_that_is_left_is_found() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="forgotten")
    with pytest.raises(AssertionError, match="forgotten"), no_leaks(grace=0):
        thread.start()
    release.set()
    thread.join()


def test_a_file_that_is_left_open_is_found() -> None:
    opened: list[int] = []
    with pytest.raises(AssertionError, match="files"), no_leaks(grace=0):
        opened.extend(os.pipe())
    for number in opened:
        os.close(number)


async def test_a_system_task_that_is_left_is_found() -> None:
    release = trio.Event()
    with pytest.raises(AssertionError, match="lingering"), no_leaks(grace=0):
        trio.lowlevel.spawn_system_task(release.wait, name="lingering")
    release.set()
    await trio.testing.wait_all_tasks_blocked()


async def test_what_ends_in_time_is_no_leak() -> None:
    with no_leaks():
        reading, writing = os.pipe()
        await trio.to_thread.run_sync(os.close, reading)
        os.close(writing)


def test_what_the_body_raises_passes() -> None:
    with pytest.raises(OSError, match="it"), no_leaks():
        raise OSError("it")
