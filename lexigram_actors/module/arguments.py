"""What is given to a provider: refused at once where it does not fit, and never shown."""

from __future__ import annotations

from typing import Any, TypeVar

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.storage.database import is_identifier

T = TypeVar("T")


def fitting(name: str, value: T | None, wanted: Any) -> T | None:
    """Return an argument that is None, or what is wanted.

    Raises:
        TypeError: It is something else, or a class where an instance is wanted.
    """
    if value is None or (isinstance(value, wanted) and not isinstance(value, type)):
        return value
    raise TypeError(f"{name} must be a {wanted.__name__} or None, and is {kind(value)}")


def checked_table(name: str) -> str:
    """Return the name of a table, wherever it will be used.

    Raises:
        ConfigurationError: It is none.
    """
    if not is_identifier(name):
        raise ConfigurationError(
            "state_table must be a name of letters, digits and underscores, 63 at most, that "
            "begins with no digit"
        )
    return name


def kind(value: object) -> str:
    """Return what a wrong value is; not the value, which may be an address with a password."""
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    return f"an instance of {type(value).__qualname__}"
