"""A provider in a container: what it binds, boots and ends."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from lexigram_actors import MemoryStore
from lexigram_actors.config import BulkOperationConfig, GraphConfig
from lexigram_actors.errors import ConfigurationError
from lexigram_actors.machine.machine import StateMachine
from lexigram_actors.machine.models import (
    State,
    StateMachineProtocol,
    StatePersistenceProtocol,
    Transition,
)
from lexigram_actors.machine.persistence import DatabaseStatePersistence
from lexigram_actors.machine.stored import StoreStatePersistence
from lexigram_actors.module.provider import WorkflowProvider
from lexigram_actors.pipeline import FunctionStep, Pipeline, PipelineProtocol
from lexigram_actors.saga.models import SagaStoreProtocol
from lexigram_actors.saga.stores import CacheSagaStore, MemorySagaStore
from tests.module.services import Database, PlainContainer, Sagas, booted


def machine() -> StateMachine:
    return StateMachine([State("off", {"press": Transition("press", "on")}), State("on")], "off")


# --- binding --------------------------------------------------------------------------------------


async def test_everything_that_is_bound_can_be_resolved() -> None:
    config, graph = BulkOperationConfig(batch_size=3), GraphConfig(max_iterations=4)
    provider = WorkflowProvider(config, graph_config=graph)
    container = await booted(provider)
    assert await container.resolve(WorkflowProvider) is provider
    assert await container.resolve(BulkOperationConfig) is config
    assert await container.resolve(GraphConfig) is graph
    assert isinstance(await container.resolve(SagaStoreProtocol), MemorySagaStore)
    assert set(container.factories) == set(provider.bindings())


async def test_the_pipeline_is_one_for_both_names_and_runs() -> None:
    container = await booted(WorkflowProvider())
    pipeline = await container.resolve(Pipeline)
    assert await container.resolve(PipelineProtocol) is pipeline
    assert (await pipeline.execute()).is_ok()
    pipeline.add_step(FunctionStep("greet", lambda context: "hello"))
    done = (await pipeline.execute()).unwrap()
    assert done.step_results == {"greet": "hello"}


async def test_nothing_is_bound_for_machines_unless_it_was_given() -> None:
    container = await booted(WorkflowProvider())
    assert StateMachineProtocol not in container.factories
    assert StatePersistenceProtocol not in container.factories


async def test_a_machine_that_was_given_is_bound() -> None:
    given = machine()
    container = await booted(WorkflowProvider(state_machine=given))
    assert await container.resolve(StateMachineProtocol) is given
    result = await (await container.resolve(WorkflowProvider)).health_check()
    assert result.details["components"]["state_machine"] == {
        "status": "healthy",
        "driver": "StateMachine",
    }


async def test_a_database_keeps_transitions_and_is_not_touched_before() -> None:
    database = Database()
    container = await booted(WorkflowProvider(db_provider=database, state_table="moves"))
    assert isinstance(await container.resolve(StatePersistenceProtocol), DatabaseStatePersistence)
    assert database.statements == []


async def test_sagas_and_transitions_follow_from_a_store() -> None:
    container = await booted(WorkflowProvider(store=MemoryStore()))
    assert isinstance(await container.resolve(SagaStoreProtocol), CacheSagaStore)
    persistence = await container.resolve(StatePersistenceProtocol)
    assert isinstance(persistence, StoreStatePersistence)
    assert await persistence.append_transition("lamp", "off", "press", "on", 0) == 1
    assert await persistence.get_current_version("lamp") == 1


async def test_what_is_given_besides_a_store_wins() -> None:
    sagas, database = Sagas(), Database()
    provider = WorkflowProvider(None, sagas, None, database, store=MemoryStore())
    container = await booted(provider)
    assert await container.resolve(SagaStoreProtocol) is sagas
    assert isinstance(await container.resolve(StatePersistenceProtocol), DatabaseStatePersistence)


async def test_a_provider_from_a_config_takes_the_other_arguments_by_name() -> None:
    config, sagas = BulkOperationConfig(batch_size=7), Sagas()
    provider = WorkflowProvider.from_config(config, saga_store=sagas)
    assert (provider.config, provider.saga_store) == (config, sagas)
    with pytest.raises(TypeError, match="sagastore"):
        WorkflowProvider.from_config(config, sagastore=sagas)


async def test_two_providers_side_by_side_share_nothing() -> None:
    one, two = WorkflowProvider(), WorkflowProvider()
    first, second = await booted(one), await booted(two)
    for interface in (Pipeline, SagaStoreProtocol, WorkflowProvider):
        assert await first.resolve(interface) is not await second.resolve(interface)
    await one.shutdown()
    assert not (await one.health_check()).is_healthy()
    assert (await two.health_check()).is_healthy()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"config": {"batch_size": 3}}, "config"),
        ({"config": GraphConfig()}, "config"),
        ({"saga_store": object()}, "saga_store"),
        ({"saga_store": Sagas}, "saga_store"),
        ({"state_machine": "off"}, "state_machine"),
        ({"db_provider": "postgresql://me:geheim@db/x"}, "db_provider"),
        ({"store": "sqlite:///x.db"}, "store"),
        ({"graph_config": BulkOperationConfig()}, "graph_config"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=f"^{named} must be a ") as caught:
        WorkflowProvider(**arguments)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("database", [None, Database()])
@pytest.mark.parametrize("name", ["a; DROP TABLE b", "", "1a", "x" * 64, None, 3])
def test_a_table_without_a_name_of_one_is_refused(database: Database | None, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="state_table"):
        WorkflowProvider(db_provider=database, state_table=name)


# --- booting and shutting down --------------------------------------------------------------------


async def test_registering_in_what_is_no_registrar_is_refused() -> None:
    with pytest.raises(TypeError, match="registrar"):
        await WorkflowProvider().register({})  # type: ignore[arg-type]


async def test_booting_from_what_is_no_resolver_is_refused() -> None:
    with pytest.raises(TypeError, match="resolver"):
        await WorkflowProvider().boot({})  # type: ignore[arg-type]


async def test_booting_logs_the_settings_in_force(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lexigram_actors.module.provider")
    provider = WorkflowProvider()
    container = PlainContainer()
    await provider.register(container)
    in_force = BulkOperationConfig(batch_size=77)
    container.singleton(BulkOperationConfig, lambda: in_force)
    await provider.boot(container)
    assert "batch_size=77" in caplog.text
    assert caplog.records[-1].__dict__["config"] is in_force


async def test_booting_refuses_settings_that_are_none() -> None:
    provider, container = WorkflowProvider(), PlainContainer()
    await provider.register(container)
    container.singleton(BulkOperationConfig, lambda: {"batch_size": 77})
    with pytest.raises(ConfigurationError, match="BulkOperationConfig"):
        await provider.boot(container)


async def test_an_error_of_the_container_passes() -> None:
    with pytest.raises(KeyError):
        await WorkflowProvider().boot(PlainContainer())


async def test_shutting_down_twice_is_shutting_down_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lexigram_actors.module.provider")
    provider = WorkflowProvider()
    await booted(provider)
    await provider.shutdown()
    await provider.shutdown()
    assert caplog.text.count("shut down") == 1


async def test_shutting_down_closes_nothing_that_was_given() -> None:
    store, database = MemoryStore(), Database()
    provider = WorkflowProvider(db_provider=database, store=store)
    await booted(provider)
    await provider.shutdown()
    assert database.connected
    assert (await store.cache.set("still", "open")).is_ok()


async def test_a_provider_boots_again_after_it_was_shut_down() -> None:
    provider = WorkflowProvider()
    await booted(provider)
    await provider.shutdown()
    assert (await provider.health_check()).message == "shut down"
    await booted(provider)
    assert (await provider.health_check()).is_healthy()


async def test_registering_in_a_cancelled_scope_binds_everything() -> None:
    container, provider = PlainContainer(), WorkflowProvider()
    with trio.CancelScope() as scope:
        scope.cancel()
        await provider.register(container)
        await provider.shutdown()
    assert set(container.factories) == set(provider.bindings())


async def test_a_cancellation_while_booting_passes() -> None:
    class Slow(PlainContainer):
        async def resolve(self, interface: type) -> Any:
            await trio.sleep_forever()

    provider = WorkflowProvider()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provider.boot, Slow())
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
