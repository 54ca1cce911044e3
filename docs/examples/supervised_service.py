"""A service whose worker crashes on bad input, and a supervisor that starts it again.

The worker reads source files as ASCII, which some of them are not: a bug, as bugs are. Each crash
answers the question in hand with `ActorFailed`; the supervisor starts a new worker, and the index
beside it keeps what it knows.

    python docs/examples/supervised_service.py
"""

from __future__ import annotations

import logging
import sysconfig
from pathlib import Path

import trio

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorFailed,
    ActorNode,
    ActorRef,
    ActorRestarted,
    ActorSystem,
    Backoff,
    ChildSpec,
    Supervisor,
    open_system,
)


class Index(Actor[tuple[str, int] | str]):
    """Knows how many lines each file has."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}

    async def receive(self, message: tuple[str, int] | str) -> int | None:
        if isinstance(message, str):
            return self.lines.get(message)
        name, lines = message
        self.lines[name] = lines
        return len(self.lines)


class Reader(Actor[Path]):
    """Counts the lines of a file and tells the index; crashes where a file is not ASCII."""

    def __init__(self, index: str) -> None:
        self.index = index

    async def receive(self, message: Path) -> int:
        text = await trio.Path(message).read_text("ascii")
        index = self.context.system.whereis(self.index)
        assert index is not None
        count: int = await index.ask((message.name, text.count("\n")))
        return count


def show(node: ActorNode, depth: int = 0) -> None:
    """Print the tree of actors."""
    print(f"{'  ' * depth}{node.name:{24 - 2 * depth}} {node.state:8} restarts: {node.restarts}")
    for child in node.children:
        show(child, depth + 1)


async def report_restarts(context: ActorContext[None]) -> None:
    """An actor that reads no messages; it ends when it is cancelled."""
    async with context.system.events.subscribe(ActorRestarted) as restarts:
        async for restart in restarts:
            print(f"restarted {restart.name} after {type(restart.error).__name__}")


async def serve(system: ActorSystem, files: list[Path]) -> None:
    supervisor = await system.spawn(
        Supervisor(
            [ChildSpec("index", Index), ChildSpec("reader", Reader, args=("service/index",))],
            max_restarts=10,
            period=5.0,
            backoff=Backoff(initial=0.01, maximum=0.1),
        ),
        name="service",
    )
    reader: ActorRef[Path] | None = system.whereis("service/reader")
    assert reader is not None

    refused = []
    for file in files:
        try:
            await reader.ask(file, timeout=10)
        except ActorFailed:
            refused.append(file.name)

    show(system.tree())
    info = await supervisor.count_children()
    print(f"{len(files)} files, {len(refused)} refused, {info.active} actors at work")


def source_files() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    return sorted(library.glob("f*.py")) + sorted(library.glob("s*.py"))


async def main() -> None:
    logging.getLogger("lexigram_actors").setLevel(logging.CRITICAL)  # no tracebacks in between
    files = source_files()

    async with open_system() as system:
        await system.spawn(report_restarts, name="reporter", shutdown=0)
        await serve(system, files)


if __name__ == "__main__":
    trio.run(main)
