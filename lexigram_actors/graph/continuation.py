"""From a run that stands still to plain JSON, and back.

What is kept is a journal: the visits that finished, each with its update and where it led. Bringing
a run back means to follow them once more, in plain calls; what was begun and has not finished is
then ready, as it was. No node runs for it. The scheduler decides the same again, whatever order
concurrent visits were recorded in.

    {"format": 1, "graph": ..., "version": ..., "run_id": ..., "elapsed": seconds,
     "initial": {...}, "visits": [record, ...],
     "questions": [{"node": ..., "parents": ..., "prompt": ..., "asked": moment, "nested": ...}]}

A record names its parents by their place among the records, the start by -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, Final, final

from attrs import frozen

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import (
    LexigramError,
    NotStorableError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.errors.base import describe
from lexigram_actors.graph.compiled import CompiledGraph, Route
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.moments import present_moment
from lexigram_actors.graph.node import NestingNode
from lexigram_actors.graph.outcome import finished_in_order, state_of
from lexigram_actors.graph.questions import Question, limit_of
from lexigram_actors.graph.visits import Visit, in_merge_order, write
from lexigram_actors.storage import Codec

CHECKPOINT: Final = "_checkpoint"
"""The key under which a snapshot has what it takes to go on."""

FORMAT: Final = 1

Plain = dict[str, Any]
Place = tuple[str, tuple[tuple[int, int], ...]]
"""A visit by its node and its parents: nothing else has the same."""


# --- to JSON ---------------------------------------------------------------------------------


@final
class Numbers:
    """The places of visits among the records."""

    __slots__ = ("_numbers",)

    def __init__(self, start: Visit) -> None:
        self._numbers = {start: -1}

    def __contains__(self, visit: Visit) -> bool:
        return visit in self._numbers

    def add(self, visit: Visit) -> None:
        self._numbers[visit] = len(self._numbers) - 1

    def parents(self, visit: Visit) -> list[list[int]]:
        numbers = self._numbers
        pairs = zip(visit.parents, visit.slots, strict=True)
        return [[numbers[parent], slot] for parent, slot in pairs]


def record_of(visit: Visit, numbers: Numbers, begun_at: float) -> Plain:
    """Return what is kept of a visit that finished; its values are the run's own."""
    return {
        "node": visit.node.name,
        "parents": numbers.parents(visit),
        "update": visit.update,
        "routes": [
            [route.target.name, route.slot, route.overlay, route.side_by_side]
            for route in visit.routes
        ],
        "ends": visit.ends,
        "started": visit.started - begun_at,
        "took": visit.ended - visit.started,
    }


def header_of(execution: Execution) -> Plain:
    """Return what is kept of a run besides its visits."""
    graph = execution.graph
    return {
        "format": FORMAT,
        "graph": graph.name,
        "version": graph.version,
        "run_id": execution.run_id,
        "initial": execution.start.state,
        "given": sorted(execution.given),
    }


def snapshot_of(execution: Execution, codec: Codec) -> Plain:
    """Return a run that stands still as plain JSON: its state, and what it takes to go on.

    Raises:
        NotStorableError: A value in the state has no form in JSON; the path says which.
    """
    numbers = Numbers(execution.start)
    records = []
    for visit in execution.finished:
        records.append(record_of(visit, numbers, execution.begun_at))
        numbers.add(visit)
    kept = {
        **header_of(execution),
        "elapsed": execution.elapsed,
        "visits": records,
        "questions": questions_of(execution, numbers),
    }
    ordered = finished_in_order(execution)
    state = state_of(execution, ordered, conflicts_matter=False)
    return {**to_json(state, codec), CHECKPOINT: to_json(kept, codec)}


def questions_of(execution: Execution, numbers: Numbers) -> list[Plain]:
    """Return what is kept of the open questions."""
    return [
        {
            "node": visit.node.name,
            "parents": numbers.parents(visit),
            "prompt": question.prompt,
            "asked": question.asked,
            "nested": question.nested,
        }
        for visit, question in in_order(execution.questions)
    ]


def in_order(questions: Mapping[Visit, Question]) -> list[tuple[Visit, Question]]:
    """Return open questions in merge order."""
    return [(visit, questions[visit]) for visit in in_merge_order(questions)]


def to_json(value: Plain, codec: Codec) -> Plain:
    """Return the value as JSON has it, with tags for what it has no form for.

    Raises:
        NotStorableError: A part has no form at all.
    """
    try:
        plain: Plain = codec.from_json(codec.dumps(value))
    except NotStorableError as error:
        error.hint = (
            "a run that waits for a person is kept as JSON: keep this out of the state, or "
            "register its type with a Codec and give that to the WorkflowBuilder"
        )
        raise
    return plain


# --- and back --------------------------------------------------------------------------------


@frozen
class Continuation:
    """A run brought back to where it stood.

    Attributes:
        answers: What was answered to questions that are open still, as it was given.
    """

    execution: Execution
    numbers: Numbers
    answers: tuple[Plain, ...] = ()


def brought_back(
    graph: CompiledGraph, config: GraphConfig, checkpoint_state: Any, codec: Codec
) -> Continuation:
    """Return the run that a snapshot is of.

    Raises:
        WorkflowVersionMismatchError: It was begun under another version of the graph.
        WorkflowStateError: It is no snapshot of this graph.
    """
    kept = _kept(checkpoint_state, codec)
    refuse_foreign(graph, kept)
    try:
        questions = kept["questions"]
        return replayed(graph, config, kept, kept["visits"], questions, kept["elapsed"])
    except LexigramError:
        raise
    except Exception as error:
        raise unusable(graph, error) from error


