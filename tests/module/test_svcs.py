"""svcs as the container: its registry and containers serve as they are."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import svcs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.errors import ConfigurationError, MissingExtraError
from lexigram_actors.module.protocols import ContainerRegistrarProtocol, ContainerResolverProtocol
from lexigram_actors.module.provider import WorkflowProvider
from lexigram_actors.module.svcs_adapter import SvcsRegistrar, SvcsResolver
from lexigram_actors.pipeline import Pipeline, PipelineProtocol
from lexigram_actors.saga.models import SagaStoreProtocol


class Thing:
    """What factories make; it knows its number."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1


# --- a provider in a registry ---------------------------------------------------------------------


async def test_a_registry_and_its_containers_serve_as_they_are() -> None:
    provider = WorkflowProvider(BulkOperationConfig(batch_size=9))
    async with svcs.Registry() as registry:
        await provider.register(registry)  # type: ignore[arg-type]
        async with svcs.Container(registry) as one, svcs.Container(registry) as two:
            await provider.boot(one)  # type: ignore[arg-type]
            assert (await one.aget(BulkOperationConfig)).batch_size == 9
            assert one.get(WorkflowProvider) is two.get(WorkflowProvider) is provider
            assert one.get(Pipeline) is two.get(PipelineProtocol)
            assert one.get(SagaStoreProtocol) is provider.saga_store
            assert (await one.get(WorkflowProvider).health_check()).is_healthy()
    await provider.shutdown()


async def test_without_cleanups_a_registry_need_not_be_closed() -> None:
    registry = svcs.Registry()
    await WorkflowProvider().register(registry)  # type: ignore[arg-type]
    del registry  # svcs would warn, and a warning is an error here


async def test_two_registries_side_by_side_share_nothing() -> None:
    containers = []
    for _ in range(2):
        registry = svcs.Registry()
        await WorkflowProvider().register(registry)  # type: ignore[arg-type]
        containers.append(svcs.Container(registry))
    assert containers[0].get(Pipeline) is not containers[1].get(Pipeline)


# --- the adapters ---------------------------------------------------------------------------------


async def test_the_adapters_are_a_registrar_and_a_resolver() -> None:
    registrar = SvcsRegistrar()
    resolver = SvcsResolver(svcs.Container(registrar.registry))
    assert isinstance(registrar, ContainerRegistrarProtocol)
    assert isinstance(resolver, ContainerResolverProtocol)
    registrar.singleton(Thing, Thing)
    assert await resolver.resolve(Thing) is await resolver.resolve(Thing)


async def test_what_is_async_is_made_once_however_many_ask() -> None:
    made: list[Thing] = []

    async def make() -> Thing:
        await trio.lowlevel.checkpoint()
        made.append(Thing())
        return made[-1]

    registrar, got = SvcsRegistrar(), list[object]()
    registrar.singleton(Thing, make)

    async def ask() -> None:
        got.append(await SvcsResolver(svcs.Container(registrar.registry)).resolve(Thing))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert len(made) == 1
    assert got == made * 5


async def test_where_making_is_cancelled_the_next_makes_it() -> None:
    gate = trio.Event()

    async def make() -> Thing:
        await gate.wait()
        return Thing()

    registrar, got = SvcsRegistrar(), list[object]()
    registrar.singleton(Thing, make)

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            got.append(await SvcsResolver(svcs.Container(registrar.registry)).resolve(Thing))

    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()
        nursery.start_soon(ask, first)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, trio.CancelScope())
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        gate.set()
    assert len(got) == 1


async def test_a_factory_that_raises_is_asked_again() -> None:
    answers: list[Any] = [OSError("not yet"), Thing()]

    async def make() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    registrar = SvcsRegistrar()
    registrar.singleton(Thing, make)
    resolver = SvcsResolver(svcs.Container(registrar.registry))
    with pytest.raises(OSError, match="not yet"):
        await resolver.resolve(Thing)
    assert isinstance(await resolver.resolve(Thing), Thing)


async def test_generators_are_cleaned_up_when_the_registry_closes_the_last_made_first() -> None:
    diary: list[str] = []

    async def first() -> AsyncIterator[int]:
        yield 1
        await trio.lowlevel.checkpoint()
        diary.append("first")

    def second() -> Iterator[str]:
        yield "two"
        diary.append("second")

    async with svcs.Registry() as registry:
        registrar = SvcsRegistrar(registry)
        registrar.singleton(int, first)
        registrar.singleton(str, second)
        async with svcs.Container(registry) as container:
            assert await container.aget(int) == 1
            assert container.get(str) == "two"
        assert diary == []
    assert diary == ["second", "first"]
    await registrar.aclose()
    assert diary == ["second", "first"]


