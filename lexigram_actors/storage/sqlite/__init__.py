"""The store in one SQLite file. The driver is loaded when a store is opened, not before."""

from lexigram_actors.storage.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
