"""Schedules that can be repeated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import trio._core._run


@pytest.fixture
def deterministic_scheduling(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make Trio choose the order of ready tasks from a seed: call it before each `trio.run`."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    return trio._core._run._r.seed


@pytest.fixture
def no_log() -> Iterator[None]:
    """No records: pytest keeps them, and a record of a crash keeps the traceback's frames."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
