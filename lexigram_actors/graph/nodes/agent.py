"""`AgentNode`: lets an agent answer."""

from __future__ import annotations

from typing import Any, ClassVar, final

from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.nodes.calling import CallingNode, OnError, missing, text_under
from lexigram_actors.invoking import as_result, invoke


@final
class AgentNode(CallingNode):
    """Hands the input to an agent as text, and stores the text of its response.

    Args:
        name: Names the node where it is used alone.
        agent: The agent, an `AgentProtocol`.
        executor: What runs it, an `AgentExecutorProtocol`; None awaits `agent.run(message)`.
        input_key: The key of the state that has the input; a missing one is an empty text.
        output_key: The key under which the response is stored: its `.message`, or as text.
        on_error: `"raise"` fails the node; `"text"` stores `"Agent error: ..."` and goes on.

    Raises:
        ConfigurationError: `on_error` is neither.
    """

    ERROR_PREFIX: ClassVar[str] = "Agent error"

    def __init__(
        self,
        name: str,
        *,
        agent: Any,
        executor: Any | None = None,
        input_key: str = "input",
        output_key: str = "output",
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(name, NodeType.AGENT, output_key=output_key, on_error=on_error)
        self._agent = agent
        self._executor = executor
        self._input_key = input_key

    async def _call(self, state: dict[str, Any]) -> Any:
        message = str(state.get(self._input_key, ""))
        if self._executor is not None:
            response = await invoke(self._executor.execute, self._agent, message)
        elif (run := getattr(self._agent, "run", None)) is not None:
            response = await invoke(run, message)
        else:
            return missing(self._agent, "run")
        return as_result(response).map_sync(lambda found: text_under("message", found))
