"""One run of a bulk operation, from its first batch to the last word.

The engine lives in one task, `main`: a system task where the caller just iterates, a task of the
caller's nursery under `async with`. Below it are the workers of the pool. The caller's side is the
`delivery`. The two meet in the outlet only, and the engine holds no reference to the `BulkRun`:
dropping that must end the work.

    main      begin ── work ── all batches ended ──> wait until all is taken ──> COMPLETED
                         ├── input raised: those under way end ────────────────> FAILED
                         ├── time-out, failure limit, store, bug: cancelled ───> FAILED
                         └── cancel(), leaving, dropping: cancelled ───────────> CANCELLED

Whatever way it ends, `finished` is set last, when no task of the run is left. Results of batches
that ended before stay in the outlet, and are delivered before the error is raised.

Nothing may escape from `main`: in a system task it would take the whole Trio run down. So what is
raised where nobody expects it (a bug, `KeyboardInterrupt` in a processor) becomes the error of the
run, and is raised from the iteration.
"""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from typing import final

import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from lexigram_actors.bulk.batches import batches_in
from lexigram_actors.bulk.delivery import Delivery
from lexigram_actors.bulk.failures import foremost
from lexigram_actors.bulk.job import Job
from lexigram_actors.bulk.limits import AdaptiveConcurrency
from lexigram_actors.bulk.metrics import BulkOperationMetrics
from lexigram_actors.bulk.models import BulkOperationState
from lexigram_actors.bulk.outlet import Outlet
from lexigram_actors.bulk.pool import Pool
from lexigram_actors.bulk.processing import Processing
from lexigram_actors.errors import (
    BulkOperationCancelledError,
    BulkOperationError,
    BulkOperationTimeoutError,
    LexigramError,
)
from lexigram_actors.errors.base import describe, sole_error
from lexigram_actors.host.observing import Watched, hide, watched
from lexigram_actors.nurseries import split_cancelled
from lexigram_actors.storage.instances import InstanceStatus

logger = logging.getLogger(__name__)

STATUS = {
    BulkOperationState.COMPLETED: InstanceStatus.COMPLETED,
    BulkOperationState.FAILED: InstanceStatus.FAILED,
    BulkOperationState.CANCELLED: InstanceStatus.CANCELLED,
}
"""How it is told that a run ended."""

STOP_GRACE = 5.0
"""Seconds for which waiting for the end is shielded, and after which who does not end is named."""


