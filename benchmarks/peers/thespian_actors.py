"""Thespian on its "simple" base: all actors in the calling thread, no isolation between them."""

from __future__ import annotations

from typing import Any

from harness import now

GROUP = 100


def _counter() -> Any:
    from thespian.actors import Actor  # type: ignore[import-not-found, unused-ignore]

    class Counter(Actor):  # type: ignore[misc, unused-ignore]
        def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
            if isinstance(message, tuple):
                self.send(sender, message)

    return Counter


def _system() -> Any:
    from thespian.actors import ActorSystem  # type: ignore[import-not-found, unused-ignore]

    return ActorSystem("simpleSystemBase")


def start_and_stop(count: int) -> float:
    """Create actors in groups of 100 and ask each to exit."""
    from thespian.actors import ActorExitRequest  # type: ignore[import-not-found, unused-ignore]

    counter, system = _counter(), _system()
    start = now()
    for _ in range(count // GROUP):
        addresses = [system.createActor(counter) for _ in range(GROUP)]
        for address in addresses:
            system.tell(address, ActorExitRequest())
    elapsed = now() - start
    system.shutdown()
    return elapsed


def tell(count: int) -> float:
    """Tell one actor."""
    system = _system()
    address = system.createActor(_counter())
    start = now()
    for number in range(count):
        system.tell(address, number)
    elapsed = now() - start
    system.shutdown()
    return elapsed


def ask(count: int) -> float:
    """Ask one actor, one question after the other."""
    system = _system()
    address = system.createActor(_counter())
    start = now()
    for number in range(count):
        assert system.ask(address, (number,)) == (number,)
    elapsed = now() - start
    system.shutdown()
    return elapsed
