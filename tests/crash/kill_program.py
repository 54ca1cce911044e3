"""A process with fifty instances of three kinds, which is killed and started again.

    python -m tests.crash.kill_program flows.db ledger

Every step writes a line into the ledger when it begins, in one `write` of the system, so that the
line is there whatever becomes of the process. `begun ID` says that a start was acknowledged.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any, Final

import trio

from lexigram_actors import Pipeline, WorkflowBuilder, WorkflowContext, open_host, step, workflow
from lexigram_actors.graph import WorkflowRunner

FUNCTIONS: Final = 20
PIPELINES: Final = 20
GRAPHS: Final = 10

IN_SEQUENCE: Final = tuple(f"s{number}" for number in range(20))
IN_BRANCHES: Final = ("left", "right")
AT_LAST: Final = ("last",)
STAGES: Final = tuple(f"p{number}" for number in range(20))
NODES: Final = ("start", "left", "left2", "left3", "right", "right2", "join", "end")

LONGEST: Final = 0.02
"""Seconds that a step may take."""

STEPS: Final = {
    **{f"function {n}": {*IN_SEQUENCE, *IN_BRANCHES, *AT_LAST} for n in range(FUNCTIONS)},
    **{f"pipeline {n}": set(STAGES) for n in range(PIPELINES)},
    **{f"graph {n}": set(NODES) for n in range(GRAPHS)},
}
"""The steps of every instance."""


class Ledger:
    """A file to which lines are appended, each at once."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, line: str) -> None:
        os.write(self.file, f"{line}\n".encode())


async def work(ledger: Ledger, id: str, name: str) -> str:
    """Do a step: it begins in the ledger, and takes a while."""
    ledger.write(f"{id}/{name}")
    await trio.sleep(random.uniform(0, LONGEST))
    return name


def function_of(ledger: Ledger) -> Any:
    async def branch(ctx: WorkflowContext, name: str) -> str:
        return await ctx.step(work, ledger, ctx.instance_id, name, name=name)

    @workflow
    async def function(ctx: WorkflowContext) -> list[str]:
        done = [await branch(ctx, name) for name in IN_SEQUENCE]
        await ctx.sleep(LONGEST)
        async with ctx.parallel() as group:
            branches = [group.start(branch, name) for name in IN_BRANCHES]
        done += [each.value for each in branches]
        return [*done, await branch(ctx, "last")]

    return function


def pipeline_of(ledger: Ledger, id: str) -> Pipeline:
    def stage(name: str) -> Any:
        return lambda context: work(ledger, id, name)

    return Pipeline(id, [step(name, stage(name)) for name in STAGES])


def graph_of(ledger: Ledger, id: str) -> Any:
    def node(name: str) -> Any:
        async def run(state: dict[str, Any]) -> dict[str, Any]:
            return {name: await work(ledger, id, name)}

        return run

    builder = WorkflowBuilder(id)
    for name in NODES:
        builder.add_node(name, node=node(name))
    for source, target in (
        ("start", "left"),
        ("left", "left2"),
        ("left2", "left3"),
        ("left3", "join"),
        ("start", "right"),
        ("right", "right2"),
        ("right2", "join"),
        ("join", "end"),
    ):
        builder.add_edge(source, target)
    engine = builder.set_entry("start").set_terminal("end").build()
    return WorkflowRunner(engine).as_runnable()


async def main(database: str, ledger_path: str) -> None:
    """Begin what is not begun, and see all of it to its end."""
    ledger = Ledger(ledger_path)
    function = function_of(ledger)
    flows: dict[str, Any] = {f"function {n}": function for n in range(FUNCTIONS)}
    for number in range(PIPELINES):
        flows[f"pipeline {number}"] = pipeline_of(ledger, f"pipeline {number}")
    for number in range(GRAPHS):
        flows[f"graph {number}"] = graph_of(ledger, f"graph {number}")
    register = [function, *(flow for flow in flows.values() if flow is not function)]
    ledger.write("opening")
    async with open_host(f"sqlite:///{database}", register=register) as host:
        handles = []
        for id, flow in flows.items():
            handles.append(await host.start(flow, id=id))
            ledger.write(f"begun {id}")
        for handle in handles:
            (await handle.result()).unwrap()
    ledger.write("ended")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
