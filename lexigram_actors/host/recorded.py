"""A run's own corner of a key-value store: what pipelines and graphs share of recording progress.

| key (below a prefix made of the digest of what names the run) | value |
| --- | --- |
| `header` | a token made up for this run, and what the kind adds, its format above all |
| `<token>:...` | what the kind records |

Only what lies below the header's token counts. So when a clearing was cut off after the header was
gone, nothing of it is taken for a later run's; it lies there until a run of the same name is
cleared. The prefix is a digest: a run id may be of any length and hold any character, `*` too, and
neither meets another's keys nor widens the pattern that clears its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
from lexigram_actors.host.cancelling import passing
from lexigram_actors.host.seam import escaped
from lexigram_actors.storage.ports import CacheBackendProtocol

logger = logging.getLogger(__name__)

CLEAR_TIMEOUT: Final = 5.0
"""Seconds that each half of a clearing may go on for after a cancellation."""

CLAIMS: Final[trio.lowlevel.RunVar[set[tuple[int, str]]]] = trio.lowlevel.RunVar("runs under way")
"""Which corners have a run under way, by store and prefix: of one Trio run, not of all."""


def digest_of(parts: Sequence[str]) -> str:
    """Return a digest that no other sequence of texts has."""
    # Escaped, two lone surrogates would read as the character that they are the halves of.
    text = json.dumps(parts, ensure_ascii=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def cache_in(given: object) -> CacheBackendProtocol | None:
    """Return the key-value view of a store, or a cache itself; None: it is neither."""
    for candidate in (given, getattr(given, "cache", None)):
        if isinstance(candidate, CacheBackendProtocol) and not isinstance(candidate, type):
            return candidate
    return None


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
        names: What tells it from the runs of other definitions: the kind, the name and whatever
            else of the definition counts.
        run_id: Tells it from other runs of the definition.
        place: Tells it from other runs instead, in the record of an instance: one that began as a
            copy of another has another run id, and goes on with what is recorded all the same. Its
            keys can be read: what lies below the place, and a header that no step is called as.
    """

    __slots__ = ("_header", "prefix", "run_id", "store", "token", "what")

    def __init__(
        self,
        store: CacheBackendProtocol,
        what: str,
        names: tuple[str, ...],
        run_id: str,
        place: str | None = None,
    ) -> None:
        self.store = store
        self.what = what
        self.run_id = run_id
        if place is None:
            self.prefix = f"lexigram:{names[0]}:{digest_of((*names, run_id))}:"
            self._header = "header"
        else:
            self.prefix = f"{place}/" if place else ""
            self._header = f"%{':'.join(map(escaped, names))}"  # escaped names have `%2` only
        self.token = ""

    async def header(self) -> dict[str, Any] | None:
        """Return what an earlier run began with and did not clear; None where there is none."""
        header = await self.get(self._header)
        if header is None:
            return None
        if not isinstance(header, dict) or not isinstance(header.get("token"), str):
            raise self.unreadable("its header is not one that this version writes")
        self.token = header["token"]
        return header

    def renew(self) -> None:
        """Choose another token: what is written below it counts once `begin` has returned."""
        self.token = uuid4().hex

    async def begin(self, header: dict[str, Any]) -> None:
        """Write the header with the token, a new one where there is none yet.

        What was recorded below another token counts no more.
        """
        if not self.token:
            self.renew()
        await self.set(self._header, {**header, "token": self.token})

    async def get(self, key: str) -> Any:
        """Return the value of a key below the prefix; None where there is none."""
        return await self._ask("read", self.store.get, self.prefix + key)

    async def set(self, key: str, value: Any, part: str = "") -> None:
        """Write it; durable on return.

        Args:
            part: Goes before "the record of" in the message of a store that does not do it.
        """
        await self._ask("written", self.store.set, self.prefix + key, value, part=part)

    async def clear(self) -> None:
        """Forget everything.

        It counts no more once the header is gone. From there on nothing is raised: what a store
        does not remove only takes room, which is logged.

        Cancelled, it goes on for `CLEAR_TIMEOUT` seconds, and where it succeeds returns as if
        there were no cancellation, so that the outcome of the run is not lost together with its
        record. Where the time does not suffice for the header, the cancellation passes: the
        record may stand or be gone.
        """
        try:
            await self._delete_header()
        except trio.Cancelled:  # noqa: ASYNC103 - it comes again at the next checkpoint
            with trio.move_on_after(CLEAR_TIMEOUT, shield=True) as scope:
                await self._delete_header()
            if scope.cancelled_caught:
                logger.warning("%s: after the cancellation its record may still stand", self._place)
                raise
        try:
            await self._delete_rest()
        except trio.Cancelled:  # noqa: ASYNC103 - as above
            with trio.move_on_after(CLEAR_TIMEOUT, shield=True) as scope:
                await self._delete_rest()
            if scope.cancelled_caught:
                self._leave_rest("it was cancelled")

    async def _delete_header(self) -> None:
        try:
            await self._ask("cleared", self.store.delete, f"{self.prefix}{self._header}")
            return
        except StoreError as error:
            failure = error
        if not await self._is_gone():
            raise failure

    async def _is_gone(self) -> bool:
        """Say whether the header is gone: a store may do it, and fail to say so."""
        try:
            return await self.get(self._header) is None
        except (StoreError, NotStorableError):
            return False

    async def _delete_rest(self) -> None:
        try:
            await self._ask("cleared", self.store.delete_pattern, f"{self.prefix}*")
        except (StoreError, NotStorableError) as error:
            self._leave_rest(describe(error))

    def _leave_rest(self, reason: str) -> None:
        logger.warning(
            "%s is over; what was recorded is not removed, and counts no more: %s",
            self._place,
            reason,
        )

    @property
    def _place(self) -> str:
        return f"{self.what}, run {self.run_id!r}"

    async def _ask(
        self, done: str, ask: Callable[..., Awaitable[Any]], *args: Any, part: str = ""
    ) -> Any:
        try:
            answer = await ask(*args)
            if answer.is_ok():
                return answer.unwrap()
            failure = answer.unwrap_err()
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of any kind
            failure = sole_error(error)
        except BaseExceptionGroup as group:
            # Of a store with a nursery, cancelled.
            raise passing(group, f"the store of {self._place},") from None  # noqa: ASYNC104
        if isinstance(failure, StoreError | NotStorableError):
            raise failure
        cause = failure if isinstance(failure, BaseException) else None
        raise StoreError(
            f"{part}the record of {self._place}, cannot be {done}: {describe(failure)}",
            hint="mend the store, and run again with the same run_id: what is recorded stands",
            cause=cause,
        ) from cause

    def unreadable(self, problem: str) -> StoreCorruptedError:
        """Return the error for a record that is there and makes no sense."""
        return StoreCorruptedError(
            f"the record of {self._place}, is damaged or of another version: {problem}",
            hint="run again with another run_id, or another version or name of the definition",
        )
