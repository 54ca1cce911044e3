"""Keys of the key-value view and patterns over them, alike in every store."""

from __future__ import annotations

from typing import Final, final

import attrs

from lexigram_actors.errors import NotStorableError
from lexigram_actors.storage.encoding import has_surrogates

MAX_KEY_LENGTH: Final = 512


def check_key(key: str, *, what: str = "key") -> None:
    """Refuse a key that some store could not keep.

    Raises:
        TypeError: Not a `str`.
        NotStorableError: Over 512 characters, with a NUL character or a lone surrogate. Keys are
            often made of data, so this is no misuse.
    """
    if not isinstance(key, str):
        raise TypeError(f"a {what} must be a str, and is {key!r} ({type(key).__qualname__})")
    if len(key) > MAX_KEY_LENGTH:
        raise NotStorableError(
            f"the {what} has {len(key)} characters, and at most {MAX_KEY_LENGTH} are possible: "
            f"{key[:40]!r}...; use a digest of it",
            path=what,
        )
    if "\0" in key or (not key.isascii() and has_surrogates(key)):
        raise NotStorableError(
            f"the {what} has a NUL character or a lone surrogate: {key!r}", path=what
        )


def check_ttl(ttl: int | None) -> None:
    """Refuse a time to live that is no whole number of seconds.

    Raises:
        TypeError: Not an `int` or None; a `bool` is neither.
        ValueError: Negative.
    """
    if ttl is None:
        return
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        raise TypeError(f"ttl must be whole seconds (int) or None, and is {ttl!r}")
    if ttl < 0:
        raise ValueError(f"ttl must not be negative, and is {ttl}; None keeps the value for good")


@final
@attrs.frozen
class KeyPattern:
    """A pattern whose only special character is `*`, taken apart."""

    prefix: str
    """What every match begins with."""

    middle: tuple[str, ...]
    """What follows somewhere after it, in this order, without overlap."""

    suffix: str | None
    """What every match ends with; None where the pattern has no `*` and is one key."""

    @staticmethod
    def parse(pattern: str) -> KeyPattern:
        """Take a pattern apart."""
        prefix, *rest = pattern.split("*")
        if not rest:
            return KeyPattern(prefix, (), None)
        return KeyPattern(prefix, tuple(part for part in rest[:-1] if part), rest[-1])

    @property
    def is_prefix(self) -> bool:
        """Whether what begins with `prefix` matches, whatever follows."""
        return self.suffix == "" and not self.middle

    def matches(self, key: str) -> bool:
        """Say whether a key matches; in one pass, however many `*` there are."""
        if self.suffix is None:
            return key == self.prefix
        end = len(key) - len(self.suffix)
        position = len(self.prefix)
        if end < position or not key.startswith(self.prefix) or not key.endswith(self.suffix):
            return False
        for part in self.middle:
            # The first place that fits leaves the most room for what follows.
            position = key.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True
