"""Processors that worker processes import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def with_process(items: list[int]) -> list[tuple[int, int]]:
    return [(item * item, os.getpid()) for item in items]


def square(item: int) -> int:
    return item * item


def dies(marker: str, items: list[int]) -> list[int]:
    """Kill the own process for item 3, the first time."""
    if 3 in items and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return items


def naps(marker: str, items: list[int]) -> list[int]:
    Path(marker).write_text(str(os.getpid()))
    time.sleep(60)
    return items


def fails(items: list[int]) -> list[int]:
    raise ValueError(f"no {items}")
