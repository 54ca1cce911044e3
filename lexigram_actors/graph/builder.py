"""`WorkflowBuilder`: how a graph is put together.

What a single call can show to be wrong is refused by that call, as a `ConfigurationError` (a
`ValueError`). What only the whole graph can show is refused by `build()`, all of it at once: nodes
may be named before they are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, final

from lexigram_actors.checks import choice, flag, given, nested, require, text, whole
from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.graph import draw
from lexigram_actors.graph.definition import GraphDefinition, Join, Predicate, Reducer
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.making import NodeLike, made_node, refuse
from lexigram_actors.graph.models import GraphResult
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.nodes.calling import OnError
from lexigram_actors.graph.nodes.gate import GateNode
from lexigram_actors.graph.validate import (
    JOINS,
    check_structure,
    fault_of_function,
    fault_of_key,
    fault_of_name,
)
from lexigram_actors.storage import Codec


@final
class WorkflowBuilder:
    """Puts a graph together, call by call; `build()` checks it and makes the engine.

        engine = (
            WorkflowBuilder("review")
            .add_node("draft", llm=model, prompt="Write about {input}")
            .add_node("check", human_prompt="Publish this? {output}", output_key="verdict")
            .add_edge("draft", "check")
            .set_entry("draft")
            .set_terminal("check")
            .build()
        )

    Every method but `build`, `to_dot` and `to_mermaid` returns the builder. It can be used on after
    `build()`; engines that were built do not change.

    Args:
        name: The name of the graph, for logs, events and checkpoints.
        config: What applies to runs that are given no configuration of their own; None: the
            defaults.
        version: The version of the definition; at least 0. Raise it when what waits under the old
            definition cannot go on under the new one.
        codec: What the states of paused and saved runs are written with; None: the default codec.

    Raises:
        ConfigurationError: An argument is of the wrong type or out of its range.
    """

    def __init__(
        self,
        name: str,
        config: GraphConfig | None = None,
        version: int = 1,
        *,
        codec: Codec | None = None,
    ) -> None:
        refuse("the graph's name", name, fault_of_name(name))
        require("config", config, nested(GraphConfig))
        require("version", version, whole(least=0))
        if not isinstance(codec, Codec | None):
            raise ConfigurationError(f"codec: {given(codec)} was given, it must be a Codec or None")
        self._name = name
        self._config = config
        self._version = version
        self._codec = codec
        self._nodes: dict[str, AbstractWorkflowNode] = {}
        self._edges: list[WorkflowEdge] = []
        self._entry: str | None = None
        self._terminals: dict[str, Predicate | None] = {}
        self._run_terminals: set[str] = set()
        self._gotos: dict[str, list[str]] = {}
        self._joins: dict[str, Join] = {}
        self._reducers: dict[str, Reducer] = {}

    # --- nodes -------------------------------------------------------------------------------

    def add_node(
        self,
        name: str,
        *,
        node: NodeLike | None = None,
        agent: Any | None = None,
        tool: Any | None = None,
        llm: Any | None = None,
        prompt: str = "",
        human_prompt: str = "",
        subworkflow: Any | None = None,
        executor: Any | None = None,
        output_key: str = "output",
        input_key: str = "input",
        join: Join = "all",
        on_error: OnError | None = None,
    ) -> Self:
        """Add a node, which is `node`, or made for an agent, a tool, a model, a person, a workflow.

        Exactly one of these is given. Other keywords are refused where they say nothing about it.

        Args:
            name: Names the node in this graph, whatever its own name is.
            node: A node; a plain function `(state) -> update`, sync or async; or a `Runnable`,
                whose failure is the node's. A `GateNode` brings its routes as edges.
            agent: Has `run(message)`, or is what `executor` runs.
            tool: Has an async `execute`.
            llm: Completes a prompt.
            prompt: The prompt for `llm`, with `{key}` for keys of the state; empty: `"{input}"`.
            human_prompt: What a person is asked.
            subworkflow: A `Runnable`, or has `execute(input, state=)`; its failure is a text.
            executor: Runs the agent; None: the agent runs itself.
            output_key: Where in the state the result goes.
            input_key: Where in the state an agent, a tool or a subworkflow finds its input.
            join: With `"all"` the node waits until no other branch can still reach it, and runs
                once; with `"any"` it runs for each that arrives.
            on_error: `"raise"` lets the run fail with the node; `"text"` writes a text about the
                failure under `output_key`. None: `"text"` for `subworkflow`, else `"raise"`.

        Raises:
            ConfigurationError: The name is taken, or the keywords do not fit. A `ValueError`.
        """
        kinds = {
            "node": node,
            "agent": agent,
            "tool": tool,
            "llm": llm,
            "human_prompt": human_prompt or None,
            "subworkflow": subworkflow,
        }
        options = {
            "prompt": prompt,
            "executor": executor,
            "output_key": output_key,
            "input_key": input_key,
            "on_error": on_error,
        }
        self._refuse_name(name)
        return self._add(name, made_node(name, kinds, options), join)

    def add_gate(self, name: str, routes: Mapping[str, Predicate], *, join: Join = "all") -> Self:
        """Add a node that does nothing but branch: to every target whose condition holds.

        Args:
            name: Names the gate.
            routes: For each target the condition, `(state) -> bool`; they become edges.
            join: As of `add_node`.

        Raises:
            ConfigurationError: The name is taken, or an argument is of the wrong type.
        """
        self._refuse_name(name)
        if not isinstance(routes, Mapping):
            raise ConfigurationError(
                f"routes: {given(routes)} was given, it must be a mapping of targets to conditions"
            )
        return self._add(name, GateNode(name, routes=routes), join)

    def _refuse_name(self, name: str) -> None:
        refuse("the node's name", name, fault_of_name(name))
        if name in self._nodes:
            raise ConfigurationError(f"there is a node {given(name)} already; names are unique")

    def _add(self, name: str, node: AbstractWorkflowNode, join: Join) -> Self:
        require("join", join, choice(*JOINS))
        routes = node.routes if isinstance(node, GateNode) else {}
        edges = [_edge(name, target, condition) for target, condition in routes.items()]
        # From here on nothing can fail: a call that was refused leaves no part of itself behind.
        self._nodes[name] = node
        self._joins[name] = join
        self._edges += edges
        return self

    # --- ways --------------------------------------------------------------------------------

    def add_edge(
        self,
        source: str,
        target: str,
        *,
        condition: Predicate | None = None,
        label: str = "",
        is_parallel: bool = False,
    ) -> Self:
        """Add a way from one node to another.

        Args:
            source: The node it starts from; it may be added later.
            target: The node it leads to; likewise.
            condition: `(state) -> bool`, a plain function; None: always.
            label: What a drawing says beside it.
            is_parallel: Follow it side by side with others even where `parallel_branches` is off.

        Raises:
            ConfigurationError: An argument is of the wrong type.
        """
        self._edges.append(_edge(source, target, condition, label, is_parallel=is_parallel))
        return self

    def add_goto(self, source: str, *targets: str) -> Self:
        """Declare where a `Command` of the node may lead, besides its edges.

        Calls for one source add up.

        Raises:
            ConfigurationError: There is no target, or a name is no string.
        """
        if not targets:
            raise ConfigurationError(f"add_goto({given(source)}) names no target; name one or more")
        for name in (source, *targets):
            require("name", name, text())
        self._gotos.setdefault(source, []).extend(targets)
        return self

    def set_entry(self, node: str) -> Self:
        """Name the node where runs start; the last call counts.

        Raises:
            ConfigurationError: The name is no string.
        """
        require("node", node, text())
        self._entry = node
        return self

    def set_terminal(
        self,
        node: str,
        *,
        condition: Predicate | None = None,
        stop: Literal["branch", "run"] = "branch",
    ) -> Self:
        """Let a branch of the run end at this node; the last call for a node counts.

        Args:
            node: The node; it may be added later.
            condition: `(state) -> bool`: it ends there only if this holds, and goes on along the
                edges otherwise. None: always.
            stop: `"branch"` ends the branch that came here, `"run"` the whole run: what runs
                beside it is cancelled.

        Raises:
            ConfigurationError: An argument is of the wrong type.
        """
        require("node", node, text())
        require("stop", stop, choice("branch", "run"))
        _refuse_function("condition", condition)
        self._terminals[node] = condition
        self._run_terminals.discard(node)
        if stop == "run":
            self._run_terminals.add(node)
        return self

    # --- what applies to all -----------------------------------------------------------------

    def add_reducer(self, key: str, fn: Reducer) -> Self:
        """Combine the writes of a key, instead of letting the later one win.

        Args:
            key: A key of the state.
            fn: `(earlier, later) -> combined`, a plain function. It is asked for every write after
                the first; a value in the initial state is the first.

        Raises:
            ConfigurationError: The key has a reducer, or is the engine's own; or it is no string,
                or `fn` no plain function.
        """
        refuse("the key", key, fault_of_key(key))
        refuse("the reducer", fn, fault_of_function(fn))
        if key in self._reducers:
            raise ConfigurationError(f"the key {given(key)} has a reducer already; leave one out")
        self._reducers[key] = fn
        return self

    def configure(self, config: GraphConfig) -> Self:
        """Replace the configuration that runs without one of their own are given.

        Raises:
            ConfigurationError: It is no `GraphConfig`.
        """
        if not isinstance(config, GraphConfig):
            raise ConfigurationError(f"config: {given(config)} was given, it must be a GraphConfig")
        self._config = config
        return self

    # --- what comes out ----------------------------------------------------------------------

    def build(self) -> WorkflowEngine:
        """Check the whole graph and make the engine.

        Raises:
            GraphValidationError: The graph cannot run as it is. Every problem is in the message,
                one a line, and in `details["problems"]`.
        """
        definition = self._definition()
        check_structure(definition, terminals_needed=True)
        assert definition.entry is not None  # one without was refused just now
        return WorkflowEngine(
            definition.name,
            definition.nodes,
            definition.edges,
            definition.entry,
            definition.terminals,
            self._config,
            definition.version,
            joins=definition.joins,
            reducers=definition.reducers,
            run_terminals=definition.run_terminals,
            gotos=definition.gotos,
            codec=self._codec,
        )

    def to_dot(self, result: GraphResult | None = None) -> str:
        """Return the graph as it is now in Graphviz's language; coloured by a run's result."""
        return draw.to_dot(self._definition(), result)

    def to_mermaid(self, result: GraphResult | None = None) -> str:
        """Return the graph as it is now in Mermaid's language; coloured by a run's result."""
        return draw.to_mermaid(self._definition(), result)

    def _definition(self) -> GraphDefinition:
        """Return the graph as it is now, to be used at once: it changes with the builder."""
        return GraphDefinition(
            name=self._name,
            nodes=self._nodes,
            edges=self._edges,
            entry=self._entry,
            terminals=self._terminals,
            run_terminals=self._run_terminals,
            gotos={source: tuple(dict.fromkeys(names)) for source, names in self._gotos.items()},
            joins=self._joins,
            reducers=self._reducers,
            version=self._version,
        )


def _edge(
    source: str,
    target: str,
    condition: Predicate | None,
    label: str = "",
    *,
    is_parallel: bool = False,
) -> WorkflowEdge:
    require("source", source, text())
    require("target", target, text())
    require("label", label, text())
    require("is_parallel", is_parallel, flag())
    _refuse_function("condition", condition)
    return WorkflowEdge(source, target, condition, label, is_parallel)


def _refuse_function(what: str, fn: object) -> None:
    if fn is not None:
        refuse(what, fn, fault_of_function(fn))
