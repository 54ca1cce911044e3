"""Running what may have to ask a person, as a part of an instance.

Outside a host, a run that needs a person raises `HumanInputRequiredError`, and whoever called it
comes back with the answer. Inside, the instance itself waits: the questions stand in its journal,
the answer comes as mail, and the run goes on.

| entry | path | value |
| --- | --- | --- |
| `paused` | the place of the run | what it goes on from |
| `asked` | the place, and the node: the id of the question | what is asked |
| `refused` | the same | why an answer did not fit; the question stays open |
| `answered` | the same | the answer, or that it is not wanted any more |
| `answered` | the place of the run | that the time of some question is over |

After a crash the run goes on from the last pause, with the answer if it was recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Final, final

from attrs import frozen

from lexigram_actors.errors import AnswerInvalidError, HumanInputRequiredError
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.seam import Resumable, RunContext, Runnable
from lexigram_actors.host.surroundings import Question
from lexigram_actors.result import Result
from lexigram_actors.storage.instances import Entry

PAUSED: Final = "paused"
ASKED: Final = "asked"
REFUSED: Final = "refused"
ANSWERED: Final = "answered"

Outcome = Result[Any, Exception]


@final
@frozen
class Pause:
    """A run that cannot go on: from what it will, and what is asked, by node."""

    state: Mapping[str, Any]
    questions: Mapping[str, Question]


@final
@frozen
class Answer:
    """What a run goes on with. Without a node nothing is answered, but time is over."""

    node: str | None = None
    value: Any = None


async def run_asking(runnable: Runnable, context: RunContext) -> Outcome:
    """Run as `runnable.run(context)` does; in a host, ask and wait where a person is needed.

    Cancelled, or after a crash, the questions stay open.
    """
    journal = context.journal
    if journal is None:
        return await runnable.run(context)
    if not isinstance(runnable, Resumable):
        return await at_work(journal, runnable, runnable.run(context))
    pause, answer = recorded_in(journal.entries, context.place)
    while True:
        if pause is not None and answer is None:
            answer = await wait_answer(journal, context.place, runnable, pause)
        try:
            if pause is None:
                return await at_work(journal, runnable, runnable.run(context))
            assert answer is not None
            going_on = runnable.go_on(context, pause.state, answer.value, node=answer.node)
            result = await at_work(journal, runnable, going_on)
        except HumanInputRequiredError as error:
            asked = error
        else:
            withdraw(journal, pause.questions.values())
            return result
        pause, answer = await record_pause(journal, context.place, pause, asked), None


async def at_work(journal: Journal, runnable: Runnable, run: Awaitable[Outcome]) -> Outcome:
    """Run, and say so; what says itself when it is at work and when it waits is left to do it."""
    if getattr(runnable, "tells_its_work", False):
        return await run
    with journal.at_work():
        return await run


def new_question(journal: Journal, place: str, pending: Any) -> Question:
    """Return a question as it is asked now.

    Its id is one that none before had: an answer that comes too late must not be taken for one to
    the next question of the same node.
    """
    path = f"{place}/{pending.node}" if place else str(pending.node)
    asked = {entry.path for entry in journal.entries if entry.kind == ASKED}
    id, times = path, 1
    while id in asked:
        times += 1
        id = f"{path}#{times}"
    left: float = pending.seconds_left
    expires_at = None if left == inf else journal.clock() + left
    return Question(id, pending.prompt, shown_schema(pending.schema), expires_at)


def recorded_in(entries: Sequence[Entry], place: str) -> tuple[Pause | None, Answer | None]:
    """Return the last pause of the run at a place, and the answer that came after it."""
    paused = max(
        (e for e in entries if e.kind == PAUSED and e.path == place),
        key=lambda entry: entry.position,
        default=None,
    )
    if paused is None:
        return None, None
    questions = {node: Question(*facts) for node, facts in paused.value["questions"].items()}
    by_id = {question.id: node for node, question in questions.items()}
    answer = None
    for entry in entries:
        if entry.kind == ANSWERED and entry.position > paused.position:
            if entry.path == place:
                answer = Answer()
            elif entry.path in by_id and "value" in entry.value:
                answer = Answer(by_id[entry.path], entry.value["value"])
    return Pause(paused.value["state"], questions), answer


async def record_pause(
    journal: Journal, place: str, earlier: Pause | None, error: HumanInputRequiredError
) -> Pause:
    """Record what is asked, and from what the run goes on."""
    known = {} if earlier is None else earlier.questions
    questions: dict[str, Question] = {}
    for pending in error.pending:
        before = known.get(pending.node)
        if before is not None and is_unanswered(journal, before.id):
            questions[pending.node] = before  # what was told holds
            continue
        question = new_question(journal, place, pending)
        questions[pending.node] = question
        value = {"prompt": question.prompt, "schema": question.schema}
        journal.later(question.id, ASKED, {**value, "expires_at": question.expires_at})
    facts = {node: [q.id, q.prompt, q.schema, q.expires_at] for node, q in questions.items()}
    withdraw(journal, [known[node] for node in known.keys() - questions.keys()])
    await journal.append(place, PAUSED, {"state": error.state, "questions": facts})
    return Pause(error.state, questions)


async def wait_answer(journal: Journal, place: str, runnable: Resumable, pause: Pause) -> Answer:
    """Wait until one of the questions is answered, or the time of one is over; record which."""
    by_path = {question.id: node for node, question in pause.questions.items()}
    for node, question in pause.questions.items():
        if question.id not in journal.questions:
            journal.ask(question, partial(runnable.check_answer, pause.state, node))
        else:
            journal.questions[question.id].check = partial(runnable.check_answer, pause.state, node)
    until = min((q.expires_at for q in pause.questions.values() if q.expires_at), default=None)
    while True:
        if not journal.is_open:
            await journal.ready()
        with journal.waiting(f"an answer to {', '.join(by_path)}"):
            mail = await journal.receive("answer", *by_path, until=until)
        if mail is None:
            now = journal.clock()
            withdraw(journal, [q for q in pause.questions.values() if has_expired(q, now)])
            await journal.append(place, ANSWERED, {"expired": True})
            return Answer()
        node = by_path[mail.name]
        try:
            runnable.check_answer(pause.state, node, mail.payload)
        except AnswerInvalidError as error:
            await journal.append(mail.name, REFUSED, {"problem": str(error)}, mail=mail.seq)
            continue
        await journal.append(mail.name, ANSWERED, {"value": mail.payload}, mail=mail.seq)
        journal.close_question(mail.name)
        return Answer(node, mail.payload)


def has_expired(question: Question, now: float) -> bool:
    """Say whether the time for an answer is over."""
    return question.expires_at is not None and question.expires_at <= now


def withdraw(journal: Journal, questions: Iterable[Question]) -> None:
    """Let questions be answered no more, where they still could."""
    for question in questions:
        journal.close_question(question.id)
        if is_unanswered(journal, question.id):
            journal.later(question.id, ANSWERED, {"withdrawn": True})


def is_unanswered(journal: Journal, id: str) -> bool:
    """Say whether a question that was asked is open, also where another life asked it."""
    return not any(entry.kind == ANSWERED and entry.path == id for entry in journal.entries)


def shown_schema(schema: object) -> str | None:
    """Return a schema as a person is shown it."""
    if schema is None:
        return None
    return schema.__name__ if isinstance(schema, type) else str(schema)
