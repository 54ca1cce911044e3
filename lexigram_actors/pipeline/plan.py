"""Which step may start, which is skipped, and what is wrong with a structure. Pure.

Steps are known by their position. Of those that are ready the one added first starts first, so
`[a, c (after a), b]` runs a, c, b. That order is the same whichever steps are left out because
one before them failed: what is left out has nothing behind it that is not left out too. So a run
of one step at a time follows `Plan.order`; one of several side by side asks a `Progress`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import final

from attrs import frozen


@final
@frozen
class Outline:
    """A step as far as the structure goes.

    Attributes:
        alternatives: The steps inside it, by groups of which one run takes one: a parallel step
            has a single group, a conditional step one for each branch.
    """

    name: str
    dependencies: tuple[str, ...] = ()
    alternatives: tuple[tuple[Outline, ...], ...] = ()


# --- what is wrong ---------------------------------------------------------------------------


def problems_of(steps: Sequence[Outline], ended: frozenset[str] = frozenset()) -> list[str]:
    """Return a sentence for each thing that is wrong, none where the steps can run.

    Args:
        ended: Names of steps that have ended before any of these begins.
    """
    return [*duplicate_problems(steps), *level_problems(steps, ended, "")]


def fits(step: Outline, others: Mapping[str, Outline], taken: Container[str]) -> bool:
    """Say whether nothing is wrong with steps that can run when this one is added to them.

    What it takes does not grow with their number, unless steps inside depend on those outside.

    Args:
        others: The steps beside it, by name.
        taken: Their names, and those of the steps inside them.
    """
    inside = occurrences([step])
    return (
        max(inside.values()) == 1
        and not any(name in taken for name in inside)
        and all(name in others for name in step.dependencies)
        and all(
            not level_problems(group, frozenset(), "")
            or not level_problems(group, ancestors_of(step, others), "")
            for group in step.alternatives
        )
    )


def unknown_in(steps: Iterable[Outline]) -> frozenset[str]:
    """Return the names that the steps, and those inside them, depend on and that are not there."""
    steps = list(steps)
    wanted: set[str] = set()
    waiting = list(steps)
    while waiting:
        step = waiting.pop()
        wanted.update(step.dependencies)
        for group in step.alternatives:
            waiting += group
    return frozenset(wanted - occurrences(steps).keys())


def duplicate_problems(steps: Sequence[Outline]) -> list[str]:
    """Return a sentence for each name that two steps of the same run would share."""
    return [
        f"{number} steps have the name {name!r}, and results are kept by name"
        for name, number in occurrences(steps).items()
        if number > 1
    ]


def occurrences(steps: Iterable[Outline]) -> Counter[str]:
    """Count how often each name can occur in one run."""
    total: Counter[str] = Counter()
    for step in steps:
        total[step.name] += 1
        inside: Counter[str] = Counter()
        for group in step.alternatives:
            inside |= occurrences(group)
        total += inside
    return total


def level_problems(steps: Sequence[Outline], ended: frozenset[str], where: str) -> list[str]:
    """Return what is wrong with the dependencies of steps beside each other, and inside them.

    Args:
        ended: Names of steps further out that have ended before any of these begins.
        where: Ends the sentences; says which step these are inside of.
    """
    names = {step.name for step in steps}
    problems = [
        f"step {step.name!r}{where} depends on {dependency!r}, and there is no such step"
        + (" beside it" if where else "")
        for step in steps
        for dependency in dict.fromkeys(step.dependencies)
        if dependency not in names and dependency not in ended
    ]
    for cycle in cycles_of(steps):
        path = " -> ".join(map(repr, [*cycle, cycle[0]]))
        problems.append(f"steps{where} wait for each other: {path}")
    by_name = {step.name: step for step in steps}
    for step in steps:
        if step.alternatives:
            before = ended | ancestors_of(step, by_name)
            inside = f", inside {step.name!r},"
            for group in step.alternatives:
                problems += level_problems(group, before, inside)
    return problems


def ancestors_of(step: Outline, by_name: Mapping[str, Outline]) -> frozenset[str]:
    """Return the names of all steps that end before this one begins."""
    found: set[str] = set()
    waiting = list(step.dependencies)
    while waiting:
        name = waiting.pop()
        if name not in found and name in by_name:
            found.add(name)
            waiting += by_name[name].dependencies
    return frozenset(found)


def cycles_of(steps: Sequence[Outline]) -> list[list[str]]:
    """Return circles of steps that wait for each other: each as names, from step to dependency.

    Where circles share steps, not every one of them; but none at all only where there is none.
    """
    waits_for = {step.name: list(step.dependencies) for step in steps}
    stuck = set(waits_for) - settled(waits_for)
    cycles, visited = [], set[str]()
    for start in waits_for:
        path: dict[str, int] = {}
        name: str | None = start if start in stuck else None
        while name is not None and name not in visited:
            visited.add(name)
            path[name] = len(path)
            name = next((other for other in waits_for[name] if other in stuck), None)
        if name in path:
            cycles.append(list(path)[path[name] :])
    return cycles


def settled(waits_for: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the names that wait for no circle; names that are not there are waited for by none."""
    missing = {
        name: {other for other in others if other in waits_for}
        for name, others in waits_for.items()
    }
    behind: dict[str, list[str]] = {name: [] for name in waits_for}
    for name, others in missing.items():
        for other in others:
            behind[other].append(name)
    done: set[str] = set()
    ready = [name for name, others in missing.items() if not others]
    while ready:
        name = ready.pop()
        done.add(name)
        for follower in behind[name]:
            missing[follower].discard(name)
            if not missing[follower]:
                ready.append(follower)
    return done


