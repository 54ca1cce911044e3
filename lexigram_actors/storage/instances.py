"""Instances of workflows, their journals and their mail: the port that every store serves.

| | |
| --- | --- |
| an **instance** | one run of a definition, known by an id that the caller chose |
| its **journal** | what it has done, in order; only its owner appends |
| its **mail** | what others want of it: signals, answers, cancellation, pausing; anybody posts |
| a **host** | runs instances; its lease is renewed while it lives |

**Fencing.** An instance is owned by a host, and each takeover raises its `epoch`. Every write of an
owner names the epoch, and is refused (`LeaseLost`) in the same transaction when it is not the
instance's any more. So it does not matter whether a clock is right or a host was frozen: of two
that take themselves for the owner, one cannot write.

**Leases** belong to hosts, not to instances: one row is renewed, however many instances there are.
What belongs to a host whose lease is over, or that has left, may be claimed by another. Lease time
is the store's clock alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, final

from attrs import field, frozen

from lexigram_actors.storage.codec import Codec


class InstanceStatus(StrEnum):
    """What an instance is doing.

    | | |
    | --- | --- |
    | `PENDING` | begun, and no host has run it yet; or its start is delayed |
    | `RUNNING` | at work |
    | `WAITING` | for a signal, a timer or a person |
    | `PAUSED` | by an operator |
    | `COMPENSATING` | undoing what it did |
    | `COMPLETED` | ended with success |
    | `FAILED` | ended with an error, or parked after too many crashes; can be retried |
    | `CANCELLED` | ended because somebody asked for it |
    | `COMPENSATION_STUCK` | something could not be undone, and a person has to decide |
    """

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COMPENSATION_STUCK = "compensation_stuck"

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens any more, unless somebody retries it."""
        return self in ENDED


ENDED: Final = frozenset(
    {
        InstanceStatus.COMPLETED,
        InstanceStatus.FAILED,
        InstanceStatus.CANCELLED,
        InstanceStatus.COMPENSATION_STUCK,
    }
)

RETRIABLE: Final = frozenset({InstanceStatus.FAILED, InstanceStatus.COMPENSATION_STUCK})


class Definition(NamedTuple):
    """What an instance is an instance of."""

    kind: str
    name: str
    version: int


@final
@frozen(kw_only=True)
class NewInstance:
    """What an instance begins with.

    Attributes:
        id: Chosen by the caller, 1 to 512 characters, no NUL.
        input: Any storable value.
        seed: From which the instance draws what looks random to it.
        start_at: Unix seconds before which it does not run; None: at once.
        parent: The id of the instance that began it, if one did.
    """

    id: str
    definition: Definition
    input: Any = field(default=None, repr=False)
    seed: str = field(default="", repr=False)
    start_at: float | None = None
    parent: str | None = None


@final
@frozen(kw_only=True)
class Instance:
    """An instance as it is recorded, without what may be large.

    Attributes:
        definition: Its kind, name and version.
        note: What it waits for, or why it is as it is: for a person.
        owner: The host that has it; None: nobody.
        epoch: How often it was taken over; 0 when no host has had it yet.
        run: How often it has started over (`continue_as_new`).
        copied: How many of its entries were copied from the instance it is a fork of.
        created_at: Unix seconds, like the other times.
        ended_at: None while it has not ended.
    """

    id: str
    definition: Definition
    status: InstanceStatus
    note: str = ""
    owner: str | None = None
    epoch: int = 0
    run: int = 0
    copied: int = 0
    seed: str = field(default="", repr=False)
    parent: str | None = None
    created_at: float = 0.0
    start_at: float | None = None
    ended_at: float | None = None


class Entry(NamedTuple):
    """One thing that an instance did, or that happened to it.

    Attributes:
        path: Where in the definition: `"charge"`, `"parallel#2/ship/label"`.
        kind: Which sort: `"step"`, `"sleep"`, `"signal"`, ... The store does not look at it.
        value: Any storable value.
        position: Its place in the journal, from 1. Those of one journal differ; there may be gaps,
            where a write that another did not wait for was lost in a crash.
        at: Unix seconds.
        mail: The `seq` of the mail that it took; 0: none. No mail is taken twice.
        epoch: That of the owner that wrote it; set by the store.
    """

    path: str
    kind: str
    value: Any = None
    position: int = 0
    at: float = 0.0
    mail: int = 0
    epoch: int = 0

    def __repr__(self) -> str:
        """Show where it is: what is recorded there may be secret."""
        return f"Entry({self.position}, {self.path!r}, {self.kind!r})"


