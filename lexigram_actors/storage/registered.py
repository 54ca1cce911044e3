"""How a value of a registered type is taken apart and put together again.

Nothing here looks a type up by its name: what a stored name means is decided by the registry of
the codec that reads it, so reading a store that came from elsewhere runs no code of its choosing.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, Final, final

import attrs

from lexigram_actors.errors import ConfigurationError

MAX_NAME_LENGTH: Final = 200


@final
@attrs.frozen
class Registered:
    """A type, the name it is stored under, and the two functions between it and plain values."""

    kind: type
    name: str
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def registered_type(
    kind: type,
    name: str,
    dump: Callable[[Any], Any] | None,
    load: Callable[[Any], Any] | None,
) -> Registered:
    """Return the entry for a type, with the functions its kind suggests where none are given.

    Raises:
        ConfigurationError: Not a class, a bad name, one function without the other, or a type
            that would not come back as it was.
    """
    if not isinstance(kind, type):
        raise ConfigurationError(f"Codec.register takes a class, and got {kind!r}")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ConfigurationError(
            f"the name of {kind.__qualname__} is {name!r}; it must be printable text of 1 to "
            f"{MAX_NAME_LENGTH} characters, and stay the same for as long as values are stored"
        )
    if dump is not None and load is not None:
        return Registered(kind, name, dump, load)
    if dump is not None or load is not None:
        raise ConfigurationError(f"{kind.__qualname__}: give both dump= and load=, or neither")
    return Registered(kind, name, *usual_functions(kind))


def usual_functions(kind: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return dump and load of an enum, an attrs class or a dataclass."""
    if issubclass(kind, enum.Flag):
        return flag_functions(kind)
    if issubclass(kind, enum.Enum):
        return enum_functions(kind)
    if attrs.has(kind):
        return field_functions(kind, {field.name: field.alias for field in init_fields(kind)})
    if dataclasses.is_dataclass(kind):
        return field_functions(kind, {field.name: field.name for field in init_fields(kind)})
    raise ConfigurationError(
        f"{kind.__qualname__} is no enum, attrs class or dataclass: say how it is stored with "
        f"Codec.register({kind.__name__}, name=..., dump=..., load=...)"
    )


def init_fields(kind: Any) -> tuple[Any, ...]:
    """Return the fields of an attrs class or dataclass, all of which its constructor must take."""
    fields = attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)
    lost = [field.name for field in fields if not field.init]
    if lost:
        raise ConfigurationError(
            f"{kind.__qualname__}: the constructor does not take {', '.join(lost)} (init=False), "
            f"so a stored value would lose it; give dump= and load="
        )
    return tuple(fields)


def field_functions(
    kind: type, fields: dict[str, str]
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    def dump(value: Any) -> Any:
        return {argument: getattr(value, name) for name, argument in fields.items()}

    def load(data: Any) -> Any:
        return kind(**data)

    return dump, load


def enum_functions(
    kind: type[enum.Enum],
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    # By name: the value may be anything, even something that has no stored form.
    def dump(value: Any) -> Any:
        return value.name

    def load(data: Any) -> Any:
        return kind[data]

    return dump, load


def flag_functions(
    kind: type[enum.Flag],
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    # By value: a combination of flags has no name of its own.
    def dump(value: Any) -> Any:
        return value.value

    def load(data: Any) -> Any:
        return kind(data)

    return dump, load
