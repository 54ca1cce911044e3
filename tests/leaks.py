"""What a test may not leave behind, as the testing kit sees it."""

from __future__ import annotations

from lexigram_actors.testing.leaks import descendants, left_behind, no_task_left, possessions

__all__ = ["descendants", "left_behind", "no_task_left", "possessions"]
