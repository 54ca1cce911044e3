"""Outputs of stages in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import final

import trio

from lexigram_actors.checks import require, whole
from lexigram_actors.saga.content_keys import (
    ContentCheckpointEntry,
    ContentCheckpointKey,
    seal,
    unseal,
)
from lexigram_actors.storage.codec import Codec


@final
class InMemoryContentCheckpointStore:
    """Keeps entries for as long as it lives, without a bound: for tests, and for one process.

    Each call is a checkpoint, and has changed nothing where it is cancelled.

    Args:
        codec: Knows your types among the outputs. None: there are none.
    """

    def __init__(self, *, codec: Codec | None = None) -> None:
        self.codec = codec or Codec()
        self.entries: dict[ContentCheckpointKey, tuple[datetime, str]] = {}

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        """Return a fresh copy of the entry, None where there is none."""
        await trio.lowlevel.checkpoint()
        found = self.entries.get(key)
        return None if found is None else unseal(key, found[1], self.codec)

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        """Keep the entry, unless one is there already."""
        await trio.lowlevel.checkpoint()
        sealed = seal(key, entry, self.codec)
        self.entries.setdefault(key, (entry.completed_at, sealed))

    async def evict(self, key: ContentCheckpointKey) -> None:
        """Remove the entry; fine where there is none."""
        await trio.lowlevel.checkpoint()
        self.entries.pop(key, None)

    async def list_by_stage(
        self, stage_id: str, tenant_id: str | None = None, limit: int = 100
    ) -> Sequence[ContentCheckpointKey]:
        """Return the keys of a stage's entries, the one that ran last first; see the protocol."""
        require("limit", limit, whole(least=0))
        await trio.lowlevel.checkpoint()
        found = [
            (completed_at, key)
            for key, (completed_at, _) in self.entries.items()
            if key.stage_id == stage_id and tenant_id in (None, key.tenant_id)
        ]
        found.sort(key=lambda pair: (pair[0], pair[1].digest()), reverse=True)
        return [key for _, key in found[:limit]]
