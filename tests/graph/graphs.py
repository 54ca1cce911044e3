"""Nodes that sleep, write and remember what they saw, and a short way to write a graph down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio
from attrs import define, field

from lexigram_actors.errors import GraphExecutionError
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.models import GraphResult
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.result import Err, Ok

State = dict[str, Any]
FOREVER = float("inf")
LONG = 100_000.0
"""Nothing in a test may take longer; a run that hangs ends here, on the mock clock at once."""


@define
class Visit:
    """One execution of a step: what it saw, when it started, when and how it ended."""

    node: str
    state: State
    started: float
    ended: float | None = None
    how: str = "running"


@define
class Log:
    """The visits of all steps that share it, in the order of their starts."""

    visits: list[Visit] = field(factory=list)

    def of(self, node: str) -> list[Visit]:
        return [visit for visit in self.visits if visit.node == node]

    def the(self, node: str) -> Visit:
        (visit,) = self.of(node)
        return visit

    def saw(self, node: str) -> State:
        """What the only visit of the node saw."""
        return self.the(node).state

    def names(self) -> list[str]:
        return [visit.node for visit in self.visits]

    def finished(self) -> list[str]:
        """The nodes in the order of their ends."""
        done = [visit for visit in self.visits if visit.how == "finished"]
        return [visit.node for visit in sorted(done, key=lambda visit: visit.ended or 0)]

    def most_at_once(self) -> int:
        """The largest number of visits that ran side by side."""
        marks = [(visit.started, 1) for visit in self.visits]
        marks += [(visit.ended, -1) for visit in self.visits if visit.ended is not None]
        most = now = 0
        for _, step in sorted(marks):
            now += step
            most = max(most, now)
        return most


class Step(AbstractWorkflowNode):
    """Sleeps, then returns `update` (or what it makes of the state) or raises `error`.

    `delay` is seconds, or a function of the state. `visits` is in `log`.
    """

    def __init__(
        self,
        update: Any = None,
        *,
        delay: float | Callable[[State], float] = 0.0,
        error: BaseException | None = None,
        cleanup: float = 0.0,
        cleanup_error: Exception | None = None,
        log: Log | None = None,
    ) -> None:
        super().__init__("step")
        self.update = update
        self.delay = delay
        self.error = error
        self.cleanup = cleanup
        self.cleanup_error = cleanup_error
        self.log = Log() if log is None else log
        self.label = "step"

    async def execute(self, state: State) -> Any:
        visit = Visit(self.label, dict(state), trio.current_time())
        self.log.visits.append(visit)
        try:
            await self.work(state)
            visit.how = "finished"
        except trio.Cancelled:
            visit.how = "cancelled"
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleanup)
            visit.how = "cleaned up"
            if self.cleanup_error is not None:
                raise self.cleanup_error from None
            raise
        finally:
            visit.ended = trio.current_time()
        return self.update(state) if callable(self.update) else self.update

    async def work(self, state: State) -> None:
        delay = self.delay(state) if callable(self.delay) else self.delay
        await trio.sleep(delay)
        if self.error is not None:
            raise self.error


def edges_of(shape: str) -> list[tuple[str, str, bool]]:
    """Return the edges of `"a -> b -> c, a => d"`; `=>` is one to be followed side by side."""
    edges = []
    for chain in shape.replace("\n", ",").split(","):
        words = chain.split()
        for source, arrow, target in zip(words[::2], words[1::2], words[2::2], strict=False):
            edges.append((source, target, arrow == "=>"))
    return edges


def names_of(shape: str) -> list[str]:
    """Return the nodes of a shape in the order in which they appear."""
    words = shape.replace(",", " ").split()
    return list(dict.fromkeys(word for word in words if word not in ("->", "=>")))


def builder(
    shape: str,
    nodes: Mapping[str, Any] | None = None,
    *,
    log: Log | None = None,
    when: Mapping[tuple[str, str], Callable[[State], Any]] | None = None,
    ends: Mapping[str, Callable[[State], Any] | None] | Sequence[str] | None = None,
    stops: Sequence[str] = (),
    gotos: Mapping[str, Sequence[str]] | None = None,
    reducers: Mapping[str, Callable[[Any, Any], Any]] | None = None,
    joins: Mapping[str, str] | None = None,
    config: Any = None,
    name: str = "graph",
    version: int = 1,
) -> WorkflowBuilder:
    """Write a graph down: nodes are registered as they appear in the shape, the first is the entry.

    A node that is not given is a `Step` that writes its own name. Nodes without a way out are
    terminal, unless `ends` says which are. All steps share the log.
    """
    given = dict(nodes or {})
    edges = edges_of(shape)
    made = WorkflowBuilder(name, config, version)
    order = [*names_of(shape), *(key for key in given if key not in names_of(shape))]
    for node_name in order:
        node = given.get(node_name)
        if node is None:
            node = Step({node_name: True})
        if isinstance(node, Step):
            node.label = node_name
            node.log = log if log is not None else node.log
        made.add_node(node_name, node=node, join=(joins or {}).get(node_name, "all"))
    for source, target, side_by_side in edges:
        condition = (when or {}).get((source, target))
        made.add_edge(source, target, condition=condition, is_parallel=side_by_side)
    for source, targets in (gotos or {}).items():
        made.add_goto(source, *targets)
    for key, reducer in (reducers or {}).items():
        made.add_reducer(key, reducer)
    if ends is None:
        busy = {source for source, _, _ in edges} | set(gotos or {})
        ends = [node_name for node_name in order if node_name not in busy]
    conditions = ends if isinstance(ends, Mapping) else dict.fromkeys(ends)
    for node_name, condition in conditions.items():
        stop = "run" if node_name in stops else "branch"
        made.set_terminal(node_name, condition=condition, stop=stop)
    return made.set_entry(order[0])


def graph(shape: str, nodes: Mapping[str, Any] | None = None, **options: Any) -> WorkflowEngine:
    """Build the graph that `builder` writes down."""
    return builder(shape, nodes, **options).build()


async def outcome(engine: WorkflowEngine, input: Any = "in", **options: Any) -> Any:
    """Run the graph and return the `Result`; one that hangs fails the test."""
    with trio.fail_after(LONG):
        return await engine.execute(input, **options)


async def success(engine: WorkflowEngine, input: Any = "in", **options: Any) -> GraphResult:
    """Run the graph, which has to end well."""
    result = await outcome(engine, input, **options)
    assert isinstance(result, Ok), result
    assert isinstance(result.value, GraphResult)
    return result.value


async def failure(engine: WorkflowEngine, input: Any = "in", **options: Any) -> Any:
    """Run the graph, which has to fail, and return the error."""
    result = await outcome(engine, input, **options)
    assert isinstance(result, Err), result
    assert isinstance(result.error, GraphExecutionError)
    return result.error


def executed(result: Any) -> list[str]:
    """The nodes in `node_results`, of a result or an error."""
    return [node.node_name for node in result.node_results]


def done(result: Any) -> list[str]:
    """Those of them that ended well."""
    return [node.node_name for node in result.node_results if node.succeeded]


def concat(earlier: list[Any], later: list[Any]) -> list[Any]:
    """A reducer that keeps every write, in merge order."""
    return [*earlier, *later]


def counts(key: str) -> Callable[[State], State]:
    """An update that adds one to a key."""
    return lambda state: {key: state.get(key, 0) + 1}


class CustomError(Exception):
    """Of no class that the library knows."""


class MuteError(Exception):
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")
