"""Moments that can be stored: how long ago something was, also in another process."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any, Final
from uuid import uuid4

import trio
from trio.lowlevel import RunVar

from lexigram_actors.errors import WorkflowStateError

Moment = dict[str, Any]

Wall = Callable[[], float]
"""Returns unix seconds."""

_clock_name: Final[RunVar[str]] = RunVar("the name of this run's clock")


def _clock() -> str:
    """Return what names the clock of this Trio run, and no other."""
    try:
        return _clock_name.get()
    except LookupError:
        _clock_name.set(name := uuid4().hex)
        return name


def present_moment(wall: Wall = time) -> Moment:
    """Return the moment as plain JSON: by the Trio clock, and by the wall for other processes."""
    return {"clock": _clock(), "time": trio.current_time(), "wall": wall()}


def seconds_since(moment: Moment, wall: Wall = time) -> float:
    """Return the seconds since a moment: by the Trio clock within one run, else by the wall's.

    Raises:
        WorkflowStateError: It is no moment.
    """
    try:
        if moment["clock"] == _clock():
            return trio.current_time() - float(moment["time"])
        return max(0.0, wall() - float(moment["wall"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WorkflowStateError("the stored moment of a question cannot be read") from error
