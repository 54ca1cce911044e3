"""Checksums of a thousand files: interrupted, continued, with retries, progress and a checkpoint.

The first run is cut off in the middle. The second one, with the same id, passes over what is
recorded and does the rest. Together they cover each file once.

    python docs/examples/bulk_checksums.py
"""

from __future__ import annotations

import hashlib
import sysconfig
import tempfile
import threading
from pathlib import Path

import trio

from lexigram_actors import (
    BulkOperation,
    BulkOperationConfig,
    BulkOperationMetrics,
    CacheBackendProtocol,
    open_store,
)

CONFIG = BulkOperationConfig(batch_size=20, max_concurrency=4, retry_attempts=2, retry_delay=0.01)


class Checksums:
    """Computes checksums; every tenth read of a batch fails once, as network drives do."""

    def __init__(self) -> None:
        self.calls = 0
        self.lock = threading.Lock()

    def __call__(self, paths: list[str]) -> list[str]:
        with self.lock:  # a plain processor runs in several threads
            self.calls += 1
            flaky = self.calls % 10 == 0
        if flaky:
            raise OSError("stale file handle")
        return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]


async def run(
    files: list[str], store: CacheBackendProtocol, found: dict[str, str], stop_after: int | None
) -> BulkOperationMetrics:
    """Process the files that are not recorded yet; leave after `stop_after` results."""
    operation = BulkOperation(CONFIG, Checksums(), checkpoint_store=store)
    async with operation.execute(files, operation_id="checksums") as results:
        delivered = 0
        async for result in results:
            found.update(zip(result.items, result.results, strict=True))
            delivered += 1
            if delivered % 10 == 0:
                print(f"  {len(found)} of {len(files)} files")
            if delivered == stop_after:
                break
    return operation.metrics


def source_files() -> list[str]:
    library = Path(sysconfig.get_path("stdlib"))
    return sorted(str(path) for path in library.rglob("*.py"))[:1000]


async def main() -> None:
    files = source_files()
    found: dict[str, str] = {}

    with tempfile.TemporaryDirectory() as folder:
        async with open_store(f"sqlite:///{folder}/jobs.db") as store:
            print("first run, cut off after 20 batches")
            await run(files, store.cache, found, stop_after=20)

            recorded = await BulkOperation(checkpoint_store=store.cache).checkpoint("checksums")
            assert recorded is not None
            print(f"recorded: {recorded.items} of {len(files)} files")

            print("second run")
            metrics = await run(files, store.cache, found, stop_after=None)
            print(f"passed over {metrics.skipped_items}, did {metrics.successful_items}")
            print(f"retries in the second run: {metrics.total_retries}")

    print(f"{len(found)} checksums of {len(files)} files")


if __name__ == "__main__":
    trio.run(main)
