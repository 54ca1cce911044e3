"""The graphs of the rows in other libraries, each in its own event loop, compiled beforehand.

A contestant runs ``count // nodes`` graphs and checks what each comes to.
"""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from harness import now

from peers.graph_shapes import BRANCHES, Function, Shape, branch, increment

SENDS = 100


def _measure(count: int, nodes: int, run: Callable[[], Awaitable[None]]) -> float:
    async def main() -> float:
        start = now()
        for _ in range(count // nodes):
            await run()
        return now() - start

    return asyncio.run(main())


# --- the reference ---------------------------------------------------------------------------


def reference(count: int, shape: Shape) -> float:
    """``lexigram.workflow``: the same builder, time-outs on as by default, logs off."""
    import structlog
    from lexigram.workflow import (  # type: ignore[import-not-found, unused-ignore]
        AbstractWorkflowNode,
        GraphConfig,
        WorkflowBuilder,
    )

    class Node(AbstractWorkflowNode):  # type: ignore[misc, unused-ignore]
        def __init__(self, name: str, function: Function) -> None:
            super().__init__(name)
            self.execute = function

        async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
            raise NotImplementedError  # each instance has its own

    # Every run and every node would write a line to standard output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    config = GraphConfig(max_iterations=10 * shape.nodes)
    engine = shape.build(WorkflowBuilder("bench", config), Node).build()

    async def run() -> None:
        result = (await engine.execute("", state=shape.initial)).unwrap()
        shape.check(result.final_state)
        assert result.iterations == shape.nodes

    return _measure(count, shape.nodes, run)


# --- LangGraph -------------------------------------------------------------------------------


class _Number(TypedDict):
    x: int


def _langgraph(count: int, nodes: int, x: int, graph: Any) -> float:
    compiled = graph.compile()

    async def run() -> None:
        state = await compiled.ainvoke({"x": 0}, {"recursion_limit": 10 * nodes})
        assert state["x"] == x

    return _measure(count, nodes, run)


def langgraph_line(count: int) -> float:
    """A ``StateGraph`` of ten nodes in a row."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(_Number)
    names = [f"n{number}" for number in range(10)]
    for name in names:
        graph.add_node(name, increment)  # type: ignore[type-var, unused-ignore]
    for source, target in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(source, target)
    return _langgraph(count, 10, 10, graph)


def langgraph_loop(count: int, times: int) -> float:
    """One node with a conditional edge to itself."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(_Number)
    graph.add_node("body", increment)  # type: ignore[type-var, unused-ignore]
    graph.add_edge(START, "body")
    graph.add_conditional_edges("body", lambda state: "body" if state["x"] < times else END)
    return _langgraph(count, times, times, graph)


def langgraph_fan_out(count: int) -> float:
    """Ten nodes side by side between two, each with a key of its own."""
    from langgraph.graph import END, START, StateGraph

    names = [f"b{number}" for number in range(BRANCHES)]
    graph = StateGraph(TypedDict("Branches", {"x": int} | dict.fromkeys(names, int)))  # type: ignore[operator, misc, unused-ignore]
    for name in ("first", "last"):
        graph.add_node(name, increment)  # type: ignore[arg-type, unused-ignore]
    for name in names:
        graph.add_node(name, branch(name))  # type: ignore[arg-type, unused-ignore]
        graph.add_edge("first", name)
    graph.add_edge(START, "first").add_edge(names, "last").add_edge("last", END)
    return _langgraph(count, BRANCHES + 2, 2, graph)


class _Sum(TypedDict):
    x: Annotated[int, operator.add]


def langgraph_sends(count: int) -> float:
    """A ``Send`` for each of 100 executions of one node, and a node that waits for them."""
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    async def one(state: dict[str, Any]) -> dict[str, Any]:
        return {"x": 1}

    graph = StateGraph(_Sum)
    for name in ("first", "work", "last"):
        graph.add_node(name, one)  # type: ignore[arg-type, unused-ignore]
    graph.add_edge(START, "first").add_edge("work", "last").add_edge("last", END)
    graph.add_conditional_edges(
        "first", lambda state: [Send("work", {"x": number}) for number in range(SENDS)], ["work"]
    )
    return _langgraph(count, SENDS + 2, SENDS + 2, graph)


# --- pydantic-graph --------------------------------------------------------------------------


class _Counter:
    """What pydantic-graph calls the state: one object that every step changes."""

    __slots__ = ("x",)

    def __init__(self) -> None:
        self.x = 0


async def _step(context: Any) -> int:
    context.state.x += 1
    return 1


def _pydantic(count: int, nodes: int, graph: Any) -> float:
    async def run() -> None:
        state = _Counter()
        await graph.run(state=state)
        assert state.x == nodes

    return _measure(count, nodes, run)


def pydantic_line(count: int) -> float:
    """A ``GraphBuilder`` of ten steps in a row."""
    from pydantic_graph import GraphBuilder

    builder: Any = GraphBuilder(state_type=_Counter, output_type=int)
    steps = [builder.step(_step, node_id=f"n{number}") for number in range(10)]
    for source, target in zip(
        [builder.start_node, *steps], [*steps, builder.end_node], strict=True
    ):
        builder.add_edge(source, target)
    return _pydantic(count, 10, builder.build())


def pydantic_loop(count: int, times: int) -> float:
    """One step behind which a decision leads back to it."""
    from pydantic_graph import GraphBuilder

    builder: Any = GraphBuilder(state_type=_Counter, output_type=bool)

    async def advance(context: Any) -> bool:
        context.state.x += 1
        return bool(context.state.x < times)

    body = builder.step(advance, node_id="body")
    decision = builder.decision()
    decision = decision.branch(builder.match(bool, matches=lambda more: more).to(body))
    decision = decision.branch(builder.match(bool).to(builder.end_node))
    builder.add(
        builder.edge_from(builder.start_node).to(body), builder.edge_from(body).to(decision)
    )
    return _pydantic(count, times, builder.build())


def _pydantic_join(builder: Any) -> Any:
    from pydantic_graph import reduce_sum

    return builder.join(reduce_sum, initial=0)


def pydantic_fan_out(count: int) -> float:
    """Ten steps side by side between two, joined by a sum."""
    from pydantic_graph import GraphBuilder

    builder: Any = GraphBuilder(state_type=_Counter, output_type=int)
    first, last = (builder.step(_step, node_id=name) for name in ("first", "last"))
    branches = [builder.step(_step, node_id=f"b{number}") for number in range(BRANCHES)]
    join = _pydantic_join(builder)
    builder.add(
        builder.edge_from(builder.start_node).to(first),
        builder.edge_from(first).to(*branches),
        builder.edge_from(*branches).to(join),
        builder.edge_from(join).to(last),
        builder.edge_from(last).to(builder.end_node),
    )
    return _pydantic(count, BRANCHES + 2, builder.build())


def pydantic_sends(count: int) -> float:
    """One step mapped over 100 items, joined by a sum."""
    from pydantic_graph import GraphBuilder

    builder: Any = GraphBuilder(state_type=_Counter, output_type=int)

    async def make(context: Any) -> list[int]:
        context.state.x += 1
        return list(range(SENDS))

    first = builder.step(make, node_id="first")
    work, last = (builder.step(_step, node_id=name) for name in ("work", "last"))
    join = _pydantic_join(builder)
    builder.add(
        builder.edge_from(builder.start_node).to(first),
        builder.edge_from(first).map().to(work),
        builder.edge_from(work).to(join),
        builder.edge_from(join).to(last),
        builder.edge_from(last).to(builder.end_node),
    )
    return _pydantic(count, SENDS + 2, builder.build())
