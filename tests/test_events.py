"""Event bus and hooks."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.events import (
    EventBus,
    HookRegistry,
    WorkflowCompletedEvent,
    WorkflowCompletedHook,
    WorkflowFailedEvent,
    WorkflowStartedEvent,
    WorkflowStartedHook,
    WorkflowStateTransitionedHook,
)

STARTED = WorkflowStartedEvent("o-1", "order")
FAILED = WorkflowFailedEvent("o-1", "order", "no stock")


class Special(int):
    """An event of a derived class."""


async def taken(subscription: Any, count: int) -> list[Any]:
    return [await anext(subscription) for _ in range(count)]


# --- payloads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        STARTED,
        FAILED,
        WorkflowCompletedEvent("o-1", "order"),
        WorkflowStartedHook("o-1", "order"),
        WorkflowCompletedHook("o-1", "order", succeeded=True),
        WorkflowStateTransitionedHook("o-1", "draft", "paid"),
    ],
)
def test_payloads_are_values(payload: Any) -> None:
    assert payload.workflow_id == "o-1"
    assert hash(payload) == hash(payload)
    with pytest.raises(AttributeError):
        payload.workflow_id = "o-2"


# --- bus -----------------------------------------------------------------------------------------


def test_a_bus_is_made_and_published_to_outside_trio() -> None:
    bus = EventBus()
    bus.publish(STARTED)
    bus.close()


async def test_a_subscriber_gets_what_is_published_while_it_listens() -> None:
    bus = EventBus()
    bus.publish("before")
    async with bus.subscribe() as events:
        bus.publish(1)
        bus.publish(2)
        assert events.queued == 2
        assert await taken(events, 2) == [1, 2]
        assert events.queued == 0
    bus.publish("after")
    assert events.queued == 0


async def test_nothing_is_received_before_entry() -> None:
    bus = EventBus()
    subscription = bus.subscribe()
    bus.publish(1)
    async with subscription as events:
        bus.publish(2)
        assert await anext(events) == 2


async def test_types_are_matched_by_isinstance() -> None:
    bus = EventBus()
    async with bus.subscribe(int) as ints, bus.subscribe(Special, str) as specials:
        for event in (1, Special(2), "x", 3.0):
            bus.publish(event)
        assert await taken(ints, 2) == [1, Special(2)]
        assert await taken(specials, 2) == [Special(2), "x"]
        assert (ints.queued, specials.queued) == (0, 0)


async def test_publishing_wakes_a_waiting_subscriber() -> None:
    bus = EventBus()
    got: list[Any] = []

    async def listen() -> None:
        async with bus.subscribe(int) as events:
            async for event in events:
                got.append(event)
                if event == 3:
                    break

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        for event in (1, 2, 3):
            bus.publish(event)
            await wait_all_tasks_blocked()
    assert got == [1, 2, 3]
    assert bus.subscribers == 0


async def test_a_full_subscriber_loses_its_oldest_and_counts_them() -> None:
    bus = EventBus()
    async with bus.subscribe(bound=2) as slow, bus.subscribe() as fast:
        for event in range(5):
            bus.publish(event)
        assert (slow.dropped, fast.dropped) == (3, 0)
        assert await taken(slow, 2) == [3, 4]
        assert await taken(fast, 5) == [0, 1, 2, 3, 4]


async def test_each_step_is_a_checkpoint_and_cancelled_loses_no_event() -> None:
    bus = EventBus()
    async with bus.subscribe() as events:
        bus.publish(1)
        with assert_checkpoints():
            await anext(events)
        bus.publish(2)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        assert await anext(events) == 2


async def test_a_cancelled_wait_leaves_the_next_event_for_others(
    autojump_clock: MockClock,
) -> None:
    bus = EventBus()
    async with bus.subscribe() as events:
        with trio.move_on_after(1):
            await anext(events)
        bus.publish(1)
        assert await anext(events) == 1


async def test_several_tasks_may_share_a_subscription() -> None:
    bus = EventBus()
    got: list[Any] = []

    async def listen(events: Any) -> None:
        async for event in events:
            got.append(event)

    async with bus.subscribe() as events, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(listen, events)
        await wait_all_tasks_blocked()
        for event in range(10):
            bus.publish(event)
        await wait_all_tasks_blocked()
        bus.close()
    assert sorted(got) == list(range(10))


async def test_closing_the_bus_ends_iteration_after_what_had_arrived() -> None:
    bus = EventBus()
    async with bus.subscribe() as events:
        bus.publish(1)
        bus.close()
        bus.publish(2)
        assert [event async for event in events] == [1]
        assert [event async for event in events] == []


async def test_closing_the_bus_wakes_those_who_wait() -> None:
    bus = EventBus()

    async def listen(events: Any) -> None:
        assert [event async for event in events] == []

    async with bus.subscribe() as subscription, trio.open_nursery() as nursery:
        nursery.start_soon(listen, subscription)
        await wait_all_tasks_blocked()
        bus.close()
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_a_subscription_to_a_closed_bus_ends_at_once() -> None:
    bus = EventBus()
    bus.close()
    async with bus.subscribe() as events:
        assert [event async for event in events] == []
    assert bus.subscribers == 0


async def test_leaving_wakes_another_task_that_iterates() -> None:
    bus = EventBus()
    subscription = bus.subscribe()
    seen: list[Any] = []

    async def listen(events: Any) -> None:
        seen.extend([event async for event in events])
        seen.append("end")

    async with trio.open_nursery() as nursery:
        async with subscription:
            nursery.start_soon(listen, subscription)
            await wait_all_tasks_blocked()
    assert seen == ["end"]


async def test_a_subscription_is_entered_once_and_before_iterating() -> None:
    subscription = EventBus().subscribe()
    with pytest.raises(RuntimeError, match="async with"):
        await anext(subscription)
    async with subscription:
        pass
    with pytest.raises(RuntimeError, match="used once"):
        async with subscription:
            pytest.fail("unreachable")


async def test_subscribers_come_and_go_while_publishing() -> None:
    bus = EventBus()

    async def visit(number: int) -> None:
        async with bus.subscribe(int) as events:
            assert await anext(events) >= 0
            async with bus.subscribe(int, bound=number + 1) as inner:
                assert await anext(inner) >= 0

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(visit, number)
        event = 0
        while nursery.child_tasks:
            bus.publish(event)
            event += 1
            await trio.lowlevel.checkpoint()
    assert bus.subscribers == 0


class Leaver(type):
    """A class that unsubscribes its subscriber while being asked about an event."""

    bus: Any
    subscriber: Any

    def __instancecheck__(cls, instance: object) -> bool:
        cls.bus._remove(cls.subscriber)
        return True


class Left(metaclass=Leaver):
    pass


async def test_leaving_during_a_publish_does_not_disturb_the_others() -> None:
    bus = EventBus()
    async with bus.subscribe(Left) as first, bus.subscribe() as second:
        Left.bus, Left.subscriber = bus, first
        bus.publish(1)
        assert bus.subscribers == 1
        assert second.queued == 1


async def test_a_subscriber_that_is_gone_is_not_kept() -> None:
    bus = EventBus()

    class Event:
        pass

    async with bus.subscribe() as events:
        event = Event()
        bus.publish(event)
        gone = weakref.ref(event)
        del event
    gc.collect()
    assert gone() is None
    assert events.queued == 0


@pytest.mark.parametrize("bound", [0, -1, True, 1.5, None])
def test_a_bound_is_a_positive_number(bound: Any) -> None:
    with pytest.raises(ConfigurationError, match="bound"):
        EventBus().subscribe(bound=bound)


def test_what_is_no_class_cannot_be_subscribed_to() -> None:
    with pytest.raises(TypeError, match="takes classes"):
        EventBus().subscribe(STARTED)  # type: ignore[call-overload]


# --- hooks ---------------------------------------------------------------------------------------


async def test_hooks_run_in_order_sync_or_async() -> None:
    hooks, calls = HookRegistry(), list[Any]()

    async def slow(payload: Any) -> None:
        await trio.lowlevel.checkpoint()
        calls.append(("slow", payload))

    hooks.add(WorkflowStartedEvent, slow)
    hooks.add(WorkflowStartedEvent, lambda payload: calls.append(("plain", payload)))
    await hooks.emit(STARTED)
    assert calls == [("slow", STARTED), ("plain", STARTED)]


async def test_hooks_match_by_isinstance() -> None:
    hooks, calls = HookRegistry(), list[Any]()
    hooks.add(int, calls.append)
    hooks.add(object, calls.append)
    await hooks.emit(Special(1))
    await hooks.emit("x")
    assert calls == [Special(1), Special(1), "x"]


async def test_emitting_without_hooks_does_nothing() -> None:
    await HookRegistry().emit(STARTED)


@pytest.mark.parametrize("sync", [True, False])
async def test_a_failing_hook_is_logged_and_the_others_run(
    sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    hooks, calls = HookRegistry(), list[Any]()

    def plain(payload: object) -> None:
        raise ValueError("broken hook")

    async def waiting(payload: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("broken hook")

    hooks.add(object, plain if sync else waiting)
    hooks.add(object, calls.append)
    with caplog.at_level(logging.ERROR, "lexigram_actors.events"):
        await hooks.emit(STARTED)
    assert calls == [STARTED]
    (record,) = caplog.records
    assert "WorkflowStartedEvent" in record.getMessage()
    assert "broken hook" in str(record.exc_info)


async def test_cancellation_passes_through_and_later_hooks_do_not_run(
    autojump_clock: MockClock,
) -> None:
    hooks, calls = HookRegistry(), list[Any]()

    async def hang(payload: object) -> None:
        await trio.sleep_forever()

    hooks.add(object, hang)
    hooks.add(object, calls.append)
    with trio.move_on_after(1) as scope:
        await hooks.emit(STARTED)
    assert scope.cancelled_caught
    assert calls == []


async def test_a_removed_hook_is_not_called_any_more() -> None:
    hooks, calls = HookRegistry(), list[Any]()
    hooks.add(object, calls.append)
    hooks.add(object, calls.append)
    await hooks.emit(1)
    hooks.remove(object, calls.append)
    await hooks.emit(2)
    assert calls == [1, 1, 2]


def test_removing_what_is_not_there_is_refused() -> None:
    hooks = HookRegistry()
    hooks.add(int, print)
    with pytest.raises(ValueError, match="no hook for str"):
        hooks.remove(str, print)


async def test_hooks_changed_during_an_emit_count_from_the_next() -> None:
    hooks, calls = HookRegistry(), list[Any]()

    def change(payload: object) -> None:
        hooks.remove(object, change)
        hooks.add(object, calls.append)

    hooks.add(object, change)
    await hooks.emit(1)
    assert calls == []
    await hooks.emit(2)
    assert calls == [2]
