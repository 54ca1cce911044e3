"""What can be done to instances without their definitions, from any process that has the store.

Most of it is posted: the host that runs the instance does it when it sees it, or, where no host
runs it now, the next one that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, Final, final
from uuid import uuid4

from attrs import frozen

from lexigram_actors.checks import number, require
from lexigram_actors.errors import WorkflowNotFoundError, WorkflowStateError
from lexigram_actors.host.compensation import (
    FORCED,
    SKIPPED,
    last_position,
    settled_by,
    tried_again,
)
from lexigram_actors.host.history import (
    HistoryEntry,
    fork_position,
    history_of,
    open_questions,
)
from lexigram_actors.host.journal import VOID
from lexigram_actors.host.outcomes import result_of
from lexigram_actors.host.retrying import voided_by_retry
from lexigram_actors.host.surroundings import Question
from lexigram_actors.result import Result
from lexigram_actors.storage.instances import Entry, Instance, InstanceStatus, Mail
from lexigram_actors.storage.ports import Store

PAGE: Final = 100


@final
@frozen
class InstanceTree:
    """An instance with those that it began, the oldest first, and theirs."""

    instance: Instance
    children: tuple[InstanceTree, ...] = ()


@final
class Operator:
    """Looks at instances, and acts on them, over a store alone.

    Every call raises `StoreError` where the store cannot do it, and one that names an instance
    `WorkflowNotFoundError` where there is none. Cancelled, a call has changed nothing, or all of
    what it says.

    Args:
        store: An open store; it is not closed.
        clock: Returns wall time in unix seconds.
        on_change: Called with what was posted, and with an instance that was opened, so that a host
            in this process need not look for it.
    """

    __slots__ = ("_clock", "_instances", "_on_change")

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        on_change: Callable[[Mail | Instance], None] | None = None,
    ) -> None:
        self._instances = store.instances
        self._clock = clock
        self._on_change = on_change

    # --- looking

    async def find(self, id: str) -> Instance:
        """Return an instance."""
        instance = await self._instances.get(id)
        if instance is None:
            raise WorkflowNotFoundError(id, hint="check the id, and which store was opened")
        return instance

    async def select(
        self,
        *,
        status: Collection[InstanceStatus] | None = None,
        name: str | None = None,
        parent: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = PAGE,
    ) -> list[Instance]:
        """Return instances, the newest first.

        Args:
            status: Only those that are one of these; None: any.
            name: Only those of the definition of that name.
            parent: Only those that this instance began.
            before: `(created_at, id)` of the last one of the page before; None: the first page.
            limit: At most so many.
        """
        return await self._instances.select(
            status=status, name=name, parent=parent, before=before, limit=limit
        )

    async def count(self) -> dict[InstanceStatus, int]:
        """Return how many instances there are, by status; those with none are left out."""
        return await self._instances.count()

    async def input(self, id: str) -> Any:
        """Return what an instance began with."""
        await self.find(id)
        return await self._instances.input(id)

    async def outcome(self, id: str) -> Result[Any, Exception] | None:
        """Return how an instance ended; None while it has not."""
        instance = await self.find(id)
        if not instance.status.has_ended:
            return None
        outcome = await self._instances.outcome(id)
        # None: deleted or retried meanwhile. One that ended has an outcome.
        return None if outcome is None else result_of(outcome)

    async def history(self, id: str) -> list[HistoryEntry]:
        """Return everything that an instance recorded, in order."""
        return history_of(await self._entries(id))

    async def questions(self, id: str) -> list[Question]:
        """Return what an instance asks a person now; nothing once it has ended.

        An answer that no host has taken yet leaves its question open.
        """
        instance = await self.find(id)
        return [] if instance.status.has_ended else open_questions(await self._entries(id))

    async def tree(self, id: str) -> InstanceTree:
        """Return an instance with those that it began, and those that they began."""
        root = await self.find(id)
        found: dict[str, list[Instance]] = {root.id: []}
        waiting = [root]
        for instance in waiting:
            for child in await self._children(instance.id):
                if child.id not in found:
                    found[child.id] = []
                    found[instance.id].append(child)
                    waiting.append(child)
        trees: dict[str, InstanceTree] = {}
        for instance in reversed(waiting):
            below = tuple(trees[child.id] for child in found[instance.id])
            trees[instance.id] = InstanceTree(instance, below)
        return trees[root.id]

    async def _children(self, id: str) -> list[Instance]:
        found: list[Instance] = []
        before: tuple[float, str] | None = None
        while True:
            page = await self._instances.select(parent=id, before=before, limit=PAGE)
            found += page
            if len(page) < PAGE:
                return found[::-1]
            before = (page[-1].created_at, page[-1].id)

    async def _entries(self, id: str) -> list[Entry]:
        await self.find(id)
        return await self._instances.journal(id)

    # --- acting

    async def signal(
        self, id: str, name: str, payload: Any = None, *, key: str | None = None
    ) -> Mail:
        """Post a signal; durable on return, whether or not the instance waits for it now.

        Args:
            key: Two signals with one key to one instance are one: the first.

        Raises:
            WorkflowStateError: The instance has ended.
            NotStorableError: The payload has no stored form.
        """
        return await self._post(id, "signal", name, payload, key)

    async def answer(self, id: str, value: Any, *, question: str | None = None) -> Mail:
        """Post the answer to a question; durable on return.

        Whether it fits is judged by the host: one that does not is recorded as refused, and the
        question stays open.

        Args:
            question: The id of the question; None: the only one that is open.

        Raises:
            WorkflowStateError: No such question is open, or several are and none is named; the
                message lists them.
            NotStorableError: The value has no stored form.
        """
        instance = await self.find(id)
        entries = await self._entries(id)
        asked = [] if instance.status.has_ended else open_questions(entries)
        chosen = [each for each in asked if question is None or each.id == question]
        if len(chosen) != 1:
            raise not_answered(instance, asked, question)
        path = chosen[0].id
        refused = sum(entry.kind == "refused" and entry.path == path for entry in entries)
        # Of two answers the first counts, also before it is taken.
        mail = await self._post(id, "answer", path, value, f"lexigram:answer:{refused}:{path}")
        if mail.payload != value:
            raise WorkflowStateError(f"{path!r} of instance {id!r} was answered already")
        return mail

    async def cancel(self, id: str, reason: str = "cancelled", grace: float = 5.0) -> Mail:
        """Ask an instance to end; it may go on for `grace` seconds.

        Raises:
            WorkflowStateError: It has ended.
            ConfigurationError: The grace is no finite number of seconds.
        """
        require("grace", grace, number(least=0))
        return await self._post(id, "cancel", reason, {"grace": grace})

    async def pause(self, id: str) -> Mail:
        """Ask an instance to begin nothing new until `resume`; what is at work ends.

        Raises:
            WorkflowStateError: It has ended.
        """
        return await self._post(id, "pause")

    async def resume(self, id: str) -> Mail:
        """Let a paused instance go on.

        Raises:
            WorkflowStateError: It has ended.
        """
        return await self._post(id, "resume")

    async def _post(
        self, id: str, kind: str, name: str = "", payload: Any = None, key: str | None = None
    ) -> Mail:
        mail = await self._instances.post(id, kind, name, payload, key=key)
        self._changed(mail)
        return mail

    def _changed(self, what: Mail | Instance) -> None:
        if self._on_change is not None:
            self._on_change(what)

    async def retry(self, id: str) -> Instance:
        """Let an instance that failed go on from where it failed; what succeeded stands.

        What could not be undone (COMPENSATION_STUCK) is tried again, whether or not its undo is
        safe to run twice: that is your decision.

        Raises:
            WorkflowStateError: It has not failed, or somebody else retried it meanwhile.
        """
        instance = await self.find(id)
        outcome = await self._instances.outcome(id)
        entries = await self._instances.journal(id)
        added = tried_again(entries, self._clock())
        stuck = [entry.path for entry in added]
        positions = voided_by_retry(entries, outcome, instance.definition.kind, stuck)
        if positions:
            last = last_position([*entries, *added])
            added.append(Entry("", VOID, positions, position=last + 1, at=self._clock()))
        opened = await self._instances.reopen(id, added)
        self._changed(opened)
        return opened

    async def skip(self, id: str, step: str) -> Instance:
        """Give up on undoing a step that is stuck; durable on return.

        The instance ends FAILED, or CANCELLED, once nothing else is stuck and a host has seen it.

        Args:
            step: Its name, or its path in the history.

        Raises:
            WorkflowStateError: No such step waits for a decision, or several do.
        """
        return await self._settle(id, step, SKIPPED)

    async def force(self, id: str, step: str) -> Instance:
        """Say that a step that is stuck was undone by hand; durable on return. As `skip`.

        Raises:
            WorkflowStateError: No such step waits for a decision, or several do.
        """
        return await self._settle(id, step, FORCED)

    async def _settle(self, id: str, step: str, kind: str) -> Instance:
        entry = settled_by(await self._entries(id), step, kind, self._clock())
        opened = await self._instances.reopen(id, [entry])
        self._changed(opened)
        return opened

    async def fork(
        self, id: str, new_id: str | None = None, *, step: str | None = None
    ) -> Instance:
        """Begin a new instance with the input of another, and a part of what it recorded.

        Args:
            new_id: None: one is made up from `id`.
            step: A path at which something is recorded. What was recorded before it is kept, and
                the new instance begins there. None: it begins anew.

        Raises:
            WorkflowStateError: Nothing is recorded at `step`, or `new_id` is taken.
        """
        original = await self.find(id)
        entries = [] if step is None else await self._instances.journal(id)
        before = fork_position(entries, step)
        chosen = forked_id(id) if new_id is None else new_id
        # What it draws at what is kept has to come out as it did.
        forked = await self._instances.fork(id, chosen, before, original.seed)
        self._changed(forked)
        return forked

    async def delete(self, id: str) -> None:
        """Remove an instance that has ended, with all that is recorded of it.

        Raises:
            WorkflowStateError: It has not ended; cancel it first.
        """
        await self.find(id)
        await self._instances.delete(id)


LONGEST_ID: Final = 512


def forked_id(id: str) -> str:
    """Return an id for a fork that tells whose it is."""
    end = f"-fork-{uuid4().hex[:8]}"
    return id[: LONGEST_ID - len(end)] + end


def not_answered(
    instance: Instance, asked: list[Question], question: str | None
) -> WorkflowStateError:
    """Return the error for an answer that fits no open question, or more than one."""
    ids = [each.id for each in asked]
    details = {"questions": ids}
    known = ", ".join(map(repr, ids))
    if instance.status.has_ended:
        return WorkflowStateError(
            f"instance {instance.id!r} asks nothing: it is {instance.status.value}",
            details=details,
        )
    if not ids:
        return WorkflowStateError(
            f"instance {instance.id!r} asks nothing now",
            details=details,
            hint="it may not have come to it yet: look again later",
        )
    if question is None:
        return WorkflowStateError(
            f"instance {instance.id!r} asks {len(ids)} questions: {known}",
            details=details,
            hint="say which one the answer is for",
        )
    return WorkflowStateError(
        f"instance {instance.id!r} does not ask {question!r}; it asks {known}", details=details
    )
