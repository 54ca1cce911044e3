"""One step of an instance, against stores that really write."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import NotStorableError, RetryPolicy, WorkflowStateError, WorkflowStepError
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.steps import Step, StepInfo, current_step, run_step, value_of
from lexigram_actors.host.surroundings import Suspended
from lexigram_actors.storage import MemoryStore
from lexigram_actors.storage.instances import Definition, NewInstance


class Kept:
    """An instance in a memory store."""

    def __init__(self) -> None:
        self.store = MemoryStore().instances

    async def journal(self) -> Journal:
        await self.store.enter("host", 1e9)
        new = NewInstance(id="order/42", definition=Definition("workflow", "order", 1))
        await self.store.create(new, host="host")
        loaded = await self.store.load("order/42")
        assert loaded is not None
        return Journal(loaded, self.store, trio.current_time)

    async def values(self) -> list[Any]:
        return [(entry.kind, entry.value) for entry in await self.store.journal("order/42")]


async def test_a_value_is_durable_before_anything_follows() -> None:
    kept = Kept()
    entry, cause = await run_step(await kept.journal(), Step("charge", "charge", lambda: 7))
    assert await kept.values() == [("step", {"value": 7})]
    assert (value_of(entry, "charge"), cause) == (7, None)


async def test_each_failed_attempt_is_recorded_with_the_time_of_the_next(
    autojump_clock: MockClock,
) -> None:
    kept = Kept()

    def fail() -> None:
        raise KeyError("total")

    policy = RetryPolicy(retries=1, delay=10)
    entry, cause = await run_step(await kept.journal(), Step("charge", "charge", fail, policy))
    error = {"type": "KeyError", "message": "KeyError: 'total'"}
    assert await kept.values() == [
        ("attempt", {"attempt": 1, "error": error, "next_at": 10.0}),
        ("step", {"error": error}),
    ]
    assert trio.current_time() == 10
    with pytest.raises(WorkflowStepError, match="KeyError: 'total'"):
        value_of(entry, "charge", cause)


async def test_what_cannot_be_stored_is_recorded_as_a_failure_and_not_tried_again() -> None:
    kept = Kept()
    calls: list[int] = []

    def make() -> Any:
        calls.append(1)
        return {"deep": object()}

    step = Step("make", "make", make, RetryPolicy(retries=5, delay=0))
    entry, cause = await run_step(await kept.journal(), step)
    assert isinstance(cause, NotStorableError)
    [(kind, value)] = await kept.values()
    assert kind == "step"
    assert value["error"]["type"] == "NotStorableError"
    assert "$" in value["error"]["message"]
    assert "deep" in value["error"]["message"]
    assert len(calls) == 1
    with pytest.raises(WorkflowStepError) as caught:
        value_of(entry, "make", cause)
    assert caught.value.cause is cause


@pytest.mark.parametrize("message", ["\0", "\ud800", "x" * 5_000_000, ""])
async def test_a_failure_can_be_recorded_whatever_it_says(message: str) -> None:
    kept = Kept()

    def fail() -> None:
        raise ValueError(message)

    entry, _ = await run_step(await kept.journal(), Step("a", "a", fail))
    [(_, value)] = await kept.values()
    assert value == entry.value
    assert len(value["error"]["message"]) < 11_000


async def test_a_body_knows_its_step_and_hands_that_on_to_its_tasks() -> None:
    infos: list[StepInfo] = []

    async def body() -> None:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def task() -> None:
                infos.append(current_step())

        infos.append(await trio.to_thread.run_sync(current_step))

    kept = Kept()
    await run_step(await kept.journal(), Step("a/b", "b", body))
    assert infos == [StepInfo("order/42", "a/b", 1, 1, "order/42/a/b")] * 2
    with pytest.raises(WorkflowStateError):
        current_step()


async def test_cancelled_in_its_body_it_is_not_recorded() -> None:
    kept = Kept()
    journal = await kept.journal()
    with trio.move_on_after(0.01) as scope:
        await run_step(journal, Step("a", "a", trio.sleep_forever))
    assert scope.cancelled_caught
    assert journal.working == 0
    assert await kept.values() == []


async def test_cancelled_while_it_is_recorded_it_is_recorded() -> None:
    kept = Kept()
    journal = await kept.journal()
    with trio.CancelScope() as scope:
        await run_step(journal, Step("a", "a", scope.cancel))
    assert await kept.values() == [("step", {"value": None})]


async def test_a_failure_of_its_clean_up_does_not_hide_the_cancellation(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def body() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async def in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(body)
            await trio.sleep_forever()

    for each in (body, in_a_nursery):
        kept = Kept()
        journal = await kept.journal()
        with caplog.at_level(logging.ERROR), trio.move_on_after(1) as scope:
            await run_step(journal, Step("a", "a", each, RetryPolicy(retries=3)))
        assert scope.cancelled_caught
        assert await kept.values() == []
        assert "while it was cancelled" in caplog.text
        caplog.clear()


async def test_nothing_begins_where_the_host_stops() -> None:
    kept = Kept()
    journal = await kept.journal()
    journal.suspend()
    calls: list[int] = []
    with pytest.raises(Suspended):
        await run_step(journal, Step("a", "a", lambda: calls.append(1)))
    assert calls == []


async def test_a_paused_instance_begins_no_attempt(autojump_clock: MockClock) -> None:
    kept = Kept()
    journal = await kept.journal()
    journal.pause()
    calls: list[float] = []
    async with trio.open_nursery() as nursery:
        step = Step("a", "a", lambda: calls.append(trio.current_time()))
        nursery.start_soon(run_step, journal, step)
        await trio.sleep(5)
        journal.resume()
    assert calls == [5]
