"""Every public name is importable from the package itself, with the reference's parameters."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import attrs
import pytest

import lexigram_actors

EMPTY = inspect.Parameter.empty

PARAMETERS: dict[str, dict[str, Any]] = {
    "BulkOperation": {
        "config": None,
        "processor": None,
        "circuit_breaker": None,
        "checkpoint_store": None,
        "on_progress": None,
        "on_complete": None,
        "on_error": None,
    },
    "BulkOperation.execute": {"items": EMPTY, "processor": None, "operation_id": None},
    "BulkOperation.cancel": {},
    "BulkOperation.shutdown": {},
    "BulkOperation.add_progress_callback": {"callback": EMPTY},
    "BulkOperation.clear_checkpoint": {"operation_id": EMPTY},
    "BulkOperationMetrics.record_start": {"total_items": EMPTY, "total_batches": EMPTY},
    "BulkOperationMetrics.record_end": {},
    "BulkOperationMetrics.record_batch_result": {"result": EMPTY},
    "BulkOperationMetrics.record_error": {"error": EMPTY},
    "BulkOperationError": {"message": "Bulk operation error"},
    "BulkOperationCancelledError": {"message": "Bulk operation cancelled"},
    "BulkOperationTimeoutError": {"message": "Bulk operation timed out"},
    "CycleDetectedError": {"iterations": EMPTY, "node": None},
    "GraphExecutionError": {"message": EMPTY, "node": None},
    "GraphTimeoutError": {"timeout": EMPTY},
    "HumanInputRequiredError": {"prompt": EMPTY, "node": None, "checkpoint_id": None},
    "NodeExecutionError": {"message": EMPTY, "node": None, "cause": None},
    "PipelineExecutionError": {"step_name": EMPTY, "error": EMPTY, "details": None},
    "PipelineStepError": {"message": "Pipeline step error"},
    "WorkflowError": {"message": "Workflow error"},
    "WorkflowNotFoundError": {"workflow_id": EMPTY},
    "WorkflowStepError": {"step_name": EMPTY, "reason": EMPTY},
    "WorkflowVersionMismatchError": {
        "workflow_name": EMPTY,
        "expected_version": EMPTY,
        "actual_version": EMPTY,
    },
    "LexigramError": {
        "message": None,
        "code": None,
        "details": None,
        "hint": None,
        "cause": None,
    },
    "SagaError": {"step_name": EMPTY, "cause": None},
    "SagaStepError": {"step_name": EMPTY, "detail": "", "cause": None},
    "WorkflowStartedEvent": {"workflow_id": EMPTY, "workflow_name": EMPTY},
    "WorkflowCompletedEvent": {"workflow_id": EMPTY, "workflow_name": EMPTY},
    "WorkflowFailedEvent": {"workflow_id": EMPTY, "workflow_name": EMPTY, "error": EMPTY},
    "WorkflowStartedHook": {"workflow_id": EMPTY, "workflow_type": EMPTY},
    "WorkflowCompletedHook": {"workflow_id": EMPTY, "workflow_type": EMPTY, "succeeded": EMPTY},
    "WorkflowStateTransitionedHook": {
        "workflow_id": EMPTY,
        "from_state": EMPTY,
        "to_state": EMPTY,
    },
    "open_system": {"name": "system", "grace": 5.0},
    "ActorSystem.spawn": {
        "behaviour": EMPTY,
        "name": None,
        "mailbox": 64,
        "restart": lexigram_actors.Restart.TEMPORARY,
        "shutdown": 5.0,
    },
    "Mailbox": {"bound": 64, "overflow": lexigram_actors.Overflow.BLOCK, "key": None},
    "ChildSpec": {
        "id": EMPTY,
        "behaviour": EMPTY,
        "args": (),
        "restart": lexigram_actors.Restart.PERMANENT,
        "shutdown": 5.0,
        "significant": False,
        "mailbox": 64,
    },
    "Supervisor": {
        "children": (),
        "strategy": lexigram_actors.Strategy.ONE_FOR_ONE,
        "max_restarts": 1,
        "period": 5.0,
        "auto_shutdown": lexigram_actors.AutoShutdown.NEVER,
        "backoff": None,
    },
    "DynamicSupervisor": {"max_children": float("inf")},
    "ActorRef.tell": {"message": EMPTY},
    "ActorRef.tell_nowait": {"message": EMPTY},
    "ActorRef.ask": {"message": EMPTY, "timeout": None},
    "ActorRef.stop": {"reason": "stopped", "grace": None},
    "ActorRef.monitor": {},
    "CircuitBreakerConfig": {
        "failure_threshold": 5,
        "recovery_timeout": 60.0,
        "success_threshold": 1,
        "name": "",
    },
}

BULK_DEFAULTS = {
    "batch_size": 10,
    "max_concurrency": 5,
    "timeout": 300.0,
    "retry_attempts": 3,
    "retry_delay": 1.0,
    "enable_progress_tracking": True,
    "circuit_breaker_config": None,
    "pipeline_timeout": 60.0,
    "ordered": False,
    "on_poison": "fail",
    "failure_limit": None,
    "jitter": 0.0,
    "rate_limit": None,
    "adaptive": False,
}

GRAPH_DEFAULTS = {
    "enabled": True,
    "max_iterations": 25,
    "node_timeout": 120.0,
    "total_timeout": 0.0,
    "checkpoint_enabled": False,
    "parallel_branches": True,
    "max_parallel_branches": 0,
    "on_conflict": "last",
}

FURTHER_NAMES = """
    Actor ActorContext ActorFailed ActorNode ActorRef ActorStopped ActorUnresponsive AskTimeout
    BulkBatchResult BulkItemError BulkOperationState BulkRun CacheBackendProtocol ChildCounts
    ChildInfo CircuitBreaker CircuitBreakerProtocol CircuitOpenError ConfigIssue
    ConfigurationError DeadLetter Environment Err EventBus Exit GraphValidationError HookRegistry
    LeaseLost MailboxFull MailboxStatistics NonDeterminismError NotStorableError Ok
    ProcessExecutor RestartIntensityExceeded Result RetryPolicy SagaVersionMismatchError
    StateConflictError StoreError ThreadExecutor UnwrapError WorkflowCompensationError
    WorkflowStateError WorkflowTimeoutError bulk_filter bulk_map bulk_reduce open_store
