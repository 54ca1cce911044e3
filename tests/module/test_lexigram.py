"""A real application of lexigram, on asyncio, with our module where its own would be.

lexigram sets up logging for the whole process when an application is made; the fixture puts back
what was there. Trio runs nowhere here.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog
from lexigram.app.base import Application
from lexigram.config import LexigramConfig
from lexigram.contracts.core.health import AggregateHealthResult
from lexigram.di.module import Module, module

from lexigram_actors.config import BulkOperationConfig, GraphConfig
from lexigram_actors.errors import ConfigurationError, MissingExtraError
from lexigram_actors.machine.models import StatePersistenceProtocol
from lexigram_actors.machine.persistence import DatabaseStatePersistence
from lexigram_actors.module.lexigram_adapter import for_lexigram
from lexigram_actors.module.module import WorkflowModule
from lexigram_actors.module.provider import WorkflowProvider
from lexigram_actors.module.values import DynamicModule, HealthCheckResult, HealthStatus
from lexigram_actors.pipeline import Pipeline, PipelineProtocol
from lexigram_actors.saga.models import SagaStoreProtocol
from lexigram_actors.storage import MemoryStore
from tests.module.services import Database, Sagas, raising


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back the logging of the process after lexigram has set it up."""
    monkeypatch.setenv("LEX_QUIET", "1")
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def with_application(
    use: Callable[[Application], Awaitable[Any]], *modules: Any, **settings: Any
) -> Any:
    """Boot an application on asyncio, use it, and stop it; return what `use` returned."""

    async def main() -> Any:
        config = LexigramConfig(**settings)
        async with Application.boot("ours", modules=list(modules), config=config) as app:
            return await use(app)

    return asyncio.run(main())


def configured(**arguments: Any) -> Any:
    return for_lexigram(WorkflowModule.configure(**arguments))


async def healthy(app: Application) -> AggregateHealthResult:
    return await app.health_check()


# --- booting and resolving ------------------------------------------------------------------------


def test_an_application_boots_with_our_module_and_resolves_what_it_binds() -> None:
    config, sagas = BulkOperationConfig(batch_size=200), Sagas()

    async def use(app: Application) -> None:
        assert await app.container.resolve(BulkOperationConfig) is config
        assert await app.container.resolve(SagaStoreProtocol) is sagas
        assert (await app.container.resolve(GraphConfig)).max_iterations == 25
        provider = await app.container.resolve(WorkflowProvider)
        assert provider.config is config
        pipeline = await app.container.resolve(Pipeline)
        assert pipeline is await app.container.resolve(PipelineProtocol)
        assert pipeline.name == "default"
        assert sagas.asked == []

    with_application(use, configured(config=config, saga_store=sagas))


def test_another_module_imports_ours_and_sees_what_it_exports() -> None:
    ours = configured()

    @module(imports=[ours])
    class AppModule(Module):
        pass

    async def use(app: Application) -> Any:
        return await app.container.resolve(SagaStoreProtocol)

    assert type(with_application(use, AppModule)).__name__ == "MemorySagaStore"


def test_a_database_of_the_application_keeps_the_transitions() -> None:
    async def use(app: Application) -> Any:
        return await app.container.resolve(StatePersistenceProtocol)

    kept = with_application(use, configured(db_provider=Database()))
    assert isinstance(kept, DatabaseStatePersistence)


def test_stopping_shuts_the_provider_down() -> None:
    ours = WorkflowModule.configure()

    async def use(app: Application) -> None:
        assert app.is_running

    with_application(use, for_lexigram(ours))
    result = asyncio.run(ours.providers[0].health_check())
    assert result.message == "shut down"


def test_an_application_that_gives_other_settings_does_not_boot() -> None:
    provider = WorkflowProvider()
    provider.config = 3  # type: ignore[assignment]
    ours = for_lexigram(DynamicModule(WorkflowModule, [provider], list(provider.bindings())))

    async def use(app: Application) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="BulkOperationConfig"):
        with_application(use, ours)


