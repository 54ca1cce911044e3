"""What is wrong with a graph's structure, all of it at once. Pure.

Every search is a loop over a list of its own and looks at each node and each edge once or twice, so
that neither a chain of ten thousand nodes nor a dense graph is a problem.

**Two readings.** Ways are counted as they are drawn: along edges whatever their condition, along
declared gotos, and past terminal nodes as well, which may let a run pass under a condition. So an
edge that leaves a node which always ends its branch is no problem: nothing follows it, and what it
says in a drawing is left to the author. And from a node that cannot be reached a terminal has to be
within reach all the same, or mending the one would bring the other to light.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from lexigram_actors.checks import given, whole
from lexigram_actors.errors import GraphValidationError
from lexigram_actors.errors.base import repr_of
from lexigram_actors.graph.definition import GraphDefinition
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.node import AbstractWorkflowNode, NestingNode
from lexigram_actors.host.seam import Runnable
from lexigram_actors.storage.encoding import has_surrogates
from lexigram_actors.storage.keys import MAX_KEY_LENGTH

MAX_NODES = 10_000
"""More are no graph that somebody wrote, but a mistake of whatever generates it."""

MAX_EDGES = 100_000
"""Edges of a graph, at most; for the same reason."""

JOINS = ("all", "any")


def check_structure(definition: GraphDefinition, *, terminals_needed: bool) -> None:
    """Refuse a graph that cannot run as it is.

    Raises:
        GraphValidationError: There is a problem. All are in the message, one a line, and in
            `details["problems"]`.
    """
    problems = problems_of(definition, terminals_needed=terminals_needed)
    if problems:
        head = f"the graph {given(definition.name)} cannot run:"
        raise GraphValidationError("\n  - ".join([head, *problems]), details={"problems": problems})


def problems_of(definition: GraphDefinition, *, terminals_needed: bool) -> list[str]:
    """Return a sentence for each problem, in the order of the definition; none for a sound graph.

    Args:
        definition: The graph. Nothing is taken for granted about names, keys and functions in it.
        terminals_needed: Whether a graph without a terminal node is a problem. Where there is
            one, every node needs one within reach, whatever this says.
    """
    return [
        *_problems_of_itself(definition),
        *_problems_of_nodes(definition.nodes),
        *_problems_of_entry(definition),
        *_problems_of_edges(definition),
        *_problems_of_gotos(definition),
        *_problems_of_terminals(definition, terminals_needed=terminals_needed),
        *_problems_of_joins(definition),
        *_problems_of_reducers(definition.reducers),
        *_problems_of_ways(definition),
    ]


# --- what the builder refuses as well, earlier -----------------------------------------------


def fault_of_name(name: object) -> str | None:
    """Return why something cannot name a node or a graph, as the end of a sentence, or None."""
    if not isinstance(name, str) or not name:
        return "is no name; give a string that is not empty"
    if len(name) > MAX_KEY_LENGTH:
        return f"is too long for a name; {MAX_KEY_LENGTH} characters are possible"
    if "\0" in name or has_surrogates(name):
        return "has a NUL character or a lone surrogate, which no store can keep"
    return None


def fault_of_key(key: object) -> str | None:
    """Return why something cannot be written in a state, as the end of a sentence, or None."""
    if not isinstance(key, str) or not key:
        return "is no key of a state; give a string that is not empty"
    if key.startswith("_"):
        return "would be dropped; keys that begin with '_' are the engine's, choose another"
    return None


def fault_of_function(fn: object) -> str | None:
    """Return why something cannot be asked for a value, as the end of a sentence, or None."""
    if not callable(fn):
        return "cannot be called; give a function"
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__):
        return "is async; give a plain function, it is not awaited"
    return None


def fault_of_node(node: object) -> str | None:
    """Return why something cannot be a node of an engine, as the end of a sentence, or None."""
    if isinstance(node, type):
        return "is a class; give an instance of it"
    if isinstance(node, AbstractWorkflowNode):
        return None
    if is_runnable(node):
        return "is no node; wrap it in a SubworkflowNode"
    if not callable(getattr(node, "execute", None)):
        return "is no node; give an AbstractWorkflowNode, or an object with execute(state)"
    return None


def is_runnable(value: object) -> bool:
    """Say whether something is a `Runnable`, and no stand-in that has every attribute."""
    return isinstance(value, Runnable) and isinstance(value.kind, str)


# --- parts of a graph ------------------------------------------------------------------------


def _problems_of_itself(definition: GraphDefinition) -> Iterator[str]:
    if fault := fault_of_name(definition.name):
        yield f"the graph's name {given(definition.name)} {fault}"
    version = whole(least=0)["rule"]
    if not version.allows(definition.version):
        yield f"version: {version.refusal(definition.version)}"
    for what, parts, most in (
        ("nodes", definition.nodes, MAX_NODES),
        ("edges", definition.edges, MAX_EDGES),
    ):
        if len(parts) > most:
            yield f"there are {len(parts):,} {what}, {most:,} at most are possible; split the graph"
    if not definition.nodes:
        yield "there are no nodes; add one"


def _problems_of_nodes(nodes: Mapping[str, Any]) -> Iterator[str]:
    for name, node in nodes.items():
        if fault := fault_of_name(name):
            yield f"the node's name {given(name)} {fault}"
        elif outer := _nesting_node(name, nodes):
            yield (
                f"the name {given(name)} is also how a question inside node {given(outer)} is "
                "named; rename one of the two"
            )
        if fault := fault_of_node(node):
            yield f"node {given(name)}: {given(node)} {fault}"
        for attribute in ("output_key", "resume_key"):
            key = getattr(node, attribute, None)
            # What is no string is a matter of the node's own class, which may mean another thing.
            if isinstance(key, str) and (fault := fault_of_key(key)):
                yield f"node {given(name)}: its {attribute} {given(key)} {fault}"


def _nesting_node(name: str, nodes: Mapping[str, Any]) -> str | None:
    """Return the node that holds a graph and whose questions may have this name."""
    prefixes = accumulate(name.split("/")[:-1], lambda outer, inner: f"{outer}/{inner}")
    return next((each for each in prefixes if isinstance(nodes.get(each), NestingNode)), None)


def _problems_of_entry(definition: GraphDefinition) -> Iterator[str]:
    if definition.entry is None:
        yield "no entry is set; name the node where runs start (set_entry)"
    elif not _is_node(definition.entry, definition):
        yield f"the entry {given(definition.entry)} {UNKNOWN}"


def _problems_of_edges(definition: GraphDefinition) -> Iterator[str]:
    always: set[tuple[str, str]] = set()
    for position, edge in enumerate(definition.edges):
        if not isinstance(edge, WorkflowEdge):
            yield f"edge {position}: {given(edge)} is no WorkflowEdge"
            continue
        shown = f"edge {given(edge.source)} -> {given(edge.target)}"
        ends = (("source", edge.source), ("target", edge.target))
        strange = [end for end in ends if not _is_node(end[1], definition)]
        for end, name in strange:
            yield f"{shown}: its {end} {given(name)} {UNKNOWN}"
        if edge.condition is not None:
            if fault := fault_of_function(edge.condition):
                yield f"{shown}: its condition {given(edge.condition)} {fault}"
        elif not strange:
            if (edge.source, edge.target) in always:
                yield f"{shown} is there twice without a condition; leave one out"
            always.add((edge.source, edge.target))


def _problems_of_gotos(definition: GraphDefinition) -> Iterator[str]:
    for source, targets in definition.gotos.items():
        if not _is_node(source, definition):
            yield f"gotos: the source {given(source)} {UNKNOWN}"
        if not _is_list(targets):
            yield f"gotos of {given(source)}: {given(targets)} is no list of names"
            continue
        for target in targets:
            if not _is_node(target, definition):
                yield f"gotos of {given(source)}: the target {given(target)} {UNKNOWN}"


def _problems_of_terminals(definition: GraphDefinition, *, terminals_needed: bool) -> Iterator[str]:
    if terminals_needed and not definition.terminals:
        yield "there is no terminal node; name where branches end (set_terminal)"
    for name, condition in definition.terminals.items():
        if not _is_node(name, definition):
            yield f"the terminal {given(name)} {UNKNOWN}"
        if condition is not None and (fault := fault_of_function(condition)):
            yield f"terminal {given(name)}: its condition {given(condition)} {fault}"
    # A set has no order of its own; that of strings differs from process to process.
    for name in sorted(definition.run_terminals, key=repr_of):
        if not _is_node(name, definition):
            yield f"the terminal {given(name)} that ends the run {UNKNOWN}"
        elif name not in definition.terminals:
            yield f"node {given(name)} is to end the run but is no terminal; make it one"


def _problems_of_joins(definition: GraphDefinition) -> Iterator[str]:
    for name, join in definition.joins.items():
        if not _is_node(name, definition):
            yield f"joins: {given(name)} {UNKNOWN}"
        if join not in JOINS:
            yield f"node {given(name)}: its join {given(join)} is unknown; it is 'all' or 'any'"


def _problems_of_reducers(reducers: Mapping[str, Any]) -> Iterator[str]:
    for key, reducer in reducers.items():
        if fault := fault_of_key(key):
            yield f"reducers: {given(key)} {fault}"
        if fault := fault_of_function(reducer):
            yield f"the reducer of {given(key)}: {given(reducer)} {fault}"


# --- ways through a graph --------------------------------------------------------------------


def _problems_of_ways(definition: GraphDefinition) -> Iterator[str]:
    ways = [pair for pair in _ways(definition) if all(_is_node(end, definition) for end in pair)]
    if _is_node(definition.entry, definition):
        reached = _reached([definition.entry], ways)
        for name in definition.nodes:
            if name not in reached:
                yield f"node {given(name)} cannot be reached from the entry; add a way or remove it"
    if any(_is_node(name, definition) for name in definition.terminals):
        back = [(target, source) for source, target in ways]
        ending = _reached(definition.terminals, back)
        for name in definition.nodes:
            if name not in ending:
                yield f"from node {given(name)} no terminal is within reach; add a way to one"


def _ways(definition: GraphDefinition) -> Iterator[tuple[Any, Any]]:
    for edge in definition.edges:
        if isinstance(edge, WorkflowEdge):
            yield edge.source, edge.target
    for source, targets in definition.gotos.items():
        if _is_list(targets):
            for target in targets:
                yield source, target


def _reached(starts: Iterable[Any], ways: Iterable[tuple[Any, Any]]) -> set[Any]:
    """Return the starts, and whatever the ways lead to from there."""
    following: dict[Any, list[Any]] = {}
    for source, target in ways:
        following.setdefault(source, []).append(target)
    reached = set(starts)
    waiting = list(reached)
    while waiting:
        for target in following.get(waiting.pop(), ()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


UNKNOWN = "is no node of the graph; add it, or correct the name"


def _is_node(name: object, definition: GraphDefinition) -> bool:
    # Names come unchecked: what cannot be hashed cannot be looked up.
    return isinstance(name, str) and name in definition.nodes


def _is_list(targets: object) -> bool:
    # A string is a collection too, of names with one character each.
    return isinstance(targets, Collection) and not isinstance(targets, str | bytes)
