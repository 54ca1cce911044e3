"""What the steps of a run share: results so far, and facts about the run."""

from __future__ import annotations

from typing import Any, final

import trio
from attrs import define, field

from lexigram_actors.host.seam import RunContext
from lexigram_actors.pipeline.models import StepExecutionResult, StepStatus


@final
@define
class PipelineContext:
    """Results and facts of one run; given to every step, and returned by `execute`.

    A pipeline fills it in place, so it tells what was done also when the outcome is an `Err`, or
    when the run was cancelled. Use one for each run.

    Attributes:
        pipeline_name: The pipeline's name.
        step_results: What each step returned, by its name, in the order in which they ended.
        metadata: Facts. A pipeline puts there `"run_id"`; its name, as `"pipeline"`;
            `"step_results"`, a `StepExecutionResult` for each step that ended (in the order they
            end while the run goes on, in the order of declaration once it is over); and, at the
            end, `"total_duration"` in seconds.
        start_time: When the run began, in seconds of the Trio clock; None before.
        end_time: When it ended; None before.
        hosted: What the run was given, where a host keeps its record; None elsewhere.
    """

    pipeline_name: str
    step_results: dict[str, Any] = field(factory=dict)
    metadata: dict[str, Any] = field(factory=dict)
    start_time: float | None = None
    end_time: float | None = None
    hosted: RunContext | None = field(default=None, init=False, eq=False, repr=False)

    def get_step_result(self, step_name: str, default: Any = None) -> Any:
        """Return what a step returned, `default` where nothing is recorded."""
        return self.step_results.get(step_name, default)

    def set_step_result(self, step_name: str, result: Any) -> None:
        """Record what a step returned, in place of anything before."""
        self.step_results[step_name] = result

    def add_metadata(self, key: str, value: Any) -> None:
        """Add a fact, in place of any before under the key."""
        self.metadata[key] = value

    def get_metadata(self, key: str, default: Any = None) -> Any:
        """Return a fact, `default` where there is none under the key."""
        return self.metadata.get(key, default)

    @property
    def duration(self) -> float:
        """Seconds from the start to the end, or to now while it runs; 0 before the start."""
        if self.start_time is None:
            return 0.0
        end = trio.current_time() if self.end_time is None else self.end_time
        return end - self.start_time

    @property
    def failed_steps(self) -> list[StepExecutionResult[Any]]:
        """The records of steps that failed."""
        return self._with_status(StepStatus.FAILED)

    @property
    def successful_steps(self) -> list[StepExecutionResult[Any]]:
        """The records of steps that completed."""
        return self._with_status(StepStatus.COMPLETED)

    def has_failed(self) -> bool:
        """Say whether at least one step failed."""
        return bool(self.failed_steps)

    def _with_status(self, status: StepStatus) -> list[StepExecutionResult[Any]]:
        records = self.metadata.get("step_results", ())
        return [record for record in records if record.status is status]
