"""Where the outputs of stages are kept: what every such store does, and how it fails.

| | is lost with | expires | lists a stage's keys |
| --- | --- | --- | --- |
| `InMemoryContentCheckpointStore` | the process | never | yes |
| `CacheContentCheckpointStore` | the cache | after `default_ttl` | no: raises |
| `DatabaseContentCheckpointStore` | the database | never | yes |

All of them keep an entry as the text that `seal` makes of it, so they take and refuse the same,
hand out fresh copies, and notice damage. **The first writer wins**: what is equal in all that the
key holds is equal content, so a second entry says nothing new, and whoever read the first goes on
with what others will read. To replace an entry, evict it first.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from lexigram_actors.errors import NotStorableError, StoreError, describe
from lexigram_actors.saga.content_keys import ContentCheckpointEntry, ContentCheckpointKey


@runtime_checkable
class ContentCheckpointStoreProtocol(Protocol):
    """Entries by the key of their content."""

    async def get(self, key: ContentCheckpointKey) -> ContentCheckpointEntry | None:
        """Return a fresh copy of the entry, None where there is none.

        Raises:
            StoreCorruptedError: There is one, and it is damaged. `evict` removes it.
            StoreError: The store could not say.
        """
        ...

    async def set(self, key: ContentCheckpointKey, entry: ContentCheckpointEntry) -> None:
        """Keep the entry, unless one is there already; return when it is durable.

        Raises:
            NotStorableError: The output or the metadata has no stored form; nothing is written.
            StoreError: The store could not keep it.
        """
        ...

    async def evict(self, key: ContentCheckpointKey) -> None:
        """Remove the entry, whether it can be read or not; fine where there is none.

        Raises:
            StoreError: The store could not remove it; it may still be there.
        """
        ...

    async def list_by_stage(
        self, stage_id: str, tenant_id: str | None = None, limit: int = 100
    ) -> Sequence[ContentCheckpointKey]:
        """Return the keys of a stage's entries, the one that ran last first.

        Args:
            tenant_id: None: those of every tenant, and those of none.
            limit: At most so many.

        Raises:
            StoreError: The store could not say.
        """
        ...


@contextmanager
def failures_of(doing: str) -> Generator[None]:
    """Raise whatever the cache or the database fails with as a `StoreError`.

    Refusals of a value stay what they are.
    """
    try:
        yield
    except (StoreError, NotStorableError):
        raise
    except Exception as error:
        raise store_error(doing, error) from error


def store_error(doing: str, failure: object) -> StoreError:
    """Say what the cache or the database could not do."""
    return StoreError(f"the store of checkpoints could not {doing} an entry: {describe(failure)}")
