"""The nodes that come with the library."""

from __future__ import annotations

from lexigram_actors.graph.nodes.agent import AgentNode
from lexigram_actors.graph.nodes.function import FunctionNode
from lexigram_actors.graph.nodes.gate import GateNode
from lexigram_actors.graph.nodes.human import HumanNode
from lexigram_actors.graph.nodes.llm import LLMNode
from lexigram_actors.graph.nodes.subworkflow import SubworkflowNode
from lexigram_actors.graph.nodes.tool import ToolNode

__all__ = [
    "AgentNode",
    "FunctionNode",
    "GateNode",
    "HumanNode",
    "LLMNode",
    "SubworkflowNode",
    "ToolNode",
]
