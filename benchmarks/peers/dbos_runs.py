"""The durable workloads in DBOS, on a SQLite file, in threads as its users run it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import now


@contextmanager
def launched() -> Iterator[Any]:
    """Launch DBOS on a file of its own; its log and its web server are off."""
    from dbos import DBOS  # type: ignore[import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"sqlite:///{folder}/system.db",
                "run_admin_server": False,
                "log_level": "ERROR",
            }
        )

        @DBOS.step()  # type: ignore[misc, untyped-decorator, unused-ignore]
        def one(number: int) -> int:
            return number + 1

        @DBOS.workflow()  # type: ignore[misc, untyped-decorator, unused-ignore]
        def counting(steps: int) -> int:
            number = 0
            for _ in range(steps):
                number = one(number)
            return number

        DBOS.launch()
        try:
            yield DBOS, counting
        finally:
            DBOS.destroy(destroy_registry=True)


def steps(count: int, workflows: int) -> float:
    """Run so many steps, in workflows side by side."""
    with launched() as (dbos, counting):
        each = max(1, count // workflows)
        start = now()
        handles = [dbos.start_workflow(counting, each) for _ in range(workflows)]
        assert [handle.get_result() for handle in handles] == [each] * workflows
        return (now() - start) * count / (each * workflows)
