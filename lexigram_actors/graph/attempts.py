"""Runs of a graph that are tried again, and go on from what is recorded of them.

A runner records in what it was given, under the run's id. In a host everything is recorded in the
journal of the instance, under the place of the run in it. There nothing is cleared, and a run that
is begun, or gone on with, once more takes up what is recorded: after a crash it may be called again
with what it was called with before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, final
from uuid import uuid4

import trio
from attrs import frozen

from lexigram_actors.errors import (
    CycleDetectedError,
    GraphExecutionError,
    HumanInputRequiredError,
    LexigramError,
    StateConflictError,
    WorkflowStateError,
)
from lexigram_actors.graph.answering import answer, asked_by
from lexigram_actors.graph.checkpoint import Progress, Record
from lexigram_actors.graph.continuation import (
    CHECKPOINT,
    Continuation,
    Numbers,
    header_of,
    in_order,
    questions_of,
    record_of,
    refuse_foreign,
    replayed,
    snapshot_of,
    unusable,
)
from lexigram_actors.graph.driving import drive
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.journal import Entry, Journal, Snapshot, journal_of, keeper_of
from lexigram_actors.graph.models import GraphResult
from lexigram_actors.graph.visits import Visit
from lexigram_actors.graph.watching import Recorder
from lexigram_actors.host.recorded import claimed
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Result

if TYPE_CHECKING:
    from lexigram_actors.graph.engine import WorkflowEngine

Outcome = Result[GraphResult, GraphExecutionError]

HOPELESS = (CycleDetectedError, StateConflictError)
"""Failures that come again however often it is tried."""


@final
@frozen
class Retries:
    """How often a run is tried again, and how many seconds lie between."""

    most: int = 0
    delay: float = 0.0

    async def make(self, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Make an attempt, and others as long as they fail and are allowed."""
        retries = 0
        while True:
            outcome = await attempt()
            if outcome.is_ok() or isinstance(outcome.unwrap_err(), HOPELESS):
                return outcome
            if retries == self.most:
                return outcome
            retries += 1
            await trio.sleep(self.delay)


