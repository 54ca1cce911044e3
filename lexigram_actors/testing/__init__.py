"""Tools for testing what runs on this library: time, order, cancellation, crashes, leaks.

| | |
| --- | --- |
| `virtual_clock()`, `VirtualTime` | thirty days pass in milliseconds |
| `run(fn, seed=7)`, `every_order(fn)` | a Trio run in an order that can be repeated; all orders |
| `cancel_at_every_step(scenario)` | a cancellation before each task step |
| `crash_everywhere(program, check=...)` | a crash at each call of the store, and the recovery |
| `crash_in_child(program, check=...)` | the same with processes that really die |
| `World`, `check_steps` | what outlives a process, and what must hold of its side effects |
| `no_leaks()` | no thread, open file or task is left behind |

They raise `AssertionError`s, and know of no test framework. All but `no_leaks` make Trio runs of
their own, so that a test that uses them is a plain function. What fails bears a note with the line
that repeats it.
"""

from lexigram_actors.testing.cancelling import (
    CancelAt,
    CancelReport,
    at_every_step,
    cancel_at_every_step,
)
from lexigram_actors.testing.children import crash_in_child
from lexigram_actors.testing.clock import VirtualTime, virtual_clock
from lexigram_actors.testing.crashing import CrashReport, crash_everywhere
from lexigram_actors.testing.faults import CrashPoint, FaultyStore, Life, SimulatedCrash
from lexigram_actors.testing.leaks import no_leaks, no_task_left
from lexigram_actors.testing.ledger import Effect, check_steps
from lexigram_actors.testing.schedules import Orders, Stuck, every_order, run
from lexigram_actors.testing.world import World

__all__ = [
    "CancelAt",
    "CancelReport",
    "CrashPoint",
    "CrashReport",
    "Effect",
    "FaultyStore",
    "Life",
    "Orders",
    "SimulatedCrash",
    "Stuck",
    "VirtualTime",
    "World",
    "at_every_step",
    "cancel_at_every_step",
    "check_steps",
    "crash_everywhere",
    "crash_in_child",
    "every_order",
    "no_leaks",
    "no_task_left",
    "run",
    "virtual_clock",
]
