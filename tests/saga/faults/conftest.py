"""Tells at the end of a run how many cases were tried."""

from __future__ import annotations

import pytest

from tests.saga.faults.cases import CASES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CASES:
        terminalreporter.write_line(f"saga cases tried: {sum(CASES.values()):,}")
