"""Bulk operations: many items through a processor, in batches, at bounded cost.

    async with BulkOperation(config, processor).execute(items) as run:
        async for result in run:
            ...

| file | |
| --- | --- |
| `operation` | `BulkOperation`: what is configured once and executed often |
| `run` | `BulkRun`: one execution, for the caller |
| `engine` | one execution, from inside: begins, ends, fails |
| `pool` | the workers |
| `sources`, `outlet` | where batches come from and results go |
| `attempts` | one batch: retries, isolation of bad items |
| `batches`, `failures` | decisions and descriptions, pure |
| `checkpoint`, `fingerprint` | what is recorded, and how items are recognised |
| `executors`, `limits`, `hooks` | where processors run, how fast, and who is told |
| `combinators` | `bulk_map`, `bulk_filter`, `bulk_reduce` |
"""

from __future__ import annotations

from lexigram_actors.bulk.combinators import bulk_filter, bulk_map, bulk_reduce
from lexigram_actors.bulk.executors import BulkExecutor, TaskExecutor, ThreadExecutor
from lexigram_actors.bulk.metrics import BulkOperationMetrics
from lexigram_actors.bulk.models import (
    BulkBatchResult,
    BulkCheckpoint,
    BulkItemError,
    BulkOperationState,
)
from lexigram_actors.bulk.operation import BulkOperation
from lexigram_actors.bulk.run import BulkRun

__all__ = [
    "BulkBatchResult",
    "BulkCheckpoint",
    "BulkExecutor",
    "BulkItemError",
    "BulkOperation",
    "BulkOperationMetrics",
    "BulkOperationState",
    "BulkRun",
    "TaskExecutor",
    "ThreadExecutor",
    "bulk_filter",
    "bulk_map",
    "bulk_reduce",
]
