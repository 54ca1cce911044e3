"""Every public name is importable from the package itself, with the reference's parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attrs
import pytest

import lexigram_actors
from lexigram_actors import NodeType

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

SIGNATURES = {
    # --- durable functions
    "workflow": "name=None, *, timeout=None, retries=0",
    "WorkflowDefinition": "name, steps=N, version=1",
    "WorkflowInstance": "instance_id, workflow_name, definition_version",
    "WorkflowInstance.create": "definition",
    "WorkflowInstance.validate_definition_version": "definition",
    # --- graphs
    "AbstractWorkflowNode": "name, node_type=NodeType.CUSTOM",
    "AbstractWorkflowNode.execute": "state",
    "AgentNode": 'name, *, agent, executor=None, input_key="input", output_key="output"',
    "ExecutionHistory": "result",
    "ExecutionHistory.as_dict": "",
    "ExecutionHistory.as_text": "",
    "ExecutionHistory.failed_nodes": "",
    "ExecutionHistory.succeeded_nodes": "",
    "ExecutionHistory.total_node_time_ms": "",
    "GateNode": "name, *, routes=None",
    "GraphConfig.validate_for_environment": "env=None",
    "GraphResult": "final_state, node_results=N, iterations=0, duration_ms=0.0, terminated_at=None",
    "HumanNode": (
        'name, *, prompt="Human input required.", output_key="human_response", resume_key=None'
    ),
    "LLMNode": (
        'name, *, llm, prompt_template="{input}", system_prompt="", output_key="output", '
        "model=None, temperature=None, max_tokens=None"
    ),
    "NodeResult": "node_name, output, duration_ms=0.0, error=None, skipped=False",
    "SubworkflowNode": 'name, *, workflow, input_key="input", output_key="output"',
    "ToolNode": 'name, *, tool, input_key="input", output_key="output", extra_keys=None',
    "WorkflowBuilder": "name, config=None, version=1",
    "WorkflowBuilder.add_node": (
        'name, *, node=None, agent=None, tool=None, llm=None, prompt="", human_prompt="", '
        'subworkflow=None, executor=None, output_key="output"'
    ),
    "WorkflowBuilder.add_gate": "name, routes",
    "WorkflowBuilder.add_edge": 'source, target, *, condition=None, label=""',
    "WorkflowBuilder.set_entry": "node",
    "WorkflowBuilder.set_terminal": "node, *, condition=None",
    "WorkflowBuilder.configure": "config",
    "WorkflowBuilder.build": "",
    "WorkflowCheckpoint": "max_size=512",
    "WorkflowCheckpoint.save": "checkpoint_id, state",
    "WorkflowCheckpoint.load": "checkpoint_id",
    "WorkflowCheckpoint.delete": "checkpoint_id",
    "WorkflowEdge": 'source, target, condition=None, label="", is_parallel=False',
    "WorkflowEdge.is_active": "state",
    "WorkflowEngine": "name, nodes, edges, entry_node, terminal_conditions, config=None, version=1",
    "WorkflowEngine.execute": "input, *, config=None, state=None",
    "WorkflowEngine.resume": "checkpoint_state, human_response, *, config=None",
    "WorkflowEngine.validate": "",
    "WorkflowRunner": "engine, *, max_retries=0, retry_delay=1.0, checkpoint=None",
    "WorkflowRunner.run": "input, *, state=None",
    "WorkflowRunner.resume": 'human_response, *, state, response_key="human_response"',
    "WorkflowState": 'input="", *, initial=None',
    "WorkflowState.get": "key, default=None",
    "WorkflowState.as_dict": "",
    "WorkflowState.merge": "update",
    "WorkflowState.record": "node_name, output",
    # --- pipelines
    "ConditionalStep": (
        "name, condition, true_step, false_step=None, dependencies=None, timeout=None"
    ),
    "FunctionStep": (
        "name, func, dependencies=None, skip_condition=None, error_handler=None, "
        "cleanup_func=None, timeout=None"
    ),
    "ParallelStep": "name, steps, dependencies=None, *, fail_fast=True, timeout=None",
    "Pipeline": "name, steps, checkpoint_store=None",
    "Pipeline.add_step": "step",
    "Pipeline.to_dot": "",
    "Pipeline.execute": "initial_context=None, fail_fast=True",
    "PipelineContext": "pipeline_name, step_results=N, metadata=N, start_time=None, end_time=None",
    "PipelineContext.get_step_result": "step_name, default=None",
    "PipelineContext.set_step_result": "step_name, result",
    "PipelineContext.add_metadata": "key, value",
    "PipelineContext.get_metadata": "key, default=None",
    "PipelineContext.has_failed": "",
    "PipelineStep": "name, dependencies=None, timeout=None, resilience=None",
    "PipelineStep.execute": "context",
    "PipelineStep.should_skip": "context",
    "PipelineStep.on_error": "context, error",
    "PipelineStep.cleanup": "context",
    "conditional": "name, condition, true_step, false_step=None, dependencies=None, timeout=None",
    "parallel": "name, steps, dependencies=None, *, fail_fast=True, timeout=None",
    "pipeline_step": "dependencies=None",
    "step": "name, func, dependencies=None, timeout=None",
    # --- transform pipes
    "TransformPipe": "steps=None, error_handler=None",
    "TransformPipe.pipe": "step",
    "TransformPipe.tap": "side_effect",
    "TransformPipe.pipe_if": "predicate, step",
    "TransformPipe.catch": "handler",
    "TransformPipe.execute": "value, **kwargs",
}
"""The parameters as the reference has them; `N` is a default that is made anew each time."""

FIELDS = {
    "GraphResult": "final_state node_results iterations duration_ms terminated_at",
    "NodeResult": "node_name output duration_ms error skipped",
    "PipelineContext": "pipeline_name step_results metadata start_time end_time",
    "StepExecutionResult": "step_name status result error duration metadata skipped_reason",
    "WorkflowEdge": "source target condition label is_parallel",
}

PROPERTIES = {
    "AbstractWorkflowNode": "name node_type",
    "GraphResult": "output succeeded",
    "NodeResult": "succeeded",
    "PipelineContext": "duration failed_steps successful_steps",
    "WorkflowEngine": "name version",
    "WorkflowState": "iteration history",
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
    AgentExecutorProtocol AgentProtocol AnswerInvalidError ChatMessage Command FunctionNode
    GraphEvent GraphStream LLMClientProtocol NodeFinished NodeStarted NodeType PendingQuestion
    PipelineProtocol RunContext RunFinished Runnable Send StateUpdated StepStatus TimelineEntry
    TokenEmitted ToolProtocol emit_token
""".split()  # noqa: SIM905 - a list of a hundred lines reads worse


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


