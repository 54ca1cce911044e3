"""A saga as something to run inside something else, or in a host."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Final, final

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err, Ok, Result
from lexigram_actors.saga.saga import AbstractSaga


def check_takes_input(cls: type[AbstractSaga[Any]]) -> None:
    """Refuse a class that cannot be called with an input alone.

    Raises:
        TypeError: It cannot.
    """
    try:
        signature(cls).bind(None)
    except TypeError:
        raise TypeError(
            f"{cls.__name__} is not made from an input alone; say how it is: "
            f"{cls.__name__}.as_runnable(lambda input: {cls.__name__}(...))"
        ) from None


@final
class SagaRunnable:
    """What `AbstractSaga.as_runnable` returns."""

    tells_its_work: Final = True

    __slots__ = ("_class", "_make", "_name")

    def __init__(
        self,
        cls: type[AbstractSaga[Any]],
        make: Callable[[Any], AbstractSaga[Any]] | None,
        name: str | None,
    ) -> None:
        if make is not None and not callable(make):
            raise TypeError(f"make: {make!r} cannot be called")
        if make is None:
            check_takes_input(cls)
        if name is not None and (not isinstance(name, str) or not name):
            raise ConfigurationError("name: a saga's name must be a string that is not empty")
        self._class = cls
        self._make: Callable[[Any], AbstractSaga[Any]] = cls if make is None else make
        self._name = cls.__name__ if name is None else name

    @property
    def kind(self) -> str:
        """`"saga"`."""
        return "saga"

    @property
    def name(self) -> str:
        """The name it was given, or that of its class."""
        return self._name

    @property
    def version(self) -> int:
        """`VERSION` of its class."""
        return self._class.VERSION

    async def run(self, context: RunContext, /) -> Result[dict[str, Any], Exception]:
        """Execute a saga for the input; `Ok` of the results by step, or `Err(SagaError)`.

        Cancelled, it undoes what is done before it lets the cancellation pass.

        Raises:
            TypeError: `make` returned no saga.
        """
        saga = self._make(context.input)
        if not isinstance(saga, AbstractSaga):
            raise TypeError(f"the saga {self._name!r}: make() returned {type(saga).__name__}")
        if context.journal is None:
            result = await saga.execute()
        else:
            result = await saga._run_in(context)
        return Err(result.error) if isinstance(result, Err) else Ok(dict(saga.results))
