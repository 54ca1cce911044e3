"""Pipelines: steps in order, with time-outs, side by side; a pipe of plain functions.

*Raw* is the same functions called from a loop on Trio with a checkpoint after each, or from a
nursery, their results put into a dict; it has no time-outs, no conditions and no clean-up.
"""

from __future__ import annotations

from functools import partial

import trio
from harness import Peer, Workload, at_most, now
from peers import pipeline_runs
from peers.pipeline_runs import STEPS, Build, add_one, chain, independent, parallel, transform

import lexigram_actors


async def ours(count: int, build: Build) -> float:
    return await pipeline_runs.run(build(lexigram_actors), count)


# --- raw -----------------------------------------------------------------------------------


async def one(results: dict[str, int]) -> int:
    """What each step does."""
    return 1


async def raw_chain(count: int) -> float:
    steps = [(f"s{number}", one) for number in range(STEPS)]
    start = now()
    for _ in range(count):
        results: dict[str, int] = {}
        for name, function in steps:
            results[name] = await function(results)
            await trio.lowlevel.checkpoint()
        assert len(results) == STEPS
    return now() - start


async def raw_side_by_side(count: int) -> float:
    steps = [(f"s{number}", one) for number in range(STEPS)]
    start = now()
    for _ in range(count):
        results: dict[str, int] = {}

        async def run(name: str) -> None:
            results[name] = await one(results)  # noqa: B023

        async with trio.open_nursery() as nursery:
            for name, _step in steps:
                nursery.start_soon(run, name)
        assert len(results) == STEPS
    return now() - start


async def raw_transform(count: int) -> float:
    steps = [add_one] * STEPS
    start = now()
    for _ in range(count):
        value = 0
        for function in steps:
            value = function(value)
        assert value == STEPS
    return now() - start


# --- the table -----------------------------------------------------------------------------


def peers(build: Build, count: int) -> dict[str, Peer]:
    return {
        "reference": Peer("lexigram.workflow", partial(pipeline_runs.reference, build=build), count)
    }


IN_ORDER = at_most(0.6, goal=0.35)
TIMED = partial(chain, timeout=60)

WORKLOADS = [
    Workload(
        "10 steps in order",
        unit="µs per pipeline",
        count=5_000,
        ours=partial(ours, build=chain),
        raw=raw_chain,
        peers=peers(chain, 1_000),
        budget=IN_ORDER,
    ),
    Workload(
        "10 steps in order, each with a time-out",
        unit="µs per pipeline",
        count=5_000,
        ours=partial(ours, build=TIMED),
        raw=raw_chain,
        peers=peers(TIMED, 1_000),
        note="raw sets no time-outs",
    ),
    Workload(
        "10 independent steps, all at once",
        unit="µs per pipeline",
        count=3_000,
        ours=partial(ours, build=partial(independent, max_concurrency=STEPS)),
        raw=raw_side_by_side,
        peers=peers(independent, 1_000),
        note="the reference runs them one after the other",
    ),
    Workload(
        "parallel step of 10",
        unit="µs per pipeline",
        count=3_000,
        ours=partial(ours, build=parallel),
        raw=raw_side_by_side,
        peers=peers(parallel, 1_000),
    ),
    Workload(
        "transform pipe of 10 (raw: plain calls)",
        unit="µs per value",
        count=20_000,
        ours=partial(ours, build=transform),
        raw=raw_transform,
        peers=peers(transform, 5_000),
    ),
]
