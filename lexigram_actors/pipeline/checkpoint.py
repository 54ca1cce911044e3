"""What a run records so that another can go on where it ended.

| key (in the corner of the run, see `host.recorded`) | value |
| --- | --- |
| `header` | `{"format": 1}`, with what the corner adds |
| `<token>:<digest of the step's path>` | the step's name and result |
| the step's path, in the journal of an instance | the same, with the token |

A step costs one write of its own result, whatever was recorded before it. A fresh run costs one
read; one that goes on reads the key of every step.

Rejected: one value with all results (each step costs more than the one before); and a log of
entries (steps side by side would have to wait for each other to keep it without gaps).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Final, final

from lexigram_actors.errors import NotStorableError
from lexigram_actors.host.recorded import RecordedRun, claimed, digest_of
from lexigram_actors.host.seam import escaped
from lexigram_actors.pipeline.tree import Node, Path
from lexigram_actors.storage.ports import CacheBackendProtocol

FORMAT: Final = 1


@final
class Checkpoint:
    """The record of one run.

    Args:
        place: As for `RecordedRun`.

    Every method that waits raises `StoreError` where the store does not do it, whether it
    answered with an `Err` or raised.
    """

    __slots__ = ("_is_hosted", "_run", "clear")

    def __init__(
        self,
        store: CacheBackendProtocol,
        name: str,
        version: int,
        run_id: str,
        place: str | None = None,
    ) -> None:
        names = ("pipeline", name, str(version))
        self._run = RecordedRun(store, f"pipeline {name!r}", names, run_id, place)
        self._is_hosted = place is not None
        self.clear = self._run.clear

    def claimed(self) -> AbstractContextManager[None]:
        """Let no other run have this checkpoint meanwhile.

        Raises:
            WorkflowStateError: One has it.
        """
        run = self._run
        return claimed(run.store, run.prefix, run.what, run.run_id)

    async def begin(self, nodes: Iterable[Node]) -> dict[Path, Any]:
        """Return the results recorded by earlier runs, by path; where none are, begin a record."""
        header = await self._run.header()
        if header is None:
            await self._run.begin({"format": FORMAT})
            return {}
        if header.get("format") != FORMAT:
            raise self._run.unreadable(f"its format is {header.get('format')!r}, not {FORMAT}")
        restored = {}
        for node in nodes:
            entry = await self._run.get(self._key(node))
            if entry is not None and self._is_of_this_run(entry):
                restored[node.path] = self._result_in(entry, node)
        return restored

    async def save(self, node: Node, result: Any) -> None:
        """Record a step's result.

        Raises:
            NotStorableError: It has no stored form; nothing was written.
        """
        entry = {"step": node.name, "result": result}
        if self._is_hosted:
            entry["run"] = self._run.token
        try:
            await self._run.set(self._key(node), entry, f"the result of step {node.name!r} in ")
        except NotStorableError as error:
            raise NotStorableError(
                f"{error.reason}; it is in the result of step {node.name!r} of "
                f"{self._run.what}, which is recorded",
                path=error.path.replace("$.result", "$", 1),
                details={"step_name": node.name},
                hint="return plain data from the step, or register the type with the store's codec",
                cause=error,
            ) from error

    def _is_of_this_run(self, entry: Any) -> bool:
        if not self._is_hosted or not isinstance(entry, dict):
            return True
        return bool(entry.get("run") == self._run.token)

    def _key(self, node: Node) -> str:
        if self._is_hosted:  # nothing is replaced there, and people read it
            return "/".join(map(escaped, node.path))
        return f"{self._run.token}:{digest_of(node.path)}"

    def _result_in(self, entry: Any, node: Node) -> Any:
        if isinstance(entry, dict) and entry.get("step") == node.name and "result" in entry:
            return entry["result"]
        raise self._run.unreadable(f"what is recorded for step {node.name!r} is no record of it")
