"""What a run records so that another can go on where it ended.

| key (below a prefix made of the digest of the operation id) | value |
| --- | --- |
| `header` | format, batch size, digest of the first batch |
| `log:0`, `log:1`, ... | up to 64 entries `[batch, items, digest]`, in the order of hand-over |
| `result:7` | results of batch 7, where they are kept |

A record rewrites the last segment of the log, so it costs the same for the first batch and the
millionth. It is written after the batch was handed over, so the checkpoint is never ahead of what
the caller has; a crash in between runs that batch again. Order makes every prefix of the writes
valid: header before log, results before their entry; and the header goes first when all is
cleared, because without a header nothing else counts.

In the journal of an instance nothing is replaced, so that there each batch has a segment of its
own: one entry `[batch, items, digest, results]`, one write.

The prefix is a digest: an id may be of any length and hold any character, `*` too, and neither
meets another's keys nor widens the pattern that clears its own.

Rejected: one list of all recorded batches (each record costs more than the one before), and one
key a batch (a resume must ask for every batch of the input whether it is there).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final, final

from lexigram_actors.bulk.fingerprint import DIGEST_SIZE, DigestMap, digest_of
from lexigram_actors.bulk.models import BulkBatchResult, BulkCheckpoint
from lexigram_actors.errors import BulkOperationError, NotStorableError, StoreError
from lexigram_actors.errors.base import describe
from lexigram_actors.storage.ports import CacheBackendProtocol

FORMAT: Final = 1
SEGMENT: Final = 64


@final
class Journal:
    """The checkpoint of one run: what earlier runs recorded, and the way to record more.

    Args:
        is_append_only: Whether the store is the record of a journal.

    Every method that waits raises `BulkOperationError` with a `StoreError` (or
    `NotStorableError`) as its cause where the store does not do it. Recording may be cancelled
    and done again.
    """

    def __init__(
        self,
        store: CacheBackendProtocol,
        operation_id: str,
        *,
        keep_results: bool = False,
        fingerprint: Callable[[Any], Any] | None = None,
        is_append_only: bool = False,
    ) -> None:
        self.store = store
        self.operation_id = operation_id
        self.keep_results = keep_results
        self.fingerprint = fingerprint
        self.prefix = f"lexigram:bulk:{_digest_of_id(operation_id)}:"
        self.recorded = DigestMap()
        self.items = 0
        self.header: dict[str, Any] | None = None
        self._batch_size = 0
        self._first = ""
        self._digests: dict[int, bytes] = {}  # of batches under way
        self.is_append_only = is_append_only
        self._segment = 0
        self._places: dict[int, int] = {}  # segments of batches, where each has its own
        self._entries: list[list[Any]] = []  # of the last segment

    # --- beginning --------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what is recorded."""
        self.header = await self._get("header")
        if self.header is None:
            return
        self._admit(self._admit_header, self.header)
        number = 0
        while (entries := await self._get(f"log:{number}")) is not None:
            self._admit(self._admit_entries, entries)
            self._segment, self._entries = number, entries
            if self.is_append_only:
                self._places[entries[0][0]] = number
            number += 1

    def _admit(self, admit: Callable[[Any], None], stored: Any) -> None:
        try:
            admit(stored)
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(error) from error

    def _admit_header(self, header: Any) -> None:
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        if type(header["batch_size"]) is not int or type(header["first"]) is not str:
            raise TypeError("its header has other types than it was written with")

    def _admit_entries(self, entries: Any) -> None:
        for batch, items, digest, *_ in entries:
            data = bytes.fromhex(digest)
            if batch < 0 or items < 1 or len(data) != DIGEST_SIZE:
                raise ValueError(f"entry of batch {batch!r} with {items!r} items")
            self.items += 0 if self.recorded.get(batch) else items
            self.recorded.put(batch, data)

    def snapshot(self) -> BulkCheckpoint | None:
        """Return what is recorded as a value, None where nothing ever was."""
        if self.header is None:
            return None
        return BulkCheckpoint(
            self.operation_id, self.header["batch_size"], self.recorded.numbers(), self.items
        )

    async def begin(self, batch_size: int) -> None:
        """Load, refuse what belongs to other batches, and sweep up what was half cleared.

        Raises:
            BulkOperationError: Recorded with another batch size, or as below `Journal`.
        """
        await self.load()
        self._batch_size = batch_size
        if self.header is None:
            await self._delete_all("begun")
        elif self.header["batch_size"] != batch_size:
            raise self._mismatch(
                f"it was recorded with batch_size {self.header['batch_size']}, "
                f"and this run has batch_size {batch_size}"
            )

    # --- while it runs ----------------------------------------------------------------------

    def check(self, batch: int, items: list[Any]) -> bool:
        """Note the items of a batch and say whether it is recorded already.

        Raises:
            BulkOperationError: Recorded with other items; the message shows both digests.
        """
        digest = digest_of(items, self.fingerprint, batch * self._batch_size)
        if batch == 0:
            self._first = digest.hex()
            if self.header is not None and self.header["first"] != self._first:
                raise self._other_items(0, self.header["first"], self._first)
        known = self.recorded.get(batch)
        if known is None:
            self._digests[batch] = digest
            return False
        if known != digest:
            raise self._other_items(batch, known.hex(), digest.hex())
        return True

    def redo(self, batch: int) -> None:
        """Let a recorded batch be recorded again, because its results are gone."""
        digest = self.recorded.get(batch)
        if digest is not None:
            self._digests[batch] = digest

    def check_end(self, batches: int) -> None:
        """Refuse an input that ended before batches which are recorded.

        Raises:
            BulkOperationError: There are such; the message shows both numbers.
        """
        last = self.recorded.highest()
        if last >= batches:
            raise self._mismatch(
                f"batch {last} is recorded, and the items of this run end after {batches} batches"
            )

    async def results_of(self, batch: int) -> list[Any] | None:
        """Return the results kept of a recorded batch, None where they are not there."""
        if not self.keep_results:
            return None
        if self.is_append_only:
            return list((await self._get(f"log:{self._places[batch]}"))[0][3])
        results = await self._get(f"result:{batch}")
        return results if isinstance(results, list) else None

    async def record(self, result: BulkBatchResult[Any, Any]) -> None:
        """Record a batch that was handed over; a failed one, or one that is recorded, is not."""
        batch = result.batch_id
        digest = self._digests.get(batch)
        if digest is not None and result.is_successful:
            await self._write(batch, len(result.items), digest, result.results)
        self._digests.pop(batch, None)

    async def _write(self, batch: int, items: int, digest: bytes, results: list[Any]) -> None:
        if self.header is None:
            header = {"format": FORMAT, "batch_size": self._batch_size, "first": self._first}
            await self._set("header", header, batch)
            self.header = header
        if self.is_append_only:
            segment = self._segment + bool(self._entries)
            entries = [[batch, items, digest.hex(), results]]
            await self._set(f"log:{segment}", entries, batch)
            self._segment, self._entries = segment, entries
            return
        if self.keep_results:
            await self._set(f"result:{batch}", results, batch)
        full = len(self._entries) >= SEGMENT
        segment = self._segment + full
        entries = [*([] if full else self._entries), [batch, items, digest.hex()]]
        await self._set(f"log:{segment}", entries, batch)
        self._segment, self._entries = segment, entries

    async def clear(self) -> None:
        """Forget everything; cut off in the middle, nothing of it counts any more."""
        await self._ask("cleared", self.store.delete, f"{self.prefix}header")
        await self._delete_all("cleared")

    # --- the store --------------------------------------------------------------------------

    async def _get(self, name: str) -> Any:
        return await self._ask("read", self.store.get, f"{self.prefix}{name}")

    async def _set(self, name: str, value: Any, batch: int) -> None:
        what = f"written (batch {batch})"
        await self._ask(what, self.store.set, f"{self.prefix}{name}", value)

    async def _delete_all(self, what: str) -> None:
        await self._ask(what, self.store.delete_pattern, f"{self.prefix}*")

    async def _ask(self, what: str, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        try:
            outcome = await call(*args)
            failure = outcome.unwrap_err() if outcome.is_err() else None
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of any kind
            raise self._not_done(what, error) from _as_store_error(error)
        if failure is not None:
            raise self._not_done(what, failure) from _as_store_error(failure)
        return outcome.unwrap()

    # --- what can be wrong ------------------------------------------------------------------

    def _not_done(self, what: str, error: object) -> BulkOperationError:
        if isinstance(error, NotStorableError):
            hint = "return results that can be stored, or leave keep_results away"
        else:
            hint = "what was delivered stands; mend the store and execute again with the same id"
        return BulkOperationError(
            f"the checkpoint of {self._name} cannot be {what}: {describe(error)}", hint=hint
        )

    def _unreadable(self, error: Exception) -> BulkOperationError:
        return BulkOperationError(
            f"the checkpoint of {self._name} is damaged or of another version: {describe(error)}",
            hint="clear_checkpoint(operation_id) forgets it, and the run starts from the beginning",
        )

    def _mismatch(self, problem: str) -> BulkOperationError:
        return BulkOperationError(
            f"the checkpoint of {self._name} belongs to another job: {problem}",
            hint="resume with the same items and batch size, use another operation_id, or forget "
            "it with clear_checkpoint(operation_id)",
        )

    def _other_items(self, batch: int, then: str, now: str) -> BulkOperationError:
        return self._mismatch(
            f"batch {batch} was recorded with items of the digest {then}, "
            f"and has items of the digest {now} in this run"
        )

    @property
    def _name(self) -> str:
        name = self.operation_id
        return repr(name if len(name) <= 80 else f"{name[:80]}…")


def _digest_of_id(operation_id: str) -> str:
    return sha256(operation_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _as_store_error(error: object) -> Exception:
    if isinstance(error, StoreError | NotStorableError):
        return error
    cause = error if isinstance(error, BaseException) else None
    return StoreError(f"the store failed: {describe(error)}", cause=cause)
