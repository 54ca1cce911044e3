"""A pipeline's structure made ready to run: steps by position, with their plan and their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

from attrs import frozen

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.pipeline.plan import Outline, Plan, problems_of
from lexigram_actors.pipeline.steps import CompositeStep, FunctionStep, PipelineStep

Path = tuple[str, ...]


@final
@frozen(eq=False)
class Node:
    """A step at its place.

    Attributes:
        path: The names on the way to it; in a conditional step its branch, 0 or 1, as well, since
            the step in the one may have the name of the step in the other.
        groups: The steps inside, by groups of which one run takes one.
        is_function: Whether it is a `FunctionStep` and nothing else.
        is_composite: Whether its work is to run the steps inside.
    """

    step: PipelineStep
    name: str
    path: Path
    groups: tuple[Tree, ...]
    is_function: bool
    is_composite: bool


@final
@frozen(eq=False)
class Tree:
    """Steps beside each other, with what is inside them.

    Attributes:
        is_in_order: Whether steps that run one at a time end in the order of declaration.
    """

    nodes: tuple[Node, ...]
    plan: Plan
    is_in_order: bool

    def walk(self) -> Iterator[Node]:
        """Yield every node, each before those inside it."""
        for node in self.nodes:
            yield node
            for group in node.groups:
                yield from group.walk()


def checked_tree(name: str, steps: Sequence[PipelineStep]) -> Tree:
    """Return the tree of the steps.

    Raises:
        ConfigurationError: The structure is broken (a `ValueError`); every problem is listed.
    """
    outlines = tuple(map(outline_of, steps))
    problems = problems_of(outlines)
    if problems:
        raise ConfigurationError(f"pipeline {name!r} cannot run", problems=problems)
    return tree_of(steps, outlines, ())


def outline_of(step: PipelineStep) -> Outline:
    """Return what the plan needs to know of a step."""
    groups = step.alternatives() if isinstance(step, CompositeStep) else ()
    inside = tuple(tuple(map(outline_of, group)) for group in groups)
    return Outline(step.name, tuple(step.dependencies), inside)


def tree_of(steps: Sequence[PipelineStep], outlines: Sequence[Outline], path: Path) -> Tree:
    """Return the tree of steps whose structure is sound."""
    nodes = [node_of(step, outline, path) for step, outline in zip(steps, outlines, strict=True)]
    plan = Plan.of(outlines)
    is_in_order = plan.order == tuple(range(len(nodes))) and not any(node.groups for node in nodes)
    return Tree(tuple(nodes), plan, is_in_order)


def node_of(step: PipelineStep, outline: Outline, outer: Path) -> Node:
    """Return the node of a step inside the steps of the path."""
    path = (*outer, step.name)
    groups = step.alternatives() if isinstance(step, CompositeStep) else ()
    return Node(
        step,
        step.name,
        path,
        tuple(
            tree_of(group, outlines, path if len(groups) == 1 else (*path, str(number)))
            for number, (group, outlines) in enumerate(
                zip(groups, outline.alternatives, strict=True)
            )
        ),
        is_function=type(step) is FunctionStep,
        is_composite=isinstance(step, CompositeStep) and not step.is_overridden(),
    )