class Mail(NamedTuple):
    """Something that somebody wants of an instance.

    Attributes:
        seq: Its place among all mail of the store, from 1, rising; there may be gaps.
        kind: `"signal"`, `"answer"`, `"cancel"`, `"pause"`, `"resume"`.
        name: Of the signal, or of the question.
        at: Unix seconds.
        key: Two posts with one key to one instance are one; None: this has none.
    """

    seq: int
    instance: str
    kind: str
    name: str = ""
    payload: Any = None
    at: float = 0.0
    key: str | None = None

    def __repr__(self) -> str:
        """Show what it is: what it carries may be secret."""
        return f"Mail({self.seq}, {self.instance!r}, {self.kind!r}, {self.name!r})"


@final
@frozen(kw_only=True)
class Loaded:
    """Everything it takes to go on with an instance."""

    instance: Instance
    input: Any = field(repr=False)
    entries: list[Entry]
    mail: list[Mail]


class InstanceStore(Protocol):
    """Instances, journals, mail and hosts. Each call is one transaction, and a checkpoint.

    What a call has written is durable when it returns. Cancelled, it has changed nothing; one whose
    write had begun returns instead, and the cancellation is felt at the next checkpoint.

    Every call raises `StoreError` where the store cannot do it, `StoreCorruptedError` where what is
    read is damaged, `NotStorableError` (before anything is written) for a value, an id or a name
    that no store could keep, and `TypeError` for misuse. `LeaseLost` says that `epoch` is not the
    instance's any more, or that it has ended or is gone: nothing was written.

    Attributes:
        lease: Seconds that a host's lease lasts, where it is not said otherwise; `inf` where no
            two hosts can have the store at a time.
        poll: Seconds between two looks for what others have posted, where it is not said otherwise;
            `inf` where nobody outside this process can post.
        codec: Turns values into bytes.
        clock: Returns wall time in unix seconds, as it was given to the store.
    """

    @property
    def lease(self) -> float: ...

    @property
    def poll(self) -> float: ...

    @property
    def codec(self) -> Codec: ...

    @property
    def clock(self) -> Callable[[], float]: ...

    # --- hosts

    async def enter(self, host: str, lease: float) -> None:
        """Register a host, or begin its lease anew, for `lease` seconds.

        Raises:
            StoreError: The store takes one host at a time, and another is there; `details` has
                what is known of it.
        """
        ...

    async def renew(self, host: str, lease: float) -> None:
        """Let a host's lease end `lease` seconds from now.

        Raises:
            LeaseLost: It was over already: what the host had may be another's.
        """
        ...

    async def leave(self, host: str) -> None:
        """Let go of everything a host has. Fine when it is not there."""
        ...

    # --- owners

    async def create(self, new: NewInstance, *, host: str | None = None) -> tuple[Instance, bool]:
        """Begin an instance, owned by `host` with epoch 1, or by nobody.

        Returns:
            The instance, and whether it is new. Where the id is taken nothing is written, and it is
            the one that is there.
        """
        ...

    async def claim(
        self,
        host: str,
        definitions: Collection[Definition],
        *,
        ids: Collection[str] | None = None,
        limit: int = 100,
    ) -> list[Instance]:
        """Take instances that have not ended and whose owner is gone, the oldest first.

        Those whose row is damaged are logged and passed over, unless `ids` names them.

        Args:
            definitions: Only instances of these.
            ids: Only these; None: any.
            limit: At most so many.

        Returns:
            Those taken, with their new epoch.

        Raises:
            LeaseLost: The host's own lease is over.
        """
        ...

    async def release(self, id: str, epoch: int) -> None:
        """Give up an instance that has not ended, so that another host may take it."""
        ...

    async def load(self, id: str) -> Loaded | None:
        """Return an instance with its input, its journal and its mail, as of one moment."""
        ...

    async def append(
        self,
        id: str,
        epoch: int,
        entries: Sequence[Entry],
        *,
        status: InstanceStatus | None = None,
        note: str = "",
    ) -> None:
        """Add entries, all or none, at the positions they carry.

        Entries that are there already, the same at the same position, are left: the call may be
        made again when it is not known whether it was done.

        Args:
            status: What the instance does from now on; None leaves that and the note.

        Raises:
            LeaseLost: Also where another entry has one of the positions.
        """
        ...

    async def mark(self, changes: Mapping[str, tuple[int, InstanceStatus, str]]) -> None:
        """Set status and note of instances, by id: `(epoch, status, note)`.

        One that has another epoch by now, or has ended, is passed over.
        """
        ...

    async def end(
        self,
        id: str,
        epoch: int,
        status: InstanceStatus,
        outcome: Any,
        *,
        note: str = "",
        entries: Sequence[Entry] = (),
    ) -> None:
        """End an instance; from then on it has no owner and takes no mail.

        Made again with the same epoch, status and outcome it does nothing.

        Raises:
            WorkflowStateError: Somebody has asked for its cancellation (there is mail of the kind
                `"cancel"`), and the status is COMPLETED or FAILED. Nothing was written.
        """
        ...

    async def start_over(self, id: str, epoch: int, input: Any, taken: Collection[int]) -> None:
        """Begin again with a new input, an empty journal, and the mail that was not `taken` (seqs).

        `run` rises by one, and `copied` is 0. Of mail that was taken its key is kept: posted again
        it is still the same.
        """
        ...

    # --- anybody

    async def get(self, id: str) -> Instance | None:
        """Return an instance; None: there is none."""
        ...

    async def input(self, id: str) -> Any:
        """Return what an instance began with; None also where there is none."""
        ...

    async def outcome(self, id: str) -> Any:
        """Return what an instance ended with; None also while it has not ended."""
        ...

    async def journal(self, id: str, after: int = 0) -> list[Entry]:
        """Return the entries behind position `after`, in order."""
        ...

    async def select(
        self,
        *,
        status: Collection[InstanceStatus] | None = None,
        name: str | None = None,
        parent: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 100,
    ) -> list[Instance]:
        """Return instances, the newest first (of one moment, by id downwards).

        Args:
            before: `(created_at, id)` of the last one of the page before; None: the first page.
        """
        ...

    async def count(self) -> dict[InstanceStatus, int]:
        """Return how many instances there are, by status; those with none are left out."""
        ...

    async def post(
        self, id: str, kind: str, name: str = "", payload: Any = None, *, key: str | None = None
    ) -> Mail:
        """Put something into the mail of an instance, and return it with its `seq`.

        Where the key is there already, that one is returned, and nothing is written.

        Raises:
            WorkflowNotFoundError: There is no such instance.
            WorkflowStateError: It has ended.
        """
        ...

    async def mail_after(self, seq: int, limit: int = 1000) -> list[Mail]:
        """Return the mail of all instances behind `seq`, in order.

        What cannot be read does not keep the rest back: it comes with the kind `"damaged"` and
        nothing in it, and is logged. Loading its instance raises what is wrong with it.
        """
        ...

    async def last_mail(self) -> int:
        """Return the `seq` of the last mail there was; 0: there was none."""
        ...

    async def reopen(self, id: str, entries: Sequence[Entry] = ()) -> Instance:
        """Let an instance that failed go on: without owner, PENDING, entries added.

        The entries carry their positions, as for `append`.

        Raises:
            WorkflowNotFoundError: There is no such instance.
            WorkflowStateError: It has not failed; or its journal has gone on meanwhile.
        """
        ...

    async def fork(self, id: str, new_id: str, before: int, seed: str) -> Instance:
        """Begin a new instance with the input and the entries of another, those before a position.

        Mail is not copied. `copied` is the number of entries.

        Raises:
            WorkflowNotFoundError: There is no such instance.
            WorkflowStateError: `new_id` is taken.
        """
        ...

    async def delete(self, id: str) -> bool:
        """Remove an instance that has ended, with all it has; False: there is none.

        Raises:
            WorkflowStateError: It has not ended.
        """
        ...

    async def delete_ended(
        self, ended_before: float, status: Collection[InstanceStatus], limit: int = 1000
    ) -> int:
        """Remove up to `limit` instances that ended before then; return how many."""
        ...
