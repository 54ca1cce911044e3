"""`WorkflowState`: the state of a run, as a container with a few keys of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

ITERATION = "_iteration"
HISTORY = "_history"
RUN_ID = "_run_id"
"""What a run inside this node may be called; only nodes that hold one see it."""
HOSTED = "_hosted"
"""In a host, the `RunContext` of a run inside this node; as above, and it is never recorded."""


@final
class WorkflowState:
    """What a run has written so far, and the record of who wrote it.

    | key | |
    | --- | --- |
    | `input` | what the run was started with |
    | `output` | what the last node wrote under this key, in merge order |
    | `_iteration` | how many nodes were executed |
    | `_history` | `(node_name, output_dict)` of each, in order |

    Args:
        input: What the run is started with; `initial["input"]` wins over it.
        initial: Further keys to begin with. The dict is copied, its values are shared.
    """

    __slots__ = ("_data",)

    def __init__(self, input: str = "", *, initial: Mapping[str, Any] | None = None) -> None:
        self._data: dict[str, Any] = {
            "input": input,
            "output": "",
            ITERATION: 0,
            HISTORY: [],
            **(initial or {}),
        }
        # Its own list: the caller's must not grow with the run.
        self._data[HISTORY] = list(self._data[HISTORY])

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._data[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of the key, or the default."""
        return self._data.get(key, default)

    def as_dict(self) -> dict[str, Any]:
        """Return a shallow copy as a plain dict."""
        return dict(self._data)

    def merge(self, update: Mapping[str, Any]) -> None:
        """Write the keys of the update; those that begin with `_` are the engine's and skipped."""
        for key, value in update.items():
            if not key.startswith("_"):
                self._data[key] = value

    def record(self, node_name: str, output: dict[str, Any]) -> None:
        """Append an execution to the history, and count it."""
        self._data[HISTORY].append((node_name, output))
        self._data[ITERATION] += 1

    @property
    def iteration(self) -> int:
        """How many executions were recorded."""
        return int(self._data[ITERATION])

    @property
    def history(self) -> list[tuple[str, dict[str, Any]]]:
        """The executions in order, as `(node_name, output_dict)`."""
        return list(self._data[HISTORY])

    def __repr__(self) -> str:
        keys = [key for key in self._data if not key.startswith("_")]
        return f"WorkflowState(iteration={self.iteration}, keys={keys!r})"
