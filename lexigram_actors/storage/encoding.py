"""From a value to plain JSON data, or a refusal that says where and why.

A walk that makes a copy out of `dict` with text keys, `list`, `str`, `int`, `float`, `bool` and
`None`. Everything else becomes a list whose first item is a tag, as `["$tuple", 1, 2]`; a list of
the user's that begins with such a word is itself tagged (`["$list", ...]`), so nothing collides.
Types are matched exactly: a subclass (an `OrderedDict`, an `IntEnum`) would come back as something
else, so it is refused unless it is registered.

Limits count while walking, not afterwards: a value that refers to one list a million times must
not fill the memory before it is refused.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from math import isfinite
from typing import Any, Final, final
from uuid import UUID

from lexigram_actors.errors.base import describe
from lexigram_actors.storage.registered import Registered
from lexigram_actors.storage.zones import Zones

Plain = dict[str, Any] | list[Any] | str | int | float | bool | None
"""What JSON can hold."""

SHORT: Final = 64
"""Text up to here is looked at in the loops themselves: a call for each would double the time."""

LONG: Final = 8
"""From here on a list is looked at as a whole first: below, that costs more than it saves."""

SMALLEST_INT: Final = -(2**63)
LARGEST_INT: Final = 2**63 - 1


class Refusal(Exception):
    """A part of the value has no stored form; `steps` lead to it, the innermost first."""

    def __init__(self, reason: str, cause: BaseException | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.steps: list[str] = []

    @property
    def path(self) -> str:
        """Where in the value, as `$.steps[3].result`."""
        return "$" + "".join(reversed(self.steps))


@final
class Encoder:
    """One walk over one value; made anew for each."""

    __slots__ = (
        "items_left",
        "max_bytes",
        "max_depth",
        "max_items",
        "registered",
        "room",
        "to_json",
        "zones",
    )

    def __init__(
        self,
        registered: Mapping[type, Registered],
        zones: Zones,
        to_json: Callable[[Any], bytes],
        *,
        max_bytes: int,
        max_depth: int,
        max_items: int,
    ) -> None:
        self.registered = registered
        self.zones = zones
        self.to_json = to_json
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self.max_items = max_items
        self.items_left = max_items
        self.room = max_bytes

    def encode(self, value: Any, depth: int = 1) -> Plain:
        """Return the plain form of a value that stands `depth` containers deep, counting itself."""
        return ENCODERS.get(type(value), Encoder.other)(self, value, depth)

    # --- plain ------------------------------------------------------------------------------

    def same(self, value: Any, depth: int) -> Plain:
        plain: Plain = value
        return plain

    def text(self, value: str, depth: int) -> str:
        self.room -= len(value)
        if self.room < 0:
            raise Refusal(too_large(self.max_bytes))
        if "\0" in value:
            raise Refusal("text with a NUL character; take it out, or store bytes")
        if not value.isascii() and has_surrogates(value):
            raise Refusal("text with a lone surrogate, which is no Unicode; store bytes instead")
        return value

    def integer(self, value: int, depth: int) -> int:
        if SMALLEST_INT <= value <= LARGEST_INT:
            return value
        raise Refusal("an int beyond 64 bits; store it as text or as a Decimal")

    def floating(self, value: float, depth: int) -> float:
        if isfinite(value):
            return value
        raise Refusal(f"the float {value}; only finite numbers are stored")

    # --- containers -------------------------------------------------------------------------

    def enter(self, length: int, depth: int) -> None:
        """Count a container against the limits."""
        if depth > self.max_depth:
            raise Refusal(f"nested deeper than {self.max_depth} levels, or contains itself")
        self.items_left -= length
        if self.items_left < 0:
            raise Refusal(f"more than {self.max_items} items in all; store it in parts")

    def mapping(self, value: dict[Any, Any], depth: int) -> Plain:
        self.enter(len(value), depth)
        plain: dict[str, Any] = {}
        key: Any = None
        try:
            for key, item in value.items():
                if type(key) is not str:
                    break
                if "\0" in key or len(key) > SHORT or not key.isascii():
                    self.text(key, depth)
                kind = type(item)
                if kind is str and len(item) <= SHORT and item.isascii() and "\0" not in item:
                    plain[key] = item
                else:
                    plain[key] = ENCODERS.get(kind, Encoder.other)(self, item, depth + 1)
        except Refusal as refusal:
            refusal.steps.append(step_of(key))
            raise
        # Shorter where the loop met a key that is no text.
        return plain if len(plain) == len(value) else self.pairs(value, depth)

    def pairs(self, value: dict[Any, Any], depth: int) -> Plain:
        """Encode a dict whose keys are not all text: `["$dict", key, item, key, item]`."""
        plain: list[Any] = ["$dict"]
        key: Any = None
        try:
            for key, item in value.items():
                for part in (key, item):
                    encoder = ENCODERS.get(type(part), Encoder.other)
                    plain.append(encoder(self, part, depth + 1))
        except Refusal as refusal:
            refusal.steps.append(step_of(key))
            raise
        return plain

    def sequence(self, value: list[Any], depth: int) -> Plain:
        self.enter(len(value), depth)
        if value and type(value[0]) is str and value[0].startswith("$"):
            return self.extended(["$list"], value, depth)
        return value if self.all_plain(value) else self.extended([], value, depth)

    def fixed(self, value: tuple[Any, ...], depth: int) -> Plain:
        self.enter(len(value), depth)
        if self.all_plain(value):
            return ["$tuple", *value]
        return self.extended(["$tuple"], value, depth)

    def all_plain(self, value: Collection[Any]) -> bool:
        """Say whether all items are numbers, or all texts, that are plain as they are.

        Seen without a step of Python's for each item: many lists are long and all of a kind. False
        also where an item is to be refused, which is left to the walk that knows its place.
        """
        if len(value) < LONG:
            return False
        kinds = set(map(type, value))
        kind = kinds.pop()
        if kinds:
            return False
        if kind is int:
            return bool(min(value) >= SMALLEST_INT and max(value) <= LARGEST_INT)
        if kind is float:
            return all(map(isfinite, value))
        return kind is str and self.all_ascii(value)

    def all_ascii(self, texts: Collection[str]) -> bool:
        length = sum(map(len, texts))
        if length > self.room:
            return False
        joined = "".join(texts)
        if "\0" in joined or not joined.isascii():
            return False
        self.room -= length
        return True

    def extended(self, plain: list[Any], value: Collection[Any], depth: int) -> Plain:
        index = 0
        try:
            for index, item in enumerate(value):  # noqa: B007 - a refusal names the index
                kind = type(item)
                if kind is str and len(item) <= SHORT and item.isascii() and "\0" not in item:
                    plain.append(item)
                else:
                    plain.append(ENCODERS.get(kind, Encoder.other)(self, item, depth + 1))
        except Refusal as refusal:
            refusal.steps.append(f"[{index}]")
            raise
        return plain

    def unordered(self, value: set[Any] | frozenset[Any], depth: int) -> Plain:
        """Encode a set; sorted by what its items look like, so that equal sets have equal bytes."""
        self.enter(len(value), depth)
        plain: list[Any] = []
        try:
            for item in value:
                plain.append(  # noqa: PERF401 - a comprehension is a frame of the stack
                    ENCODERS.get(type(item), Encoder.other)(self, item, depth + 1)
                )
        except Refusal as refusal:
            refusal.steps.append("{}")
            raise
        plain.sort(key=self.to_json)
        return ["$set" if type(value) is set else "$frozenset", *plain]

    # --- single values ----------------------------------------------------------------------

    def binary(self, value: bytes, depth: int) -> Plain:
        text = b64encode(value).decode("ascii")
        self.room -= len(text)
        return ["$bytes", text]

    def moment(self, value: datetime, depth: int) -> Plain:
        """Encode a datetime: ISO text, the zone's key where it has one, its fold where it has."""
        zone = self.zone_of(value.tzinfo)
        bare = value if zone is None else value.replace(tzinfo=None)
        plain: list[Any] = ["$datetime", bare.isoformat()]
        if zone is not None or value.fold:
            plain += [zone, value.fold]
        return plain

    def day(self, value: date, depth: int) -> Plain:
        return ["$date", value.isoformat()]

    def clock_time(self, value: time, depth: int) -> Plain:
        zone = self.zone_of(value.tzinfo)
        bare = value if zone is None else value.replace(tzinfo=None)
        plain: list[Any] = ["$time", bare.isoformat()]
        if zone is not None or value.fold:
            plain += [zone, value.fold]
        return plain

    def zone_of(self, zone: tzinfo | None) -> str | None:
        """Return the key of a named time zone, and None where the ISO text says it all."""
        if zone is None or type(zone) is timezone:
            return None
        key = getattr(zone, "key", None)
        if type(key) is str and self.zones.get(key) is zone:
            return key
        raise Refusal(
            f"the time zone {describe(zone)} of the type {type(zone).__qualname__}; use "
            "datetime.timezone or zoneinfo.ZoneInfo, or convert: value.astimezone(timezone.utc)"
        )

    def duration(self, value: timedelta, depth: int) -> Plain:
        return ["$timedelta", value.days, value.seconds, value.microseconds]

    def decimal(self, value: Decimal, depth: int) -> Plain:
        if not value.is_finite():
            raise Refusal(f"the Decimal {value}; only finite numbers are stored")
        return ["$decimal", self.text(str(value), depth)]

    def uuid(self, value: UUID, depth: int) -> Plain:
        return ["$uuid", value.hex]

    def other(self, value: Any, depth: int) -> Plain:
        """Encode a value of a registered type: `["$type", name, what its dump gave]`."""
        entry = self.registered.get(type(value))
        if entry is None:
            raise Refusal(unknown_type(type(value)))
        self.enter(1, depth)
        try:
            inner = entry.dump(value)
        except Exception as error:  # the user's own code
            raise Refusal(
                f"the dump of the registered type {entry.name!r} failed: {describe(error)}", error
            ) from error
        return ["$type", entry.name, self.encode(inner, depth + 1)]


