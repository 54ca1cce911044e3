"""Sagas whose stages are found by their content: hits, misses, undoing, crashes, races."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.errors import (
    ConfigurationError,
    NotStorableError,
    SagaStepError,
    StoreCorruptedError,
    StoreError,
)
from lexigram_actors.host.opening import open_host
from lexigram_actors.result import Err, Ok
from lexigram_actors.saga import MemorySagaStore, SagaState
from lexigram_actors.saga.content import ContentAddressedSaga
from lexigram_actors.saga.content_keys import ContentCheckpointEntry, ContentCheckpointKey
from lexigram_actors.saga.content_memory import InMemoryContentCheckpointStore
from lexigram_actors.saga.content_stages import ContentAddressedStage
from lexigram_actors.storage import Codec, open_store
from lexigram_actors.testing import CancelAt, cancel_at_every_step


@attrs.define
class Shop:
    """The world: what happened in it, in order, and the stages that make things happen."""

    log: list[str] = attrs.field(factory=list)
    seen: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    def stage(self, name: str, output: Any = None, **settings: Any) -> ContentAddressedStage:
        async def handler(inputs: dict[str, Any]) -> Any:
            await trio.lowlevel.checkpoint()
            self.log.append(name)
            self.seen[name] = inputs
            return f"{name}!" if output is None else output

        async def compensation(output: Any) -> None:
            await trio.lowlevel.checkpoint()
            self.log.append(f"undo {name} {output}")

        facts = {"handler_version": "1", "compensation": compensation, **settings}
        return ContentAddressedStage(**{"stage_id": name, "handler": handler, **facts})

    def taken(self) -> list[str]:
        """Return what happened since this was asked last."""
        log, self.log = self.log, []
        return log


@attrs.define
class Watched:
    """A checkpoint store that tells what it is asked, and fails where it is told to."""

    shop: Shop
    inner: InMemoryContentCheckpointStore = attrs.field(factory=InMemoryContentCheckpointStore)
    failing: Mapping[str, Exception] = attrs.field(factory=dict)
    before: dict[str, Callable[[], Any]] = attrs.field(factory=dict)

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        await self.met("get", key)
        return await self.inner.get(key)

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        await self.met("set", key)
        await self.inner.set(key, entry)

    async def evict(self, key: ContentCheckpointKey) -> None:
        await self.met("evict", key)
        await self.inner.evict(key)

    async def list_by_stage(self, stage_id: str, *rest: Any) -> Any:
        return await self.inner.list_by_stage(stage_id, *rest)

    async def met(self, call: str, key: ContentCheckpointKey) -> None:
        if call == "evict":
            self.shop.log.append(f"evict {key.stage_id}")
        if call in self.before:
            await self.before[call]()
        if call in self.failing:
            raise self.failing[call]


FAIL = {"output": Err("no"), "max_retries": 1}


def saga_of(
    checkpoints: Any, *stages: ContentAddressedStage, id: str = "s-1", **settings: Any
) -> ContentAddressedSaga:
    saga = ContentAddressedSaga(id, checkpoints, **settings)
    for stage in stages:
        saga.add_stage(stage)
    return saga


async def keys_in(store: Any, *names: str) -> list[str]:
    return [name for name in names if await store.list_by_stage(name)]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def store() -> InMemoryContentCheckpointStore:
    return InMemoryContentCheckpointStore()


# --- forward ---------------------------------------------------------------------------------


async def test_stages_run_in_order_and_see_the_inputs_and_what_came_before(
    shop: Shop, store: Any
) -> None:
    saga = saga_of(store, shop.stage("a"), shop.stage("b", {"n": 1}), inputs={"order": 7})
    assert await saga.execute() == Ok(None)
    assert shop.taken() == ["a", "b"]
    assert shop.seen == {"a": {"order": 7}, "b": {"order": 7, "a": "a!"}}
    assert saga.outputs == {"a": "a!", "b": {"n": 1}}
    assert saga.is_completed()
    assert saga.state is SagaState.COMPLETED
    assert saga.get_id() == "s-1"


async def test_what_is_known_is_not_run_again(shop: Shop, store: Any) -> None:
    first = saga_of(store, shop.stage("a"), shop.stage("b"))
    assert (await first.execute()).is_ok()
    assert not first.was_cached("a")
    second = saga_of(store, shop.stage("a"), shop.stage("b"), id="s-2")
    assert (await second.execute()).is_ok()
    assert shop.taken() == ["a", "b"]
    assert second.outputs == first.outputs
    assert second.was_cached("a")
    assert second.was_cached("b")
    assert not second.was_cached("c")


@pytest.mark.parametrize(
    ("settings", "of_the_saga"),
    [
        ({"handler_version": "2"}, {}),
        ({"config_affecting_output": {"size": 3}}, {}),
        ({}, {"tenant_id": "other"}),
        ({}, {"inputs": {"order": 8}}),
    ],
)
async def test_whatever_decides_the_output_makes_it_run_again(
    shop: Shop, store: Any, settings: Any, of_the_saga: Any
) -> None:
    usual: dict[str, Any] = {"inputs": {"order": 7}}
    await saga_of(store, shop.stage("a"), shop.stage("b"), **usual).execute()
    shop.taken()
    saga = saga_of(
        store, shop.stage("a", **settings), shop.stage("b"), **{**usual, "id": "s-2", **of_the_saga}
    )
    assert (await saga.execute()).is_ok()
    # Behind a new version with the same output, nothing has changed for the stage after it.
    assert shop.taken() == (["a", "b"] if of_the_saga else ["a"])


async def test_a_stage_whose_earlier_output_changed_runs_again(shop: Shop, store: Any) -> None:
    await saga_of(store, shop.stage("a", 1), shop.stage("b")).execute()
    await saga_of(store, shop.stage("a", 2, handler_version="2"), shop.stage("b")).execute()
    assert shop.taken() == ["a", "b", "a", "b"]


async def test_handlers_may_be_sync_and_return_results(store: Any) -> None:
    saga = saga_of(
        store,
        ContentAddressedStage("a", lambda inputs: Ok(1), "1"),
        ContentAddressedStage("b", lambda inputs: inputs["a"] + 1, "1"),
    )
    assert (await saga.execute()).is_ok()
    assert saga.outputs == {"a": 1, "b": 2}


async def test_what_a_handler_does_to_its_inputs_stays_with_it(shop: Shop, store: Any) -> None:
    def spoil(inputs: dict[str, Any]) -> str:
        inputs["a"].append("spoiled")
        inputs["given"].clear()
        return "b"

    saga = saga_of(
        store,
        shop.stage("a", ["fine"]),
        ContentAddressedStage("b", spoil, "1"),
        shop.stage("c", **FAIL),
        inputs={"given": {"x": 1}},
    )
    await saga.execute()
    assert shop.seen["c"] == {"given": {"x": 1}, "a": ["fine"], "b": "b"}
    assert "undo a ['fine']" in shop.log


async def test_a_failing_handler_is_tried_again(
    shop: Shop, store: Any, autojump_clock: MockClock
) -> None:
    answers = [ValueError("no"), Err("no"), Ok("yes")]

    def handler(inputs: dict[str, Any]) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    saga = saga_of(store, ContentAddressedStage("a", handler, "1", max_retries=3))
    assert (await saga.execute()).is_ok()
    assert saga.outputs == {"a": "yes"}


# --- failing and undoing ---------------------------------------------------------------------


async def test_what_the_saga_ran_is_evicted_then_undone_in_reverse(shop: Shop) -> None:
    store = Watched(shop)
    saga = saga_of(store, shop.stage("a"), shop.stage("b"), shop.stage("c", **FAIL))
    assert (await saga.execute()).unwrap_err().step_name == "c"
    assert shop.taken() == ["a", "b", "c", "evict b", "undo b b!", "evict a", "undo a a!"]
    assert await keys_in(store, "a", "b", "c") == []
    assert saga.is_completed()


async def test_what_another_saga_ran_is_not_undone(shop: Shop) -> None:
    store = Watched(shop)
    await saga_of(store, shop.stage("a"), id="other").execute()
    saga = saga_of(store, shop.stage("a"), shop.stage("b"), shop.stage("c", **FAIL))
    assert (await saga.execute()).is_err()
    assert shop.taken() == ["a", "b", "c", "evict b", "undo b b!"]
    assert await keys_in(store, "a", "b") == ["a"]


async def test_another_run_of_the_same_id_without_a_store_is_another_saga(shop: Shop) -> None:
    store = Watched(shop)
    await saga_of(store, shop.stage("a")).execute()
    saga = saga_of(store, shop.stage("a"), shop.stage("c", **FAIL))
    assert (await saga.execute()).is_err()
    assert shop.taken() == ["a", "c"]
    assert await keys_in(store, "a") == ["a"]


async def test_a_stage_without_a_compensation_stays_known(shop: Shop, store: Any) -> None:
    saga = saga_of(store, shop.stage("a", compensation=None), shop.stage("c", **FAIL))
    assert (await saga.execute()).is_err()
    assert await keys_in(store, "a") == ["a"]
    assert saga.uncompensated == []


async def test_nobody_gets_an_output_that_is_being_undone(shop: Shop, store: Any) -> None:
    held = trio.Event()

    async def slow(output: Any) -> None:
        await held.wait()

    saga = saga_of(store, shop.stage("a", compensation=slow), shop.stage("c", **FAIL))
    other = saga_of(store, shop.stage("a"), id="other")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(saga.execute)
        await wait_all_tasks_blocked()
        assert (await other.execute()).is_ok()
        held.set()
    assert not other.was_cached("a")


async def test_an_undo_does_not_begin_where_evicting_fails(
    shop: Shop, autojump_clock: MockClock
) -> None:
    store = Watched(shop, failing={"evict": StoreError("down")})
    saga = saga_of(
        store, shop.stage("a"), shop.stage("b", compensation=None), shop.stage("c", **FAIL)
    )
    error = (await saga.execute()).unwrap_err()
    assert error.uncompensated == ["a"]
    assert "cannot be evicted" in str(saga.compensation_errors["a"])
    assert shop.taken() == ["a", "b", "c", "evict a", "evict a", "evict a"]
    store.failing = {}
    await saga.retry_compensation()
    assert shop.taken() == ["evict a", "undo a a!"]
    assert saga.uncompensated == []


async def test_evicting_that_fails_for_a_moment_is_tried_again(
    shop: Shop, autojump_clock: MockClock
) -> None:
    store = Watched(shop, failing={"evict": StoreError("down")})

    async def mend() -> None:
        if shop.log.count("evict a") == 2:
            store.failing = {}

    store.before["evict"] = mend
    saga = saga_of(store, shop.stage("a"), shop.stage("c", **FAIL))
    assert (await saga.execute()).is_err()
    assert shop.taken() == ["a", "c", "evict a", "evict a", "undo a a!"]
    assert saga.uncompensated == []


# --- a checkpoint store that fails -----------------------------------------------------------


@pytest.mark.parametrize("failure", [StoreError("down"), StoreCorruptedError("bad"), OSError("x")])
async def test_a_store_that_cannot_be_read_fails_the_stage(
    shop: Shop, failure: Exception, autojump_clock: MockClock
) -> None:
    store = Watched(shop)
    saga = saga_of(store, shop.stage("a"), shop.stage("b", max_retries=2))

    async def fail_for_b() -> None:
        store.failing = {"get": failure} if "a" in shop.log else {}

    store.before["get"] = fail_for_b
    error = (await saga.execute()).unwrap_err()
    assert error.step_name == "b"
    assert "checkpoint cannot be read" in str(error)
    assert shop.taken() == ["a", "evict a", "undo a a!"]
    assert saga.uncompensated == []


@pytest.mark.parametrize("failure", [StoreError("down"), OSError("x")])
async def test_a_store_that_cannot_keep_is_logged_and_the_saga_goes_on(
    shop: Shop, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = Watched(shop, failing={"set": failure})
    saga = saga_of(store, shop.stage("a"), shop.stage("b"))
    assert (await saga.execute()).is_ok()
    assert saga.outputs == {"a": "a!", "b": "b!"}
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "'a' is not kept" in caplog.text


async def test_a_store_that_hangs_while_keeping_is_given_up(
    shop: Shop, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Watched(shop, before={"set": trio.sleep_forever})
    saga = saga_of(store, shop.stage("a"))
    assert (await saga.execute()).is_ok()
    assert trio.current_time() == pytest.approx(30, abs=1)
    assert "no answer within 30 seconds" in caplog.text


async def test_an_output_that_cannot_be_stored_is_not_kept_and_the_saga_goes_on(
    shop: Shop, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        odd = object()
        stages = [shop.stage("a", odd), shop.stage("b")]
        saga = saga_of(store, *stages, id=f"s-{number}")
        assert (await saga.execute()).is_ok()
        assert saga.outputs["a"] is odd
    assert shop.taken() == ["a", "b", "a", "b"]
    assert "not kept" in caplog.text


async def test_an_undo_gets_the_output_that_nobody_could_store(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    undone: list[Any] = []
    stages = [
        shop.stage("a", odd := object(), compensation=undone.append),
        shop.stage("c", **FAIL),
    ]
    saga = saga_of(Watched(shop), *stages)
    assert (await saga.execute()).is_err()
    assert len(undone) == 1
    assert type(undone[0]) is type(odd)
    assert "is not kept" in caplog.text


async def test_what_was_never_kept_is_undone_all_the_same(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    undone: list[Any] = []
    stages = [
        shop.stage("a", odd := threading.Lock(), compensation=undone.append),
        shop.stage("b"),
        shop.stage("c", **FAIL),
    ]
    assert (await saga_of(Watched(shop), *stages).execute()).is_err()
    assert undone == [odd]
    # Behind it there is no key, and nothing to evict.
    assert shop.taken() == ["a", "b", "c", "undo b b!", "evict a"]
    assert "'b' is not kept" in caplog.text


# --- cut off ---------------------------------------------------------------------------------


async def cancelled_when_blocked(saga: ContentAddressedSaga) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(saga.execute)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_stage_cut_off_while_it_is_looked_up_has_not_happened(shop: Shop) -> None:
    store = Watched(shop)

    async def hang_for_b() -> None:
        if "a" in shop.log:
            await trio.sleep_forever()

    store.before["get"] = hang_for_b
    saga = saga_of(store, shop.stage("a"), shop.stage("b"))
    await cancelled_when_blocked(saga)
    assert shop.taken() == ["a", "evict a", "undo a a!"]
    assert saga.uncompensated == []


async def hang(inputs: Any) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("settings", "undone", "left"),
    [
        ({}, [], ["b"]),
        ({"idempotent": True}, ["evict b", "undo b None"], []),
        ({"probe": lambda: False}, [], []),
        ({"probe": lambda: True}, ["evict b", "undo b None"], []),
        ({"compensation": None}, [], []),
    ],
)
async def test_a_stage_cut_off_while_it_runs_is_in_doubt(
    shop: Shop, settings: Any, undone: list[str], left: list[str]
) -> None:
    store = Watched(shop)
    saga = saga_of(store, shop.stage("a"), shop.stage("b", handler=hang, **settings))
    await cancelled_when_blocked(saga)
    assert shop.taken() == ["a", *undone, "evict a", "undo a a!"]
    assert saga.uncompensated == left
    assert await keys_in(store, "a", "b") == []


async def test_a_cancellation_while_an_output_is_kept_leaves_nothing_in_doubt(shop: Shop) -> None:
    store = Watched(shop)
    go_on = trio.Event()
    store.before["set"] = go_on.wait
    saga = saga_of(store, shop.stage("a"))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(saga.execute)
            await wait_all_tasks_blocked()
            scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                go_on.set()
    assert saga.uncompensated == []
    if saga.state is SagaState.COMPLETED:
        assert shop.taken() == ["a"]
    else:
        assert shop.taken() == ["a", "evict a", "undo a a!"]
        assert await keys_in(store, "a") == []


async def test_a_time_out_while_an_output_is_kept_does_not_run_the_stage_twice(
    shop: Shop, autojump_clock: MockClock
) -> None:
    async def slowly() -> None:
        await trio.sleep(5)

    store = Watched(shop, before={"set": slowly})
    saga = saga_of(store, shop.stage("a", timeout=1.0), shop.stage("c", **FAIL))
    assert (await saga.execute()).is_err()
    assert shop.taken() == ["a", "c", "evict a", "undo a a!"]


async def test_a_stage_over_its_time_is_in_doubt(shop: Shop, autojump_clock: MockClock) -> None:
    settings: dict[str, Any] = {"handler": hang, "timeout": 1.0, "max_retries": 2}
    saga = saga_of(Watched(shop), shop.stage("a"), shop.stage("b", **settings))
    error = (await saga.execute()).unwrap_err()
    assert isinstance(error.cause, TimeoutError)
    assert error.uncompensated == ["b"]
    assert shop.taken() == ["a", "evict a", "undo a a!"]


# --- crashes ---------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone."""


