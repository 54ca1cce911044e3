"""What goes wrong around a saga at awkward moments."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors import Operator
from lexigram_actors.errors import NotStorableError, StoreError
from lexigram_actors.result import Err
from lexigram_actors.saga import MemorySagaStore, SagaContext, SagaState, SagaStep
from lexigram_actors.storage.instances import InstanceStatus
from lexigram_actors.storage.memory import MemoryStore
from tests.host.hosts import Home
from tests.saga.making import Book, Flaky, Made, Switch, answering, forever, no, sleeping


class Plain:
    """Keeps what is plain data, and takes a second for it."""

    def __init__(self) -> None:
        self.inner = MemorySagaStore()
        self.saves: list[tuple[SagaState, list[str]]] = []

    async def save(self, saga_id: str, state: SagaState, data: dict[str, Any]) -> None:
        if any(type(result) is object for _, result in data["done"]):
            raise NotStorableError("it is no plain data")
        await trio.sleep(1)
        self.saves.append((state, [name for name, _ in data["done"]]))
        await self.inner.save(saga_id, state, data)

    async def load(self, saga_id: str) -> tuple[SagaState, dict[str, Any]] | None:
        return await self.inner.load(saga_id)

    async def delete(self, saga_id: str) -> None:
        await self.inner.delete(saga_id)


@pytest.fixture(params=["unrecorded", "recorded"])
def store(request: pytest.FixtureRequest) -> Any:
    return None if request.param == "unrecorded" else MemorySagaStore()


# --- undos that take too long ---------------------------------------------------------------------


async def too_long() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(31)


async def test_an_undo_that_is_late_takes_no_time_from_the_next(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    steps = [book.step("a", undo=sleeping(20)), book.step("b", undo=too_long), book.step("c", no)]
    saga = Made(*steps, store=store)
    await saga.execute()
    assert (book.log[3:], saga.uncompensated) == (["-b", "-a"], [])


async def test_an_undo_that_is_late_and_ends_well_is_not_reported(
    store: Any, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lexigram_actors.saga.quick.BATCH_SECONDS", -1.0)  # a checkpoint after each
    book = Book()
    steps = [book.step("a"), book.step("b", undo=too_long, idempotent=True), book.step("c", no)]
    saga = Made(*steps, store=store)
    await saga.execute()
    assert (book.log[3:], saga.uncompensated) == (["-b", "-a"], [])
    assert not saga.compensation_errors


@pytest.mark.parametrize("seconds", [1e-9, 30.0])
async def test_undos_that_take_no_time_are_never_late(
    seconds: float, store: Any, autojump_clock: MockClock
) -> None:
    autojump_clock.jump(1e9)  # where a tiny limit is lost in rounding
    book = Book()
    steps = [book.step(name, compensation_timeout=seconds) for name in "abc"]
    saga = Made(*steps, book.step("d", no), store=store)
    await saga.execute()
    assert (book.log[4:], saga.uncompensated) == (["-c", "-b", "-a"], [])


# --- results that cannot be stored ----------------------------------------------------------------


async def test_a_group_is_not_recorded_as_completed_where_one_has_failed(
    autojump_clock: MockClock,
) -> None:
    book, store = Book(), Plain()
    saga = Made([book.step("a", object), book.step("b", sleeping(10))], store=store)
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, type(error.cause)) == ("a", NotStorableError)
    assert SagaState.COMPLETED not in [state for state, _ in store.saves]
    assert set(book.log) == {"a", "b", "-a", "-b"}


async def test_a_step_without_a_stored_form_never_looks_as_if_it_were_done(
    autojump_clock: MockClock,
) -> None:
    book, store = Book(), Plain()
    await Made(book.step("a"), book.step("b", object), store=store).execute()
    running = [names for state, names in store.saves if state is SagaState.RUNNING]
    assert running == [[], ["a"]]
    assert book.log == ["a", "b", "-b", "-a"]


async def test_a_result_that_is_spoilt_later_hinders_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = Book()
    spoilt: list[object] = []
    seen: list[Any] = []

    def undo(context: SagaContext) -> None:
        seen.append(context.results["a"])

    first = SagaStep("a", lambda: spoilt, undo)
    steps = [first, book.step("b", lambda: spoilt.append(object())), book.step("c", no)]
    saga = Made(*steps, store=MemoryStore())
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.uncompensated) == ("c", [])
    assert seen == [spoilt]
    assert "the result of 'a' was changed" in caplog.text


async def test_a_result_that_is_spoilt_hides_no_cancellation(autojump_clock: MockClock) -> None:
    book = Book()
    spoilt: list[object] = []

    async def spoils() -> None:
        spoilt.append(object())
        await trio.sleep_forever()

    saga = Made(book.step("a", lambda: spoilt), book.step("b", spoils), store=MemoryStore())
    with trio.move_on_after(1) as scope:
        await saga.execute()
    assert scope.cancelled_caught
    assert book.log == ["a", "b", "-a"]


# --- stores that hang -----------------------------------------------------------------------------


async def test_a_store_that_hangs_does_not_hold_up_a_cancellation_for_ever(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    book = Book()
    store = Flaky(MemorySagaStore(), {3: forever, 4: forever})
    saga = Made(book.step("a"), book.step("b", forever), store=store)
    with trio.move_on_after(1) as scope:
        await saga.execute()
    assert scope.cancelled_caught
    assert trio.current_time() < 100
    assert book.log == ["a", "b"]
    assert "is not undone" in caplog.text


async def test_a_store_that_hangs_stops_what_is_undone(autojump_clock: MockClock) -> None:
    book = Book()
    store = Flaky(MemorySagaStore(), {3: forever, 4: forever})
    saga = Made(book.step("a"), book.step("b", no), store=store)
    with pytest.raises(StoreError, match="took longer"):
        await saga.execute()
    assert book.log == ["a", "b"]
    await saga.execute()
    assert book.log == ["a", "b", "b", "-a"]


# --- pivots ---------------------------------------------------------------------------------------


async def test_a_pivot_in_doubt_is_asked_for_before_anything_is_undone(
    store: Any, autojump_clock: MockClock
) -> None:
    book = Book()
    asked: list[str] = []

    def happened() -> bool:
        asked.append("p")
        return True

    pivot = book.step("p", forever, pivot=True, probe=happened)
    beside = book.step("q", Switch(forever, answering(1)), idempotent=True)
    saga = Made(book.step("a"), [pivot, beside], in_doubt="probe", store=store)
    with trio.move_on_after(1):
        await saga.execute()
    assert (asked, saga.state) == (["p"], SagaState.FAILED)
    assert not [entry for entry in book.log if entry.startswith("-")]
    assert (await saga.execute()).is_ok()


# --- by hand --------------------------------------------------------------------------------------


async def test_why_it_was_undone_by_hand_is_told_afterwards(store: Any) -> None:
    saga = Made(Book().step("a"), store=store)
    await saga.execute()
    await saga.compensate()
    assert "compensate() was called" in str((await saga.execute()).unwrap_err())


# --- in a host ------------------------------------------------------------------------------------


def hosted(*steps: Any, name: str = "order") -> Any:
    return Made.as_runnable(lambda _: Made(*steps), name=name)


async def test_a_host_that_closes_does_not_wait_for_another_attempt_of_an_undo(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    undo = Switch(no, answering(None))
    first = book.step("a", undo=undo, idempotent=True, retry_delay=3600.0)
    runnable, home = hosted(first, book.step("b", no)), Home()
    async with home.host(runnable) as host:
        await host.start(runnable, id="one")
        await trio.sleep(1)
    assert trio.current_time() < 60
    assert book.log == ["a", "b", "-a"]
    async with home.host(runnable) as host:
        handle = await host.find("one")
        await handle.result()
        assert handle.status.value is InstanceStatus.FAILED
    assert book.log == ["a", "b", "-a", "-a"]


async def test_each_attempt_of_a_run_inside_is_a_run_of_its_own(autojump_clock: MockClock) -> None:
    book = Book()
    inner = hosted(book.step("a"), book.step("b", Switch(no, answering("b!"))), name="inner")
    outer = hosted(SagaStep("x", inner, max_retries=3, retry_delay=0.0))
    async with Home().host(outer) as host:
        handle = await host.start(outer, id="one")
        result = await handle.result()
    assert result.unwrap() == {"x": {"a": "a!", "b": "b!"}}
    assert book.log == ["a", "b", "-a", "a", "b"]


async def test_a_run_that_undoes_is_no_part_of_the_one_that_did(autojump_clock: MockClock) -> None:
    book = Book()
    does = hosted(book.step("a"), name="does")
    undoes = hosted(book.step("b", Switch(no, no, answering(1)), max_retries=1), name="undoes")

    async def run_undo() -> None:
        raise AssertionError("it is run, and not called")

    run_undo.__runnable__ = undoes  # type: ignore[attr-defined]
    outer = hosted(SagaStep("x", does, run_undo), book.step("y", lambda: Err("no")))
    async with Home().host(outer) as host:
        handle = await host.start(outer, id="one")
        await handle.result()
        assert handle.status.value is InstanceStatus.COMPENSATION_STUCK
        assert book.log == ["a", "y", "b"]
        for _ in range(2):
            await handle.retry()
            handle = await host.find("one")
            await handle.result()
        assert handle.status.value is InstanceStatus.FAILED
    assert book.log == ["a", "y", "b", "b", "b"]


async def test_a_saga_inside_is_undone_though_the_end_was_asked_for_while_no_host_ran(
    autojump_clock: MockClock,
) -> None:
    book, home = Book(), Home()
    inner = hosted(book.step("a"), book.step("b", forever, idempotent=True), name="inner")
    outer = hosted(book.step("w"), SagaStep("x", inner))
    async with home.host(outer) as host:
        await host.start(outer, id="one")
        await trio.sleep(1)
    async with home.store() as store:
        await Operator(store).cancel("one", grace=5)
    async with home.host(outer) as host:
        handle = await host.find("one")
        await handle.result()
        assert handle.status.value is InstanceStatus.CANCELLED
    assert book.log == ["w", "a", "b", "-b", "-a", "-w"]