@final
class RecordedRuns:
    """The runs of an engine whose visits are recorded as they finish.

    Args:
        keeper: A `WorkflowCheckpoint`, a store, or a cache.
        hosted: In a host: what its one run was given. The keeper is then the record of its journal.

    Raises:
        TypeError: The keeper is nothing that keeps runs.
    """

    __slots__ = ("_engine", "_hosted", "_keeper", "_retries")

    def __init__(
        self,
        engine: WorkflowEngine,
        keeper: Any,
        retries: Retries,
        hosted: RunContext | None = None,
    ) -> None:
        self._engine = engine
        self._keeper = keeper
        self._retries = retries
        self._hosted = hosted
        # What keeps no runs is refused here, and not when the first run is under way.
        journal_of(keeper, engine.name, "", self._snapshot)

    async def run(
        self, input: Any, initial: Mapping[str, Any] | None, run_id: str | None
    ) -> Outcome:
        """Begin a run, or go on with one of that name."""
        fresh = self._living(self._engine.execution(input, None, initial, run_id))
        with self._journal(run_id) as journal:
            kept = await journal.load()
            if kept is None:
                await journal.begin(progress_of(fresh, self._snapshot))
            elif self._hosted is None and kept.header.get("initial") != fresh.start.state:
                # In a host it is the same run: what it sees of its surroundings may have grown.
                raise WorkflowStateError(
                    f"graph {self._engine.name!r}: run {run_id!r} was begun with another input",
                    hint="go on with the same input, or give the new run a run_id of its own",
                )
            return await self._try(journal, run_id)

    async def resume(
        self, paused: Mapping[str, Any], response: Any, *, node: str | None, key: str | None = None
    ) -> Outcome:
        """Go on from a pause with an answer; in a host, from what is recorded after that."""
        execution = self._living(self._engine.brought_back(paused).execution)
        progress = progress_of(execution, self._snapshot)
        asked = answered(execution, progress.questions, response, node, key)
        # A bad answer is refused before anything is written.
        answer(execution, response, node=node, response_key=key)
        with self._journal(execution.run_id) as journal:
            if self._hosted is None:
                progress.questions = asked
                await journal.begin(progress)
            else:
                await self._take_in(journal, progress, asked, self._digest(paused, response, node))
            return await self._try(journal, execution.run_id)

    def _digest(self, paused: Mapping[str, Any], response: Any, node: str | None) -> str:
        """Return what names a pause with its answer."""
        return sha256(self._engine.codec.dumps([paused[CHECKPOINT], response, node])).hexdigest()

    async def _take_in(
        self, journal: Journal, progress: Progress, asked: list[Record], name: str
    ) -> None:
        """Record that an instance's run goes on from a pause, unless that is recorded.

        Args:
            progress: The pause.
            asked: Its questions, with the answer.
            name: Of the pause with its answer.
        """
        kept = await journal.load()
        before = [] if kept is None else kept.continued
        if name in before:
            return
        is_there = (
            kept is not None
            and len(kept.records) == len(progress.records)
            and kept.questions == progress.questions
        )
        progress.questions = asked
        progress.continued = [*before, name]
        if is_there:
            await journal.ask(progress.questions, progress.continued)
        else:
            await journal.begin(progress)

    # --- attempts ---------------------------------------------------------------------------

    async def _try(self, journal: Journal, run_id: str | None) -> Outcome:
        """Make attempts that each go on from what is recorded."""
        is_named = run_id is not None or self._hosted is not None

        async def attempt() -> Outcome:
            kept = await journal.load()
            assert kept is not None
            run = self._replayed(kept)
            record = recorder_of(run, journal)
            try:
                return await drive(run.execution, self._engine.codec, record=record)
            except HumanInputRequiredError as error:
                pause = error
            questions = questions_of(run.execution, run.numbers)
            if not is_named:
                await journal.clear()  # nobody knows the name that was made up for it
            elif questions != kept.questions:
                await journal.ask(questions, kept.continued)
            raise pause

        outcome = await self._retries.make(attempt)
        if outcome.is_ok() or not is_named:
            await journal.clear()
        return outcome

    # --- the journal ------------------------------------------------------------------------

    @contextmanager
    def _journal(self, run_id: str | None) -> Iterator[Journal]:
        where = None if self._hosted is None else self._hosted.place
        name = run_id or where or uuid4().hex if run_id is None else run_id
        graph = self._engine.name
        place = f"{graph}\0{name if where is None else where}"
        with claimed(keeper_of(self._keeper), place, f"graph {graph!r}", name):
            yield journal_of(self._keeper, graph, name, self._snapshot, where)

    def _living(self, execution: Execution) -> Execution:
        if self._hosted is not None:
            execution.live_in(self._hosted)
        return execution

    def _snapshot(self, kept: Progress) -> Record:
        return snapshot_of(self._replayed(kept, now=0.0).execution, self._engine.codec)

    def _replayed(self, kept: Progress, now: float | None = None) -> Continuation:
        """Return the run as it is recorded, with the answers that were given."""
        graph = self._engine.graph
        refuse_foreign(graph, kept.header)
        try:
            elapsed = max((each["started"] + each["took"] for each in kept.records), default=0.0)
            run = replayed(
                graph,
                self._engine.config,
                kept.header,
                kept.records,
                kept.questions,
                elapsed,
                now,
            )
            self._living(run.execution)
            for given in run.answers if now is None else ():
                answer(
                    run.execution,
                    given["response"],
                    node=given["node"],
                    response_key=given["key"],
                    is_accepted=True,
                )
        except LexigramError:
            raise
        except Exception as error:
            raise unusable(graph, error) from error
        run.execution.used = 0.0
        return run


def progress_of(execution: Execution, snapshot: Snapshot) -> Progress:
    """Return what a journal begins with for a run, with what it has done so far."""
    progress = Progress(header_of(execution), snapshot)
    numbers = Numbers(execution.start)
    for visit in execution.finished:
        progress.records.append(record_of(visit, numbers, execution.begun_at))
        numbers.add(visit)
    progress.questions = questions_of(execution, numbers)
    return progress


def answered(
    execution: Execution, questions: list[Record], response: Any, node: str | None, key: str | None
) -> list[Record]:
    """Return the questions of a run that stands still, with the answer to one of them."""
    if response is None:
        return questions
    visit, asked = asked_by(execution, node)
    place = [each for each, _ in in_order(execution.questions)].index(visit)
    given = {"response": response, "node": asked.node, "key": key}
    return [
        {**question, "answer": given} if number == place else question
        for number, question in enumerate(questions)
    ]


def recorder_of(run: Continuation, journal: Journal) -> Recorder:
    """Return what records the visits of a run in a journal."""
    execution, numbers = run.execution, run.numbers
    under_way: dict[Visit, Entry] = {}

    def record(visit: Visit) -> Awaitable[None] | None:
        for done in [each for each, entry in under_way.items() if entry.is_written]:
            del under_way[done]
        if visit not in numbers:
            # Its place is taken at once: records of others may wait before the same write.
            under_way[visit] = Entry(record_of(visit, numbers, execution.begun_at))
            numbers.add(visit)
        entry = under_way.get(visit)
        return None if entry is None else journal.append(entry)

    return record
