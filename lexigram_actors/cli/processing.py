"""The processor that `BulkOperation` runs: calls TARGET, tries failed items again, keeps outcomes.

Retries happen here and not in the operation, because the operation can only send a whole batch
again, and an item that succeeded must not be sent twice. So the operation is told not to retry,
and a batch in which an item failed for good raises `ItemsFailed`: the operation then leaves it
unrecorded, and a continued job runs it again. The outcomes of such a batch are fetched with
`take`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import trio
from attrs import define, evolve, field, frozen

from lexigram_actors.bulk.limits import RateLimit
from lexigram_actors.cli.calling import (
    EACH_HINT,
    ContractBreak,
    Failure,
    Outcome,
    Outcomes,
    failure_from,
)
from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.errors import TargetError
from lexigram_actors.retry import RetryPolicy

Call = Callable[[list[Any]], Awaitable[Outcomes]]
"""Calls TARGET with items, wherever it runs."""


class ItemsFailed(Exception):
    """Some items of a batch have no result."""


@frozen
class Attempted:
    """An item's outcome and how often it was tried again."""

    outcome: Outcome
    retries: int


@define(eq=False)
class Processor:
    """Processes batches of `[index, item]`; returns the results' JSON text in that order."""

    call: Call
    each: bool
    retry: RetryPolicy
    counters: Counters
    limit: RateLimit | None = None
    """Holds for every call, so retries count as well."""
    broken: TargetError | None = field(init=False, default=None)
    """Set when TARGET breaks its contract: the run should end, no further call is made."""
    _unfinished: dict[int, list[Attempted]] = field(init=False, factory=dict)

    async def __call__(self, batch: list[list[Any]]) -> list[Outcome]:
        """Process a batch; a cancelled one leaves nothing behind.

        Raises:
            ItemsFailed: some item has no result; all outcomes wait for `take`.
        """
        attempted = await self._attempt([item for _, item in batch])
        if any(isinstance(one.outcome, Failure) for one in attempted):
            self._unfinished[batch[0][0]] = attempted
            raise ItemsFailed
        return [one.outcome for one in attempted]

    def take(self, batch: list[list[Any]]) -> list[Attempted] | None:
        """Hand over the outcomes of a batch that raised `ItemsFailed`, None if it did not."""
        return self._unfinished.pop(batch[0][0], None)

    async def _attempt(self, items: list[Any]) -> list[Attempted]:
        attempted = [Attempted(outcome, 0) for outcome in await self._outcomes(items)]
        for retry in range(1, self.retry.retries + 1):
            again = [n for n, one in enumerate(attempted) if may_be_tried_again(one.outcome)]
            if not again:
                break
            await trio.sleep(self.retry.delay_before(retry))
            self.counters.retries += len(again)
            outcomes = await self._outcomes([items[n] for n in again])
            for n, outcome in zip(again, outcomes, strict=True):
                attempted[n] = Attempted(outcome, retry)
        return attempted

    async def _outcomes(self, items: list[Any]) -> list[Outcome]:
        if self.broken is not None:
            raise ItemsFailed
        try:
            outcomes = await self._send(items)
        except TargetError as problem:  # it does not load in the worker process
            self._break(problem)
        except Exception as problem:  # noqa: BLE001 - the worker died: any class, by executor
            return await self._one_by_one(items, problem)
        if isinstance(outcomes, ContractBreak):
            self._break(TargetError(outcomes.problem, hint=outcomes.hint))
        self._check_guess(items, outcomes)
        return outcomes

    async def _send(self, items: list[Any]) -> Outcomes:
        if self.limit is not None:
            await self.limit.wait(len(items))
        self.counters.in_flight += len(items)
        try:
            return await self.call(items)
        finally:
            self.counters.in_flight -= len(items)

    async def _one_by_one(self, items: list[Any], problem: Exception) -> list[Outcome]:
        """Find out which item ends the worker, so that its batch mates do not fail with it."""
        if not self.each or len(items) == 1:
            # The place of its exception is in the executor, and tells nothing of the item.
            return [evolve(failure_from(problem), where="")] * len(items)
        return [(await self._outcomes([item]))[0] for item in items]

    def _check_guess(self, items: list[Any], outcomes: list[Outcome]) -> None:
        """End the run if the first thing that a function does with a list is to refuse its type.

        Later on, after results, the same error says something of the items and not of the guess.
        """
        first = outcomes[0]
        if isinstance(first, Failure) and first.suspect and not self.counters.done:
            self._break(
                TargetError(
                    f"TARGET failed with {first.error_type}: {first.error} ({first.where}). It was "
                    f"called with a list of {len(items)} items, because its first parameter has "
                    "no annotation.",
                    hint=EACH_HINT,
                )
            )

    def _break(self, problem: TargetError) -> NoReturn:
        self.broken = problem
        raise ItemsFailed from problem


def may_be_tried_again(outcome: Outcome) -> bool:
    """Say whether another call may turn out better."""
    return isinstance(outcome, Failure) and not outcome.permanent
