"""Retries of single items, and what the operation is told of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.bulk.limits import RateLimit
from lexigram_actors.cli.calling import ContractBreak, Failure, Outcome, Outcomes
from lexigram_actors.cli.counters import Counters
from lexigram_actors.cli.errors import TargetError
from lexigram_actors.cli.processing import Attempted, ItemsFailed, Processor
from lexigram_actors.retry import RetryPolicy

BAD = Failure("bad", "ValueError")


class Scripted:
    """A TARGET whose outcomes are decided by a function of (item, attempt from 1)."""

    def __init__(self, decide: Callable[[Any, int], Outcome]) -> None:
        self.decide = decide
        self.calls: list[list[Any]] = []
        self.times: list[float] = []
        self.attempts: dict[Any, int] = {}

    async def __call__(self, items: list[Any]) -> Outcomes:
        await trio.lowlevel.checkpoint()
        self.calls.append(items)
        self.times.append(trio.current_time())
        for item in items:
            self.attempts[item] = self.attempts.get(item, 0) + 1
        return [self.decide(item, self.attempts[item]) for item in items]


def batch(*items: Any, first: int = 0) -> list[list[Any]]:
    return [[first + position, item] for position, item in enumerate(items)]


def processor(call: Any, *, retries: int = 0, each: bool = True, **more: Any) -> Processor:
    return Processor(call, each, RetryPolicy(retries=retries, delay=1.0), Counters(), **more)


async def test_results_come_in_the_order_of_the_items() -> None:
    run = processor(Scripted(lambda item, _: b"%d" % item))
    assert await run(batch(3, 1, 2)) == [b"3", b"1", b"2"]
    assert run.counters.in_flight == 0


async def test_only_failed_items_are_sent_again(autojump_clock: MockClock) -> None:
    target = Scripted(lambda item, attempt: b"1" if item != "x" or attempt == 3 else BAD)
    run = processor(target, retries=5)
    began = trio.current_time()
    assert await run(batch("a", "x", "b")) == [b"1"] * 3
    assert target.calls == [["a", "x", "b"], ["x"], ["x"]]
    assert [time - began for time in target.times] == [0, 1, 3]
    assert run.counters.retries == 2


async def test_an_item_that_fails_for_good_is_told_with_its_mates(
    autojump_clock: MockClock,
) -> None:
    run = processor(Scripted(lambda item, _: BAD if item == "x" else b"1"), retries=2)
    sent = batch("a", "x", first=40)
    with pytest.raises(ItemsFailed):
        await run(sent)
    assert run.take(sent) == [Attempted(b"1", 0), Attempted(BAD, 2)]
    assert run.take(sent) is None


async def test_what_cannot_get_better_is_not_tried_again() -> None:
    target = Scripted(lambda *_: Failure("set", "NotJSONError", permanent=True))
    run = processor(target, retries=5)
    with pytest.raises(ItemsFailed):
        await run(batch("a"))
    assert len(target.calls) == 1


async def test_a_worker_that_dies_fails_only_the_item_that_killed_it() -> None:
    calls: list[list[str]] = []

    async def mortal(items: list[str]) -> Outcomes:
        await trio.lowlevel.checkpoint()
        calls.append(items)
        if "x" in items:
            raise RuntimeError("the worker process died")
        return [b"1" for _ in items]

    run = processor(mortal)
    sent = batch("a", "x", "b")
    with pytest.raises(ItemsFailed):
        await run(sent)
    assert calls == [["a", "x", "b"], ["a"], ["x"], ["b"]]
    assert run.take(sent) == [
        Attempted(b"1", 0),
        Attempted(Failure("the worker process died", "RuntimeError"), 0),
        Attempted(b"1", 0),
    ]


async def test_a_worker_that_dies_on_a_batch_function_fails_the_batch() -> None:
    async def mortal(items: list[str]) -> Outcomes:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("the worker process died")

    run = processor(mortal, each=False)
    sent = batch("a", "b")
    with pytest.raises(ItemsFailed):
        await run(sent)
    assert len(run.take(sent) or ()) == 2


async def test_a_broken_contract_ends_it_and_no_further_call_is_made() -> None:
    calls = 0

    async def broken(items: list[str]) -> Outcomes:
        nonlocal calls
        calls += 1
        await trio.lowlevel.checkpoint()
        return ContractBreak("returned nonsense", "mend it")

    run = processor(broken, retries=3, each=False)
    for _ in range(2):
        with pytest.raises(ItemsFailed):
            await run(batch("a", "b"))
    assert calls == 1
    assert run.broken is not None
    assert (run.broken.message, run.broken.hint) == ("returned nonsense", "mend it")


async def test_a_target_that_does_not_load_in_the_worker_ends_it() -> None:
    async def unloadable(items: list[str]) -> Outcomes:
        await trio.lowlevel.checkpoint()
        raise TargetError("no module there")

    run = processor(unloadable)
    with pytest.raises(ItemsFailed):
        await run(batch("a"))
    assert run.broken is not None
    assert run.broken.message == "no module there"


async def test_a_guess_that_proves_wrong_at_once_asks_for_each() -> None:
    suspect = Failure("no .upper", "AttributeError", "tasks.py:3 in f", suspect=True)
    run = processor(Scripted(lambda *_: suspect), retries=3, each=False)
    with pytest.raises(ItemsFailed):
        await run(batch("a", "b"))
    assert run.broken is not None
    assert "a list of 2 items" in run.broken.message
    assert "--each" in str(run.broken.hint)


async def test_after_results_the_same_error_speaks_of_the_items() -> None:
    suspect = Failure("no .upper", "AttributeError", suspect=True)
    run = processor(Scripted(lambda *_: suspect), each=False)
    run.counters.succeeded = 1
    with pytest.raises(ItemsFailed):
        await run(batch("a"))
    assert run.broken is None


async def test_the_rate_holds_for_retries_too(autojump_clock: MockClock) -> None:
    target = Scripted(lambda _, attempt: b"1" if attempt == 3 else BAD)
    run = processor(target, retries=5, limit=RateLimit(0.1))
    began = trio.current_time()
    await run(batch("a"))
    assert [time - began for time in target.times] == [0, 10, 20]


async def test_a_cancelled_batch_leaves_nothing_in_flight(autojump_clock: MockClock) -> None:
    async def forever(items: list[str]) -> Outcomes:
        await trio.sleep_forever()
        raise AssertionError

    run = processor(forever)
    with trio.move_on_after(1):
        await run(batch("a", "b"))
    assert run.counters.in_flight == 0
