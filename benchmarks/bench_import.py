"""What it costs to import the package, and how much is installed along with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib import metadata
from tempfile import TemporaryDirectory

from harness import Peer, Workload, beyond_raw, within
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROBE = "from time import process_time as t; s = t(); {statement}; print(t() - s)"


def importing(statement: str, count: int) -> float:
    """Processor seconds of a statement in fresh interpreters, their own start not counted."""
    command = [sys.executable, "-c", PROBE.format(statement=statement)]
    _seconds(command)  # writes the bytecode
    return sum(_seconds(command) for _ in range(count))


@cache
def _bytecode() -> TemporaryDirectory[str]:
    """Where bytecode is kept while this runs; gone with the process.

    An installed package has its bytecode beside it, a checkout may have none, and compiling costs
    several times what importing does. So everything is imported from bytecode of our own.
    """
    return TemporaryDirectory(prefix="bytecode-")


def _seconds(command: list[str]) -> float:
    environment = os.environ | {"PYTHONPYCACHEPREFIX": _bytecode().name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
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
        count=3,
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
