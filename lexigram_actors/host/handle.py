"""`WorkflowHandle`: one instance, for whoever began it or asks for it."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, final

import trio
from trio_util import AsyncValue, wait_any

from lexigram_actors.checks import number, require
from lexigram_actors.errors import WorkflowStateError
from lexigram_actors.events import Subscription, WorkflowRecordedEvent, WorkflowStatusEvent
from lexigram_actors.host.history import HistoryEntry
from lexigram_actors.host.surroundings import Question
from lexigram_actors.invoking import invoke
from lexigram_actors.result import Result
from lexigram_actors.storage.instances import Instance, InstanceStatus

if TYPE_CHECKING:
    from lexigram_actors.host.host import WorkflowHost

LONGEST_LOOK = 5.0
"""Seconds between two looks at an instance that is not here, where a host polls more rarely."""

REPORTED_AFTER = 5.0
"""Seconds past its grace after which an instance that does not end is reported."""


@final
class WorkflowHandle:
    """What can be asked of one instance, and done to it. Cheap; holds nothing open.

    Every call that waits raises `StoreError` where the store cannot do it, and
    `WorkflowNotFoundError` where there is no instance of the id.
    """

    __slots__ = ("_host", "id", "status")

    def __init__(self, host: WorkflowHost, id: str, status: AsyncValue[InstanceStatus]) -> None:
        self._host = host
        self.id = id
        self.status = status
        """What the instance does, as far as this host knows: one that another host runs, or none,
        is read with `describe`. `await handle.status.wait_value(InstanceStatus.WAITING)`."""

    def __repr__(self) -> str:
        return f"<WorkflowHandle {self.id!r} {self.status.value.value}>"

    async def result(self) -> Result[Any, Exception]:
        """Wait for the end, and return the outcome: `Ok`, or `Err` of an error of this library.

        Cancelled, the instance goes on.

        Raises:
            WorkflowStateError: The host closes first; the instance goes on with the next one.
            WorkflowVersionMismatchError: It cannot be run here: it was begun under a version that
                is not registered.
            StoreCorruptedError: What is recorded of it is damaged.
        """
        return await self._host.wait_result(self.id)

    async def describe(self) -> Instance:
        """Return the instance as it is recorded."""
        return await self._host.operator.find(self.id)

    async def history(self) -> list[HistoryEntry]:
        """Return what it has recorded, in order."""
        return await self._host.operator.history(self.id)

    async def questions(self) -> list[Question]:
        """Return what people are asked and have not answered."""
        return await self._host.operator.questions(self.id)

    async def wait_question(self) -> Question:
        """Wait until a person is asked something, and return the first that is open.

        Raises:
            WorkflowStateError: The instance ends, and asks nothing; or the host closes.
        """
        async with self.events(WorkflowRecordedEvent, WorkflowStatusEvent) as news:
            while True:
                if asked := await self.questions():
                    return asked[0]
                instance = await self.describe()
                if instance.status.has_ended:
                    why = f": {instance.note}" if instance.note else ""
                    raise WorkflowStateError(
                        f"instance {self.id!r} has ended ({instance.status}){why}; it asks nothing"
                    )
                if self._host.closing:
                    raise WorkflowStateError(f"the host is closed; {self.id!r} asks the next one")
                await self._wait_news(news)

    async def _wait_news(self, news: Subscription[Any]) -> None:
        """Wait until something happens to the instance, or may have, unseen from here."""
        resident = self._host.resident(self.id)
        if resident is not None:
            await wait_any(partial(anext, news), resident.gone.wait)
            return
        with trio.move_on_after(min(self._host.poll, LONGEST_LOOK)):
            await anext(news)

    def events(self, *types: type[Any], bound: int = 1024) -> Subscription[Any]:
        """Watch what happens to it, as `host.events` does for all."""
        return self._host.bus.subscribe(
            *types, bound=bound, where=lambda event: getattr(event, "workflow_id", None) == self.id
        )

    # --- acting on it

    async def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send a signal; on return it is recorded, and will be taken once.

        Args:
            key: Makes a repeated call the same one.

        Raises:
            WorkflowStateError: It has ended.
            NotStorableError: The payload or a name has no stored form.
        """
        await self._host.operator.signal(self.id, name, payload, key=key)

    async def answer(self, value: Any, *, question: str | None = None) -> None:
        """Answer a question; on return the answer is recorded, and fits as far as is known here.

        Args:
            question: Its id; None where only one is open.

        Raises:
            WorkflowStateError: There is no such question, or it is not clear which is meant, or it
                was answered.
            AnswerInvalidError: The answer does not fit; the question stays open.
        """
        resident = self._host.resident(self.id)
        if resident is not None and resident.journal is not None:
            asked = resident.journal.questions
            known = question if question is not None or len(asked) != 1 else next(iter(asked))
            if known in asked:
                asked[known].check(value)
        await self._host.operator.answer(self.id, value, question=question)

    async def cancel(self, reason: str = "cancelled", grace: float = 5.0) -> None:
        """Ask it to end, cancel it after `grace` seconds, and wait until nothing of it is left.

        What it began as children is cancelled too. The reason is recorded before anything stops: a
        crash meanwhile does not undo it. Afterwards the status is CANCELLED, unless the instance
        had ended before. Cancelled itself, the call has asked for the end or not.

        Args:
            grace: Seconds in which it may come to an end by itself; 0 cancels at once.
        """
        require("grace", grace, number(least=0))
        await self._host.cancel(self.id, reason, grace)

    async def pause(self) -> None:
        """Let nothing new begin until `resume`; what is under way comes to its end.

        Raises:
            WorkflowStateError: It has ended.
        """
        await self._host.operator.pause(self.id)

    async def resume(self) -> None:
        """Undo `pause`.

        Raises:
            WorkflowStateError: It has ended.
        """
        await self._host.operator.resume(self.id)

    async def retry(self) -> None:
        """Let an instance that FAILED go on where it failed: what it recorded stands.

        Raises:
            WorkflowStateError: It has not failed.
        """
        await self._host.retry(self.id)

    async def skip(self, step: str) -> None:
        """Give up on undoing a step that is stuck: see `Operator.skip`.

        Raises:
            WorkflowStateError: No such step waits for a decision, or several do.
        """
        await self._host.settle(self.id, self._host.operator.skip, step)

    async def force(self, step: str) -> None:
        """Say that a step that is stuck was undone by hand: see `Operator.force`.

        Raises:
            WorkflowStateError: No such step waits for a decision, or several do.
        """
        await self._host.settle(self.id, self._host.operator.force, step)

    async def fork(self, new_id: str | None = None, *, step: str | None = None) -> WorkflowHandle:
        """Begin a new instance with what this one had recorded before a step.

        Args:
            new_id: None: made up.
            step: A path of the history; None: from the start.

        Raises:
            WorkflowStateError: `new_id` is taken, or the step is not recorded.
        """
        return await self._host.fork(self.id, new_id, step=step)

    async def query(self, name: str, *args: Any) -> Any:
        """Return what the instance's own handler of that name answers; nothing is recorded.

        Raises:
            WorkflowStateError: This host does not run the instance now, or it has no such handler.
        """
        resident = self._host.resident(self.id)
        journal = None if resident is None else resident.journal
        if journal is None:
            raise WorkflowStateError(f"instance {self.id!r} is not at work here: nothing answers")
        handler = journal.queries.get(name)
        if handler is None:
            known = ", ".join(sorted(journal.queries)) or "none"
            raise WorkflowStateError(f"instance {self.id!r} answers no {name!r}; it has: {known}")
        return await invoke(handler, *args)


async def wait_gone(host: WorkflowHost, id: str, grace: float) -> None:
    """Wait until the host has an instance no more; report it when that takes too long."""
    resident = host.resident(id)
    if resident is None:
        return
    with trio.move_on_after(grace + REPORTED_AFTER if grace < inf else inf):
        await resident.gone.wait()
        return
    host.report(resident, grace)
    await resident.gone.wait()
