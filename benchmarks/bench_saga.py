"""Sagas of five steps: all succeed, or the last fails and four are undone.

**In memory**, *raw* is the same functions called from a loop on Trio with a checkpoint before each
step and each undo, the undos in a list; it has no names, no results, no retries, no time limits and
no shield. *plain calls* is the same without a checkpoint: what Python alone takes.

**Durable**, on SQLite at FULL, *raw* is what `bench_durable` has: a commit of one row for each
write that ours does, from a plain connection, or group commit from Trio where 100 go on at once.
How many writes a saga takes is counted here as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from bench_durable import CountingDisk, CountingFile, commit_each, commit_in_groups, place
from harness import Peer, Workload, at_most, now, within
from peers import reference_saga
from peers.reference_saga import (
    LAST,
    STEPS,
    Build,
    check,
    execute,
    failing,
    make_and_execute,
    raising,
    succeeding,
)

import lexigram_actors
from lexigram_actors import CacheSagaStore, SQLiteStore, open_host

Once = Callable[[str], Awaitable[None]]
"""Brings one saga of that id to its end."""

# --- in memory: ours -----------------------------------------------------------------------------


async def ours(count: int, build: Build) -> float:
    return await execute(build(lexigram_actors), count)


async def ours_made(count: int, build: Build) -> float:
    return await make_and_execute(build(lexigram_actors), count)


# --- in memory: raw ------------------------------------------------------------------------------


class Calls:
    """The functions of a saga, counted."""

    def __init__(self) -> None:
        self.done = self.undone = 0

    async def one(self) -> int:
        self.done += 1
        return 1

    async def refuse(self) -> int:
        raise ValueError("no stock")

    async def undo(self) -> None:
        self.undone += 1


def steps_of(calls: Calls, *, fails: bool) -> list[tuple[Any, Any]]:
    """Return the steps, each with its undo."""
    last = calls.refuse if fails else calls.one
    return [(calls.one, calls.undo)] * LAST + [(last, calls.undo)]


async def raw(count: int, *, fails: bool) -> float:
    """Call with a checkpoint before each."""
    calls = Calls()
    steps = steps_of(calls, fails=fails)
    start = now()
    for _ in range(count):
        undos: list[Any] = []
        try:
            for action, undo in steps:
                await trio.lowlevel.checkpoint()
                await action()
                undos.append(undo)
        except ValueError:
            for undo in reversed(undos):
                await trio.lowlevel.checkpoint()
                await undo()
    took = now() - start
    check_calls(calls, count, fails=fails)
    return took


async def plain_calls(count: int, *, fails: bool) -> float:
    """Call, and no more."""
    calls = Calls()
    steps = steps_of(calls, fails=fails)
    start = now()
    for _ in range(count):
        undos: list[Any] = []
        try:
            for action, undo in steps:
                await action()
                undos.append(undo)
        except ValueError:
            for undo in reversed(undos):
                await undo()
    took = now() - start
    check_calls(calls, count, fails=fails)
    return took


def check_calls(calls: Calls, count: int, *, fails: bool) -> None:
    assert calls.done == count * (LAST if fails else STEPS)
    assert calls.undone == (count * LAST if fails else 0)


# --- durable: ours -------------------------------------------------------------------------------


@asynccontextmanager
async def hosted(build: Build) -> AsyncIterator[Once]:
    """A host for sagas of that shape, on SQLite."""
    make = build(lexigram_actors)
    made: dict[str, Any] = {}

    def make_for(id: str) -> Any:
        made[id] = make()
        return made[id]

    kind: Any = make.as_runnable(make_for, name="bench")  # type: ignore[attr-defined]
    with place() as path:
        async with SQLiteStore(path) as store, open_host(store, register=[kind]) as host:

            async def once(id: str) -> None:
                handle = await host.start(kind, id, id=id)
                check(made.pop(id), await handle.result())

            yield once


@asynccontextmanager
async def standalone(build: Build) -> AsyncIterator[Once]:
    """Sagas of that shape on a store of sagas, over SQLite."""
    make: Any = build(lexigram_actors)
    with place() as path:
        async with SQLiteStore(path) as store:
            sagas = CacheSagaStore(store)

            async def once(id: str) -> None:
                saga = make(sagas, id)
                check(saga, await saga.execute())

            yield once


Where = Callable[[Build], Any]


async def durable(count: int, where: Where, build: Build, at_once: int = 1) -> float:
    """Run so many sagas, so many at once; opening and closing are not counted."""
    ids = map(str, range(count))
    async with where(build) as once:
        await once("first")

        async def run_all() -> None:
            for id in ids:
                await once(id)

        start = now()
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(run_all)
        return now() - start


async def syncs(count: int, where: Where, build: Build) -> float:
    """Return how often the disk is asked to sync for so many steps, in sagas one by one."""
    disk = CountingDisk()
    try:
        async with where(build) as once:
            await once("first")
            before = CountingFile.syncs
            sagas = max(1, count // STEPS)
            for number in range(sagas):
                await once(str(number))
            return (CountingFile.syncs - before) * count / (sagas * STEPS)
    finally:
        disk.unregister()


# --- durable: raw --------------------------------------------------------------------------------


def commits(count: int, writes: int) -> float:
    """Commit so many rows for each saga, one after the other."""
    return commit_each(count * writes)


async def commits_in_groups(count: int, writes: int, writers: int) -> float:
    """Commit so many rows for each saga, from many tasks."""
    each = max(count * writes, writers)
    return await commit_in_groups(each, writers) * count * writes / each


# --- the table -----------------------------------------------------------------------------------


def in_memory(name: str, build: Build, *, fails: bool, **facts: Any) -> Workload:
    """A row in memory, against raw with checkpoints."""
    made = facts.pop("made", False)
    run = make_and_execute if made else execute
    peers = {"plain calls": Peer("trio", partial(plain_calls, fails=fails))}
    if build is not raising:  # the reference lets what an action raises pass, and undoes nothing
        one = partial(reference_saga.reference, build=build, run=run)
        peers["reference"] = Peer("lexigram.workflow", one, 500)
    return Workload(
        name,
        unit="µs per saga",
        count=4_000,
        ours=partial(ours_made if made else ours, build=build),
        raw=partial(raw, fails=fails),
        peers=peers,
        **facts,
    )


def on_disk(name: str, where: Where, build: Build, writes: int, at_once: int = 1) -> Workload:
    """A row on SQLite, against as many commits as it has writes."""
    many = partial(commits_in_groups, writes=writes, writers=at_once)
    return Workload(
        f"{name} (raw: {writes} {'commits' if at_once == 1 else 'writes in group commit'})",
        unit="µs per saga",
        count=200 if at_once == 1 else 2_000,
        ours=partial(durable, where=where, build=build, at_once=at_once),
        raw=partial(commits, writes=writes) if at_once == 1 else many,
    )


def synced(name: str, where: Where, build: Build, writes: int) -> Workload:
    """A row that counts syncs: one for each write, none more."""
    return Workload(
        f"syncs a step, {name}",
        unit="syncs",
        count=100,
        scale=1.0,
        ours=partial(syncs, where=where, build=build),
        budget=within(writes / STEPS),
        quick=False,
    )


BUDGET = at_most(0.7, goal=0.4)

PLACES = [
    # What it takes where all succeed: the start, each step. A host has the instance besides: its
    # start and its end. Where the last fails: the start, each step that is done, why it goes back,
    # each undo.
    ("in a host", hosted, STEPS + 3, 2 + 1 + LAST + 1 + LAST),
    ("on a store of sagas", standalone, STEPS + 1, 1 + LAST + 1 + LAST),
]

WORKLOADS = [
    in_memory("saga of 5, success", succeeding, fails=False, budget=BUDGET),
    in_memory("saga of 5, the last fails", failing, fails=True, budget=BUDGET),
    in_memory("saga of 5, the last raises", raising, fails=True),
    in_memory("saga of 5, made and executed", succeeding, fails=False, made=True),
    in_memory("saga of 5, made and executed, the last fails", failing, fails=True, made=True),
]
for at, where, done, undone in PLACES:
    for end, build, writes in [("success", succeeding, done), ("the last fails", failing, undone)]:
        name = f"saga of 5 {at}, {end}"
        WORKLOADS += [
            on_disk(name, where, build, writes),
            on_disk(f"{name}, 100 at once", where, build, writes, at_once=100),
            synced(name, where, build, writes),
        ]
