"""What one life of an instance knows of its past, and adds to it.

Every incarnation of an instance gets a `Journal`: the entries that are recorded, the mail that
nobody took, and the door through which everything new goes. What a kind must know:

- **Before anything new begins** (a step, a wait): `if not journal.is_open: await journal.ready()`.
  There an instance that is paused waits, and one that is cancelled, or whose host is stopping, goes
  no further.
- **What ended is recorded before anything follows**: `await journal.append(path, kind, value)`. On
  return it is durable. A cancellation that comes meanwhile does not keep it from being written.
- `Suspended` is raised where the instance is not this incarnation's any more. It passes through
  everything; what the incarnation then still returns or raises counts for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from math import inf
from typing import Any, Final, TypeVar, final

import trio

from lexigram_actors.errors import LeaseLost, StoreCorruptedError, StoreError, WorkflowStateError
from lexigram_actors.host.surroundings import (
    Lease,
    OpenQuestion,
    Question,
    Surroundings,
    Suspended,
)
from lexigram_actors.storage.instances import (
    Entry,
    Instance,
    InstanceStatus,
    InstanceStore,
    Loaded,
    Mail,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

VOID: Final = "void"
"""The kind of an entry that takes back others: its value lists their positions."""

RETRY_DELAYS: Final = (0.05, 0.25, 1.0)
"""Seconds between attempts of a write that the store could not do."""

WRITE_DELAYS: Final = (*RETRY_DELAYS, 5.0)
"""The same for what an instance records: the last one as often as it takes."""

WRITE_TIMEOUT: Final = 30.0
"""Seconds that a write may go on for after a cancellation."""


AT_WORK: Final[ContextVar[Journal | None]] = ContextVar("AT_WORK", default=None)
"""The journal for which this task is at work, as all of its tasks are."""


@final
class Journal:
    """The journal of one incarnation. Not shared, and not used again after it.

    Args:
        loaded: What is recorded.
        store: Where to write; None: nowhere, the run leaves nothing behind.
        host: What the instance may ask of its host; None where there is none.
        lease: None: nothing limits the time.
        clock: Returns wall time in unix seconds.
    """

    __slots__ = (
        "_arrivals",
        "_entries_later",
        "_inbox",
        "_position",
        "_spent",
        "_store",
        "_taken",
        "cancelled_by",
        "cancelling",
        "clock",
        "controlled_by",
        "entries",
        "epoch",
        "failure",
        "held",
        "host",
        "id",
        "instance",
        "is_writing_status",
        "lease",
        "on_entry",
        "on_status",
        "on_status_written",
        "queries",
        "questions",
        "record",
        "resumed",
        "scope",
        "stilled",
        "stopping",
        "undoing",
        "unsaved_status",
        "waits",
        "working",
    )

    def __init__(
        self,
        loaded: Loaded,
        store: InstanceStore | None,
        clock: Callable[[], float],
        *,
        host: Surroundings | None = None,
        lease: Lease | None = None,
    ) -> None:
        from lexigram_actors.host.record import JournalRecord

        self.instance: Instance = loaded.instance
        self.id = loaded.instance.id
        self.epoch = loaded.instance.epoch
        self.clock = clock
        self.host = host
        # One that lasts for good is not looked at: that would cost a microsecond a step.
        self.lease = None if lease is None or lease.deadline == inf else lease
        self.entries: list[Entry] = standing(loaded.entries)
        """What stands, in order; grows with what is appended."""
        self.record = JournalRecord(self)
        """The same as a key-value store, for kinds that record their progress in one."""
        self.queries: dict[str, Callable[..., Any]] = {}
        """What answers `handle.query(name)`."""
        self.questions: dict[str, OpenQuestion] = {}
        """What is open, by id."""
        self.on_entry: Callable[[Entry], None] | None = None
        self.on_status: Callable[[], None] | None = None
        self.unsaved_status: tuple[InstanceStatus, str] | None = None
        """What the next write takes along, to spare a write of its own."""
        self.on_status_written: Callable[[InstanceStatus, str], None] | None = None
        self.is_writing_status = False
        """Whether a write that takes it along is under way. One at a time: which of two statuses
        was written last, nobody could say."""
        self.waits: dict[object, str] = {}
        self.working = 0
        self.undoing = 0
        self.held = False
        """Whether something keeps new work from beginning; `ready` knows what."""
        self.controlled_by = 0
        """The `seq` of the last mail that paused or resumed it."""
        self.stopping = False
        self.stilled = trio.Event()
        self.resumed: trio.Event | None = None  # set: it is paused
        self.cancelled_by: str | None = None  # the reason
        self.cancelling = trio.Event()
        """Set when the end is asked for."""
        self.failure: BaseException | None = None
        self.scope = trio.CancelScope()  # of the whole incarnation
        self._store = store
        self._position = max((entry.position for entry in loaded.entries), default=0)
        self._entries_later: list[Entry] = []
        self._spent: frozenset[int] = frozenset()
        # What is taken back has taken no mail: it is there for whoever does it again.
        self._taken = {entry.mail for entry in self.entries if entry.mail}
        self._inbox: dict[int, Mail] = {m.seq: m for m in loaded.mail if m.seq not in self._taken}
        self._arrivals = trio.lowlevel.ParkingLot()

    # --- beginning something new

    @property
    def is_open(self) -> bool:
        """Whether new work may begin at once."""
        if self.held:
            return False
        return self.lease is None or trio.current_time() < self.lease.deadline

    async def ready(self) -> None:
        """Wait until new work may begin; a checkpoint where it may not at once.

        Raises:
            Suspended: It never may, in this incarnation.
            trio.Cancelled: The instance is cancelled (and the caller does not shield itself).
        """
        while not self.is_open:
            if self.stopping:
                if self.working and AT_WORK.get() is not self:
                    await self._wait_for_the_others()
                # Code that catches everything, and tries again, leaves the others some time.
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise Suspended
            if self.resumed is not None:
                await self.resumed.wait()
            elif self.lease is not None and trio.current_time() >= self.lease.deadline:
                await self._wait_for_lease(self.lease)
            elif self.cancelled_by is not None:
                if trio.current_time() >= self.scope.deadline:
                    self.scope.cancel()
                await trio.lowlevel.checkpoint()
                return
            else:
                self.held = False

    async def _wait_for_the_others(self) -> None:
        """Wait until nothing is at work: raised at once, `Suspended` would cut that off."""
        with self.waiting("what is at work"):
            await self.stilled.wait()

    async def _wait_for_lease(self, lease: Lease) -> None:
        try:
            await lease.wait_renewed()
        except LeaseLost as error:
            self.fail(error)
            raise Suspended from None

    async def of_host(self, call: Awaitable[T]) -> T:
        """Return what the host answers.

        That it closes, or that its store fails, is nothing that happened to the instance: raised
        into the definition it would be taken, and recorded, for a failure of a part.

        Raises:
            Suspended: The host cannot answer, in this incarnation.
        """
        try:
            return await call
        except StoreCorruptedError:
            raise
        except StoreError as error:
            self.fail(error)
            raise Suspended from None
        except WorkflowStateError as error:
            if not self.stopping:
                raise
            refusal = error
        await self.ready()
        raise refusal

    # --- adding

    async def append(self, path: str, kind: str, value: Any = None, mail: int = 0) -> Entry:
        """Record something; durable on return, together with what was to be written `later`.

        Cancelled meanwhile it is written all the same, within `WRITE_TIMEOUT` seconds, and the
        cancellation is felt at the next checkpoint.

        Raises:
            NotStorableError: The value has no stored form; nothing was written.
            Suspended: It could not be written: the instance is another's, or its host stops and
                the store fails. While the host goes on, a store that fails is waited for.
        """
        entry = self._next(path, kind, value, mail)
        later = self._entries_later
        if not later:
            await self._write((entry,))
        else:
            entries = [*later, entry]
            await self._write(entries)
            # Not all that is there now: some may have come meanwhile.
            self._entries_later = [each for each in self._entries_later if each not in entries]
        self._added(entry)
        if self.stopping and not self.working:
            self.still()  # what is left only waits
        return entry

    @property
    def is_stored(self) -> bool:
        """Whether there is a store that keeps it."""
        return self._store is not None

    async def stored(self, after: int) -> Sequence[Entry]:
        """Return the entries behind a position as the store has them: its own copies."""
        return () if self._store is None else await self._store.journal(self.id, after)

    async def reload(self) -> None:
        """Have everything as the next life would, after something was taken back.

        It stands no more, and the mail that it had taken is there again. Values are the store's own
        again: those that a caller was given may have been changed by it.

        Raises:
            Suspended: The store cannot read them.
        """
        try:
            loaded = None if self._store is None else await self._store.load(self.id)
        except StoreError as error:
            self.fail(error)
            raise Suspended from None
        stored = {} if loaded is None else {entry.position: entry for entry in loaded.entries}
        before = {entry.mail for entry in self.entries}
        self.entries = standing([stored.get(each.position, each) for each in self.entries])
        self.record.reload(stored.keys())
        self._give_back(
            before - {entry.mail for entry in self.entries}, () if loaded is None else loaded.mail
        )

    def _give_back(self, seqs: set[int], mail: Sequence[Mail]) -> None:
        """Let mail be there again that was taken by what was taken back."""
        self._taken -= seqs
        again = {each.seq: each for each in mail if each.seq in seqs}
        self._inbox = dict(sorted({**self._inbox, **again}.items()))
        self._arrivals.unpark_all()

    def later(self, path: str, kind: str, value: Any = None) -> Entry:
        """Record something together with what is appended next, which may never happen.

        For what would come out the same again.

        Raises:
            NotStorableError: The value has no stored form; nothing is to be written.
        """
        if self._store is not None:
            self._store.codec.dumps(value)  # else what is appended next would be refused for it
        entry = self._next(path, kind, value, 0)
        self._entries_later.append(entry)
        self._added(entry)
        return entry

    @property
    def unwritten(self) -> tuple[Entry, ...]:
        """What was to be written `later`, and was not yet."""
        return tuple(self._entries_later)

    def _next(self, path: str, kind: str, value: Any, mail: int) -> Entry:
        if self.stopping and self.failure is not None:
            raise Suspended
        self._position += 1
        return Entry(path, kind, value, self._position, self.clock(), mail, self.epoch)

    def _added(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self.on_entry is not None:
            self.on_entry(entry)

    async def _write(self, entries: Sequence[Entry]) -> None:
        if self._store is None:
            return
        try:
            await self._try_to_write(self._store, entries)
        except trio.Cancelled:  # noqa: ASYNC103 - it comes again at the next checkpoint
            # What is to be recorded has happened. Written twice it is still there once.
            with trio.move_on_after(WRITE_TIMEOUT, shield=True) as scope:
                await self._try_to_write(self._store, entries)
            if scope.cancelled_caught:
                if self.cancelled_by is None:
                    # Whether it was written is not known, and only another life finds out.
                    self.fail(StoreError(f"a write took longer than {WRITE_TIMEOUT:g} s"))
                raise

    async def _try_to_write(self, store: InstanceStore, entries: Sequence[Entry]) -> None:
        for attempt in count():
            try:
                if self.unsaved_status is None or self.is_writing_status:
                    await store.append(self.id, self.epoch, entries)
                else:
                    await self._write_with_status(store, entries, self.unsaved_status)
                return
            except (LeaseLost, StoreCorruptedError) as error:
                failure: StoreError = error
                break
            except StoreError as error:
                failure = error
            if self.stopping and attempt >= len(RETRY_DELAYS):
                break
            # Given up, what is to be recorded would be done again, and again. Whether it was
            # written is not known: the same again is safe.
            logger.warning("instance %r: %s; trying again", self.id, failure)
            await trio.sleep(WRITE_DELAYS[min(attempt, len(WRITE_DELAYS) - 1)])
        self.fail(failure)
        raise Suspended from None

    async def _write_with_status(
        self, store: InstanceStore, entries: Sequence[Entry], unsaved: tuple[InstanceStatus, str]
    ) -> None:
        status, note = unsaved
        self.is_writing_status = True
        try:
            await store.append(self.id, self.epoch, entries, status=status, note=note)
        finally:
            self.is_writing_status = False
        self.status_written(unsaved)

    def status_written(self, written: tuple[InstanceStatus, str]) -> None:
        """Say that this is recorded now."""
        if self.unsaved_status == written:
            self.unsaved_status = None
        if self.on_status_written is not None:
            self.on_status_written(*written)

    def fail(self, error: BaseException) -> None:
        """Let nothing more begin or be written: the incarnation is over, because of this."""
        if self.failure is None:
            self.failure = error
        self.suspend()

    def suspend(self) -> None:
        """Let nothing more begin, and cancel what is under way."""
        self.wind_down()
        self.still()

    def still(self) -> None:
        """Cancel what is under way, and wake what waits for that though it may be shielded."""
        self.scope.cancel()
        self.stilled.set()

    def wind_down(self) -> None:
        """Let nothing more begin; what is at work may come to its end and be recorded."""
        self.held = self.stopping = True
        if self.resumed is not None:
            self.resumed.set()
            self.resumed = None
        if not self.working:
            self.still()

    def cancel(self, reason: str, grace: float) -> None:
        """Ask for the end, and cancel after `grace` seconds; a shorter time counts."""
        if self.cancelled_by is None:
            self.cancelled_by = reason
            self.cancelling.set()
        self.held = True
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + grace)
        self.resume()  # to come to its end, and to clean up

    # --- pausing

    def pause(self) -> None:
        """Let nothing new begin until `resume`."""
        if self.resumed is None and self.cancelled_by is None and not self.stopping:
            self.held = True
            self.resumed = trio.Event()
            self._tell_status()

    def resume(self) -> None:
        """Undo `pause`."""
        if self.resumed is not None:
            self.resumed.set()
            self.resumed = None
            self._tell_status()

    # --- mail

    def deliver(self, mail: Mail) -> None:
        """Put something into the inbox, unless it is or was there."""
        if mail.seq not in self._taken and mail.seq not in self._spent:
            self._inbox[mail.seq] = mail
            self._arrivals.unpark_all()

    def peek(self, kind: str, *names: str) -> Mail | None:
        """Return the oldest mail of that kind, and one of these names, that nobody took."""
        for mail in self._inbox.values():
            if mail.kind == kind and (mail.name in names or not names):
                return mail
        return None

    async def receive(self, kind: str, *names: str, until: float | None = None) -> Mail | None:
        """Wait for mail of that kind and one of these names, and take it: the oldest.

        It is taken for good with the entry that names its `seq` (`append(..., mail=mail.seq)`);
        after a crash before that it is there again. Cancelled, nothing is taken.

        Args:
            names: None at all: any name.
            until: Unix seconds when to give up; None: never.

        Returns:
            None when the time was over first. What has arrived by then is taken all the same.
        """
        with trio.CancelScope() as scope:
            if until is not None:
                scope.deadline = trio.current_time() + max(0.0, until - self.clock())
            while self.peek(kind, *names) is None:
                await self._arrivals.park()
        mail = self.peek(kind, *names)
        if mail is not None:
            self.take(mail)
        return mail

    def take(self, mail: Mail) -> None:
        """Let nobody else receive it."""
        self._inbox.pop(mail.seq, None)
        self._taken.add(mail.seq)

    def disregard(self, seqs: frozenset[int]) -> None:
        """Let mail be no news that was taken before the instance began again as new."""
        self._spent = seqs

    @property
    def taken(self) -> frozenset[int]:
        """The `seq` of everything that was taken."""
        return frozenset(self._taken)

    # --- what it does

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say that a part of the instance waits: for a signal, a timer, a person."""
        token = object()
        self.waits[token] = what
        self._tell_status()
        try:
            yield
        finally:
            del self.waits[token]
            self._tell_status()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Say that a part of the instance does something: runs a step, say."""
        self.working += 1
        if self.working == 1:
            self._tell_status()
        token = AT_WORK.set(self)
        try:
            yield
        finally:
            AT_WORK.reset(token)
            self.working -= 1
            if not self.working:
                if self.stopping:
                    self.still()
                elif self.waits:
                    self._tell_status()

    @contextmanager
    def compensating(self) -> Iterator[None]:
        """Say that a part of the instance undoes what it did."""
        self.undoing += 1
        self._tell_status()
        try:
            yield
        finally:
            self.undoing -= 1
            self._tell_status()

    def _tell_status(self) -> None:
        if self.on_status is not None:
            self.on_status()

    def ask(self, question: Question, check: Callable[[Any], Any]) -> None:
        """Let a question be answered from now on.

        Raises:
            WorkflowStateError: One of that id is open.
        """
        if question.id in self.questions:
            raise WorkflowStateError(
                f"instance {self.id!r} asks {question.id!r} already",
                hint="give the second question a name of its own",
            )
        self.questions[question.id] = OpenQuestion(question, check)

    def close_question(self, id: str) -> None:
        """Let it be answered no more."""
        self.questions.pop(id, None)


def standing(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that no later one takes back."""
    void: set[int] = set()
    for entry in entries:
        if entry.kind == VOID:
            void.update(entry.value)
    return [entry for entry in entries if entry.kind != VOID and entry.position not in void]
