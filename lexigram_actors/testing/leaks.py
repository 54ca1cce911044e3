"""What a run may not leave behind: threads, open files, Trio tasks.

A thread or file that is not there any more a moment later is no leak, so a suspect gets a short
grace. Idle threads of Trio's cache are none either: Trio keeps a worker for ten seconds and names
it `Trio thread 7`; while it works it bears the name of its job, so that an abandoned call is seen.

Open files are seen where `/proc` shows them: on Linux.
"""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final, final

import trio
from attrs import frozen

IDLE_TRIO_THREAD: Final = re.compile(r"Trio thread \d+")
GRACE: Final = 1.0
OPEN_FILES: Final = "/proc/self/fd"


@contextmanager
def no_leaks(grace: float = GRACE) -> Iterator[None]:
    """Fail if the body leaves a thread, an open file or, inside a Trio run, a system task behind.

    What others begin meanwhile, in other tasks or threads, is taken for the body's. Where the body
    raises, nothing is looked at: the traceback keeps what it holds alive.

    Args:
        grace: Real seconds for which a thread or a file may linger. The whole thread waits, Trio's
            loop too; so what goes away only in another task is left behind.

    Raises:
        AssertionError: With the names of what is left.
    """
    earlier = possessions()
    with no_task_left() if trio.lowlevel.in_trio_run() else nullcontext():
        yield
    left = left_behind(earlier, grace)
    if left:
        raise AssertionError(f"left behind: {left}")


@contextmanager
def no_task_left() -> Iterator[None]:
    """Fail if the body leaves a system task of this Trio run behind.

    Structured tasks end with their nursery, and cannot be left behind.

    Raises:
        AssertionError: With the names of what is left.
    """
    earlier = system_tasks()
    yield
    left = sorted(task.name for task in system_tasks() - earlier)
    if left:
        raise AssertionError(f"Trio tasks left behind: {left}")


# --- threads and files -----------------------------------------------------------------------


@final
@frozen
class Possessions:
    """The threads at work and the open files of this process at one moment."""

    threads: frozenset[threading.Thread]
    files: frozenset[str]

    def beyond(self, earlier: Possessions) -> dict[str, list[str]]:
        """Return what is held now and was not held earlier, by kind."""
        threads = [thread.name for thread in self.threads - earlier.threads]
        found = {"threads": sorted(threads), "files": sorted(self.files - earlier.files)}
        return {kind: names for kind, names in found.items() if names}


def possessions() -> Possessions:
    """Return what this process holds now."""
    numbers = os.listdir(OPEN_FILES) if os.path.isdir(OPEN_FILES) else ()
    files = (f"{number} -> {target}" for number in numbers if (target := target_of(number)))
    return Possessions(frozenset(filter(is_at_work, threading.enumerate())), frozenset(files))


def is_at_work(thread: threading.Thread) -> bool:
    """Say whether a thread is no idle one of Trio's cache (which may come to work later)."""
    return not IDLE_TRIO_THREAD.fullmatch(thread.name)


def target_of(number: str) -> str | None:
    """Return what an open file is, None if it is closed by now (as the listing's own is)."""
    try:
        return os.readlink(f"{OPEN_FILES}/{number}").removesuffix(" (deleted)")
    except OSError:
        return None


def left_behind(earlier: Possessions, grace: float = GRACE) -> dict[str, list[str]]:
    """Return what is held that was not held earlier, after waiting a little for it to go."""
    deadline = time.monotonic() + grace
    while found := possessions().beyond(earlier):
        if time.monotonic() > deadline:
            break
        gc.collect()  # what only a cycle keeps open is reported by its own ResourceWarning
        time.sleep(0.01)
    return found


# --- Trio ------------------------------------------------------------------------------------


def system_tasks() -> set[trio.lowlevel.Task]:
    """Return the tasks of this Trio run that no nursery of the program owns, with their children.

    The main task is not among them. A system task is what can outlive a block unseen.
    """
    root = trio.lowlevel.current_root_task()
    if root is None:
        raise RuntimeError("a Trio run is over, or has not begun: it has no tasks")
    main = top_of(trio.lowlevel.current_task())
    return {task for task in descendants(root, leave_out=main) if task is not main}


def descendants(
    task: trio.lowlevel.Task, leave_out: trio.lowlevel.Task
) -> Iterator[trio.lowlevel.Task]:
    """Yield every task below, except what is below `leave_out`."""
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child
            if child is not leave_out:
                yield from descendants(child, leave_out)


def top_of(task: trio.lowlevel.Task) -> trio.lowlevel.Task:
    """Return the ancestor of this task that stands directly below Trio's root task."""
    root = trio.lowlevel.current_root_task()
    while (nursery := task.parent_nursery) is not None and nursery.parent_task is not root:
        task = nursery.parent_task
    return task
