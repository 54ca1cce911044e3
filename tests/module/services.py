"""Stores, databases and containers that the tests of modules use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio

from lexigram_actors.module.provider import WorkflowProvider

Answer = Callable[[], Awaitable[Any]]


async def at_once() -> Any:
    return None


class PlainContainer:
    """A registrar and resolver of a few lines, as anybody might write it."""

    def __init__(self) -> None:
        self.factories: dict[type, Callable[[], Any]] = {}
        self.made: dict[type, Any] = {}

    def singleton(self, interface: type, factory_or_type: Any) -> None:
        self.factories[interface] = factory_or_type

    async def resolve(self, interface: type) -> Any:
        if interface not in self.made:
            self.made[interface] = self.factories[interface]()
        return self.made[interface]


class Sagas:
    """A saga store that is not ours, and answers as it is told."""

    def __init__(self, answer: Answer = at_once) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.changed = False

    async def save(self, saga_id: str, state: Any, data: dict[str, Any]) -> None:
        self.changed = True

    async def load(self, saga_id: str) -> Any:
        self.asked.append(saga_id)
        return await self.answer()

    async def delete(self, saga_id: str) -> None:
        self.changed = True


class Database:
    """A database that is not ours, and answers as it is told."""

    def __init__(self, answer: Answer = at_once, *, connected: bool = True) -> None:
        self.answer = answer
        self.connected = connected
        self.statements: list[str] = []

    async def execute(self, sql: str, params: Any = None) -> Any:
        self.statements.append(sql)

    async def execute_query(self, sql: str, params: Any = None, **options: Any) -> Any:
        self.statements.append(sql)
        return await self.answer()

    async def execute_insert(self, table: str, data: Any, **options: Any) -> Any: ...

    async def execute_update(
        self, table: str, data: Any, where_clause: str, where_params: Any = None, **options: Any
    ) -> Any: ...

    async def execute_delete(
        self, table: str, where_clause: str, where_params: Any = None, **options: Any
    ) -> Any: ...

    def transaction(self, isolation_level: str | None = None) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def nothing() -> Any:
            yield

        return nothing()

    async def connect(self) -> None:
        self.connected = True

    async def disconnect(self) -> None:
        self.connected = False

    async def is_connected(self) -> bool:
        return self.connected


def after(seconds: float, value: Any = None) -> Answer:
    async def answer() -> Any:
        await trio.sleep(seconds)
        return value

    return answer


def raising(error: BaseException) -> Answer:
    async def answer() -> Any:
        raise error

    return answer


def answering(value: Any) -> Answer:
    async def answer() -> Any:
        return value

    return answer


async def booted(provider: WorkflowProvider) -> PlainContainer:
    container = PlainContainer()
    await provider.register(container)
    await provider.boot(container)
    return container
