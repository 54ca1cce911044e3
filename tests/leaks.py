"""What a test may not leave behind: threads, open files, Trio tasks.

A thread or file that is not there any more a moment later is no leak, so a suspect gets a short
grace. Idle threads of Trio's cache are none either: Trio keeps a worker for ten seconds and names
it `Trio thread 7`; while it works it bears the name of its job, so that an abandoned call is seen.
"""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

IDLE_TRIO_THREAD = re.compile(r"Trio thread \d+")
GRACE = 1.0
OPEN_FILES = "/proc/self/fd"


@dataclass(frozen=True)
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
    """Return what this process holds now. Open files are seen where /proc shows them."""
    numbers = os.listdir(OPEN_FILES) if os.path.isdir(OPEN_FILES) else ()
    files = (f"{number} -> {target}" for number in numbers if (target := target_of(number)))
    return Possessions(frozenset(filter(at_work, threading.enumerate())), frozenset(files))


def at_work(thread: threading.Thread) -> bool:
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

    The main task is not among them. Structured tasks end with their nursery, so that a test
    cannot leave one behind; a system task is what can outlive it unseen.
    """
    root = trio.lowlevel.current_root_task()
    assert root is not None
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


@contextmanager
def no_task_left() -> Iterator[None]:
    """Fail if the body leaves a system task behind. For tests that call `trio.run` themselves."""
    earlier = system_tasks()
    yield
    left = sorted(task.name for task in system_tasks() - earlier)
    assert not left, f"Trio tasks left behind: {left}"
