"""The numbers of a run: what the bar shows while it goes on and the summary at its end."""

import time
from collections import Counter
from collections.abc import Callable

from attrs import define, field


@define(eq=False)
class Counters:
    """Items by what became of them. `succeeded` and `failed` count this run only."""

    clock: Callable[[], float] = time.monotonic
    total: int | None = None
    """Items there are, None while unknown."""
    resumed: int = 0
    """Items whose results an earlier run of the job recorded."""
    succeeded: int = 0
    failed: int = 0
    retries: int = 0
    in_flight: int = 0
    """Items that TARGET is working on at this moment."""
    failures: Counter[str] = field(factory=Counter)
    """Failed items by the type of their error."""
    examples: dict[str, str] = field(factory=dict)
    """For each type of error the first message seen."""
    started: float = field(init=False)
    ended: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.started = self.clock()

    @property
    def processed(self) -> int:
        """Items done in this run, well or not."""
        return self.succeeded + self.failed

    @property
    def done(self) -> int:
        """Items done in this run and before."""
        return self.resumed + self.processed

    @property
    def seconds(self) -> float:
        """How long the run took, or takes so far."""
        return (self.clock() if self.ended is None else self.ended) - self.started

    @property
    def rate(self) -> float:
        """Items a second in this run, 0 before the first."""
        return self.processed / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to go at this rate, None when that cannot be told."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate

    def fail(self, error_type: str, error: str) -> None:
        """Count a failed item."""
        self.failed += 1
        self.failures[error_type] += 1
        self.examples.setdefault(error_type, error)

    def end(self) -> None:
        """Stop the clock."""
        self.ended = self.clock()