@attrs.define
class CrashingSagaStore:
    """A saga store that dies before, or after, the n-th write, and forgets nothing."""

    inner: MemorySagaStore
    at: int
    after: bool = False

    async def save(self, saga_id: str, state: SagaState, data: dict[str, Any]) -> None:
        self.at -= 1
        if self.at == 0 and not self.after:
            raise Crash
        await self.inner.save(saga_id, state, data)
        if self.at == 0:
            raise Crash

    async def load(self, saga_id: str) -> Any:
        return await self.inner.load(saga_id)

    async def delete(self, saga_id: str) -> None:
        await self.inner.delete(saga_id)


async def crash(saga: ContentAddressedSaga) -> bool:
    try:
        await saga.execute()
    except Crash:
        return True
    return False


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("fails", [False, True])
async def test_wherever_a_saga_dies_it_ends_as_if_it_had_not(
    shop: Shop, at: int, after: bool, fails: bool
) -> None:
    store, records = Watched(shop), MemorySagaStore()

    def stages() -> list[ContentAddressedStage]:
        last = FAIL if fails else {}
        return [
            shop.stage("a", idempotent=True),
            shop.stage("b", idempotent=True),
            shop.stage("c", **last),
        ]

    died = await crash(saga_of(store, *stages(), store=CrashingSagaStore(records, at, after)))
    saga = saga_of(store, *stages(), store=records)
    outcome = await saga.execute()
    assert outcome.is_err() is fails
    log = shop.taken()
    # Kept before it was recorded: even a stage in flight at the crash is not run twice.
    assert [log.count(name) for name in ("a", "b")] == [1, 1]
    if fails:
        assert {"undo a a!", "undo b b!"} <= set(log)
        assert log.index("evict b") < log.index("undo b b!") < log.index("undo a a!")
        assert await keys_in(store, "a", "b") == []
        if not died:
            assert len(log) == 7
    else:
        assert not [line for line in log if "undo" in line]
        assert await keys_in(store, "a", "b", "c") == ["a", "b", "c"]