# --- what comes next -------------------------------------------------------------------------


@final
@frozen
class Plan:
    """The order of steps beside each other.

    Attributes:
        names: Of the steps, as they were added.
        before: The positions each step depends on, ascending.
        after: The positions that depend on each step.
        order: The positions in the order in which they run one at a time.
    """

    names: tuple[str, ...]
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    @staticmethod
    def of(steps: Sequence[Outline]) -> Plan:
        """Return the plan of steps without problems."""
        positions = {step.name: position for position, step in enumerate(steps)}
        before = [
            tuple(sorted({positions[name] for name in step.dependencies if name in positions}))
            for step in steps
        ]
        after: list[list[int]] = [[] for _ in steps]
        for position, dependencies in enumerate(before):
            for dependency in dependencies:
                after[dependency].append(position)
        names = tuple(step.name for step in steps)
        plan = Plan(names, tuple(before), tuple(map(tuple, after)), ())
        return Plan(names, plan.before, plan.after, tuple(plan.sequence()))

    def sequence(self) -> Iterable[int]:
        """Yield the positions in the order in which they run one at a time."""
        progress = Progress(self)
        while (position := progress.take()) is not None:
            yield position
            progress.end(position)

    def culprit(self, position: int, broken: Mapping[int, int]) -> int | None:
        """Return the failed step for which this one is skipped, the first added; None: it runs.

        Args:
            broken: Steps that failed (by themselves) or were skipped for it (by the failed step).
        """
        culprits = [broken[each] for each in self.before[position] if each in broken]
        return min(culprits) if culprits else None


@final
class Progress:
    """How far a run of several steps side by side has come."""

    __slots__ = ("_broken", "_missing", "_plan", "_ready")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._missing = [len(each) for each in plan.before]
        self._ready = [position for position, number in enumerate(self._missing) if not number]
        self._broken: dict[int, int] = {}
        heapify(self._ready)

    @property
    def ready(self) -> int:
        """How many steps may start."""
        return len(self._ready)

    def take(self) -> int | None:
        """Return the ready step that was added first, which starts now; None where none is."""
        return heappop(self._ready) if self._ready else None

    def end(self, position: int, *, failed: bool = False) -> list[tuple[int, int]]:
        """Note that a step ended; return the steps that are skipped now, each with the culprit.

        A step is skipped when the last of its dependencies has ended, not before: so which one is
        to blame, the first added, depends on no timing.
        """
        if failed:
            self._broken[position] = position
        skipped: list[tuple[int, int]] = []
        ended = [position]
        for each in ended:
            for follower in self._plan.after[each]:
                self._missing[follower] -= 1
                if self._missing[follower]:
                    continue
                culprit = self._plan.culprit(follower, self._broken)
                if culprit is None:
                    heappush(self._ready, follower)
                else:
                    self._broken[follower] = culprit
                    skipped.append((follower, culprit))
                    ended.append(follower)
        return skipped
