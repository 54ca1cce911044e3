"""One run of a pipeline: its steps beside each other, and those inside them.

Steps that run one at a time are run by the task of the caller, without a nursery (`Sequence`).
Steps that run side by side have a task each, and there is no barrier between them: one that ends
starts those that waited for it alone.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable
from functools import partial
from typing import Any, cast, final

import trio

from lexigram_actors.errors import PipelineExecutionError
from lexigram_actors.host.cancelling import came_of_cancellation, passing
from lexigram_actors.pipeline.attempts import Body, attempt, caught, within_timeout
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.helpers import (
    clean_up,
    has_cleanup,
    log_failed_cleanup,
    log_stopped_cleanup,
    recover,
    wants_skip,
)
from lexigram_actors.pipeline.plan import Progress
from lexigram_actors.pipeline.recording import Record, Run
from lexigram_actors.pipeline.sequence import Sequence
from lexigram_actors.pipeline.steps import CompositeStep, FunctionStep
from lexigram_actors.pipeline.tree import Node, Tree, tree_alone
from lexigram_actors.result import Err, Ok, Result

CLEANUP_TIMEOUT = 30.0


@final
class Level:
    """Runs the steps beside each other: those of the pipeline, or those inside one of its steps.

    Args:
        limit: How many run side by side, at least 1.
        fail_fast: Whether the first that fails ends the others.
        outer: The level of the step that these are inside of.

    After `execute`, `records` has the record of each step by position; None: it was not reached.
    """

    __slots__ = (
        "_context",
        "_in_flight",
        "_nursery",
        "_progress",
        "_starting",
        "culprit",
        "fail_fast",
        "has_failed",
        "limit",
        "outer",
        "records",
        "run",
        "tree",
    )

    def __init__(
        self, run: Run, tree: Tree, *, limit: float, fail_fast: bool, outer: Level | None = None
    ) -> None:
        self.run = run
        self.tree = tree
        self.limit = limit
        self.fail_fast = fail_fast
        self.outer = outer
        self.culprit: str | None = None
        self.has_failed = False
        self.records: list[Record | None] = [None] * len(tree.nodes)

    def execute(self) -> Awaitable[None]:
        """Run the steps; what failed is in the records. Cancelled, no task is left."""
        if self.limit == 1 or len(self.tree.nodes) <= 1:
            return Sequence(self).run()
        return self._side_by_side()

    def failures(self) -> dict[str, Exception]:
        """Return what steps failed with, by step, in the order of declaration.

        What steps raised because they were cancelled comes last. Of a step that failed because of
        steps inside it, theirs.
        """
        if not self.has_failed:
            return {}
        first: dict[str, Exception] = {}
        others: dict[str, Exception] = {}
        for node, record in zip(self.tree.nodes, self.records, strict=True):
            if record is not None and record.error is not None:
                is_own = node.name == self.culprit or not came_of_cancellation(record.error)
                found = first if is_own else others
                found |= failures_of(node, record.error)
        return first | others

    # --- side by side -----------------------------------------------------------------------

    async def _side_by_side(self) -> None:
        self._progress = Progress(self.tree.plan)
        self._context = contextvars.copy_context()
        self._in_flight = self._starting = 0
        try:
            async with trio.open_nursery() as self._nursery:
                self._start_ready()
        except BaseExceptionGroup as group:
            raise passing(group, "a step") from None  # noqa: ASYNC104

    def _start_ready(self) -> None:
        """Start a task for each step that is ready, as far as the limit allows."""
        while self._progress.ready > self._starting and self._in_flight < self.limit:
            self._in_flight += 1
            self._starting += 1
            # From the context of the run, not of the step that happened to end.
            self._context.run(self._nursery.start_soon, self._task)

    async def _task(self) -> None:
        self._starting -= 1
        # Trio lets a task begin that was cancelled before: its step must not.
        await trio.lowlevel.checkpoint_if_cancelled()
        # Taken here and not where the task was started, since tasks begin in any order.
        position = self._progress.take()
        assert position is not None  # each task was started for a step that was ready
        node = self.tree.nodes[position]
        record = self.records[position] = await self.step(node)
        self._in_flight -= 1
        failed = record.error is not None
        self.has_failed |= failed
        if failed and self.fail_fast:
            self.culprit = self.culprit or node.name
            self._nursery.cancel_scope.cancel()
        if self.culprit is None:
            for each, culprit in self._progress.end(position, failed=failed):
                self.skip_behind(each, culprit)
            self._start_ready()

    # --- one step ---------------------------------------------------------------------------

    async def step(self, node: Node) -> Record:
        """Run a step, with all that stands around its work; return its record.

        What fails is in the record. Cancelled, it has a record too, and is cleaned up.
        """
        run, step = self.run, node.step
        if node.path in run.restored:
            return run.restore(node)
        if run.store_failure is not None:  # and yet here: inside a shield of the step further out
            return run.skip(node.name, self._why_cut_off())
        started = run.clock()
        try:
            skip = await wants_skip(step, run.context)
        except BaseException as error:  # noqa: BLE001 - what of it passes is raised
            raise self.cut_off(node, started, error)  # noqa: ASYNC104, B904
        if isinstance(skip, Err):
            return self.ended(node, skip, started)
        if skip.unwrap():
            return run.skip(node.name, "its skip condition is met", run.clock() - started)
        return await self._work(node, started)

    async def _work(self, node: Node, started: float) -> Record:
        run, step = self.run, node.step
        try:
            try:
                result = await attempt(step, self.body_of(node), run.context)
                if self._is_stopped(node):
                    await trio.lowlevel.checkpoint()  # out of the shield: it is cancelled
                if isinstance(result, Err):
                    result = await recover(step, run.context, result.error)
            except BaseException as error:  # noqa: BLE001 - what of it passes is raised
                raise self.cut_off(node, started, error)  # noqa: ASYNC104, B904
            record = self.ended(node, result, started)
            if isinstance(result, Ok) and not self._is_stopped(node):
                await run.save(node, result.value)
            return record
        finally:
            if has_cleanup(step):
                try:
                    with trio.move_on_after(run.cleanup_timeout, shield=True) as scope:
                        await clean_up(step, run.context)
                    if scope.cancelled_caught:
                        log_stopped_cleanup(step, run.cleanup_timeout)
                except Exception as error:  # noqa: BLE001 - a group too, without what the scope took
                    log_failed_cleanup(step, error)

    def _is_stopped(self, node: Node) -> bool:
        """Say whether steps inside were left out, since the checkpoint cannot be written."""
        return node.is_composite and self.run.store_failure is not None

    def body_of(self, node: Node) -> Body:
        """Return what does the work of a step."""
        step = node.step
        if node.is_function:
            return caught(cast("FunctionStep", step).func)
        if node.is_composite:
            return self.composite_body_of(node)
        return caught(step.execute)

    def composite_body_of(self, node: Node) -> Body:
        """Return what runs the steps inside a step, whatever `execute` a subclass has."""
        composite = cast("CompositeStep", node.step)
        perform = partial(composite.perform, run_group=partial(self._run_group, node))
        if composite.resilience is None:
            return caught(perform)

        async def perform_anew(context: PipelineContext) -> Result[Any, Exception]:
            self.run.forget(node)  # of calls before, where there were any
            return await perform(context)

        return caught(perform_anew)

    async def _run_group(
        self, node: Node, number: int, fail_fast: bool
    ) -> Result[list[Any], Exception]:
        """Run the steps of a group inside a step."""
        inner = Level(
            self.run, node.groups[number], limit=math.inf, fail_fast=fail_fast, outer=self
        )
        await inner.execute()
        failures = inner.failures()
        if failures:
            return Err(execution_error(failures))
        return Ok([None if record is None else record.result for record in inner.records])

    # --- records ----------------------------------------------------------------------------

    def ended(self, node: Node, result: Result[Any, Exception], started: float) -> Record:
        duration = self.run.clock() - started
        if isinstance(result, Err):
            return self.run.fail(node.name, result.error, duration)
        return self.run.complete(node.name, result.value, duration)

    def skip_behind(self, position: int, culprit: int) -> None:
        names = self.tree.plan.names
        reason = f"dependency {names[culprit]!r} failed"
        self.records[position] = self.run.skip(names[position], reason)

    def cut_off(self, node: Node, started: float, error: BaseException) -> BaseException:
        """Keep that a step was stopped by what is no failure of it; return what of it passes."""
        self.run.skip(node.name, self._why_cut_off(), self.run.clock() - started)
        return passing(error, f"step {node.name!r}")

    def _why_cut_off(self) -> str:
        if self.run.store_failure is not None:
            return "cancelled: the checkpoint cannot be written"
        if self.culprit is not None:
            return f"cancelled: step {self.culprit!r} failed"
        return "cancelled" if self.outer is None else self.outer._why_cut_off()


def failures_of(node: Node, error: Exception) -> dict[str, Exception]:
    """Return what a step failed with, or, where it failed because of steps inside it, theirs."""
    if node.is_composite and type(error) is PipelineExecutionError and "errors" in error.details:
        inner: dict[str, Exception] = error.details["errors"]
        return inner
    return {node.name: error}


def execution_error(failures: dict[str, Exception]) -> PipelineExecutionError:
    """Return the error of steps that failed: of the first, with all of them in its details."""
    name, error = next(iter(failures.items()))
    several = len(failures) > 1
    cause = ExceptionGroup("several steps failed", list(failures.values())) if several else None
    return PipelineExecutionError(name, error, {"errors": failures}, cause=cause)


async def run_alone(step: CompositeStep, context: PipelineContext) -> Result[Any, Exception]:
    """Run a step outside of a run; those inside it are recorded in the context."""
    tree = tree_alone(step)
    records = context.metadata.setdefault("step_results", [])
    run = Run(context, records, CLEANUP_TIMEOUT)
    run.forget(tree.nodes[0])
    level = Level(run, tree, limit=1, fail_fast=True)
    return await within_timeout(step, level.composite_body_of(tree.nodes[0]), context)
