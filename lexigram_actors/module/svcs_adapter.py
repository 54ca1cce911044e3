"""svcs as a container for providers: its registry takes bindings, its containers give objects.

svcs makes an object for each of its containers. A provider binds singletons: made once, for
all containers of the registry, and let go of when the registry is closed. That is what is added
here.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from lexigram_actors.checks import given, number, require
from lexigram_actors.errors import MissingExtraError
from lexigram_actors.module.cleanups import Cleanups
from lexigram_actors.module.surroundings import surroundings

if TYPE_CHECKING:
    import svcs

EXTRA: Final = "di"

GRACE: Final = 5.0
"""Seconds that cleanups may go on for after a cancellation, all together."""

UNMADE: Final = object()


@final
class SvcsRegistrar:
    """Binds singletons in an `svcs.Registry`: a `ContainerRegistrarProtocol`.

    Args:
        registry: None: a new one, at `registrar.registry`.
        grace: Seconds that cleanups may go on for, all together, when the registry is closed in a
            cancelled scope; `inf`: no limit.

    Raises:
        MissingExtraError: svcs is not installed.
        ConfigurationError: `grace` is no number of seconds.
        TypeError: The registry is something else.
    """

    def __init__(self, registry: svcs.Registry | None = None, *, grace: float = GRACE) -> None:
        library = imported()
        require("grace", grace, number(least=0, unbounded=True))
        if registry is not None and not isinstance(registry, library.Registry):
            raise TypeError(f"registry must be an svcs.Registry, and is {given(registry)}")
        self.registry = library.Registry() if registry is None else registry
        self._cleanups = Cleanups(grace)
        self._is_closed_with_registry = False

    def singleton(self, interface: type, factory_or_type: Any) -> None:
        """Bind a type to what makes its one object, the first time that it is asked for.

        A generator, sync or async, is a factory with a cleanup: it yields the object, and goes on
        when the registry is closed (`await registry.aclose()`), the last made first. It is begun
        and ended in different tasks, so it may hold no nursery and no cancel scope open.

        Args:
            interface: What is asked for.
            factory_or_type: A class or function without parameters, an async function, or a
                generator of either kind. What is async can be got by `aget` only.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(factory_or_type):
            raise TypeError(f"a factory can be called; {given(factory_or_type)} cannot")
        # None of these has a parameter: svcs would hand over its container.
        once = Once(factory_or_type, self._cleanups)
        self.registry.register_factory(
            interface,
            once.get_async if once.is_async else once.get,
            enter=False,
            on_registry_close=self._hook() if once.has_cleanup else None,
        )

    async def aclose(self) -> None:
        """Let go of what was made by generators, the last made first; a second time does nothing.

        The registry does it when it is closed, and logs what is raised. Within `grace` seconds it
        goes on after a cancellation, which is felt afterwards.

        Raises:
            Exception: What a cleanup raised, an `ExceptionGroup` where several did. The others were
                done all the same.
        """
        await self._cleanups.aclose()

    def _hook(self) -> Callable[[], Awaitable[None]] | None:
        """Return what the registry is to call when it is closed; None: it has it already."""
        # Only where there is something to close: svcs warns of a registry that was not closed.
        first, self._is_closed_with_registry = not self._is_closed_with_registry, True
        return self.aclose if first else None


@final
class SvcsResolver:
    """Gives what is bound in an `svcs.Container`: a `ContainerResolverProtocol`.

    Raises:
        MissingExtraError: svcs is not installed.
        TypeError: The container is something else.
    """

    def __init__(self, container: svcs.Container) -> None:
        if not isinstance(container, imported().Container):
            raise TypeError(f"container must be an svcs.Container, and is {given(container)}")
        self.container = container

    async def resolve(self, interface: type) -> Any:
        """Return the object that is bound to a type.

        Raises:
            svcs.exceptions.ServiceNotFoundError: Nothing is.
            Exception: What its factory raised; it is asked again the next time.
        """
        return await self.container.aget(interface)


class Once:
    """The one object of a factory, made when it is first asked for.

    Args:
        factory: As for `SvcsRegistrar.singleton`.
        cleanups: Takes what ends a generator.
    """

    def __init__(self, factory: Callable[[], Any], cleanups: Cleanups) -> None:
        generates_async = inspect.isasyncgenfunction(factory)
        self.is_async = generates_async or inspect.iscoroutinefunction(factory)
        self.has_cleanup = generates_async or inspect.isgeneratorfunction(factory)
        self.factory = managed(factory) if self.has_cleanup else factory
        self.cleanups = cleanups
        self.value: Any = UNMADE
        self.lock: AbstractAsyncContextManager[Any] | None = None

    def get(self) -> Any:
        """Return the object."""
        if self.value is UNMADE:
            made = self.factory()
            if self.has_cleanup:
                manager, made = made, made.__enter__()
                self.cleanups.add(partial(self._leave, manager))
            self.value = made
        return self.value

    async def get_async(self) -> Any:
        """Return the object of a factory that has to be awaited.

        Several that ask at once wait for the first; where that one is cancelled, or its factory
        raises, the next one makes it.

        Raises:
            MissingExtraError: Under asyncio, anyio is not installed.
        """
        if self.value is not UNMADE:
            return self.value
        if self.lock is None:
            here = surroundings()
            if here is None:
                raise MissingExtraError("anyio", EXTRA)
            self.lock = here.lock()
        async with self.lock:
            if self.value is UNMADE:
                self.value = await self._made()
        return self.value

    async def _made(self) -> Any:
        making = self.factory()
        if not self.has_cleanup:
            return await making
        value = await making.__aenter__()
        self.cleanups.add(partial(self._leave, making))
        return value

    async def _leave(self, manager: Any) -> None:
        """End the generator. The next who asks gets a new object."""
        self.value = UNMADE
        self.lock = None
        if self.is_async:
            await manager.__aexit__(None, None, None)
        else:
            manager.__exit__(None, None, None)


def managed(factory: Callable[[], Any]) -> Callable[[], Any]:
    """Return a generator function as one that gives a context manager."""
    if inspect.isasyncgenfunction(factory):
        return asynccontextmanager(factory)
    return contextmanager(factory)


def imported() -> Any:
    """Return svcs.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import svcs
    except ImportError as error:
        raise MissingExtraError("svcs", EXTRA, cause=error) from error
    return svcs
