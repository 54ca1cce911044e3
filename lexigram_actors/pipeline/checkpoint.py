"""What a run records so that another can go on where it ended.

| key (below a prefix made of the digest of name, version and run id) | value |
| --- | --- |
| `header` | format, and a token made up for this run |
| `<token>:<digest of the step's path>` | the step's name and result |

A step costs one write of its own result, whatever was recorded before it. A fresh run costs one
read; one that goes on reads the key of every step. Only steps below the header's token count. So
when a clearing was cut off after the header was gone, nothing of it is taken for a later run's;
it lies there until a run of the same id is cleared.

The prefix is a digest: a run id may be of any length and hold any character, `*` too, and neither
meets another's keys nor widens the pattern that clears its own.

Rejected: one value with all results (each step costs more than the one before); and a log of
entries (steps side by side would have to wait for each other to keep it without gaps).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final, final
from uuid import uuid4

import trio

from lexigram_actors.errors import (
    NotStorableError,
    StoreCorruptedError,
    StoreError,
    WorkflowStateError,
    describe,
)
from lexigram_actors.errors.base import sole_error
from lexigram_actors.pipeline.tree import Node, Path
from lexigram_actors.storage.ports import CacheBackendProtocol

FORMAT: Final = 1

CLAIMS: Final[trio.lowlevel.RunVar[set[tuple[int, str]]]] = trio.lowlevel.RunVar("pipeline runs")
"""Which checkpoints have a run under way, by store and prefix: of one Trio run, not of all."""


@final
class Checkpoint:
    """The record of one run.

    Every method that waits raises `StoreError` where the store does not do it, whether it
    answered with an `Err` or raised.
    """

    __slots__ = ("name", "prefix", "run_id", "store", "token")

    def __init__(self, store: CacheBackendProtocol, name: str, version: int, run_id: str) -> None:
        self.store = store
        self.name = name
        self.run_id = run_id
        self.prefix = f"lexigram:pipeline:{digest_of((name, str(version), run_id))}:"
        self.token = ""

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Let no other run have this checkpoint meanwhile.

        Raises:
            WorkflowStateError: One has it.
        """
        try:
            claims = CLAIMS.get()
        except LookupError:
            claims = set()
            CLAIMS.set(claims)
        claim = (id(self.store), self.prefix)
        if claim in claims:
            raise WorkflowStateError(
                f"pipeline {self.name!r}: a run with run_id {self.run_id!r} is under way",
                details={"run_id": self.run_id},
                hint="give each run a run_id of its own, or wait for the first to end",
            )
        claims.add(claim)
        try:
            yield
        finally:
            claims.discard(claim)

    async def begin(self, nodes: Iterable[Node]) -> dict[Path, Any]:
        """Return the results recorded by earlier runs, by path; where none are, begin a record."""
        header = await self._ask("read", self.store.get, f"{self.prefix}header")
        if header is None:
            self.token = uuid4().hex
            await self._ask(
                "begun",
                self.store.set,
                f"{self.prefix}header",
                {"format": FORMAT, "token": self.token},
            )
            return {}
        self.token = self._token_in(header)
        restored = {}
        for node in nodes:
            entry = await self._ask("read", self.store.get, self._key(node))
            if entry is not None:
                restored[node.path] = self._result_in(entry, node)
        return restored

    async def save(self, node: Node, result: Any) -> None:
        """Record a step's result.

        Raises:
            NotStorableError: It has no stored form; nothing was written.
        """
        entry = {"step": node.name, "result": result}
        what = f"written, step {node.name!r} is not recorded"
        try:
            await self._ask(what, self.store.set, self._key(node), entry)
        except NotStorableError as error:
            raise NotStorableError(
                f"{error.reason}; it is in the result of step {node.name!r} of pipeline "
                f"{self.name!r}, which has a checkpoint store",
                path=error.path.replace("$.result", "$", 1),
                details={"step_name": node.name},
                hint="return plain data from the step, or register the type with the store's codec",
                cause=error,
            ) from error

    async def clear(self) -> None:
        """Forget everything; cut off in the middle, nothing of it counts any more."""
        await self._ask("cleared", self.store.delete, f"{self.prefix}header")
        await self._ask("cleared", self.store.delete_pattern, f"{self.prefix}*")

    def _key(self, node: Node) -> str:
        return f"{self.prefix}{self.token}:{digest_of(node.path)}"

    def _token_in(self, header: Any) -> str:
        if isinstance(header, dict) and header.get("format") == FORMAT:
            token = header.get("token")
            if isinstance(token, str):
                return token
        raise self._unreadable("its header is not one that this version writes")

    def _result_in(self, entry: Any, node: Node) -> Any:
        if isinstance(entry, dict) and entry.get("step") == node.name and "result" in entry:
            return entry["result"]
        raise self._unreadable(f"what is recorded for step {node.name!r} is no record of it")

    def _unreadable(self, problem: str) -> StoreCorruptedError:
        return StoreCorruptedError(
            f"{self._title} is damaged or of another version: {problem}",
            hint="run again with another run_id, or another version of the pipeline",
        )

    async def _ask(self, what: str, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        try:
            outcome = await call(*args)
            if outcome.is_ok():
                return outcome.unwrap()
            failure = outcome.unwrap_err()
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of any kind
            failure = sole_error(error)
        if isinstance(failure, StoreError | NotStorableError):
            raise failure
        cause = failure if isinstance(failure, BaseException) else None
        raise StoreError(
            f"{self._title} cannot be {what}: {describe(failure)}",
            hint="mend the store, and execute again with the same run_id: what is recorded stands",
            cause=cause,
        ) from cause

    @property
    def _title(self) -> str:
        return f"the checkpoint of pipeline {self.name!r}, run {self.run_id!r},"


def digest_of(words: Iterable[str]) -> str:
    """Return a digest that no other sequence of texts has."""
    return sha256(json.dumps(list(words)).encode("utf-8")).hexdigest()[:40]
