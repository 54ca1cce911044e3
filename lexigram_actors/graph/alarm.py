"""One cancel scope for the time-outs of all nodes of a run, and of the run."""

from __future__ import annotations

from math import inf
from typing import Final, final

import trio

SLACK: Final = 0.001
"""Seconds, or a hundredth of the time-out where that is less."""

LONG: Final = 60.0
"""Seconds. From here on even the first node may be late, by a millionth: enough for a short run."""


@final
class Alarm:
    """Fires when the node that has run longest is late, or the run.

    Moving a scope's deadline costs more than running a small node, so it is not done for each:
    while nodes follow each other within `SLACK`, the deadline is set that much later and serves
    for all that start meanwhile. It never fires early, and late by `SLACK` at most.

    Args:
        node_timeout: Seconds for each node; `inf` for no limit.
        now: The time, at which the first node starts.
        run_deadline: When the whole run is late, by the Trio clock; `inf` for never.
        scope: What to cancel, where it is open already; a new one, to be opened, when None.
    """

    __slots__ = ("covered", "moved_at", "node_timeout", "run_deadline", "scope", "slack")

    def __init__(
        self,
        node_timeout: float,
        now: float,
        run_deadline: float,
        scope: trio.CancelScope | None = None,
    ) -> None:
        self.node_timeout = node_timeout
        self.run_deadline = run_deadline
        self.slack = min(SLACK, node_timeout / 100)
        self.covered = now + node_timeout
        if node_timeout >= LONG:
            self.covered += node_timeout / 1_000_000
        """A node's deadline that is not beyond this needs no move."""
        self.moved_at = now
        deadline = min(self.covered, run_deadline)
        if scope is None:
            scope = trio.CancelScope(deadline=deadline)
        else:
            scope.deadline = deadline
        self.scope = scope

    def cover(self, deadline: float, now: float) -> None:
        """Move the alarm, so that it does not fire before `deadline`, that of the eldest node."""
        quick = now - self.moved_at < self.slack
        self.covered = deadline + self.slack if quick else deadline
        self.moved_at = now
        self.scope.deadline = min(self.covered, self.run_deadline)

    def rest(self) -> None:
        """No node runs: be there for the run only, lest a deadline passes that is nobody's."""
        if self.covered not in (inf, -inf):
            self.covered = -inf
            self.scope.deadline = self.run_deadline

    @property
    def is_the_runs(self) -> bool:
        """Whether it was the run that was late, and not a node."""
        return self.run_deadline <= self.covered
