"""The way back: in which order, how often, what stays, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.errors import (
    SagaError,
    SagaStepError,
    WorkflowCompensationError,
    WorkflowStateError,
    WorkflowTimeoutError,
)
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga import MemorySagaStore, SagaState, SagaStep
from tests.saga.making import Book, Flaky, Made, Switch, answering, forever, no, raising, sleeping


@pytest.fixture(params=[False, True], ids=["unrecorded", "stored"])
def store(request: pytest.FixtureRequest) -> MemorySagaStore | None:
    return MemorySagaStore() if request.param else None


async def test_what_is_done_is_undone_the_last_first(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b"), book.step("c"), book.step("d", no), store=store)
    error = (await saga.execute()).unwrap_err()
    assert book.log == ["a", "b", "c", "d", "-c", "-b", "-a"]
    assert (error.step_name, error.uncompensated, error.compensation_errors) == ("d", [], {})
    assert (saga.state, saga.uncompensated) == (SagaState.FAILED, [])
    assert saga.is_completed()
    assert [saga.was_compensated(name) for name in "abcd"] == [True, True, True, False]


async def test_nothing_is_undone_where_all_is_done(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b"), store=store)
    assert saga.state is SagaState.PENDING
    assert not saga.is_completed()
    assert await saga.execute() == Ok(None)
    assert book.log == ["a", "b"]
    assert saga.results == {"a": "a!", "b": "b!"}
    assert not saga.was_compensated("a")
    assert saga.is_completed()


async def test_a_step_without_an_undo_is_passed_over(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.bare("b"), book.step("c"), book.step("d", no), store=store)
    error = (await saga.execute()).unwrap_err()
    assert book.log == ["a", "b", "c", "d", "-c", "-a"]
    assert error.uncompensated == []
    assert not saga.was_compensated("b")


async def test_an_empty_saga_is_done(store: Any) -> None:
    saga = Made(store=store)
    assert await saga.execute() == Ok(None)
    assert saga.state is SagaState.COMPLETED
    assert await saga.execute() == Ok(None)


@pytest.mark.parametrize(
    ("fail", "kind"),
    [(no, OSError), (raising(KeyError("x")), KeyError), (forever, WorkflowTimeoutError)],
)
@pytest.mark.parametrize("idempotent", [False, True])
async def test_an_undo_that_fails_stops_no_other(
    store: Any,
    fail: Callable[[], Any],
    kind: type[Exception],
    idempotent: bool,
    autojump_clock: MockClock,
) -> None:
    book = Book()
    saga = Made(
        book.step("a"),
        book.step("b", undo=fail, idempotent=idempotent, compensation_timeout=9),
        book.step("c"),
        book.step("d", no),
        store=store,
    )
    error = (await saga.execute()).unwrap_err()
    times = 3 if idempotent else 1
    assert book.log == ["a", "b", "c", "d", "-c", *["-b"] * times, "-a"]
    assert error.uncompensated == ["b"] == saga.uncompensated
    assert list(error.compensation_errors) == ["b"]
    assert isinstance(error.compensation_errors["b"], kind)
    assert isinstance(error.cause, OSError)
    assert saga.state is SagaState.FAILED
    assert saga.was_compensated("a")
    assert not saga.was_compensated("b")
    late = 9 * times if fail is forever else 0
    assert trio.current_time() == pytest.approx(late + times - 1, abs=0.1)


async def test_an_undo_that_is_idempotent_is_tried_as_often_as_it_says(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    step = book.step(
        "a",
        undo=Switch(no, raising(OSError()), no, answering(None)),
        idempotent=True,
        compensation_attempts=5,
        retry_delay=3,
    )
    error = (await Made(step, book.step("b", no), store=store).execute()).unwrap_err()
    assert book.log == ["a", "b", "-a", "-a", "-a", "-a"]
    assert (error.uncompensated, error.compensation_errors) == ([], {})
    assert trio.current_time() == 9


async def test_an_undo_that_is_not_idempotent_is_tried_once(store: Any) -> None:
    book = Book()
    step = book.step("a", undo=no, compensation_attempts=5)
    (await Made(step, book.step("b", no), store=store).execute()).unwrap_err()
    assert book.log == ["a", "b", "-a"]


@pytest.mark.parametrize("error", ["no", None, 7])
async def test_an_undo_may_fail_with_anything(store: Any, error: Any) -> None:
    book = Book()
    saga = Made(book.step("a", undo=answering(Err(error))), book.step("b", no), store=store)
    found = (await saga.execute()).unwrap_err()
    assert isinstance(found.compensation_errors["a"], SagaStepError)
    assert found.compensation_errors["a"].cause == error
    assert found.uncompensated == ["a"]


async def test_undos_that_all_fail_are_all_told(store: Any) -> None:
    book = Book()
    steps = [book.step(name, undo=no) for name in "abc"]
    error = (await Made(*steps, book.step("d", no), store=store).execute()).unwrap_err()
    assert book.log[4:] == ["-c", "-b", "-a"]
    assert set(error.uncompensated) == {"a", "b", "c"} == set(error.compensation_errors)
    for name in "abc":
        assert repr(name) in str(error)


# --- after it has ended ------------------------------------------------------------------------


async def test_a_saga_that_has_ended_runs_nothing_again(store: Any) -> None:
    book = Book()
    done = Made(book.step("a"), store=store)
    failed = Made(book.step("b"), book.step("c", no), store=store, id="other")
    await done.execute()
    error = (await failed.execute()).unwrap_err()
    log = list(book.log)
    assert await done.execute() == Ok(None)
    again = (await failed.execute()).unwrap_err()
    assert (again.step_name, str(again)) == (error.step_name, str(error))
    assert book.log == log


async def test_a_new_object_tells_how_a_stored_saga_ended() -> None:
    book, store = Book(), MemorySagaStore()

    def saga() -> Made:
        return Made(
            book.step("a", undo=no), book.step("b"), book.step("c", raising(KeyError("k"))),
            store=store,
        )  # fmt: skip

    first = (await saga().execute()).unwrap_err()
    log = list(book.log)
    found = saga()
    error = (await found.execute()).unwrap_err()
    assert book.log == log
    assert isinstance(error, SagaError)
    assert (error.step_name, error.uncompensated) == ("c", ["a"])
    assert list(error.compensation_errors) == ["a"]
    assert isinstance(error.compensation_errors["a"], Exception)
    assert "no" in str(error.compensation_errors["a"])
    assert isinstance(error.cause, Exception)
    assert str(first) == str(error)
    assert (found.state, found.uncompensated) == (SagaState.FAILED, ["a"])
    assert found.was_compensated("b")
    assert found.results == {"a": "a!", "b": "b!"}


# --- what a person decides -----------------------------------------------------------------------


class Stuck:
    """A saga of which b could not be undone."""

    def __init__(self, stored: bool, undo: Callable[[], Any] | None = None) -> None:
        self.book = Book()
        self.store = Flaky(MemorySagaStore()) if stored else None
        self.undo = undo or Switch(no, answering(None))

    def saga(self) -> Made:
        book = self.book
        return Made(
            book.step("a"),
            book.step("b", undo=self.undo),
            book.step("c", no),
            store=self.store,
        )

    async def ended(self, *, anew: bool) -> Made:
        saga = self.saga()
        (await saga.execute()).unwrap_err()
        assert self.book.log == ["a", "b", "c", "-b", "-a"]
        self.book.log.clear()
        return self.saga() if anew else saga


FORMS = [(False, False), (True, False), (True, True)]
forms = pytest.mark.parametrize(
    ("stored", "anew"), FORMS, ids=["unrecorded", "stored", "in a new object"]
)


@forms
async def test_a_person_can_have_it_tried_again(stored: bool, anew: bool) -> None:
    stuck = Stuck(stored)
    saga = await stuck.ended(anew=anew)
    await saga.retry_compensation()
    assert stuck.book.log == ["-b"]
    assert (saga.uncompensated, saga.compensation_errors) == ([], {})
    assert saga.was_compensated("b")
    assert saga.state is SagaState.FAILED
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.uncompensated) == ("c", [])
    await saga.retry_compensation()  # there is nothing to try
    assert stuck.book.log == ["-b"]
    if stored:
        assert (await stuck.saga().execute()).unwrap_err().uncompensated == []


@forms
async def test_what_fails_again_is_still_there(stored: bool, anew: bool) -> None:
    stuck = Stuck(stored, Switch(no, raising(KeyError("still")), answering(None)))
    saga = await stuck.ended(anew=anew)
    with pytest.raises(WorkflowCompensationError, match="'b'") as caught:
        await saga.retry_compensation()
    assert caught.value.details["uncompensated"] == ["b"]
    assert saga.uncompensated == ["b"]
    assert isinstance(saga.compensation_errors["b"], KeyError)
    assert saga.state is SagaState.FAILED
    await saga.retry_compensation()
    assert stuck.book.log == ["-b", "-b"]
    assert saga.uncompensated == []


@forms
async def test_a_person_can_give_up_on_it(stored: bool, anew: bool) -> None:
    stuck = Stuck(stored)
    saga = await stuck.ended(anew=anew)
    await saga.skip_compensation("b")
    assert (saga.uncompensated, saga.compensation_errors) == ([], {})
    assert not saga.was_compensated("b")
    await saga.retry_compensation()
    await saga.compensate()
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.uncompensated) == ("c", [])
    assert stuck.book.log == []
    if stored:
        other = stuck.saga()
        assert (await other.execute()).unwrap_err().uncompensated == []
        await other.retry_compensation()
        assert stuck.book.log == []


@forms
async def test_a_decision_to_skip_is_durable_at_once(stored: bool, anew: bool) -> None:
    stuck = Stuck(stored)
    saga = await stuck.ended(anew=anew)
    await saga.skip_compensation("b")
    if stuck.store is not None:
        assert stuck.store.saves[-1][1]["skipped"] == ["b"]
        assert stuck.store.saves[-1][1]["stuck"] == {}


@pytest.mark.parametrize("name", ["a", "c", "d", "", "B"])
@forms
async def test_what_is_not_stuck_cannot_be_skipped(stored: bool, anew: bool, name: str) -> None:
    stuck = Stuck(stored)
    saga = await stuck.ended(anew=anew)
    with pytest.raises(WorkflowStateError) as caught:
        await saga.skip_compensation(name)
    assert caught.value.details["uncompensated"] == ["b"]
    assert saga.uncompensated == ["b"]


@forms
async def test_a_step_is_skipped_once(stored: bool, anew: bool) -> None:
    saga = await Stuck(stored).ended(anew=anew)
    await saga.skip_compensation("b")
    with pytest.raises(WorkflowStateError):
        await saga.skip_compensation("b")


async def test_nothing_waits_for_a_decision_before_a_saga_has_begun(store: Any) -> None:
    saga = Made(Book().step("a"), store=store)
    with pytest.raises(WorkflowStateError):
        await saga.skip_compensation("a")
    await saga.retry_compensation()
    await saga.compensate()
    assert saga.state is SagaState.PENDING


@forms
async def test_a_step_that_is_marked_is_not_stuck_any_more(stored: bool, anew: bool) -> None:
    stuck = Stuck(stored)
    saga = await stuck.ended(anew=anew)
    saga.mark_compensated("b")
    assert saga.was_compensated("b")
    await saga.retry_compensation()
    assert (await saga.execute()).unwrap_err().uncompensated == []
    assert (saga.uncompensated, saga.compensation_errors) == ([], {})
    assert stuck.book.log == []


@pytest.mark.parametrize("how", ["execute", "retry_compensation", "compensate"])
@pytest.mark.parametrize("anew", [False, True])
async def test_a_mark_is_recorded_with_the_next_write(how: str, anew: bool) -> None:
    stuck = Stuck(True)
    saga = await stuck.ended(anew=anew)
    saga.mark_compensated("b")
    await getattr(saga, how)()
    other = stuck.saga()
    assert (await other.execute()).unwrap_err().uncompensated == []
    assert other.was_compensated("b")
    await other.retry_compensation()
    assert stuck.book.log == []


async def test_a_step_that_was_marked_is_not_undone(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b"), store=store)
    await saga.execute()
    saga.mark_compensated("b")
    await saga.compensate()
    assert book.log == ["a", "b", "-a"]


async def test_a_step_can_be_marked_by_the_one_that_fails_after_it(store: Any) -> None:
    book = Book()

    def undo_and_fail() -> Any:
        saga.mark_compensated("a")
        return no()

    saga = Made(book.step("z"), book.step("a"), book.step("b", undo_and_fail), store=store)
    (await saga.execute()).unwrap_err()
    assert book.log == ["z", "a", "b", "-z"]
    assert saga.was_compensated("a")


async def test_a_mark_from_before_a_step_was_done_says_nothing_of_it(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b", no), store=store)
    saga.mark_compensated("a")
    error = (await saga.execute()).unwrap_err()
    assert (book.log, error.uncompensated) == (["a", "b", "-a"], [])


# --- compensate() ------------------------------------------------------------------------------


async def test_a_completed_saga_can_be_undone_by_hand(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b"), store=store)
    await saga.execute()
    await saga.compensate()
    assert book.log == ["a", "b", "-b", "-a"]
    assert saga.state is SagaState.FAILED
    await saga.compensate()
    assert book.log == ["a", "b", "-b", "-a"]
    assert (await saga.execute()).is_err()
    assert book.log == ["a", "b", "-b", "-a"]


async def test_what_is_stored_as_completed_can_be_undone_in_a_new_object() -> None:
    book, store = Book(), MemorySagaStore()
    await Made(book.step("a"), book.step("b"), store=store).execute()
    saga = Made(book.step("a"), book.step("b"), store=store)
    await saga.compensate()
    assert book.log == ["a", "b", "-b", "-a"]
    assert saga.was_compensated("a")


async def test_undoing_by_hand_says_what_could_not_be_undone(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b", undo=no), book.step("c"), store=store)
    await saga.execute()
    with pytest.raises(WorkflowCompensationError, match="'b'") as caught:
        await saga.compensate()
    assert caught.value.details["uncompensated"] == ["b"]
    assert book.log[3:] == ["-c", "-b", "-a"]
    assert saga.uncompensated == ["b"]
    assert isinstance(saga.compensation_errors["b"], OSError)


async def test_undoing_by_hand_leaves_what_was_given_up(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("b", undo=no), book.step("c", no), store=store)
    await saga.execute()
    await saga.skip_compensation("b")
    book.log.clear()
    await saga.compensate()
    assert book.log == []


async def test_a_new_object_undoes_what_an_execution_left_that_died() -> None:
    book, store = Book(), MemorySagaStore()

    class Crash(BaseException):
        pass

    def saga(action: Callable[[], Any] | None) -> Made:
        return Made(book.step("a"), book.step("b", action, idempotent=True), store=store)

    with pytest.raises(Crash):
        await saga(raising(Crash())).execute()
    found = saga(None)
    await found.compensate()
    assert book.log == ["a", "b", "-b", "-a"]  # b was in flight: it may have happened
    assert found.state is SagaState.FAILED


# --- a pivot -------------------------------------------------------------------------------------


async def test_before_the_pivot_all_is_undone(store: Any) -> None:
    book = Book()
    steps = [book.step("a"), book.step("pivot", no, pivot=True), book.step("c")]
    (await Made(*steps, store=store).execute()).unwrap_err()
    assert book.log == ["a", "pivot", "-a"]


async def test_after_the_pivot_nothing_is_undone_and_it_goes_on_there(store: Any) -> None:
    book = Book()
    saga = Made(
        book.step("a"),
        book.step("pivot", pivot=True),
        book.step("c"),
        book.step("d", Switch(no, raising(OSError("late")), answering(4))),
        store=store,
    )
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.uncompensated) == ("d", [])
    assert saga.state is SagaState.FAILED
    assert (await saga.execute()).unwrap_err().step_name == "d"
    assert await saga.execute() == Ok(None)
    assert book.log == ["a", "pivot", "c", "d", "d", "d"]
    assert str(saga.state) == "completed"
    assert saga.results["d"] == 4


async def test_a_new_object_goes_on_after_the_pivot_as_well() -> None:
    book, store = Book(), MemorySagaStore()

    def saga(action: Callable[[], Any] | None) -> Made:
        return Made(
            book.step("a"), book.step("pivot", pivot=True), book.step("c", action), store=store
        )

    (await saga(no).execute()).unwrap_err()
    assert await saga(None).execute() == Ok(None)
    assert book.log == ["a", "pivot", "c", "c"]


async def test_past_the_pivot_undoing_by_hand_is_refused(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("pivot", pivot=True), book.step("c", no), store=store)
    await saga.execute()
    with pytest.raises(WorkflowStateError, match="pivot"):
        await saga.compensate()
    assert book.log == ["a", "pivot", "c"]


async def test_a_pivot_that_is_the_last_step_ends_as_any(store: Any) -> None:
    book = Book()
    saga = Made(book.step("a"), book.step("pivot", pivot=True), store=store)
    assert await saga.execute() == Ok(None)


# --- misuse ------------------------------------------------------------------------------------


async def test_a_saga_that_is_executed_is_not_executed_nor_changed_meanwhile(store: Any) -> None:
    book = Book()
    refused: list[str] = []

    async def meddle() -> None:
        for call in (saga.execute, saga.compensate, saga.retry_compensation):
            with pytest.raises(WorkflowStateError):
                await call()
            refused.append(call.__name__)
        with pytest.raises(WorkflowStateError):
            await saga.skip_compensation("a")
        with pytest.raises(WorkflowStateError):
            saga.add_step(SagaStep("z", no))
        with pytest.raises(WorkflowStateError):
            saga.add_parallel(SagaStep("z", no))

    saga = Made(book.step("a"), book.step("b", meddle), book.step("c"), store=store)
    assert await saga.execute() == Ok(None)
    assert len(refused) == 3
    assert book.log == ["a", "b", "c"]


async def test_two_tasks_cannot_execute_one_saga(store: Any, autojump_clock: MockClock) -> None:
    book = Book()
    saga = Made(book.step("a", sleeping(5)), store=store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(saga.execute)
        await trio.sleep(1)
        with pytest.raises(WorkflowStateError, match=r"executed|under way"):
            await saga.execute()
    assert book.log == ["a"]
    assert saga.state is SagaState.COMPLETED
