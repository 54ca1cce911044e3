"""States of paused runs that somebody changed, and states that nodes make up.

Whatever is put in the place of any part of it, resuming ends as it may end: in a result, or in an
error of the library that says what is wrong.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import (
    AnswerInvalidError,
    Command,
    Err,
    GraphConfig,
    HumanInputRequiredError,
    HumanNode,
    NodeExecutionError,
    NotStorableError,
    Ok,
    Send,
    SubworkflowNode,
    WorkflowCheckpoint,
    WorkflowEngine,
    WorkflowRunner,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
from tests.graph.graphs import LONG, State, concat, graph

MAY_RAISE = (
    AnswerInvalidError,
    HumanInputRequiredError,
    NotStorableError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)

ODD: list[Any] = [
    None,
    True,
    -1,
    10**400,
    1.5,
    math.nan,
    math.inf,
    1e308,
    "",
    "nan",
    "\ud800",
    "\0",
    [],
    [[0, 0]],
    [[-1, 0], [-1, 0]],
    [["a", 0, None, False]],
    [["ask", 10**30, {"_iteration": 1}, 0]],
    {},
    {1: 2},
    {"clock": "x", "time": 0, "wall": "nan"},
    ["no key"],
    object(),
    {1},
]

NAMES = [f"{type(odd).__name__} {place}" for place, odd in enumerate(ODD)]

Path = tuple[Any, ...]


def asking(version: int = 1) -> WorkflowEngine:
    inner = graph("before -> inner", {"inner": HumanNode("inner")}, name="inside")
    nodes = {
        "a": lambda state: Command(send=[Send("w", {"i": 1}), Send("w", {"i": 2})]),
        "w": lambda state: {"log": [state["i"]]},
        "ask": HumanNode("ask", expires_after=50, default_answer="late"),
        "sub": SubworkflowNode("sub", workflow=inner),
    }
    return graph(
        "a -> w -> ask -> z, w -> sub -> z",
        nodes,
        reducers={"log": concat},
        config=GraphConfig(total_timeout=LONG, node_timeout=1000),
        version=version,
    )


async def paused(engine: WorkflowEngine, **options: Any) -> State:
    with pytest.raises(HumanInputRequiredError) as caught:
        await engine.execute("in", **options)
    return caught.value.state


def paths_of(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the way to each part of a JSON value, the outer ones first."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_of(part, (*path, key))


def changed(state: State, path: Path, change: Callable[[Any, Any], None]) -> State:
    """Return a copy in which the part at the path was changed within what holds it."""
    twin: Any = copy.deepcopy(state)
    *way, last = ("_checkpoint", *path)
    holder = twin
    for key in way:
        holder = holder[key]
    change(holder, last)
    return twin


async def resumes_in_order(engine: WorkflowEngine, state: Any, node: str | None) -> None:
    try:
        with trio.fail_after(10 * LONG):
            result = await engine.resume(state, "yes", node=node)
    except MAY_RAISE:
        return
    assert isinstance(result, Ok | Err)
    if isinstance(result, Err) and isinstance(result.error, NodeExecutionError):
        assert isinstance(result.error.cause, MAY_RAISE), result.error


@pytest.mark.parametrize("odd", ODD, ids=NAMES)
async def test_whatever_part_is_replaced_resuming_ends_in_order(
    odd: Any, autojump_clock: MockClock
) -> None:
    engine = asking()
    state = await paused(engine, run_id="r/1")

    def put(holder: Any, key: Any) -> None:
        holder[key] = odd

    paths = list(paths_of(state["_checkpoint"]))
    assert len(paths) > 100
    for path in paths:
        for node in ("ask", "sub/inner"):
            await resumes_in_order(engine, changed(state, path, put), node)


async def test_whatever_part_is_missing_resuming_ends_in_order(autojump_clock: MockClock) -> None:
    engine = asking()
    state = await paused(engine)

    def drop(holder: Any, key: Any) -> None:
        del holder[key]

    for path in paths_of(state["_checkpoint"]):
        for node in ("ask", "sub/inner"):
            await resumes_in_order(engine, changed(state, path, drop), node)


@pytest.mark.parametrize("odd", ODD, ids=NAMES)
async def test_what_is_no_state_at_all_is_refused(odd: Any) -> None:
    with pytest.raises(WorkflowStateError):
        await asking().resume(odd, "yes")


# --- a few of them, and what is said ---------------------------------------------------------


def two_questions() -> WorkflowEngine:
    return graph("ask -> again", {"ask": HumanNode("ask"), "again": HumanNode("again")})


async def changed_kept(engine: WorkflowEngine, **kept: Any) -> State:
    state = await paused(engine)
    state["_checkpoint"].update(kept)
    return state


async def test_keys_said_to_be_given_that_the_state_lacks_are_given_by_nobody() -> None:
    engine = two_questions()
    state = await changed_kept(engine, given=["output", "human_response"], initial={"input": 1})
    with pytest.raises(HumanInputRequiredError) as caught:
        await engine.resume(state, "yes")
    assert caught.value.node == "again"


@pytest.mark.parametrize(
    "kept",
    [
        {"initial": [[0, 0]]},
        {"elapsed": "nan"},
        {"elapsed": math.nan},
        {"elapsed": "inf"},
    ],
    ids=str,
)
async def test_a_state_without_sense_is_refused_before_anything_runs(kept: State) -> None:
    engine = two_questions()
    state = await changed_kept(engine, **kept)
    with pytest.raises(WorkflowStateError):
        await engine.resume(state, "yes")


async def test_a_question_inside_at_which_nothing_is_asked_is_refused() -> None:
    engine = asking()
    state = await paused(engine)
    for question in state["_checkpoint"]["questions"]:
        if question["nested"]:
            question["nested"]["_checkpoint"]["questions"] = []
    with pytest.raises(WorkflowStateError):
        await engine.resume(state, "yes", node="ask")
    with pytest.raises(WorkflowStateError):
        engine.pending(state)


async def test_a_state_of_another_version_says_which() -> None:
    state = await paused(asking(version=1))
    with pytest.raises(WorkflowVersionMismatchError) as caught:
        await asking(version=2).resume(state, "yes", node="ask")
    assert (caught.value.expected_version, caught.value.actual_version) == (1, 2)


async def test_a_state_that_was_refused_can_be_resumed_as_it_was(autojump_clock: MockClock) -> None:
    engine = asking()
    state = await paused(engine)
    broken = changed(state, ("visits", 0, "node"), lambda holder, key: holder.pop(key))
    with pytest.raises(WorkflowStateError):
        await engine.resume(broken, "yes", node="ask")
    with pytest.raises(HumanInputRequiredError) as caught:
        await engine.resume(state, "yes", node="ask")
    assert (await engine.resume(caught.value.state, "also")).is_ok()


# --- what a send lays over the state ---------------------------------------------------------


async def test_a_send_cannot_set_the_engines_own_keys() -> None:
    seen: list[State] = []

    def look(state: State) -> None:
        seen.append(state)

    nodes = {
        "a": lambda state: Command(send=Send("b", {"_iteration": 99, "_run_id": "x", "part": 1})),
        "b": look,
    }
    (await graph("a -> b", nodes).execute("in", run_id="r")).unwrap()
    assert seen[0]["_iteration"] == 1
    assert seen[0]["part"] == 1
    assert "_run_id" not in seen[0]


@pytest.mark.parametrize("key", [1, None, ("a", "b"), b"x"], ids=repr)
async def test_a_send_with_keys_that_are_no_text_fails_the_node_that_sends(key: Any) -> None:
    nodes = {"a": lambda state: Command(send=Send("b", {key: 1})), "b": lambda state: None}
    engine = graph("a -> b", nodes)
    result = await engine.execute("in")
    assert isinstance(result, Err)
    assert isinstance(result.error, NodeExecutionError)
    assert result.error.node == "a"
    assert isinstance(result.error.cause, TypeError)
    runner = WorkflowRunner(engine, checkpoint=WorkflowCheckpoint())
    assert (await runner.run("in", run_id="r")).is_err()


async def test_a_send_whose_state_is_no_dict_fails_the_run() -> None:
    send: Any = Send("b", [("part", 1)])  # type: ignore[arg-type]
    nodes = {"a": lambda state: Command(send=send), "b": lambda state: None}
    result = await graph("a -> b", nodes).execute("in")
    assert isinstance(result, Err)
    assert result.error.node == "a"
