"""The named time zones of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@final
class Zones:
    """Looks time zones up by their key, among those that this machine has.

    `ZoneInfo(key)` alone would not do for a key that was read from a store: where the machine has
    no such file it tries to import a package of that name.
    """

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: frozenset[str] | None = None

    def get(self, key: str) -> ZoneInfo | None:
        """Return the zone, or None when this machine has none of that name."""
        import zoneinfo

        if self.known is None:
            self.known = frozenset(zoneinfo.available_timezones())
        return zoneinfo.ZoneInfo(key) if key in self.known else None
