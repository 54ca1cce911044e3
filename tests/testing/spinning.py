"""Runs that are given up, and what is left of them."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from lexigram_actors.testing import Stuck


def complaint_about_spinning(runs: Callable[[], object]) -> str:
    """Return the message of the `Stuck` that a run ends with.

    Its tasks are abandoned, which Trio and Python report when they are collected: here.
    """
    complaint = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lexigram_actors.testing.schedules.MOST_BATCHES", 500)
        patch.setattr("sys.unraisablehook", lambda found: None)
        try:
            runs()
        except Stuck as error:
            complaint = str(error)
        gc.collect()
    assert complaint, "it was not found to spin"
    return complaint
