"""Graphs: cost of a node in a line, in a loop of any length, side by side; pauses, failures.

*Raw* is the same functions called from a loop on Trio with a checkpoint after each, or from a
nursery; no time-outs, no record of what ran, no merging. Ours has its defaults: 120 s for each
node, a result and a line of history for every execution.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import trio
from harness import Peer, Workload, at_most, now
from peers import graph_runs
from peers.graph_runs import SENDS
from peers.graph_shapes import (
    BRANCHES,
    Function,
    Make,
    Shape,
    State,
    branch,
    fan_out,
    increment,
    line,
    loop,
)

from lexigram_actors import (
    Command,
    GraphConfig,
    HumanInputRequiredError,
    Send,
    WorkflowBuilder,
    WorkflowCheckpoint,
    WorkflowEngine,
    WorkflowRunner,
)

RunGraph = Callable[[], Coroutine[Any, Any, None]]


async def repeat(count: int, nodes: int, run: RunGraph) -> float:
    """Seconds for as many runs as come to ``count`` nodes."""
    start = now()
    for _ in range(count // nodes):
        await run()
    return now() - start


# --- shapes --------------------------------------------------------------------------------


def as_node(name: str, function: Function) -> Function:
    """Give a plain function as the node."""
    return function


def engine_of(shape: Shape) -> WorkflowEngine:
    config = GraphConfig(max_iterations=10 * shape.nodes)
    engine: WorkflowEngine = shape.build(WorkflowBuilder("bench", config), as_node).build()
    return engine


async def ours(count: int, shape: Shape) -> float:
    engine = engine_of(shape)

    async def run() -> None:
        result = (await engine.execute("", state=shape.initial)).unwrap()
        shape.check(result.final_state)
        assert result.iterations == shape.nodes

    return await repeat(count, shape.nodes, run)


async def follow(state: State, node: Function) -> None:
    """What raw does for one node: call it, take over what it returns, let others run."""
    state.update(await node(state))
    await trio.lowlevel.checkpoint()


async def raw_line(count: int, shape: Shape) -> float:
    nodes = [increment] * shape.nodes

    async def run() -> None:
        state = dict(shape.initial)
        for node in nodes:
            await follow(state, node)
        shape.check(state)

    return await repeat(count, shape.nodes, run)


async def raw_loop(count: int, shape: Shape) -> float:
    async def run() -> None:
        state = dict(shape.initial)
        while state["x"] < shape.nodes:
            await follow(state, increment)
        shape.check(state)

    return await repeat(count, shape.nodes, run)


def waiting_branch(key: str) -> Function:
    """Make a branch that lets others run first."""
    write = branch(key)

    async def wait_and_write(state: State) -> State:
        await trio.lowlevel.checkpoint()
        return await write(state)

    return wait_and_write


async def raw_fan_out(count: int, shape: Shape, make: Make = branch) -> float:
    branches = [make(f"b{number}") for number in range(BRANCHES)]

    async def run() -> None:
        state = dict(shape.initial)

        async def side(node: Function) -> None:
            state.update(await node(state))

        await follow(state, increment)
        async with trio.open_nursery() as nursery:
            for node in branches:
                nursery.start_soon(side, node)
        await follow(state, increment)
        shape.check(state)

    return await repeat(count, shape.nodes, run)


# --- a fan-out as wide as the data ---------------------------------------------------------


async def one(state: State) -> State:
    """Add one to the sum."""
    return {"x": 1}


async def sends_ours(count: int) -> float:
    async def first(state: State) -> Command:
        return Command({"x": 1}, send=[Send("work", {"item": item}) for item in range(SENDS)])

    builder = WorkflowBuilder("bench", GraphConfig(max_iterations=1_000))
    builder.add_node("first", node=first).add_node("work", node=one).add_node("last", node=one)
    builder.add_goto("first", "work").add_edge("work", "last")
    builder.add_reducer("x", lambda earlier, later: earlier + later)
    engine = builder.set_entry("first").set_terminal("last").build()

    async def run() -> None:
        result = (await engine.execute("", state={"x": 0})).unwrap()
        assert result.final_state["x"] == result.iterations == SENDS + 2

    return await repeat(count, SENDS + 2, run)


async def sends_raw(count: int) -> float:
    async def add(state: State, update: State) -> None:
        state["x"] += (await one(state | update))["x"]

    async def run() -> None:
        state = {"x": 0}
        await add(state, {})
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for item in range(SENDS):
                nursery.start_soon(add, state, {"item": item})
        await add(state, {})
        await trio.lowlevel.checkpoint()
        assert state["x"] == SENDS + 2

    return await repeat(count, SENDS + 2, run)


# --- a person, a checkpoint, a failure -----------------------------------------------------


async def pause_and_resume(count: int) -> float:
    """Seconds for graphs of three nodes that stop at the second and go on with an answer."""
    builder = WorkflowBuilder("bench")
    builder.add_node("first", node=increment).add_node("person", human_prompt="go on?")
    builder.add_node("last", node=increment)
    builder.add_edge("first", "person").add_edge("person", "last")
    engine = builder.set_entry("first").set_terminal("last").build()

    async def run() -> None:
        try:
            await engine.execute("", state={"x": 0})
        except HumanInputRequiredError as error:
            paused = error.state
        result = (await engine.resume(paused, "yes")).unwrap()
        assert (result.output, result.final_state["x"], result.iterations) == ("yes", 2, 3)

    return await repeat(count, 1, run)


async def runner(count: int, shape: Shape, *, saving: bool) -> float:
    """A runner that saves after each node, in memory, or one that does not."""
    checkpoint = WorkflowCheckpoint() if saving else None
    graph = WorkflowRunner(engine_of(shape), checkpoint=checkpoint)
    ids = iter(range(count))

    async def run() -> None:
        result = await graph.run("", state=shape.initial, run_id=f"run-{next(ids)}")
        shape.check(result.unwrap().final_state)

    return await repeat(count, shape.nodes, run)


async def fail(state: State) -> State:
    """Fail when all siblings have started."""
    await trio.lowlevel.checkpoint()
    raise ValueError("no")


async def hang(state: State) -> State:
    """Wait for ever."""
    await trio.sleep_forever()
    return {}


def siblings() -> list[Function]:
    return [*[hang] * (BRANCHES - 1), fail]


async def failure_ours(count: int) -> float:
    builder = WorkflowBuilder("bench").add_node("first", node=increment)
    for number, function in enumerate(siblings()):
        name = f"b{number}"
        builder.add_node(name, node=function).add_edge("first", name).set_terminal(name)
    engine = builder.set_entry("first").build()

    async def run() -> None:
        error = (await engine.execute("", state={"x": 0})).unwrap_err()
        assert error.node == f"b{BRANCHES - 1}"

    return await repeat(count, 1, run)


async def failure_raw(count: int) -> float:
    async def run() -> None:
        state, caught = {"x": 0}, None
        await follow(state, increment)
        try:
            async with trio.open_nursery() as nursery:
                for function in siblings():
                    nursery.start_soon(function, state)
        except ExceptionGroup as group:
            caught = group.exceptions[0]
        assert isinstance(caught, ValueError)

    return await repeat(count, 1, run)


# --- the table -----------------------------------------------------------------------------


def reference(shape: Shape, count: int = 10_000) -> Peer:
    return Peer("lexigram.workflow", partial(graph_runs.reference, shape=shape), count)


def loop_peers(times: int, count: int) -> dict[str, Peer]:
    return {
        "reference": reference(loop(times)),
        "LangGraph": Peer("langgraph", partial(graph_runs.langgraph_loop, times=times), count),
        "pydantic-graph": Peer(
            "pydantic_graph", partial(graph_runs.pydantic_loop, times=times), count
        ),
    }


NODE = at_most(1.0, goal=0.35)
GROWTH = at_most(1.3)  # the collector looks at what a run keeps, and that is more
LONG = 10_000

WORKLOADS = [
    Workload(
        "linear, 10 nodes",
        unit="µs per node",
        count=40_000,
        ours=partial(ours, shape=line()),
        raw=partial(raw_line, shape=line()),
        peers={
            "reference": reference(line()),
            "LangGraph": Peer("langgraph", graph_runs.langgraph_line, 1_000),
            "pydantic-graph": Peer("pydantic_graph", graph_runs.pydantic_line, 1_000),
        },
        budget=NODE,
    ),
    Workload(
        "loop of 100",
        unit="µs per node",
        count=40_000,
        ours=partial(ours, shape=loop()),
        raw=partial(raw_loop, shape=loop()),
        peers=loop_peers(100, 1_000),
        budget=NODE,
    ),
    Workload(
        "loop of 100, 100 keys in the state",
        unit="µs per node",
        count=40_000,
        ours=partial(ours, shape=loop(keys=100)),
        raw=partial(raw_loop, shape=loop(keys=100)),
        peers={"reference": reference(loop(keys=100))},
        budget=NODE,
    ),
    Workload(
        "loop of 10,000 (raw: ours, loop of 100)",
        unit="µs per node",
        count=50_000,
        quick=False,
        ours=partial(ours, shape=loop(LONG)),
        raw=partial(ours, shape=loop()),
        peers=loop_peers(LONG, LONG),
        budget=GROWTH,
        note="the cost of a node does not grow with the length of the run; the collector's does",
    ),
    Workload(
        "loop of 10,000, 100 keys (raw: ours, loop of 100)",
        unit="µs per node",
        count=50_000,
        quick=False,
        ours=partial(ours, shape=loop(LONG, keys=100)),
        raw=partial(ours, shape=loop(keys=100)),
        peers={"reference": reference(loop(LONG, keys=100))},
        budget=GROWTH,
    ),
    Workload(
        "fan-out 10 and join",
        unit="µs per node",
        count=24_000,
        ours=partial(ours, shape=fan_out()),
        raw=partial(raw_fan_out, shape=fan_out()),
        peers={
            "reference": reference(fan_out()),
            "LangGraph": Peer("langgraph", graph_runs.langgraph_fan_out, 1_200),
            "pydantic-graph": Peer("pydantic_graph", graph_runs.pydantic_fan_out, 1_200),
        },
        budget=at_most(1.3, goal=1.0),
    ),
    Workload(
        "fan-out 10 and join, branches that wait",
        unit="µs per node",
        count=24_000,
        ours=partial(ours, shape=fan_out(waiting_branch)),
        raw=partial(raw_fan_out, shape=fan_out(), make=waiting_branch),
        note="a checkpoint in each branch, so that each needs a task of its own",
    ),
    Workload(
        "fan-out by 100 Sends and join",
        unit="µs per node",
        count=20_400,
        ours=sends_ours,
        raw=sends_raw,
        peers={
            "LangGraph": Peer("langgraph", graph_runs.langgraph_sends, 1_020),
            "pydantic-graph": Peer("pydantic_graph", graph_runs.pydantic_sends, 1_020),
        },
    ),
    Workload(
        "pause at a human node and resume",
        unit="µs per run",
        count=1_000,
        ours=pause_and_resume,
    ),
    Workload(
        "linear, 10 nodes, saved after each in memory (raw: ours, not saved)",
        unit="µs per node",
        count=20_000,
        ours=partial(runner, shape=line(), saving=True),
        raw=partial(runner, shape=line(), saving=False),
    ),
    Workload(
        "failure in one of 10 siblings",
        unit="µs per run",
        count=500,
        ours=failure_ours,
        raw=failure_raw,
        note="until execute returns; nine wait for ever and are cancelled",
    ),
]
