"""`ToolNode`: one dict in, the result as it is out."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from attrs import frozen

from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.nodes import ToolNode
from lexigram_actors.graph.protocols import ToolProtocol
from lexigram_actors.result import Ok


@frozen
class Wrapped:
    result: Any


class Tool:
    name = "search"
    description = "Searches."

    def __init__(self, found: Any = None) -> None:
        self.parameters_schema: dict[str, Any] = {}
        self.found = found
        self.calls: list[dict[str, Any]] = []

    async def execute(self, arguments: dict[str, Any]) -> Any:
        self.calls.append(arguments)
        await trio.lowlevel.checkpoint()
        return self.found


def test_the_fake_here_satisfies_the_protocol() -> None:
    assert isinstance(Tool(), ToolProtocol)
    assert ToolNode("use", tool=Tool()).node_type is NodeType.TOOL


@pytest.mark.parametrize("found", [None, 5, "text", [1, {"a": 2}], {"result": 1}, object()])
async def test_the_result_is_stored_as_it_is(found: Any) -> None:
    for returned in (found, Ok(found), Wrapped(found), Ok(Wrapped(found))):
        update = await ToolNode("use", tool=Tool(returned), output_key="hits").execute({})
        assert list(update) == ["hits"]
        assert update["hits"] is found


async def test_the_tool_gets_the_input_and_the_extra_keys_that_are_there() -> None:
    tool = Tool()
    node = ToolNode("use", tool=tool, input_key="query", extra_keys=["user", "limit", "empty"])
    await node.execute({"query": "q", "input": "x", "user": 7, "empty": None, "other": 1})
    await node.execute({})
    assert tool.calls == [{"input": "q", "user": 7, "empty": None}, {"input": ""}]


async def test_a_change_to_the_list_of_keys_does_not_reach_the_node() -> None:
    tool, keys = Tool(), ["user"]
    node = ToolNode("use", tool=tool, extra_keys=keys)
    keys.append("secret")
    await node.execute({"input": "x", "user": 1, "secret": 2})
    assert tool.calls == [{"input": "x", "user": 1}]


async def test_a_tool_cannot_change_the_state_by_its_arguments() -> None:
    class Greedy(Tool):
        async def execute(self, arguments: dict[str, Any]) -> Any:
            arguments["input"] = "changed"

    state = {"input": "x"}
    await ToolNode("use", tool=Greedy()).execute(state)
    assert state == {"input": "x"}


async def test_a_synchronous_tool_will_do() -> None:
    class Plain:
        def execute(self, arguments: dict[str, Any]) -> int:
            return len(arguments["input"])

    assert await ToolNode("use", tool=Plain()).execute({"input": "four"}) == {"output": 4}
