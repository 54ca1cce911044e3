"""Cancelling a scenario at each of its steps in turn.

A step is what one task does between two checkpoints, or a moment at which all of them wait, so that
these are all the points at which a cancellation can come. A scenario is run once to count them, and
then once for each.

| | |
| --- | --- |
| `cancel_at_every_step(scenario, check=...)` | cancels the whole scenario |
| `at_every_step(attempt)` | cancels whatever `attempt` puts into the scope it is given |

**Limits.** A cancellation comes between steps: never in a thread's work, nor twice in one run. What
a scenario does has to follow from the order of its tasks, or else the steps are others each time.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final, NamedTuple, final

import outcome
import trio

from lexigram_actors.testing.leaks import no_task_left
from lexigram_actors.testing.sampling import spread
from lexigram_actors.testing.schedules import Schedule, run

WITHIN: Final = 3600.0
"""Seconds of virtual time that a scenario may take, unless told otherwise."""

REASON: Final = "cancelled by the test, before a step"
KNOWS_REASONS: Final = "reason" in inspect.signature(trio.CancelScope.cancel).parameters


class CancelReport(NamedTuple):
    """What `cancel_at_every_step` did.

    Attributes:
        steps: How many steps a run has that nobody disturbs.
        points: Before how many of them a cancellation came.
        delivered: How many of these ended the scope; the rest came when nothing waited any more.
    """

    steps: int
    points: int
    delivered: int


@final
class CancelAt(trio.abc.Instrument):
    """An instrument that cancels its `scope` before the step of that number; 0: never.

    For virtual clocks: a real one is waited for even where the cancellation has ended the wait.

    Attributes:
        scope: To be entered by whoever is to be cancelled.
        counts: Whether steps count at the moment; set it to False where those of interest end.
        steps: How many there were so far.
        cancelled_at: When it was cancelled, by Trio's clock; `inf` while it was not.
        felt: How many tasks were woken by this cancellation. Always 0 before Trio 0.31, where a
            cancellation does not say why it came.
    """

    def __init__(self, step: int, *, counts: bool = True) -> None:
        self.step = step
        self.counts = counts
        self.steps = 0
        self.scope = trio.CancelScope()
        self.cancelled_at = inf
        self.felt = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count, and cancel when it is time. Called by Trio."""
        self._count()
        self.felt += is_woken_by_it(task)

    def before_io_wait(self, timeout: float) -> None:
        """Count, and cancel when it is time. Called by Trio."""
        self._count()

    def _count(self) -> None:
        if self.counts:
            self.steps += 1
            if self.steps == self.step:
                self._cancel()

    def _cancel(self) -> None:
        self.cancelled_at = trio.current_time()
        if KNOWS_REASONS:
            self.scope.cancel(reason=REASON)
        else:
            self.scope.cancel()


def is_woken_by_it(task: trio.lowlevel.Task) -> bool:
    """Say whether a task is about to get `Cancelled` because of a `CancelAt`."""
    # No public name says what a task is woken with.
    news = getattr(task, "_next_send", None)
    if not isinstance(news, outcome.Error) or not isinstance(news.error, trio.Cancelled):
        return False
    return getattr(news.error, "reason", None) == REASON


def cancel_at_every_step(
    scenario: Callable[[], Awaitable[object]],
    *,
    check: Callable[[CancelAt], Awaitable[None] | None] | None = None,
    may_finish: bool = False,
    within: float = WITHIN,
    seed: int = 0,
    schedule: Schedule = "shuffled",
    most: int | None = None,
    only: int | None = None,
) -> CancelReport:
    """Run a scenario to the end, and then once for each of its steps, cancelled before that step.

    Not to be called inside of a Trio run: it makes its own, each on a virtual clock. The scenario
    has to begin anew each time. In each run it fails if the scenario

    - raises anything but `Cancelled`;
    - takes longer than `within`, or spins;
    - leaves a system task behind;
    - ends as if nothing had happened although a cancellation woke it: somebody swallowed it.

    A failure bears a note with the `only=` that repeats it.

    Args:
        check: Called after each run, inside of it, the undisturbed one too (`cancelled_at` is
            `inf` there); raises if something is wrong.
        may_finish: Whether a scenario may end well although it was woken, as a write does that had
            begun.
        within: Seconds of virtual time.
        seed: Of the order of tasks.
        schedule: What is made of the seed.
        most: Try at most so many steps, evenly spread; None: all.
        only: Try this one alone.

    Raises:
        AssertionError: As above; or no cancellation met anything.
    """

    def attempt(instrument: CancelAt) -> None:
        instrument.counts = False
        ended = run(interrupted, instrument, seed=seed, schedule=schedule, instruments=[instrument])
        if ended and instrument.felt and not may_finish:
            raise AssertionError(
                f"a cancellation woke {instrument.felt} task(s), and the scenario ended as if "
                "there had been none; let trio.Cancelled pass, or say may_finish=True"
            )

    async def interrupted(instrument: CancelAt) -> bool:
        ended = False
        with no_task_left():
            with trio.move_on_after(within) as limit, instrument.scope:
                instrument.counts = True
                await scenario()
                ended = True
            instrument.counts = False
            if limit.cancelled_caught:
                raise AssertionError(f"it did not end within {within} s of virtual time")
        complaint = None if check is None else check(instrument)
        if complaint is not None:
            await complaint
        return ended

    return at_every_step(attempt, most=most, only=only)


def at_every_step(
    attempt: Callable[[CancelAt], None], *, most: int | None = None, only: int | None = None
) -> CancelReport:
    """Call `attempt` with an instrument that never cancels, then with one for each step.

    For scenarios of which only a part is cancelled. `attempt` makes a Trio run with the instrument
    in it, enters `instrument.scope` around that part, and checks what has to hold.

    Args:
        most: Try at most so many steps, evenly spread; None: all.
        only: Try this one alone.

    Raises:
        AssertionError: No cancellation met anything: the scope was not entered, or not for long.
    """
    undisturbed = CancelAt(0)
    attempt(undisturbed)
    steps = range(1, undisturbed.steps + 1) if only is None else [only]
    points = delivered = 0
    for step in spread(steps, most):
        instrument = CancelAt(step)
        try:
            attempt(instrument)
        except BaseException as error:
            error.add_note(f"cancelled before step {step} of {undisturbed.steps}: only={step}")
            raise
        points += instrument.scope.cancel_called
        delivered += instrument.scope.cancelled_caught
    if not delivered and only is None:
        raise AssertionError(
            f"none of {points} cancellations met anything, in {undisturbed.steps} steps"
        )
    return CancelReport(undisturbed.steps, points, delivered)
