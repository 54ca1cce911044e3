"""Durable functions: plain async code that survives crashes, step by step.

| | |
| --- | --- |
| `@workflow` | marks a function |
| `WorkflowContext` | what it acts through; see there for every command |
| `current_step()` | which step is running, for the body of a step |
| `WorkflowDefinition`, `WorkflowInstance` | descriptions, and the check of versions |
"""

from lexigram_actors.host.steps import StepInfo, current_step
from lexigram_actors.workflow.context import Child, WorkflowContext
from lexigram_actors.workflow.decorators import workflow
from lexigram_actors.workflow.definition import WorkflowDefinition, WorkflowInstance
from lexigram_actors.workflow.function import DurableFunction
from lexigram_actors.workflow.scopes import Branch, Parallel, TimeLimit

__all__ = [
    "Branch",
    "Child",
    "DurableFunction",
    "Parallel",
    "StepInfo",
    "TimeLimit",
    "WorkflowContext",
    "WorkflowDefinition",
    "WorkflowInstance",
    "current_step",
    "workflow",
]
