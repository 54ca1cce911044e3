"""The record of a run that is over is cleared, and its outcome not lost with it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from lexigram_actors import StoreError, open_store
from lexigram_actors.graph import WorkflowBuilder, WorkflowRunner
from lexigram_actors.host.recorded import CLEAR_TIMEOUT, RecordedRun
from lexigram_actors.pipeline import Pipeline, step
from lexigram_actors.storage import MemoryStore


class CancelsAt(trio.abc.Instrument):
    """Cancels a scope when Trio has made so many steps."""

    def __init__(self, number: int, scope: trio.CancelScope) -> None:
        self.left = number
        self.scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


class Slow:
    """A cache in memory that is slow, fails, or does what it is told and reports a failure."""

    def __init__(
        self,
        seconds: dict[str, float] | None = None,
        *,
        fails: tuple[str, ...] = (),
        lies: tuple[str, ...] = (),
    ) -> None:
        self.inner = MemoryStore().cache
        self.seconds = seconds or {}
        self.fails = fails
        self.lies = lies
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            self.calls.append(name)
            await trio.sleep(self.seconds.get(name, 0))
            if name in self.fails:
                raise OSError("disk full")
            answer = await getattr(self.inner, name)(*args)
            if name in self.lies:
                raise OSError("connection lost")
            return answer

        return call


async def begun(cache: Any) -> RecordedRun:
    run = RecordedRun(cache, "pipeline 'p'", ("pipeline", "p"), "r")
    await run.begin({})
    await run.set(f"{run.token}:a", 1)
    return run


async def execute_pipeline(store: Any, ran: list[str]) -> None:
    pipeline = Pipeline("p", [step("pay", lambda _: ran.append("pay"))], store)
    assert (await pipeline.execute(run_id="r")).is_ok()


async def run_graph(store: Any, ran: list[str]) -> None:
    builder = WorkflowBuilder("g").add_node("pay", node=lambda _: ran.append("pay") or {})
    engine = builder.set_entry("pay").set_terminal("pay").build()
    await WorkflowRunner(engine, checkpoint=store).run("x", run_id="r")


@pytest.mark.parametrize("execute", [execute_pipeline, run_graph])
async def test_wherever_a_run_is_cancelled_it_does_not_do_again_what_it_did(execute: Any) -> None:
    number = 0
    while True:
        number += 1
        ran: list[str] = []
        async with open_store("memory:") as store:
            with trio.CancelScope() as scope:
                instrument = CancelsAt(number, scope)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await execute(store, ran)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            if scope.cancelled_caught:
                await execute(store, ran)
        assert ran == ["pay"], number
        if instrument.left > 0:
            break
    assert number > 3


async def test_a_clearing_that_is_cancelled_ends_and_returns(autojump_clock: object) -> None:
    cache = Slow({"delete": 1, "delete_pattern": 1})
    run = await begun(cache)
    with trio.move_on_after(0.5) as scope:
        await run.clear()
    assert scope.cancel_called
    assert not scope.cancelled_caught
    assert not (await cache.inner.exists(f"{run.prefix}header")).unwrap()
    assert not (await cache.inner.exists(f"{run.prefix}{run.token}:a")).unwrap()


async def test_a_clearing_that_outlasts_its_time_after_a_cancellation_is_cancelled(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    run = await begun(Slow({"delete": 100}))
    with trio.move_on_after(0.5) as scope:
        await run.clear()
    assert scope.cancelled_caught
    assert trio.current_time() == 0.5 + CLEAR_TIMEOUT
    assert await run.header() is not None
    assert "may still stand" in caplog.text


async def test_once_the_header_is_gone_a_cancelled_clearing_returns_however_long_the_rest_takes(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    run = await begun(Slow({"delete_pattern": 100}))
    with trio.move_on_after(0.5) as scope:
        await run.clear()
    assert not scope.cancelled_caught
    assert trio.current_time() == 0.5 + CLEAR_TIMEOUT
    assert await run.header() is None
    assert "counts no more" in caplog.text


async def test_a_clearing_without_a_cancellation_takes_the_time_it_needs(
    autojump_clock: object,
) -> None:
    run = await begun(Slow({"delete": 100, "delete_pattern": 100}))
    await run.clear()
    assert trio.current_time() == 200


async def test_a_deletion_that_was_done_and_reported_as_failed_is_taken_as_done() -> None:
    cache = Slow(lies=("delete",))
    run = await begun(cache)
    await run.clear()
    assert await run.header() is None
    assert not (await cache.inner.exists(f"{run.prefix}{run.token}:a")).unwrap()


@pytest.mark.parametrize("failing", [("delete",), ("delete", "get")])
async def test_a_deletion_that_failed_is_raised_where_the_header_is_not_known_to_be_gone(
    failing: tuple[str, ...],
) -> None:
    cache = Slow(fails=failing)
    run = await begun(cache)
    with pytest.raises(StoreError, match="cannot be cleared"):
        await run.clear()
    assert "delete_pattern" not in cache.calls
