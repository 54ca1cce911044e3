"""What an incarnation meets: its host, the lease, people who are asked, and how it is ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, final

from attrs import define, frozen

from lexigram_actors.result import Result


class Suspended(BaseException):
    """The incarnation is over, though the instance is not: its host stops, or lost it.

    No `Exception`, so that what handles the failures of a step lets it pass.
    """


class ContinueAsNew(BaseException):
    """The instance begins again, with another input and an empty journal.

    No `Exception`, so that what handles the failures of a step lets it pass.
    """

    def __init__(self, input: Any) -> None:
        super().__init__(input)
        self.input = input


class Handle(Protocol):
    """What whoever began an instance holds of it."""

    @property
    def id(self) -> str: ...

    async def result(self) -> Result[Any, Exception]:
        """Wait for the end, and return the outcome."""
        ...

    async def cancel(self, reason: str = "cancelled", grace: float = 5.0) -> None:
        """Ask for the end, and wait for it."""
        ...


class Surroundings(Protocol):
    """What an instance may ask of its host."""

    async def start(
        self,
        runnable: Any,
        input: Any = None,
        *,
        id: str | None = None,
        delay: float | None = None,
        parent: str | None = None,
    ) -> Handle:
        """Begin an instance, or find the one that has the id; durable on return."""
        ...

    def handle(self, id: str) -> Handle:
        """Return the handle of an instance that there is, or may be."""
        ...

    @property
    def has_listeners(self) -> bool:
        """Whether anybody listens."""
        ...

    def publish(self, event: object) -> None:
        """Tell whoever listens; never waits."""
        ...

    def transitioned(self, id: str, from_state: str, to_state: str) -> None:
        """Tell hooks that an instance with states of its own has moved; never waits."""
        ...


class Lease(Protocol):
    """The host's right to run what it has."""

    @property
    def deadline(self) -> float:
        """Until when, by Trio's clock, new work may begin."""
        ...

    async def wait_renewed(self) -> None:
        """Wait until the deadline lies ahead again; raises `LeaseLost` when it never will."""
        ...


@final
@frozen
class Question:
    """Something a person is asked, while it is open.

    Attributes:
        id: Known to whoever answers: the path at which it is asked.
        prompt: The text.
        schema: What an answer has to look like, as JSON data; None: anything.
        expires_at: Unix seconds; None: never.
    """

    id: str
    prompt: str
    schema: Any = None
    expires_at: float | None = None


@final
@define(eq=False)
class OpenQuestion:
    """A question, with what judges an answer: returns it as the asker gets it, or raises.

    `check` raises `AnswerInvalidError`.
    """

    question: Question
    check: Callable[[Any], Any]
