"""Steps, cleanups and stores with a nursery of their own that fails while it is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from lexigram_actors.pipeline import FunctionStep, ParallelStep, Pipeline, PipelineContext, step
from lexigram_actors.storage import MemoryStore
from tests.pipeline.helpers import reason, records


async def fails_to_roll_back(context: PipelineContext) -> None:
    """Wait until cancelled; end with a group of a cancellation and an error."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("rollback failed")


async def rests(context: PipelineContext) -> None:
    await trio.sleep(9)


async def breaks(context: PipelineContext) -> None:
    await trio.sleep(1)
    raise KeyError("the failure")


class Recovering(ParallelStep):
    async def on_error(self, context: PipelineContext, error: Exception) -> str:
        return "recovered"


Wrap = Callable[[list[Any]], Pipeline]

SHAPES: list[Wrap] = [
    lambda steps: Pipeline("p", steps, max_concurrency=2),
    lambda steps: Pipeline("p", [ParallelStep("par", steps)]),
    lambda steps: Pipeline("p", [ParallelStep("par", [ParallelStep("in", steps)])]),
]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_sibling_that_fails_while_it_is_cancelled_does_not_hide_the_failure(
    shape: Wrap, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    context = PipelineContext("p")
    pipeline = shape([step("slow", fails_to_roll_back), step("bad", breaks)])
    failure = (await pipeline.execute(context)).unwrap_err()
    assert failure.step_name == "bad"
    assert isinstance(failure.error, KeyError)
    assert list(failure.details["errors"]) == ["bad"]
    assert records(context)["slow"] == "skipped"
    assert reason(context, "slow") == "cancelled: step 'bad' failed"
    assert "step 'slow' failed while it was cancelled" in caplog.text
    assert "rollback failed" in caplog.text


@pytest.mark.parametrize("fail_fast", [True, False])
@pytest.mark.parametrize(
    "shape",
    [
        *SHAPES,
        lambda steps: Pipeline("p", steps[:1]),
        lambda steps: Pipeline("p", [FunctionStep("slow", fails_to_roll_back, timeout=9)]),
        lambda steps: Pipeline("p", [Recovering("par", steps), step("next", lambda _: 1)]),
        lambda steps: Pipeline(
            "p", [FunctionStep("a", lambda _: 1 / 0, error_handler=lambda c, _: steps[0].func(c))]
        ),
        lambda steps: Pipeline(
            "p", [FunctionStep("a", lambda _: 1, skip_condition=fails_to_roll_back)]
        ),
    ],
)
async def test_a_cancellation_from_outside_passes_whatever_fails_beside_it(
    shape: Wrap, fail_fast: bool, autojump_clock: object
) -> None:
    context = PipelineContext("p")
    pipeline = shape([step("slow", fails_to_roll_back), step("other", rests)])
    with trio.move_on_after(1) as scope:
        try:
            await pipeline.execute(context, fail_fast)
        except BaseException as error:
            assert isinstance(error, trio.Cancelled)
            raise
        raise AssertionError("it returned")
    assert scope.cancelled_caught
    assert set(records(context).values()) == {"skipped"}


async def test_with_fail_fast_the_step_that_failed_first_is_named(autojump_clock: object) -> None:
    async def gives_up(context: PipelineContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while it was cancelled")

    steps = [step("declared first", gives_up), step("bad", breaks)]
    for pipeline in (
        Pipeline("p", steps, max_concurrency=2),
        Pipeline("p", [ParallelStep("par", steps)]),
    ):
        failure = (await pipeline.execute()).unwrap_err()
        assert failure.step_name == "bad"
        assert list(failure.details["errors"]) == ["bad", "declared first"]


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_cleanup_whose_nursery_fails_when_its_time_is_up_is_logged(
    is_cancelled: bool, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    work: Any = rests if is_cancelled else lambda _: 1
    pipeline = Pipeline(
        "p", [FunctionStep("a", work, cleanup_func=fails_to_roll_back)], cleanup_timeout=1
    )
    outcome: Any = None
    with trio.move_on_after(3 if not is_cancelled else 1) as scope:
        outcome = await pipeline.execute()
    assert scope.cancelled_caught is is_cancelled
    assert is_cancelled or outcome.is_ok()
    assert "the cleanup of step 'a' failed" in caplog.text
    assert "rollback failed" in caplog.text


class Grouping:
    """A cache that writes in a nursery: cancelled, it ends with a group."""

    def __init__(self, *, fails: bool = False, seconds: float = 1) -> None:
        self.inner = MemoryStore().cache
        self.fails = fails
        self.seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def set(self, key: str, value: Any, ttl: int | None = None) -> Any:
        if not key.endswith("header"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, self.seconds)
                try:
                    await trio.sleep(self.seconds)
                except trio.Cancelled:
                    if self.fails:
                        raise ValueError("rollback failed") from None
                    raise
        return await self.inner.set(key, value, ttl)


@pytest.mark.parametrize("fails", [True, False])
async def test_a_step_is_recorded_late_by_a_store_that_ends_with_a_group_when_cancelled(
    fails: bool, autojump_clock: object
) -> None:
    store, ran = Grouping(fails=fails), []
    pipeline = Pipeline("p", [step("pay", lambda _: ran.append("pay"))], store)
    with trio.move_on_after(0.5) as scope:
        await pipeline.execute()
    assert scope.cancelled_caught
    assert (await pipeline.execute()).is_ok()
    assert ran == ["pay"]


async def test_a_late_record_that_takes_too_long_is_logged_whatever_the_store_raises(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    store = Grouping(fails=True, seconds=100)
    pipeline = Pipeline("p", [step("pay", lambda _: 1)], store, cleanup_timeout=2)
    with trio.move_on_after(0.5) as scope:
        await pipeline.execute()
    assert scope.cancelled_caught
    assert trio.current_time() == 2.5
    assert "the result of step 'pay' was not recorded: it took longer than 2 s" in caplog.text
