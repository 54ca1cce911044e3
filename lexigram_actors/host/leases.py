"""A host's lease: kept while the host lives, and looked at before anything new begins.

The store's clock decides when a lease is over; here only the time since the last renewal was *sent*
counts, by Trio's clock. So the deadline here is never behind the store's, whatever a wall clock
does, and a host that was frozen begins nothing more before it knows that its lease stands.
"""

from __future__ import annotations

import logging
from math import inf
from typing import Final, final

import trio

from lexigram_actors.errors import LeaseLost, StoreError
from lexigram_actors.storage.instances import InstanceStore

logger = logging.getLogger(__name__)

RENEWALS: Final = 3
"""How often a lease is renewed in the time that it lasts."""

RETRIES: Final = 10
"""How often renewing is tried in that time, while the store cannot do it."""


@final
class HostLease:
    """The lease of one host.

    Args:
        host: The name it enters with; another one each time.
        seconds: How long it lasts without being renewed; `inf`: until the host leaves.
    """

    __slots__ = ("_renewed", "_store", "deadline", "host", "is_lost", "seconds")

    def __init__(self, store: InstanceStore, host: str, seconds: float) -> None:
        self._store = store
        self._renewed = trio.Event()
        self.host = host
        self.seconds = seconds
        self.deadline = -inf
        self.is_lost = False

    async def enter(self) -> None:
        """Register the host.

        Raises:
            StoreError: Another host has the store, or the store cannot do it.
        """
        sent = trio.current_time()
        await self._store.enter(self.host, self.seconds)
        self._extend(sent)

    async def keep(self) -> None:
        """Renew the lease until it is lost; returns at once where it lasts for good."""
        if self.seconds == inf:
            return
        while not self.is_lost:
            pause = self.seconds / RENEWALS
            sent = trio.current_time()
            try:
                await self._store.renew(self.host, self.seconds)
            except LeaseLost:
                self._lose()
                return
            except StoreError as error:
                logger.warning("host %s: its lease could not be renewed: %s", self.host, error)
                pause = self.seconds / RETRIES
            else:
                self._extend(sent)
            await trio.sleep(pause)

    def _extend(self, sent: float) -> None:
        self.deadline = sent + self.seconds
        self._wake()

    def _lose(self) -> None:
        self.is_lost = True
        self.deadline = -inf
        self._wake()

    def _wake(self) -> None:
        self._renewed.set()
        self._renewed = trio.Event()

    async def wait_renewed(self) -> None:
        """Wait until the deadline lies ahead again.

        Raises:
            LeaseLost: It never will.
        """
        while trio.current_time() >= self.deadline:
            if self.is_lost:
                raise LeaseLost(f"host {self.host}: its lease is over")
            await self._renewed.wait()
