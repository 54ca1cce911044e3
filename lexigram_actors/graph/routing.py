"""What a node returned, and where that leads. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lexigram_actors.checks import given
from lexigram_actors.errors import GraphExecutionError, WorkflowStepError
from lexigram_actors.errors.base import describe
from lexigram_actors.graph.compiled import CompiledNode, Route
from lexigram_actors.graph.definition import Predicate, State
from lexigram_actors.graph.models import Command, Send
from lexigram_actors.result import Err, Ok


def taken_apart(name: str, returned: Any) -> tuple[State, Command | None]:
    """Return the update in what a node returned, and its command if it is one.

    Raises:
        Exception: The one in an `Err` that the node returned.
        WorkflowStepError: An `Err` of something else.
        TypeError: It is nothing that a node may return.
    """
    if type(returned) is dict:
        return cleaned(returned), None
    if isinstance(returned, Ok):
        return taken_apart(name, returned.value)
    if isinstance(returned, Err):
        error = returned.error
        if isinstance(error, Exception):
            raise error
        raise WorkflowStepError(name, describe(error))
    if returned is None:
        return {}, None
    if isinstance(returned, Command):
        if not isinstance(returned.update, Mapping):
            raise TypeError(f"the update of a Command must be a dict, not {given(returned.update)}")
        return cleaned(returned.update), returned
    if isinstance(returned, Mapping):
        return cleaned(returned), None
    raise TypeError(
        f"a node must return a dict of what to write, a Command, or None; got {given(returned)}"
    )


def cleaned(update: Mapping[Any, Any]) -> State:
    """Return a copy without the engine's keys, those that begin with `_`."""
    for key in update:
        if not isinstance(key, str):
            raise TypeError(f"keys of a state must be text, not {given(key)}")
        if key.startswith("_"):
            return {key: value for key, value in update.items() if not str(key).startswith("_")}
    return dict(update)


def ends_branch(node: CompiledNode, condition: Predicate, view: State) -> bool:
    """Say whether a node that finished is the end of its branch, by its terminal condition.

    Raises:
        GraphExecutionError: The condition raised something else than `KeyError`.
    """
    try:
        return bool(condition(view))
    except KeyError:
        return False
    except Exception as error:
        raise GraphExecutionError(
            f"the terminal condition of node {node.name!r} raised {describe(error)}",
            node=node.name,
            cause=error,
        ) from error


def routes_along_edges(node: CompiledNode, view: State) -> tuple[Route, ...]:
    """Return the ways along the edges that are active in this state.

    Raises:
        GraphExecutionError: A condition raised something else than `KeyError`.
    """
    routes = []
    for edge, route in node.ways:
        try:
            if edge.condition is None or edge.condition(view):
                routes.append(route)
        except KeyError:
            continue  # as `edge.is_active` has it
        except Exception as error:
            raise GraphExecutionError(
                f"the condition of the edge {edge.source!r} -> {edge.target!r} raised "
                f"{describe(error)}",
                node=node.name,
                cause=error,
                details={"source": edge.source, "target": edge.target},
            ) from error
    return tuple(routes)


def routes_of_command(node: CompiledNode, command: Command) -> tuple[Route, ...]:
    """Return the ways a command names: its `goto` first, then its sends, in order.

    Raises:
        GraphExecutionError: A target is not declared, or is no name.
    """
    routes = []
    for slot, (target, overlay) in enumerate(_targets(node, command)):
        known = node.allowed.get(target) if isinstance(target, str) else None
        if known is None:
            raise GraphExecutionError(
                f"node {node.name!r} wants to go to {given(target)}, which is not declared",
                node=node.name,
                hint=f"add_edge({node.name!r}, target), or add_goto({node.name!r}, target)",
            )
        routes.append(Route(known, slot, overlay))
    return tuple(routes)


def _targets(node: CompiledNode, command: Command) -> Iterator[tuple[Any, State | None]]:
    goto = command.goto
    for target in () if goto is None else (goto,) if isinstance(goto, str) else goto:
        yield target, None
    for send in command.send:
        if not isinstance(send, Send) or not isinstance(send.state, Mapping):
            raise GraphExecutionError(
                f"node {node.name!r} wants to send {given(send)}; expected Send(node, state)",
                node=node.name,
            )
        yield send.node, cleaned(send.state)