def has_surrogates(text: str) -> bool:
    """Say whether the text has half a surrogate pair, for which there is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def step_of(key: Any) -> str:
    """Return the piece of a path that a dict's key makes: `.name`, or `['a b']`."""
    if type(key) is str and key.isidentifier() and len(key) <= 64:
        return f".{key}"
    if type(key) in (str, int, float, bool, bytes, type(None)):
        shown = repr(key) if type(key) is not int or abs(key) <= LARGEST_INT else "a large int"
        return f"[{shown[:64]}]"
    return f"[a key of the type {type(key).__qualname__}]"


def too_large(limit: int) -> str:
    """Say that a value is over the limit of bytes."""
    return f"larger than {limit} bytes; store a reference to it instead"


def unknown_type(kind: type) -> str:
    """Say what to do about a type that has no stored form."""
    bases = [base.__name__ for base in kind.__mro__[1:] if base in ENCODERS]
    plainer = f", or turn it into a plain {bases[0]}" if bases else ""
    return (
        f"the type {kind.__module__}.{kind.__qualname__} is not known; "
        f"register it with Codec.register{plainer}"
    )


ENCODERS: Final[Mapping[type, Callable[[Encoder, Any, int], Plain]]] = {
    str: Encoder.text,
    int: Encoder.integer,
    float: Encoder.floating,
    bool: Encoder.same,
    type(None): Encoder.same,
    dict: Encoder.mapping,
    list: Encoder.sequence,
    tuple: Encoder.fixed,
    set: Encoder.unordered,
    frozenset: Encoder.unordered,
    bytes: Encoder.binary,
    datetime: Encoder.moment,
    date: Encoder.day,
    time: Encoder.clock_time,
    timedelta: Encoder.duration,
    Decimal: Encoder.decimal,
    UUID: Encoder.uuid,
}