async def test_after_a_crash_what_was_another_s_is_still_not_undone(shop: Shop) -> None:
    store, records = Watched(shop), MemorySagaStore()
    await saga_of(store, shop.stage("a"), id="other").execute()
    stages = [shop.stage("a"), shop.stage("b"), shop.stage("c", **FAIL)]
    assert await crash(saga_of(store, *stages, store=CrashingSagaStore(records, 3)))
    saga = saga_of(store, *stages, store=records)
    assert (await saga.execute()).is_err()
    assert shop.taken() == ["a", "b", "c", "evict b", "undo b b!"]
    assert await keys_in(store, "a", "b") == ["a"]


async def test_an_undo_after_a_crash_evicts_the_version_that_ran(shop: Shop) -> None:
    store, records = Watched(shop), MemorySagaStore()
    stages = [shop.stage("a"), shop.stage("c", **FAIL)]
    assert await crash(saga_of(store, *stages, store=CrashingSagaStore(records, 3)))
    newer = [shop.stage("a", handler_version="2"), shop.stage("c", **FAIL)]
    assert (await saga_of(store, *newer, store=records).execute()).is_err()
    assert shop.taken()[-2:] == ["evict a", "undo a a!"]
    assert await keys_in(store, "a") == []


async def test_a_completed_saga_runs_nothing_again(shop: Shop, store: Any) -> None:
    records = MemorySagaStore()
    for _ in range(2):
        saga = saga_of(store, shop.stage("a"), store=records)
        assert await saga.execute() == Ok(None)
        assert saga.outputs == {"a": "a!"}
    assert shop.taken() == ["a"]


