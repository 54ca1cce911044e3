"""An actor's queue of messages: bounded, first in first out per sender, and counted.

It behaves as a Trio memory channel, and is none, for three reasons. Both sides go on without a
checkpoint while there is a message to take or room to put one: 0.5 µs a message, where a channel
takes 8. The policies on overflow need to reach into the queue. And an actor that never gets mail
should not pay for a channel: the queue is made with the first message.

Invariants, between any two calls:

- a sender waits only while the queue is full (so a sender that waits is served before one that
  comes later, and order is kept);
- accepted == handled + len(queue) + dropped + dead_lettered;
- the actor waits for mail (`receiver`) only while the queue is empty.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol, final

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from lexigram_actors.errors import ActorStopped, MailboxFull
from lexigram_actors.kernel.specs import Mailbox, MailboxStatistics, Overflow
from lexigram_actors.kernel.waiting import Ask

BLOCK = Overflow.BLOCK  # as a plain name: see cell.py

SHORT_LINE = 64
"""Waiting senders that are not worth looking through for those who gave up."""

GAVE_UP = object()
"""In place of a message: its sender no longer waits."""


class Owner(Protocol):
    """Whom a mailbox serves."""

    name: str

    def begin_task(self) -> None:
        """Start the task of an actor that has had no need of one until now."""


class Queue(Protocol):
    """What the actor's loop needs of a queue: a deque, or one that coalesces."""

    def append(self, item: Any, /) -> None: ...
    def popleft(self) -> Any: ...
    def __len__(self) -> int: ...


@final
class CoalescingQueue:
    """A queue in which a newer message takes the place of an older one with the same key."""

    __slots__ = ("items", "key")

    def __init__(self, key: Callable[[Any], Any]) -> None:
        self.key = key
        self.items: OrderedDict[Any, Any] = OrderedDict()

    def key_of(self, item: Any) -> Any:
        return self.key(item.message if type(item) is Ask else item)

    def has_key_of(self, item: Any) -> bool:
        return self.key_of(item) in self.items

    def append(self, item: Any, /) -> None:
        self.items[self.key_of(item)] = item

    def popleft(self) -> Any:
        return self.items.popitem(last=False)[1]

    def __len__(self) -> int:
        return len(self.items)


@final
class WaitingSender:
    """A `tell` that waits for room; `task` is None once it gave up."""

    __slots__ = ("closed_by", "item", "task")

    def __init__(self, item: Any, task: trio.lowlevel.Task) -> None:
        self.item = item
        self.task: trio.lowlevel.Task | None = task
        self.closed_by: str | None = None

    def give_up(self, _: Any) -> Abort:
        self.task = None
        self.item = None
        return Abort.SUCCEEDED


def _waits(sender: WaitingSender | Ask) -> bool:
    return not sender.settled if isinstance(sender, Ask) else sender.task is not None


def _message_of(sender: WaitingSender | Ask) -> Any:
    return sender if isinstance(sender, Ask) else sender.item


