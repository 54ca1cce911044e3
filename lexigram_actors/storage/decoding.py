"""From plain JSON data back to the value, or damage that says what is wrong.

The counterpart of `encoding`. The data may come from a damaged or a hostile store: every tag is
checked for its shape, a type comes only from the registry, and nothing is imported. Containers
are filled in place: they were made for this walk alone.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, final
from uuid import UUID

from lexigram_actors.storage.registered import Registered
from lexigram_actors.storage.zones import Zones

DEEPEST: Final = 254
"""More than any encoder allows; beyond it Python's own stack would be at risk."""


class Damage(Exception):
    """The data is not what an encoder writes."""


@final
class Decoder:
    """Turns plain data back into values; made anew for each."""

    __slots__ = ("registered", "zones")

    def __init__(self, registered: Mapping[str, Registered], zones: Zones) -> None:
        self.registered = registered
        self.zones = zones

    def decode(self, plain: Any, depth: int = 1) -> Any:
        """Return the value of plain data that stands `depth` containers deep, counting itself.

        One frame of Python's stack a level: what could be written must be readable anywhere.
        """
        kind = type(plain)
        if kind is not dict and kind is not list:
            return plain
        if depth > DEEPEST:
            raise Damage("nested too deep")
        if kind is dict:
            for key, item in plain.items():
                if type(item) is dict or type(item) is list:
                    plain[key] = self.decode(item, depth + 1)
            return plain
        for index, item in enumerate(plain):
            if type(item) is dict or type(item) is list:
                plain[index] = self.decode(item, depth + 1)
        if plain and type(plain[0]) is str and plain[0].startswith("$"):
            return self.tagged(plain)
        return plain

    def tagged(self, plain: list[Any]) -> Any:
        """Return the value that a tag makes of the items after it."""
        decoder = DECODERS.get(plain[0])
        if decoder is None:
            raise Damage(f"an unknown tag {plain[0][:20]!r}")
        return decoder(self, *plain[1:])

    # --- containers -------------------------------------------------------------------------

    def sequence(self, *items: Any) -> list[Any]:
        return list(items)

    def fixed(self, *items: Any) -> tuple[Any, ...]:
        return items

    def changeable_set(self, *items: Any) -> set[Any]:
        found = set(items)
        if len(found) != len(items):
            raise Damage("a set with the same item twice")
        return found

    def frozen_set(self, *items: Any) -> frozenset[Any]:
        return frozenset(self.changeable_set(*items))

    def pairs(self, *items: Any) -> dict[Any, Any]:
        found = dict(zip(items[::2], items[1::2], strict=True))
        if len(found) * 2 != len(items):
            raise Damage("a dict with the same key twice")
        return found

    # --- single values ----------------------------------------------------------------------

    def binary(self, text: str) -> bytes:
        return b64decode(text, validate=True)

    def moment(self, text: str, *zone_and_fold: Any) -> datetime:
        moment = datetime.fromisoformat(text)
        return moment.replace(**self.details(*zone_and_fold)) if zone_and_fold else moment

    def day(self, text: str) -> date:
        return date.fromisoformat(text)

    def clock_time(self, text: str, *zone_and_fold: Any) -> time:
        moment = time.fromisoformat(text)
        return moment.replace(**self.details(*zone_and_fold)) if zone_and_fold else moment

    def details(self, key: str | None, fold: int) -> dict[str, Any]:
        """Return what the ISO text of a time does not say, as arguments of `replace`."""
        if key is None:
            return {"fold": fold}
        zone = self.zones.get(key)
        if zone is None:
            raise Damage(f"the time zone {key[:40]!r}, which this machine does not have")
        return {"tzinfo": zone, "fold": fold}

    def duration(self, days: int, seconds: int, microseconds: int) -> timedelta:
        return timedelta(days, seconds, microseconds)

    def decimal(self, text: str) -> Decimal:
        if type(text) is not str:
            raise Damage("a Decimal that is no text")
        number = Decimal(text)
        if not number.is_finite():
            raise Damage("a Decimal that is not finite")
        return number

    def uuid(self, text: str) -> UUID:
        return UUID(hex=text)

    def other(self, name: str, inner: Any) -> Any:
        entry = self.registered.get(name)
        if entry is None:
            raise Damage(f"the type {name[:60]!r} is not registered with this codec")
        return entry.load(inner)


DECODERS: Final[Mapping[str, Callable[..., Any]]] = {
    "$list": Decoder.sequence,
    "$tuple": Decoder.fixed,
    "$set": Decoder.changeable_set,
    "$frozenset": Decoder.frozen_set,
    "$dict": Decoder.pairs,
    "$bytes": Decoder.binary,
    "$datetime": Decoder.moment,
    "$date": Decoder.day,
    "$time": Decoder.clock_time,
    "$timedelta": Decoder.duration,
    "$decimal": Decoder.decimal,
    "$uuid": Decoder.uuid,
    "$type": Decoder.other,
}
