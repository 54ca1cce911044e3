"""An instance while a host has it: what the host, its handles and its lives share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, final

import trio
from trio_util import AsyncValue

from lexigram_actors.host.compensation import has_begun_inside
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import Runnable
from lexigram_actors.result import Result
from lexigram_actors.storage.instances import Instance, InstanceStatus, Loaded, Mail

GRACE: Final = 5.0
"""Seconds between asking an instance to end and cancelling it."""


CONTROLS: Final = frozenset({"pause", "resume"})


@final
class Resident:
    """One instance that a host has, over all its lives there.

    Attributes:
        runnable: None: its definition is not known here, and all it can do is end.
        fresh: What it begins with, where it is new and nothing has to be read.
        journal: Of the life that goes on; None between two.
        outcome: Set when it has ended.
        failure: Why the host could not go on with it, where that is the reason it was let go.
        is_supervised: Whether a supervisor of the caller's decides what follows a crash.
        recorded: Status and note as the store has them, as far as is known here; `status` and
            `note` are what it does now.
        wish: The mail that asked for its end, when it has come.
        spent: The `seq` of what was taken before it began again as new, and may still be on its way
            here.
        gone: Set when the host has it no more: it ended, or was let go.
        nudged: Set when something came that must not wait for the next life.
    """

    __slots__ = (
        "_is_taken_up",
        "_marked",
        "_meanwhile",
        "_overdue",
        "failure",
        "fresh",
        "gone",
        "id",
        "instance",
        "is_supervised",
        "journal",
        "note",
        "nudged",
        "on_cancel",
        "on_recorded",
        "on_status",
        "outcome",
        "put_away",
        "recorded",
        "runnable",
        "spent",
        "status",
        "wish",
    )

    def __init__(
        self,
        instance: Instance,
        runnable: Runnable | None,
        status: AsyncValue[InstanceStatus],
        fresh: Loaded | None = None,
    ) -> None:
        self.id = instance.id
        self.instance = instance
        self.runnable = runnable
        self.fresh = fresh
        self.journal: Journal | None = None
        self.status = status
        self.note = instance.note
        self.outcome: Result[Any, Exception] | None = None
        self.failure: Exception | None = None
        self.is_supervised = False
        self.gone = trio.Event()
        self.nudged = trio.Event()
        self.put_away = False
        self.wish: Mail | None = None
        self.spent: frozenset[int] = frozenset()
        self.on_status: Callable[[Resident, InstanceStatus], None] | None = None
        self.on_cancel: Callable[[Resident, Mail], None] | None = None
        self.on_recorded: Callable[[Resident, InstanceStatus], None] | None = None
        self.recorded = (instance.status, instance.note)
        self._is_taken_up = False
        self._marked: trio.Event | None = None  # while its status is written by itself
        self._meanwhile: list[Mail] = []
        # Mail that asked for the end before this life, where a saga inside has to be reached, to be
        # undone, however little time was left: until there nothing is done but to read the journal.
        self._overdue: frozenset[int] = frozenset()

    # --- lives

    def take_up(self, instance: Instance) -> None:
        """Go on with it as it is recorded."""
        self.instance = instance
        if self._is_taken_up:  # a write may have been done though the store said that it failed
            self.status_written(instance.status, instance.note)
        self.recorded = (instance.status, instance.note)
        self._is_taken_up = True

    def begin_life(self, journal: Journal, mail: list[Mail]) -> None:
        """Let a life begin: it gets what was wanted of it before, and meanwhile."""
        self.journal = journal
        journal.on_status = self._status_changed
        journal.on_status_written = self.status_written
        if self.put_away:
            journal.suspend()
        if has_begun_inside(journal.entries):
            self._overdue = frozenset(each.seq for each in mail)
        arrived, self._meanwhile = self._meanwhile, []
        for each in (*mail, *arrived):
            self._hand_over(journal, each)
        self._status_changed()
        self._save_status()  # the life before may have left it to this one

    def end_life(self) -> None:
        """Let mail wait for the next life."""
        self.journal = None
        self.nudged = trio.Event()

    async def wait_nudged(self, seconds: float) -> None:
        """Wait between two lives, or two attempts to record the end."""
        with trio.move_on_after(seconds):
            await self.nudged.wait()
        self.nudged = trio.Event()

    def wind_down(self) -> None:
        """Let it go, when what is at work has come to its end."""
        self.put_away = True
        self.nudged.set()
        if self.journal is not None:
            self.journal.wind_down()

    def suspend(self) -> None:
        """Let it go: nothing more begins, and what is under way is cancelled."""
        self.put_away = True
        self.nudged.set()
        if self.journal is not None:
            self.journal.suspend()

    def lose(self, error: Exception) -> None:
        """Let it go, because it is another host's, or may be."""
        self.failure = error
        self.put_away = True
        self.nudged.set()
        if self.journal is not None:
            self.journal.fail(error)

    # --- mail

    def deliver(self, mail: Mail) -> None:
        """Hand over mail that has just come."""
        if self.journal is None:
            self._meanwhile.append(mail)
            if mail.kind == "cancel":
                self.nudged.set()
        else:
            self._hand_over(self.journal, mail)

    def _hand_over(self, journal: Journal, mail: Mail) -> None:
        if mail.kind in CONTROLS:
            if journal.controlled_by >= mail.seq:
                return  # seen before, or overtaken
            journal.controlled_by = mail.seq
        if mail.kind == "pause":
            journal.pause()
        elif mail.kind == "resume":
            journal.resume()
        elif mail.kind == "cancel":
            self.wish = self.wish or mail
            grace = grace_in(mail)
            if mail.seq in self._overdue:
                grace = max(grace, GRACE)
            journal.cancel(mail.name, grace)
            if self.on_cancel is not None:
                self.on_cancel(self, mail)
        else:
            journal.deliver(mail)

    # --- status

    def _status_changed(self) -> None:
        journal = self.journal
        assert journal is not None
        if journal.stopping:
            return  # it will go on elsewhere, or later, as it is
        if journal.resumed is not None:
            self.set_status(InstanceStatus.PAUSED)
        elif journal.undoing:
            self.set_status(InstanceStatus.COMPENSATING)
        elif journal.waits and not journal.working:
            self.set_status(InstanceStatus.WAITING, next(iter(journal.waits.values())))
        else:
            self.set_status(InstanceStatus.RUNNING)

    @property
    def has_unsaved_status(self) -> bool:
        """Whether its status is to be written by itself."""
        journal = self.journal
        return (
            journal is not None
            and journal.unsaved_status is not None
            and not journal.is_writing_status
        )

    def _save_status(self) -> None:
        """Have the status written that is not recorded, nor to be written already."""
        journal, status = self.journal, (self.status.value, self.note)
        if journal is None or journal.stopping or journal.unsaved_status is not None:
            return
        if status != self.recorded and self.on_status is not None:
            journal.unsaved_status = status
            self.on_status(self, self.status.value)

    @contextmanager
    def marking(self, is_sure: Callable[[], bool]) -> Iterator[None]:
        """Say that its status is written by itself in the block; recorded, where that succeeds.

        Args:
            is_sure: Says afterwards whether it is this host's for sure: else it was passed over.
        """
        journal = self.journal
        assert journal is not None
        assert journal.unsaved_status is not None
        written = journal.unsaved_status
        self._marked = trio.Event()
        journal.is_writing_status = True
        try:
            yield
        finally:
            journal.is_writing_status = False
            self._marked.set()
            self._marked = None
        if journal.failure is None and is_sure():
            journal.status_written(written)

    async def wait_marked(self) -> None:
        """Wait until its status is not being written; no checkpoint where it is not."""
        if self._marked is not None:
            await self._marked.wait()

    def status_written(self, status: InstanceStatus, note: str) -> None:
        """Say that the store has this status now."""
        (before, _), was = self.recorded, self.recorded
        self.recorded = (status, note)
        if self.recorded != was and self.on_recorded is not None:
            self.on_recorded(self, before)
        if self.has_unsaved_status and self.on_status is not None:
            self.on_status(self, before)  # it has gone on meanwhile

    def set_status(self, status: InstanceStatus, note: str = "") -> None:
        """Say what the instance does."""
        if status is self.status.value and note == self.note:
            return
        before = self.status.value
        self.note = note
        self.status.value = status
        if self.journal is not None:
            self.journal.unsaved_status = (status, note)
        if self.on_status is not None:
            self.on_status(self, before)


def grace_in(mail: Mail) -> float:
    """Return the seconds that a cancellation leaves; what somebody posted may be anything."""
    payload = mail.payload
    grace = payload.get("grace") if isinstance(payload, dict) else None
    if isinstance(grace, int | float) and not isinstance(grace, bool):
        return max(0.0, float(grace))
    return GRACE