# --- races -----------------------------------------------------------------------------------


async def test_two_sagas_that_miss_together_both_run_and_the_first_entry_stays(
    shop: Shop, store: Any
) -> None:
    gate = trio.Event()
    arrived: list[str] = []

    def stage(output: str) -> ContentAddressedStage:
        async def handler(inputs: dict[str, Any]) -> str:
            arrived.append(output)
            await gate.wait()
            return output

        return shop.stage("a", handler=handler)

    sagas = [saga_of(store, stage(name), id=name) for name in ("one", "two")]
    async with trio.open_nursery() as nursery:
        for saga in sagas:
            nursery.start_soon(saga.execute)
        await wait_all_tasks_blocked()
        gate.set()
    assert sorted(arrived) == ["one", "two"]
    assert [saga.outputs["a"] for saga in sagas] == ["one", "two"]
    (key,) = await store.list_by_stage("a")
    entry = await store.get(key)
    assert entry.output == entry.metadata["saga"]
    assert not any(saga.was_cached("a") for saga in sagas)


# --- one stage by itself ---------------------------------------------------------------------


async def test_a_stage_by_itself_runs_once_for_its_content(shop: Shop, store: Any) -> None:
    saga = saga_of(store)
    stage = shop.stage("a")
    assert [await saga.run_stage(stage, {"n": n}) for n in (1, 1, 2)] == ["a!"] * 3
    assert shop.taken() == ["a", "a"]
    assert saga.outputs == {}


