"""Bridges to other packages, each behind an extra; imported only where they are used.

| adapter | extra |
| --- | --- |
| `processes.ProcessExecutor`: bulk processors in worker processes | `processes` |
"""

from __future__ import annotations

from lexigram_actors.adapters.processes import ProcessExecutor

__all__ = ["ProcessExecutor"]
