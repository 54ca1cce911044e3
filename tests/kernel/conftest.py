"""Schedules that can be repeated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio._core._run


@pytest.fixture
def deterministic_scheduling(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make Trio choose the order of ready tasks from a seed: call it before each `trio.run`."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    return trio._core._run._r.seed
