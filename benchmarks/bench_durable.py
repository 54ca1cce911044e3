"""Durable functions: what a recorded step costs, alone and with others, on SQLite at FULL.

*Raw* for one workflow is apsw on the caller's own thread, blocking: a transaction with one row of
the same shape a step, at `synchronous=FULL`; or the same through `trio.to_thread`, which is what a
loop that must not block has to do. *Raw* for many is group commit from Trio at its
barest: tasks put rows into a list and sleep, one thread commits whatever is there and wakes them
all at once; no codec, no checks, no reads. Files lie in the folder for temporary files (`TMPDIR`),
which has to be on a disk for the numbers to mean anything.
"""

from __future__ import annotations

import gc
import queue
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import orjson
import trio
from harness import Peer, Workload, at_least, at_most, now, within
from peers import dbos_runs

from lexigram_actors import MemoryStore, SQLiteStore, WorkflowContext, open_host, workflow

ROW = (
    "CREATE TABLE journal (instance TEXT NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL, "
    "kind TEXT NOT NULL, value BLOB NOT NULL, at REAL NOT NULL, mail INTEGER NOT NULL, "
    "epoch INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (instance, position)) "
    "STRICT, WITHOUT ROWID"
)
INSERT = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def increment(number: int) -> int:
    return number + 1


