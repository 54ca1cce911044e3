"""`GraphDefinition`: the structure of a graph, before it is validated, drawn or run. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

from attrs import field, frozen

from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.node import AbstractWorkflowNode

State = dict[str, Any]
"""What was written, by key."""

Predicate = Callable[[State], bool]
"""A question about a state."""

Reducer = Callable[[Any, Any], Any]
"""`(earlier, later) -> combined`, for two writes of one key."""

Join = Literal["all", "any"]


@frozen(eq=False)
class GraphDefinition:
    """What a builder collects and an engine runs; nothing of it has been checked.

    Attributes:
        nodes: By name, in order of registration, which decides ties in merge order.
        entry: Where runs start; None when it was not set.
        terminals: Nodes that end their branch, each with the condition for it or None.
        run_terminals: Those of them that end the whole run.
        gotos: For each node the targets that a `Command` of it may name, besides its edges.
        joins: For each node what it does with several arrivals; `"all"` where it is not named.
        reducers: By key of the state.
    """

    name: str
    nodes: Mapping[str, AbstractWorkflowNode]
    edges: Sequence[WorkflowEdge]
    entry: str | None
    terminals: Mapping[str, Predicate | None]
    run_terminals: AbstractSet[str] = frozenset()
    gotos: Mapping[str, Sequence[str]] = field(factory=dict)
    joins: Mapping[str, Join] = field(factory=dict)
    reducers: Mapping[str, Reducer] = field(factory=dict)
    version: int = 1
