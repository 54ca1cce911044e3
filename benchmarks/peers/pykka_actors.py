"""Pykka: an actor is a thread with a queue."""

from __future__ import annotations

from typing import Any

from harness import now

GROUP = 100


def _counter() -> Any:
    import pykka

    class Counter(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            self.total = 0

        def on_receive(self, message: int) -> int:
            self.total += 1
            return self.total

    return Counter


def start_and_stop(count: int) -> float:
    """Start actors in groups of 100 and stop each, waiting for its end."""
    counter = _counter()
    start = now()
    for _ in range(count // GROUP):
        refs = [counter.start() for _ in range(GROUP)]
        for ref in refs:
            ref.stop()
    return now() - start


def tell(count: int) -> float:
    """Tell one actor, and wait until all is handled. The queue has no bound."""
    ref = _counter().start()
    start = now()
    for number in range(count):
        ref.tell(number)
    handled = ref.ask(-1)
    elapsed = now() - start
    ref.stop()
    assert handled == count + 1
    return elapsed


def ask(count: int) -> float:
    """Ask one actor, one question after the other."""
    ref = _counter().start()
    start = now()
    for number in range(count):
        ref.ask(number)
    elapsed = now() - start
    ref.stop()
    return elapsed


def ask_from_many(count: int) -> float:
    """Keep 100 questions open at once."""
    ref = _counter().start()
    start = now()
    for _ in range(count // GROUP):
        futures = [ref.ask(number, block=False) for number in range(GROUP)]
        for future in futures:
            future.get()
    elapsed = now() - start
    ref.stop()
    return elapsed