async def test_a_stage_by_itself_that_fails_raises(shop: Shop, store: Any) -> None:
    saga = saga_of(store)
    with pytest.raises(SagaStepError) as caught:
        await saga.run_stage(shop.stage("a", **FAIL), {})
    assert caught.value.cause == "no"
    assert await keys_in(store, "a") == []
    with pytest.raises(NotStorableError, match="inputs"):
        await saga.run_stage(shop.stage("a"), {"x": object()})


# --- misuse ----------------------------------------------------------------------------------


def test_inputs_without_a_stable_form_are_refused_at_once(store: Any) -> None:
    with pytest.raises(NotStorableError) as caught:
        ContentAddressedSaga("s", store, inputs={"x": object()})
    assert caught.value.path == "$.inputs.x"


def test_a_configuration_without_a_stable_form_is_refused_at_once(shop: Shop, store: Any) -> None:
    with pytest.raises(NotStorableError) as caught:
        saga_of(store, shop.stage("a", config_affecting_output={"x": object()}))
    assert caught.value.path == "$.config.config.x"


def test_a_stage_needs_a_name_of_its_own(shop: Shop, store: Any) -> None:
    with pytest.raises(ConfigurationError):
        saga_of(store, shop.stage("a"), shop.stage("a"))
    with pytest.raises(ConfigurationError, match="name of an input"):
        saga_of(store, shop.stage("a"), inputs={"a": 1})


