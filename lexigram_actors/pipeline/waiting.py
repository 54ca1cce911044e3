"""Which values cannot be awaited, known without a closer look."""

from __future__ import annotations

from typing import Final

from lexigram_actors.result import Err, Ok

PLAIN_TYPES: Final = frozenset(
    {Ok, Err, type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset}
)
"""Types that steps usually return; `isawaitable` takes as long as a small step to deny each."""
