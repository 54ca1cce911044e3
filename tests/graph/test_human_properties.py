"""A damaged checkpoint is told apart from a good one."""

from __future__ import annotations

import copy
import json
from typing import Any

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from lexigram_actors.errors import (
    HumanInputRequiredError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.result import Err, Ok
from tests.graph.graphs import Step, concat, graph

RUBBISH = st.sampled_from(
    [None, True, -1, 0, 3, 10**30, 1.5, "", "nobody", [], {}, [[]], [7], {"a": 1}]
)


def build() -> WorkflowEngine:
    nodes = {
        "a": Step({"trail": ["a"], "x": {"y": [1]}}),
        "one": HumanNode("one", output_key="one"),
        "two": HumanNode("two", output_key="two"),
    }
    return graph(
        "a -> one -> b -> d, a -> two -> c -> d, a -> e -> d",
        nodes,
        reducers={"trail": concat},
    )


async def paused() -> dict[str, Any]:
    try:
        await build().execute("in", state={"x": 1}, run_id="r")
    except HumanInputRequiredError as error:
        state: dict[str, Any] = json.loads(json.dumps(error.state))
        return state
    raise AssertionError("no pause")


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys that lead to it."""
    found = [way] if way else []
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inside:
            found += places(item, (*way, key))
    return found


def damaged(state: dict[str, Any], way: tuple[Any, ...], new: Any, remove: bool) -> dict[str, Any]:
    state = copy.deepcopy(state)
    holder: Any = state
    for key in way[:-1]:
        holder = holder[key]
    if remove:
        del holder[way[-1]]
    else:
        holder[way[-1]] = new
    return state


@given(st.data())
def test_a_damaged_checkpoint_never_fails_in_an_odd_way(data: st.DataObject) -> None:
    """It is refused, or the damage was in a value of the user's and the run goes on."""

    async def main() -> None:
        state = await paused()
        way = data.draw(st.sampled_from(places(state)))
        bad = damaged(state, way, data.draw(RUBBISH), data.draw(st.booleans()))
        engine = build()
        with trio.fail_after(100_000):
            try:
                result = await engine.resume(bad, "yes", node="one")
            except (
                HumanInputRequiredError,
                WorkflowStateError,
                WorkflowVersionMismatchError,
            ):
                return
        assert isinstance(result, Ok | Err)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
