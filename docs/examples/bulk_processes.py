"""CPU-bound work in worker processes: parse the standard library and find its longest functions.

The processor is a plain function at the top of a module, so that a worker process can import it.
Results come in the order of the input here; without `ordered=True` as they are ready.

    python docs/examples/bulk_processes.py
"""

from __future__ import annotations

import ast
import sysconfig
import time
from pathlib import Path

import trio

from lexigram_actors import BulkOperation, BulkOperationConfig, ProcessExecutor

Found = tuple[int, str]


def longest_functions(paths: list[str]) -> list[Found]:
    """Return the length and name of the longest function of each file."""
    return [longest_function(Path(path)) for path in paths]


def longest_function(path: Path) -> Found:
    tree = ast.parse(path.read_bytes())
    lengths = [
        ((node.end_lineno or 0) - node.lineno + 1, f"{path.stem}.{node.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    return max(lengths, default=(0, path.stem))


def source_files() -> list[str]:
    library = Path(sysconfig.get_path("stdlib"))
    return sorted(str(path) for path in library.glob("*.py"))


async def main() -> None:
    files = source_files()
    config = BulkOperationConfig(batch_size=10, max_concurrency=2, ordered=True)
    operation: BulkOperation[str, Found] = BulkOperation(
        config, longest_functions, executor=ProcessExecutor()
    )

    began = time.perf_counter()
    found: list[Found] = []
    async with operation.execute(files) as run:
        async for result in run:
            found += result.results
    spent = time.perf_counter() - began

    for lines, name in sorted(found, reverse=True)[:5]:
        print(f"{lines:5} lines  {name}")
    print(f"{len(found)} of {len(files)} files parsed in {spent:.1f} s")


if __name__ == "__main__":
    trio.run(main)
