"""An application whose parts come out of an svcs container, under Trio.

The library brings the settings, the stores and a health check; the application adds a part of its
own, which is opened when it is first asked for and closed at the end.

    python docs/examples/svcs_application.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import svcs
import trio

from lexigram_actors import BulkOperation, BulkOperationConfig, open_store
from lexigram_actors.machine import State, StateMachine, StatePersistenceProtocol, Transition
from lexigram_actors.module import SvcsRegistrar, WorkflowModule, WorkflowProvider

LETTERS = [f"letter-{number}" for number in range(1_000)]

STATES = [
    State("written", {"send": Transition("send", "sent")}),
    State("sent", {"read": Transition("read", "read")}),
    State("read"),
]


class PostOffice:
    """Something of the application's own."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, letters: list[str]) -> list[str]:
        await trio.lowlevel.checkpoint()
        self.sent += len(letters)
        return letters


async def open_office() -> AsyncIterator[PostOffice]:
    """Open the office when somebody first asks for it; close it when the registry is closed."""
    office = PostOffice()
    try:
        yield office
    finally:
        print(f"the office closes after {office.sent} letters")


async def work(container: svcs.Container) -> None:
    config, office = await container.aget(BulkOperationConfig, PostOffice)
    async with BulkOperation(config, office.send).execute(LETTERS) as run:
        async for _ in run:
            pass
    print(f"batches of {config.batch_size} sent")

    persistence = await container.aget(StatePersistenceProtocol)
    letter = StateMachine(STATES, "written", persistence, "letter-7")
    await letter.transition("send")
    await letter.transition("read")
    print(f"transitions recorded: {await persistence.get_current_version('letter-7')}")

    result = await container.get(WorkflowProvider).health_check()
    print(f"{result.component} is {result.status}")


async def main() -> None:
    async with open_store("memory:") as store, svcs.Registry() as registry:
        module = WorkflowModule.configure(BulkOperationConfig(batch_size=100), store=store)
        SvcsRegistrar(registry).singleton(PostOffice, open_office)
        for provider in module.providers:
            await provider.register(registry)
        async with svcs.Container(registry) as container:
            for provider in module.providers:
                await provider.boot(container)
            await work(container)
        for provider in module.providers:
            await provider.shutdown()


if __name__ == "__main__":
    trio.run(main)
