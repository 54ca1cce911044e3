"""Calls what stands around a step's work: its skip condition, its handler, its cleanup."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from lexigram_actors.errors import describe
from lexigram_actors.invoking import as_result, invoke
from lexigram_actors.pipeline.attempts import error_of, outcome_of
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.steps import FunctionStep, PipelineStep
from lexigram_actors.result import Err, Ok, Result

logger = logging.getLogger(__name__)


async def wants_skip(step: PipelineStep, context: PipelineContext) -> Result[bool, Exception]:
    """Return whether the step says that it is to be skipped."""
    if not has_skip_condition(step):
        return Ok(False)
    try:
        # Asked for its truth in here: an array of several values raises.
        return outcome_of(await invoke(step.should_skip, context)).map_sync(bool)
    except Exception as error:  # noqa: BLE001 - a condition that raises fails the step
        return Err(error_of(error))


def has_skip_condition(step: PipelineStep) -> bool:
    """Say whether there is anything to ask."""
    if isinstance(step, FunctionStep) and type(step).should_skip is FunctionStep.should_skip:
        return step.skip_condition is not None
    return type(step).should_skip is not PipelineStep.should_skip


async def recover(
    step: PipelineStep, context: PipelineContext, error: Exception
) -> Result[Any, Exception]:
    """Return what the step's handler makes of its failure: a value, or the error to fail with."""
    if not has_handler(step):
        return Err(error)
    try:
        result = outcome_of(await invoke(step.on_error, context, error))
    except Exception as raised:  # noqa: BLE001 - a handler that raises fails the step
        other = error_of(raised)
        if other.__cause__ is None:  # else of `raise ... from`
            set_cause(other, error)
        return Err(other)
    if isinstance(result, Err):
        # Whatever it has: an error that is returned again and again has that of an earlier run.
        set_cause(result.error, error)
    return result


def set_cause(error: Exception, cause: Exception) -> None:
    """Let an error show what led to it, where it is another and takes it: a frozen one does not."""
    if error is not cause:
        with suppress(Exception):
            error.__cause__ = cause


def has_handler(step: PipelineStep) -> bool:
    """Say whether the step deals with its failures by anything else than raising them again."""
    if isinstance(step, FunctionStep) and type(step).on_error is FunctionStep.on_error:
        return step.error_handler is not None
    return type(step).on_error is not PipelineStep.on_error


def has_cleanup(step: PipelineStep) -> bool:
    """Say whether the step has something to clean up; without, no scope is opened for it."""
    if isinstance(step, FunctionStep) and type(step).cleanup is FunctionStep.cleanup:
        return step.cleanup_func is not None
    return type(step).cleanup is not PipelineStep.cleanup


async def clean_up(step: PipelineStep, context: PipelineContext) -> None:
    """Call the step's cleanup; log an `Err`."""
    outcome = as_result(await invoke(step.cleanup, context))
    if isinstance(outcome, Err):
        logger.error("the cleanup of step %r failed: %s", step.name, describe(outcome.error))


def log_failed_cleanup(step: PipelineStep, error: Exception) -> None:
    """Log what a cleanup raised."""
    logger.error("the cleanup of step %r failed", step.name, exc_info=error)


def log_stopped_cleanup(step: PipelineStep, timeout: float) -> None:
    """Log that a cleanup did not end in its time."""
    logger.error("the cleanup of step %r was stopped: it took longer than %g s", step.name, timeout)
