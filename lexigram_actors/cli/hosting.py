"""The command `run`: a host in this process, until one instance has ended."""

import os
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import trio
from attrs import frozen

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.errors import EXIT_OK, EXIT_RUN_FAILED, TargetError
from lexigram_actors.cli.hints import after_failure
from lexigram_actors.cli.interrupts import SIGNALS, Interrupts
from lexigram_actors.cli.showing import one_line, outcome_facts, print_questions, say, whole_value
from lexigram_actors.cli.stores import command_line, parse_value
from lexigram_actors.cli.summary import PROGRAM, print_error
from lexigram_actors.cli.target import load_object, parse_target
from lexigram_actors.errors import LexigramError
from lexigram_actors.events import WorkflowRecordedEvent, WorkflowStatusEvent
from lexigram_actors.host.asking import REFUSED
from lexigram_actors.host.definitions import runnable_of
from lexigram_actors.host.handle import WorkflowHandle
from lexigram_actors.host.history import HistoryEntry
from lexigram_actors.host.opening import open_host
from lexigram_actors.host.retrying import failure_in
from lexigram_actors.host.seam import Runnable
from lexigram_actors.result import Result
from lexigram_actors.storage.instances import RETRIABLE, Entry, Instance, InstanceStatus
from lexigram_actors.storage.opening import checked_url
from lexigram_actors.storage.ports import Store

EXIT_FAILED = 1

MISFIT = "does not fit: "
"""After what a problem with an answer begins with: a question, by the name that it has inside."""

EXIT_CODES = {
    InstanceStatus.COMPLETED: EXIT_OK,
    InstanceStatus.FAILED: EXIT_FAILED,
    InstanceStatus.COMPENSATION_STUCK: EXIT_FAILED,
    InstanceStatus.CANCELLED: EXIT_RUN_FAILED,
}


@frozen
class Wanted:
    """What is to be run, and how that was said."""

    runnable: Runnable
    input: Any
    id: str
    store: str
    target: str
    input_text: str | None

    @property
    def command(self) -> str:
        """The command line that goes on with it."""
        return self.command_for(self.id)

    def command_for(self, id: str) -> str:
        """Return the command line that goes on with an instance of the same target and input."""
        given = [] if self.input_text is None else [self.input_text]
        again = [PROGRAM, "run", self.target, *given, "--id", id, "--store", self.store]
        return shlex.join(again)

    @property
    def is_kept(self) -> bool:
        """Whether it outlives this process."""
        return checked_url(self.store) is not None


@frozen
class Ended:
    """How the instance ended, and what it recorded."""

    instance: Instance
    outcome: Result[Any, Exception]
    history: Sequence[HistoryEntry]

    @property
    def status(self) -> InstanceStatus:
        """How it ended, in a word."""
        return self.instance.status


async def run_instance(
    target: str, input: str | None, store: str, id: str | None, terminal: Terminal
) -> int:
    """Run TARGET until it has ended, tell how, and return the exit code.

    The first SIGINT or SIGTERM leaves it as it is recorded, the second ends the process at once.

    Raises:
        LexigramError: it could not be begun, or not gone on with.
    """
    checked_url(store)
    runnable = load_runnable(target)
    chosen = f"{runnable.name}-{uuid4().hex[:8]}" if id is None else id
    wanted = Wanted(runnable, parse_value("INPUT", input), chosen, store, target, input)

    def announce() -> None:
        terminal.note("stopping: what is under way is cancelled; once more to leave at once")

    ended: Ended | None = None
    interrupts = Interrupts(trio.CancelScope(), on_first=announce, before_exit=terminal.flush)
    with trio.open_signal_receiver(*SIGNALS) as signals:
        async with trio.open_nursery() as helpers:
            helpers.start_soon(interrupts.listen, signals)
            with interrupts.scope:
                ended = await host_until_end(wanted, terminal)
            helpers.cancel_scope.cancel()
    if ended is None:
        return _tell_interrupted(terminal, wanted, interrupts.exit_code or EXIT_RUN_FAILED)
    return _tell_ended(terminal, wanted, ended)


def load_runnable(target: str) -> Runnable:
    """Return what TARGET names.

    Raises:
        TargetError: it cannot be imported, or is nothing that a host can run.
    """
    name = parse_target(target, os.getcwd())
    found = load_object(name)
    try:
        return runnable_of(found)
    except TypeError as problem:
        raise TargetError(
            f"{name} is a {type(found).__name__}, and nothing that a host can run.",
            hint="a function with @workflow above it, a pipeline, a graph's engine or "
            "runner.as_runnable(), operation.as_runnable(...), a saga class's as_runnable(), "
            "a StateMachineDefinition, an ApprovalChain",
            cause=problem,
        ) from problem


