"""Fan out over files whose number nobody knows beforehand, and follow the run.

    find ──▶ count (once for each package, eight at a time) ──▶ rank

`find` sends one `count` for each package of Python's standard library. They run side by side, in
threads, and a reducer puts together what they wrote: in the order in which they were sent, however
long each took. `rank` waits for all of them.

    python docs/examples/fan_out.py
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import trio

from lexigram_actors import (
    Command,
    GraphConfig,
    NodeFinished,
    RunFinished,
    Send,
    WorkflowBuilder,
    WorkflowEngine,
)

State = dict[str, Any]


def packages(library: str) -> list[str]:
    return sorted(str(file.parent) for file in Path(library).glob("*/__init__.py"))


def lines_of(package: str) -> int:
    return sum(file.read_bytes().count(b"\n") for file in Path(package).rglob("*.py"))


async def find(state: State) -> Command:
    found = await trio.to_thread.run_sync(packages, state["input"])
    return Command(send=[Send("count", {"package": package}) for package in found])


async def count(state: State) -> State:
    lines = await trio.to_thread.run_sync(lines_of, state["package"])
    return {"lines": {Path(state["package"]).name: lines}}


def rank(state: State) -> State:
    by_size = sorted(state["lines"].items(), key=lambda entry: -entry[1])
    return {"output": by_size[:5]}


def merge(earlier: dict[str, int], later: dict[str, int]) -> dict[str, int]:
    return {**earlier, **later}


def engine() -> WorkflowEngine:
    config = GraphConfig(max_iterations=10_000, max_parallel_branches=8)
    return (
        WorkflowBuilder("packages", config)
        .add_node("find", node=find)
        .add_node("count", node=count)
        .add_node("rank", node=rank)
        .add_goto("find", "count")
        .add_edge("count", "rank")
        .add_reducer("lines", merge)
        .set_entry("find")
        .set_terminal("rank")
        .build()
    )


async def main() -> None:
    counted = 0
    async with engine().astream(sysconfig.get_path("stdlib")) as events:
        async for event in events:
            if isinstance(event, NodeFinished) and event.result.node_name == "count":
                counted += 1
                if counted % 10 == 0:
                    print(f"  {counted} packages")
            elif isinstance(event, RunFinished):
                result = event.result.unwrap()

    for package, lines in result.output:
        print(f"  {package:16} {lines:7,} lines")
    in_order = list(result.final_state["lines"])
    print(f"{counted} packages, merged in the order they were sent: {in_order == sorted(in_order)}")


if __name__ == "__main__":
    trio.run(main)
