"""Trio runs whose order of tasks follows from a seed, or is tried in every way.

Trio runs what is runnable in batches, each in an order that it draws. Here the drawing is replaced
for the time of one run, so that a failure comes again with its seed:

| | |
| --- | --- |
| `run(fn, seed=7)` | every batch shuffled |
| `run(fn, seed=7, schedule="priority")` | some tasks always before others, until that changes |
| `every_order(fn)` | every order there is, of a small scenario |

A plain shuffle hardly ever lets one task come last twenty times in a row; with priorities that is
usual, and starvation is what they find. After Burckhardt and others, *A Randomized Scheduler with
Probabilistic Guarantees of Finding Bugs*, but within what Trio may do: each task that is runnable
runs once in each batch.

**Limits.** Nothing here governs threads, other processes, sockets, or what the program itself draws
or takes from a set. It reaches into Trio, whose own choice has no door: should a release of Trio
not ask any more, `run` says so instead of pretending. One such run at a time in a process.

Rejected: `random.seed`, which Trio's generator does not follow; a scheduler that lets a task wait
for longer than a batch, which finds failures that cannot happen.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, Final, Literal, NamedTuple, TypeVar, TypeVarTuple, final

import trio
import trio._core._run as scheduler  # the door that is missing, see above

from lexigram_actors.bulk import turns
from lexigram_actors.kernel import cell, pacing
from lexigram_actors.testing.clock import current_clock, virtual_clock

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

Schedule = Literal["shuffled", "priority"]
Batch = list[trio.lowlevel.Task]

CHANGES: Final = 3
"""How often in a run the first becomes the last, in a schedule by priority."""

HORIZON: Final = 100
"""Among how many batches of more than one task these changes are drawn."""

MOST_BATCHES: Final = 100_000
"""Batches at one moment of virtual time, after which a run is given up as one that spins."""

PACES: Final = ((cell, "BATCH_SECONDS"), (pacing, "BATCH_SECONDS"), (turns, "SECONDS"))
"""For how much real time each goes on without a pause."""

GENERATOR: Final = "_r"
DETERMINISTIC: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"


class Stuck(AssertionError):
    """A run goes round and round, and time does not pass: something ignores its cancellation.

    The tasks that did are abandoned. Python ends them with an exception when it collects them; one
    that catches that as well, and waits for nothing, holds up the process then.
    """


class Orders(NamedTuple):
    """What `every_order` did.

    Attributes:
        tried: How many orders.
        complete: Whether these were all.
    """

    tried: int
    complete: bool


def run(
    fn: Callable[[*Arguments], Awaitable[Result]],
    *args: *Arguments,
    seed: int | None = None,
    schedule: Schedule = "shuffled",
    picks: Sequence[int] | None = None,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> Result:
    """Run `fn(*args)` as `trio.run` does, on a virtual clock, in an order that can be repeated.

    Whatever happens, Trio's own way of drawing is put back.

    Args:
        seed: Same seed, same order; None leaves the order to Trio.
        schedule: What is made of the seed.
        picks: The order itself, as a failure under `every_order` shows it; in place of a seed.
        clock: None: a virtual one of its own.

    Raises:
        Stuck: Tasks keep running and time does not pass.
        RuntimeError: Another such run goes on in this process; or this release of Trio cannot be
            told what to do.
    """
    arrange = arrangement(seed, schedule, picks)
    clock = virtual_clock() if clock is None else clock
    if arrange is None:
        return trio.run(fn, *args, clock=clock, instruments=instruments)
    with arranged(arrange) as chooser:
        try:
            result = trio.run(fn, *args, clock=clock, instruments=instruments)
        except trio.TrioInternalError as error:
            if isinstance(error.__cause__, Stuck):
                raise error.__cause__ from None
            raise
    chooser.check()
    return result


def every_order(
    fn: Callable[[*Arguments], Awaitable[object]], *args: *Arguments, limit: int = 20_000
) -> Orders:
    """Run `fn(*args)` in each order in which its tasks can be run, as long as it takes no more.

    For scenarios of a few tasks and a few steps: three tasks that wait three times each have 216
    orders or more. `fn` has to begin anew each time, and to do the same in the same order.

    A failure bears a note with the line that repeats it.

    Args:
        limit: Give up after so many.
    """
    picks: list[int] | None = []
    tried = 0
    while picks is not None and tried < limit:
        choices = Choices(picks)
        tried += 1
        try:
            with arranged(choices.arrange) as chooser:
                trio.run(fn, *args, clock=virtual_clock())
        except BaseException as error:
            error.add_note(f"repeat it with: run({name_of(fn)}, ..., picks={choices.taken})")
            raise
        chooser.check()
        choices.check()
        picks = choices.following()
    return Orders(tried, complete=picks is None)


def name_of(fn: Any) -> str:
    """Return what a callable is called."""
    return getattr(fn, "__qualname__", repr(fn))


# --- standing in for Trio's generator --------------------------------------------------------


def arrangement(
    seed: int | None, schedule: Schedule, picks: Sequence[int] | None
) -> Callable[[Batch], None] | None:
    """Return what puts a batch in order; None: Trio itself."""
    if picks is not None:
        return Choices(picks).arrange
    if schedule not in ("shuffled", "priority"):
        raise ValueError(f"a schedule is 'shuffled' or 'priority', and not {schedule!r}")
    if seed is None:
        return None
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    return chance.shuffle if schedule == "shuffled" else Priorities(chance).arrange


@contextmanager
def arranged(arrange: Callable[[Batch], None]) -> Iterator[Chooser]:
    """Let `arrange` put every batch of a Trio run in order; a batch is run from its end."""
    names = vars(scheduler)
    if GENERATOR not in names or DETERMINISTIC not in names:
        raise changed()
    own, was_deterministic = names[GENERATOR], names[DETERMINISTIC]
    if isinstance(own, Chooser):
        raise RuntimeError(  # noqa: TRY004 - not a matter of types
            "another run with a schedule goes on in this process: there can be one at a time"
        )
    chooser = Chooser(arrange)
    names[GENERATOR], names[DETERMINISTIC] = chooser, True
    try:
        with paced_by_count():
            yield chooser
    finally:
        names[GENERATOR], names[DETERMINISTIC] = own, was_deterministic


@contextmanager
def paced_by_count() -> Iterator[None]:
    """Keep real time out of the order of tasks.

    What does not wait pauses after so many rounds, or a millisecond of real time: here after so
    many alone.
    """
    earlier = [(module, name, getattr(module, name)) for module, name in PACES]
    for module, name in PACES:
        setattr(module, name, inf)
    try:
        yield
    finally:
        for module, name, seconds in earlier:
            setattr(module, name, seconds)


def changed() -> RuntimeError:
    """Return the error that says that the order of tasks is out of reach."""
    return RuntimeError(
        f"Trio {trio.__version__} chooses the order of its tasks in another way than the releases "
        "known here; use another release of lexigram_actors or of Trio, or run without a seed"
    )


@final
class Chooser:
    """What Trio asks instead of its own random generator."""

    __slots__ = ("_arrange", "_batches", "_moment", "_since", "random", "uniform")

    def __init__(self, arrange: Callable[[Batch], None]) -> None:
        own = random.Random(0)  # noqa: S311 - Trio draws its clock's offset from it as well
        self.random = own.random
        self.uniform = own.uniform
        self._arrange = arrange
        self._batches = 0
        self._since = 0
        self._moment = -1.0

    def shuffle(self, batch: Batch) -> None:
        """Put a batch in order."""
        self._batches += 1
        self._refuse_to_spin(batch)
        self._arrange(batch)

    def check(self) -> None:
        """Refuse to believe in an order for which nobody asked."""
        if not self._batches:
            raise changed()

    def _refuse_to_spin(self, batch: Batch) -> None:
        clock = current_clock()
        now = 0.0 if clock is None else clock.current_time()
        if now != self._moment:
            self._moment, self._since = now, self._batches
        elif self._batches - self._since > MOST_BATCHES:
            # Here, in Trio's own loop, since a task that swallows everything cannot be ended.
            raise Stuck(
                f"no time passed while these tasks ran: {[task.name for task in batch]}, in "
                f"{MOST_BATCHES} batches; does a loop catch trio.Cancelled, or BaseException?"
            )


@final
class Priorities:
    """Runs tasks by priorities drawn once, and a few times makes the first the last."""

    __slots__ = ("_batches", "_chance", "_changes", "_lowest", "_priorities")

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._changes = {chance.randrange(HORIZON) for _ in range(CHANGES)}
        self._priorities: dict[trio.lowlevel.Task, float] = {}
        self._batches = 0
        self._lowest = 0.0

    def arrange(self, batch: Batch) -> None:
        """Put the first in the last place of the list, from where it is taken."""
        for task in batch:
            if task not in self._priorities:
                self._priorities[task] = self._chance.random()
        batch.sort(key=self._priorities.__getitem__)
        if len(batch) > 1:
            if self._batches in self._changes:
                self._lowest -= 1.0
                self._priorities[batch[-1]] = self._lowest
                batch.insert(0, batch.pop())
            self._batches += 1


@final
class Choices:
    """Picks one task after another, as it is told, and then always the oldest.

    Attributes:
        taken: What was picked, wherever there was a choice.
    """

    __slots__ = ("_options", "_strayed", "_told", "taken")

    def __init__(self, told: Sequence[int]) -> None:
        self.taken: list[int] = []
        self._told = told
        self._options: list[int] = []
        self._strayed = False

    def arrange(self, batch: Batch) -> None:
        """Put the one picked first in the last place of the list, from where it is taken."""
        first = [task for task in batch if is_trios_own(task)]
        rest = [task for task in batch if not is_trios_own(task)]
        while rest:
            first.append(rest.pop(self._pick(len(rest))))
        batch[:] = reversed(first)

    def _pick(self, options: int) -> int:
        if options == 1:
            return 0
        place = len(self.taken)
        pick = self._told[place] if place < len(self._told) else 0
        if pick >= options:
            # Nothing is raised in Trio's loop, which would call it a bug of Trio.
            self._strayed, pick = True, 0
        self.taken.append(pick)
        self._options.append(options)
        return pick

    def check(self) -> None:
        """Refuse a scenario that does not do the same in the same order."""
        if self._strayed or len(self.taken) < len(self._told):
            raise RuntimeError(
                "the scenario did something else this time, in the same order: it must depend on "
                "nothing but the order of its tasks (no threads, sockets, real clocks, sets of "
                "objects, state from the run before)"
            )

    def following(self) -> list[int] | None:
        """Return the next picks of all there are, depth first; None: these were the last."""
        for place in reversed(range(len(self.taken))):
            if self.taken[place] + 1 < self._options[place]:
                return [*self.taken[:place], self.taken[place] + 1]
        return None


def is_trios_own(task: trio.lowlevel.Task) -> bool:
    """Say whether a task is one that Trio starts for itself, whose place makes no difference."""
    return task.name.startswith("<")
