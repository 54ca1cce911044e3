"""Tells at the end of a run what was moved, and from which seeds."""

from __future__ import annotations

import pytest

from tests.saga.bank.told import TOLD


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in TOLD:
        terminalreporter.write_line(line)
