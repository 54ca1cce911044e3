"""Where runs live: the seam through which one kind runs another, and runs as actors."""

from lexigram_actors.host.actors import run_actor, run_supervised
from lexigram_actors.host.seam import RunContext, Runnable

__all__ = [
    "RunContext",
    "Runnable",
    "run_actor",
    "run_supervised",
]
