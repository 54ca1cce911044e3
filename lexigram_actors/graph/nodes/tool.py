"""`ToolNode`: uses a tool."""

from __future__ import annotations

from typing import Any, ClassVar, final

from lexigram_actors.graph.models import NodeType
from lexigram_actors.graph.nodes.calling import CallingNode, OnError, missing
from lexigram_actors.invoking import as_result, invoke


@final
class ToolNode(CallingNode):
    """Calls a tool with one dict, and stores its result as it is.

    Args:
        name: Names the node where it is used alone.
        tool: The tool, a `ToolProtocol`.
        input_key: The key of the state that has the input; a missing one is an empty text. The
            tool finds it under `"input"`.
        output_key: The key under which the result is stored: its `.result` where it has one. A
            `Result` is unwrapped.
        extra_keys: Further keys of the state that the tool gets, as far as they are there.
        on_error: `"raise"` fails the node; `"text"` stores `"Tool error: ..."` and goes on.

    Raises:
        ConfigurationError: `on_error` is neither.
    """

    ERROR_PREFIX: ClassVar[str] = "Tool error"

    def __init__(
        self,
        name: str,
        *,
        tool: Any,
        input_key: str = "input",
        output_key: str = "output",
        extra_keys: list[str] | None = None,
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(name, NodeType.TOOL, output_key=output_key, on_error=on_error)
        self._tool = tool
        self._input_key = input_key
        self._extra_keys = tuple(extra_keys or ())

    async def _call(self, state: dict[str, Any]) -> Any:
        execute = getattr(self._tool, "execute", None)
        if execute is None:
            return missing(self._tool, "execute")
        arguments = {"input": state.get(self._input_key, "")}
        arguments |= {key: state[key] for key in self._extra_keys if key in state}
        found = as_result(await invoke(execute, arguments))
        return found.map_sync(lambda value: getattr(value, "result", value))
