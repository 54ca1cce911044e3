"""Isolate the items that make a batch fail, and keep what the others gave.

Files are decoded 64 at a time; one that is no ASCII makes its whole batch fail. With
`on_poison="bisect"` such a batch is halved until the bad files stand alone. Files that were decoded
are never sent again.

    python docs/examples/poison_items.py
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import trio

from lexigram_actors import BulkOperation, BulkOperationConfig


def source_files() -> list[Path]:
    return sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


async def main() -> None:
    files = source_files()
    calls: list[int] = []

    async def count_lines(batch: list[Path]) -> list[int]:
        calls.append(len(batch))
        texts = [await trio.Path(path).read_text("ascii") for path in batch]
        return [text.count("\n") for text in texts]

    config = BulkOperationConfig(batch_size=64, retry_attempts=0, on_poison="bisect")
    lines = 0
    async with BulkOperation(config, count_lines).execute(files) as run:
        async for result in run:
            lines += sum(result.results)
            for error in result.errors:
                assert error.item_index is not None
                print(f"{files[error.item_index].name}: {error.error_type}")

    metrics = run.metrics
    print(f"{metrics.successful_items} files have {lines} lines, {metrics.failed_items} failed")
    print(f"{len(calls)} calls for {metrics.total_batches} batches")


if __name__ == "__main__":
    trio.run(main)
