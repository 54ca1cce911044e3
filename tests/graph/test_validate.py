"""What is wrong with a graph: each problem by itself, and all of them at once."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from lexigram_actors.errors import GraphValidationError
from lexigram_actors.graph.definition import GraphDefinition
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.models import PendingQuestion
from lexigram_actors.graph.node import AbstractWorkflowNode, NestedAnswer
from lexigram_actors.graph.validate import MAX_EDGES, MAX_NODES, check_structure, problems_of
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Ok, Result
from lexigram_actors.storage.keys import MAX_KEY_LENGTH


class Node(AbstractWorkflowNode):
    async def execute(self, state: dict[str, Any]) -> dict[str, Any]:
        return {}


class Nesting(Node):
    def pending_nested(self, checkpoint_state: dict[str, Any], /) -> list[PendingQuestion]:
        return []

    async def resume_nested(self, state: dict[str, Any], answer: NestedAnswer, /) -> dict[str, Any]:
        return {}


class Pipeline:
    kind = "pipeline"
    name = "p"
    version = 1

    async def execute(self, value: Any) -> Any:
        return value

    async def run(self, context: RunContext, /) -> Result[Any, Exception]:
        return Ok(context.input)


def always(state: dict[str, Any]) -> bool:
    return True


async def later(*_: Any) -> bool:
    return True


def nodes(*names: Any) -> dict[Any, Any]:
    return {name: Node(str(name)) for name in names}


def edges(*ways: str) -> list[WorkflowEdge]:
    return [WorkflowEdge(*way.split(">")) for way in ways]


def graph(*ways: str, **parts: Any) -> GraphDefinition:
    """A graph of the ways `"a>b"` from `a` to the terminal `z`, with parts of it replaced."""
    names = dict.fromkeys(name for way in (*ways, "a>z") for name in way.split(">"))
    sound: dict[str, Any] = {
        "name": "g",
        "nodes": nodes(*names),
        "edges": edges(*ways),
        "entry": "a",
        "terminals": {"z": None},
    }
    return GraphDefinition(**{**sound, **parts})


def problems(definition: GraphDefinition) -> list[str]:
    return problems_of(definition, terminals_needed=True)


def sole_problem(definition: GraphDefinition) -> str:
    found = problems(definition)
    assert len(found) == 1, found
    return found[0]


# --- sound graphs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "definition",
    [
        graph("a>z"),
        graph("a>b", "b>z", "b>a"),
        graph("a>a", "a>z"),
        graph("a>b", "a>c", "b>z", "c>z", run_terminals=frozenset({"z"}), joins={"z": "any"}),
        graph("a>z", reducers={"notes": lambda a, b: a + b, "output": max}),
        graph("a>z", gotos={"a": ["z"], "z": ("a",)}),
        graph("a>z", nodes=nodes("a", "b", "z"), gotos={"a": ["b"], "b": {"z"}}),
        graph("a>z", terminals={"z": always}),
        graph("a>z", version=0),
        GraphDefinition("g", nodes("a"), [], "a", {"a": None}),
    ],
)
def test_a_sound_graph_has_no_problem(definition: GraphDefinition) -> None:
    assert problems(definition) == []
    check_structure(definition, terminals_needed=True)


def test_an_object_that_can_execute_is_a_node() -> None:
    duck = SimpleNamespace(execute=later)
    assert problems(graph("a>z", nodes={"a": duck, "z": MagicMock()})) == []


def test_a_condition_beside_an_unconditional_edge_is_no_double() -> None:
    ways = [*edges("a>z"), WorkflowEdge("a", "z", always), WorkflowEdge("a", "z", always)]
    assert problems(graph("a>z", edges=ways)) == []


def test_ways_are_counted_past_terminals() -> None:
    assert problems(graph("a>b", "b>z", terminals={"b": None, "z": None})) == []


@pytest.mark.parametrize("key", ["output", "a_b", "ключ", "x" * 1000])
def test_any_other_key_may_be_written(key: str) -> None:
    node = SimpleNamespace(execute=later, output_key=key, resume_key=key)
    assert problems(graph("a>z", nodes={"a": node, "z": node}, reducers={key: max})) == []


def test_an_attribute_that_is_no_string_means_something_else() -> None:
    node = SimpleNamespace(execute=later, output_key=["_a"], resume_key=None)
    assert problems(graph("a>z", nodes={"a": node, "z": node})) == []


# --- entry and terminals ---------------------------------------------------------------------


def test_a_graph_needs_an_entry() -> None:
    assert sole_problem(graph("a>z", entry=None)) == (
        "no entry is set; name the node where runs start (set_entry)"
    )


@pytest.mark.parametrize("entry", ["x", "", 5, ["a"]])
def test_the_entry_is_a_node(entry: Any) -> None:
    assert sole_problem(graph("a>z", entry=entry)) == (
        f"the entry {entry!r} is no node of the graph; add it, or correct the name"
    )


def test_a_builder_s_graph_needs_a_terminal_and_an_engine_s_does_not() -> None:
    definition = graph("a>z", terminals={})
    assert problems_of(definition, terminals_needed=True) == [
        "there is no terminal node; name where branches end (set_terminal)"
    ]
    assert problems_of(definition, terminals_needed=False) == []


def test_a_terminal_is_a_node() -> None:
    assert sole_problem(graph("a>z", terminals={"z": None, "y": None})).startswith(
        "the terminal 'y' is no node of the graph"
    )


def test_a_misspelt_terminal_is_not_said_to_be_out_of_reach_as_well() -> None:
    assert sole_problem(graph("a>z", terminals={"y": None})).startswith("the terminal 'y' is no")


def test_what_ends_the_run_is_a_terminal() -> None:
    definition = graph("a>z", run_terminals=frozenset({"a", "z"}))
    assert sole_problem(definition) == (
        "node 'a' is to end the run but is no terminal; make it one"
    )


def test_what_ends_the_run_is_a_node() -> None:
    assert sole_problem(graph("a>z", run_terminals=frozenset({"y"}))).startswith(
        "the terminal 'y' that ends the run is no node"
    )


# --- ways ------------------------------------------------------------------------------------


def test_both_ends_of_an_edge_are_nodes() -> None:
    assert problems(graph("a>z", edges=edges("a>z", "x>z", "a>y", "v>w"))) == [
        f"edge {edge}: its {end} {name!r} is no node of the graph; add it, or correct the name"
        for edge, end, name in [
            ("'x' -> 'z'", "source", "x"),
            ("'a' -> 'y'", "target", "y"),
            ("'v' -> 'w'", "source", "v"),
            ("'v' -> 'w'", "target", "w"),
        ]
    ]


@pytest.mark.parametrize("end", [None, 5, ["z"], {}])
def test_an_end_that_is_no_string_is_no_node(end: Any) -> None:
    definition = graph("a>z", edges=[*edges("a>z"), WorkflowEdge("a", end)])
    assert sole_problem(definition).startswith(
        f"edge 'a' -> {end!r}: its target {end!r} is no node"
    )


@pytest.mark.parametrize("edge", [("a", "z"), "a>z", None])
def test_an_edge_is_an_edge(edge: Any) -> None:
    definition = graph("a>z", edges=[*edges("a>z"), edge])
    assert sole_problem(definition) == f"edge 1: {edge!r} is no WorkflowEdge"


def test_the_same_edge_twice_is_a_mistake() -> None:
    ways = [*edges("a>z"), WorkflowEdge("a", "z", label="again", is_parallel=True)]
    assert sole_problem(graph("a>z", edges=ways)) == (
        "edge 'a' -> 'z' is there twice without a condition; leave one out"
    )


def test_the_source_and_the_targets_of_gotos_are_nodes() -> None:
    assert problems(graph("a>z", gotos={"a": ["z", "y"], "x": ["z"]})) == [
        "gotos of 'a': the target 'y' is no node of the graph; add it, or correct the name",
        "gotos: the source 'x' is no node of the graph; add it, or correct the name",
    ]


@pytest.mark.parametrize("targets", ["z", b"z", None, 5])
def test_the_targets_of_gotos_are_a_list(targets: Any) -> None:
    assert sole_problem(graph("a>z", gotos={"a": targets})) == (
        f"gotos of 'a': {targets!r} is no list of names"
    )


def test_every_node_can_be_reached() -> None:
    definition = graph("a>z", "b>z", "c>b", "b>c")
    assert problems(definition) == [
        f"node {name!r} cannot be reached from the entry; add a way or remove it" for name in "bc"
    ]


def test_a_terminal_is_within_reach_of_every_node() -> None:
    assert problems(graph("a>z", "a>b", "b>c", "c>b", "a>d")) == [
        f"from node {name!r} no terminal is within reach; add a way to one" for name in "bcd"
    ]


def test_a_node_on_its_own_lacks_both_ways() -> None:
    definition = graph("a>z", nodes=nodes("a", "b", "z"))
    assert [problem.partition(" ")[0] for problem in problems(definition)] == ["node", "from"]


def test_a_goto_is_a_way_like_an_edge() -> None:
    definition = graph("a>z", nodes=nodes("a", "b", "z"), gotos={"a": ["b"], "b": ["z"]})
    assert problems(definition) == []


def test_a_conditional_edge_is_a_way() -> None:
    assert problems(graph("a>z", edges=[WorkflowEdge("a", "z", lambda _: False)])) == []


def test_where_terminals_are_not_needed_one_has_to_be_within_reach_if_there_is_one() -> None:
    definition = graph("a>z", "a>b")
    assert problems_of(definition, terminals_needed=False) == problems(definition) != []


# --- names, nodes, functions -----------------------------------------------------------------


@pytest.mark.parametrize("name", [5, None, "", b"b", ("b",)])
def test_a_name_is_a_string_that_is_not_empty(name: Any) -> None:
    definition = graph("a>z", nodes=nodes("a", "z", name), terminals={"z": None})
    assert problems(definition)[0] == (
        f"the node's name {name!r} is no name; give a string that is not empty"
    )


def test_a_name_is_as_long_as_a_key_of_a_store_at_most() -> None:
    longest, longer = "b" * MAX_KEY_LENGTH, "b" * (MAX_KEY_LENGTH + 1)
    assert problems(graph(f"a>{longest}", f"{longest}>z")) == []
    found = sole_problem(graph(f"a>{longer}", f"{longer}>z"))
    assert "is too long for a name; 512 characters are possible" in found
    assert len(found) < 400


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_can_be_kept_by_a_store(name: str) -> None:
    found = sole_problem(graph(f"a>{name}", f"{name}>z"))
    assert "which no store can keep" in found
    found.encode()


@pytest.mark.parametrize("name", ["", None, "n" * 513])
def test_the_graph_has_a_name_as_well(name: Any) -> None:
    assert sole_problem(graph("a>z", name=name)).startswith("the graph's name ")


@pytest.mark.parametrize("version", [-1, "1", 1.0, True, None])
def test_the_version_is_a_whole_number(version: Any) -> None:
    assert sole_problem(graph("a>z", version=version)).startswith(f"version: {version!r} was given")


def test_a_name_must_not_read_as_a_question_inside_a_node() -> None:
    parts = {**nodes("a", "z"), "outer": Nesting("outer"), "outer/x/y": Node("i")}
    ways = edges("a>outer", "outer>outer/x/y", "outer/x/y>z")
    assert sole_problem(graph("a>z", nodes=parts, edges=ways)) == (
        "the name 'outer/x/y' is also how a question inside node 'outer' is named; "
        "rename one of the two"
    )


def test_a_slash_in_a_name_is_fine_elsewhere() -> None:
    assert problems(graph("a>a/b", "a/b>z")) == []


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (None, "is no node; give an AbstractWorkflowNode, or an object with execute(state)"),
        (later, "is no node; give an AbstractWorkflowNode, or an object with execute(state)"),
        (SimpleNamespace(execute=5), "is no node"),
        (Node, "is a class; give an instance of it"),
        (Pipeline(), "is no node; wrap it in a SubworkflowNode"),
    ],
)
def test_a_node_is_a_node(node: Any, said: str) -> None:
    found = sole_problem(graph("a>z", nodes={"a": node, "z": Node("z")}))
    assert found.startswith("node 'a': ")
    assert said in found


@pytest.mark.parametrize("attribute", ["output_key", "resume_key"])
@pytest.mark.parametrize("key", ["_mine", "_", ""])
def test_a_node_writes_no_key_of_the_engine(attribute: str, key: str) -> None:
    node = SimpleNamespace(execute=later, **{attribute: key})
    found = sole_problem(graph("a>z", nodes={"a": node, "z": Node("z")}))
    assert found.startswith(f"node 'a': its {attribute} {key!r} ")


@pytest.mark.parametrize("key", ["_history", "", 5])
def test_a_reducer_combines_a_key_that_can_be_written(key: Any) -> None:
    assert sole_problem(graph("a>z", reducers={key: max})).startswith(f"reducers: {key!r} ")


FUNCTIONS = [
    (5, "cannot be called; give a function"),
    ("always", "cannot be called; give a function"),
    (later, "is async; give a plain function, it is not awaited"),
    (AsyncMock(), "is async; give a plain function, it is not awaited"),
]


@pytest.mark.parametrize(("fn", "said"), FUNCTIONS)
def test_what_is_asked_for_a_value_is_a_plain_function(fn: Any, said: str) -> None:
    by_edge = graph("a>z", edges=[WorkflowEdge("a", "z", fn)])
    by_terminal = graph("a>z", terminals={"z": fn})
    by_reducer = graph("a>z", reducers={"notes": fn})
    assert sole_problem(by_edge) == f"edge 'a' -> 'z': its condition {fn!r} {said}"
    assert sole_problem(by_terminal) == f"terminal 'z': its condition {fn!r} {said}"
    assert sole_problem(by_reducer) == f"the reducer of 'notes': {fn!r} {said}"


def test_an_object_that_is_called_async_is_async() -> None:
    class Condition:
        async def __call__(self, state: dict[str, Any]) -> bool:
            return True

    assert "is async" in sole_problem(graph("a>z", terminals={"z": Condition()}))


@pytest.mark.parametrize("join", ["some", None, ["all"], 1])
def test_a_join_is_one_of_two(join: Any) -> None:
    assert sole_problem(graph("a>z", joins={"z": join, "a": "all"})) == (
        f"node 'z': its join {join!r} is unknown; it is 'all' or 'any'"
    )


def test_a_join_belongs_to_a_node() -> None:
    assert sole_problem(graph("a>z", joins={"y": "any"})).startswith("joins: 'y' is no node")


# --- sizes -----------------------------------------------------------------------------------


def chain(length: int) -> list[str]:
    middle = ["a", *map(str, range(length - 2)), "z"]
    return [f"{source}>{target}" for source, target in pairwise(middle)]


def test_a_chain_of_as_many_nodes_as_possible_is_sound() -> None:
    assert problems(graph(*chain(MAX_NODES))) == []


def test_one_node_more_is_too_many() -> None:
    assert sole_problem(graph(*chain(MAX_NODES + 1))) == (
        "there are 10,001 nodes, 10,000 at most are possible; split the graph"
    )


def test_there_may_be_too_many_edges() -> None:
    more = [WorkflowEdge("a", "z", always)] * MAX_EDGES
    assert problems(graph("a>z", edges=more)) == []
    assert sole_problem(graph("a>z", edges=[*more, more[0]])).startswith("there are 100,001 edges")


def test_a_graph_has_nodes() -> None:
    definition = GraphDefinition("g", {}, [], None, {})
    assert len(problems(definition)) == 3
    assert problems(definition)[0] == "there are no nodes; add one"


# --- all at once -----------------------------------------------------------------------------


def broken() -> GraphDefinition:
    return graph(
        "a>z",
        nodes=nodes("a", "b", "z"),
        edges=edges("a>z", "a>z", "a>y"),
        run_terminals=frozenset({"r1", "r2", "r3", "r4"}),
        gotos={"a": ["x"]},
        joins={"b": "some"},
        reducers={"_history": max},
    )


def test_every_problem_is_found_at_once() -> None:
    starts = [found.partition(" ")[0] for found in problems(broken())]
    assert starts == [*["edge"] * 2, "gotos", *["the"] * 4, "node", "reducers:", "node", "from"]


def test_problems_stand_in_the_same_order_in_every_process() -> None:
    script = (
        "from tests.graph.test_validate import broken, problems\n"
        "print(*problems(broken()), sep='~')"
    )
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.rstrip("\n").split("~") == problems(broken())


def test_a_broken_graph_is_refused_with_all_problems_one_a_line() -> None:
    with pytest.raises(GraphValidationError) as caught:
        check_structure(broken(), terminals_needed=True)
    found = problems(broken())
    assert caught.value.details == {"problems": found}
    assert str(caught.value).split("\n  - ") == ["the graph 'g' cannot run:", *found]


def test_hostile_names_are_shown_escaped_and_cut() -> None:
    class Torn(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise RuntimeError("no")

    definition = graph(
        "a>z", edges=[*edges("a>z", "a>new\nline"), WorkflowEdge(Torn("t"), "x" * 10_000)]
    )
    found = problems(definition)
    assert len(found) == 3
    assert all("\n" not in each and len(each) < 800 for each in found)
