"""A day of heartbeats and a broken dependency, on a virtual clock: done in milliseconds.

Whatever waits in an actor system waits on the Trio clock: timers, backoff, restart periods, stop
deadlines, retries of bulk runs. `MockClock(autojump_threshold=0)` jumps to the next deadline as
soon as every task waits, so nothing sleeps in earnest.

    python docs/examples/virtual_clock.py
"""

from __future__ import annotations

import logging
import time
from math import inf

import trio
from trio.testing import MockClock

from lexigram_actors import (
    Actor,
    ActorRestarted,
    ActorSystem,
    Backoff,
    ChildSpec,
    Supervisor,
    open_system,
)

HOUR = 3600.0
DAY = 24 * HOUR


class Heartbeat(Actor[str]):
    """Beats every minute; its dependency is down for the first six hours."""

    def __init__(self, beats: list[float]) -> None:
        self.beats = beats

    async def started(self) -> None:
        self.context.send_every(60.0, "beat")

    async def receive(self, message: str) -> None:
        if trio.current_time() < 6 * HOUR:
            raise ConnectionError("the dependency is down")
        self.beats.append(trio.current_time())


async def watch_one_day(system: ActorSystem) -> int:
    restarts = 0
    async with system.events.subscribe(ActorRestarted) as events:
        with trio.move_on_at(DAY):
            async for event in events:
                print(f"{trio.current_time() / HOUR:5.2f} h  {event.name} restarted")
                restarts += 1
    return restarts


async def main() -> None:
    beats: list[float] = []
    backoff = Backoff(initial=60.0, factor=4.0, maximum=4 * HOUR, jitter=0.0, reset_after=inf)
    async with open_system() as system:
        child = ChildSpec("heartbeat", Heartbeat, args=(beats,))
        await system.spawn(Supervisor([child], max_restarts=100, period=DAY, backoff=backoff))
        restarts = await watch_one_day(system)
    print(f"{restarts} restarts, {len(beats)} beats in {trio.current_time() / HOUR:.0f} hours")


if __name__ == "__main__":
    logging.getLogger("lexigram_actors").setLevel(logging.CRITICAL)  # no tracebacks in between
    began = time.perf_counter()
    trio.run(main, clock=MockClock(autojump_threshold=0))
    print(f"real time: {'under' if time.perf_counter() - began < 5 else 'over'} 5 s")
