"""The commands that look at instances and act on them, from another process than their host's."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import trio

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.errors import EXIT_OK, EXIT_RUN_FAILED, OptionError
from lexigram_actors.cli.hints import hints_for
from lexigram_actors.cli.showing import (
    definition_text,
    entry_facts,
    instance_facts,
    one_line,
    outcome_facts,
    outcome_line,
    print_facts,
    print_history,
    print_instances,
    print_questions,
    print_stuck,
    question_facts,
    say,
    stuck_facts,
    time_text,
    tree_instances,
    tree_lines,
    value_text,
)
from lexigram_actors.cli.stores import opened, parse_value
from lexigram_actors.errors import WorkflowStateError
from lexigram_actors.host.compensation import stuck_in
from lexigram_actors.host.journal import standing
from lexigram_actors.host.operator import InstanceTree, Operator
from lexigram_actors.machine.stored import KIND as STORED_MACHINE
from lexigram_actors.storage.instances import Instance, InstanceStatus, Mail
from lexigram_actors.storage.ports import Store

POLL = 0.2
"""Seconds between two looks at an instance whose end is waited for."""

MOST = 10_000
"""Instances, or entries, that a command shows at a time."""


# --- looking ----------------------------------------------------------------------------------


async def run_ls(
    store: str,
    status: Sequence[InstanceStatus] | None,
    name: str | None,
    limit: int,
    terminal: Terminal,
) -> int:
    """List instances, the newest first, and count all."""
    _check_limit(limit)
    async with opened(store) as open_one:
        operator = Operator(open_one)
        found = await operator.select(status=status or None, name=name, limit=limit + 1)
        counts = await operator.count()
    shown = found[:limit]
    has_more = len(found) > limit
    terminal.show(lambda out: print_instances(out, shown))
    terminal.show(partial(say, line=counts_text(counts)))
    if has_more:
        terminal.show(partial(say, line=f"there are more: --limit {min(limit * 10, MOST)}"))
    terminal.emit(
        {
            "exit_code": EXIT_OK,
            "instances": [instance_facts(each) for each in shown],
            "more": has_more,
            "counts": {each.value: number for each, number in counts.items()},
        }
    )
    return EXIT_OK


def counts_text(counts: dict[InstanceStatus, int]) -> str:
    """Return how many instances there are of each status."""
    parts = [f"{counts[each]:,} {each.value}" for each in InstanceStatus if counts.get(each)]
    return f"in all: {', '.join(parts)}" if parts else "there are no instances"


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST:
        raise OptionError(f"--limit is {limit}; it is a number from 1 to {MOST:,}.")


async def run_show(store: str, id: str, limit: int, terminal: Terminal) -> int:
    """Show one instance: what it is, what it asks, and what it recorded."""
    _check_limit(limit)
    async with opened(store) as open_one:
        operator = Operator(open_one)
        instance = await operator.find(id)
        given = await operator.input(id)
        outcome = await operator.outcome(id)
        questions = await operator.questions(id)
        history = await operator.history(id)
        is_stuck = instance.status is InstanceStatus.COMPENSATION_STUCK
        stuck = await stuck_steps(open_one, id) if is_stuck else {}
    left_out = max(0, len(history) - limit)
    facts = _facts_for_people(instance, given)
    if outcome is not None:
        facts.append(("outcome" if outcome.is_ok() else "error", outcome_line(outcome)))
    terminal.show(lambda out: print_facts(out, one_line(id), facts))
    kind = instance.definition.kind
    terminal.show(lambda out: print_questions(out, questions, kind))
    if history:
        terminal.show(lambda out: print_history(out, history[left_out:], left_out))
    terminal.show(lambda out: print_stuck(out, stuck))
    hints = hints_for(
        instance,
        [each.id for each in questions],
        store,
        outcome=outcome,
        history=history,
        stuck=list(stuck),
    )
    for hint in hints:
        terminal.show(partial(say, line=hint))
    terminal.emit(
        {
            "exit_code": EXIT_OK,
            "instance": instance_facts(instance),
            "input": given,
            "outcome": outcome_facts(outcome),
            "questions": [question_facts(each) for each in questions],
            "stuck": [stuck_facts(step, why) for step, why in stuck.items()],
            "journal": [entry_facts(each) for each in history[left_out:]],
            "journal_left_out": left_out,
            "next": hints,
        }
    )
    return EXIT_OK


def _facts_for_people(instance: Instance, given: Any) -> list[tuple[str, str]]:
    facts = [("definition", definition_text(instance)), ("status", instance.status.value)]
    if instance.note:
        facts.append(("note", one_line(instance.note)))
    if instance.owner is not None:
        facts.append(("host", f"{one_line(instance.owner)} (epoch {instance.epoch})"))
    if instance.parent is not None:
        facts.append(("begun by", one_line(instance.parent)))
    facts.append(("created", time_text(instance.created_at)))
    if instance.start_at is not None:
        facts.append(("starts", time_text(instance.start_at)))
    if instance.ended_at is not None:
        facts.append(("ended", time_text(instance.ended_at)))
    if instance.run:
        facts.append(("started over", f"{instance.run:,} times"))
    return [*facts, ("input", value_text(given))]


async def stuck_steps(store: Store, id: str) -> dict[str, Any]:
    """Return the steps that could not be undone, by path, with what is recorded of why."""
    return stuck_in(standing(await store.instances.journal(id)))


async def run_tree(store: str, id: str | None, limit: int, terminal: Terminal) -> int:
    """Show an instance and those that it began; without an id, the newest ones."""
    _check_limit(limit)
    async with opened(store) as open_one:
        operator = Operator(open_one)
        if id is not None:
            trees = [await operator.tree(id)]
        else:
            trees = grown(await operator.select(limit=limit))
    for tree in trees:
        for line in tree_lines(tree):
            terminal.show(partial(say, line=line))
    if not trees:
        terminal.show(partial(say, line="there are no instances"))
    instances = [each for tree in trees for each in tree_instances(tree)]
    terminal.emit({"exit_code": EXIT_OK, "instances": [instance_facts(each) for each in instances]})
    return EXIT_OK


def grown(instances: Sequence[Instance]) -> list[InstanceTree]:
    """Return instances, the newest first, as trees: each below the one that began it, if there.

    Those that are each other's beginning, which only a damaged store has, are left out.
    """
    by_id = {each.id: each for each in instances}
    children: dict[str | None, list[Instance]] = {}
    for each in reversed(instances):
        parent = each.parent if each.parent in by_id else None
        children.setdefault(parent, []).append(each)
    order = list(children.get(None, ()))
    for each in order:
        order += children.get(each.id, ())
    trees: dict[str, InstanceTree] = {}
    for each in reversed(order):
        trees[each.id] = InstanceTree(
            each, tuple(trees[child.id] for child in children.get(each.id, ()))
        )
    return [trees[each.id] for each in reversed(children.get(None, ()))]


# --- acting -----------------------------------------------------------------------------------


async def check_is_hosted(operator: Operator, id: str) -> None:
    """Refuse what only a host could do of an instance that none runs.

    Raises:
        WorkflowStateError: It is a machine that its program keeps in the store.
    """
    instance = await operator.find(id)
    if instance.definition.kind == STORED_MACHINE and not instance.status.has_ended:
        raise WorkflowStateError(
            f"{id!r} is a stored machine: no host runs it, so it takes no signals or "
            "cancellations, and is not deleted",
            hint="call transition() of it, in the program that has it",
        )


async def run_signal(
    store: str, id: str, name: str, payload: str | None, key: str | None, terminal: Terminal
) -> int:
    """Post a signal."""
    value = parse_value("PAYLOAD", payload)
    async with opened(store) as open_one:
        operator = Operator(open_one)
        await check_is_hosted(operator, id)
        mail = await operator.signal(id, name, value, key=key)
    return _tell_posted(terminal, mail, f"signal {one_line(name)!r}")


async def run_answer(
    store: str, id: str, value: str, question: str | None, terminal: Terminal
) -> int:
    """Post the answer to a question."""
    parsed = parse_value("VALUE", value)
    async with opened(store) as open_one:
        mail = await Operator(open_one).answer(id, parsed, question=question)
    return _tell_posted(terminal, mail, f"the answer to {one_line(mail.name)!r}")


async def run_pause(store: str, id: str, terminal: Terminal) -> int:
    """Ask an instance to begin nothing new."""
    async with opened(store) as open_one:
        operator = Operator(open_one)
        await check_is_hosted(operator, id)
        mail = await operator.pause(id)
    return _tell_posted(terminal, mail, "the wish to pause")


async def run_resume(store: str, id: str, terminal: Terminal) -> int:
    """Let an instance go on."""
    async with opened(store) as open_one:
        mail = await Operator(open_one).resume(id)
    return _tell_posted(terminal, mail, "the wish to go on")


def _tell_posted(terminal: Terminal, mail: Mail, what: str) -> int:
    line = f"{what} is posted to {one_line(mail.instance)}; its host takes it"
    terminal.show(partial(say, line=line))
    terminal.emit({"exit_code": EXIT_OK, "mail": mail_facts(mail)})
    return EXIT_OK


def mail_facts(mail: Mail) -> dict[str, Any]:
    """Return what was posted as plain values, without what it carries."""
    return {
        "seq": mail.seq,
        "instance": mail.instance,
        "kind": mail.kind,
        "name": mail.name,
        "at": mail.at,
        "key": mail.key,
    }


async def run_cancel(
    store: str, id: str, reason: str, grace: float, wait: float | None, terminal: Terminal
) -> int:
    """Ask an instance to end; with `wait`, wait for that so many seconds."""
    if wait is not None and not 0 <= wait < float("inf"):
        raise OptionError(f"--wait is {wait:g}; it is seconds, 0 or more.")
    async with opened(store) as open_one:
        operator = Operator(open_one)
        await check_is_hosted(operator, id)
        mail = await operator.cancel(id, reason, grace)
        if wait is None:
            return _tell_posted(terminal, mail, "the cancellation")
        instance = await _wait_end(operator, id, wait)
    return _tell_waited(terminal, instance, wait)


async def _wait_end(operator: Operator, id: str, seconds: float) -> Instance:
    deadline = trio.current_time() + seconds
    while True:
        instance = await operator.find(id)
        left = deadline - trio.current_time()
        if instance.status.has_ended or left <= 0:
            return instance
        await trio.sleep(min(POLL, left))


def _tell_waited(terminal: Terminal, instance: Instance, seconds: float) -> int:
    code = EXIT_OK if instance.status.has_ended else EXIT_RUN_FAILED
    line = f"{one_line(instance.id)} is {instance.status.value}"
    if code:
        line += f" after {seconds:g} s; the cancellation is posted, and takes effect when a host"
        line += " runs the instance"
    terminal.show(partial(say, line=line))
    terminal.emit({"exit_code": code, "instance": instance_facts(instance)})
    return code


async def run_retry(store: str, id: str, terminal: Terminal) -> int:
    """Let a failed instance go on."""
    async with opened(store) as open_one:
        instance = await Operator(open_one).retry(id)
    return _tell_pending(terminal, instance)


async def run_skip(store: str, id: str, step: str, terminal: Terminal) -> int:
    """Give up on undoing a step that is stuck."""
    async with opened(store) as open_one:
        instance = await Operator(open_one).skip(id, step)
        left = await stuck_steps(open_one, id)
    return _tell_settled(terminal, instance, list(left))


async def run_force(store: str, id: str, step: str, terminal: Terminal) -> int:
    """Say that a step that is stuck was undone by hand."""
    async with opened(store) as open_one:
        instance = await Operator(open_one).force(id, step)
        left = await stuck_steps(open_one, id)
    return _tell_settled(terminal, instance, list(left))


def _tell_settled(terminal: Terminal, instance: Instance, left: list[str]) -> int:
    line = pending_text(instance)
    if left:
        line += f", and then waits for a decision on: {', '.join(map(one_line, left))}"
    terminal.show(partial(say, line=line))
    facts = {"instance": instance_facts(instance), "stuck": left}
    terminal.emit({"exit_code": EXIT_OK, **facts})
    return EXIT_OK


async def run_fork(
    store: str, id: str, new_id: str | None, step: str | None, terminal: Terminal
) -> int:
    """Begin a new instance with a part of what another recorded."""
    async with opened(store) as open_one:
        instance = await Operator(open_one).fork(id, new_id, step=step)
    return _tell_pending(terminal, instance)


def _tell_pending(terminal: Terminal, instance: Instance) -> int:
    terminal.show(partial(say, line=pending_text(instance)))
    terminal.emit({"exit_code": EXIT_OK, "instance": instance_facts(instance)})
    return EXIT_OK


def pending_text(instance: Instance) -> str:
    """Say when an instance goes on."""
    return (
        f"{one_line(instance.id)} is {instance.status.value}; the next host that runs "
        f"{definition_text(instance)} takes it up"
    )


async def run_delete(store: str, id: str, terminal: Terminal) -> int:
    """Remove an instance that has ended."""
    async with opened(store) as open_one:
        operator = Operator(open_one)
        await check_is_hosted(operator, id)
        await operator.delete(id)
    terminal.show(partial(say, line=f"{one_line(id)} is deleted"))
    terminal.emit({"exit_code": EXIT_OK, "deleted": id})
    return EXIT_OK