@workflow
async def counting(ctx: WorkflowContext, steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await ctx.step(increment, number)
    return number


@workflow
async def waiting(ctx: WorkflowContext, steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await ctx.step(increment, number)
    return number + int(await ctx.wait_signal("go"))


@contextmanager
def place() -> Iterator[Path]:
    """A path for a database."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "flows.db"


def row_of(instance: str, position: int) -> tuple[Any, ...]:
    """Return the row of a step as ours has it."""
    value = orjson.dumps({"value": position})
    return (instance, position, f"increment#{position}", "step", value, 1e9, 0, 1, 7)


# --- ours ----------------------------------------------------------------------------------------


async def steps(count: int, workflows: int) -> float:
    """Run so many steps, in workflows side by side; opening and closing are not counted."""
    with place() as path:
        async with SQLiteStore(path) as store:
            return await steps_on(store, count, workflows)


async def steps_in_memory(count: int, workflows: int) -> float:
    return await steps_on(MemoryStore(), count, workflows)


async def steps_on(store: Any, count: int, workflows: int) -> float:
    each = max(1, count // workflows)
    async with open_host(store, register=[counting]) as host:
        start = now()
        handles = [await host.start(counting, each, id=f"flow-{n}") for n in range(workflows)]
        for handle in handles:
            assert (await handle.result()).unwrap() == each
        return (now() - start) * count / (each * workflows)


async def start_and_end(count: int) -> float:
    """Begin instances that have no step, one after the other, each until it is acknowledged."""
    with place() as path:
        async with SQLiteStore(path) as store, open_host(store, register=[counting]) as host:
            start = now()
            for number in range(count):
                await host.start(counting, 0, id=f"flow-{number}")
            return now() - start


async def recover(count: int) -> float:
    """Open a host on instances that wait, with ten steps recorded each, until they wait again."""
    with place() as path:
        async with SQLiteStore(path) as store:
            async with open_host(store, register=[waiting]) as host:
                for number in range(count):
                    await host.start(waiting, 10, id=f"flow-{number}")
                await until_waiting(host, count)
            start = now()
            async with open_host(store, register=[waiting]) as host:
                await until_waiting(host, count)
                return now() - start


async def until_waiting(host: Any, count: int) -> None:
    for number in range(count):
        await host.handle(f"flow-{number}").status.wait_value(lambda status: status == "waiting")


async def memory(count: int) -> float:
    """Return the bytes that so many instances take while they wait, with no step recorded."""
    with place() as path:
        async with SQLiteStore(path) as store, open_host(store, register=[waiting]) as host:
            await host.start(waiting, 0, id="first")  # what is made once is not counted
            await host.handle("first").status.wait_value(lambda status: status == "waiting")
            gc.collect()
            tracemalloc.start()
            try:
                for number in range(count):
                    await host.start(waiting, 0, id=f"flow-{number}")
                await until_waiting(host, count)
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()


async def replay(count: int) -> float:
    """Go on with one instance that has recorded so many steps."""
    store = MemoryStore()
    async with open_host(store, register=[waiting]) as host:
        handle = await host.start(waiting, count, id="flow")
        await handle.status.wait_value(lambda status: status == "waiting")
    start = now()
    async with open_host(store, register=[waiting]) as host:
        await host.handle("flow").signal("go", 0)
        assert (await host.handle("flow").result()).unwrap() == count
        return now() - start


# --- syncs ---------------------------------------------------------------------------------------


class CountingFile(apsw.VFSFile):
    """A file that counts how often it is forced to disk."""

    syncs = 0

    def __init__(self, filename: Any, flags: list[int]) -> None:
        super().__init__("unix", filename, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - the name SQLite has for it
        CountingFile.syncs += 1
        super().xSync(flags)


class CountingDisk(apsw.VFS):
    """SQLite's own files, counted; the default for what is opened while it exists."""

    def __init__(self) -> None:
        super().__init__("counting", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return CountingFile(name, flags)


async def syncs(count: int) -> float:
    """Return how often the disk is asked to sync for so many steps of one workflow."""
    disk = CountingDisk()
    try:
        with place() as path:
            async with SQLiteStore(path) as store, open_host(store, register=[counting]) as host:
                before = CountingFile.syncs
                handle = await host.start(counting, count)
                assert (await handle.result()).unwrap() == count
                return CountingFile.syncs - before
    finally:
        disk.unregister()


# --- raw -----------------------------------------------------------------------------------------


@contextmanager
def database() -> Iterator[apsw.Connection]:
    """A plain connection with a table like ours, at FULL."""
    with place() as path:
        connection = apsw.Connection(str(path))
        try:
            connection.pragma("journal_mode", "WAL")
            connection.pragma("synchronous", "FULL")
            connection.execute(ROW)
            yield connection
        finally:
            connection.close()


def commit_one(connection: apsw.Connection, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(INSERT, row_of("flow-0", number))
    connection.execute("COMMIT")


def commit_each(count: int) -> float:
    """Commit one row after the other."""
    with database() as connection:
        start = now()
        for number in range(1, count + 1):
            commit_one(connection, number)
        return now() - start


async def commit_each_in_thread(count: int) -> float:
    """Commit one row after the other, each on a thread of Trio's."""
    with database() as connection:
        start = now()
        for number in range(1, count + 1):
            await trio.to_thread.run_sync(commit_one, connection, number)
        return now() - start


class Groups:
    """Group commit at its barest."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.token = trio.lowlevel.current_trio_token()
        self.lock = threading.Lock()
        self.waiting: list[tuple[trio.lowlevel.Task, tuple[Any, ...]]] = []
        self.bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.serve)

    async def write(self, row: tuple[Any, ...]) -> None:
        """Return when the row is committed."""
        with self.lock:
            self.waiting.append((trio.lowlevel.current_task(), row))
            is_first = len(self.waiting) == 1
        if is_first:
            self.bell.put(True)
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    def serve(self) -> None:
        while self.bell.get():
            with self.lock:
                group, self.waiting = self.waiting, []
            self.connection.execute("BEGIN IMMEDIATE")
            for _, row in group:
                self.connection.execute(INSERT, row)
            self.connection.execute("COMMIT")
            self.token.run_sync_soon(wake, [task for task, _ in group])


def wake(tasks: list[trio.lowlevel.Task]) -> None:
    for task in tasks:
        trio.lowlevel.reschedule(task)


async def commit_in_groups(count: int, writers: int) -> float:
    """Commit rows of many tasks, as many as there are at a time."""
    with database() as connection:
        groups = Groups(connection)
        groups.thread.start()

        async def write_many(writer: int) -> None:
            for number in range(1, count // writers + 1):
                await groups.write(row_of(f"flow-{writer}", number))

        start = now()
        async with trio.open_nursery() as nursery:
            for writer in range(writers):
                nursery.start_soon(write_many, writer)
        took = now() - start
        groups.bell.put(False)
        groups.thread.join()
        return took * count / (count // writers * writers)


# --- the table -----------------------------------------------------------------------------------


def row(
    name: str, ours: Callable[..., Any], raw: Callable[..., Any] | None, **facts: Any
) -> Workload:
    return Workload(name, ours=ours, raw=raw, **{"unit": "µs", **facts})


WORKLOADS = [
    row(
        "a step, one workflow (raw: one commit)",
        partial(steps, workflows=1),
        commit_each,
        count=2_000,
        peers={"DBOS": Peer("dbos", partial(dbos_runs.steps, workflows=1), count=200)},
        budget=at_most(2),
    ),
    row(
        "a step, one workflow (raw: one commit through a thread)",
        partial(steps, workflows=1),
        commit_each_in_thread,
        count=2_000,
    ),
    row(
        "syncs a step, one workflow",
        syncs,
        None,
        count=1_000,
        unit="syncs",
        scale=1.0,
        budget=within(1.05),
    ),
    row(
        "a step, 100 workflows (raw: group commit from Trio)",
        partial(steps, workflows=100),
        partial(commit_in_groups, writers=100),
        count=20_000,
        peers={"DBOS": Peer("dbos", partial(dbos_runs.steps, workflows=100), count=1_000)},
        budget=at_least(0.17, goal=0.45),
        note="the must and the goal are 20 k/s and 51 k/s where raw is 114 k/s",
    ),
    row("a step in memory, one workflow", partial(steps_in_memory, workflows=1), None, count=5_000),
    row(
        "a step in memory, 100 workflows",
        partial(steps_in_memory, workflows=100),
        None,
        count=20_000,
    ),
    row("a step replayed", replay, None, count=10_000),
    row("start an instance (raw: one commit)", start_and_end, commit_each, count=1_000),
    row("recover an instance with ten steps", recover, None, count=1_000),
    row(
        "memory of an instance that waits",
        memory,
        None,
        count=1_000,
        unit="kB",
        scale=1e-3,
        quick=False,
    ),
]
