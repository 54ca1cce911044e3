"""What a saga does next, from its steps and what is recorded. Plain decisions.

Forward it goes stage by stage; a stage is one step, or several side by side. Backward it goes in
the reverse of the order in which steps ended, after those in doubt, which were the last to begin:

| a step that | is |
| --- | --- |
| is undone, given up by a person, or stuck | passed over |
| is done, and has a compensation | undone |
| is done, and has none | passed over: there is nothing to undo |
| has an undo that a crash cut off | undone again if that is idempotent, else stuck |
| is in doubt, where the saga asks, and there is a probe | probed, then done or not |
| is in doubt otherwise | undone if that is idempotent, else stuck |
| is not known to the class any more | stuck |

What a person wants undone once more is undone whatever its step says, if there is a way at all.
Once a pivot is done nothing is undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, final

from attrs import frozen

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.saga.models import SagaStep
from lexigram_actors.saga.progress import Progress

InDoubt = Literal["auto", "probe"]
Stage = tuple[SagaStep, ...]

UNKNOWN_STEP: Final = "the saga has no such step any more"
CUT_OFF_UNDO: Final = "its undo was cut off by a crash, and must not be done twice"
CUT_OFF_STEP: Final = "it was cut off, and whether it happened is not known"


@final
@frozen
class Undo:
    """Undo this step."""

    step: SagaStep


@final
@frozen
class Probe:
    """Ask whether this step happened."""

    step: SagaStep


@final
@frozen
class Park:
    """Leave this step to a person, for this reason."""

    name: str
    reason: str


Backward = Undo | Probe | Park


@final
class Plan:
    """The steps of a saga, in order.

    Args:
        in_doubt: What is done about a step that was cut off: `"auto"` or `"probe"`.
    """

    __slots__ = ("in_doubt", "pivots", "stages", "steps")

    def __init__(self, in_doubt: InDoubt = "auto") -> None:
        self.in_doubt = in_doubt
        self.stages: list[Stage] = []
        self.steps: dict[str, SagaStep] = {}
        self.pivots: list[str] = []

    def add(self, stage: Stage) -> None:
        """Append a stage.

        Raises:
            ConfigurationError: The name of one of its steps is taken.
        """
        taken = self.steps
        if len(stage) == 1:
            step = stage[0]
            if step.name in taken:
                raise name_taken(step.name)
            taken[step.name] = step
            if step.pivot:
                self.pivots.append(step.name)
        else:
            named: dict[str, SagaStep] = {}
            for step in stage:
                if step.name in taken or step.name in named:
                    raise name_taken(step.name)
                named[step.name] = step
            taken.update(named)
            self.pivots += [step.name for step in stage if step.pivot]
        self.stages.append(stage)

    def ahead(self, progress: Progress) -> Iterator[Stage]:
        """Yield what is still to be done, stage by stage."""
        done = progress.done
        if not done:
            yield from self.stages
            return
        for stage in self.stages:
            left = tuple(step for step in stage if step.name not in done)
            if left:
                yield left

    def is_past_pivot(self, progress: Progress) -> bool:
        """Say whether there is no way back any more."""
        return any(name in progress.done for name in self.pivots)

    def backward(self, progress: Progress) -> Backward | None:
        """Return what comes next on the way back; None: nothing."""
        if self.is_past_pivot(progress):
            return None
        for name in undo_order(progress, self.pivots):
            if name in progress.undone or name in progress.skipped or name in progress.stuck:
                continue
            found = self._for(name, progress)
            if found is not None:
                return found
        return None

    def _for(self, name: str, progress: Progress) -> Backward | None:
        step = self.steps.get(name)
        if step is None:
            return Park(name, UNKNOWN_STEP)
        if name in progress.in_doubt:
            if self.in_doubt == "probe" and step.probe is not None:
                return Probe(step)
            wanted = step.idempotent or name in progress.again
            if step.compensation is None or not wanted:
                return Park(name, CUT_OFF_STEP)
        if step.compensation is None:
            return None
        if name == progress.undoing and not step.idempotent:
            return Park(name, CUT_OFF_UNDO)
        return Undo(step)


def undo_order(progress: Progress, pivots: Sequence[str]) -> Iterable[str]:
    """Yield the steps that may have to be undone, in the order in which they are.

    A pivot in doubt comes first: if it happened, nothing is undone.
    """
    yield from (name for name in reversed(progress.in_doubt) if name in pivots)
    yield from (name for name in reversed(progress.in_doubt) if name not in pivots)
    for name in reversed(progress.done):
        if name not in progress.in_doubt:
            yield name


def name_taken(name: str) -> ConfigurationError:
    """Return the error for a second step of one name."""
    return ConfigurationError(
        f"the saga has a step {name!r} already", hint="give each step a name of its own"
    )
