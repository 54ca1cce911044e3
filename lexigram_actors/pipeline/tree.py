"""A pipeline's structure made ready to run: steps by position, with their plan and their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, final

from attrs import evolve, frozen

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.pipeline.plan import Outline, Plan, fits, occurrences, problems_of, unknown_in
from lexigram_actors.pipeline.steps import CompositeStep, FunctionStep, PipelineStep

Path = tuple[str, ...]

MAX_DEPTH: Final = 32
"""Steps that a step may stand inside of. Each takes ten frames of Python's stack, of a thousand."""


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


@final
class Structure:
    """The steps of a pipeline, to which more can be added.

    Args:
        name: The pipeline's, for messages.

    Raises:
        ConfigurationError: The structure is broken (a `ValueError`); every problem is listed.
    """

    __slots__ = ("_name", "_names", "_outlines", "_positions", "_tree", "nodes")

    def __init__(self, name: str, steps: Sequence[PipelineStep]) -> None:
        outlines = [outline_of(step) for step in steps]
        check(f"pipeline {name!r}", problems_of(outlines))
        self._name = name
        self._outlines = {outline.name: outline for outline in outlines}
        self._names = set(occurrences(outlines))
        self._tree: Tree | None = None
        self._positions: dict[str, int] | None = None
        self.nodes = list(map(node_of, steps, outlines))

    def add(self, step: PipelineStep) -> None:
        """Append a step; what is built of them all is built when it is asked for.

        Raises:
            ConfigurationError: It does not fit; nothing has changed.
        """
        outline = outline_of(step)
        if not fits(outline, self._outlines, self._names):
            check(f"pipeline {self._name!r}", problems_of([*self._outlines.values(), outline]))
        self._outlines[outline.name] = outline
        self._names.update(occurrences([outline]))
        self._tree = self._positions = None
        self.nodes.append(node_of(step, outline))

    @property
    def tree(self) -> Tree:
        """The steps as they are now."""
        if self._tree is None:
            self._tree = tree_with(self.nodes, tuple(self._outlines.values()))
        return self._tree

    @property
    def positions(self) -> dict[str, int]:
        """The place of each step, and of those inside it, in the order of declaration."""
        if self._positions is None:
            self._positions = {}
            for position, node in enumerate(self.tree.walk()):
                self._positions.setdefault(node.name, position)
        return self._positions


def tree_alone(step: PipelineStep) -> Tree:
    """Return the tree of a step that runs outside of a run; what it depends on has ended there.

    Raises:
        ConfigurationError: The steps inside cannot run.
    """
    outline = evolve(outline_of(step), dependencies=())
    check(f"step {step.name!r}", problems_of([outline], unknown_in([outline])))
    return tree_of([step], [outline], ())


def check(what: str, problems: list[str]) -> None:
    """Refuse what has problems."""
    if problems:
        raise ConfigurationError(f"{what} cannot run", problems=problems)


def outline_of(step: PipelineStep, depth: int = 0) -> Outline:
    """Return what the plan needs to know of a step.

    Raises:
        ConfigurationError: Steps stand inside each other too deeply.
    """
    if depth > MAX_DEPTH:
        raise ConfigurationError(
            f"step {step.name!r} stands inside more than {MAX_DEPTH} others",
            hint="make a pipeline of the inner steps, and give that as a step",
        )
    groups = step.alternatives() if isinstance(step, CompositeStep) else ()
    inside = tuple(tuple(outline_of(each, depth + 1) for each in group) for group in groups)
    return Outline(step.name, tuple(step.dependencies), inside)


def tree_of(steps: Sequence[PipelineStep], outlines: Sequence[Outline], path: Path) -> Tree:
    """Return the tree of steps whose structure is sound."""
    nodes = [node_of(step, outline, path) for step, outline in zip(steps, outlines, strict=True)]
    return tree_with(nodes, outlines)


def tree_with(nodes: Sequence[Node], outlines: Sequence[Outline]) -> Tree:
    """Return the tree of nodes beside each other."""
    plan = Plan.of(outlines)
    is_in_order = plan.order == tuple(range(len(nodes))) and not any(node.groups for node in nodes)
    return Tree(tuple(nodes), plan, is_in_order)


def node_of(step: PipelineStep, outline: Outline, outer: Path = ()) -> Node:
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
