"""Cancellations and time limits: what was cut off is in doubt, what is done is undone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.errors import (
    StoreError,
    WorkflowCancelledError,
    WorkflowCompensationError,
    WorkflowTimeoutError,
)
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga import CacheSagaStore, MemorySagaStore, SagaState, SagaStep
from lexigram_actors.storage import MemoryStore
from tests.saga.making import Book, Flaky, Made, Switch, answering, forever, no, raising, sleeping


class Slow:
    """A saga store that takes a second for each call: a real one would take a moment."""

    def __init__(self) -> None:
        self.inner = MemorySagaStore()

    async def save(self, *args: Any) -> None:
        await trio.sleep(1)
        await self.inner.save(*args)

    async def load(self, saga_id: str) -> Any:
        await trio.sleep(1)
        return await self.inner.load(saga_id)

    async def delete(self, saga_id: str) -> None:
        await self.inner.delete(saga_id)


@pytest.fixture(params=["unrecorded", "stored", "cache"])
def store(request: pytest.FixtureRequest) -> Any:
    kinds: dict[str, Any] = {
        "unrecorded": lambda: None,
        "stored": MemorySagaStore,
        "cache": lambda: CacheSagaStore(MemoryStore()),
    }
    return kinds[request.param]()


async def cut(saga: Made, after: float = 5) -> None:
    """Cancel it after so many seconds; it lets the cancellation pass."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_later, scope, after)
            await saga.execute()
            nursery.cancel_scope.cancel()
    assert scope.cancelled_caught


async def cancel_later(scope: trio.CancelScope, after: float) -> None:
    await trio.sleep(after)
    scope.cancel()


# --- cancelled -----------------------------------------------------------------------------------


@pytest.mark.parametrize("idempotent", [False, True])
async def test_cancelled_in_a_step_it_undoes_what_is_done_and_lets_it_pass(
    store: Any, idempotent: bool, autojump_clock: MockClock
) -> None:
    book = Book()
    saga = Made(
        book.step("a", undo=sleeping(3)),
        book.step("b"),
        book.step("c", forever, idempotent=idempotent, undo=sleeping(4)),
        book.step("d"),
        store=store,
    )
    await cut(saga)
    in_doubt = ["-c"] if idempotent else []
    assert book.log == ["a", "b", "c", *in_doubt, "-b", "-a"]
    assert saga.uncompensated == ([] if idempotent else ["c"])
    assert saga.state is SagaState.FAILED
    assert trio.current_time() == 5 + 3 + (4 if idempotent else 0)  # undos are shielded
    error = (await saga.execute()).unwrap_err()
    assert error.step_name == "c"
    assert isinstance(error.cause, WorkflowCancelledError)
    assert error.uncompensated == saga.uncompensated


