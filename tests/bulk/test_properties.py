"""What holds for any size, concurrency, failure and moment of cancellation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lexigram_actors.bulk import BulkOperationState, BulkRun
from lexigram_actors.bulk.batches import AdaptiveLimit, Bisection, over_failure_limit
from lexigram_actors.errors import BulkOperationCancelledError
from tests.bulk.helpers import Counted, Outcome, Watched, all_items, operation
from tests.leaks import no_task_left


def run_on_mock_clock(function: Callable[..., Any], *args: Any) -> Any:
    return trio.run(function, *args, clock=MockClock(autojump_threshold=0))


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.one_of(st.integers(0, 60), st.integers(0, 300)))
    return {
        "count": count,
        "kind": draw(st.sampled_from(["list", "plain", "ready", "async"])),
        "bad": draw(st.sets(st.integers(0, max(0, count - 1)), max_size=8)),
        "consumer": draw(st.lists(st.sampled_from([None, None, 0, 1, 20]), min_size=1, max_size=5)),
        "delays": draw(st.lists(st.sampled_from([None, 0, 0.5, 1, 3]), min_size=1, max_size=5)),
        "settings": {
            "batch_size": draw(st.integers(1, 12)),
            "max_concurrency": draw(st.integers(1, 6)),
            "ordered": draw(st.booleans()),
            "on_poison": draw(st.sampled_from(["fail", "bisect"])),
            "retry_attempts": draw(st.integers(0, 2)),
            "retry_delay": draw(st.sampled_from([0, 0.1, 2])),
            "adaptive": draw(st.booleans()),
            "rate_limit": draw(st.sampled_from([None, None, 5.0, 1000.0])),
        },
    }


class Case:
    """A job with its processor and its input."""

    def __init__(self, job: dict[str, Any]) -> None:
        delays = job["delays"]
        self.processor = Varied(delays, job["bad"])
        self.source = Counted(job["count"])
        self.items: Any = {
            "list": list(range(job["count"])),
            "plain": self.source.plain(),
            "ready": self.source.ready(),
            "async": self.source.waiting(),
        }[job["kind"]]
        self.bulk = operation(self.processor, **job["settings"], timeout=math.inf)
        self.limit = job["settings"].get("max_concurrency", 5)

        self.consumer = job.get("consumer", [None])

    def start(self) -> BulkRun[int, int]:
        return self.bulk.execute(self.items)

    async def consume(self, number: int) -> None:
        delay = self.consumer[number % len(self.consumer)]
        if delay is not None:
            await trio.sleep(delay)


class Varied(Watched):
    """Takes a different time for each call."""

    def __init__(self, delays: list[float | None], bad: set[int]) -> None:
        super().__init__(bad=bad)
        self.delays = delays

    async def __call__(self, items: list[Any]) -> list[Any]:
        self.delay = self.delays[len(self.calls) % len(self.delays)]
        return await super().__call__(items)


def failed_items(result: Outcome, batch_size: int) -> list[int]:
    if any(error.item_index is None for error in result.errors):
        return list(result.items)
    first = result.batch_id * batch_size
    return [result.items[(error.item_index or 0) - first] for error in result.errors]


@given(jobs())
def test_every_item_is_in_exactly_one_result_or_error(job: dict[str, Any]) -> None:
    async def main() -> None:
        case = Case(job)
        with no_task_left():
            results = []
            async for result in case.start():
                results.append(result)
                await case.consume(len(results))
        settings = job["settings"]
        assert sorted(all_items(results)) == list(range(job["count"]))
        good = [value // 10 for result in results for value in result.results]
        bad = [item for r in results for item in failed_items(r, settings["batch_size"])]
        assert sorted(good + bad) == list(range(job["count"]))
        if settings["on_poison"] == "bisect":
            assert set(bad) == job["bad"] & set(range(job["count"]))
            assert len(case.processor.succeeded) == len(set(case.processor.succeeded))
        if settings["ordered"]:
            assert all_items(results) == list(range(job["count"]))
        assert case.processor.most <= case.limit
        check_metrics(case, results)
        assert case.bulk.state is BulkOperationState.COMPLETED

    run_on_mock_clock(main)


def check_metrics(case: Case, results: list[Outcome]) -> None:
    metrics = case.bulk.metrics
    assert metrics.processed_items == sum(len(result.items) for result in results)
    assert metrics.successful_items == sum(result.success_count for result in results)
    assert metrics.failed_items == sum(result.error_count for result in results)
    assert metrics.completed_batches == len(results)
    assert metrics.total_retries == sum(result.retry_count for result in results)


@given(jobs(), st.floats(0, 10), st.sampled_from(["cancel", "break", "scope", "aclose"]))
def test_cancelled_at_any_time_nothing_is_in_flight(
    job: dict[str, Any], at: float, how: str
) -> None:
    async def main() -> None:
        case = Case(job)
        results: list[Outcome] = []
        with no_task_left():
            await end_early(case, at, how, results)
            await trio.testing.wait_all_tasks_blocked()
        assert case.processor.in_flight == 0
        assert case.processor.most <= case.limit
        calls = len(case.processor.calls)
        await trio.sleep(100)
        assert len(case.processor.calls) == calls
        seen = all_items(results)
        assert len(seen) == len(set(seen))
        if how != "break":
            check_metrics(case, results)

    run_on_mock_clock(main)


async def end_early(case: Case, at: float, how: str, results: list[Outcome]) -> None:
    if how == "break":
        async for result in case.start():
            results.append(result)
            await case.consume(len(results))
            if trio.current_time() >= at:
                break
        return
    async with case.start() as run:
        with trio.CancelScope() as scope:
            if how == "scope":
                scope.deadline = trio.current_time() + at
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_all, run, results)
                if how != "scope":
                    await trio.sleep(at)
                    await (case.bulk.cancel() if how == "cancel" else run.aclose())
                    assert case.processor.in_flight == 0
        await run.aclose()
        await take_all(run, results)  # what ended before is delivered all the same


async def take_all(run: BulkRun[int, int], results: list[Outcome]) -> None:
    try:
        async for result in run:
            results.append(result)
    except BulkOperationCancelledError:
        pass


# --- cancellation at every step ------------------------------------------------------------


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the k-th step of any task in it."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.steps = 0
        self.scope: trio.CancelScope | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is not None:
            self.steps += 1
            if self.steps == self.step:
                self.scope.cancel()


SCENES: dict[str, dict[str, Any]] = {
    "plain": {"batch_size": 2, "max_concurrency": 2},
    "ordered": {"batch_size": 1, "max_concurrency": 3, "ordered": True},
    "failing": {"batch_size": 4, "retry_attempts": 1, "on_poison": "bisect", "adaptive": True},
    "slow rate": {"batch_size": 2, "rate_limit": 1.0},
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", ["list", "async"])
@pytest.mark.parametrize("tidy", [False, True], ids=["loop", "block"])
def test_cancelled_at_every_step_nothing_is_left(scene: str, kind: str, tidy: bool) -> None:
    step = 1
    while cancelled_at(step, scene, kind, tidy):
        step += 1
    assert step > 10


def cancelled_at(step: int, scene: str, kind: str, tidy: bool) -> bool:
    """Run with a cancellation before that step; False when there is no such step any more."""
    job = {
        "count": 12,
        "kind": kind,
        "bad": {5},
        "delays": [0.5, 0, 1],
        "settings": SCENES[scene],
    }

    async def main() -> bool:
        case = Case(job)
        cancel = CancelAtStep(step)
        seen: list[int] = []
        trio.lowlevel.add_instrument(cancel)
        with no_task_left():
            with trio.CancelScope() as cancel.scope:
                if tidy:
                    async with case.start() as run:
                        async for result in run:
                            seen += result.items
                else:
                    async for result in case.start():
                        seen += result.items
            cancel.scope = None
            await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(cancel)
        assert case.processor.in_flight == 0
        assert case.processor.most <= case.limit
        assert len(seen) == len(set(seen))
        assert case.bulk.state in (BulkOperationState.CANCELLED, BulkOperationState.COMPLETED)
        if case.bulk.state is BulkOperationState.COMPLETED:
            assert len(seen) == 12
        return cancel.steps >= step

    return bool(run_on_mock_clock(main))


# --- decisions, without a run --------------------------------------------------------------


@given(st.integers(2, 3000), st.data())
def test_one_bad_item_takes_two_calls_for_each_halving(size: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, size - 1))
    calls, found, good = bisect(size, {bad})
    assert found == {bad}
    assert sorted(good) == [index for index in range(size) if index != bad]
    assert calls <= 2 * math.log2(size) + 1e-9


@given(st.integers(2, 200), st.data())
def test_bisection_finds_any_bad_items_and_sends_good_ones_once(
    size: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, size - 1)))
    calls, found, good = bisect(size, bad)
    assert found == bad
    assert sorted(good) == sorted(set(range(size)) - bad)
    assert calls <= 2 * size


def bisect(size: int, bad: set[int]) -> tuple[int, set[int], list[int]]:
    plan = Bisection(size)
    calls = 0
    good: list[int] = []
    while (piece := plan.next_piece()) is not None:
        calls += 1
        indices = range(piece.start, piece.stop)
        if bad.intersection(indices):
            plan.failed(piece, ValueError())
        else:
            good += indices
            plan.succeeded(piece)
    return calls, set(plan.bad), good


@given(st.integers(1, 100), st.lists(st.tuples(st.booleans(), st.floats(0, 5))))
def test_an_adaptive_limit_stays_in_its_bounds(
    most: int, attempts: list[tuple[bool, float]]
) -> None:
    limit = AdaptiveLimit(most)
    now = 0.0
    for succeeded, duration in attempts:
        before = limit.limit
        if succeeded:
            limit.succeeded()
            assert before <= limit.limit <= before + 1
        else:
            limit.failed(now - duration, now)
            assert limit.limit in (before, max(1, before // 2), (before + 1) // 2)
        assert 1 <= limit.limit <= most
        now += 1


def test_attempts_that_failed_together_halve_an_adaptive_limit_once() -> None:
    limit = AdaptiveLimit(16)
    for _ in range(10):
        limit.failed(0, 1)
    assert limit.limit == 8
    limit.failed(1, 2)
    assert limit.limit == 4
    for _ in range(40):
        limit.succeeded()
    assert limit.limit == 9


@pytest.mark.parametrize(
    ("limit", "failed", "processed", "over"),
    [
        (None, 99, 99, False),
        (0, 0, 99, False),
        (0, 1, 99, True),
        (5, 5, 5, False),
        (5, 6, 6, True),
        (0.5, 9, 9, False),
        (0.5, 5, 10, False),
        (0.5, 6, 10, True),
        (1.0, 10, 10, False),
        (0.0, 1, 10, True),
    ],
)
def test_the_failure_limit(limit: float | None, failed: int, processed: int, over: bool) -> None:
    assert over_failure_limit(limit, failed, processed, judged_from=10) is over
