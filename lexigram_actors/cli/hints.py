"""Which command may help an instance on, as lines to copy."""

from collections.abc import Collection, Sequence
from typing import Any

from attrs import frozen

from lexigram_actors.cli.stores import command_line
from lexigram_actors.errors import SagaError
from lexigram_actors.host.compensation import (
    COMPENSATING,
    DONE,
    FORCED,
    PROBED,
    RESUMED,
    SKIPPED,
    UNDONE,
)
from lexigram_actors.host.history import HistoryEntry
from lexigram_actors.result import Err, Result
from lexigram_actors.storage.instances import RETRIABLE, Instance, InstanceStatus

SAGA = "saga"
NEW = "NEW"
"""Stands for an id that a person chooses."""

UNWOUND = frozenset({UNDONE, SKIPPED, FORCED})


@frozen
class NextStep:
    """A command, what it is for, and the id of the instance that a host is to run then."""

    purpose: str
    command: str
    id: str

    @property
    def line(self) -> str:
        """The line that a person is shown."""
        return f"{self.purpose}: {self.command}"


def hints_for(
    instance: Instance,
    questions: Sequence[str],
    store: str,
    *,
    outcome: Result[Any, Exception] | None = None,
    history: Sequence[HistoryEntry] = (),
    stuck: Sequence[str] = (),
) -> list[str]:
    """Return the commands with which an instance may be helped on."""
    if instance.status in RETRIABLE:
        again = [each.line for each in after_failure(instance, outcome, history, store)]
        return again + [line for step in stuck for line in decisions(instance.id, step, store)]
    if instance.status is InstanceStatus.PAUSED:
        return [f"to go on: {command_line('resume', instance.id, store=store)}"]
    if len(questions) == 1:
        return [f"to answer: {command_line('answer', instance.id, 'VALUE', store=store)}"]
    return [
        "to answer: "
        + command_line("answer", instance.id, "VALUE", "--question", question, store=store)
        for question in questions
    ]


def decisions(id: str, step: str, store: str) -> list[str]:
    """Return the commands with which a person settles a step that is stuck."""
    return [
        f"to leave it done: {command_line('skip', id, step, store=store)}",
        f"once it is undone by hand: {command_line('force', id, step, store=store)}",
    ]


def after_failure(
    instance: Instance,
    outcome: Result[Any, Exception] | None,
    history: Sequence[HistoryEntry],
    store: str,
) -> list[NextStep]:
    """Return what helps on what failed: a retry, but for a saga that has gone back.

    That one does not go forward again. One that is past its pivot does; where the history does not
    tell which it is, both are named.
    """
    id = instance.id
    retry = command_line("retry", id, store=store)
    kinds = {entry.kind for entry in history if not entry.is_void}
    if not _is_at_its_end(instance, outcome, kinds):
        return [NextStep("to try again", retry, id)]
    fork = command_line("fork", id, "--new-id", NEW, store=store)
    anew = NextStep("to begin anew", fork, NEW)
    # Past its pivot nothing is undone. What a probe was asked about may have been the pivot.
    if PROBED not in kinds and (kinds & UNWOUND or DONE not in kinds):
        return [anew]
    return [NextStep("to go on, if it is past its pivot", retry, id), anew]


def _is_at_its_end(
    instance: Instance, outcome: Result[Any, Exception] | None, kinds: Collection[str]
) -> bool:
    """Say whether a saga has gone back as far as it does, and was not stopped on the way."""
    return (
        instance.definition.kind == SAGA
        and instance.status is InstanceStatus.FAILED
        and COMPENSATING in kinds
        and RESUMED not in kinds  # only one that is past its pivot was
        and isinstance(outcome, Err)
        and isinstance(outcome.error, SagaError)
    )
