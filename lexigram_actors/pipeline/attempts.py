"""Calls the work of a step, within its time, and turns what it raises into an `Err`.

`resilience` stands outside and the time limit inside: each of its calls has the whole time, and
a time-out is a failure that it may try again after.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from lexigram_actors.errors import PipelineStepError, WorkflowTimeoutError, describe
from lexigram_actors.errors.base import sole_error
from lexigram_actors.invoking import as_result, invoke
from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.protocols import ResilienceProtocol
from lexigram_actors.result import Err, Result

Body = Callable[[PipelineContext], Awaitable[Result[Any, Exception]]]
"""The work of a step; raises no `Exception`."""


class Limits(Protocol):
    """What of a step decides how its work is called."""

    name: str
    timeout: float | None
    resilience: ResilienceProtocol | None


def caught(fn: Callable[[PipelineContext], Any]) -> Body:
    """Return a body that returns what `fn` does; what it raises, as an `Err`."""

    async def body(context: PipelineContext) -> Result[Any, Exception]:
        try:
            return outcome_of(await invoke(fn, context))
        except Exception as error:  # noqa: BLE001 - whatever it is, the step failed
            return Err(error_of(error))

    return body


async def attempt(step: Limits, body: Body, context: PipelineContext) -> Result[Any, Exception]:
    """Return the outcome of the body, called through the step's resilience, if it has any."""
    if step.resilience is None:
        return await within_timeout(step, body, context)

    async def call(context: PipelineContext) -> Result[Any, Exception]:
        result = await within_timeout(step, body, context)
        if isinstance(result, Err):
            raise result.error  # a retry or a breaker looks at what is raised
        return result

    resilience = step.resilience

    async def called(context: PipelineContext) -> Any:
        return await resilience.execute(call, context)

    return await caught(called)(context)


async def within_timeout(
    step: Limits, body: Body, context: PipelineContext
) -> Result[Any, Exception]:
    """Return the outcome of the body, an `Err(WorkflowTimeoutError)` where its time was up."""
    if step.timeout is None:
        return await body(context)
    try:
        with trio.move_on_after(step.timeout):
            return await body(context)
    except Exception as error:  # noqa: BLE001 - a group, of which the scope took its part
        return Err(error_of(error))
    # Here only where the limit itself cut the body off: not for a `TimeoutError` of the body's
    # own, nor for a cancellation from further out.
    return Err(late(step))


def late(step: Limits) -> WorkflowTimeoutError:
    """Return the error of a step whose time was up."""
    return WorkflowTimeoutError(
        f"step {step.name!r} was stopped: it took longer than {step.timeout:g} s",
        step_name=step.name,
        details={"timeout": step.timeout},
    )


def outcome_of(value: Any) -> Result[Any, Exception]:
    """Return what a step's function returned as a result, whose error is an exception."""
    result = as_result(value)
    return Err(error_of(result.error)) if isinstance(result, Err) else result


def error_of(error: object) -> Exception:
    """Return the one exception that an error comes down to; any other value inside one."""
    if isinstance(error, BaseException):
        error = sole_error(error)
    if isinstance(error, Exception):
        return error
    return PipelineStepError(describe(error), details={"error": error})
