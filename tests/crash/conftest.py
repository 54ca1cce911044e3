"""Tells at the end of a run how many crash points were tried."""

from __future__ import annotations

import pytest

from tests.crash.points import POINTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if POINTS:
        terminalreporter.write_line(f"crash points tried: {sum(POINTS.values()):,}")