@pytest.mark.parametrize("kind", ["graph", "pipeline"])
def test_what_a_kind_lists_as_public_is_importable_flat(kind: str) -> None:
    module = importlib.import_module(f"lexigram_actors.{kind}")
    for name in module.__all__:
        assert getattr(lexigram_actors, name) is getattr(module, name)
        assert name in lexigram_actors.__all__


def parameters_of(path: str) -> list[inspect.Parameter]:
    found = find(path)
    listed = list(inspect.signature(found).parameters.values())
    is_method = "." in path and not isinstance(found, type) and not inspect.ismethod(found)
    return listed[1:] if is_method else listed


POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@pytest.mark.parametrize("path", SIGNATURES)
def test_whatever_call_the_reference_allows_is_allowed(path: str) -> None:
    names = {"N": attrs.NOTHING, "NodeType": NodeType}
    written = eval(f"lambda {SIGNATURES[path]}: 0", names)  # noqa: S307 - the table above
    expected = list(inspect.signature(written).parameters.values())
    found = parameters_of(path)
    in_order = [each.name for each in expected if each.kind in POSITIONAL]
    assert [each.name for each in found if each.kind in POSITIONAL][: len(in_order)] == in_order
    by_name = {each.name: each for each in found}
    for each in expected:
        if each.default is not EMPTY:
            assert by_name[each.name].default == each.default, each
        elif each.name not in in_order:
            assert each.name in by_name, each
    for further in by_name.keys() - {each.name for each in expected}:
        assert by_name[further].default is not EMPTY or by_name[further].kind in VARIABLE, further


SAME = {
    "AbstractWorkflowNode": "AgentNode GateNode HumanNode LLMNode SubworkflowNode ToolNode",
    "PipelineStep": "ConditionalStep FunctionStep ParallelStep",
}


@pytest.mark.parametrize("base", SAME)
def test_every_node_and_step_is_called_as_its_base_is(base: str) -> None:
    methods = {path.rpartition(".")[2] for path in SIGNATURES if path.startswith(f"{base}.")}
    for name in SAME[base].split():
        assert issubclass(find(name), find(base))
        for method in methods:
            found = [(each.name, each.default) for each in parameters_of(f"{name}.{method}")]
            expected = [(each.name, each.default) for each in parameters_of(f"{base}.{method}")]
            assert found == expected, f"{name}.{method}"


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_has_the_fields_of_the_reference_in_their_order(name: str) -> None:
    names = [each.name for each in parameters_of(name)]
    expected = FIELDS[name].split()
    assert names[: len(expected)] == expected
    made = find(name)(**dict.fromkeys(expected))
    assert {field: getattr(made, field) for field in expected} == dict.fromkeys(expected)


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_class_has_the_properties_of_the_reference(name: str) -> None:
    for each in PROPERTIES[name].split():
        assert isinstance(getattr(find(name), each), property), each


@pytest.mark.parametrize(
    ("enumeration", "values"),
    [
        (lexigram_actors.NodeType, "agent tool llm gate human subworkflow custom"),
        (lexigram_actors.StepStatus, "pending running completed failed skipped"),
    ],
    ids=["NodeType", "StepStatus"],
)
def test_an_enumeration_has_the_members_of_the_reference(enumeration: Any, values: str) -> None:
    assert {each.name: each.value for each in enumeration} == {
        value.upper(): value for value in values.split()
    }


@pytest.mark.parametrize(
    "path",
    """AbstractWorkflowNode.execute AgentNode.execute GateNode.execute HumanNode.execute
    LLMNode.execute SubworkflowNode.execute ToolNode.execute WorkflowEngine.execute
    WorkflowEngine.resume WorkflowRunner.run WorkflowRunner.resume Pipeline.execute
    PipelineStep.execute PipelineStep.should_skip PipelineStep.on_error PipelineStep.cleanup
    TransformPipe.execute""".split(),  # noqa: SIM905 - a list of lines reads worse
)
def test_what_the_reference_awaits_is_awaited(path: str) -> None:
    assert inspect.iscoroutinefunction(find(path))


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


def test_type_checkers_see_the_names_that_there_are() -> None:
    stub = ast.parse(Path(lexigram_actors.__file__).with_suffix(".pyi").read_text("utf-8"))
    seen = {
        each.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    there = {name: f"lexigram_actors.{home}" for name, home in lexigram_actors.MODULE_OF.items()}
    assert seen == there
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(lexigram_actors.__all__)


def test_a_name_that_there_is_not_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        lexigram_actors.nonsense  # noqa: B018
    assert "open_host" in dir(lexigram_actors)
    assert lexigram_actors.graph.WorkflowBuilder is lexigram_actors.WorkflowBuilder
