"""`GateNode` and `FunctionNode`."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.graph.models import Command, NodeType
from lexigram_actors.graph.nodes import FunctionNode, GateNode
from lexigram_actors.result import Ok


async def test_a_gate_writes_nothing_and_keeps_its_routes() -> None:
    def always(state: dict[str, Any]) -> bool:
        return True

    gate = GateNode("gate", routes={"b": always, "a": always})
    assert await gate.execute({"input": "x"}) == {}
    assert list(gate.routes.items()) == [("b", always), ("a", always)]
    assert gate.node_type is NodeType.GATE
    assert dict(GateNode("gate").routes) == {}


def test_the_routes_of_a_gate_stay_as_they_were_given() -> None:
    given: dict[str, Any] = {}
    gate = GateNode("gate", routes=given)
    given["late"] = bool
    assert dict(gate.routes) == {}
    with pytest.raises(TypeError):
        gate.routes["late"] = bool  # type: ignore[index]


@pytest.mark.parametrize("returned", [{"a": 1}, Command(goto="b"), Ok({"a": 1}), None])
async def test_a_function_is_called_with_the_state_sync_or_async(returned: Any) -> None:
    async def later(state: dict[str, Any]) -> Any:
        await trio.lowlevel.checkpoint()
        return returned if state == {"input": "x"} else "wrong"

    def now(state: dict[str, Any]) -> Any:
        return returned if state == {"input": "x"} else "wrong"

    for fn in (later, now):
        node = FunctionNode("step", fn)
        assert await node.execute({"input": "x"}) is returned
        assert (node.name, node.node_type) == ("step", NodeType.CUSTOM)


async def test_what_a_function_raises_passes() -> None:
    def fail(state: dict[str, Any]) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await FunctionNode("step", fail).execute({})


async def test_a_cancellation_passes_through_a_function() -> None:
    async def hang(state: dict[str, Any]) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(FunctionNode("step", hang).execute, {})
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="node 'step': a function"):
        FunctionNode("step", {"a": 1})  # type: ignore[arg-type]
