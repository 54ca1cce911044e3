"""Runs workloads of ours against raw Trio and against peers, interleaved, and judges the ratios.

A benchmark file exposes ``WORKLOADS``, a sequence of `Workload`. Each names its contestants:
``ours``, ``raw`` (the obvious code on the public API of what lies below us) and ``peers``. A
contestant is a function of one argument, how many operations to do:

    async def tell_raw(count: int) -> float:
        ...                                   # what is not measured: setting up
        start = now()
        ...                                   # count operations
        return now() - start                  # seconds for all of them

    WORKLOADS = [
        Workload("tell", unit="µs per message", count=20_000, ours=tell_ours, raw=tell_raw,
                 budget=at_most(0.25, goal=0.125)),
    ]

An async contestant runs in a fresh ``trio.run``; a plain one is called (and may open a loop of its
own). One that returns ``None`` is timed as a whole, without the start of the loop. What is measured
need not be time: a contestant may return bytes or rows, with `Workload.scale` to match.

Why interleaved: on a shared machine the speed drifts by a factor of two within seconds, for all
contestants alike. So every round runs each contestant once, in an order that rotates, and a ratio
is the median of the ratios within the rounds, not the ratio of two medians.
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Literal, cast

import trio
from attrs import field, frozen

Contestant = Callable[[int], Awaitable[float | None]] | Callable[[int], float | None]

#: The clock of all contestants. Set ``BENCH_CLOCK=cpu`` to count processor time instead: steadier
#: on a busy machine, and wrong for work that sleeps or is done by the disk or another process.
now: Callable[[], float] = (
    time.process_time if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter
)


@frozen
class Budget:
    """What a workload has to reach, and what the prototypes show to be possible.

    ``kind`` says what is judged:

    ========== =========================== ==========
    ratio      ours / raw                  at most
    speedup    raw / ours                  at least
    value      ours, in the unit           at most
    excess     ours - raw, in the unit     at most
    ========== =========================== ==========
    """

    kind: Literal["ratio", "speedup", "value", "excess"]
    must: float | None
    goal: float | None = None

    def judge(self, ours: float, raw: float | None) -> float | None:
        """The number that is compared with must and goal; None where raw is needed and missing."""
        if self.kind == "value":
            return ours
        if raw is None:
            return None
        if self.kind == "excess":
            return ours - raw
        return ours / raw if self.kind == "ratio" else raw / ours

    def meets(self, judged: float, bound: float) -> bool:
        """Whether the judged number keeps to the bound."""
        return judged >= bound if self.kind == "speedup" else judged <= bound

    def show(self, bound: float | None) -> str:
        """The bound as a reader writes it: ``<= 0.25 x``."""
        if bound is None:
            return ""
        sign = ">=" if self.kind == "speedup" else "<="
        text = f"{sign} {bound:g}"
        return {"value": text, "excess": f"{sign} raw + {bound:g}"}.get(self.kind, f"{text} x")


def at_most(must: float | None, *, goal: float | None = None) -> Budget:
    """Ours may cost at most ``must`` times what raw costs."""
    return Budget("ratio", must, goal)


def at_least(must: float | None, *, goal: float | None = None) -> Budget:
    """Ours has to be at least ``must`` times as fast as raw."""
    return Budget("speedup", must, goal)


def within(must: float | None, *, goal: float | None = None) -> Budget:
    """Ours may be at most ``must``, in the unit of the workload, whatever raw is."""
    return Budget("value", must, goal)


def beyond_raw(must: float | None, *, goal: float | None = None) -> Budget:
    """Ours may be at most ``must`` above raw, in the unit of the workload."""
    return Budget("excess", must, goal)


@frozen
class Peer:
    """A contestant from another library; left out unless the module ``requires`` can be imported.

    ``run`` imports the library itself, so that a benchmark file loads without it. ``count``
    replaces the count of the workload for a peer that is much slower than ours.
    """

    requires: str
    run: Contestant
    count: int | None = None

    def installed(self) -> bool:
        """Whether the library is there; finds it without importing it."""
        try:
            return importlib.util.find_spec(self.requires) is not None
        except ModuleNotFoundError:  # the package above a dotted name is missing
            return False


@frozen
class Workload:
    """One row of the table.

    Args:
        name: The row, such as ``"ask, 100 callers"``; ``--only`` looks for a part of it.
        unit: What a number means, such as ``"µs per message"``.
        count: Operations per call of a contestant; about 50-500 ms of work.
        ours, raw: The contestants; ``raw=None`` where only ours and a value are judged.
        peers: Other libraries by name.
        budget: None where nothing is asked.
        scale: What a contestant returns, times this, divided by the count, is in the unit.
        quick: False keeps the count under ``--quick``, where a small one would mean nothing.
        note: Shown under the table.
    """

    name: str
    unit: str
    count: int
    ours: Contestant
    raw: Contestant | None = None
    peers: Mapping[str, Peer] = field(factory=dict)
    budget: Budget | None = None
    scale: float = 1e6
    quick: bool = True
    note: str = ""


@frozen
class Outcome:
    """What a workload gave: a number per round for each contestant, in the unit of the workload.

    ``failed`` has the error, in one line, of each contestant that did not get through.
    """

    workload: Workload
    rounds: Mapping[str, Sequence[float]]
    failed: Mapping[str, str]

    def median(self, name: str) -> float | None:
        """The median of the rounds, None for a contestant that is not there or failed."""
        numbers = self.rounds.get(name)
        return statistics.median(numbers) if numbers and name not in self.failed else None

    @property
    def judged(self) -> float | None:
        """The number held against the budget: the median over the rounds, ours against raw."""
        budget, ours, raw = self.workload.budget, self.rounds["ours"], self.rounds.get("raw", ())
        if budget is None or self.median("ours") is None:
            return None
        if budget.kind == "value":
            return self.median("ours")
        if self.median("raw") is None:
            return None
        pairs = [budget.judge(mine, other) for mine, other in zip(ours, raw, strict=True)]
        return statistics.median(number for number in pairs if number is not None)

    def against_ours(self, name: str) -> float | None:
        """How many times ours this contestant costs, paired by round."""
        if self.median(name) is None or self.median("ours") is None:
            return None
        pairs = zip(self.rounds[name], self.rounds["ours"], strict=True)
        return statistics.median(other / mine for other, mine in pairs)

    def meets(self, level: Literal["must", "goal"]) -> bool | None:
        """Whether the bound is kept; None where there is no bound."""
        budget = self.workload.budget
        bound = getattr(budget, level) if budget is not None else None
        if budget is None or bound is None:
            return None
        judged = self.judged
        return judged is not None and budget.meets(judged, bound)


def contestants_of(workload: Workload) -> Iterator[tuple[str, Contestant, int]]:
    """Name, function and count of each contestant that can run here."""
    yield "ours", workload.ours, workload.count
    if workload.raw is not None:
        yield "raw", workload.raw, workload.count
    for name, peer in workload.peers.items():
        if peer.installed():
            yield name, peer.run, peer.count or workload.count


def call_once(run: Contestant, count: int) -> float:
    """One run of a contestant, in what it measures.

    Garbage of the contestants before is collected, and what survives is frozen, so that nobody
    pays for the heap of another. The collector itself stays on: garbage that a contestant makes is
    a cost of its own.
    """
    gc.collect()
    gc.freeze()
    try:
        if inspect.iscoroutinefunction(run):
            return trio.run(_timed, run, count)
        start = now()
        own = cast("float | None", run(count))
        return now() - start if own is None else own
    finally:
        gc.unfreeze()


async def _timed(run: Callable[[int], Awaitable[float | None]], count: int) -> float:
    start = now()
    own = await run(count)
    return now() - start if own is None else own


def run_workload(workload: Workload, rounds: int = 5, *, quick: bool = False) -> Outcome:
    """Run every contestant once a round, the order rotating; a failure drops that contestant."""
    contestants = list(contestants_of(workload))
    numbers: dict[str, list[float]] = {name: [] for name, _, _ in contestants}
    failed: dict[str, str] = {}
    for index in range(rounds):
        turn = index % len(contestants)
        for name, run, count in contestants[turn:] + contestants[:turn]:
            if name in failed:
                continue
            size = max(1, count // 10) if quick and workload.quick else count
            try:
                numbers[name].append(call_once(run, size) * workload.scale / size)
            except Exception as error:
                failed[name] = _one_line(error)
    return Outcome(workload, numbers, failed)


def _one_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200]
