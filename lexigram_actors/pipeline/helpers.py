"""Calls what stands around a step's work: its skip condition, its handler, its cleanup."""

from __future__ import annotations

import logging
from typing import Any

from lexigram_actors.errors import describe
from lexigram_actors.invoking import as_result, invoke
from lexigram_actors.pipeline.attempts import caught, error_of, outcome_of
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.steps import FunctionStep, PipelineStep
from lexigram_actors.result import Err, Ok, Result

logger = logging.getLogger(__name__)


async def wants_skip(step: PipelineStep, context: PipelineContext) -> Result[Any, Exception]:
    """Return whether the step says that it is to be skipped, as anything true or false."""
    if type(step).should_skip is PipelineStep.should_skip:
        return Ok(False)
    return await caught(step.should_skip)(context)


async def recover(
    step: PipelineStep, context: PipelineContext, error: Exception
) -> Result[Any, Exception]:
    """Return what the step's handler makes of its failure: a value, or the error to fail with."""
    if not has_handler(step):
        return Err(error)
    try:
        result = outcome_of(await invoke(step.on_error, context, error))
    except Exception as raised:  # noqa: BLE001 - a handler that raises fails the step
        result = Err(error_of(raised))
    if isinstance(result, Err) and result.error is not error and result.error.__cause__ is None:
        result.error.__cause__ = error
    return result


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
    """Call the step's cleanup; what it fails with is logged."""
    try:
        outcome = as_result(await invoke(step.cleanup, context))
    except Exception:
        logger.exception("the cleanup of step %r failed", step.name)
    else:
        if isinstance(outcome, Err):
            logger.error("the cleanup of step %r failed: %s", step.name, describe(outcome.error))


def log_stopped_cleanup(step: PipelineStep, timeout: float) -> None:
    """Log that a cleanup did not end in its time."""
    logger.error("the cleanup of step %r was stopped: it took longer than %g s", step.name, timeout)