def _kept(checkpoint_state: Any, codec: Codec) -> Plain:
    plain = checkpoint_state.get(CHECKPOINT) if isinstance(checkpoint_state, Mapping) else None
    if not isinstance(plain, dict):
        raise WorkflowStateError(
            "this is no state of a run that waits for a person",
            hint="pass the `state` of the HumanInputRequiredError, as it is or through JSON",
        )
    try:
        kept: Plain = codec.loads(codec.to_json(plain))
    except Exception as error:
        raise WorkflowStateError(
            f"the state of the paused run cannot be read: {describe(error)}", cause=error
        ) from error
    return kept


def refuse_foreign(graph: CompiledGraph, kept: Plain) -> None:
    """Refuse what was kept of another graph, of another version of it, or in another format."""
    if kept.get("format") != FORMAT or kept.get("graph") != graph.name:
        raise WorkflowStateError(
            f"this was kept of the graph {kept.get('graph')!r}, and not of {graph.name!r}",
            hint="resume it with the engine it was started with",
        )
    version = kept.get("version")
    if version != graph.version:
        stored = version if isinstance(version, int) else -1
        raise WorkflowVersionMismatchError(graph.name, stored, graph.version)


def unusable(graph: CompiledGraph, error: Exception) -> WorkflowStateError:
    """Return the error for a snapshot that does not fit the graph."""
    return WorkflowStateError(
        f"what was kept of this run does not fit the graph {graph.name!r}: {describe(error)}",
        hint="it may have been changed, or kept of a graph with other nodes and edges",
        cause=error,
    )


def replayed(
    graph: CompiledGraph,
    config: GraphConfig,
    header: Plain,
    records: Iterable[Plain],
    questions: Sequence[Plain] = (),
    elapsed: float = 0.0,
    now: float | None = None,
) -> Continuation:
    """Return a run in which the recorded visits have finished, and nothing else.

    A failure that the visits led to when they met (a reducer's, a conflict) is the run's again.

    Args:
        questions: Open ones; of visits that have finished since, nothing is left.
        now: The time; that of the Trio run when None.

    What does not fit raises whatever it raises.
    """
    execution = Execution(
        graph,
        config,
        keyed_by_text(header["initial"]),
        run_id=header["run_id"],
        given=frozenset(header["given"]) & header["initial"].keys(),
        elapsed=finite(elapsed),
        now=now,
    )
    numbers = Numbers(execution.start)
    execution.begin()
    begun: dict[Place, Visit] = {}
    for record in records:
        _note_places(execution, numbers, begun)
        visit = begun.pop(_place_of(record))
        _finish(execution, visit, record)
        numbers.add(visit)
        execution.take_over(visit)
    _note_places(execution, numbers, begun)
    answers = []
    for asked in questions:
        visit_that_asked = begun.pop(_place_of(asked), None)
        if visit_that_asked is not None:
            execution.questions[visit_that_asked] = _question(visit_that_asked, asked)
            answers += [asked["answer"]] if "answer" in asked else []
    for visit in begun.values():
        execution.make_ready(visit)
    execution.started = len(execution.finished)
    return Continuation(execution, numbers, tuple(answers))


def keyed_by_text(state: Any) -> Plain:
    """Return a copy of a state; what is none raises `TypeError`."""
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise TypeError("a state must be a dict whose keys are text")
    return dict(state)


def finite(value: Any) -> float:
    """Return a number as a float; what is none, or not finite, raises `ValueError`."""
    number = float(value)
    if not isfinite(number):
        raise ValueError(f"a finite number is needed, not {number}")
    return number


def _note_places(execution: Execution, numbers: Numbers, begun: dict[Place, Visit]) -> None:
    for visit in execution.ready:
        parents = tuple((number, slot) for number, slot in numbers.parents(visit))
        begun[visit.node.name, parents] = visit
    execution.ready.clear()


def _place_of(record: Plain) -> Place:
    return record["node"], tuple((int(number), int(slot)) for number, slot in record["parents"])


def _finish(execution: Execution, visit: Visit, record: Plain) -> None:
    """Let a visit have done what is recorded of it."""
    nodes = execution.graph.nodes
    visit.update = keyed_by_text(record["update"])
    assert visit.state is not None
    visit.state = dict(visit.state)
    visit.is_shared = False
    write(visit.state, visit.update, execution.reducers)
    visit.ends = bool(record["ends"])
    visit.routes = tuple(
        Route(
            nodes[target],
            int(slot),
            None if overlay is None else keyed_by_text(overlay),
            bool(beside),
        )
        for target, slot, overlay, beside in record["routes"]
    )
    visit.started = execution.begun_at + finite(record["started"])
    visit.ended = visit.started + finite(record["took"])


def _question(visit: Visit, asked: Plain) -> Question:
    nested = asked["nested"]
    if nested is None:
        return Question(str(asked["prompt"]), dict(asked["asked"]), limit_of(visit.node))
    node = visit.node.node
    if not isinstance(node, NestingNode):
        raise TypeError(f"node {visit.node.name!r} holds no graph, yet a question is inside it")
    inner = tuple(node.pending_nested(nested))
    if not inner:
        raise ValueError(f"nothing is asked inside node {visit.node.name!r}")
    told = present_moment()
    return Question(str(asked["prompt"]), dict(asked["asked"]), inf, dict(nested), inner, told)
