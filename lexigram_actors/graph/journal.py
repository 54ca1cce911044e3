"""Where a runner records its runs: in memory, or in a key-value store.

A journal takes one record for each visit that finished, and its cost does not grow with the run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, final

import trio

from lexigram_actors.checks import given
from lexigram_actors.graph.checkpoint import Progress, Record, WorkflowCheckpoint
from lexigram_actors.host.recorded import RecordedRun, cache_in

Snapshot = Callable[[Progress], Record]


@final
class Entry:
    """A record on its way into a journal."""

    __slots__ = ("is_written", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.is_written = False


class Journal(Protocol):
    """The record of one run."""

    async def load(self) -> Progress | None:
        """Return what an earlier attempt recorded; None where there is none."""
        ...

    async def begin(self, progress: Progress) -> None:
        """Begin anew with what is done so far; what was recorded before counts no more.

        Cut off in the middle, it is as if it had not been called, or as if it had ended.
        """
        ...

    def append(self, entry: Entry) -> Awaitable[None] | None:
        """Add a record; it is as durable as the journal is once what is returned was awaited.

        Returns None where nothing has to be waited for. After a wait that was cancelled or failed
        it may be called again with the same entry.
        """
        ...

    async def ask(self, questions: list[Record], continued: Sequence[str] = ()) -> None:
        """Keep the open questions, and what the run went on from, in place of what was there."""
        ...

    async def clear(self) -> None:
        """Forget the run."""
        ...


@final
class MemoryJournal:
    """A journal in a `WorkflowCheckpoint`. Nothing of it waits."""

    __slots__ = ("_checkpoint", "_progress", "_run_id")

    def __init__(self, checkpoint: WorkflowCheckpoint, run_id: str) -> None:
        self._checkpoint = checkpoint
        self._run_id = run_id
        self._progress: Progress | None = None

    async def load(self) -> Progress | None:
        """Return what is kept under the run id."""
        # Where others have pushed it out meanwhile, a retry still has it.
        self._progress = self._checkpoint.progress(self._run_id) or self._progress
        return None if self._progress is None else self._progress.copy()

    async def begin(self, progress: Progress) -> None:
        """Keep the run under the run id."""
        self._progress = progress
        self._checkpoint.keep_progress(self._run_id, self._progress)

    def append(self, entry: Entry) -> None:
        """Add a record; the newest run is kept, also where others pushed it out meanwhile."""
        assert self._progress is not None
        self._progress.records.append(entry.record)
        entry.is_written = True
        if self._run_id not in self._checkpoint:
            self._checkpoint.keep_progress(self._run_id, self._progress)

    async def ask(self, questions: list[Record], continued: Sequence[str] = ()) -> None:
        """Keep the open questions, and what the run went on from."""
        assert self._progress is not None
        self._progress.questions = questions
        self._progress.continued = list(continued)

    async def clear(self) -> None:
        """Forget the run."""
        self._checkpoint.delete(self._run_id)


@final
class StoredJournal:
    """A journal in a key-value store: segments of records, each written once.

    Records that come while one segment is being written go into the next together. A write that
    failed or was cancelled is made again, with what has come meanwhile, at the next append: the
    segments have no gaps.
    """

    __slots__ = ("_lock", "_run", "_segment", "_snapshot", "_unwritten")

    def __init__(self, run: RecordedRun, snapshot: Snapshot) -> None:
        self._run = run
        self._snapshot = snapshot
        self._segment = 0
        self._unwritten: list[Entry] = []
        self._lock = trio.Lock()

    async def load(self) -> Progress | None:
        """Read the header, the segments and the questions.

        Raises:
            StoreError: The store cannot be read, or holds something else.
        """
        header = await self._run.header()
        if header is None:
            return None
        progress = Progress(header, self._snapshot)
        self._segment = 0
        while (segment := await self._run.get(self._key(self._segment))) is not None:
            if not isinstance(segment, list):
                raise self._run.unreadable(f"segment {self._segment} is no list")
            progress.records += segment
            self._segment += 1
        asked = await self._run.get(self._key("questions")) or []
        if isinstance(asked, dict):
            progress.continued = asked["continued"]
            asked = asked["open"]
        progress.questions = asked
        return progress

    async def begin(self, progress: Progress) -> None:
        """Write everything, the header last: until it is there, an earlier record counts.

        Raises:
            StoreError: The store cannot write it.
            NotStorableError: The state has no stored form.
        """
        self._unwritten.clear()
        self._run.renew()
        self._segment = 0
        if progress.records:
            await self._run.set(self._key(0), progress.records)
            self._segment = 1
        if progress.questions or progress.continued:
            await self.ask(progress.questions, progress.continued)
        await self._run.begin(progress.header)

    async def append(self, entry: Entry) -> None:
        """Write the record, together with those that wait.

        Raises:
            StoreError: The store cannot write it.
            NotStorableError: What the node wrote has no stored form.
        """
        if entry not in self._unwritten:  # it is there where an earlier call was cut off
            self._unwritten.append(entry)
        async with self._lock:
            if entry.is_written:
                return  # another call has taken it along
            entries = list(self._unwritten)
            await self._run.set(self._key(self._segment), [each.record for each in entries])
            self._segment += 1
            del self._unwritten[: len(entries)]
            for each in entries:
                each.is_written = True

    async def ask(self, questions: list[Record], continued: Sequence[str] = ()) -> None:
        """Write the open questions, and what the run went on from.

        Raises:
            StoreError: The store cannot write them.
        """
        value: Any = questions
        if continued:
            value = {"open": questions, "continued": list(continued)}
        await self._run.set(self._key("questions"), value)

    async def clear(self) -> None:
        """Remove every key of the run.

        Raises:
            StoreError: The store cannot do it.
        """
        await self._run.clear()

    def _key(self, part: int | str) -> str:
        return f"{self._run.token}:{part}"


def keeper_of(checkpoint: Any) -> Any:
    """Return what keeps the runs: of a store its cache, else the thing itself."""
    return cache_in(checkpoint) or checkpoint


def journal_of(
    checkpoint: Any, graph: str, run_id: str, snapshot: Snapshot, place: str | None = None
) -> Journal:
    """Return the journal of a run in whatever a runner was given, or in the record of an instance.

    Args:
        place: As for `RecordedRun`.

    Raises:
        TypeError: It is nothing that keeps runs.
    """
    if isinstance(checkpoint, WorkflowCheckpoint):
        return MemoryJournal(checkpoint, run_id)
    cache = cache_in(checkpoint)
    if cache is not None:
        run = RecordedRun(cache, f"graph {graph!r}", ("graph", graph), run_id, place)
        return StoredJournal(run, snapshot)
    raise TypeError(
        f"checkpoint must be a WorkflowCheckpoint, a store or a cache, not {given(checkpoint)}"
    )