async def test_a_step_in_doubt_that_nothing_undoes_is_left_to_a_person(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    saga = Made(book.step("a"), book.bare("b", forever, idempotent=True), store=store)
    await cut(saga)
    assert book.log == ["a", "b", "-a"]
    assert saga.uncompensated == ["b"]
    with pytest.raises(WorkflowCompensationError, match="'b'"):
        await saga.retry_compensation()
    saga.mark_compensated("b")
    await saga.retry_compensation()
    assert saga.uncompensated == []


async def test_a_person_may_have_a_step_in_doubt_undone(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b", forever), store=store)
    await cut(saga)
    assert saga.uncompensated == ["b"]
    await saga.retry_compensation()
    assert book.log == ["a", "b", "-a", "-b"]
    assert saga.uncompensated == []


async def test_cancelled_between_two_attempts_the_step_is_not_in_doubt(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    failing = book.step("b", no, max_retries=3, retry_delay=100)
    saga = Made(book.step("a"), failing, store=store)
    await cut(saga)
    assert book.log == ["a", "b", "-a"]
    assert saga.uncompensated == []


async def test_a_cancellation_while_it_undoes_is_let_pass_afterwards(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    saga = Made(
        book.step("a"),
        book.step("b", undo=sleeping(10)),
        book.step("c", no),
        store=store,
    )
    with trio.move_on_after(5):
        error = (await saga.execute()).unwrap_err()
        assert error.step_name == "c"
    assert book.log == ["a", "b", "c", "-b", "-a"]
    assert trio.current_time() == 10
    assert saga.state is SagaState.FAILED


async def test_an_undo_has_its_own_time_limit_though_it_is_shielded(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    saga = Made(
        book.step("a", undo=forever),
        book.step("b", forever, undo=forever, idempotent=True, compensation_attempts=2),
        store=store,
    )
    await cut(saga)
    assert book.log == ["a", "b", "-b", "-b", "-a"]
    assert trio.current_time() == pytest.approx(5 + 30 + 1 + 30 + 30, abs=0.1)
    assert set(saga.uncompensated) == {"a", "b"}
    for error in saga.compensation_errors.values():
        assert isinstance(error, WorkflowTimeoutError)


@pytest.mark.parametrize("after", [0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
async def test_a_cancellation_in_a_write_leaves_nothing_unsaid(
    after: float, autojump_clock: MockClock
) -> None:
    book, store = Book(), Slow()
    steps = [book.step("a"), book.step("b"), book.step("c", sleeping(1))]
    with trio.move_on_after(after):
        await Made(*steps, store=store).execute()
    stored = await store.inner.load("saga")
    done = [entry for entry in book.log if entry[0] != "-"]
    assert len(set(book.log)) == len(book.log)
    undone = {entry[1:] for entry in book.log if entry[0] == "-"}
    if stored is None:
        assert book.log == []
        return
    state, data = stored
    if state is SagaState.COMPLETED:  # all was done, and that stands
        assert book.log == ["a", "b", "c"]
        assert after > 5
        return
    assert state in (SagaState.FAILED, SagaState.RUNNING)
    if state is SagaState.RUNNING:  # it was cancelled before anything began
        assert book.log == []
        return
    assert undone | set(data["stuck"]) == set(done)
    assert set(data["undone"]) == undone
    error = (await Made(*steps, store=store).execute()).unwrap_err()
    assert isinstance(error.cause, Exception)


async def test_a_cancellation_in_the_last_write_undoes_all_or_nothing(
    autojump_clock: MockClock,
) -> None:
    book, store = Book(), Slow()

    def saga() -> Made:
        return Made(book.step("a"), book.step("b"), store=store)

    with trio.move_on_after(3.5):  # the load, the first write, a's; in b's
        await saga().execute()
    found = saga()
    result = await found.execute()
    if result.is_ok():
        assert book.log == ["a", "b"]
    else:
        assert book.log == ["a", "b", "-b", "-a"]
        assert found.uncompensated == []


async def test_cancelled_before_it_begins_nothing_happens(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), store=store)
    with trio.CancelScope() as scope:
        scope.cancel()
        await saga.execute()
    assert scope.cancelled_caught
    assert book.log == []
    assert saga.uncompensated == []


async def test_an_error_on_the_way_out_of_a_cancellation_does_not_hide_it(
    store: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    book = Book()

    async def clumsy() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise KeyError("on the way out") from None  # noqa: ASYNC104

    saga = Made(book.step("a"), book.step("b", clumsy, max_retries=3), store=store)
    await cut(saga)
    assert book.log == ["a", "b", "-a"]
    assert saga.uncompensated == ["b"]


async def test_an_action_that_swallows_its_cancellation_has_happened_and_is_undone(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()

    async def deaf() -> str:
        with trio.CancelScope() as scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:  # noqa: ASYNC103
                scope.cancel()
        return "done all the same"

    saga = Made(book.step("a"), book.step("b", deaf), book.step("c"), store=store)
    with trio.move_on_after(5) as limit:
        await saga.execute()
        await trio.lowlevel.checkpoint()
    assert limit.cancelled_caught
    begun = [entry for entry in book.log if entry[0] != "-"]
    undone = [entry[1:] for entry in book.log if entry[0] == "-"]
    if saga.state is SagaState.FAILED:
        assert [*reversed(undone)] == [name for name in begun if name not in saga.uncompensated]
        assert "b" not in saga.uncompensated
    else:
        assert (saga.state, undone) == (SagaState.COMPLETED, [])


async def test_once_it_is_cancelled_no_step_begins(store: Any, autojump_clock: MockClock) -> None:
    """Also where the one before had just ended when the cancellation came."""
    book, ready = Book(), trio.Event()
    saga = Made(book.step("a"), book.step("b", ready.wait), book.step("c", forever), store=store)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def both_at_once() -> None:
                await trio.sleep(5)
                ready.set()
                scope.cancel()

            await saga.execute()
    assert scope.cancelled_caught
    assert book.log == ["a", "b", "-b", "-a"]
    assert saga.uncompensated == []


async def test_once_it_is_cancelled_no_attempt_begins(
    store: Any, autojump_clock: MockClock
) -> None:
    book, ready = Book(), trio.Event()

    async def fail() -> Any:
        await ready.wait()
        return no()

    step = book.step("b", fail, max_retries=3, retry_delay=0)
    saga = Made(book.step("a"), step, store=store)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def both_at_once() -> None:
                await trio.sleep(5)
                ready.set()
                scope.cancel()

            await saga.execute()
    assert scope.cancelled_caught
    assert book.log == ["a", "b", "-a"]
    assert saga.uncompensated == []


async def test_a_cancellation_of_a_second_try_is_let_pass_when_all_was_tried(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    steps = [book.step(name, undo=Switch(no, sleeping(10))) for name in "ab"]
    saga = Made(*steps, book.step("c", no), store=store)
    (await saga.execute()).unwrap_err()
    book.log.clear()
    with trio.move_on_after(5) as limit:
        await saga.retry_compensation()
        await trio.lowlevel.checkpoint()
    assert limit.cancelled_caught
    assert book.log == ["-b", "-a"]
    assert saga.uncompensated == []


async def test_a_nursery_of_an_action_is_cancelled_as_a_whole(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    ended: list[str] = []

    async def child(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def family() -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(child, "one")
            async with trio.open_nursery() as inner:
                inner.start_soon(child, "two")
                inner.start_soon(child, "three")

    saga = Made(book.step("a"), book.step("b", family, idempotent=True), store=store)
    await cut(saga)
    assert sorted(ended) == ["one", "three", "two"]
    assert book.log == ["a", "b", "-b", "-a"]


async def test_what_a_nursery_of_an_action_raises_is_the_cause(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()

    async def fail() -> None:
        await trio.sleep(1)
        raise OSError("disk full")

    async def family() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)

    saga = Made(book.step("a"), book.step("b", family), store=store)
    error = (await saga.execute()).unwrap_err()
    assert isinstance(error.cause.cause, OSError)
    assert book.log == ["a", "b", "-a"]
    assert saga.uncompensated == []


async def test_a_scope_that_an_action_cancels_itself_is_its_own_affair(store: Any) -> None:
    async def own() -> str:
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()
        return "fine"

    saga = Made(Book().step("a", own), store=store)
    assert await saga.execute() == Ok(None)
    assert saga.results == {"a": "fine"}


# --- time limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_step_whose_time_is_up_is_in_doubt(
    store: Any, idempotent: bool, autojump_clock: MockClock
) -> None:
    book = Book()
    late = book.step("b", forever, timeout=7, idempotent=idempotent)
    saga = Made(book.step("a"), late, book.step("c"), store=store)
    error = (await saga.execute()).unwrap_err()
    assert isinstance(error.cause, WorkflowTimeoutError)
    assert (error.step_name, error.cause.step_name) == ("b", "b")
    assert book.log == ["a", "b", *(["-b"] if idempotent else []), "-a"]
    assert error.uncompensated == ([] if idempotent else ["b"])
    assert trio.current_time() == 7


async def test_a_time_out_before_a_plain_failure_leaves_no_doubt(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    step = book.step("b", Switch(forever, no), timeout=7, max_retries=2, retry_delay=1)
    error = (await Made(book.step("a"), step, store=store).execute()).unwrap_err()
    assert isinstance(error.cause, OSError)
    assert book.log == ["a", "b", "b", "-a"]
    assert error.uncompensated == []


@pytest.mark.parametrize("idempotent", [False, True])
async def test_when_the_time_of_the_saga_is_over_all_is_undone(
    store: Any, idempotent: bool, autojump_clock: MockClock
) -> None:
    book = Book()
    saga = Made(
        book.step("a", sleeping(3)),
        book.step("b", forever, max_retries=3, idempotent=idempotent),
        store=store,
        timeout=10,
    )
    error = (await saga.execute()).unwrap_err()
    assert isinstance(error.cause, WorkflowTimeoutError)
    assert error.step_name == "b"
    assert book.log == ["a", "b", *(["-b"] if idempotent else []), "-a"]
    assert trio.current_time() == pytest.approx(10, abs=0.1)


async def test_the_time_of_the_saga_counts_waits_and_not_undos(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    saga = Made(
        book.step("a", undo=sleeping(20)),
        book.step("b", no, max_retries=3, retry_delay=8),
        store=store,
        timeout=10,
    )
    error = (await saga.execute()).unwrap_err()
    assert isinstance(error.cause, WorkflowTimeoutError)
    assert book.log == ["a", "b", "b", "-a"]
    assert error.uncompensated == []
    assert trio.current_time() == pytest.approx(30, abs=0.1)


async def test_in_time_nothing_is_undone(store: Any, autojump_clock: MockClock) -> None:
    book = Book()
    steps = [book.step(name, sleeping(3)) for name in "abc"]
    assert await Made(*steps, store=store, timeout=10).execute() == Ok(None)


async def test_the_shorter_of_two_limits_counts(store: Any, autojump_clock: MockClock) -> None:
    book = Book()
    step = book.step("a", forever, timeout=20, idempotent=True)
    error = (await Made(step, store=store, timeout=10).execute()).unwrap_err()
    assert isinstance(error.cause, WorkflowTimeoutError)
    assert trio.current_time() == pytest.approx(10, abs=0.1)


async def test_an_action_that_does_not_let_itself_be_stopped_is_awaited(
    store: Any, autojump_clock: MockClock
) -> None:
    """What comes of it is either a result or a time-out: never both, and never nothing."""
    book = Book()

    async def shielded() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(20)
        return "late"

    saga = Made(book.step("a", shielded, timeout=5, idempotent=True), store=store)
    result = await saga.execute()
    assert trio.current_time() == 20
    assert book.log == (["a"] if result.is_ok() else ["a", "-a"])


# --- in_doubt="probe" --------------------------------------------------------------------------


Answer = tuple[str, list[str], list[str]]

YES: Answer = ("yes", ["-b"], [])
NOT: Answer = ("not", [], [])
PARKED: Answer = ("parked", [], ["b"])


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (answering(True), YES),
        (answering(Ok(True)), YES),
        (answering(False), NOT),
        (answering(Ok(False)), NOT),
        (answering(None), PARKED),
        (answering(Ok(None)), PARKED),
        (answering(1), PARKED),
        (answering("yes"), PARKED),
        (no, PARKED),
        (answering(Err(True)), PARKED),
        (raising(OSError("no line")), PARKED),
        (forever, PARKED),
    ],
)
@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("how", ["cancelled", "late", "overdue"])
async def test_a_probe_says_whether_it_happened(
    store: Any,
    probe: Callable[[], Any],
    expected: Answer,
    idempotent: bool,
    how: str,
    autojump_clock: MockClock,
) -> None:
    book = Book()
    asked = book.noting("?b", probe, None)
    timeout = 7.0 if how == "late" else None
    step = book.step("b", forever, probe=asked, idempotent=idempotent, timeout=timeout)
    overdue: dict[str, Any] = {"timeout": 7} if how == "overdue" else {}
    saga = Made(book.step("a"), step, store=store, in_doubt="probe", **overdue)
    if how == "cancelled":
        await cut(saga)
    else:
        assert isinstance((await saga.execute()).unwrap_err().cause, WorkflowTimeoutError)
    _, undone, left = expected
    assert book.log == ["a", "b", "?b", *undone, "-a"]
    assert saga.uncompensated == left
    waited = 30 if probe is forever else 0
    assert trio.current_time() == pytest.approx((5 if how == "cancelled" else 7) + waited, abs=0.1)


async def test_a_probe_is_told_which_step_it_is_asked_about(
    store: Any, autojump_clock: MockClock
) -> None:
    told: list[Any] = []
    step = SagaStep(
        "b",
        forever,
        no,
        timeout=1,
        max_retries=1,
        probe=lambda context: told.append(context) or False,  # type: ignore[func-returns-value]
    )
    saga = Made(Book().step("a"), step, store=store, in_doubt="probe")
    assert (await saga.execute()).unwrap_err().uncompensated == []
    [context] = told
    assert (context.saga_id, context.step_name, context.results) == ("saga", "b", {"a": "a!"})


async def test_a_probe_is_asked_only_where_the_saga_says_so(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    step = book.step("b", forever, timeout=1, probe=book.noting("?b", None, True))
    saga = Made(book.step("a"), step, store=store)
    assert (await saga.execute()).unwrap_err().uncompensated == ["b"]
    assert book.log == ["a", "b", "-a"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_without_a_probe_it_is_as_if_the_saga_did_not_ask(
    store: Any, idempotent: bool, autojump_clock: MockClock
) -> None:
    book = Book()
    step = book.step("b", forever, timeout=1, idempotent=idempotent)
    saga = Made(book.step("a"), step, store=store, in_doubt="probe")
    await saga.execute()
    assert book.log == ["a", "b", *(["-b"] if idempotent else []), "-a"]


async def test_a_step_that_failed_is_in_no_doubt(store: Any) -> None:
    book = Book()
    step = book.step("b", raising(OSError()), idempotent=True, probe=book.noting("?b", None, True))
    (await Made(book.step("a"), step, store=store, in_doubt="probe").execute()).unwrap_err()
    assert book.log == ["a", "b", "-a"]


# --- side by side --------------------------------------------------------------------------------


async def test_a_group_runs_side_by_side(store: Any, autojump_clock: MockClock) -> None:
    book = Book()
    group = [book.step("b", sleeping(3)), book.step("c", sleeping(2)), book.step("d", sleeping(1))]
    saga = Made(book.step("a"), group, book.step("e"), store=store)
    assert await saga.execute() == Ok(None)
    assert trio.current_time() == 3
    assert book.log[0] == "a"
    assert sorted(book.log[1:4]) == ["b", "c", "d"]
    assert saga.completed == ["a", "d", "c", "b", "e"]


async def test_when_one_fails_those_under_way_end_and_are_undone(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    group = [
        book.step("b", sleeping(9)),
        book.step("c", sleeping(2, no)),
        book.step("d", sleeping(1)),
        book.step("e", sleeping(4)),
    ]
    saga = Made(book.step("a"), group, book.step("f"), store=store)
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.uncompensated) == ("c", [])
    assert trio.current_time() == 9
    assert book.log[5:] == ["-b", "-e", "-d", "-a"]


async def test_when_one_fails_no_new_attempt_of_the_others_begins(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    group = [
        book.step("b", sleeping(1, no), max_retries=10, retry_delay=5),
        book.step("c", sleeping(3, no)),
        book.step("d", sleeping(4, no), max_retries=10, retry_delay=5),
    ]
    error = (await Made(book.step("a"), group, store=store).execute()).unwrap_err()
    assert error.step_name == "c"
    assert sorted(book.log[1:4]) == ["b", "c", "d"]
    assert book.log[4:] == ["-a"]
    assert error.uncompensated == []
    assert trio.current_time() == 4


async def test_when_all_fail_the_first_is_the_one(store: Any, autojump_clock: MockClock) -> None:
    book = Book()
    group = [book.step(name, sleeping(4 - i, no)) for i, name in enumerate("bcd")]
    error = (await Made(book.step("a"), group, store=store).execute()).unwrap_err()
    assert error.step_name == "d"
    assert book.log[4:] == ["-a"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_group_that_is_cancelled_is_in_doubt_where_it_was_under_way(
    store: Any, idempotent: bool, autojump_clock: MockClock
) -> None:
    book = Book()
    group = [
        book.step("b", sleeping(1), idempotent=idempotent),
        book.step("c", forever, idempotent=idempotent),
        book.step("d", forever, idempotent=idempotent),
    ]
    saga = Made(book.step("a"), group, store=store)
    await cut(saga)
    if idempotent:
        assert sorted(book.log[4:6]) == ["-c", "-d"]
        assert book.log[6:] == ["-b", "-a"]
        assert saga.uncompensated == []
    else:
        assert book.log[4:] == ["-b", "-a"]
        assert sorted(saga.uncompensated) == ["c", "d"]
    (await saga.execute()).unwrap_err()


async def test_the_time_of_the_saga_ends_a_group_and_names_one_that_was_under_way(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    group = [book.step("b", sleeping(1)), book.step("c", forever), book.step("d", sleeping(2))]
    saga = Made(book.step("a"), group, store=store, timeout=5)
    error = (await saga.execute()).unwrap_err()
    assert error.step_name == "c"
    assert isinstance(error.cause, WorkflowTimeoutError)
    assert book.log[4:] == ["-d", "-b", "-a"]
    assert error.uncompensated == ["c"]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
async def test_a_store_that_fails_in_a_group_lets_those_under_way_end(
    number: int, autojump_clock: MockClock
) -> None:
    book = Book()
    store = Flaky(MemorySagaStore(), {number: raising(OSError("disk full"))})
    ended: list[str] = []

    def ending(name: str, seconds: float) -> Callable[[], Any]:
        return sleeping(seconds, lambda: ended.append(name))

    def saga() -> Made:
        group = [book.step(name, ending(name, i)) for i, name in enumerate("bcd", start=1)]
        return Made(book.step("a"), group, store=store)

    with pytest.raises(StoreError):
        await saga().execute()
    begun = [name for name in book.log if name in "bcd"]
    assert sorted(begun) == sorted(ended)
    assert not [entry for entry in book.log if entry[0] == "-"]
    assert await saga().execute() == Ok(None)
    assert set(book.log) >= set("abcd")


async def test_the_results_of_the_others_stay_when_one_cannot_be_stored(
    autojump_clock: MockClock,
) -> None:
    class SlowCache(Slow):
        def __init__(self) -> None:
            self.inner: Any = CacheSagaStore(MemoryStore())

    book = Book()
    group = [
        book.step("b", sleeping(0.1, answering("b!"))),  # it is written while the others end
        book.step("c", sleeping(0.2, answering("c!"))),
        book.step("d", sleeping(0.3, answering(trio.Lock()))),
    ]
    saga = Made(group, store=SlowCache())
    error = (await saga.execute()).unwrap_err()
    assert error.step_name == "d"
    assert sorted(book.log[3:]) == ["-b", "-c", "-d"]
    assert saga.results == {"b": "b!", "c": "c!", "d": None}


async def test_sync_actions_do_not_keep_others_from_running(store: Any) -> None:
    steps = [SagaStep(f"s{i}", answering(i)) for i in range(1000)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await Made(*steps, store=store).execute()
        nursery.cancel_scope.cancel()
    assert turns >= 5


async def test_it_is_logged_that_an_undo_failed(
    store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    book = Book()
    with caplog.at_level(logging.ERROR):
        await Made(book.step("a", undo=no), book.step("b", no), store=store).execute()
    assert any("'a'" in record.getMessage() for record in caplog.records)
