"""What a run is asked to do: everything decided when `execute` was called."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, final

from attrs import frozen

from lexigram_actors.breaker import CircuitBreakerProtocol
from lexigram_actors.bulk.attempts import BatchRunner
from lexigram_actors.bulk.checkpoint import Journal
from lexigram_actors.bulk.executors import BatchCall
from lexigram_actors.bulk.hooks import Hooks
from lexigram_actors.bulk.limits import AdaptiveConcurrency, RateLimit
from lexigram_actors.bulk.sources import AsyncSource, IterableSource, ListSource
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.retry import RetryPolicy


@final
@frozen(eq=False)
class Job:
    """The parts of a run, not yet begun.

    Args:
        name: Of the processor, for messages.
        source: Where the items come from.
        executor: Opened for the processor, not entered.
        breaker: Guards every call; None: nothing does.
        journal: The checkpoint; None: nothing is recorded.
    """

    name: str
    source: ListSource | IterableSource | AsyncSource
    executor: AbstractAsyncContextManager[BatchCall]
    config: BulkOperationConfig
    hooks: Hooks
    breaker: CircuitBreakerProtocol | None = None
    journal: Journal | None = None

    def runner(self, call: BatchCall, adaptive: AdaptiveConcurrency | None) -> BatchRunner:
        """Return what sends the batches through this call."""
        config = self.config
        if self.breaker is not None:
            call = _guarded(call, self.breaker)
        if config.rate_limit is not None:
            # Outside the breaker: one that is open must not let the input rush past.
            call = _paced(call, RateLimit(config.rate_limit))
        retry = RetryPolicy(config.retry_attempts, config.retry_delay, jitter=config.jitter)
        isolate = config.on_poison == "bisect"
        return BatchRunner(call, retry, config.batch_size, isolate=isolate, adaptive=adaptive)


def _guarded(call: BatchCall, breaker: CircuitBreakerProtocol) -> BatchCall:
    async def guarded(items: list[Any]) -> Any:
        return await breaker.call(call, items)

    return guarded


def _paced(call: BatchCall, rate: RateLimit) -> BatchCall:
    async def paced(items: list[Any]) -> Any:
        await rate.wait(len(items))
        return await call(items)

    return paced