async def host_until_end(wanted: Wanted, terminal: Terminal) -> Ended:
    """Be the host of the store until the instance has ended."""
    async with open_host(wanted.store, register=[wanted.runnable]) as host:
        handle = await host.start(wanted.runnable, wanted.input, id=wanted.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show_questions, handle, host.store, wanted, terminal)
            outcome = await handle.result()
            nursery.cancel_scope.cancel()
        return Ended(await handle.describe(), outcome, await handle.history())


async def show_questions(
    handle: WorkflowHandle, store: Store, wanted: Wanted, terminal: Terminal
) -> None:
    """Show what the instance asks, each question once, and again when an answer did not fit."""
    shown: set[str] = set()
    async with handle.events(WorkflowRecordedEvent, WorkflowStatusEvent) as events:
        await _show_new(handle, shown, wanted, terminal)
        async for event in events:
            if isinstance(event, WorkflowRecordedEvent) and event.kind == REFUSED:
                entries = await store.instances.journal(handle.id)
                terminal.note(refusal_text(entries, event.path))
                shown.discard(event.path)
            await _show_new(handle, shown, wanted, terminal)


def refusal_text(entries: Sequence[Entry], path: str) -> str:
    """Return what is recorded against the last answer to a question, or event of a machine."""
    said = [each.value for each in entries if each.kind == REFUSED and each.path == path]
    recorded = said[-1] if said and isinstance(said[-1], Mapping) else {}
    if "event" in recorded:
        failure = failure_in(recorded)
        why = "" if failure is None else f": {failure.get('message', '')}"
        event, state = one_line(str(recorded["event"])), one_line(str(recorded.get("state")))
        return one_line(f"event {event!r} was refused in state {state!r}{why}")
    problem = str(recorded.get("problem", ""))
    why = one_line(problem.partition(MISFIT)[2] or problem)
    return f"the answer to {one_line(path)!r} does not fit" + (why and f": {why}")


async def _show_new(
    handle: WorkflowHandle, shown: set[str], wanted: Wanted, terminal: Terminal
) -> None:
    asked = await handle.questions()
    new = [each for each in asked if each.id not in shown]
    shown.update(each.id for each in new)
    print_questions(terminal.err, new, wanted.runnable.kind)
    for each in new:
        chosen = [] if len(asked) == 1 else ["--question", each.id]
        answer = command_line("answer", wanted.id, "VALUE", *chosen, store=wanted.store)
        if wanted.is_kept:
            say(terminal.err, f"  to answer, in another terminal: {answer}")


# --- the end ----------------------------------------------------------------------------------


def _tell_interrupted(terminal: Terminal, wanted: Wanted, code: int) -> int:
    line = f"{wanted.id} is interrupted"
    terminal.show(partial(say, line=line))
    next_step = f"to continue: {wanted.command}" if wanted.is_kept else None
    _tell_next(terminal, next_step)
    terminal.emit({"status": "interrupted", "exit_code": code, "id": wanted.id, "next": next_step})
    return code


def _tell_ended(terminal: Terminal, wanted: Wanted, ended: Ended) -> int:
    code = EXIT_CODES[ended.status]
    if ended.outcome.is_ok():
        terminal.show(partial(say, line=whole_value(ended.outcome.unwrap())))
    else:
        error = ended.outcome.unwrap_err()
        if isinstance(error, LexigramError):  # what is recorded comes back as nothing else
            print_error(terminal.err, error)
    next_steps = next_after(ended, wanted) if wanted.is_kept else []
    for each in next_steps:
        _tell_next(terminal, each)
    terminal.emit(
        {
            "status": ended.status.value,
            "exit_code": code,
            "id": wanted.id,
            "outcome": outcome_facts(ended.outcome),
            "next": "\n".join(next_steps) or None,
        }
    )
    return code


def next_after(ended: Ended, wanted: Wanted) -> list[str]:
    """Return the commands of which a person is to give one next; none: there is nothing to do."""
    if ended.status is InstanceStatus.COMPENSATION_STUCK:
        show = command_line("show", wanted.id, store=wanted.store)
        return [f"to see what is not undone, and how to decide: {show}"]
    if ended.status not in RETRIABLE:
        return []
    steps = after_failure(ended.instance, ended.outcome, ended.history, wanted.store)
    return [f"{each.line} && {wanted.command_for(each.id)}" for each in steps]


def _tell_next(terminal: Terminal, next_step: str | None) -> None:
    if next_step is not None:
        say(terminal.err, next_step)
