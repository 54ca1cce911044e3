"""Values to bytes and back, losslessly: what both stores keep.

The bytes are JSON, so an operator can read them; a tag marks what JSON has no form for. A value
comes back equal and of the same type, or is refused before anything is written.

| stored | how it looks |
| --- | --- |
| `None`, `bool`, `str`, finite `float`, `int` of 64 bits | itself |
| `list`, `dict` with text keys | itself |
| `dict` with other keys | `["$dict", 1, "one", 2, "two"]` |
| `tuple`, `set`, `frozenset` | `["$tuple", 1, 2]` |
| `bytes` | `["$bytes", "AAE="]` |
| `datetime`, `date`, `time`, `timedelta` | `["$date", "2030-01-31"]` |
| `Decimal` (finite), `UUID` | `["$decimal", "1.10"]` |
| an enum, attrs class or dataclass that was registered | `["$type", "point", {"x": 1, "y": 2}]` |

Refused, alike in every store: anything else, and subclasses of the above (they would come back as
something else); text with NUL characters or lone surrogates; NaN and infinities; larger ints; what
is over a limit. One thing is not kept: that two places referred to the same object.

Rejected: pickle and import by a stored name (reading a store must not run its code); cattrs with
hooks (slower here than the walk by hand, and an unknown type inside `Any` slips through).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from lexigram_actors.errors import ConfigurationError, NotStorableError, StoreCorruptedError
from lexigram_actors.errors.base import describe
from lexigram_actors.storage.decoding import DEEPEST, Damage, Decoder
from lexigram_actors.storage.encoding import ENCODERS, Encoder, Refusal, too_large
from lexigram_actors.storage.registered import Registered, registered_type
from lexigram_actors.storage.zones import Zones

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 128
MAX_ITEMS: Final = 1_000_000

ROOMY: Final = 4096
"""Up to here the encoder's bytes keep more room than they fill, 4 KiB for a single digit. They are
copied: of a hundred thousand values in memory that would be 400 MB."""


@final
class Codec:
    """Turns values into bytes and back; holds the registry of your types and the limits.

    Args:
        max_bytes: The largest encoded value. Default 4 MiB.
        max_depth: Containers inside each other, 1 to 250; a registered object counts twice (it
            and its fields).
        max_items: Items of all lists, dicts, sets and tuples in one value, together.

    Plain calls that wait for nothing. Register every type before values of it are read.
    """

    __slots__ = (
        "by_name",
        "by_type",
        "from_json",
        "max_bytes",
        "max_depth",
        "max_items",
        "to_json",
        "zones",
    )

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_depth: int = MAX_DEPTH,
        max_items: int = MAX_ITEMS,
    ) -> None:
        import orjson

        check_limit("max_bytes", max_bytes, None)
        check_limit("max_depth", max_depth, DEEPEST - 4)  # orjson writes 254 levels
        check_limit("max_items", max_items, None)
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self.max_items = max_items
        self.to_json = orjson.dumps
        self.from_json = orjson.loads
        self.zones = Zones()
        self.by_type: dict[type, Registered] = {}
        self.by_name: dict[str, Registered] = {}

    def register(
        self,
        kind: type,
        *,
        name: str,
        dump: Callable[[Any], Any] | None = None,
        load: Callable[[Any], Any] | None = None,
    ) -> None:
        """Let values of exactly this type be stored, under this name.

        Enums go by the name of the member (flags by their value); attrs classes and dataclasses
        by their fields, and come back through their constructor, validators included. Any other
        type needs `dump` (value to something storable) and `load` (the way back).

        The name stands in what is stored: keep it when the class moves or is renamed. Registering
        the same again is fine.

        Raises:
            ConfigurationError: The type or the name is taken, or the type would not come back as
                it was (a field with `init=False`).
        """
        entry = registered_type(kind, name, dump, load)
        if kind in ENCODERS:
            raise ConfigurationError(f"{kind.__qualname__} is stored as it is; do not register it")
        for taken in (self.by_type.get(kind), self.by_name.get(name)):
            if taken is not None and (taken.kind, taken.name) != (kind, name):
                raise ConfigurationError(
                    f"cannot register {kind.__qualname__} as {name!r}: "
                    f"{taken.kind.__qualname__} is registered as {taken.name!r}"
                )
        self.by_type[kind] = self.by_name[name] = entry

    def dumps(self, value: Any) -> bytes:
        """Return the value as JSON bytes; equal values give equal bytes (dicts: in equal order).

        Raises:
            NotStorableError: Some part has no stored form, or the whole is over a limit; `path`
                says where.
        """
        encoder = Encoder(
            self.by_type,
            self.zones,
            self.to_json,
            max_bytes=self.max_bytes,
            max_depth=self.max_depth,
            max_items=self.max_items,
        )
        try:
            data = self.to_json(encoder.encode(value))
        except Refusal as refusal:
            raise NotStorableError(
                refusal.reason, path=refusal.path, cause=refusal.cause
            ) from refusal.cause
        except RecursionError:
            raise NotStorableError("nested too deep for the place of this call") from None
        if len(data) > self.max_bytes:
            raise NotStorableError(too_large(self.max_bytes))
        return data if len(data) > ROOMY else bytes(memoryview(data))

    def loads(self, data: bytes) -> Any:
        """Return the value that `dumps` made these bytes of; always a fresh copy.

        Raises:
            StoreCorruptedError: The bytes are damaged, hostile, or of a type that is not
                registered here. Nothing else is raised, whatever the bytes.
        """
        try:
            return Decoder(self.by_name, self.zones).decode(self.from_json(data))
        except MemoryError:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, Damage) else describe(error)
            raise StoreCorruptedError(
                f"a stored value cannot be read: {said}",
                hint="restore it from a backup; if its type is yours, register it with the "
                "codec, under the name it was stored with, before the store is read",
            ) from error


def check_limit(name: str, value: int, most: int | None) -> None:
    """Refuse a limit that is no positive int, or over `most`."""
    if type(value) is not int or value < 1 or (most is not None and value > most):
        between = "at least 1" if most is None else f"1 to {most}"
        raise ConfigurationError(f"{name} must be an int, {between}, and is {value!r}")
