"""A job: runs that continue one another until every item has its result.

What a killed process leaves, by the moment of the kill, and what the next run makes of it:

| killed | the results file | the next run |
| --- | --- | --- |
| before the record of the job is written | not there, or empty | begins |
| while lines are written | ends torn | cuts the torn line off, runs those items again |
| between lines and their record | has unrecorded lines | drops them, runs those items again |
| while it is mended | the old one, or the new one | mends it, or has nothing to mend |
| after the last record, before the checkpoint is cleared | whole | has nothing to run, clears it |
| after that, before the job is marked as finished | whole | sees that it is, marks it |

Lines that are not recorded are dropped only from a file that carries the mark of the job
(`ownership`): another run may have written to the same place since.

The last row needs the number of items, which is recorded when their end is seen, so before the
operation can be through and clear its checkpoint.
"""

from pathlib import Path

import trio
from attrs import evolve

from lexigram_actors.bulk import BulkCheckpoint, BulkOperation
from lexigram_actors.cli.errors import JobMismatchError
from lexigram_actors.cli.items import ItemSource
from lexigram_actors.cli.job import JobRecord, JobRecords, check_same, describe_job
from lexigram_actors.cli.lines import (
    REWRITTEN,
    mend,
    remove_file,
    remove_rewritten,
    replace_by_empty,
)
from lexigram_actors.cli.output import beside, refuse_existing
from lexigram_actors.cli.ownership import claim, inode_of, new_token, owner_of
from lexigram_actors.cli.reconcile import Plan, Recorded, Whole, plan
from lexigram_actors.cli.running import Checkpoint
from lexigram_actors.cli.session import Session
from lexigram_actors.storage.ports import CacheBackendProtocol


async def run_job(session: Session, helpers: trio.Nursery) -> None:
    """Begin the job of `--id`, or continue it, or find that it is complete.

    Raises:
        JobMismatchError: what is recorded and what is asked for do not fit together. Nothing was
            changed.
        StoreError: the checkpoint file cannot be used.
    """
    from lexigram_actors.storage import SQLiteStore

    options, checkpoint = session.options, session.checkpoint
    assert checkpoint is not None
    assert options.job is not None
    async with SQLiteStore(checkpoint) as store:
        await _Job(session, checkpoint, options.job, store.cache).run(helpers)


