"""`Pipeline`: steps that run in the order of their dependencies."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final, final

import trio

from lexigram_actors.checks import given, number, require, text, whole
from lexigram_actors.drawing import to_dot, to_mermaid
from lexigram_actors.host.observing import OBSERVER
from lexigram_actors.host.recorded import cache_in
from lexigram_actors.host.seam import RunContext
from lexigram_actors.pipeline.checkpoint import Checkpoint
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.diagram import diagram_of
from lexigram_actors.pipeline.recording import Run
from lexigram_actors.pipeline.run import CLEANUP_TIMEOUT, Level, execution_error
from lexigram_actors.pipeline.steps import FunctionStep, PipelineStep, as_step
from lexigram_actors.pipeline.tree import Structure
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.storage.ports import CacheBackendProtocol, Store

DEFAULT_RUN_ID: Final = "default"


@final
class Pipeline:
    """Steps that run in the order of their dependencies; of those that may start, the one added
    first.

    One pipeline may run many times at once, each with a context of its own. It is a `Runnable`:
    other pipelines, graphs and sagas take it as a step.

    Args:
        name: The pipeline's name.
        steps: `PipelineStep`s or `Runnable`s. None at all is fine.
        checkpoint_store: Keeps the result of each step that completed, by the pipeline's name,
            version and the run's id, until the run completes: a store, or a cache. None: nothing
            is kept.
        version: Of the definition, at least 1. A run does not go on from another version's record.
        max_concurrency: How many steps run side by side. Steps inside a `ParallelStep` count as
            one.
        cleanup_timeout: Seconds that a step's cleanup may take; `inf`: no limit.

    Raises:
        ConfigurationError: The steps cannot run (each problem is listed), or another argument is
            out of its range. It is a `ValueError`.
        TypeError: What is given as a step is none, or the store is neither a store nor a cache.
    """

    def __init__(
        self,
        name: str,
        steps: Sequence[Any] = (),
        checkpoint_store: CacheBackendProtocol | Store | None = None,
        *,
        version: int = 1,
        max_concurrency: int = 1,
        cleanup_timeout: float = CLEANUP_TIMEOUT,
    ) -> None:
        require("name", name, text())
        require("version", version, whole(least=1))
        require("max_concurrency", max_concurrency, whole(least=1))
        require("cleanup_timeout", cleanup_timeout, number(least=0, unbounded=True))
        cache = cache_in(checkpoint_store)
        if cache is None and checkpoint_store is not None:
            raise TypeError(
                f"checkpoint_store must be a store or a cache, not {given(checkpoint_store)}"
            )
        self._name = name
        self._version = version
        self.max_concurrency = max_concurrency
        self.cleanup_timeout = cleanup_timeout
        self._cache = cache
        self._structure = Structure(name, [as_step(each) for each in steps])

    @property
    def kind(self) -> str:
        """`"pipeline"`."""
        return "pipeline"

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._name

    @property
    def version(self) -> int:
        """The version of the definition."""
        return self._version

    @property
    def steps(self) -> list[PipelineStep]:
        """The steps in the order they were added: a copy; `add_step` adds more."""
        return [node.step for node in self._structure.nodes]

    def add_step(self, step: Any) -> None:
        """Append a step, or a `Runnable`, whose dependencies are there already.

        Runs that are under way go on without it.

        Raises:
            ConfigurationError: A name is taken, or a dependency unknown; the pipeline is as it
                was. It is a `ValueError`.
            TypeError: It is no step.
        """
        self._structure.add(as_step(step))

    # --- running ----------------------------------------------------------------------------

    async def execute(
        self,
        initial_context: PipelineContext | None = None,
        fail_fast: bool = True,
        *,
        run_id: str = DEFAULT_RUN_ID,
    ) -> Result[PipelineContext, Exception]:
        """Run every step; return `Ok` of the context, or `Err` of why not.

        Args:
            initial_context: Filled in place, whatever the outcome. None: a new one.
            fail_fast: True: the first failure ends the run, and steps in flight are cancelled.
                False: the others run, but for those that depend on one that failed.
            run_id: Names this run among those of the pipeline. With a checkpoint store a run
                goes on where the last one with the same id failed or was interrupted: steps that
                are recorded are not run again.

        Returns:
            `Err(PipelineExecutionError)` where a step failed: `step_name` is the step, of several
            the first declared, and of those that failed while they were cancelled none; `error`
            is what it failed with, and `details["errors"]` has all of them by step. What a step
            raises together with its cancellation is logged only.

        Raises:
            WorkflowStateError: A run with that id is under way in this store.
            StoreError: The checkpoint cannot be read or written. No step was begun after; what is
                recorded stands.
            NotStorableError: A step's result cannot be recorded. As above.

        Cancelled, no task is left, started steps are cleaned up, and the context tells what was
        done. A run that had ended, and only cleared its record, returns its outcome nevertheless.
        `KeyboardInterrupt` and `SystemExit` pass through.
        """
        if not isinstance(run_id, str):
            raise TypeError(f"run_id must be a str, and is {run_id!r}")
        return await self._execute(initial_context, fail_fast, run_id)

    async def _execute(
        self, initial_context: PipelineContext | None, fail_fast: bool, run_id: str | None
    ) -> Result[PipelineContext, Exception]:
        context = PipelineContext(self._name) if initial_context is None else initial_context
        if not isinstance(context, PipelineContext):
            raise TypeError(f"initial_context must be a PipelineContext, and is {context!r}")
        context.metadata |= {"run_id": run_id, "pipeline": self._name}
        hosted = context.hosted
        if hosted is not None and hosted.record is not None:
            checkpoint = Checkpoint(
                hosted.record, self._name, self._version, run_id or hosted.place, hosted.place
            )
        elif self._cache is None or run_id is None:
            return await self._run_told(context, fail_fast)
        else:
            checkpoint = Checkpoint(self._cache, self._name, self._version, run_id)
        with checkpoint.claimed():
            return await self._run_told(context, fail_fast, checkpoint)

    def _run_told(
        self, context: PipelineContext, fail_fast: bool, checkpoint: Checkpoint | None = None
    ) -> Awaitable[Result[PipelineContext, Exception]]:
        """Run, and tell whoever observes."""
        observer = OBSERVER.get()
        if observer is None:
            return self._run(context, fail_fast, checkpoint)
        run_id = context.metadata["run_id"]
        id = None if run_id == DEFAULT_RUN_ID else run_id
        return observer.watch(id, self._name, self._run, context, fail_fast, checkpoint)

    async def _run(
        self, context: PipelineContext, fail_fast: bool, checkpoint: Checkpoint | None = None
    ) -> Result[PipelineContext, Exception]:
        run = Run(context, [], self.cleanup_timeout, checkpoint)
        tree, positions = self._structure.tree, self._structure.positions
        level = Level(run, tree, limit=self.max_concurrency, fail_fast=fail_fast)
        context.metadata["step_results"] = run.records
        context.start_time, context.end_time = run.clock(), None
        try:
            if checkpoint is None:
                await trio.lowlevel.checkpoint()  # the only one, where no step waits
                await level.execute()
            else:
                await self._run_recorded(run, level, checkpoint)
        finally:
            if level.limit > 1 or not tree.is_in_order:
                run.records.sort(key=lambda each: positions.get(each.step_name, len(positions)))
            context.end_time = run.clock()
            context.metadata["total_duration"] = context.end_time - context.start_time
        failures = level.failures()
        return Err(execution_error(failures)) if failures else Ok(context)

    async def _run_recorded(self, run: Run, level: Level, checkpoint: Checkpoint) -> None:
        """Run what is not recorded yet, and forget the record if nothing failed."""
        run.restored = await checkpoint.begin(level.tree.walk())
        with trio.CancelScope() as run.scope:
            await level.execute()
        if run.store_failure is not None:
            raise run.store_failure
        if not level.failures():
            await checkpoint.clear()

    async def run(self, context: RunContext, /) -> Result[dict[str, Any], Exception]:
        """Run as a part of something else; return `Ok` of the results by step.

        The run has a context of its own, with the metadata `"input"`, the input given, and
        `"parent"`, what the surroundings know. Without a run id nothing is recorded, whether or
        not there is a checkpoint store: there is no name under which it could go on. In a host it
        is recorded in the journal of the instance, whatever store there is; after a crash it goes
        on from there, and where it had ended it comes to the same result without running.
        """
        own = PipelineContext(
            self._name, metadata={"input": context.input, "parent": dict(context.state)}
        )
        own.hosted = None if context.journal is None else context
        result = await self._execute(own, True, context.run_id)
        return result.map_sync(lambda done: done.step_results)

    def as_step(
        self, name: str | None = None, dependencies: list[str] | None = None
    ) -> FunctionStep:
        """Return a step that runs this pipeline in a context of its own; see `run`.

        Args:
            name: The step's name; None: the pipeline's.
            dependencies: As for `PipelineStep`.
        """
        return FunctionStep(self._name if name is None else name, self, dependencies)

    # --- drawing ----------------------------------------------------------------------------

    def to_dot(self) -> str:
        """Return the steps and their dependencies as DOT, the language of Graphviz.

        Whatever the names are: `dot -Tsvg` draws it.
        """
        return to_dot(diagram_of(self._name, self._structure.tree))

    def to_mermaid(self) -> str:
        """Return the steps and their dependencies as a Mermaid flowchart."""
        return to_mermaid(diagram_of(self._name, self._structure.tree))

    def __repr__(self) -> str:
        number = len(self._structure.nodes)
        return f"<Pipeline {self._name!r} version {self._version}, {number} steps>"
