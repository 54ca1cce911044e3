"""Where runs live: the seam through which one kind runs another."""

from lexigram_actors.host.seam import RunContext, Runnable

__all__ = [
    "RunContext",
    "Runnable",
]
