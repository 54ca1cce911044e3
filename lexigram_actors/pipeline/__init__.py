"""Pipelines: steps in the order of their dependencies."""

from lexigram_actors.pipeline.context import PipelineContext
from lexigram_actors.pipeline.decorators import conditional, parallel, pipeline_step, step
from lexigram_actors.pipeline.groups import ConditionalStep, ParallelStep
from lexigram_actors.pipeline.models import StepExecutionResult, StepStatus
from lexigram_actors.pipeline.pipeline import Pipeline
from lexigram_actors.pipeline.protocols import (
    PipelineProtocol,
    ResiliencePipelineProtocol,
    ResilienceProtocol,
)
from lexigram_actors.pipeline.steps import FunctionStep, PipelineStep
from lexigram_actors.pipeline.transform import TransformPipe

__all__ = [
    "ConditionalStep",
    "FunctionStep",
    "ParallelStep",
    "Pipeline",
    "PipelineContext",
    "PipelineProtocol",
    "PipelineStep",
    "ResiliencePipelineProtocol",
    "ResilienceProtocol",
    "StepExecutionResult",
    "StepStatus",
    "TransformPipe",
    "conditional",
    "parallel",
    "pipeline_step",
    "step",
]