@pytest.mark.parametrize(
    "settings",
    [
        {"handler": None},
        {"compensation": 3},
        {"probe": 3},
        {"stage_id": ""},
        {"handler_version": ""},
        {"handler_version": 1},
        {"timeout": 0},
        {"max_retries": -1},
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(shop: Shop, store: Any, settings: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        saga_of(store, shop.stage("a", **settings))


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [(("", None), {}), (("s", object()), {}), (("s", None), {}), (("s", None), {"tenant_id": ""})],
)
def test_a_saga_that_makes_no_sense_is_refused(arguments: Any, settings: Any, store: Any) -> None:
    id, given_store = arguments
    use = given_store if id == "s" and not settings else store
    with pytest.raises(ConfigurationError):
        ContentAddressedSaga(id, use, **settings)


def test_only_stages_are_added_as_stages(store: Any) -> None:
    with pytest.raises(TypeError, match="add_stage"):
        ContentAddressedSaga("s", store).add_stage("a")  # type: ignore[arg-type]


async def test_the_types_of_the_store_s_codec_are_known(shop: Shop) -> None:
    @attrs.frozen
    class Size:
        width: int

    codec = Codec()
    codec.register(Size, name="size")
    store = InMemoryContentCheckpointStore(codec=codec)
    for id in ("s-1", "s-2"):
        saga = saga_of(store, shop.stage("a", Size(2)), id=id, inputs={"size": Size(1)})
        assert (await saga.execute()).is_ok()
        assert saga.outputs == {"a": Size(2)}
    assert shop.taken() == ["a"]


# --- with the saga's own store, and in a host ------------------------------------------------


async def test_what_a_dead_process_may_have_begun_is_in_doubt_though_it_was_only_looked_up(
    shop: Shop,
) -> None:
    store, records = Watched(shop), MemorySagaStore()

    def die(inputs: Any) -> None:
        shop.log.append("b began")
        raise Crash

    assert await crash(saga_of(store, shop.stage("a"), shop.stage("b", handler=die), store=records))

    async def hang_for_b() -> None:
        await trio.sleep_forever()

    store.before["get"] = hang_for_b
    saga = saga_of(store, shop.stage("a"), shop.stage("b"), store=records)
    await cancelled_when_blocked(saga)
    assert saga.uncompensated == ["b"]
    assert shop.taken() == ["a", "b began", "evict a", "undo a a!"]


async def test_a_stage_behind_the_one_in_flight_at_a_crash_has_not_happened(shop: Shop) -> None:
    store, records = Watched(shop), MemorySagaStore()
    stages = [shop.stage("a"), shop.stage("b"), shop.stage("c")]
    assert await crash(saga_of(store, *stages, store=CrashingSagaStore(records, 2)))

    async def hang_for_c() -> None:
        if "b" in shop.log:
            await trio.sleep_forever()

    store.before["get"] = hang_for_c
    saga = saga_of(store, *stages, store=records)
    await cancelled_when_blocked(saga)
    assert saga.uncompensated == []
    assert shop.taken() == ["a", "b", "evict b", "undo b b!", "evict a", "undo a a!"]


async def test_an_output_that_the_saga_s_store_refuses_is_evicted_and_undone(shop: Shop) -> None:
    class Odd:
        pass

    codec = Codec()
    codec.register(Odd, name="odd", dump=lambda odd: 1, load=lambda data: Odd())
    store = Watched(shop, InMemoryContentCheckpointStore(codec=codec))
    undone: list[Any] = []
    async with open_store("memory:") as records:
        stage = shop.stage("a", Odd(), compensation=undone.append)
        saga = saga_of(store, stage, store=records, codec=codec)
        error = (await saga.execute()).unwrap_err()
    assert isinstance(error.cause, NotStorableError)
    assert [type(output) for output in undone] == [Odd]
    assert shop.taken() == ["a", "evict a"]
    assert await keys_in(store, "a") == []


async def test_undoing_by_hand_evicts_first(shop: Shop) -> None:
    store = Watched(shop)
    await saga_of(store, shop.stage("a"), id="other").execute()
    saga = saga_of(store, shop.stage("a"), shop.stage("b"))
    assert (await saga.execute()).is_ok()
    await saga.compensate()
    assert shop.taken() == ["a", "b", "evict b", "undo b b!"]
    assert await keys_in(store, "a", "b") == ["a"]


async def test_after_a_pivot_the_outputs_stay_known(shop: Shop) -> None:
    store = Watched(shop)
    saga = saga_of(store, shop.stage("a", pivot=True), shop.stage("c", **FAIL))
    assert (await saga.execute()).is_err()
    assert shop.taken() == ["a", "c"]
    assert await keys_in(store, "a") == ["a"]


@pytest.mark.parametrize("fails", [False, True])
async def test_instances_of_a_host_share_what_is_known(shop: Shop, fails: bool) -> None:
    store = Watched(shop)

    def make(number: int) -> ContentAddressedSaga:
        last = shop.stage("c", **FAIL) if fails and number == 2 else shop.stage("c")
        stages = (shop.stage("a"), shop.stage("b", config_affecting_output={"n": number}), last)
        return saga_of(store, *stages[:2], *([stages[2]] if number == 2 else []), id=f"s-{number}")

    runnable = ContentAddressedSaga.as_runnable(make, name="content")
    async with open_host("memory:", register=[runnable]) as host:
        outcomes = []
        for number in (1, 2):
            handle = await host.start(runnable, number, id=f"i-{number}")
            outcomes.append(await handle.result())
    assert [outcome.is_ok() for outcome in outcomes] == [True, not fails]
    assert outcomes[0].unwrap()["a"]["output"] == "a!"
    undone = ["evict b", "undo b b!"] if fails else []
    assert shop.taken() == ["a", "b", "b", "c", *undone]
    assert await keys_in(store, "a", "b") == ["a", "b"]


async def test_whether_a_stage_that_was_in_doubt_happened_is_not_known_to_another_process(
    shop: Shop,
) -> None:
    store, records = Watched(shop), MemorySagaStore()
    stages = [shop.stage("a"), shop.stage("b", handler=hang)]
    # Dies when it is recorded that there is undoing: the third write.
    dying = saga_of(store, *stages, store=CrashingSagaStore(records, 3, after=True))
    with pytest.raises(Crash), trio.CancelScope() as scope:
        async with cancelled_by_the_outside(scope):
            await dying.execute()
    saga = saga_of(store, *stages, store=records)
    assert (await saga.execute()).is_err()
    assert saga.uncompensated == ["b"]
    assert shop.taken() == ["a", "evict a", "undo a a!"]


@asynccontextmanager
async def cancelled_by_the_outside(scope: trio.CancelScope) -> AsyncIterator[None]:
    """Cancel the scope as soon as all tasks of the block wait."""

    async def cancel() -> None:
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            yield
    except BaseExceptionGroup as group:
        (error,) = group.exceptions
        raise error from None


async def test_a_stage_that_failed_and_is_only_looked_up_again_has_not_happened(
    shop: Shop, autojump_clock: MockClock
) -> None:
    store = Watched(shop)

    async def hang_the_second_time() -> None:
        if "b" in shop.log:
            await trio.sleep_forever()

    store.before["get"] = hang_the_second_time
    stage = shop.stage("b", Err("no"), max_retries=2, timeout=1.0)
    saga = saga_of(store, shop.stage("a"), stage)
    assert (await saga.execute()).is_err()
    assert saga.uncompensated == []
    assert shop.taken() == ["a", "b", "evict a", "undo a a!"]


async def test_what_an_undo_does_to_the_output_stays_with_it(shop: Shop, store: Any) -> None:
    saga = saga_of(
        store,
        shop.stage("a", [1], compensation=lambda output: output.clear()),
        shop.stage("c", **FAIL),
    )
    assert (await saga.execute()).is_err()
    assert saga.was_compensated("a")
    assert saga.outputs == {"a": [1]}


async def test_whoever_lost_a_race_and_could_not_record_it_still_undoes_its_own(
    shop: Shop,
) -> None:
    store, records = Watched(shop), CrashingSagaStore(MemorySagaStore(), 2)

    async def other_is_faster() -> None:
        store.before.clear()
        await saga_of(store, shop.stage("a", "theirs"), id="other").execute()

    store.before["set"] = other_is_faster
    saga = saga_of(store, shop.stage("a", "mine"), shop.stage("c", **FAIL), store=records)
    assert await crash(saga)
    assert (await saga.execute()).is_err()
    assert "evict a" in shop.log
    assert [line for line in shop.taken() if line.startswith("undo")] == ["undo a mine"]


def test_wherever_it_is_cancelled_all_is_done_or_nothing_stays() -> None:
    worlds: list[tuple[Shop, Watched, ContentAddressedSaga]] = []

    async def scenario() -> None:
        shop = Shop()
        store = Watched(shop)
        stages = [shop.stage(name, idempotent=True) for name in ("a", "b", "c")]
        saga = saga_of(store, *stages)
        worlds.append((shop, store, saga))
        await saga.execute()

    async def check(how: CancelAt) -> None:
        shop, store, saga = worlds[-1]
        ran = [name for name in ("a", "b", "c") if name in shop.log]
        undone = [line.split()[1] for line in shop.log if line.startswith("undo")]
        assert saga.uncompensated == []
        if saga.state is SagaState.COMPLETED:
            assert (ran, undone) == (["a", "b", "c"], [])
            return
        # One that was cut off, and had not happened yet, is undone as well.
        assert undone in (ran[::-1], ["abc"[len(ran) % 3], *ran[::-1]])
        assert await keys_in(store, "a", "b", "c") == []

    report = cancel_at_every_step(scenario, check=check)
    assert report.points > 5