""".split()  # noqa: SIM905 - a list of fifty lines reads worse


def find(path: str) -> Any:
    found: Any = lexigram_actors
    for part in path.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_name_has_the_parameters_and_defaults_of_the_reference(path: str) -> None:
    signature = inspect.signature(find(path))
    for name, default in PARAMETERS[path].items():
        assert name in signature.parameters, f"{path} lacks {name}"
        assert signature.parameters[name].default == default, f"{path}({name}=)"


def test_positional_parameters_stand_in_the_order_of_the_reference() -> None:
    names = list(inspect.signature(lexigram_actors.BulkOperation).parameters)
    assert names[:4] == ["config", "processor", "circuit_breaker", "checkpoint_store"]


@pytest.mark.parametrize("name", FURTHER_NAMES)
def test_a_name_is_importable_flat(name: str) -> None:
    assert name in lexigram_actors.__all__
    assert hasattr(lexigram_actors, name)


def test_the_list_of_public_names_is_true_and_sorted() -> None:
    names = lexigram_actors.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(lexigram_actors, name) is not None


@dataclass
class Case:
    config: Any
    defaults: dict[str, Any]


@pytest.mark.parametrize(
    "case",
    [
        Case(lexigram_actors.BulkOperationConfig, BULK_DEFAULTS),
        Case(lexigram_actors.GraphConfig, GRAPH_DEFAULTS),
    ],
    ids=["bulk", "graph"],
)
def test_a_configuration_has_the_fields_and_defaults_of_the_reference(case: Case) -> None:
    made = case.config()
    assert {f.name: getattr(made, f.name) for f in attrs.fields(case.config)} == case.defaults
