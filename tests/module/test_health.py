"""A health check really asks, within its time, and tells no secrets."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.errors import ConfigurationError, StoreError
from lexigram_actors.module.provider import WorkflowProvider
from lexigram_actors.module.values import HealthCheckResult, HealthStatus
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage import MemoryStore, SQLiteStore
from lexigram_actors.testing import cancel_at_every_step
from tests.module.services import Answer, Database, Sagas, after, answering, raising


def saga_part(result: HealthCheckResult) -> dict[str, Any]:
    part: dict[str, Any] = result.details["components"]["saga_store"]
    return part


# --- asking ---------------------------------------------------------------------------------------


async def test_by_itself_a_provider_is_healthy() -> None:
    result = await WorkflowProvider().health_check()
    assert (result.component, result.status, result.message) == ("workflow", "healthy", None)
    assert result.details["components"]["pipeline"] == {"status": "healthy"}
    assert saga_part(result) == {"status": "healthy", "driver": "MemorySagaStore"}


async def test_the_saga_store_is_asked_and_nothing_is_changed() -> None:
    sagas = Sagas()
    assert (await WorkflowProvider(saga_store=sagas).health_check()).is_healthy()
    assert len(sagas.asked) == 1
    assert not sagas.changed


async def test_the_database_is_asked_and_nothing_is_changed() -> None:
    database = Database()
    result = await WorkflowProvider(db_provider=database).health_check()
    assert result.details["components"]["state_persistence"] == {
        "status": "healthy",
        "driver": "Database",
        "table": "workflow_state_transitions",
    }
    assert database.statements == ["SELECT 1"]


async def test_a_database_that_is_not_connected_is_unhealthy_and_not_queried() -> None:
    database = Database(connected=False)
    result = await WorkflowProvider(db_provider=database).health_check()
    assert result.status == "unhealthy"
    assert result.message == "state_persistence: it is not connected"
    assert database.statements == []


async def test_a_store_is_asked_for_both_and_keeps_nothing_of_it() -> None:
    store = MemoryStore()
    result = await WorkflowProvider(store=store).health_check()
    assert result.is_healthy()
    assert set(result.details["components"]) == {"pipeline", "saga_store", "state_persistence"}
    assert not store.tables.cache


async def test_a_store_that_was_closed_is_unhealthy(tmp_path: Any) -> None:
    async with SQLiteStore(tmp_path / "flows.db") as store:
        provider = WorkflowProvider(store=store)
        assert (await provider.health_check()).is_healthy()
    result = await provider.health_check()
    assert result.status is HealthStatus.UNHEALTHY
    parts = result.details["components"]
    assert parts["saga_store"]["status"] == parts["state_persistence"]["status"] == "unhealthy"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raising(OSError("no route")), "OSError: no route"),
        (raising(StoreError("the disk is full")), "the disk is full"),
        (raising(ExceptionGroup("several", [ValueError("the one")])), "ValueError: the one"),
        (raising(TimeoutError()), "TimeoutError"),
        (answering(Err(StoreError("locked"))), "locked"),
        (answering(Err("no")), "no"),
    ],
)
async def test_a_store_that_raises_or_answers_err_is_unhealthy(answer: Answer, said: str) -> None:
    result = await WorkflowProvider(saga_store=Sagas(answer)).health_check()
    assert result.status is HealthStatus.UNHEALTHY
    assert saga_part(result)["message"] == said
    assert result.message == f"saga_store: {said}"


@pytest.mark.parametrize("value", [None, Ok(None), ("running", {})])
async def test_any_other_answer_is_one(value: object) -> None:
    assert (await WorkflowProvider(saga_store=Sagas(answering(value))).health_check()).is_healthy()


async def test_the_worst_part_counts_and_each_is_told() -> None:
    provider = WorkflowProvider(
        saga_store=Sagas(raising(OSError("gone"))), db_provider=Database(raising(OSError("away")))
    )
    result = await provider.health_check()
    assert result.message == "saga_store: OSError: gone; state_persistence: OSError: away"
    assert json.loads(json.dumps(result.to_dict()))["status"] == "unhealthy"


# --- time -----------------------------------------------------------------------------------------


async def test_a_store_that_is_too_slow_is_unhealthy_when_time_is_up(
    autojump_clock: MockClock,
) -> None:
    began = trio.current_time()
    result = await WorkflowProvider(saga_store=Sagas(after(6))).health_check()
    assert trio.current_time() - began == pytest.approx(5)
    assert result.message == "saga_store: did not answer within 5 s"
    assert result.duration_ms == pytest.approx(5000)


async def test_a_store_may_use_all_of_its_time(autojump_clock: MockClock) -> None:
    assert (await WorkflowProvider(saga_store=Sagas(after(4.9))).health_check()).is_healthy()


async def test_components_are_asked_side_by_side(autojump_clock: MockClock) -> None:
    provider = WorkflowProvider(saga_store=Sagas(after(3)), db_provider=Database(after(4)))
    result = await provider.health_check(timeout=5)
    assert result.is_healthy()
    assert result.duration_ms == pytest.approx(4000)


async def test_one_slow_component_takes_nothing_from_the_other(autojump_clock: MockClock) -> None:
    provider = WorkflowProvider(saga_store=Sagas(after(60)), db_provider=Database(after(4)))
    parts = (await provider.health_check(timeout=5)).details["components"]
    assert parts["saga_store"]["status"] == "unhealthy"
    assert parts["state_persistence"]["status"] == "healthy"


async def test_without_a_limit_it_waits(autojump_clock: MockClock) -> None:
    provider = WorkflowProvider(saga_store=Sagas(after(1e6)))
    assert (await provider.health_check(math.inf)).is_healthy()


async def test_one_that_shields_itself_is_late(autojump_clock: MockClock) -> None:
    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(8)

    result = await WorkflowProvider(saga_store=Sagas(shielded)).health_check()
    assert result.message == "saga_store: did not answer within 5 s"


@pytest.mark.parametrize("timeout", [-1, "5", None, math.nan])
async def test_a_timeout_that_is_none_is_refused_before_anything_is_asked(timeout: Any) -> None:
    sagas = Sagas()
    with pytest.raises(ConfigurationError):
        await WorkflowProvider(saga_store=sagas).health_check(timeout)
    assert sagas.asked == []


def test_without_a_loop_nothing_is_asked_that_may_not_answer() -> None:
    sagas = Sagas()
    check = WorkflowProvider(saga_store=sagas).health_check()
    with pytest.raises(StopIteration) as ended:
        check.send(None)
    assert ended.value.value.message == "saga_store: not asked: there are no time limits here"
    assert sagas.asked == []


# --- what passes ----------------------------------------------------------------------------------


async def test_a_cancellation_passes_and_ends_the_questions() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("asked")

    provider = WorkflowProvider(saga_store=Sagas(forever), db_provider=Database(forever))
    finished = False
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def check() -> None:
                nonlocal finished
                await provider.health_check()
                finished = True

            nursery.start_soon(check)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert (ended, finished) == (["asked", "asked"], False)


def test_cancelled_anywhere_it_changes_nothing_and_can_be_asked_again() -> None:
    async def scenario() -> None:
        provider = WorkflowProvider(saga_store=Sagas(after(1)), db_provider=Database(after(2)))
        await provider.health_check()

    assert cancel_at_every_step(scenario).points > 2


async def test_an_interrupt_passes_as_it_is() -> None:
    provider = WorkflowProvider(saga_store=Sagas(raising(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        await provider.health_check()


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "cannot reach postgresql://app:geheim@db.internal:5432/flows",
        "cannot reach postgresql://app:ge heim geheim@db/flows?password=geheim",
        "redis://:geheim@cache/0 refused",
        "connect(host=db password=geheim dbname=flows)",
        "connect({'user': 'app', 'password': 'geheim', 'db': 1})",
        'PGPASSWORD="ge heim geheim" is wrong',
        "api_key: geheim",
        "app:geheim@db is no address",
        "AccessToken=geheim&x=1",
    ],
)
async def test_what_a_driver_says_of_its_address_is_left_out(said: str) -> None:
    provider = WorkflowProvider(saga_store=Sagas(raising(OSError(said))))
    result = await provider.health_check()
    assert result.status is HealthStatus.UNHEALTHY
    assert "heim" not in repr(result)
    assert "OSError" in str(result.message)


async def test_a_long_reason_is_cut_to_one_short_line() -> None:
    provider = WorkflowProvider(saga_store=Sagas(raising(OSError("a\nb " * 10_000))))
    message = saga_part(await provider.health_check())["message"]
    assert len(message) <= 200
    assert "\n" not in message


async def test_a_long_reason_is_read_in_no_time() -> None:
    text = "x://" + "@ password= " * 20_000 + "a" * 100_000
    began = time.perf_counter()
    await WorkflowProvider(saga_store=Sagas(raising(OSError(text)))).health_check()
    assert time.perf_counter() - began < 5
