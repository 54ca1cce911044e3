"""Count the words of many files with one actor that owns the count.

Three readers tell the counter what they found; nobody else touches its state, so there is no lock.
The mailbox holds eight messages: readers that are faster than the counter wait.

    python docs/examples/counter.py
"""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from pathlib import Path

import trio

from lexigram_actors import Actor, ActorRef, open_system

WORD = re.compile(r"[a-z]{5,}")


class WordCounter(Actor[str | int]):
    """Counts the words of each text it is told, and answers a number with so many top words."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()

    async def receive(self, message: str | int) -> list[tuple[str, int]] | None:
        if isinstance(message, int):
            return self.words.most_common(message)
        self.words.update(WORD.findall(message.lower()))
        return None


async def read(files: list[Path], counter: ActorRef[str | int]) -> None:
    for file in files:
        text = await trio.Path(file).read_text("utf-8", errors="replace")
        await counter.tell(text)  # waits while the mailbox is full


def source_files() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    return sorted((library / "json").glob("*.py")) + sorted((library / "email").glob("*.py"))


async def main() -> None:
    files = source_files()
    async with open_system() as system:
        counter = await system.spawn(WordCounter, name="counter", mailbox=8)
        async with trio.open_nursery() as readers:
            for start in range(3):
                readers.start_soon(read, files[start::3], counter)

        # Messages are handled in order: this question comes after all that was told.
        for word, times in await counter.ask(5, timeout=10):
            print(f"{word:10} {times}")

        counted = counter.statistics()
        print(f"{counted.accepted} messages accepted, {counted.handled} handled")


if __name__ == "__main__":
    trio.run(main)
