"""What a setting may be, said once: the check and the sentence about it come from one `Rule`.

A frozen attrs class puts a rule in each field's metadata and calls `check(self)` after it is made:

    batch_size: int = field(default=10, metadata=whole(least=1))

All wrong settings are found at once, and the error names each with the value given and what is
allowed. Python lets True stand for 1 and "5" nearly stand for 5; here neither passes for a number,
since in a configuration both are mistakes. Nor do ints that the code below cannot work with: a
clock counts in floats, and counting stops at `sys.maxsize`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, Literal, cast

from attrs import AttrsInstance, fields, frozen

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.errors.base import repr_of

Kind = Literal["whole", "number", "amount", "flag", "text", "choice", "nested"]

SHOWN = 200
"""Characters of a wrong value that a message shows."""


@frozen
class Rule:
    """What one setting may be."""

    kind: Kind
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    optional: bool = False
    unbounded: bool = False
    """Whether `inf` is a sensible value, as for a time-out."""
    choices: tuple[str, ...] = ()
    nested: type[AttrsInstance] | None = None

    def allows(self, value: object) -> bool:
        """Say whether the value fits."""
        if value is None:
            return self.optional
        if self.kind in ("whole", "number", "amount"):
            return self._allows_number(value)
        if self.kind == "choice":
            return isinstance(value, str) and value in self.choices
        wanted = {"flag": bool, "text": str, "nested": self.nested}[self.kind]
        return isinstance(value, cast("type", wanted))

    def _allows_number(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, float):
            if self.kind == "whole" or math.isnan(value):
                return False
            if self.kind == "amount":
                return 0 <= value <= 1
            if math.isinf(value) and not self.unbounded:
                return False
        elif self._too_large(value):
            return False
        return self.least <= value <= self.most and value > self.above

    def _too_large(self, value: int) -> bool:
        if self.kind != "number":
            return value > sys.maxsize
        try:
            float(value)
        except OverflowError:
            return True
        return False

    def refusal(self, value: object) -> str:
        """Return a sentence about a value that does not fit."""
        said = f"{given(value)} was given, it must be {self.sentence()}"
        numeric = self.kind in ("whole", "number", "amount")
        if numeric and isinstance(value, int) and value > 0 and self._too_large(value):
            most = sys.float_info.max if self.kind == "number" else sys.maxsize
            return f"{said}, {most} at most"
        return said

    def sentence(self) -> str:
        """Return what is allowed, as the end of "must be ..."."""
        words = self._words()
        return f"{words}, or None" if self.optional else words

    def _words(self) -> str:
        if self.kind == "amount":
            return "a whole number of at least 0 (a count) or a float from 0 to 1 (a fraction)"
        if self.kind == "flag":
            return "True or False"
        if self.kind == "text":
            return "a string"
        if self.kind == "choice":
            return " or ".join(map(repr, self.choices))
        if self.nested is not None:
            return f"a {self.nested.__name__}"
        return self._number_words()

    def _number_words(self) -> str:
        words = "a whole number" if self.kind == "whole" else "a number"
        if self.most < math.inf:
            return f"{words} from {self.least:g} to {self.most:g}"
        if self.above > -math.inf:
            words += f" above {self.above:g}"
        if self.least > -math.inf:
            words += f" of at least {self.least:g}"
        return f"{words} (inf: no limit)" if self.unbounded else words


def whole(*, least: int) -> dict[str, Rule]:
    """An int of at least `least`."""
    return {"rule": Rule("whole", least=least)}


def number(
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    optional: bool = False,
    unbounded: bool = False,
) -> dict[str, Rule]:
    """An int or a float within bounds; `inf` only if `unbounded`, NaN never."""
    return {"rule": Rule("number", least, above, most, optional, unbounded)}


def amount() -> dict[str, Rule]:
    """A count (int) or a fraction (float from 0 to 1), or None."""
    return {"rule": Rule("amount", least=0, optional=True)}


def flag() -> dict[str, Rule]:
    """True or False."""
    return {"rule": Rule("flag")}


def text() -> dict[str, Rule]:
    """A string, which may be empty."""
    return {"rule": Rule("text")}


def choice(*choices: str) -> dict[str, Rule]:
    """One of these strings."""
    return {"rule": Rule("choice", choices=choices)}


def nested(kind: type[AttrsInstance]) -> dict[str, Rule]:
    """Another checked class, or None."""
    return {"rule": Rule("nested", optional=True, nested=kind)}


def rules_of(kind: type[AttrsInstance]) -> dict[str, Rule]:
    """Return the rule of each setting of the class, in the order they are declared."""
    return {each.name: each.metadata["rule"] for each in fields(kind)}


def given(value: object) -> str:
    """Return a value as a message shows it: its repr, cut where it is long; never raises."""
    said = repr_of(value)
    return said if len(said) <= SHOWN else f"{said[:SHOWN]}... ({len(said)} characters)"


def problems_of(rules: Mapping[str, Rule], values: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for each wrong value, by the name of its setting."""
    return {
        name: rules[name].refusal(value)
        for name, value in values.items()
        if not rules[name].allows(value)
    }


def check(instance: AttrsInstance) -> None:
    """Refuse an instance of which any field breaks its rule.

    Raises:
        ConfigurationError: At least one does. All are listed.
    """
    kind = type(instance)
    rules = rules_of(kind)
    wrong = problems_of(rules, {name: getattr(instance, name) for name in rules})
    if wrong:
        raise ConfigurationError(
            f"wrong {kind.__name__}", problems=[f"{name}: {said}" for name, said in wrong.items()]
        )


def require(name: str, value: object, metadata: Mapping[str, Rule]) -> None:
    """Refuse one argument of a plain function, as in `require("bound", 0, whole(least=1))`.

    Raises:
        ConfigurationError: The value breaks the rule.
    """
    wrong = problems_of({name: metadata["rule"]}, {name: value})
    if wrong:
        raise ConfigurationError(f"{name}: {wrong[name]}")
