"""What it costs to import the package, and how much is installed along with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata

from harness import Peer, Workload, beyond_raw, within
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROBE = "from time import perf_counter as t; s = t(); {statement}; print(t() - s)"


def importing(statement: str, count: int) -> float:
    """Seconds that a statement takes in fresh interpreters, their own start not counted."""
    command = [sys.executable, "-c", PROBE.format(statement=statement)]
    return sum(_seconds(command) for _ in range(count))


def _seconds(command: list[str]) -> float:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ImportError(done.stderr.strip().rpartition("\n")[2])
    return float(done.stdout)


def distributions(name: str, _count: int) -> float:
    """How many distributions a plain install of ``name`` brings, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = canonicalize_name(waiting.pop())
        if current not in found:
            found.add(current)
            waiting.extend(_needs(current))
    return len(found)


def _needs(name: str) -> list[str]:
    requirements = [Requirement(text) for text in metadata.requires(name) or ()]
    return [
        requirement.name
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]


def _import_peer(module: str, name: str = "") -> Peer:
    """A package that loads its names on first use has to say which ``name`` to take from it."""
    statement = f"from {module} import {name}" if name else f"import {module}"
    return Peer(module, partial(importing, statement))


def _distributions_peer(module: str, distribution: str) -> Peer:
    counting: Callable[[int], float] = partial(distributions, distribution)
    return Peer(module, counting)


WORKLOADS = [
    Workload(
        "import lexigram_actors (raw: import trio)",
        unit="ms",
        count=2,
        ours=partial(importing, "from lexigram_actors import BulkOperation, open_system"),
        raw=partial(importing, "import trio"),
        peers={
            "reference": _import_peer("lexigram.workflow", "BulkOperation"),
            "pykka": _import_peer("pykka"),
            "aiometer": _import_peer("aiometer"),
            "thespian": _import_peer("thespian.actors"),
            "xoscar": _import_peer("xoscar"),
        },
        budget=beyond_raw(60, goal=40),
        scale=1e3,
        quick=False,
    ),
    Workload(
        "distributions in the core install (raw: trio)",
        unit="distributions",
        count=1,
        ours=partial(distributions, "lexigram-actors"),
        raw=partial(distributions, "trio"),
        peers={
            "reference": _distributions_peer("lexigram.workflow", "lexigram-workflow"),
            "xoscar": _distributions_peer("xoscar", "xoscar"),
        },
        budget=within(12),
        scale=1.0,
    ),
]
