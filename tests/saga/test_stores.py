"""What is kept of a saga, where, and what a store that fails does to it."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lexigram_actors.errors import (
    ConfigurationError,
    LexigramError,
    NotStorableError,
    SagaVersionMismatchError,
    StoreCorruptedError,
    StoreError,
    WorkflowStateError,
)
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga import (
    CacheSagaStore,
    MemorySagaStore,
    SagaContext,
    SagaState,
    SagaStep,
    SagaStoreProtocol,
)
from lexigram_actors.storage import MemoryStore, SQLiteStore
from tests.saga.making import Book, Flaky, Made, Second, Switch, Third, answering, no, raising


class Crash(BaseException):
    """The process is gone."""


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Any]:
    if kind == "saga store":
        yield MemorySagaStore()
    elif kind == "memory":
        yield MemoryStore()
    elif kind == "cache of memory":
        yield MemoryStore().cache
    elif kind == "saga store over memory":
        yield CacheSagaStore(MemoryStore())
    else:
        async with SQLiteStore(folder / "sagas.db", inline=True) as store:
            yield store


KINDS = ["saga store", "memory", "cache of memory", "saga store over memory", "sqlite"]


# --- every store ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_saga_goes_on_after_a_crash_from_any_store(kind: str, tmp_path: Path) -> None:
    book = Book()
    action = Switch(raising(Crash()), answering(None))
    async with opened(kind, tmp_path) as store:

        def saga() -> Made:
            return Made(book.step("a"), book.step("b", action), book.step("c"), store=store)

        with pytest.raises(Crash):
            await saga().execute()
        found = saga()
        assert await found.execute() == Ok(None)
        assert book.log == ["a", "b", "b", "c"]
        assert found.results == {"a": "a!", "b": None, "c": "c!"}
        assert await saga().execute() == Ok(None)
    assert book.log == ["a", "b", "b", "c"]


@pytest.mark.parametrize("kind", KINDS)
async def test_undoing_goes_on_after_a_crash_from_any_store(kind: str, tmp_path: Path) -> None:
    book = Book()
    undo = Switch(raising(Crash()), answering(None))
    async with opened(kind, tmp_path) as store:

        def saga() -> Made:
            return Made(
                book.step("a"),
                book.step("b", undo=undo, idempotent=True),
                book.step("c"),
                book.step("d", no),
                store=store,
            )

        with pytest.raises(Crash):
            await saga().execute()
        error = (await saga().execute()).unwrap_err()
    assert book.log == ["a", "b", "c", "d", "-c", "-b", "-b", "-a"]
    assert (error.step_name, error.uncompensated) == ("d", [])


@pytest.mark.parametrize("kind", KINDS)
async def test_an_undo_that_must_not_run_twice_is_left_to_a_person_after_a_crash(
    kind: str, tmp_path: Path
) -> None:
    book = Book()
    async with opened(kind, tmp_path) as store:

        def saga() -> Made:
            undo = Switch(raising(Crash()), answering(None))
            return Made(book.step("a"), book.step("b", undo=undo), book.step("c", no), store=store)

        with pytest.raises(Crash):
            await saga().execute()
        error = (await saga().execute()).unwrap_err()
    assert book.log == ["a", "b", "c", "-b", "-a"]
    assert error.uncompensated == ["b"]


@pytest.mark.parametrize("kind", KINDS)
async def test_names_and_ids_may_hold_any_character(kind: str, tmp_path: Path) -> None:
    names = ["a/b", "a%2Fb", "#saga", "a#b", "Ärger ☃", "x" * 256, "/", "%", "a b", "\n", "..", "*"]
    book = Book()
    async with opened(kind, tmp_path) as store:
        for id in ["order/1", "order%2F1", "☃", "*", "x" * 2000, ""]:

            def saga() -> Made:
                steps = [book.step(name) for name in names]
                return Made(*steps, book.step("end", no), store=store, id=id)  # noqa: B023

            book.log.clear()
            error = (await saga().execute()).unwrap_err()
            assert error.uncompensated == []
            assert book.log == [*names, "end", *[f"-{name}" for name in reversed(names)]]
            found = saga()
            (await found.execute()).unwrap_err()
            assert found.completed == names
            assert all(map(found.was_compensated, names))


@pytest.mark.parametrize("kind", KINDS)
async def test_two_objects_of_one_saga_do_not_run_side_by_side(kind: str, tmp_path: Path) -> None:
    book = Book()
    async with opened(kind, tmp_path) as store:

        async def meddle() -> None:
            other = Made(book.step("a"), book.step("b"), store=store)
            for call in (other.execute, other.compensate, other.retry_compensation):
                with pytest.raises(WorkflowStateError, match="saga"):
                    await call()
            await Made(book.step("c"), store=store, id="other").execute()

        saga = Made(book.step("a"), book.step("b", meddle), store=store)
        assert await saga.execute() == Ok(None)
        assert book.log == ["a", "b", "c"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be_stored_fails_its_step_which_is_undone_with_the_rest(
    kind: str, tmp_path: Path
) -> None:
    book = Book()
    async with opened(kind, tmp_path) as store:

        def saga() -> Made:
            unstorable = book.step("b", answering({"lock": threading.Lock()}))
            return Made(book.step("a"), unstorable, book.step("c"), store=store)

        first = saga()
        error = (await first.execute()).unwrap_err()
        assert book.log == ["a", "b", "-b", "-a"]
        assert error.step_name == "b"
        assert isinstance(error.cause, NotStorableError)
        assert kind == "saga store" or "$" in str(error.cause)  # where it is
        assert error.uncompensated == []
        again = (await saga().execute()).unwrap_err()
        assert again.step_name == "b"
        assert book.log == ["a", "b", "-b", "-a"]


@pytest.mark.parametrize("kind", ["none", *KINDS])
@pytest.mark.parametrize("id", [None, 7, b"saga", ["saga"]])
async def test_an_id_that_is_no_string_is_refused(kind: str, id: Any, tmp_path: Path) -> None:
    book = Book()
    async with opened("memory" if kind == "none" else kind, tmp_path) as store:
        saga = Made(book.step("a"), store=None if kind == "none" else store, id=id)
        for call in (saga.execute, saga.compensate, saga.retry_compensation):
            with pytest.raises((TypeError, ConfigurationError), match="id"):
                await call()
    assert book.log == []


async def test_what_is_kept_is_a_copy() -> None:
    book, store = Book(), MemorySagaStore()
    value = {"deep": [1]}
    await Made(book.step("a", answering(value)), store=store).execute()
    value["deep"].append(2)
    saga = Made(book.step("a"), store=store)
    await saga.execute()
    assert saga.results == {"a": {"deep": [1]}}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_deleted_begins_anew(kind: str, tmp_path: Path) -> None:
    book = Book()
    async with opened(kind, tmp_path) as given:
        store = given if isinstance(given, SagaStoreProtocol) else CacheSagaStore(given)
        await Made(book.step("a"), store=store).execute()
        assert await store.load("saga") is not None
        await store.delete("saga")
        await store.delete("saga")
        assert await store.load("saga") is None
        await Made(book.step("a"), store=store).execute()
    assert book.log == ["a", "a"]


async def test_the_data_is_json_and_says_what_it_should() -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    saga = Made(
        book.step("a"),
        book.step("b", undo=no),
        book.step("c", no),
        store=store,
        timeout=60,
    )
    await saga.execute()
    for _, data in store.saves:
        assert json.loads(json.dumps(data)) == data
        assert data["version"] == 1
        assert data["deadline"] > 0
    last = store.saves[-1][1]
    assert last["done"] == [["a", "a!"], ["b", "b!"]]
    assert last["undone"] == ["a"]
    assert last["failure"]["step"] == "c"
    assert list(last["stuck"]) == ["b"]
    states = [state for state, _ in store.saves]
    running, compensating = SagaState.RUNNING, SagaState.COMPENSATING
    assert states[:4] == [running, running, running, compensating]
    assert states[-1] is SagaState.FAILED
    assert len(states) <= 1 + 2 + 1 + 2


# --- stores that fail --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("disk full"), StoreError("gone"), KeyError("k")])
@pytest.mark.parametrize("number", range(1, 8))
async def test_nothing_more_happens_once_something_cannot_be_recorded(
    number: int, error: Exception
) -> None:
    """Whatever failed to be recorded, the saga comes to its end when the store is mended."""
    book = Book()
    store = Flaky(MemorySagaStore(), {number: raising(error)})

    def saga() -> Made:
        steps = [book.step(name, idempotent=True) for name in "abc"]
        return Made(*steps, book.step("d", no), store=store)

    first = saga()
    with pytest.raises(StoreError) as caught:
        await first.execute()
    if not isinstance(error, StoreError):
        assert caught.value.__cause__ is error
    seen = list(book.log)
    expected = [["", "a", "b", "c"][:number][-1]] if number <= 4 else []
    assert len(seen) == [0, 1, 2, 3, 4, 5, 6][number - 1], (seen, expected)
    failure = (await saga().execute()).unwrap_err()
    assert failure.step_name == "d"
    assert failure.uncompensated == []
    assert book.log[-3:] == ["-c", "-b", "-a"] or number >= 6
    assert [entry for entry in book.log if entry == "-a"] == ["-a"]


@pytest.mark.parametrize("number", range(1, 8))
async def test_the_same_object_goes_on_as_well_when_the_store_is_mended(number: int) -> None:
    book = Book()
    store = Flaky(MemorySagaStore(), {number: raising(OSError("disk full"))})
    steps = [book.step(name) for name in "abc"]
    saga = Made(*steps, book.step("d", no), store=store)
    with pytest.raises(StoreError):
        await saga.execute()
    failure = (await saga.execute()).unwrap_err()
    assert failure.step_name == "d"
    assert {entry for entry in book.log if entry[0] == "-"} | {
        f"-{name}" for name in failure.uncompensated
    } == {"-a", "-b", "-c"}
    for name in "abc":
        assert book.log.count(f"-{name}") <= 1


@pytest.mark.parametrize("number", [*range(8), "load"])
async def test_a_saga_that_may_goes_on_whatever_the_store_does(number: Any) -> None:
    book = Book()
    bad = {} if number == "load" else {number: raising(OSError("disk full"))}
    store = Flaky(MemorySagaStore(), bad)
    if number == "load":
        store.on_load = raising(OSError("cannot be read"))
    steps = [book.step(name) for name in "abc"]
    saga = Made(*steps, book.step("d", no), store=store, on_store_error="continue")
    error = (await saga.execute()).unwrap_err()
    assert (error.step_name, error.uncompensated) == ("d", [])
    assert book.log == ["a", "b", "c", "d", "-c", "-b", "-a"]


@pytest.mark.parametrize("number", range(6))
async def test_a_saga_that_may_goes_on_completes_whatever_the_store_does(number: int) -> None:
    book = Book()
    store = Flaky(MemorySagaStore(), {number: raising(OSError("disk full"))})
    steps = [book.step(name) for name in "abc"]
    saga = Made(*steps, store=store, on_store_error="continue")
    assert await saga.execute() == Ok(None)
    assert book.log == ["a", "b", "c"]


@pytest.mark.parametrize("last_write", range(4))
async def test_what_went_on_unrecorded_is_not_done_again_by_the_same_object(
    last_write: int,
) -> None:
    book = Book()
    store = Flaky(MemorySagaStore())
    store.bad = {n: raising(OSError("disk full")) for n in range(last_write + 1, 9)}
    saga = Made(book.step("a"), book.step("b"), store=store, on_store_error="continue")
    assert await saga.execute() == Ok(None)
    assert await saga.execute() == Ok(None)
    assert book.log == ["a", "b"]


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_store_that_dies_leaves_a_saga_that_can_go_on(number: int) -> None:
    book = Book()
    store = Flaky(MemorySagaStore(), {number: raising(Crash())})
    with pytest.raises(Crash):
        await Made(book.step("a"), book.step("b"), store=store).execute()
    assert await Made(book.step("a"), book.step("b"), store=store).execute() == Ok(None)
    assert set(book.log) == {"a", "b"}


async def test_a_store_that_cannot_be_read_lets_nothing_happen() -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    store.on_load = raising(OSError("no such file"))
    saga = Made(book.step("a"), store=store)
    for call in (
        saga.execute,
        saga.compensate,
        saga.retry_compensation,
        lambda: saga.skip_compensation("a"),
    ):
        with pytest.raises(StoreError, match="no such file"):
            await call()
    assert book.log == []
    assert store.saves == []


OK: dict[str, Any] = {
    "version": 1,
    "epoch": 1,
    "deadline": None,
    "done": [],
    "undone": [],
    "in_doubt": [],
}
GARBAGE: list[Any] = [
    "text",
    7,
    [],
    (),
    (SagaState.RUNNING,),
    (SagaState.RUNNING, None),
    (SagaState.RUNNING, "data"),
    (SagaState.RUNNING, []),
    ("walking", OK),
    (None, OK),
    (SagaState.RUNNING, {**OK, "version": "1"}),
    (SagaState.RUNNING, {**OK, "version": None}),
    (SagaState.RUNNING, {**OK, "version": True}),
    (SagaState.RUNNING, {**OK, "epoch": "many"}),
    (SagaState.RUNNING, {**OK, "epoch": None}),
    (SagaState.RUNNING, {**OK, "epoch": float("inf")}),
    (SagaState.RUNNING, {**OK, "deadline": "soon"}),
    (SagaState.RUNNING, {**OK, "done": None}),
    (SagaState.RUNNING, {**OK, "done": 7}),
    (SagaState.RUNNING, {**OK, "done": [["a"]]}),
    (SagaState.RUNNING, {**OK, "done": [7]}),
    (SagaState.COMPENSATING, {**OK, "undone": 7}),
    (SagaState.COMPENSATING, {**OK, "undone": None}),
    (SagaState.FAILED, {**OK, "stuck": ["a"]}),
    (SagaState.FAILED, {**OK, "stuck": 7}),
    (SagaState.FAILED, {**OK, "stuck": {"a": "why"}}),
    (SagaState.FAILED, {**OK, "stuck": {"a": None}}),
    (SagaState.FAILED, {**OK, "stuck": {"a": {"reason": "r", "error": "text"}}}),
    (SagaState.FAILED, {**OK, "failure": "text"}),
    (SagaState.FAILED, {**OK, "failure": {}}),
    (SagaState.FAILED, {**OK, "failure": {"step": "a"}}),
    (SagaState.FAILED, {**OK, "failure": {"step": "a", "error": None}}),
    (SagaState.FAILED, {**OK, "failure": {"step": "a", "error": "text"}}),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
@pytest.mark.parametrize("how", ["execute", "compensate", "retry_compensation"])
async def test_a_record_that_makes_no_sense_is_refused_and_stays(how: str, garbage: Any) -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    store.on_load = answering(garbage)
    with pytest.raises(StoreError):
        await getattr(Made(book.step("a"), store=store), how)()
    assert book.log == []
    assert store.saves == []


SPARSE: list[Any] = [
    (SagaState.RUNNING, {}),
    (SagaState.RUNNING, {"version": 1}),
    ("running", {"done": [("a", "a!")]}),
]


@pytest.mark.parametrize("sparse", SPARSE, ids=repr)
async def test_what_a_record_leaves_out_has_not_happened(sparse: Any) -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    store.on_load = answering(sparse)
    saga = Made(book.step("a"), book.step("b"), store=store)
    assert await saga.execute() == Ok(None)
    assert saga.results == {"a": "a!", "b": "b!"}


async def test_a_failure_of_which_little_is_recorded_is_still_an_error() -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    store.on_load = answering((SagaState.FAILED, {"failure": {"step": "a", "error": {}}}))
    error = (await Made(book.step("a"), store=store).execute()).unwrap_err()
    assert error.step_name == "a"
    store.on_load = answering((SagaState.FAILED, {}))
    error = (await Made(book.step("a"), store=store).execute()).unwrap_err()
    assert isinstance(error, LexigramError)
    assert book.log == []


async def test_a_cache_that_answers_err_is_a_store_that_fails() -> None:
    class Cache:
        async def get(self, key: str) -> Any:
            return Err(OSError("no line"))

        set = delete = delete_many = delete_pattern = exists = get

    book = Book()
    with pytest.raises(StoreError, match="no line"):
        await Made(book.step("a"), store=Cache()).execute()
    assert book.log == []


async def test_a_cache_that_holds_something_else_is_refused() -> None:
    memory = MemoryStore()
    book = Book()
    store = CacheSagaStore(memory)
    await Made(book.step("a"), store=store).execute()
    [key] = [key for key in await keys_of(memory) if "saga" in key]
    for garbage in ("text", 7, [1], {"state": "walking"}, {"no": "state"}):
        (await memory.cache.set(key, garbage)).unwrap()
        with pytest.raises(StoreCorruptedError):
            await Made(book.step("a"), store=store).execute()
    assert book.log == ["a"]


async def keys_of(memory: MemoryStore) -> list[str]:
    tables: Any = memory.tables
    return [str(key) for table in vars_of(tables) for key in table]


def vars_of(tables: Any) -> list[dict[Any, Any]]:
    names = getattr(tables, "__slots__", None) or vars(tables)
    found = [getattr(tables, name) for name in names]
    return [each for each in found if isinstance(each, dict)]


# --- versions ----------------------------------------------------------------------------------


async def begun_by(kind: type[Made], book: Book, store: Any) -> None:
    with pytest.raises(Crash):
        await kind(book.step("a"), book.step("b", raising(Crash())), store=store).execute()


@pytest.mark.parametrize(("first", "then"), [(Made, Second), (Second, Made), (Second, Third)])
async def test_another_version_touches_nothing(first: type[Made], then: type[Made]) -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    await begun_by(first, book, store)
    writes, log = len(store.saves), list(book.log)
    saga = then(book.step("a"), book.step("b"), store=store)
    error: Any = (await saga.execute()).unwrap_err()
    assert isinstance(error, SagaVersionMismatchError)
    assert error.saga_id == "saga"
    assert (error.expected_version, error.stored_version) == (then.VERSION, first.VERSION)
    for call in (
        saga.compensate,
        saga.retry_compensation,
        lambda: saga.skip_compensation("a"),
    ):
        with pytest.raises(SagaVersionMismatchError):
            await call()
    assert (len(store.saves), book.log) == (writes, log)
    assert saga.state is SagaState.PENDING
    assert await first(book.step("a"), book.step("b"), store=store).execute() == Ok(None)


async def test_a_version_that_is_let_goes_on_and_the_record_is_then_its_own() -> None:
    book, store = Book(), Flaky(MemorySagaStore())
    await begun_by(Made, book, store)
    saga = Third(book.step("a"), book.step("b"), book.step("new"), store=store)
    assert await saga.execute() == Ok(None)
    assert book.log == ["a", "b", "b", "new"]
    assert store.saves[-1][1]["version"] == 3
    error = (await Made(book.step("a"), store=store).execute()).unwrap_err()
    assert isinstance(error, SagaVersionMismatchError)


async def test_a_class_may_say_its_version_by_a_method() -> None:
    class Computed(Made):
        def get_version(self) -> int:
            return 7

    book, store = Book(), Flaky(MemorySagaStore())
    assert await Computed(book.step("a"), store=store).execute() == Ok(None)
    assert store.saves[-1][1]["version"] == 7
    assert await Computed(book.step("a"), store=store).execute() == Ok(None)


async def test_a_step_that_the_class_has_no_more_is_left_to_a_person() -> None:
    book, store = Book(), MemorySagaStore()
    await begun_by(Made, book, store)
    saga = Made(book.step("b", no), store=store)
    error = (await saga.execute()).unwrap_err()
    assert error.uncompensated == ["a"]
    with pytest.raises(LexigramError):
        await saga.retry_compensation()
    await saga.skip_compensation("a")
    assert saga.uncompensated == []


# --- two runs ------------------------------------------------------------------------------------


def test_a_saga_goes_on_in_another_run_of_trio() -> None:
    book, store = Book(), MemorySagaStore()
    action = Switch(raising(Crash()), answering(None))
    saga = Made(book.step("a"), book.step("b", action), store=store)
    with pytest.raises(Crash):
        trio.run(saga.execute)
    assert trio.run(saga.execute) == Ok(None)
    assert book.log == ["a", "b", "b"]


def test_one_object_without_a_store_goes_on_after_an_execution_that_died() -> None:
    book = Book()
    action = Switch(raising(Crash()), answering(None))
    saga = Made(book.step("a"), book.step("b", action))
    with pytest.raises(Crash):
        trio.run(saga.execute)
    assert trio.run(saga.execute) == Ok(None)
    assert book.log == ["a", "b", "b"]


def test_runs_in_two_threads_do_not_meet() -> None:
    store = MemorySagaStore()

    async def one(book: Book, meanwhile: Callable[[], Any] | None) -> Any:
        saga = Made(book.step("a"), book.step("b", meanwhile), store=store, id=str(id(book)))
        return await saga.execute()

    async def both() -> None:
        inner, outer = Book(), Book()
        assert await one(outer, lambda: trio.to_thread.run_sync(trio.run, one, inner, None)) == Ok(
            None
        )
        assert inner.log == outer.log == ["a", "b"]

    trio.run(both)


# --- a step that keeps the context ---------------------------------------------------------------


async def test_a_context_that_is_returned_cannot_be_stored_or_is() -> None:
    """Nothing in between: whatever the store says, the saga has an end and an outcome."""
    store = CacheSagaStore(MemoryStore())

    def keep(context: SagaContext) -> Any:
        return context

    saga = Made(SagaStep("a", keep, max_retries=1), store=store)
    result = await saga.execute()
    assert saga.is_completed()
    assert result.is_ok() or isinstance(result.unwrap_err().cause, NotStorableError)
