"""A graph made ready to run: names resolved, reachability known. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, final

from lexigram_actors.graph.definition import GraphDefinition, Predicate, Reducer, State
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.node import NestingNode

DEFAULT_RESUME_KEY: Final = "human_response"
"""Where a node that names no `resume_key` finds its answer."""


class Route(NamedTuple):
    """One way on from a node that has finished."""

    target: CompiledNode
    slot: int
    """Which of the ways it is; decides ties in merge order."""
    overlay: State | None = None
    """What a `Send` lets the target see."""
    side_by_side: bool = False


Way = tuple[WorkflowEdge, Route]


@final
class CompiledNode:
    """A node with all that the run asks of it, as attributes.

    Attributes:
        index: Its place in the order of registration.
        allowed: Where a `Command` of it may lead, by name.
        always: The ways along its edges where none has a condition; None where one has.
        decided: Whether the branch ends here, and the ways on, where only a `Command` can change
            that; None where a condition has to be asked.
        nests: Whether it holds a graph, or something else that runs.
        is_shown_more: Whether what it is shown differs from the state.
        hides: The key that must not be seen unless a visit was answered; None if there is none.
    """

    __slots__ = (
        "allowed",
        "always",
        "decided",
        "execute",
        "hides",
        "index",
        "is_join",
        "is_shown_more",
        "is_terminal",
        "name",
        "nests",
        "node",
        "resume_key",
        "stops_run",
        "terminal_condition",
        "ways",
    )

    def __init__(self, index: int, name: str, node: Any) -> None:
        self.index = index
        self.name = name
        self.node = node
        direct = getattr(node, "coroutine_function", None)  # a call less than through the node
        self.execute: Callable[[State], Awaitable[Any]] = direct or node.execute
        self.ways: tuple[Way, ...] = ()
        self.always: tuple[Route, ...] | None = None
        self.decided: tuple[bool, tuple[Route, ...]] | None = None
        self.allowed: dict[str, CompiledNode] = {}
        self.is_join = True
        self.is_terminal = False
        self.terminal_condition: Predicate | None = None
        self.stops_run = False
        self.resume_key: str = getattr(node, "resume_key", None) or DEFAULT_RESUME_KEY
        is_human = getattr(node, "node_type", None) is NodeType.HUMAN
        self.hides: str | None = self.resume_key if is_human else None
        self.nests = isinstance(node, NestingNode)
        self.is_shown_more = is_human or self.nests

    def __repr__(self) -> str:
        return f"CompiledNode({self.name!r})"


@final
class CompiledGraph:
    """The nodes by name, the entry, and what applies to all of them.

    Attributes:
        always_forks: Whether a node of it has several ways on whatever the state is.
        asks: Whether a node of it asks a person.
        in_order: The nodes by their index.
        reach: For each node those that can be reached from it in one step or more, as bits by
            their index. A node in a loop reaches itself.
    """

    __slots__ = (
        "always_forks",
        "asks",
        "entry",
        "has_parallel_edges",
        "in_order",
        "name",
        "nodes",
        "reach",
        "reducers",
        "reduces_output",
        "version",
    )

    def __init__(self, definition: GraphDefinition) -> None:
        """Resolve a definition in which no problem was found."""
        assert definition.entry is not None
        self.name = definition.name
        self.version = definition.version
        self.nodes: dict[str, CompiledNode] = {
            name: CompiledNode(index, name, node)
            for index, (name, node) in enumerate(definition.nodes.items())
        }
        self.entry = self.nodes[definition.entry]
        self.reducers: Mapping[str, Reducer] = dict(definition.reducers)
        self.reduces_output = "output" in self.reducers
        self._connect(definition)
        for name, condition in definition.terminals.items():
            node = self.nodes[name]
            node.is_terminal = True
            node.terminal_condition = condition
            node.stops_run = name in definition.run_terminals
        for node in self.nodes.values():
            if node.is_terminal:
                node.decided = (True, ()) if node.terminal_condition is None else None
            elif node.always is not None:
                node.decided = (False, node.always)
        self.always_forks = any(len(node.always or ()) > 1 for node in self.nodes.values())
        self.has_parallel_edges = any(edge.is_parallel for edge in definition.edges)
        self.asks = any(node.hides is not None for node in self.nodes.values())
        self.in_order = list(self.nodes.values())
        self.reach = reachability([self._targets(node) for node in self.in_order])

    def _connect(self, definition: GraphDefinition) -> None:
        leaving: dict[str, list[WorkflowEdge]] = {}
        for edge in definition.edges:
            leaving.setdefault(edge.source, []).append(edge)
        for name, node in self.nodes.items():
            edges = leaving.get(name, ())
            node.ways = tuple(
                (edge, Route(self.nodes[edge.target], slot, None, edge.is_parallel))
                for slot, edge in enumerate(edges)
            )
            if all(edge.condition is None for edge in edges):
                node.always = tuple(route for _, route in node.ways)
            further = definition.gotos.get(name, ())
            node.allowed = {
                target: self.nodes[target]
                for target in (*(edge.target for edge in edges), *further)
            }
            node.is_join = definition.joins.get(name, "all") == "all"

    def _targets(self, node: CompiledNode) -> set[int]:
        return {target.index for target in node.allowed.values()}


def reachability(successors: list[set[int]]) -> list[int]:
    """Return for each node the bits of all nodes it reaches in one step or more.

    Nodes of a loop reach the same ones, so that the strongly connected components are found first
    (Tarjan's algorithm, without recursion); each is complete before those that lead to it.
    """
    reach = [0] * len(successors)
    for component in components(successors):
        bits = 0
        for node in component:
            for target in successors[node]:
                bits |= 1 << target | reach[target]
        for node in component:
            reach[node] = bits
    return reach


def components(successors: list[set[int]]) -> Iterable[list[int]]:
    """Yield the strongly connected components, each after all that it leads to."""
    numbers: dict[int, int] = {}
    lowest: dict[int, int] = {}
    stack: list[int] = []
    waiting: set[int] = set()
    for root in range(len(successors)):
        if root in numbers:
            continue
        numbers[root] = lowest[root] = len(numbers)
        stack.append(root)
        waiting.add(root)
        path = [(root, iter(sorted(successors[root])))]
        while path:
            node, targets = path[-1]
            for target in targets:
                if target not in numbers:
                    numbers[target] = lowest[target] = len(numbers)
                    stack.append(target)
                    waiting.add(target)
                    path.append((target, iter(sorted(successors[target]))))
                    break
                if target in waiting:
                    lowest[node] = min(lowest[node], numbers[target])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == numbers[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        waiting.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    yield component
