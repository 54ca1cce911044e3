"""What has been found out about one answer, so that nothing is tried twice. Pure.

Each type of a union is tried in turn, and each way in tries the unions further inside again: of a
hundred characters that makes millions of tries. With what is remembered here, a value is tried once
for each union that it may have to fit. And what will not fit in the end is left alone as soon as
there are problems enough to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, final

from lexigram_actors.checks import given
from lexigram_actors.result import Ok, Result
from lexigram_actors.schemas.misfits import ENOUGH, MOST_PROBLEMS
from lexigram_actors.schemas.strict_json import read_json

if TYPE_CHECKING:
    from cattrs import IterableValidationError

SINGLE = (str, bytes, int, float, type(None))
"""Values with nothing inside: to try one again is cheaper than to remember it."""


@final
class Findings:
    """What the texts in one answer say, and what its values are for each union.

    By identity: an answer may hold what cannot be hashed, and 1, True and 1.0 are different. All
    that is remembered stays alive meanwhile, so that no other object gets its identity.
    """

    __slots__ = ("_problems", "_read", "_tried")

    def __init__(self) -> None:
        self._problems = 0
        self._read: dict[int, tuple[str, Any]] = {}
        self._tried: dict[tuple[int, ...], tuple[Any, Any, Result[Any, str]]] = {}

    def json(self, text: str) -> Any:
        """Return what the JSON says, each time the same object.

        Raises:
            ValueError: As of `read_json`.
        """
        if id(text) not in self._read:
            self._read[id(text)] = (text, read_json(text))
        return self._read[id(text)][1]

    @property
    def enough(self) -> bool:
        """Whether there are more problems than will be shown."""
        return self._problems > MOST_PROBLEMS

    def go_on(self) -> None:
        """Raise a `ValueError` where there are problems enough."""
        if self.enough:
            raise ValueError(ENOUGH)

    def count(self, errors: Iterable[BaseException]) -> None:
        """Count problems; those in groups were counted where the group was made."""
        self._problems += sum(not isinstance(error, BaseExceptionGroup) for error in errors)

    def apart(self, find: Callable[[], Any]) -> Any:
        """Return what `find` returns; its problems are counted from 0, and do not count here."""
        before, self._problems = self._problems, 0
        try:
            return find()
        finally:
            self._problems = before

    def once(self, value: Any, kinds: list[Any], find: Callable[[], Result[Any, str]]) -> Any:
        """Return what the value is for the union, finding out at most once.

        Args:
            value: The value. What is found for it is shared, wherever it stands in the answer.
            kinds: The union's types, in their order.
            find: Returns the structured value, or a sentence about why nothing fits.

        Raises:
            ValueError: Nothing fits, or there are problems enough. A new one each time, since each
                place adds notes to its own.
        """
        self.go_on()
        key = (id(value), *map(id, kinds))
        if key in self._tried:
            outcome = self._tried[key][2]
        else:
            outcome = find()
            if not isinstance(value, SINGLE) or id(value) in self._read:
                self._tried[key] = (value, kinds, outcome)
        if isinstance(outcome, Ok):
            return outcome.value
        raise ValueError(outcome.unwrap_err())


findings: ContextVar[Findings] = ContextVar("findings")
"""Set while an answer is structured: the hooks of a converter have no argument for it."""


@final
class Problems:
    """What is wrong with the items of one list or object."""

    __slots__ = ("_errors", "_findings")

    def __init__(self) -> None:
        self._errors: list[Exception] = []
        self._findings = findings.get()

    def add(self, error: Exception, index: Any, kind: Any) -> None:
        """Note what is wrong at one place.

        Raises:
            IterableValidationError: There are problems enough; the rest is not to be looked at.
        """
        from cattrs import IterableValidationNote

        error.add_note(IterableValidationNote(f"at {given(index)}", index, kind))
        self._errors.append(error)
        self._findings.count([error])
        if self._findings.enough:
            raise self._group()

    def check(self) -> None:
        """Raise an `IterableValidationError` if anything was wrong."""
        if self._errors:
            raise self._group()

    def _group(self) -> IterableValidationError:
        from cattrs import IterableValidationError

        return IterableValidationError("items do not fit", self._errors, list)
