"""Putting a graph together: what each call takes and refuses, and what comes out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import attrs
import pytest
import trio

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import ConfigurationError, GraphValidationError, NodeExecutionError
from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.nodes.agent import AgentNode
from lexigram_actors.graph.nodes.function import FunctionNode
from lexigram_actors.graph.nodes.gate import GateNode
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.graph.nodes.llm import LLMNode
from lexigram_actors.graph.nodes.subworkflow import SubworkflowNode
from lexigram_actors.graph.nodes.tool import ToolNode
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage import Codec

State = dict[str, Any]


class Node(AbstractWorkflowNode):
    async def execute(self, state: State) -> State:
        return {"output": self.name}


class Agent:
    async def run(self, message: str) -> str:
        return f"agent: {message}"


class Executor:
    async def execute(self, agent: Any, message: str) -> str:
        return f"executed: {message}"


class Tool:
    async def execute(self, arguments: Any) -> str:
        return f"tool: {list(arguments.values())}"


class Model:
    async def complete(self, messages: list[Any], **options: Any) -> Any:
        return SimpleNamespace(content=f"model: {messages[-1].content}")


class Workflow:
    """Something with `execute`, as an engine of another library has it."""

    async def execute(self, value: Any, *, state: State) -> Any:
        return Ok(SimpleNamespace(output=f"workflow: {value}"))


class Pipeline:
    """A `Runnable`."""

    kind = "pipeline"
    name = "p"
    version = 1

    def __init__(self, outcome: Result[Any, Exception] | None = None) -> None:
        self.outcome = outcome

    async def run(self, context: RunContext, /) -> Result[Any, Exception]:
        return self.outcome or Ok(f"pipeline: {context.input}")


def always(state: State) -> bool:
    return True


async def later(state: State) -> State:
    await trio.lowlevel.checkpoint()
    return {"output": f"later: {state['input']}"}


def alone(**given: Any) -> WorkflowBuilder:
    """A graph of one node."""
    return WorkflowBuilder("g").add_node("a", **given).set_entry("a").set_terminal("a")


def made(**given: Any) -> Any:
    """The node that the builder makes of these keywords."""
    return alone(**given).build().definition.nodes["a"]


async def wrote(state: State | None = None, **given: Any) -> State:
    """What such a node writes."""
    return await made(**given).execute({"input": "in", **(state or {})})


def pair() -> WorkflowBuilder:
    """A graph `a -> z`."""
    return (
        WorkflowBuilder("g")
        .add_node("a", node=Node("1"))
        .add_node("z", node=Node("2"))
        .add_edge("a", "z")
        .set_entry("a")
        .set_terminal("z")
    )


# --- nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"node": Node("x")}, Node),
        ({"node": later}, FunctionNode),
        ({"node": Pipeline()}, SubworkflowNode),
        ({"agent": Agent()}, AgentNode),
        ({"tool": Tool()}, ToolNode),
        ({"llm": Model()}, LLMNode),
        ({"human_prompt": "Sure?"}, HumanNode),
        ({"subworkflow": Workflow()}, SubworkflowNode),
        ({"subworkflow": Pipeline()}, SubworkflowNode),
    ],
)
def test_each_kind_of_node_has_its_keyword(given: State, kind: type) -> None:
    assert type(made(**given)) is kind


def test_a_node_is_taken_as_it_is_whatever_its_own_name_says() -> None:
    node = Node("its own")
    assert made(node=node) is node


def test_a_node_that_can_be_run_elsewhere_too_is_taken_as_it_is() -> None:
    class Both(Pipeline, Node):
        name = "both"

    node = Both()
    assert made(node=node) is node


def test_an_object_that_can_execute_is_taken_as_it_is() -> None:
    for duck in (SimpleNamespace(execute=later), MagicMock(), AsyncMock()):
        assert made(node=duck) is duck


@pytest.mark.parametrize(
    "fn", [lambda state: {"output": f"later: {state['input']}"}, later, partial(later)]
)
async def test_a_function_sync_or_async_is_a_node(fn: Callable[[State], Any]) -> None:
    assert await wrote(node=fn) == {"output": "later: in"}


async def test_an_agent_runs_itself_or_is_run() -> None:
    assert await wrote(agent=Agent(), output_key="said") == {"said": "agent: in"}
    keys = {"input_key": "question", "output_key": "said"}
    assert await wrote({"question": "why"}, agent=Agent(), **keys) == {"said": "agent: why"}


async def test_an_executor_runs_the_agent() -> None:
    assert await wrote(agent=Agent(), executor=Executor()) == {"output": "executed: in"}


async def test_a_tool_has_its_keys() -> None:
    keys = {"input_key": "question", "output_key": "found"}
    assert await wrote({"question": "why"}, tool=Tool(), **keys) == {"found": "tool: ['why']"}


async def test_a_model_is_given_the_prompt() -> None:
    given = {"llm": Model(), "prompt": "About {input}!", "output_key": "draft"}
    assert await wrote(**given) == {"draft": "model: About in!"}


async def test_an_empty_prompt_is_the_input() -> None:
    assert await wrote(llm=Model()) == {"output": "model: in"}


def test_a_person_is_asked_and_the_answer_has_a_key() -> None:
    node = made(human_prompt="Sure?", output_key="verdict")
    assert (node.output_key, node.resume_key) == ("verdict", "verdict")
    assert made(human_prompt="Sure?").output_key == "output"


async def test_a_subworkflow_has_its_keys() -> None:
    keys = {"input_key": "question", "output_key": "found"}
    for workflow, said in ((Workflow(), "workflow: why"), (Pipeline(), "pipeline: why")):
        assert await wrote({"question": "why"}, subworkflow=workflow, **keys) == {"found": said}


async def test_a_runnable_as_a_node_has_the_keys_of_a_subworkflow() -> None:
    keys = {"input_key": "question", "output_key": "found"}
    found = await wrote({"question": "why"}, node=Pipeline(), **keys)
    assert found == {"found": "pipeline: why"}


async def test_a_runnable_as_a_node_fails_and_as_a_subworkflow_says_so() -> None:
    broken = Pipeline(Err(ValueError("no stock")))
    with pytest.raises(ValueError, match="no stock"):
        await wrote(node=broken)
    with pytest.raises(ValueError, match="no stock"):
        await wrote(subworkflow=broken, on_error="raise")
    for given in ({"subworkflow": broken}, {"node": broken, "on_error": "text"}):
        assert (await wrote(**given))["output"].startswith("Subworkflow error: ")


async def test_on_error_is_handed_on_to_every_kind_that_has_it() -> None:
    broken = AsyncMock(side_effect=ValueError("no"))
    kinds = {
        "agent": SimpleNamespace(run=broken),
        "tool": SimpleNamespace(execute=broken),
        "llm": SimpleNamespace(complete=broken),
        "subworkflow": SimpleNamespace(execute=broken),
    }
    for kind, value in kinds.items():
        with pytest.raises(ValueError, match="no"):
            await wrote(**{kind: value}, on_error="raise")
        assert " error: " in (await wrote(**{kind: value}, on_error="text"))["output"]


def test_a_name_is_used_once() -> None:
    builder = alone(node=Node("x"))
    with pytest.raises(ValueError, match="there is a node 'a' already"):
        builder.add_node("a", node=Node("y"))
    with pytest.raises(ValueError, match="there is a node 'a' already"):
        builder.add_gate("a", {"a": always})


def test_a_node_needs_a_kind() -> None:
    with pytest.raises(ValueError, match="none of them was given") as caught:
        WorkflowBuilder("g").add_node("a")
    assert "node, agent, tool, llm, human_prompt, subworkflow" in str(caught.value)


def test_a_node_has_one_kind() -> None:
    with pytest.raises(ValueError, match=r"there are agent, llm, human_prompt$"):
        alone(agent=Agent(), llm=Model(), human_prompt="Sure?")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"agent": Agent(), "prompt": "Hello"}, "prompt says nothing about a node made with agent"),
        ({"human_prompt": "Sure?", "prompt": "Hello"}, "prompt says nothing"),
        ({"tool": Tool(), "executor": Executor()}, "executor says nothing"),
        ({"llm": Model(), "input_key": "question"}, "input_key says nothing"),
        ({"human_prompt": "Sure?", "input_key": "question"}, "input_key says nothing"),
        ({"human_prompt": "Sure?", "on_error": "raise"}, "on_error says nothing"),
        ({"node": Node("x"), "output_key": "found"}, "output_key says nothing"),
        ({"node": Node("x"), "on_error": "text"}, "on_error says nothing"),
        ({"node": later, "input_key": "question"}, "input_key says nothing"),
        ({"node": later, "output_key": "found"}, "output_key says nothing"),
        ({"node": Pipeline(), "prompt": "Hello"}, "prompt says nothing"),
    ],
)
def test_a_keyword_that_would_be_ignored_is_refused(given: State, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        alone(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"node": 5}, "node 'a': 5 is no node"),
        ({"node": [Node("x")]}, "is no node"),
        ({"node": Node}, "is a class; give an instance"),
        ({"node": dict}, "is a class; give an instance"),
        ({"llm": Model(), "prompt": None}, "prompt: None was given, it must be a string"),
        ({"human_prompt": 5}, "prompt: 5 was given, it must be a string"),
        ({"llm": Model(), "output_key": 5}, "output_key 5 is no key"),
        ({"llm": Model(), "output_key": ""}, "output_key '' is no key"),
        ({"llm": Model(), "output_key": "_mine"}, "output_key '_mine' would be dropped"),
        ({"tool": Tool(), "input_key": 5}, "input_key: 5 was given"),
        ({"tool": Tool(), "on_error": "ignore"}, "on_error: 'ignore' was given"),
        ({"tool": Tool(), "join": "some"}, "join: 'some' was given, it must be 'all' or 'any'"),
    ],
)
def test_what_cannot_be_a_node_is_refused_at_once(given: State, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        alone(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["", None, 5, "n" * 513, "\0"])
def test_a_node_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="the node's name"):
        WorkflowBuilder("g").add_node(name, node=Node("x"))
    with pytest.raises(ConfigurationError, match="the node's name"):
        WorkflowBuilder("g").add_gate(name, {"a": always})


def test_a_call_that_was_refused_leaves_nothing_behind() -> None:
    builder = pair()
    earlier = builder.to_dot()
    gate: Any = GateNode("x", routes={"a": always, "z": 5})  # type: ignore[dict-item]
    for given in ({"node": gate}, {"node": Node("x"), "join": "some"}, {"agent": 1, "prompt": "p"}):
        with pytest.raises(ConfigurationError):
            builder.add_node("b", **given)
    with pytest.raises(ConfigurationError):
        builder.add_goto("b", "c", 5)  # type: ignore[arg-type]
    assert builder.to_dot() == earlier
    builder.build()


# --- gates -----------------------------------------------------------------------------------


def routes_of(engine: WorkflowEngine) -> list[tuple[str, str, Any]]:
    return [(edge.source, edge.target, edge.condition) for edge in engine.definition.edges]


@pytest.mark.parametrize("as_node", [True, False])
def test_the_routes_of_a_gate_become_edges_in_their_order(as_node: bool) -> None:
    routes = {"z": always, "a": bool}
    builder = pair()
    if as_node:
        builder.add_node("g", node=GateNode("other", routes=routes), join="any")
    else:
        builder.add_gate("g", routes, join="any")
    engine = builder.add_edge("a", "g").build()
    assert routes_of(engine) == [
        ("a", "z", None),
        ("g", "z", always),
        ("g", "a", bool),
        ("a", "g", None),
    ]
    assert engine.definition.nodes["g"].node_type is NodeType.GATE
    assert engine.definition.joins["g"] == "any"


def test_the_routes_of_a_gate_are_its_own() -> None:
    routes: dict[str, Any] = {"z": always}
    builder = pair().add_gate("g", routes).add_edge("a", "g")
    routes["elsewhere"] = always
    gate = builder.build().definition.nodes["g"]
    assert isinstance(gate, GateNode)
    assert list(gate.routes) == ["z"]


def test_a_gate_may_have_further_edges() -> None:
    engine = pair().add_gate("g", {}).add_edge("a", "g").add_edge("g", "z").build()
    assert ("g", "z", None) in routes_of(engine)


@pytest.mark.parametrize("routes", [None, ["a"], {"a": 5}, {5: always}, {"a": later}])
def test_the_routes_of_a_gate_are_conditions_by_target(routes: Any) -> None:
    with pytest.raises(ConfigurationError):
        WorkflowBuilder("g").add_gate("a", routes)


# --- ways ------------------------------------------------------------------------------------


def test_an_edge_keeps_what_it_was_given() -> None:
    engine = pair().add_edge("a", "z", condition=always, label="why", is_parallel=True).build()
    edge = engine.definition.edges[1]
    assert (edge.condition, edge.label, edge.is_parallel) == (always, "why", True)


@pytest.mark.parametrize(
    "given",
    [
        {"target": 5},
        {"source": None},
        {"condition": "always"},
        {"condition": later},
        {"label": None},
        {"is_parallel": 1},
    ],
)
def test_an_edge_is_refused_at_once_if_it_cannot_be_one(given: State) -> None:
    with pytest.raises(ConfigurationError):
        WorkflowBuilder("g").add_edge(**{"source": "a", "target": "z", **given})


def test_gotos_add_up() -> None:
    engine = pair().add_goto("a", "z", "a").add_goto("a", "z").add_goto("z", "a").build()
    assert engine.definition.gotos == {"a": ("z", "a"), "z": ("a",)}


def test_a_goto_has_targets() -> None:
    with pytest.raises(ConfigurationError, match=r"add_goto\('a'\) names no target"):
        WorkflowBuilder("g").add_goto("a")
    with pytest.raises(ConfigurationError):
        WorkflowBuilder("g").add_goto("a", ["z"])  # type: ignore[arg-type]


def test_the_last_entry_counts() -> None:
    builder = pair().add_edge("z", "a").set_entry("z")
    assert builder.build().definition.entry == "z"


def test_a_terminal_ends_its_branch_or_the_run() -> None:
    definition = pair().set_terminal("a", condition=always, stop="run").build().definition
    assert definition.terminals == {"z": None, "a": always}
    assert definition.run_terminals == {"a"}


def test_the_last_word_about_a_terminal_counts() -> None:
    builder = pair().set_terminal("z", condition=always, stop="run").set_terminal("z")
    definition = builder.build().definition
    assert (definition.terminals, definition.run_terminals) == ({"z": None}, frozenset())


@pytest.mark.parametrize(
    "given", [{"node": 5}, {"stop": "all"}, {"stop": None}, {"condition": 5}, {"condition": later}]
)
def test_a_terminal_is_refused_at_once_if_it_cannot_be_one(given: State) -> None:
    with pytest.raises(ConfigurationError):
        WorkflowBuilder("g").set_terminal(**{"node": "a", **given})


@pytest.mark.parametrize("entry", [None, 5, ["a"]])
def test_the_entry_is_named(entry: Any) -> None:
    with pytest.raises(ConfigurationError, match="it must be a string"):
        WorkflowBuilder("g").set_entry(entry)


# --- what applies to all ---------------------------------------------------------------------


def test_a_key_has_a_reducer() -> None:
    assert pair().add_reducer("notes", max).build().definition.reducers == {"notes": max}


@pytest.mark.parametrize(
    ("key", "fn"), [("_history", max), ("", max), (5, max), ("notes", None), ("notes", later)]
)
def test_a_reducer_is_refused_at_once_if_it_cannot_be_one(key: Any, fn: Any) -> None:
    with pytest.raises(ConfigurationError):
        WorkflowBuilder("g").add_reducer(key, fn)


def test_a_key_has_one_reducer() -> None:
    with pytest.raises(ConfigurationError, match="'notes' has a reducer already"):
        WorkflowBuilder("g").add_reducer("notes", max).add_reducer("notes", min)


def test_a_graph_has_a_name_a_version_and_a_configuration() -> None:
    config = GraphConfig(max_iterations=3)
    builder = WorkflowBuilder("review", config, 4)
    engine = builder.add_node("a", node=later).set_entry("a").set_terminal("a").build()
    assert (engine.name, engine.version, engine.config) == ("review", 4, config)
    assert pair().build().config == GraphConfig()
    assert pair().build().version == 1


def test_the_last_configuration_counts() -> None:
    config = GraphConfig(max_iterations=3)
    assert pair().configure(GraphConfig()).configure(config).build().config is config


@pytest.mark.parametrize("config", [None, {}, 5])
def test_a_configuration_is_one(config: Any) -> None:
    with pytest.raises(ConfigurationError, match="it must be a GraphConfig"):
        WorkflowBuilder("g").configure(config)


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"name": None},
        {"config": {}},
        {"version": "1"},
        {"version": -1},
        {"version": True},
        {"codec": 5},
    ],
)
def test_a_builder_is_refused_what_it_cannot_use(given: State) -> None:
    with pytest.raises(ConfigurationError):
        WorkflowBuilder(**{"name": "g", **given})


def test_a_codec_is_taken() -> None:
    builder = WorkflowBuilder("g", codec=Codec())
    builder.add_node("a", node=later).set_entry("a").set_terminal("a").build()


# --- what comes out --------------------------------------------------------------------------


def test_every_method_that_adds_returns_the_builder() -> None:
    builder = WorkflowBuilder("g")
    assert all(
        each is builder
        for each in (
            builder.add_node("a", node=later),
            builder.add_gate("g", {}),
            builder.add_edge("a", "g"),
            builder.add_goto("a", "g"),
            builder.add_reducer("notes", max),
            builder.set_entry("a"),
            builder.set_terminal("g"),
            builder.configure(GraphConfig()),
        )
    )


def test_nodes_may_be_named_before_they_are_added() -> None:
    builder = WorkflowBuilder("g").set_entry("a").set_terminal("z").add_edge("a", "z")
    builder.add_goto("z", "a").add_node("z", node=later).add_node("a", node=later)
    assert list(builder.build().definition.nodes) == ["z", "a"]


def test_building_lists_every_problem() -> None:
    builder = WorkflowBuilder("g").add_node("a", node=later).add_edge("a", "y").add_edge("a", "y")
    with pytest.raises(GraphValidationError) as caught:
        builder.build()
    problems = caught.value.details["problems"]
    assert len(problems) == 4
    assert str(caught.value).split("\n  - ")[1:] == problems
    for word, problem in zip(("entry", "'y'", "'y'", "terminal"), problems, strict=True):
        assert word in problem


def test_an_empty_builder_builds_nothing() -> None:
    with pytest.raises(GraphValidationError, match="no entry is set"):
        WorkflowBuilder("g").build()


def parts_of(engine: WorkflowEngine) -> State:
    parts = attrs.asdict(engine.definition, recurse=False)
    return {name: copy(part) for name, part in parts.items()}


def test_an_engine_does_not_change_with_its_builder() -> None:
    builder = pair().add_goto("a", "z")
    engine = builder.build()
    earlier = parts_of(engine)
    assert earlier == parts_of(builder.build())
    builder.add_node("b", node=later, join="any").add_edge("a", "b").add_goto("a", "b")
    builder.set_entry("b").add_edge("b", "a").set_terminal("b", stop="run")
    builder.add_reducer("notes", max)
    assert parts_of(engine) == earlier
    grown = parts_of(builder.build())
    assert all(earlier[part] != grown[part] for part in earlier if part not in ("name", "version"))


def test_a_builder_goes_on_after_it_was_refused() -> None:
    builder = pair().add_node("b", node=later)
    with pytest.raises(GraphValidationError):
        builder.build()
    engine = builder.add_edge("a", "b").set_terminal("b").build()
    assert list(engine.definition.nodes) == ["a", "z", "b"]


def test_a_graph_can_be_drawn_before_it_is_sound() -> None:
    builder = WorkflowBuilder("g").add_edge("nowhere", "elsewhere")
    assert "nowhere" in builder.to_dot()
    assert "nowhere" in builder.to_mermaid()


async def test_what_was_built_runs() -> None:
    assert (await pair().build().execute("in")).unwrap().output == "2"


async def test_a_drawing_shows_what_ran() -> None:
    builder = pair()
    result = (await builder.build().execute("in")).unwrap()
    assert builder.to_dot(result) != builder.to_dot()
    assert builder.to_mermaid(result) != builder.to_mermaid()


async def test_a_graph_is_a_node_of_another_in_either_way() -> None:
    def fail(state: State) -> State:
        raise ValueError("no stock")

    inner, broken = alone(node=later).build(), alone(node=fail).build()
    for given in ({"node": inner}, {"subworkflow": inner}):
        assert (await alone(**given).build().execute("in")).unwrap().output == "later: in"
    assert isinstance((await alone(node=broken).build().execute("in")).error, NodeExecutionError)
    said = (await alone(subworkflow=broken).build().execute("in")).unwrap().output
    assert said.startswith("Subworkflow error: ")


# --- signatures ------------------------------------------------------------------------------

EMPTY = inspect.Parameter.empty
SIGNATURES: dict[str, dict[str, Any]] = {
    "__init__": {"name": EMPTY, "config": None, "version": 1},
    "add_node": {
        "name": EMPTY,
        "node": None,
        "agent": None,
        "tool": None,
        "llm": None,
        "prompt": "",
        "human_prompt": "",
        "subworkflow": None,
        "executor": None,
        "output_key": "output",
    },
    "add_gate": {"name": EMPTY, "routes": EMPTY},
    "add_edge": {"source": EMPTY, "target": EMPTY, "condition": None, "label": ""},
    "set_entry": {"node": EMPTY},
    "set_terminal": {"node": EMPTY, "condition": None},
    "configure": {"config": EMPTY},
    "build": {},
}


@pytest.mark.parametrize("method", SIGNATURES)
def test_further_keywords_come_behind_the_documented_ones(method: str) -> None:
    parameters = list(inspect.signature(getattr(WorkflowBuilder, method)).parameters.values())[1:]
    documented = SIGNATURES[method]
    first, further = parameters[: len(documented)], parameters[len(documented) :]
    assert {each.name: each.default for each in first} == documented
    kinds = {each.kind for each in further}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}
