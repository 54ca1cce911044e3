"""Runs every workload of the ``bench_*.py`` files beside this one and prints one table.

    python benchmarks/run.py                      all of it, five rounds
    python benchmarks/run.py --quick              a tenth of the work, three rounds
    python benchmarks/run.py --only ask           rows with "ask" in their name
    python benchmarks/run.py --json result.json   every round, for later comparison

The exit code is 0 whatever is measured; with ``--check`` it is 1 when a row misses its *must*.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import Outcome, Workload, run_workload  # noqa: E402
from report import as_json, markdown, table  # noqa: E402


def find_workloads(only: str, skipped: dict[str, str]) -> Iterator[Workload]:
    """The workloads of all files whose row (``"file: name"``) has ``only`` in it.

    A file that cannot be loaded is left out and named in ``skipped``.
    """
    for path in sorted(HERE.glob("bench_*.py")):
        try:
            workloads: Sequence[Workload] = importlib.import_module(path.stem).WORKLOADS
        except Exception as error:
            skipped[path.name] = f"{type(error).__name__}: {error}"
            continue
        prefix = path.stem.removeprefix("bench_")
        yield from (each for each in workloads if only.lower() in f"{prefix}: {each.name}".lower())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Ours against raw Trio and peers, interleaved.")
    parser.add_argument("--only", default="", help='part of "file: row", such as kernel or ask')
    parser.add_argument("--rounds", type=int, default=0, help="rounds (default 5, quick 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, three rounds")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a must is missed")
    return parser.parse_args(arguments)


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "trio": trio.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def save(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes and the machine as JSON."""
    content = {"machine": machine(), "outcomes": [as_json(outcome) for outcome in outcomes]}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, save; the return value is the exit code."""
    options = parse(arguments)
    skipped: dict[str, str] = {}
    workloads = list(find_workloads(options.only, skipped))
    if options.list:
        print("\n".join(workload.name for workload in workloads))
        return 0
    rounds = options.rounds or (3 if options.quick else 5)
    outcomes = []
    for number, workload in enumerate(workloads, 1):
        print(f"[{number}/{len(workloads)}] {workload.name}", file=sys.stderr, flush=True)
        outcomes.append(run_workload(workload, rounds, quick=options.quick))
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(markdown(outcomes) if options.markdown else table(outcomes))
    for name, error in skipped.items():
        print(f"{name} was left out: {error}")
    if options.json is not None:
        save(options.json, outcomes)
    return int(options.check and any(outcome.meets("must") is False for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
