"""What a durable function waits for from outside: signals, people, other instances.

Each is begun by a context, which has looked for a record of its end before; what is returned is
that record.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from lexigram_actors.errors import AnswerInvalidError, WorkflowTimeoutError
from lexigram_actors.host.asking import ANSWERED, ASKED, REFUSED, shown_schema
from lexigram_actors.host.journal import Journal
from lexigram_actors.host.steps import STEP, failure_record, record_failure
from lexigram_actors.host.surroundings import Question, Surroundings
from lexigram_actors.result import Err, Result
from lexigram_actors.schemas import structured
from lexigram_actors.storage.instances import Entry
from lexigram_actors.workflow.replay import SIGNAL, UNTIL
from lexigram_actors.workflow.running import Issued


async def receive_signal(
    journal: Journal, issued: Issued, name: str, timeout: float | None
) -> Entry:
    """Wait for a signal, and record it, or that it did not come in time."""
    until = None if timeout is None else await _until(journal, issued, timeout)
    with journal.waiting(f"signal {name!r}"):
        mail = await journal.receive("signal", name, until=until)
    if mail is not None:
        return await journal.append(issued.path, SIGNAL, {"value": mail.payload}, mail=mail.seq)
    error = no_signal(name, issued.path)
    return await journal.append(issued.path, SIGNAL, {"error": failure_record(error)})


async def _until(journal: Journal, issued: Issued, timeout: float) -> float:
    """Return until when a wait may take, recorded the first time."""
    entry = issued.last_time(UNTIL)
    if entry is None:
        entry = await journal.append(issued.path, UNTIL, journal.clock() + timeout)
    until: float = entry.value
    return until


async def ask(
    journal: Journal, issued: Issued, prompt: str, schema: Any, expires_after: float | None
) -> Question:
    """Return the question, recorded the first time."""
    entry = issued.last(ASKED)
    if entry is None:
        expires_at = None if expires_after is None else journal.clock() + expires_after
        value = {"prompt": prompt, "schema": shown_schema(schema), "expires_at": expires_at}
        entry = await journal.append(issued.path, ASKED, value)
    asked = entry.value
    return Question(issued.path, asked["prompt"], asked["schema"], asked["expires_at"])


async def receive_answer(
    journal: Journal, question: Question, name: str, schema: Any, default: Any
) -> Entry:
    """Wait for an answer that fits, and record it, or that the time for one is over."""
    journal.ask(question, partial(structured, name, schema))
    try:
        while True:
            with journal.waiting(f"an answer to {question.id}"):
                mail = await journal.receive("answer", question.id, until=question.expires_at)
            if mail is None:
                return await _expire(journal, question, name, default)
            try:
                structured(name, schema, mail.payload)
            except AnswerInvalidError as error:
                problem = {"problem": failure_record(error)["message"]}
                await journal.append(question.id, REFUSED, problem, mail=mail.seq)
                continue
            value = {"value": mail.payload}
            return await journal.append(question.id, ANSWERED, value, mail=mail.seq)
    finally:
        journal.close_question(question.id)


async def _expire(journal: Journal, question: Question, name: str, default: Any) -> Entry:
    value: dict[str, Any] = {"expired": True}
    if default is not None:
        value["value"] = default
    else:
        value["error"] = failure_record(no_answer(name, question.id))
    return await journal.append(question.id, ANSWERED, value)


async def wait_child(
    journal: Journal, host: Surroundings, id: str, path: str
) -> tuple[Entry, object]:
    """Wait for the end of another instance; return the record, and what it failed with."""
    with journal.waiting(f"instance {id!r}"):
        result: Result[Any, Exception] = await journal.of_host(host.handle(id).result())
    if isinstance(result, Err):
        return await record_failure(journal, path, result.error), result.error
    return await journal.append(path, STEP, {"value": result.unwrap()}), None


def no_signal(name: str, path: str) -> WorkflowTimeoutError:
    """Return the error of a wait for a signal whose time was over."""
    return late(f"signal {name!r} did not come in time", name, path)


def no_answer(name: str, path: str) -> WorkflowTimeoutError:
    """Return the error of a question that expired."""
    return late(f"question {name!r} was not answered in time", name, path)


def late(message: str, name: str, path: str) -> WorkflowTimeoutError:
    """Return the error of a wait whose time was over."""
    return WorkflowTimeoutError(message, step_name=name, details={"path": path})
