"""What all steps of one run share: the context they fill, their records, and their checkpoint."""

from __future__ import annotations

import logging
from typing import Any, final

import trio

from lexigram_actors.pipeline.checkpoint import Checkpoint
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.models import StepExecutionResult, StepStatus, completed
from lexigram_actors.pipeline.tree import Node, Path

logger = logging.getLogger(__name__)

Record = StepExecutionResult[Any]


@final
class Run:
    """One run: what is known of it, and where that is kept.

    Args:
        context: Filled as the steps end.
        records: Of the steps, in the order they end.
        cleanup_timeout: Seconds that a cleanup, and the last write under a cancellation, may take.
        checkpoint: Where results are recorded; None: nowhere.
    """

    __slots__ = (
        "checkpoint",
        "cleanup_timeout",
        "clock",
        "context",
        "records",
        "restored",
        "scope",
        "store_failure",
    )

    def __init__(
        self,
        context: PipelineContext,
        records: list[Record],
        cleanup_timeout: float,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.context = context
        self.records = records
        self.cleanup_timeout = cleanup_timeout
        self.checkpoint = checkpoint
        self.restored: dict[Path, Any] = {}
        """Results recorded by earlier runs."""
        self.scope: trio.CancelScope | None = None
        """That of the whole run, where it has a checkpoint."""
        self.clock = trio.lowlevel.current_clock().current_time
        self.store_failure: Exception | None = None

    def complete(self, name: str, result: Any, duration: float) -> Record:
        """Keep what a step returned."""
        self.context.step_results[name] = result
        record = completed(name, result, duration)
        self.records.append(record)
        return record

    def fail(self, name: str, error: Exception, duration: float) -> Record:
        """Keep what a step failed with."""
        record: Record = StepExecutionResult(name, StepStatus.FAILED, None, error, duration)
        self.records.append(record)
        return record

    def skip(self, name: str, reason: str, duration: float = 0.0, *, result: Any = None) -> Record:
        """Keep why a step did not run, or not to its end."""
        record: Record = StepExecutionResult(
            name, StepStatus.SKIPPED, result, duration=duration, skipped_reason=reason
        )
        self.records.append(record)
        return record

    def restore(self, node: Node) -> Record:
        """Take over the result of a step that an earlier run recorded, and those inside it."""
        result = self.restored[node.path]
        self.context.step_results[node.name] = result
        record = self.skip(node.name, "resumed from checkpoint", result=result)
        for group in node.groups:
            for inner in group.nodes:
                if inner.path in self.restored:
                    self.restore(inner)
        return record

    def forget(self, node: Node) -> None:
        """Drop what is known of the steps inside a step, which runs them again."""
        names = {inner.name for group in node.groups for inner in group.walk()}
        for each in self.records:
            if each.step_name in names:
                self.context.step_results.pop(each.step_name, None)
        self.records[:] = [each for each in self.records if each.step_name not in names]

    async def save(self, node: Node, result: Any) -> None:
        """Record the result of a step that completed; where that fails, stop the whole run.

        Also where the run is cancelled meanwhile, since the step need not run again.
        """
        if self.checkpoint is None:
            return
        try:
            await self.checkpoint.save(node, result)
        except trio.Cancelled:
            with trio.move_on_after(self.cleanup_timeout, shield=True) as scope:
                await self._save_late(self.checkpoint, node, result)
            if scope.cancelled_caught:
                logger.error(  # noqa: TRY400 - the cancellation is no news
                    "the result of step %r was not recorded: it took longer than %g s",
                    node.name,
                    self.cleanup_timeout,
                )
            raise
        except Exception as error:  # noqa: BLE001 - raised at the end of the run
            # Not raised here: above are the parallel steps and the resilience of users, for whom
            # it would be the failure of a step, to be handled or tried again.
            self.store_failure = self.store_failure or error
            if self.scope is not None:
                self.scope.cancel()
            await trio.lowlevel.checkpoint()

    async def _save_late(self, checkpoint: Checkpoint, node: Node, result: Any) -> None:
        try:
            await checkpoint.save(node, result)
        except Exception:
            logger.exception(
                "the result of step %r was not recorded before the cancellation", node.name
            )
