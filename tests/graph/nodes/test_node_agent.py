"""`AgentNode`: with an executor and without."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from attrs import frozen

from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.nodes import AgentNode
from lexigram_actors.graph.protocols import AgentExecutorProtocol, AgentProtocol
from lexigram_actors.result import Ok, Result


@frozen
class Response:
    message: Any
    steps: int = 1


class Agent:
    name = "helper"
    system_prompt = "Help."

    def __init__(self, response: Any = "done") -> None:
        self.tools: list[Any] = []
        self.response = response
        self.messages: list[str] = []

    async def run(self, message: str) -> Any:
        self.messages.append(message)
        await trio.lowlevel.checkpoint()
        return self.response


class Executor:
    def __init__(self, response: Any) -> None:
        self.response = response
        self.calls: list[tuple[Any, str]] = []

    async def execute(self, agent: Any, message: str) -> Result[Any, Any]:
        self.calls.append((agent, message))
        return self.response


def test_the_fakes_here_satisfy_the_protocols() -> None:
    assert isinstance(Agent(), AgentProtocol)
    assert isinstance(Executor(None), AgentExecutorProtocol)
    assert AgentNode("help", agent=Agent()).node_type is NodeType.AGENT


RESPONSES = [
    (Response("hello"), "hello"),
    (Ok(Response("hello")), "hello"),
    (Response(None), ""),
    (Response(5), "5"),
    ("plain", "plain"),
    (Ok(5), "5"),
    (None, ""),
]


@pytest.mark.parametrize(("response", "stored"), RESPONSES)
async def test_the_message_of_the_response_is_stored_as_text(response: Any, stored: str) -> None:
    assert await AgentNode("help", agent=Agent(response)).execute({}) == {"output": stored}
    node = AgentNode("help", agent=object(), executor=Executor(response), output_key="reply")
    assert await node.execute({}) == {"reply": stored}


async def test_the_executor_runs_the_agent_where_there_is_one() -> None:
    agent, executor = Agent(), Executor(Ok(Response("by the executor")))
    node = AgentNode("help", agent=agent, executor=executor, input_key="question")
    assert await node.execute({"question": 42, "input": "x"}) == {"output": "by the executor"}
    assert executor.calls == [(agent, "42")]
    assert agent.messages == []


async def test_a_missing_input_is_an_empty_message() -> None:
    agent = Agent()
    await AgentNode("help", agent=agent, input_key="question").execute({"input": "x"})
    assert agent.messages == [""]


async def test_a_synchronous_agent_will_do() -> None:
    class Plain:
        def run(self, message: str) -> str:
            return message.upper()

    assert await AgentNode("help", agent=Plain()).execute({"input": "a"}) == {"output": "A"}
