"""Read by type checkers, never run: what `Result`, retry, breaker and bus look like to users."""

from __future__ import annotations

from typing import assert_never, assert_type

import trio

from lexigram_actors.breaker import CircuitBreaker, CircuitBreakerProtocol
from lexigram_actors.errors import PipelineExecutionError
from lexigram_actors.events import EventBus, WorkflowFailedEvent
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.retry import RetryPolicy


def parse(text: str) -> Result[int, ValueError]:
    try:
        return Ok(int(text))
    except ValueError as error:
        return Err(error)


def both_cases_are_all_cases(result: Result[int, ValueError]) -> int:
    match result:
        case Ok(value):
            assert_type(value, int)
            return value
        case Err(error):
            assert_type(error, ValueError)
            return -1


def isinstance_leaves_the_other(result: Result[int, str]) -> str:
    if isinstance(result, Ok):
        assert_type(result.value, int)
        return str(result.value)
    assert_type(result.error, str)
    return result.error


def nothing_is_left(result: Result[int, str]) -> None:
    if isinstance(result, Ok | Err):
        return
    assert_never(result)


def methods_keep_types(result: Result[int, ValueError]) -> tuple[object, ...]:
    assert_type(result.unwrap(), int)
    assert_type(result.unwrap_err(), ValueError)
    assert_type(result.unwrap_or(None), int | None)
    assert_type(result.to_optional(), int | None)
    assert_type(result.match(str, repr), str)
    mapped: Result[str, ValueError] = result.map_sync(str)
    failed: Result[int, str] = result.map_err(str)
    chained: Result[int, ValueError] = result.map_sync(str).and_then_sync(parse)
    flat: Result[int, ValueError] = Ok(result).flatten()
    return mapped, failed, chained, flat


def narrow_fits_wide(result: Result[bool, KeyError]) -> Result[int, Exception]:
    return result


def is_one_at_all(thing: object) -> bool:
    return isinstance(thing, Result)


async def numbered(text: str) -> int:
    await trio.lowlevel.checkpoint()
    return len(text)


async def calls_keep_types(breaker: CircuitBreaker, policy: RetryPolicy) -> CircuitBreakerProtocol:
    assert_type(await breaker.call(numbered, "x"), int)
    assert_type(await breaker.call(len, "x"), int)
    assert_type(await policy.call(numbered, "x"), int)
    async with breaker.protect():
        pass
    return breaker


async def events_have_their_type(bus: EventBus) -> None:
    async with bus.subscribe(WorkflowFailedEvent) as failures:
        async for failure in failures:
            assert_type(failure, WorkflowFailedEvent)


def errors_have_typed_fields(error: PipelineExecutionError) -> None:
    assert_type(error.step_name, str)
    assert_type(error.error, Exception)