@final
class MailboxQueue:
    """The running mailbox of one actor. It outlives the actor's restarts."""

    __slots__ = (
        "accepted",
        "bound",
        "closed_by",
        "dead_lettered",
        "dropped",
        "handled",
        "idle",
        "items",
        "key",
        "overflow",
        "owner",
        "prune_at",
        "receiver",
        "rejected",
        "senders",
    )

    def __init__(self, spec: Mailbox, owner: Owner) -> None:
        self.bound = spec.bound
        self.overflow = spec.overflow
        self.key = spec.key
        self.owner = owner
        self.items: Queue | None = None
        self.senders: deque[WaitingSender | Ask] | None = None
        self.prune_at = SHORT_LINE
        self.receiver: trio.lowlevel.Task | None = None
        self.idle = False  # the actor runs and has no task yet: the first message starts it
        self.closed_by: str | None = None  # the reason, once no more messages are taken
        self.accepted = self.handled = self.dropped = self.dead_lettered = self.rejected = 0

    def queue(self) -> Queue:
        """The queue, made when it is first needed."""
        if self.items is None:
            self.items = deque() if self.key is None else CoalescingQueue(self.key)
        return self.items

    def statistics(self) -> MailboxStatistics:
        queued = 0 if self.items is None else len(self.items)
        return MailboxStatistics(
            accepted=self.accepted,
            handled=self.handled,
            queued=queued,
            dropped=self.dropped,
            dead_lettered=self.dead_lettered,
            rejected=self.rejected,
        )

    # --- the senders' side

    def offer(self, item: Any) -> bool:
        """Put a message (or `Ask`) in without waiting; False when its sender has to wait.

        Raises `ActorStopped` when the actor takes no more, `MailboxFull` where the policy says so.
        """
        items = self.items
        if items is not None and self.closed_by is None and len(items) < self.bound:
            if self.key is not None:
                self._supersede(item)
            items.append(item)
            self.accepted += 1
            receiver = self.receiver
            if receiver is not None:
                self.receiver = None
                reschedule(receiver)
            elif self.idle:
                self.owner.begin_task()
            return True
        return self._offer_slowly(item)

    def _offer_slowly(self, item: Any) -> bool:
        """The rare cases: the first message, a closed mailbox, a full one."""
        if self.closed_by is not None:
            raise ActorStopped(self.owner.name, self.closed_by)
        items = self.queue()
        if len(items) < self.bound:
            return self.offer(item)
        if self.bound == 0 and not items and (self.idle or self.receiver is not None):
            items.append(item)  # a rendezvous, and the actor is there
            self.accepted += 1
            if self.idle:
                self.owner.begin_task()
            self.wake()
            return True
        return self._overflow(item)

    def _supersede(self, item: Any) -> bool:
        """Drop the queued message that a newer one with the same key replaces, if there is one."""
        queue = self.queue()
        assert isinstance(queue, CoalescingQueue)
        older = queue.items.get(queue.key_of(item), self)
        if older is self:
            return False
        self._drop(older)
        return True

    def _overflow(self, item: Any) -> bool:
        policy = self.overflow
        if policy is BLOCK:
            return False
        if policy is Overflow.COALESCE:
            if not self._supersede(item):
                return False
            self.queue().append(item)
            self.accepted += 1
            return True
        if policy is Overflow.REJECT:
            self.rejected += 1
            raise MailboxFull(self.owner.name, self.bound)
        self.accepted += 1
        if policy is Overflow.DROP_OLDEST:
            self._drop(self.queue().popleft())
            self.queue().append(item)
        else:
            self._drop(item)
        return True

    def _drop(self, item: Any) -> None:
        self.dropped += 1
        if type(item) is Ask:
            item.fail(MailboxFull(self.owner.name, self.bound))

    def refuse(self) -> MailboxFull:
        """Count a message that its sender would not wait with."""
        self.rejected += 1
        return MailboxFull(self.owner.name, self.bound)

    async def put(self, item: Any) -> None:
        """Wait for room, then put the message in. Cancelled before that, it was never accepted."""
        sender = WaitingSender(item, current_task())
        self._line().append(sender)
        await wait_task_rescheduled(sender.give_up)
        if sender.closed_by is not None:
            raise ActorStopped(self.owner.name, sender.closed_by)

    def enqueue_asker(self, ask: Ask) -> None:
        """Let an ask wait for room: its asker is woken by the answer alone."""
        self._line().append(ask)

    def _line(self) -> deque[WaitingSender | Ask]:
        """Where senders wait. Those who gave up are taken out once they may be half of it."""
        if self.senders is None:
            self.senders = deque()
        elif len(self.senders) >= self.prune_at:
            self.senders = deque(sender for sender in self.senders if _waits(sender))
            self.prune_at = max(SHORT_LINE, 2 * len(self.senders))
        return self.senders

    # --- the actor's side

    def admit(self, bound: float) -> None:
        """Let those who wait for room in, until `bound` messages are queued."""
        senders = self.senders
        items = self.queue()
        while senders and len(items) < bound:
            self._let_in(senders.popleft())
        if senders and self.key is not None:
            self._admit_known_keys(senders)

    def _let_in(self, sender: WaitingSender | Ask) -> None:
        item = self._take_from(sender)
        if item is GAVE_UP:
            return
        if self.key is not None:
            self._supersede(item)
        self.queue().append(item)
        self.accepted += 1

    def _admit_known_keys(self, senders: deque[WaitingSender | Ask]) -> None:
        """Let in who waits with a key that is queued by now, in order.

        Otherwise a message that has waited longer would replace a newer one that did not wait.
        """
        queue = self.queue()
        assert isinstance(queue, CoalescingQueue)
        for _ in range(len(senders)):
            sender = senders.popleft()
            if _waits(sender) and queue.has_key_of(_message_of(sender)):
                self._let_in(sender)
            else:
                senders.append(sender)

    @staticmethod
    def _take_from(sender: WaitingSender | Ask) -> Any:
        """The message of a waiting sender, who goes on; or `GAVE_UP`."""
        if isinstance(sender, Ask):
            return GAVE_UP if sender.settled else sender  # an asker goes on when it is answered
        if sender.task is None:
            return GAVE_UP
        task, sender.task = sender.task, None
        reschedule(task)
        return sender.item

    def ready(self) -> bool:
        """Whether there is a message to take; at a rendezvous this lets one sender in."""
        if not self.items and self.senders:
            self.admit(1)
        return bool(self.items)

    def take(self) -> Any:
        """The next message; there must be one."""
        item = self.queue().popleft()
        self.handled += 1
        if self.senders:
            self.admit(self.bound)
        return item

    async def wait_mail(self) -> None:
        """Park until somebody puts a message in, or wakes the actor for another reason."""
        self.receiver = current_task()
        await wait_task_rescheduled(self.stop_waiting)

    def stop_waiting(self, _: Any) -> Abort:
        self.receiver = None
        return Abort.SUCCEEDED

    def wake(self) -> None:
        """Wake the actor if it waits for mail."""
        if self.receiver is not None:
            receiver, self.receiver = self.receiver, None
            reschedule(receiver)

    # --- the end

    def close(self, reason: str) -> None:
        """Take no more messages; who waits for room gets `ActorStopped`, what is queued stays."""
        if self.closed_by is None:
            self.closed_by = reason
        if self.senders is None:
            return
        senders, self.senders = self.senders, None
        for sender in senders or ():
            if isinstance(sender, Ask):
                sender.fail(ActorStopped(self.owner.name, reason))
            elif sender.task is not None:
                sender.closed_by = reason
                reschedule(sender.task)

    def drain(self) -> list[Any]:
        """Take everything that is left, as dead letters."""
        letters = []
        while self.items:
            letters.append(self.items.popleft())
        self.dead_lettered += len(letters)
        self.items = None
        return letters
