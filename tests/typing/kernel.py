"""Read by type checkers, never run: what actors, supervisors and bulk runs look like to users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_type

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorRef,
    BulkBatchResult,
    BulkOperation,
    BulkOperationConfig,
    ChildSpec,
    DeadLetter,
    DynamicSupervisor,
    Exit,
    Supervisor,
    SupervisorRef,
    open_store,
    open_system,
)


class Counter(Actor[int]):
    def __init__(self, start: int = 0) -> None:
        self.total = start

    async def receive(self, message: int) -> int:
        self.total += message
        return self.total


async def echo(context: ActorContext[str], prefix: str) -> None:
    async for message in context.messages():
        assert_type(message, str)
        context.reply(prefix + message)


async def actors() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter, 5, name="counter")
        assert_type(counter, ActorRef[int])
        await counter.tell(1)
        await counter.tell("one")  # type: ignore[arg-type]
        assert_type(await counter.monitor(), Exit)
        echoing = await system.spawn(echo, "> ")
        assert_type(echoing, ActorRef[str])
        supervisor = await system.spawn(Supervisor([ChildSpec("counter", Counter)]))
        assert_type(supervisor, SupervisorRef)
        assert_type(await supervisor.start_child(ChildSpec("echo", echo)), ActorRef[Any])
        assert_type(await system.spawn(DynamicSupervisor()), SupervisorRef)
        async with system.dead_letters() as letters:
            async for letter in letters:
                assert_type(letter, DeadLetter)


async def lengths(words: list[str]) -> list[int]:
    return [len(word) for word in words]


async def words() -> AsyncIterator[str]:
    yield "word"


async def bulk() -> None:
    async with open_store("memory:") as store:
        operation = BulkOperation(
            BulkOperationConfig(batch_size=2), lengths, checkpoint_store=store.cache
        )
        async with operation.execute(["a", "bc"], operation_id="lengths") as run:
            async for result in run:
                assert_type(result, BulkBatchResult[str, int])
        async for result in operation.execute(words()):
            assert_type(result.results, list[int])
