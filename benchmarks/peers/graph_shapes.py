"""The graphs of the rows, once for the builder that ours and the reference have in common.

Every node adds one: most to the key ``x``, the branches of a fan-out to a key of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

from attrs import field, frozen

State = dict[str, Any]
Function = Callable[[State], Awaitable[State]]
Wrap = Callable[[str, Function], Any]
Make = Callable[[str], Function]

BRANCHES = 10


async def increment(state: State) -> State:
    """Add one to ``x``."""
    return {"x": state["x"] + 1}


def branch(key: str) -> Function:
    """Make a node that writes ``x + 1`` to a key of its own, as parallel branches do."""

    async def write(state: State) -> State:
        return {key: state["x"] + 1}

    return write


@frozen
class Shape:
    """A graph, and what a run of it comes to.

    Attributes:
        nodes: Executions in a run.
        x: The final ``x``.
        build: Adds nodes and edges to a builder; the second argument makes a function a node.
        initial: The state to start with.
    """

    nodes: int
    x: int
    build: Callable[[Any, Wrap], Any]
    initial: State = field(factory=lambda: {"x": 0})

    def check(self, state: State) -> None:
        """Raise unless the run did all of its work."""
        assert state["x"] == self.x, state
        assert len(state) >= len(self.initial)


def _line(length: int, builder: Any, wrap: Wrap) -> Any:
    names = [f"n{number}" for number in range(length)]
    for name in names:
        builder.add_node(name, node=wrap(name, increment))
    for source, target in pairwise(names):
        builder.add_edge(source, target)
    return builder.set_entry(names[0]).set_terminal(names[-1])


def _loop(times: int, builder: Any, wrap: Wrap) -> Any:
    builder.add_node("body", node=wrap("body", increment))
    builder.add_edge("body", "body", condition=lambda state: state["x"] < times)
    return builder.set_entry("body").set_terminal("body", condition=lambda s: s["x"] >= times)


def _fan_out(width: int, make: Make, builder: Any, wrap: Wrap) -> Any:
    for name in ("first", "last"):
        builder.add_node(name, node=wrap(name, increment))
    for name in (f"b{number}" for number in range(width)):
        builder.add_node(name, node=wrap(name, make(name)))
        builder.add_edge("first", name).add_edge(name, "last")
    return builder.set_entry("first").set_terminal("last")


def line(length: int = 10) -> Shape:
    """Nodes one after the other."""
    return Shape(length, length, partial(_line, length))


def loop(times: int = 100, keys: int = 0) -> Shape:
    """One node that leads to itself, with further keys that nobody writes."""
    initial = {"x": 0} | {f"key{number}": number for number in range(keys)}
    return Shape(times, times, partial(_loop, times), initial)


def fan_out(make: Make = branch, width: int = BRANCHES) -> Shape:
    """A node, branches side by side, and a node that waits for all of them."""
    return Shape(width + 2, 2, partial(_fan_out, width, make))