class _Job:
    """A job and its two records: which batches are done, and whose they are."""

    def __init__(
        self, session: Session, checkpoint: Path, name: str, store: CacheBackendProtocol
    ) -> None:
        self.session = session
        self.checkpoint = checkpoint
        self.name = name
        self.out = session.places.out
        self.records = JobRecords(store, name)
        self.place = Checkpoint(store, f"bulk-command:{name}")
        self.operation: BulkOperation[object, object] = BulkOperation(checkpoint_store=store)

    async def run(self, helpers: trio.Nursery) -> None:
        """Do what is left to do."""
        source = await self.session.open_items(helpers)
        try:
            if self.session.options.overwrite:
                await self._discard()
            record = await self.records.load()
            recorded = await self.operation.checkpoint(self.place.operation_id)
            if record is not None and recorded is None and await self._is_complete(record):
                self._check(record)
                await self._confirm(record, source)
            elif recorded is None:
                await self._process(await self._begin(record), None, source)
            else:
                await self._process(self._check(record), recorded, source)
        finally:
            source.close()

    # --- the record ------------------------------------------------------------------------

    async def _begin(self, earlier: JobRecord | None) -> JobRecord:
        """Describe the job as it is asked for. An earlier start that recorded no result is nothing
        to hold on to: the reason may have been what was asked for.

        Raises:
            OutputExistsError: results stand at --out that are not of this job.
        """
        record = self._describe(self.session.batch_size)
        if earlier is not None:
            record = evolve(record, token=earlier.token, inode=earlier.inode, errors=earlier.errors)
        # Without a record there is no telling whose lines stand there, but by their file's mark.
        if not self._owns(record, self.out):
            refuse_existing([self.out])
            self._check_errors(record)
            remove_file(self.session.places.errors)
            await trio.to_thread.run_sync(replace_by_empty, self.out)
            record = evolve(record, token=new_token(), inode=0)
        return record

    def _check(self, record: JobRecord | None) -> JobRecord:
        if record is None:
            raise JobMismatchError(
                f"{self.checkpoint} holds results of job {self.name!r}, and not what the job is.",
                hint="give another --id, or --overwrite to discard it and start again",
            )
        check_same(
            self.name,
            record,
            self._describe(self.session.options.batch_size or record.batch_size),
        )
        return record

    def _describe(self, batch_size: int) -> JobRecord:
        session = self.session
        return describe_job(
            session.target.name, session.options.items, session.places, batch_size, self.checkpoint
        )

    def _owns(self, record: JobRecord, path: Path) -> bool:
        owner = owner_of(path)
        if owner is not None:
            return owner == record.token
        return record.inode != 0 and inode_of(path) == record.inode

    def _is_foreign(self, record: JobRecord, path: Path) -> bool:
        """Say whether another run has marked it. A copy without mark may be the job's own."""
        return owner_of(path) not in (None, record.token)

    def _check_errors(self, record: JobRecord) -> None:
        """Refuse to remove an errors file that is not of this job.

        Raises:
            OutputExistsError: names it.
        """
        path = self.session.places.errors
        is_recorded = record.errors == self._describe(1).errors
        if self._is_foreign(record, path) or not (record.token and is_recorded):
            refuse_existing([path])

    async def _claim(self, record: JobRecord) -> JobRecord:
        """Record that the results file is this job's, before a line is written to it."""
        token = record.token or new_token()
        inode = await trio.to_thread.run_sync(claim, self.out, token)
        claimed = evolve(record, token=token, inode=inode, errors=self._describe(1).errors)
        await self.records.save(claimed)
        return claimed

    async def _discard(self) -> None:
        """Forget the job and its results. In this order: cut off anywhere, the job is either
        complete as it was, or has nothing recorded and begins again.
        """
        await self.operation.clear_checkpoint(self.place.operation_id)
        # Record and file get the same mark, whichever has one: cut off anywhere, they still agree.
        try:
            earlier = await self.records.load()
        except JobMismatchError:  # of another version; it is discarded as well
            earlier = None
        token = owner_of(self.out) or (earlier.token if earlier else "") or new_token()
        inode = claim(self.out, token) if self.out.exists() else 0
        record = self._describe(self.session.batch_size)
        await self.records.save(evolve(record, token=token, inode=inode))
        remove_file(self.session.places.errors)
        # Not removed: a file made after that may have its number, and whoever has written it may
        # know it by that.
        replace_by_empty(self.out)
        token = new_token()
        inode = claim(self.out, token)
        await self.records.save(evolve(record, token=token, inode=inode))

    # --- complete already ------------------------------------------------------------------

    async def _is_complete(self, record: JobRecord) -> bool:
        """Say whether every item has its result, though the checkpoint holds nothing (any more).

        Raises:
            JobMismatchError: it was complete once, and the file has lost results, or is the
                file of another run.
        """
        if record.total is None:
            return False
        out = self.checkpoint.parent / record.out
        found = await trio.to_thread.run_sync(survey, out, Whole(record.total))
        if record.finished and (found.missing or found.broken_line):
            raise self._lost(record.total, found)
        if record.finished and self._is_foreign(record, out):
            raise self._replaced()
        is_whole = not found.missing and not found.broken_line
        return is_whole and (record.finished or self._owns(record, out))

    async def _confirm(self, record: JobRecord, source: ItemSource) -> None:
        """Compare the items with those the job was complete with, and say that it is.

        Raises:
            JobMismatchError: they are not the same.
        """
        total = await count_items(source)
        if (total, source.digest()) != (record.total, record.digest):
            raise JobMismatchError(
                f"job {self.name!r} is complete with {record.total} items, and --items holds "
                f"{'others' if total == record.total else total} now.",
                hint="give another --id for the new items, or --overwrite to run all again",
            )
        await self.records.save(evolve(record, finished=True))
        counters = self.session.counters
        counters.total = counters.resumed = total
        self.session.already_complete = True

    # --- something to do -------------------------------------------------------------------

    async def _process(
        self, record: JobRecord, recorded: BulkCheckpoint | None, source: ItemSource
    ) -> None:
        found = await trio.to_thread.run_sync(survey, self.out, recorded)
        if found.broken_line or found.missing:
            raise self._lost(recorded.items if recorded else 0, found)
        if self._is_foreign(record, self.out):
            raise self._replaced()
        self._check_errors(record)
        await self._mend(found)
        record = await self._claim(record)
        session = self.session
        session.counters.resumed = found.kept

        async def note_end(total: int) -> None:
            nonlocal record
            record = evolve(record, total=total, digest=source.digest(), finished=False)
            await self.records.save(record)

        setup = session.setup(record.batch_size)
        await session.run_to_output(
            source, setup, checkpoint=self.place, token=record.token, at_end=note_end
        )
        if not session.counters.failed:
            await self.records.save(evolve(record, finished=True))

    async def _mend(self, found: Plan) -> None:
        if found.dropped:
            self.session.terminal.note(
                f"{found.dropped} results were written and not recorded; they are run again"
            )
        # A kill may have left one though nothing has to be mended.
        await trio.to_thread.run_sync(remove_rewritten, beside(self.out, REWRITTEN))
        await trio.to_thread.run_sync(mend, self.out, found)

    def _replaced(self) -> JobMismatchError:
        return JobMismatchError(
            f"{self.out} was written by another run than job {self.name!r}.",
            details={"path": str(self.out)},
            hint=f"put {self.out} back as it was, or start again with --overwrite",
        )

    def _lost(self, recorded: int, found: Plan) -> JobMismatchError:
        hint = f"put {self.out} back as it was, or start again with --overwrite"
        if found.broken_line:
            return JobMismatchError(
                f"{self.out}, line {found.broken_line}, was not written by job {self.name!r}.",
                details={"path": str(self.out), "line": found.broken_line},
                hint=hint,
            )
        return JobMismatchError(
            f"job {self.name!r} has {recorded} results recorded, and {found.missing} of them are "
            f"missing in {self.out}.",
            details={"path": str(self.out), "recorded": recorded, "missing": found.missing},
            hint=hint,
        )


def survey(path: Path, recorded: Recorded | None) -> Plan:
    """Read a results file and decide what of it stands; one that is not there is empty. Blocks."""
    try:
        with path.open("rb") as file:
            return plan(file, recorded)
    except FileNotFoundError:
        return plan((), recorded)


async def count_items(source: ItemSource) -> int:
    """Read a source to its end and return the number of its items."""
    total = 0
    while True:
        items = await trio.to_thread.run_sync(source.read, abandon_on_cancel=source.is_stream)
        if items is None:
            return total
        total += len(items)