@final
class Engine:
    """Runs a job; see the module for how it ends.

    Args:
        job: What to do.
        before: The run of the same operation before this one, which may still be unwinding; this
            one begins when no batch of that is under way.
    """

    def __init__(self, job: Job, before: Engine | None = None) -> None:
        self.job = job
        self.state = BulkOperationState.RUNNING
        self.error: BaseException | None = None
        self.metrics = BulkOperationMetrics()
        self.started = False
        self.quiet = trio.Event()
        """No batch is under way any more; a hook may be."""
        self.finished = trio.Event()
        """No task of the run is left."""
        outlet = Outlet(ordered=job.config.ordered)
        limit = job.config.max_concurrency
        self.processing = Processing(job, self.metrics, outlet, self._fail)
        work = self.processing.process
        self.pool = Pool(job.source, outlet, limit, work, self._input_failed)
        self.delivery = Delivery(outlet, job.journal, self.pool.make_room, self._fail)
        self._outlet = outlet
        self._before = before
        self._scope = trio.CancelScope()
        self._work_scope = trio.CancelScope()
        self._dropped = False
        self._task: trio.lowlevel.Task | None = None
        self._watched: Watched | None = None

    def begin(self) -> None:
        """Start the clocks; `main` follows at once."""
        self.started = True
        self.token = trio.lowlevel.current_trio_token()
        known = self.job.source.known_items or 0
        self.metrics.record_start(known, batches_in(known, self.job.config.batch_size))
        self._work_scope.deadline = trio.current_time() + self.job.config.timeout
        self.delivery.deadline = self._work_scope.deadline
        journal = self.job.journal
        self._watched = watched(None if journal is None else journal.operation_id, self.job.name)
        if self._watched is not None:
            self._watched.start()

    # --- ending it from outside -------------------------------------------------------------

    def cancel(self) -> None:
        """Stop everything; the iteration raises `BulkOperationCancelledError`."""
        if self.state is BulkOperationState.RUNNING and self.error is None:
            self.error = BulkOperationCancelledError()
        self.leave()

    def leave(self) -> None:
        """Stop everything, because the caller left; who still asks hears of a cancellation."""
        self.pool.stop()
        if not self.started:
            self._end()
        elif not self.finished.is_set():
            if self.state is BulkOperationState.RUNNING and (
                self.error is None or isinstance(self.error, BulkOperationCancelledError)
            ):
                self.state = BulkOperationState.CANCELLED
            self._scope.cancel()
            if self.delivery.recording is not None:
                self.delivery.recording.cancel()

    def drop(self) -> None:
        """Stop everything, from a finaliser: at any moment, in any thread, even after the run."""
        if self.finished.is_set():
            return
        self._dropped = True
        self.delivery.told = True
        self.pool.stop()
        if not self.started:
            self._end()
            return
        if self.state is BulkOperationState.RUNNING:
            self.state = BulkOperationState.CANCELLED
        with suppress(trio.RunFinishedError):
            # Not `cancel` itself: a finaliser may run in the midst of Trio's own bookkeeping.
            self.token.run_sync_soon(self._scope.cancel)

    async def settle(self) -> None:
        """Wait until no task of the run is left; shielded for a few seconds.

        Called from within the run it does not wait: it would wait for itself.
        """
        if self.started and not self._is_inside(trio.lowlevel.current_task()):
            deadline = trio.current_time() + STOP_GRACE
            with trio.CancelScope(shield=True, deadline=deadline):
                await self.finished.wait()
            await self.finished.wait()
        await checkpoint()

    def _is_inside(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task is not self._task:
            task = task.parent_nursery.parent_task if task.parent_nursery else None
        return task is not None

    # --- the task of the run ----------------------------------------------------------------

    @enable_ki_protection
    async def main(self) -> None:
        """Run the job to its end. Raises nothing but `Cancelled`."""
        self._task = trio.lowlevel.current_task()
        hide()  # what a processor runs is a part of this
        try:
            with self._scope:
                if self._before is not None:
                    await self._before.quiet.wait()
                    self._before = None
                await self._run()
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised from the iteration
            self._crash(error)
        finally:
            self._end()

    async def _run(self) -> None:
        try:
            async with self.job.executor as call:
                adaptive = None
                if self.job.config.adaptive:
                    adaptive = AdaptiveConcurrency(self.pool.limit, self.pool.set_limit)
                self.processing.runner = self.job.runner(call, adaptive)
                with self._work_scope:
                    await self._process_all()
        except Exception as error:  # noqa: BLE001 - it is raised from the iteration
            self._crash(error)
        self.quiet.set()
        if self._work_scope.cancelled_caught and self.error is None:
            self.error = self._timed_out()
        await self._conclude()

    async def _process_all(self) -> None:
        if self.job.journal is not None:
            await self.job.journal.begin(self.job.config.batch_size)
        async with trio.open_nursery() as nursery:
            self.pool.start(nursery)
            try:
                await self.pool.gone.wait()
            except trio.Cancelled:
                # The nursery waits for the workers anyway; here, for a reason to name them.
                with trio.move_on_after(STOP_GRACE, shield=True):
                    await self.pool.gone.wait()
                self._report_stragglers()
                raise

    def _report_stragglers(self) -> None:
        """Name in the log who does not stop."""
        if self.pool.in_flight:
            logger.warning(
                "bulk operation: %d batches of %s go on %g s after they were cancelled; waiting "
                "for them (a thread, or a shielded scope, cannot be interrupted)",
                self.pool.in_flight,
                self.job.name,
                STOP_GRACE,
            )

    async def _conclude(self) -> None:
        """Say how it ended, once all is taken, to those who want to be told."""
        if self.error is None:
            self.delivery.exhausted = True
            self._outlet.wake()
            await self.delivery.asked.wait()
            least = trio.current_time() + STOP_GRACE
            with trio.CancelScope(deadline=max(least, self._work_scope.deadline)) as scope:
                await self._close_journal()
            if scope.cancelled_caught and self.error is None:
                self.error = self._timed_out()
        self.metrics.record_end()
        if self.error is None:
            self.state = BulkOperationState.COMPLETED
            await self.job.hooks.run_completed(self.metrics)
        else:
            self._settle_as_failed()
            await self.job.hooks.run_failed(self.error, self.metrics)

    async def _close_journal(self) -> None:
        """Nothing to resume when every batch succeeded; else what is recorded stays."""
        journal = self.job.journal
        if journal is None or self.error is not None:
            return
        try:
            journal.check_end(self.pool.taken)
            if not self.metrics.failed_batches:
                await journal.clear()
        except BulkOperationError as error:
            self.error = error

    def _settle_as_failed(self) -> None:
        if self.state is BulkOperationState.RUNNING:
            self.state = BulkOperationState.FAILED
        if isinstance(self.error, Exception):
            self.metrics.record_error(self.error)
        self._outlet.release()

    def _end(self) -> None:
        """Leave everything in its last state, whatever happened. Waits for nothing."""
        self.pool.stop()
        if self.state is BulkOperationState.RUNNING:
            failed = self.error is not None and not isinstance(
                self.error, BulkOperationCancelledError
            )
            self.state = BulkOperationState.FAILED if failed else BulkOperationState.CANCELLED
        if self.state is BulkOperationState.CANCELLED and self.error is None:
            self.error = BulkOperationCancelledError("Bulk operation left before its end")
        if self.started and self.metrics.end_time is None:
            self.metrics.record_end()
        if self._watched is not None:
            why = "" if self.error is None else describe(self.error)
            self._watched.move(STATUS[self.state], why)
        self.quiet.set()
        self.finished.set()
        self.delivery.close(self.error)

    # --- ending it from inside --------------------------------------------------------------

    def _input_failed(self, error: Exception) -> None:
        """Let the batches under way end; the items of one that was not full are dropped."""
        if self.error is None:
            cause = sole_error(error)
            self.error = BulkOperationError(
                f"the input failed after {self.pool.seen} items: {describe(cause)}", cause=cause
            )

    def _fail(self, error: BaseException | None) -> None:
        """End the run with this error (None: timed out), unless it has one."""
        if self.error is None:
            self.error = error if error is not None else self._timed_out()
        self.pool.stop()
        self._work_scope.cancel()
        self.delivery.asked.set()

    def _crash(self, error: BaseException) -> None:
        """End the run with what was raised where nobody expects it; a bug, or an interrupt.

        Raises:
            Cancelled: There was one among it.
        """
        cancelled, rest = split_cancelled(error)
        if rest is not None:
            rest = foremost(rest)
            if not isinstance(rest, Exception):
                self._interrupt(rest)
            elif not isinstance(rest, LexigramError):
                logger.error("bulk operation: unexpected error", exc_info=rest)
                rest = BulkOperationError(f"the run broke: {describe(rest)}", cause=rest)
            self._fail(rest)
        if cancelled is not None:
            raise cancelled from None

    def _interrupt(self, error: BaseException) -> None:
        """Let an interrupt be raised to the caller, whatever else ended the run."""
        self.error = error
        self.delivery.told = False
        if self._dropped and isinstance(error, KeyboardInterrupt):
            # There is no caller any more, so let Trio deliver it as if it came just now.
            signal.raise_signal(signal.SIGINT)

    def _timed_out(self) -> BulkOperationTimeoutError:
        metrics, timeout = self.metrics, self.job.config.timeout
        return BulkOperationTimeoutError(
            f"the run took longer than its timeout of {timeout:g} s; "
            f"{metrics.processed_items} of {metrics.total_items} items were processed",
            details={"timeout": timeout, "processed_items": metrics.processed_items},
        )
