"""Making the nodes of a builder: from one keyword that says the kind, and options that fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from lexigram_actors.checks import given, require, text
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.nodes.agent import AgentNode
from lexigram_actors.graph.nodes.function import FunctionNode
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.graph.nodes.llm import LLMNode
from lexigram_actors.graph.nodes.subworkflow import SubworkflowNode
from lexigram_actors.graph.nodes.tool import ToolNode
from lexigram_actors.graph.validate import fault_of_key, fault_of_node, is_runnable
from lexigram_actors.host.seam import Runnable

NodeLike = AbstractWorkflowNode | Runnable | Callable[[dict[str, Any]], Any]
"""What `add_node(node=...)` takes."""

APPLIES = {
    "prompt": ("llm",),
    "executor": ("agent",),
    "output_key": ("agent", "tool", "llm", "human_prompt", "subworkflow"),
    "input_key": ("agent", "tool", "subworkflow"),
    "on_error": ("agent", "tool", "llm", "subworkflow"),
}
"""The kinds of nodes that each keyword says something about. For others it is refused."""

DEFAULTS = {"prompt": "", "output_key": "output", "input_key": "input"}
"""What those keywords are where they are not given; the others are None."""


def made_node(
    name: str, kinds: Mapping[str, Any], options: Mapping[str, Any]
) -> AbstractWorkflowNode:
    """Make the node of the one kind that is given, with the options that apply to it."""
    kind = _sole_kind(name, kinds)
    value = kinds[kind]
    if kind == "node" and is_runnable(value) and not isinstance(value, AbstractWorkflowNode):
        kind, options = "subworkflow", {**options, "on_error": options["on_error"] or "raise"}
    _check_options(name, kind, options)
    fit = {
        key: option
        for key, option in options.items()
        if kind in APPLIES[key] and option is not None
    }
    match kind:
        case "agent":
            return AgentNode(name, agent=value, **fit)
        case "tool":
            return ToolNode(name, tool=value, **fit)
        case "llm":
            prompt = fit.pop("prompt") or "{input}"
            return LLMNode(name, llm=value, prompt_template=prompt, **fit)
        case "human_prompt":
            return HumanNode(name, prompt=value, **fit)
        case "subworkflow":
            return SubworkflowNode(name, workflow=value, **fit)
        case _:
            return _as_node(name, value)


def _sole_kind(name: str, kinds: Mapping[str, Any]) -> str:
    found = [kind for kind, value in kinds.items() if value is not None]
    if len(found) != 1:
        what = f"there are {', '.join(found)}" if found else "none of them was given"
        raise ConfigurationError(
            f"node {given(name)} needs exactly one of {', '.join(kinds)}; {what}"
        )
    return found[0]


def _check_options(name: str, kind: str, options: Mapping[str, Any]) -> None:
    require("prompt", options["prompt"], text())
    require("input_key", options["input_key"], text())
    refuse("output_key", options["output_key"], fault_of_key(options["output_key"]))
    for key, option in options.items():
        plain = DEFAULTS.get(key)
        was_given = option is not None if plain is None else option != plain
        if was_given and kind not in APPLIES[key]:
            raise ConfigurationError(
                f"node {given(name)}: {key} says nothing about a node made with {kind}, only with "
                f"{' or '.join(APPLIES[key])}; leave it out"
            )


def _as_node(name: str, value: Any) -> AbstractWorkflowNode:
    fault = fault_of_node(value)
    if fault is None:
        return cast("AbstractWorkflowNode", value)  # or it has `execute`, all that counts
    if callable(value) and not isinstance(value, type):
        return FunctionNode(name, value)
    raise ConfigurationError(f"node {given(name)}: {given(value)} {fault}")


def refuse(what: str, value: object, fault: str | None) -> None:
    """Raise a `ConfigurationError` about the value, if it has a fault."""
    if fault is not None:
        raise ConfigurationError(f"{what} {given(value)} {fault}")
