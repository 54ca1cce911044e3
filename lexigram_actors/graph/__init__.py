"""Graphs: nodes that start as soon as they are ready, and see what their causal past wrote.

| | |
| --- | --- |
| `WorkflowBuilder` | collects nodes and edges, and checks them |
| `WorkflowEngine` | runs the graph: `execute`, `resume` after a question, `astream` |
| `WorkflowRunner` | the same with retries, from the last node that finished |
| `nodes` | the nodes that come with the library |
"""

from lexigram_actors.graph.builder import WorkflowBuilder
from lexigram_actors.graph.checkpoint import WorkflowCheckpoint
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.engine import WorkflowEngine
from lexigram_actors.graph.history import ExecutionHistory, TimelineEntry
from lexigram_actors.graph.models import (
    Command,
    GraphEvent,
    GraphResult,
    NodeFinished,
    NodeResult,
    NodeStarted,
    NodeType,
    PendingQuestion,
    RunFinished,
    Send,
    StateUpdated,
    TokenEmitted,
)
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.nodes import (
    AgentNode,
    FunctionNode,
    GateNode,
    HumanNode,
    LLMNode,
    SubworkflowNode,
    ToolNode,
)
from lexigram_actors.graph.protocols import (
    AgentExecutorProtocol,
    AgentProtocol,
    ChatMessage,
    LLMClientProtocol,
    ToolProtocol,
)
from lexigram_actors.graph.runner import WorkflowRunner
from lexigram_actors.graph.state import WorkflowState
from lexigram_actors.graph.stream import GraphStream
from lexigram_actors.graph.tokens import emit_token

__all__ = [
    "AbstractWorkflowNode",
    "AgentExecutorProtocol",
    "AgentNode",
    "AgentProtocol",
    "ChatMessage",
    "Command",
    "ExecutionHistory",
    "FunctionNode",
    "GateNode",
    "GraphEvent",
    "GraphResult",
    "GraphStream",
    "HumanNode",
    "LLMClientProtocol",
    "LLMNode",
    "NodeFinished",
    "NodeResult",
    "NodeStarted",
    "NodeType",
    "PendingQuestion",
    "RunFinished",
    "Send",
    "StateUpdated",
    "SubworkflowNode",
    "TimelineEntry",
    "TokenEmitted",
    "ToolNode",
    "ToolProtocol",
    "WorkflowBuilder",
    "WorkflowCheckpoint",
    "WorkflowEdge",
    "WorkflowEngine",
    "WorkflowRunner",
    "WorkflowState",
    "emit_token",
]