def test_two_applications_one_after_the_other_share_nothing() -> None:
    async def use(app: Application) -> Any:
        return await app.container.resolve(Pipeline)

    assert with_application(use, configured()) is not with_application(use, configured())


# --- health ---------------------------------------------------------------------------------------


def test_its_health_check_asks_ours() -> None:
    sagas, database = Sagas(), Database()
    result = with_application(healthy, configured(saga_store=sagas, db_provider=database))
    (part,) = result.components
    assert (result.status, part.component) == ("healthy", "workflow")
    assert len(sagas.asked) == 1
    assert database.statements == ["SELECT 1"]


def test_the_default_store_is_asked_on_any_loop() -> None:
    assert with_application(healthy, configured()).is_healthy()


def test_a_database_that_fails_is_told_without_secrets() -> None:
    database = Database(raising(OSError("no route to postgresql://app:geheim@db/flows")))
    (part,) = with_application(healthy, configured(db_provider=database)).components
    assert part.status == "unhealthy"
    assert part.error == "state_persistence: OSError: no route to postgresql:..."


def test_a_store_that_does_not_answer_on_asyncio_is_ended() -> None:
    ended: list[bool] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    result = asyncio.run(WorkflowProvider(saga_store=Sagas(forever)).health_check(0))
    assert result.message == "saga_store: did not answer within 0 s"
    assert ended == [True]


def test_ours_gets_less_time_than_lexigram_waits() -> None:
    class Inner:
        name = "workflow"

        async def health_check(self, timeout: float) -> HealthCheckResult:
            return HealthCheckResult(self.name, HealthStatus.UNHEALTHY, {}, 7.0, f"{timeout:g}")

    ours = for_lexigram(DynamicModule(WorkflowModule, [Inner()]))
    result = asyncio.run(ours.providers[0].health_check(50))
    assert (result.message, result.error, result.duration_ms) == ("45", "45", 7.0)


def test_a_store_of_ours_is_not_asked_from_asyncio() -> None:
    store = MemoryStore()
    (part,) = with_application(healthy, configured(store=store)).components
    assert part.status == "degraded"
    said = "not asked: it answers under Trio only, not under asyncio"
    assert part.message == f"saga_store: {said}; state_persistence: {said}"


def test_what_says_that_it_needs_trio_is_not_asked_either() -> None:
    class OfTrio(Sagas):
        async_library = "trio"

    sagas = OfTrio()
    assert with_application(healthy, configured(saga_store=sagas)).status == "degraded"
    assert sagas.asked == []


def test_details_are_left_out_where_the_application_says_so() -> None:
    result = with_application(healthy, configured(), health={"include_details": False})
    assert result.components[0].details is None


def test_without_anyio_nothing_is_asked_that_may_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "anyio", None)
    sagas = Sagas()
    (part,) = with_application(healthy, configured(saga_store=sagas)).components
    assert part.status == "degraded"
    assert "anyio" in str(part.message)
    assert sagas.asked == []
    assert with_application(healthy, configured()).is_healthy()


def test_a_cancelled_check_is_cancelled() -> None:
    ended: list[bool] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        provider = WorkflowProvider(saga_store=Sagas(forever), db_provider=Database(forever))
        check = asyncio.create_task(provider.health_check())
        while not provider.saga_store.asked:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        check.cancel()
        with pytest.raises(asyncio.CancelledError):
            await check

    asyncio.run(main())
    assert ended == [True, True]


# --- the adapter ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [WorkflowModule, WorkflowProvider(), None])
def test_what_is_no_module_of_ours_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="DynamicModule"):
        for_lexigram(wrong)


def test_without_lexigram_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lexigram.di.module", None)
    with pytest.raises(MissingExtraError, match="lexigram"):
        configured()


def test_nothing_of_ours_loads_trios_loop_for_asyncio() -> None:
    assert "trio_asyncio" not in sys.modules
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_application(healthy, configured())
