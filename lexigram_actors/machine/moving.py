"""Asking the guard and calling the hooks of one transition, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import trio

from lexigram_actors.errors import StateError, WorkflowStateError, describe
from lexigram_actors.invoking import invoke
from lexigram_actors.machine.models import State, Transition
from lexigram_actors.result import Err, Ok


async def is_allowed(transition: Transition) -> bool:
    """Ask the guard; an `Err` says no."""
    if transition.guard is None:
        return True
    answer = await invoke(transition.guard)
    if isinstance(answer, Err):
        return False
    return bool(answer.value if isinstance(answer, Ok) else answer)


async def leave(source: State, event: str) -> None:
    """Call what is to be called before the machine is elsewhere."""
    if source.on_exit is not None:
        await called(event, source.name, source.on_exit)


async def arrive(target: State, transition: Transition, source: str) -> None:
    """Call what is to be called when it is."""
    if target.on_enter is not None:
        await called(transition.event, source, target.on_enter)
    if transition.on_transition is not None:
        await called(
            transition.event, source, transition.on_transition, transition.event, target.name
        )


async def called(event: str, source: str, hook: Callable[..., Any], *args: Any) -> None:
    """Call a hook; raise what it raises, and what it returns in an `Err`."""
    answer = await invoke(hook, *args)
    if not isinstance(answer, Err):
        return
    if isinstance(answer.error, Exception):
        raise answer.error
    raise StateError(event, source, message=f"a hook of {event!r} failed: {describe(answer.error)}")


@final
class Move:
    """A transition under way, and who makes it."""

    __slots__ = ("_outer", "_task")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._outer = list(self._task.child_nurseries)

    def waits_for_caller(self) -> bool:
        """Say whether the move cannot end before the calling task goes on.

        So it is in the task that makes it, and in those that a hook waits for: the ones in
        nurseries that were opened since it began. Others that a hook has started may wait for it.
        """
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        nursery: trio.Nursery | None = None
        while task is not None:
            if task is self._task:
                return nursery is None or nursery not in self._outer
            nursery = task.parent_nursery
            task = None if nursery is None else nursery.parent_task
        return False

    def refuse_caller(self, what: str) -> None:
        """Refuse what would wait for this move, and this move for it.

        Raises:
            WorkflowStateError: The caller is a guard or a hook of it.
        """
        if self.waits_for_caller():
            raise WorkflowStateError(
                f"{what} was called by a guard or a hook of the machine itself, which would wait "
                "for its own end",
                hint="let the hook note what comes next, and whoever called transition() do it",
            )
