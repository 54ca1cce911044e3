"""The picture of a pipeline: an arrow from each step to those that wait for it."""

from __future__ import annotations

from collections.abc import Iterator

from lexigram_actors.drawing import Diagram, DiagramEdge, DiagramNode, Line, Shape
from lexigram_actors.pipeline.groups import ConditionalStep
from lexigram_actors.pipeline.tree import Node, Tree

BRANCHES = ("true", "false")


def diagram_of(name: str, tree: Tree) -> Diagram:
    """Return the diagram of the steps; those inside a step hang from it by dashed arrows."""
    nodes = [DiagramNode(node.name, node.name, shape=shape_of(node)) for node in tree.walk()]
    return Diagram(name, nodes, [*dependency_edges(tree), *inner_edges(tree)], direction="LR")


def shape_of(node: Node) -> Shape:
    """Return the outline of a step."""
    if is_choice(node):
        return Shape.DIAMOND
    return Shape.FRAMED if node.groups else Shape.BOX


def is_choice(node: Node) -> bool:
    """Say whether one of the steps inside runs, not all of them."""
    return isinstance(node.step, ConditionalStep)


def dependency_edges(tree: Tree) -> Iterator[DiagramEdge]:
    """Yield an arrow from each dependency, at every depth."""
    for node in tree.walk():
        for dependency in dict.fromkeys(node.step.dependencies):
            yield DiagramEdge(dependency, node.name)


def inner_edges(tree: Tree) -> Iterator[DiagramEdge]:
    """Yield an arrow to each step inside another, with the branch it is for."""
    for node in tree.walk():
        for number, group in enumerate(node.groups):
            label = BRANCHES[number] if is_choice(node) else ""
            for inner in group.nodes:
                yield DiagramEdge(node.name, inner.name, label, Line.DASHED)
