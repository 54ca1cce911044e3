"""Modules and results of health checks as values; the module's two constructors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.machine.models import StatePersistenceProtocol
from lexigram_actors.module.module import WorkflowModule
from lexigram_actors.module.protocols import ContainerRegistrarProtocol, ContainerResolverProtocol
from lexigram_actors.module.provider import WorkflowProvider
from lexigram_actors.module.values import DynamicModule, HealthCheckResult, HealthStatus
from lexigram_actors.pipeline import PipelineProtocol
from lexigram_actors.saga.models import SagaStoreProtocol
from lexigram_actors.saga.stores import MemorySagaStore
from lexigram_actors.storage import MemoryStore
from tests.module.services import PlainContainer, Sagas


def provider_of(module: DynamicModule) -> WorkflowProvider:
    (provider,) = module.providers
    assert isinstance(provider, WorkflowProvider)
    return provider


def test_a_configured_module_holds_its_provider_and_exports_what_that_binds() -> None:
    config, sagas = BulkOperationConfig(batch_size=200), Sagas()
    module = WorkflowModule.configure(config, sagas)
    assert module.module is WorkflowModule
    assert (provider_of(module).config, provider_of(module).saga_store) == (config, sagas)
    assert {PipelineProtocol, SagaStoreProtocol, BulkOperationConfig} <= set(module.exports)
    assert StatePersistenceProtocol not in module.exports


def test_a_module_with_a_store_exports_where_transitions_are_kept() -> None:
    assert StatePersistenceProtocol in WorkflowModule.configure(store=MemoryStore()).exports


def test_a_stub_keeps_everything_in_memory() -> None:
    assert isinstance(provider_of(WorkflowModule.stub()).saga_store, MemorySagaStore)
    config = BulkOperationConfig(batch_size=2)
    assert provider_of(WorkflowModule.stub(config)).config is config


def test_each_call_makes_a_provider_of_its_own() -> None:
    first, second = WorkflowModule.configure(), WorkflowModule.configure()
    assert provider_of(first) is not provider_of(second)


@pytest.mark.parametrize("config", [3, {"batch_size": 3}, BulkOperationConfig, "", object()])
def test_a_wrong_config_is_refused(config: Any) -> None:
    for make in (WorkflowModule.configure, WorkflowModule.stub):
        with pytest.raises(TypeError, match="config must be a BulkOperationConfig"):
            make(config)


@pytest.mark.parametrize("wrong", [{"module": "workflow"}, {"module": int, "exports": ["x"]}])
def test_a_module_of_no_class_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        DynamicModule(**wrong)


def test_what_is_given_to_a_module_is_not_changed_later() -> None:
    providers = [object()]
    module = DynamicModule(int, providers)
    providers.clear()
    assert len(module.providers) == 1


def test_a_result_is_a_value() -> None:
    result = HealthCheckResult("workflow", HealthStatus.DEGRADED, {"a": 1}, 2.345, "look")
    assert pickle.loads(pickle.dumps(result)) == result
    assert hash(result) == hash(pickle.loads(pickle.dumps(result)))
    assert result.to_dict() == {
        "component": "workflow",
        "status": "degraded",
        "details": {"a": 1},
        "duration_ms": 2.35,
        "message": "look",
    }
    assert not result.is_healthy()


def test_the_states_are_those_of_the_reference() -> None:
    assert list(HealthStatus) == ["healthy", "degraded", "unhealthy"]


def test_a_container_that_fits_fits() -> None:
    container = PlainContainer()
    assert isinstance(container, ContainerRegistrarProtocol)
    assert isinstance(container, ContainerResolverProtocol)
    assert not isinstance(object(), ContainerRegistrarProtocol)


def test_no_framework_is_loaded_before_it_is_used() -> None:
    program = """
import sys, trio
from lexigram_actors.module import WorkflowModule

async def main():
    [provider] = WorkflowModule.stub().providers
    await provider.health_check()

trio.run(main)
print({"anyio", "lexigram", "structlog", "svcs"} & set(sys.modules) or "none")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "none"
