"""Checkpoints: what is recorded, when, at what cost, and what a resume does with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lexigram_actors.bulk import BulkCheckpoint, BulkOperation, BulkOperationState
from lexigram_actors.errors import (
    BulkOperationError,
    ConfigurationError,
    NotStorableError,
    StoreError,
)
from lexigram_actors.storage import open_store
from tests.bulk.helpers import (
    Counted,
    FakeStore,
    Outcome,
    Watched,
    WorldIsDead,
    all_items,
    collect,
    collect_until,
    operation,
    same,
    slowly,
)

ITEMS = list(range(20))


def recording(store: FakeStore, processor: Any = same, **settings: Any) -> BulkOperation[Any, Any]:
    defaults = {"batch_size": 2, "max_concurrency": 1, "checkpoint_store": store}
    return operation(processor, **{**defaults, **settings})


async def run_for(
    bulk: BulkOperation[Any, Any], batches: int, items: Any = None, name: str = "job"
) -> None:
    """Take so many results, ask for the next, and leave."""
    async with bulk.execute(ITEMS if items is None else items, operation_id=name) as run:
        for _ in range(batches + 1):
            await anext(run)


async def recorded(bulk: BulkOperation[Any, Any], name: str = "job") -> set[int]:
    checkpoint = await bulk.checkpoint(name)
    return set() if checkpoint is None else set(checkpoint.batches)


# --- what is recorded ----------------------------------------------------------------------


async def test_a_batch_is_recorded_once_the_next_is_asked_for() -> None:
    store = FakeStore()
    bulk = recording(store)
    async with bulk.execute(ITEMS, operation_id="job") as run:
        for taken in range(5):
            await anext(run)
            assert await recorded(bulk) == set(range(taken))
    assert await recorded(bulk) == {0, 1, 2, 3}


async def test_a_resume_does_only_what_is_not_recorded() -> None:
    store = FakeStore()
    await run_for(recording(store), 4)
    processor = Watched()
    bulk = recording(store, processor)
    results = await collect(bulk.execute(ITEMS, operation_id="job"))
    assert all_items(results) == ITEMS[8:]
    assert processor.calls == [ITEMS[start : start + 2] for start in range(8, 20, 2)]
    assert bulk.state is BulkOperationState.COMPLETED
    assert (bulk.metrics.skipped_items, bulk.metrics.processed_items) == (8, 12)
    assert bulk.metrics.total_items == 20


async def test_a_run_in_which_all_succeeded_clears_its_checkpoint() -> None:
    store = FakeStore()
    bulk = recording(store)
    await collect(bulk.execute(ITEMS, operation_id="job"))
    assert store.data == {}
    assert await bulk.checkpoint("job") is None


async def test_failed_batches_are_not_recorded_and_keep_the_checkpoint() -> None:
    store = FakeStore()
    bulk = recording(store, Watched(bad=[5]))
    await collect(bulk.execute(ITEMS, operation_id="job"))
    assert await recorded(bulk) == set(range(10)) - {2}
    processor = Watched()
    results = await collect(recording(store, processor).execute(ITEMS, operation_id="job"))
    assert processor.calls == [[4, 5]]
    assert all_items(results) == [4, 5]
    assert store.data == {}


async def test_a_batch_with_isolated_bad_items_is_not_recorded() -> None:
    store = FakeStore()
    bulk = recording(store, Watched(bad=[5]), on_poison="bisect")
    await collect(bulk.execute(ITEMS, operation_id="job"))
    assert 2 not in await recorded(bulk)


async def test_the_checkpoint_says_what_it_holds() -> None:
    store = FakeStore()
    bulk = recording(store, Watched(bad=[0]), batch_size=8)
    await collect(bulk.execute(ITEMS, operation_id="job"))
    assert await bulk.checkpoint("job") == BulkCheckpoint("job", 8, frozenset({1, 2}), 12)


async def test_without_an_id_or_a_store_nothing_is_recorded() -> None:
    store = FakeStore()
    await collect(recording(store).execute(ITEMS))
    assert store.calls == []
    bulk = operation(same)
    await collect(bulk.execute(ITEMS, operation_id="job"))
    assert await bulk.checkpoint("job") is None
    await bulk.clear_checkpoint("job")


async def test_clearing_starts_from_the_beginning() -> None:
    store = FakeStore()
    bulk = recording(store)
    await run_for(bulk, 4)
    await run_for(bulk, 2, name="other")
    await bulk.clear_checkpoint("job")
    assert await bulk.checkpoint("job") is None
    assert await recorded(bulk, "other") == {0, 1}
    assert all_items(await collect(bulk.execute(ITEMS, operation_id="job"))) == ITEMS


async def test_leaving_at_the_last_result_does_not_record_it() -> None:
    store = FakeStore()
    bulk = recording(store)
    async with bulk.execute(ITEMS, operation_id="job") as run:
        for _ in range(10):
            await anext(run)
    assert await recorded(bulk) == set(range(9))
    assert bulk.state is BulkOperationState.CANCELLED


# --- the results too -----------------------------------------------------------------------


async def test_kept_results_are_delivered_again_instead_of_computed() -> None:
    store = FakeStore()
    await run_for(recording(store, Watched(), keep_results=True), 4)
    processor = Watched()
    bulk = recording(store, processor, keep_results=True)
    results = await collect(bulk.execute(ITEMS, operation_id="job"))
    assert sorted(item for r in results for item in r.results) == [10 * item for item in ITEMS]
    assert all_items(results) == ITEMS
    assert len(processor.calls) == 6
    assert store.data == {}


async def test_kept_results_that_are_gone_are_computed_again() -> None:
    store = FakeStore()
    await run_for(recording(store, keep_results=True), 4)
    key = next(key for key in store.data if key.endswith("result:1"))
    del store.data[key]
    processor = Watched()
    bulk = recording(store, processor, keep_results=True)
    await run_for(bulk, 6)
    assert processor.calls[0] == [2, 3]
    assert store.data[key] == [20, 30]
    checkpoint = await bulk.checkpoint("job")
    assert checkpoint is not None
    assert (len(checkpoint.batches), checkpoint.items) == (6, 12)


async def test_results_that_were_not_kept_are_computed_when_asked_for() -> None:
    store = FakeStore()
    await run_for(recording(store), 4)
    results = await collect(recording(store, keep_results=True).execute(ITEMS, operation_id="job"))
    assert all_items(results) == ITEMS


async def test_results_that_cannot_be_stored_end_the_run_naming_the_batch() -> None:
    async def odd(items: list[int]) -> list[Any]:
        return [object() if item == 5 else item for item in items]

    async with open_store("memory:") as store:
        bulk = recording(store.cache, odd, keep_results=True)  # type: ignore[arg-type]
        results, error = await collect_until(bulk.execute(ITEMS, operation_id="job"))
        assert [r.batch_id for r in results] == [0, 1, 2]
        assert isinstance(error, BulkOperationError)
        assert "batch 2" in str(error)
        assert isinstance(error.__cause__, NotStorableError)
        assert await recorded(bulk) == {0, 1}


@pytest.mark.parametrize("keep", [False, True])
async def test_ordered_resumes_keep_the_order(keep: bool, autojump_clock: MockClock) -> None:
    store = FakeStore()
    settings = {"max_concurrency": 5, "ordered": True, "keep_results": keep}
    await run_for(recording(store, Watched(lambda items: items[0] % 7), **settings), 4)
    bulk = recording(store, Watched(lambda items: items[0] % 5), **settings)
    results = await collect(bulk.execute(ITEMS, operation_id="job"))
    assert all_items(results) == (ITEMS if keep else ITEMS[8:])


# --- another job ---------------------------------------------------------------------------


async def test_another_batch_size_is_refused() -> None:
    store = FakeStore()
    await run_for(recording(store), 4)
    before = dict(store.data)
    processor = Watched()
    bulk = recording(store, processor, batch_size=5)
    results, error = await collect_until(bulk.execute(ITEMS, operation_id="job"))
    assert not results
    assert not processor.calls
    assert "recorded with batch_size 2, and this run has batch_size 5" in str(error)
    assert bulk.state is BulkOperationState.FAILED
    assert store.data == before


@pytest.mark.parametrize("changed", [0, 1, 7])
async def test_other_items_are_refused(changed: int) -> None:
    store = FakeStore()
    await run_for(recording(store), 4)
    before = dict(store.data)
    items = [100 if item == changed else item for item in ITEMS]
    processor = Watched()
    _, error = await collect_until(recording(store, processor).execute(items, operation_id="job"))
    assert f"batch {changed // 2} was recorded with items of the digest" in str(error)
    assert "in this run" in str(error)
    assert not processor.calls
    assert store.data == before


async def test_another_job_is_refused_although_its_first_batch_was_not_recorded() -> None:
    store = FakeStore()
    await collect(recording(store, Watched(bad=[0])).execute(ITEMS, operation_id="job"))
    processor = Watched()
    _, error = await collect_until(
        recording(store, processor).execute(["a", "b", "c"], operation_id="job")
    )
    assert "batch 0 was recorded with items" in str(error)
    assert not processor.calls


async def test_items_that_end_before_what_is_recorded_are_refused() -> None:
    store = FakeStore()
    await run_for(recording(store), 4)
    _, error = await collect_until(recording(store).execute(ITEMS[:4], operation_id="job"))
    assert "batch 3 is recorded, and the items of this run end after 2 batches" in str(error)


async def test_more_items_at_the_end_are_fine() -> None:
    store = FakeStore()
    await run_for(recording(store), 4)
    items = [*ITEMS, 20, 21, 22]
    results = await collect(recording(store).execute(items, operation_id="job"))
    assert all_items(results) == items[8:]


async def test_ids_of_any_kind_stay_apart() -> None:
    names = [
        "a",
        "*",
        "a*",
        "a" * 100_000,
        "a" * 100_000 + "b",
        "",
        "ü/../\0",
        "\ud800",
        "[a]",
        "?",
    ]
    store = FakeStore()
    bulk = recording(store)
    for count, name in enumerate(names, 1):
        await run_for(bulk, count % 9, name=name)
    for count, name in enumerate(names, 1):
        assert await recorded(bulk, name) == set(range(count % 9))
    await bulk.clear_checkpoint("*")
    assert await recorded(bulk, "a") == {0}
    assert all(len(key) < 100 and key.isascii() for _, key in store.calls)


# --- items of all kinds --------------------------------------------------------------------


class Opaque:
    def __init__(self, number: int) -> None:
        self.number = number


async def test_items_without_a_stable_form_are_refused_with_the_remedy() -> None:
    store = FakeStore()
    items = [1, 2, 3, Opaque(4)]
    results, error = await collect_until(recording(store).execute(items, operation_id="job"))
    assert all_items(results) == [1, 2]
    assert "item 3" in str(error)
    assert "Opaque" in str(error)
    assert "fingerprint=lambda item: item.id" in str(error)


async def test_a_fingerprint_of_your_own_identifies_items() -> None:
    store = FakeStore()
    items = [Opaque(number) for number in range(20)]
    bulk = recording(store, fingerprint=lambda item: item.number)
    await run_for(bulk, 4, items)
    again = [Opaque(number) for number in range(20)]
    assert len(await collect(bulk.execute(again, operation_id="job"))) == 6


async def test_a_fingerprint_that_fails_names_the_item() -> None:
    bulk = recording(FakeStore(), fingerprint=lambda item: 1 // (3 - item))
    _, error = await collect_until(bulk.execute(ITEMS, operation_id="job"))
    assert "gave no stable value for item 3" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)  # type: ignore[union-attr]


# --- cost ----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
async def test_a_record_costs_the_same_for_the_first_batch_and_the_last(keep: bool) -> None:
    store = FakeStore()
    bulk = recording(store, Watched(None, bad=[1999]), batch_size=1, keep_results=keep)
    await collect(bulk.execute(range(2000), operation_id="job"))
    sets = [key for name, key in store.calls if name == "set"]
    assert len(sets) <= 1 + 1999 * (2 if keep else 1)
    assert max(store.sizes) < 64 * 70
    assert max(store.sizes[1500:]) <= max(store.sizes[:500]) + 64 * 2


async def test_reading_a_checkpoint_takes_few_calls() -> None:
    store = FakeStore()
    bulk = recording(store, Watched(None, bad=[0]), batch_size=1)
    await collect(bulk.execute(range(1000), operation_id="job"))
    store.calls.clear()
    assert len(await recorded(bulk)) == 999
    assert len(store.calls) <= 1 + 999 / 64 + 2


# --- a store that fails --------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "set", "delete", "delete_pattern"])
@pytest.mark.parametrize("error", [OSError("disk full"), StoreError("locked")])
async def test_a_store_that_fails_ends_the_run(method: str, error: Exception) -> None:
    store = FakeStore(fail=[method], error=error)
    bulk = recording(store)
    results, failure = await collect_until(bulk.execute(ITEMS, operation_id="job"))
    assert type(failure) is BulkOperationError
    assert isinstance(failure.__cause__, StoreError)
    assert str(error) in str(failure)
    assert "'job'" in str(failure)
    assert bulk.state is BulkOperationState.FAILED
    assert len(results) == {"set": 1, "delete": 10}.get(method, 0)


async def test_a_store_that_raises_ends_the_run() -> None:
    class Broken(FakeStore):
        async def set(self, key: str, value: Any, ttl: int | None = None) -> Any:
            raise OSError("gone")

    results, failure = await collect_until(recording(Broken()).execute(ITEMS, operation_id="job"))
    assert len(results) == 1
    assert isinstance(failure, BulkOperationError)
    assert isinstance(failure.__cause__, StoreError)


@pytest.mark.parametrize("ordered", [False, True])
async def test_after_a_failed_record_nothing_more_is_delivered(
    ordered: bool, autojump_clock: MockClock
) -> None:
    store = FakeStore(fail=["set"])
    processor = Watched(lambda items: 1 + items[0] % 3)
    bulk = recording(store, processor, max_concurrency=5, ordered=ordered)
    results, failure = await collect_until(bulk.execute(ITEMS, operation_id="job"))
    assert len(results) == 1
    assert isinstance(failure, BulkOperationError)
    assert processor.in_flight == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, prefix: data.__setitem__(f"{prefix}header", {"format": 99}),
        lambda data, prefix: data.__setitem__(f"{prefix}header", "what"),
        lambda data, prefix: data.__setitem__(f"{prefix}header", {"format": 1}),
        lambda data, prefix: data[f"{prefix}header"].update(batch_size="2"),
        lambda data, prefix: data[f"{prefix}log:0"].append(["x", 1, "00"]),
        lambda data, prefix: data[f"{prefix}log:0"].append([-1, 1, "00" * 16]),
        lambda data, prefix: data.__setitem__(f"{prefix}log:0", 7),
    ],
)
async def test_a_damaged_checkpoint_is_reported_and_left_alone(
    damage: Callable[[dict[str, Any], str], Any],
) -> None:
    store = FakeStore()
    bulk = recording(store)
    await run_for(bulk, 4)
    prefix = next(iter(store.data)).removesuffix("header")
    damage(store.data, prefix)
    before = repr(store.data)
    results, error = await collect_until(bulk.execute(ITEMS, operation_id="job"))
    assert not results
    assert "damaged or of another version" in str(error)
    assert "clear_checkpoint" in str(error)
    assert repr(store.data) == before
    await bulk.clear_checkpoint("job")
    assert len(await collect(bulk.execute(ITEMS, operation_id="job"))) == 10


async def test_a_cancelled_record_is_made_up_for(autojump_clock: MockClock) -> None:
    class Slow(FakeStore):
        async def set(self, key: str, value: Any, ttl: int | None = None) -> Any:
            await trio.sleep(10)
            return await super().set(key, value, ttl)

    store = Slow()
    bulk = recording(store)
    async with bulk.execute(ITEMS, operation_id="job") as run:
        first = await anext(run)
        with trio.move_on_after(5):
            await anext(run)
        second = await anext(run)
        assert (first.batch_id, second.batch_id) == (0, 1)
        assert await recorded(bulk) == {0}


# --- crashes -------------------------------------------------------------------------------


async def attempt(
    data: dict[str, Any], die_at: int, after: bool, delivered: list[Outcome], **settings: Any
) -> tuple[BulkOperation[Any, Any] | None, FakeStore]:
    """Run until the end or until the world dies; what was delivered is what the caller kept."""
    store = FakeStore(data, die_at=die_at, after=after)
    source = Counted(20)
    bulk = recording(store, Watched(None, bad=settings.pop("bad", ())), **settings)
    try:
        async for result in bulk.execute(source.plain(), operation_id="job"):
            delivered.append(result)
    except WorldIsDead:
        return None, store
    assert not store.dead, "the run survived the end of the world"
    return bulk, store


def crash_points(**settings: Any) -> int:
    """How many calls of the store a whole run makes."""

    async def main() -> int:
        _, store = await attempt({}, 0, False, [], **dict(settings))
        return len(store.calls)

    return trio.run(main)


CASES: list[dict[str, Any]] = [
    {},
    {"keep_results": True},
    {"max_concurrency": 3},
    {"max_concurrency": 3, "ordered": True, "keep_results": True},
    {"batch_size": 3, "bad": [7]},
    {"batch_size": 3, "bad": [7], "on_poison": "bisect"},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_after_a_crash_at_any_call_of_the_store_nothing_is_lost(
    settings: dict[str, Any], after: bool
) -> None:
    points = crash_points(**settings)
    assert points >= 8
    for first in range(1, points + 1):
        for second in {0, 1, 2, 3, first // 2 + 1}:

            async def main(first: int = first, second: int = second) -> None:
                data: dict[str, Any] = {}
                lives: list[list[Outcome]] = []
                for die_at in (first, second):
                    lives.append([])
                    ended, _ = await attempt(data, die_at, after, lives[-1], **dict(settings))
                    check_never_ahead(await snapshot(data, settings), lives)
                    if ended is not None:
                        return
                lives.append([])
                ended, _ = await attempt(data, 0, False, lives[-1], **dict(settings))
                assert ended is not None
                check_complete(lives, settings)

            trio.run(main)


async def snapshot(data: dict[str, Any], settings: dict[str, Any]) -> set[int]:
    return await recorded(recording(FakeStore(data), **without_bad(settings)))


def without_bad(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "bad"}


def check_never_ahead(checkpoint: set[int], lives: list[list[Outcome]]) -> None:
    """What is recorded was delivered before."""
    assert checkpoint <= {result.batch_id for life in lives for result in life}


def check_complete(lives: list[list[Outcome]], settings: dict[str, Any]) -> None:
    """Taken together, the lives delivered the whole input; each batch with the same content."""
    final = {result.batch_id: result for life in lives for result in life}
    assert [item for key in sorted(final) for item in final[key].items] == ITEMS
    for life in lives:
        numbers = [result.batch_id for result in life]
        assert len(numbers) == len(set(numbers))
        assert all(result.items == final[result.batch_id].items for result in life)
    if settings.get("keep_results"):
        assert all_items(sorted(lives[-1], key=lambda r: r.batch_id)) == ITEMS


async def test_a_crash_of_the_consumer_repeats_the_batch_in_its_hands() -> None:
    data: dict[str, Any] = {}
    written: list[int] = []
    for _ in range(30):
        bulk = recording(FakeStore(data))
        try:
            async for result in bulk.execute(ITEMS, operation_id="job"):
                if len(written) % 3 == 2:
                    written.append(-1)
                    raise WorldIsDead
                written.append(result.batch_id)
        except WorldIsDead:
            continue
        break
    assert {batch for batch in written if batch >= 0} == set(range(10))


# --- the real stores -----------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/jobs.db"])
@pytest.mark.parametrize("keep", [False, True])
async def test_it_works_on_the_stores_of_this_library(url: str, keep: bool, tmp_path: Any) -> None:
    async with open_store(url.format(tmp_path)) as store:
        first = recording(store.cache, keep_results=keep)  # type: ignore[arg-type]
        await run_for(first, 4)
        bulk = recording(store.cache, keep_results=keep)  # type: ignore[arg-type]
        assert await recorded(bulk) == {0, 1, 2, 3}
        results = await collect(bulk.execute(ITEMS, operation_id="job"))
        assert all_items(results) == (ITEMS if keep else ITEMS[8:])
        assert await bulk.checkpoint("job") is None


async def test_cancel_keeps_what_is_recorded(autojump_clock: MockClock) -> None:
    store = FakeStore()
    bulk = recording(store, slowly)
    async with bulk.execute(ITEMS, operation_id="job") as run:
        for _ in range(3):
            await anext(run)
        await bulk.cancel()
    assert await recorded(bulk) == {0, 1}


async def test_a_store_in_place_of_its_cache_is_refused_with_the_right_word() -> None:
    async with open_store("memory:") as store:
        with pytest.raises(ConfigurationError, match=r"store\.cache"):
            BulkOperation(checkpoint_store=store)  # type: ignore[arg-type]
