"""`kill -9` at every moment: nothing recorded is lost, no line torn, no item twice.

The command runs in a forked child that kills itself at the n-th of its own effects: before it, in
the midst of a write, or after it. Every n is tried until the run gets through, and the job goes on
in another child each time. Real SIGKILLs from outside, at random moments, follow in `test_signals`.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

# Imported here once, rather than in every child.
import lexigram_actors.cli.app
import lexigram_actors.cli.bulk
import lexigram_actors.storage.sqlite.opening
import lexigram_actors.storage.sqlite.worker  # noqa: F401
from lexigram_actors.cli import lines, main
from lexigram_actors.cli.ownership import claim, owner_of
from lexigram_actors.storage.cache import KeyValueCache
from tests.cli.conftest import Workshop

JOB = ("--items", "items.jsonl", "--out", "out.jsonl", "--checkpoint", "jobs.db", "--id", "job")


class Killer:
    """Counts effects and ends the process at one of them, as SIGKILL does."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*args: Any, **kwargs: Any) -> Any:
            self()
            result = function(*args, **kwargs)
            self()
            return result

        return effect

    def around_async(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def effect(*args: Any, **kwargs: Any) -> Any:
            self()
            result = await function(*args, **kwargs)
            self()
            return result

        return effect

    def write(self, descriptor: int, data: bytes) -> int:
        """Write in two parts, so that a kill may come between them."""
        self()
        half = len(data) // 2
        written = os_write(descriptor, data[:half])
        self()
        return written + os_write(descriptor, data[half:])

    def arm(self) -> None:
        """Watch every effect on files and on the store."""
        vars(lines)["os"] = Watched(self)
        Path.unlink = self.around(Path.unlink)  # type: ignore[method-assign]
        for name in ("set", "delete", "delete_pattern"):
            setattr(KeyValueCache, name, self.around_async(getattr(KeyValueCache, name)))


os_write = os.write


class Watched:
    """The module `os` with its effects watched."""

    def __init__(self, killer: Killer) -> None:
        self.write = killer.write
        for name in ("fsync", "replace", "ftruncate"):
            setattr(self, name, killer.around(getattr(os, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def in_child(arguments: tuple[str, ...], *, kill_at: int = 0) -> int | None:
    """Run the command in a forked child; None when it was killed, else its exit code."""
    gc.freeze()  # Trio collects garbage when it starts: not that of the whole test run
    child = os.fork()
    if child == 0:
        code = 99
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            Killer(kill_at).arm()
            code = main(arguments)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def go_on_until_done(arguments: tuple[str, ...]) -> int:
    code = in_child(arguments)
    assert code is not None
    return code


def killed_at_every_moment(
    workshop: Workshop, arguments: tuple[str, ...], prepare: Callable[[], None]
) -> int:
    """Run to the n-th effect for every n; check what a continued job makes of it; count them."""
    moment = 0
    while True:
        moment += 1
        prepare()
        killed = in_child(arguments, kill_at=moment) is None
        check_after(workshop, arguments, moment)
        if not killed:
            return moment - 1


def check_after(workshop: Workshop, arguments: tuple[str, ...], moment: int) -> None:
    recorded = written(workshop)
    assert go_on_until_done(tuple(one for one in arguments if one != "--overwrite")) == 0, moment
    assert workshop.results() == {index: index for index in range(count_of(workshop))}, moment
    assert not set(os.listdir()) & {"out.jsonl.rewritten", "out.jsonl.lock", "jobs.db.job.lock"}
    assert recorded <= count_of(workshop)


def written(workshop: Workshop) -> int:
    path = workshop.folder / "out.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def count_of(workshop: Workshop) -> int:
    return (workshop.folder / "items.jsonl").read_bytes().count(b"\n")


def remove_all(workshop: Workshop) -> None:
    for path in workshop.folder.iterdir():
        if path.is_file() and path.name not in {"tasks.py", "items.jsonl"}:
            path.unlink()


def restorer(workshop: Workshop) -> Callable[[], None]:
    """Return what brings the folder back to the state it has now, marks and all."""
    kept = {
        path: (path.read_bytes(), owner_of(path))
        for path in workshop.folder.iterdir()
        if path.is_file()
    }

    def restore() -> None:
        remove_all(workshop)
        for path, (data, owner) in kept.items():
            path.write_bytes(data)
            if owner is not None:
                claim(path, owner)

    return restore


@pytest.mark.parametrize("options", [("--batch-size", "1"), ("--batch-size", "3")])
def test_a_first_run_may_be_killed_at_every_moment(
    workshop: Workshop, options: tuple[str, ...]
) -> None:
    workshop.items(5)
    arguments = ("bulk", "tasks:flaky", *JOB, "--concurrency", "2", *options)
    workshop.write("good/x", "")  # a folder, which is not removed in between
    moments = killed_at_every_moment(workshop, arguments, lambda: remove_all(workshop))
    assert moments >= 30


def test_a_job_that_has_to_mend_its_file_may_be_killed_at_every_moment(workshop: Workshop) -> None:
    workshop.items(11)
    arguments = ("bulk", "tasks:flaky", *JOB, "--batch-size", "4", "--concurrency", "1")

    # Items 0, 5 and 10 fail: their batches stay unrecorded, with lines of their mates.
    assert in_child(arguments) == 1
    with (workshop.folder / "out.jsonl").open("ab") as out:
        out.write(b'{"index":0,"resu')
    (workshop.folder / "good").touch()
    assert killed_at_every_moment(workshop, arguments, restorer(workshop)) >= 20


def test_a_job_that_overwrites_may_be_killed_at_every_moment(workshop: Workshop) -> None:
    workshop.items(3)
    (workshop.folder / "good").touch()
    assert in_child(("bulk", "tasks:flaky", *JOB)) == 0
    arguments = ("bulk", "tasks:flaky", *JOB, "--overwrite")
    assert killed_at_every_moment(workshop, arguments, restorer(workshop)) >= 30


def test_runs_that_are_killed_again_and_again_get_through(workshop: Workshop) -> None:
    workshop.items(30)
    arguments = ("bulk", "tasks:flaky", *JOB, "--concurrency", "3", "--batch-size", "2")
    (workshop.folder / "good").touch()
    kills, recorded = 0, 0
    while in_child(arguments, kill_at=23) is None:
        kills += 1
        assert kills < 50
        # What was recorded stays: the number of whole lines falls back by a batch or so only.
        assert written(workshop) >= recorded - 6
        recorded = max(recorded, written(workshop))
    assert kills >= 2
    assert workshop.results() == {index: index for index in range(30)}


def test_a_plain_run_that_is_killed_leaves_nothing_under_the_name(workshop: Workshop) -> None:
    workshop.items(5)
    arguments = ("bulk", "tasks:slow", "--items", "items.jsonl", "--out", "out.jsonl")
    moment, names = 0, set[str]()
    while True:
        moment += 1
        remove_all(workshop)
        killed = in_child(arguments, kill_at=moment) is None
        names = workshop.names()
        if "out.jsonl" in names:
            assert len(workshop.results()) == 5, moment
        if not killed:
            break
    assert moment > 10
    assert names == {"items.jsonl", "out.jsonl"}
