"""Where runs live: the seam through which one kind runs another, hosts, and runs as actors.

| | |
| --- | --- |
| `open_host(store)` | the home of durable instances |
| `WorkflowHandle` | one instance: its outcome, signals, answers, cancellation |
| `Operator(store)` | what can be done to instances without their definitions |
| `Runnable`, `RunContext` | the door between kinds |
| `run_supervised`, `run_actor` | a run as an actor, without a store |
"""

from lexigram_actors.host.actors import run_actor, run_supervised
from lexigram_actors.host.handle import WorkflowHandle
from lexigram_actors.host.history import HistoryEntry
from lexigram_actors.host.host import WorkflowHost
from lexigram_actors.host.journal import Journal, Question
from lexigram_actors.host.opening import open_host
from lexigram_actors.host.operator import InstanceTree, Operator
from lexigram_actors.host.seam import Resumable, RunContext, Runnable
from lexigram_actors.host.steps import StepInfo, current_step

__all__ = [
    "HistoryEntry",
    "InstanceTree",
    "Journal",
    "Operator",
    "Question",
    "Resumable",
    "RunContext",
    "Runnable",
    "StepInfo",
    "WorkflowHandle",
    "WorkflowHost",
    "current_step",
    "open_host",
    "run_actor",
    "run_supervised",
]
