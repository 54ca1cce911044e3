"""A run's own corner of a key-value store: what pipelines and graphs share of recording progress.

| key (below a prefix made of the digest of what names the run) | value |
| --- | --- |
| `header` | a token made up for this run, and what the kind adds |
| `<token>:...` | what the kind records |

Only what lies below the header's token counts. So when a clearing was cut off after the header was
gone, nothing of it is taken for a later run's; it lies there until a run of the same name is
cleared. The prefix is a digest: a run id may be of any length and hold any character, `*` too, and
neither meets another's keys nor widens the pattern that clears its own.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
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
from lexigram_actors.storage.ports import CacheBackendProtocol

CLAIMS: Final[trio.lowlevel.RunVar[set[tuple[int, str]]]] = trio.lowlevel.RunVar("runs under way")
"""Which corners have a run under way, by store and prefix: of one Trio run, not of all."""


def digest_of(parts: Any) -> str:
    """Return a digest of texts; different ones have different digests."""
    return sha256(json.dumps(parts).encode()).hexdigest()


@contextmanager
def claimed(owner: object, place: str, what: str, run_id: str) -> Iterator[None]:
    """Let no other run have this place of `owner` meanwhile.

    Raises:
        WorkflowStateError: One has it.
    """
    try:
        claims = CLAIMS.get()
    except LookupError:
        claims = set()
        CLAIMS.set(claims)
    claim = (id(owner), place)
    if claim in claims:
        raise WorkflowStateError(
            f"{what}: a run with run_id {run_id!r} is under way",
            details={"run_id": run_id},
            hint="give each run a run_id of its own, or wait for the first to end",
        )
    claims.add(claim)
    try:
        yield
    finally:
        claims.discard(claim)


@final
class RecordedRun:
    """The corner of one run.

    Every method that waits raises `StoreError` where the store does not do it, whether it
    answered with an `Err` or raised; and `NotStorableError` for a value with no stored form, of
    which nothing was written.

    Args:
        what: Names the run in messages, as `pipeline 'etl'`.
        names: What tells it from all others: kind, name, run id.
    """

    __slots__ = ("prefix", "run_id", "store", "token", "what")

    def __init__(
        self, store: CacheBackendProtocol, what: str, names: tuple[str, ...], run_id: str
    ) -> None:
        self.store = store
        self.what = what
        self.run_id = run_id
        self.prefix = f"lexigram:{names[0]}:{digest_of((*names, run_id))}:"
        self.token = ""

    async def header(self) -> dict[str, Any] | None:
        """Return what an earlier run began with and did not clear; None where there is none."""
        header = await self.get("header")
        if header is None:
            return None
        token = header.get("token") if isinstance(header, dict) else None
        if not isinstance(token, str):
            raise self.unreadable("its header is not one that this version writes")
        self.token = token
        kept: dict[str, Any] = header
        return kept

    async def begin(self, header: dict[str, Any]) -> None:
        """Begin a record; what was recorded before counts no more."""
        self.token = uuid4().hex
        await self.set("header", {**header, "token": self.token})

    async def get(self, key: str) -> Any:
        """Return the value of a key below the prefix; None where there is none."""
        return await self._ask("read", self.store.get, self.prefix + key)

    async def set(self, key: str, value: Any) -> None:
        """Write it; durable on return."""
        await self._ask("written", self.store.set, self.prefix + key, value)

    async def clear(self) -> None:
        """Forget everything; cut off in the middle, nothing of it counts any more."""
        await self._ask("cleared", self.store.delete, f"{self.prefix}header")
        await self._ask("cleared", self.store.delete_pattern, f"{self.prefix}*")

    async def _ask(self, done: str, ask: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        try:
            answer = await ask(*args)
            if answer.is_ok():
                return answer.unwrap()
            failure = answer.unwrap_err()
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of any kind
            failure = sole_error(error)
        if isinstance(failure, StoreError | NotStorableError):
            raise failure
        cause = failure if isinstance(failure, BaseException) else None
        raise StoreError(
            f"the record of {self.what}, run {self.run_id!r}, cannot be {done}: "
            f"{describe(failure)}",
            hint="mend the store, and run again with the same run_id: what is recorded stands",
            cause=cause,
        ) from cause

    def unreadable(self, problem: str) -> StoreCorruptedError:
        """Return the error for a record that is there and makes no sense."""
        return StoreCorruptedError(
            f"the record of {self.what}, run {self.run_id!r}, is damaged or of another version: "
            f"{problem}",
            hint="run again with another run_id",
        )
