"""Real deaths of one program, in a process of its own: `child_program.py NAME MOST [thread]`."""

from __future__ import annotations

import sys

from attrs import evolve

from lexigram_actors.testing import crash_in_child
from tests.crash.test_everywhere import CASES


def main(name: str, most: str, *options: str) -> None:
    case, inline = CASES[name], "thread" not in options
    if name == "bulk" and not inline:
        # A commit takes time on a thread: every batch may be done meanwhile, and not recorded yet.
        case = evolve(case, at_once=4)
    report = crash_in_child(
        case.program, check=case.examine, inline=inline, most=int(most), within=1e6
    )
    assert report.crashes == report.points
    print(report.points)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