async def test_what_was_never_made_is_never_cleaned_up() -> None:
    def never() -> Iterator[int]:
        raise AssertionError
        yield 1

    async with svcs.Registry() as registry:
        SvcsRegistrar(registry).singleton(int, never)


async def test_after_a_closing_it_is_made_anew() -> None:
    def make() -> Iterator[Thing]:
        yield Thing()

    async with svcs.Registry() as registry:
        registrar = SvcsRegistrar(registry)
        registrar.singleton(Thing, make)
        old = svcs.Container(registry).get(Thing)
        await registrar.aclose()
        assert svcs.Container(registry).get(Thing) is not old


async def test_a_cleanup_goes_on_in_a_cancelled_scope_for_its_grace(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    diary: list[str] = []

    async def make(seconds: float) -> AsyncIterator[Any]:
        yield Thing()
        await trio.sleep(seconds)
        diary.append(f"after {seconds}")

    async def quick() -> AsyncIterator[Any]:
        async for each in make(1):
            yield each

    async def slow() -> AsyncIterator[Any]:
        async for each in make(60):
            yield each

    registrar = SvcsRegistrar(grace=5)
    registrar.singleton(str, slow)
    registrar.singleton(int, quick)
    resolver = SvcsResolver(svcs.Container(registrar.registry))
    await resolver.resolve(str)
    await resolver.resolve(int)
    with trio.CancelScope() as scope:
        scope.cancel()
        await registrar.registry.aclose()
    assert diary == ["after 1"]
    assert trio.current_time() == pytest.approx(5)
    assert "cut off" in caplog.text


async def test_a_cleanup_that_raises_does_not_stop_the_others() -> None:
    diary: list[str] = []

    def fine() -> Iterator[int]:
        yield 1
        diary.append("fine")

    def bad() -> Iterator[str]:
        yield "x"
        raise OSError("bad")

    registrar = SvcsRegistrar()
    registrar.singleton(int, fine)
    registrar.singleton(str, bad)
    svcs.Container(registrar.registry).get(int, str)
    with pytest.raises(OSError, match="bad"):
        await registrar.aclose()
    assert diary == ["fine"]
    await registrar.registry.aclose()


async def test_a_context_manager_that_a_factory_returns_is_not_entered() -> None:
    lock = trio.Lock()
    registrar = SvcsRegistrar()
    registrar.singleton(trio.Lock, lambda: lock)
    assert await SvcsResolver(svcs.Container(registrar.registry)).resolve(trio.Lock) is lock
    assert not lock.locked()


def test_without_a_loop_what_is_sync_is_given_all_the_same() -> None:
    registrar = SvcsRegistrar()
    registrar.singleton(Thing, Thing)
    container = svcs.Container(registrar.registry)
    assert container.get(Thing) is container.get(Thing)


def test_under_asyncio_it_works_the_same() -> None:
    diary: list[str] = []

    async def make() -> AsyncIterator[Thing]:
        await asyncio.sleep(0)
        yield Thing()
        await asyncio.sleep(0)
        diary.append("ended")

    async def main() -> None:
        async with svcs.Registry() as registry:
            SvcsRegistrar(registry).singleton(Thing, make)
            async with svcs.Container(registry) as container:
                one, two = await asyncio.gather(container.aget(Thing), container.aget(Thing))
                assert one is two

    asyncio.run(main())
    assert diary == ["ended"]


def test_under_asyncio_what_is_async_needs_anyio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anyio", None)

    async def make() -> Thing:
        return Thing()

    async def main() -> None:
        registrar = SvcsRegistrar()
        registrar.singleton(Thing, make)
        with pytest.raises(MissingExtraError, match="anyio"):
            await SvcsResolver(svcs.Container(registrar.registry)).resolve(Thing)

    asyncio.run(main())


async def test_another_container_gets_what_was_made_before() -> None:
    async def make() -> Thing:
        return Thing()

    registrar = SvcsRegistrar()
    registrar.singleton(Thing, make)
    first = await svcs.Container(registrar.registry).aget(Thing)
    assert await svcs.Container(registrar.registry).aget(Thing) is first


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{}, object(), svcs.Container(svcs.Registry()), svcs.Registry])
def test_a_registrar_of_no_registry_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"svcs\.Registry"):
        SvcsRegistrar(wrong)


@pytest.mark.parametrize("wrong", [None, {}, svcs.Registry(), svcs.Container])
def test_a_resolver_of_no_container_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"svcs\.Container"):
        SvcsResolver(wrong)


def test_a_factory_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="can be called"):
        SvcsRegistrar().singleton(int, 3)


def test_a_grace_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        SvcsRegistrar(grace=-1)


def test_without_svcs_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "svcs", None)
    with pytest.raises(MissingExtraError, match="svcs") as caught:
        SvcsRegistrar()
    assert caught.value.extra == "di"
