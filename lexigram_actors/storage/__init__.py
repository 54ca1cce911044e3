"""Where things are kept: a store in memory, and one in a SQLite file.

| | |
| --- | --- |
| `open_store(url)` | opens either, and closes it |
| `store.cache` | values by key, with a time to live: a `CacheBackendProtocol` |
| `store.instances` | instances of workflows, their journals and their mail: an `InstanceStore` |
| `Codec` | what can be stored, and how your own types can |

No driver is loaded here; each is on first use.
"""

from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.instances import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    InstanceStore,
    Loaded,
    Mail,
    NewInstance,
)
from lexigram_actors.storage.memory import MemoryStore
from lexigram_actors.storage.memory_instances import MemoryTables
from lexigram_actors.storage.opening import open_store
from lexigram_actors.storage.ports import CacheBackendProtocol, Store
from lexigram_actors.storage.sqlite import SQLiteStore

__all__ = [
    "CacheBackendProtocol",
    "Codec",
    "Definition",
    "Entry",
    "Instance",
    "InstanceStatus",
    "InstanceStore",
    "Loaded",
    "Mail",
    "MemoryStore",
    "MemoryTables",
    "NewInstance",
    "SQLiteStore",
    "Store",
    "open_store",
]
