"""A run as an actor: seen in the tree, stopped with its parent, started again by a supervisor.

A run works in the task of whoever awaits it, which is enough where somebody waits for its result.
An actor is for a run that has a place in a tree of actors:

| | |
| --- | --- |
| `await run_supervised(system, engine, "text")` | starts a child, and returns the run's result |
| `ChildSpec("review", run_actor, args=(engine, "text"))` | lets a supervisor have it |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import trio

from lexigram_actors.errors import ActorFailed, ActorStopped, HumanInputRequiredError
from lexigram_actors.host.seam import RunContext, Runnable, check_runnable
from lexigram_actors.kernel import ActorContext, ActorSystem
from lexigram_actors.result import Result

Outcome = Result[Any, Exception]

STOPPING_GRACE = 30.0
"""Seconds for which waiting for the end of a run is shielded when its caller is cancelled."""


async def run_actor(
    context: ActorContext[Any],
    runnable: Runnable,
    input: Any = None,
    *,
    run_id: str | None = None,
    state: Mapping[str, Any] | None = None,
    on_end: Callable[[Outcome], None] | None = None,
    on_pause: Callable[[HumanInputRequiredError], None] | None = None,
) -> None:
    """Run as an actor: a behaviour for `spawn` and `ChildSpec`. It takes no messages.

    It ends normally when the run has ended, with `Ok` or with `Err`, of which `on_end` is told, and
    when a person has to be asked, of which `on_pause` is. It fails when the run raises something
    else, a bug; then its supervisor starts it again, if the child is transient or permanent. A run
    that records its progress, and has a `run_id`, goes on from there. Stopped, it is cancelled when
    its time is up, and no task of the run is left.

    Args:
        runnable: A pipeline, a graph, a runner's `as_runnable()`, or another `Runnable`.
        input: As for `RunContext`, like `run_id` and `state`.
        on_end: Called with the result, in the actor's task.
        on_pause: Called with the question, whose `state` says how to go on. Without it a question
            is lost, but for what the run has recorded.

    Raises:
        TypeError: It is no `Runnable`.
    """
    check_runnable(runnable)
    try:
        result = await runnable.run(RunContext(input=input, run_id=run_id, state=state or {}))
    except HumanInputRequiredError as pause:
        if on_pause is not None:
            on_pause(pause)
        return
    if on_end is not None:
        on_end(result)


async def run_supervised(
    parent: ActorSystem | ActorContext[Any],
    runnable: Runnable,
    input: Any = None,
    *,
    run_id: str | None = None,
    state: Mapping[str, Any] | None = None,
    name: str | None = None,
    shutdown: float = 5.0,
) -> Outcome:
    """Run as a child of a system or an actor, and return the result.

    Cancelled, the child is stopped, and waited for.

    Args:
        parent: The system, or the context of the actor that calls this.
        runnable: A pipeline, a graph, a runner's `as_runnable()`, or another `Runnable`.
        input: As for `RunContext`, like `run_id` and `state`.
        name: Of the child; made up when None.
        shutdown: Seconds it has to end when its parent stops.

    Raises:
        HumanInputRequiredError: Nothing can move until a person answers.
        ActorFailed: The run raised; the cause is what it raised.
        ActorStopped: It was stopped before its end, or the parent is closing.
        ActorNameTaken: Another actor has the name.
        TypeError: It is no `Runnable`.
    """
    check_runnable(runnable)
    results: list[Outcome] = []
    pauses: list[HumanInputRequiredError] = []
    child = await parent.spawn(
        run_actor,
        runnable,
        input,
        run_id=run_id,
        state=state,
        on_end=results.append,
        on_pause=pauses.append,
        name=name,
        shutdown=shutdown,
    )
    try:
        exit_ = await child.monitor()
    except trio.Cancelled:
        with trio.move_on_after(STOPPING_GRACE, shield=True):
            await child.stop(grace=0)
        raise
    if results:
        return results[0]
    if pauses:
        raise pauses[0]
    if exit_.error is not None:
        raise ActorFailed(exit_.name, exit_.error) from exit_.error
    raise ActorStopped(exit_.name, exit_.reason)
