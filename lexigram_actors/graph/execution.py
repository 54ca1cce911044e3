"""`Execution`: where a run of a graph stands, and what follows from what. It waits for nothing.

A `Stretch` runs the nodes; everything that is decided is decided here, in plain calls: what a visit
that finished leads to, what of it is ready and what is held, what a node is shown, what a question,
an answer, an expiry or a failure means. So bringing a run back from a record of its visits is a
matter of making the same calls again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from math import inf
from time import time
from typing import final

import trio

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import GraphExecutionError, NodeExecutionError, WorkflowTimeoutError
from lexigram_actors.errors.base import describe, sole_error
from lexigram_actors.graph.compiled import CompiledGraph, CompiledNode, Route
from lexigram_actors.graph.definition import State
from lexigram_actors.graph.models import Command, NodeResult
from lexigram_actors.graph.moments import Wall
from lexigram_actors.graph.node import NestedAnswer
from lexigram_actors.graph.questions import Question
from lexigram_actors.graph.routing import ends_branch, routes_along_edges, routes_of_command
from lexigram_actors.graph.schedule import Schedule
from lexigram_actors.graph.state import HOSTED, ITERATION, RUN_ID
from lexigram_actors.graph.visits import (
    Arrival,
    Visit,
    dominator_of,
    follows,
    merged,
    sorted_arrivals,
    write,
)
from lexigram_actors.host.seam import RunContext


@final
class Execution:
    """A run of a graph.

    Args:
        initial: The state to begin with. Kept and never changed.
        run_id: What the run is called; None when it has no name.
        given: Keys of it that the caller gave: of those only a human node takes its answer.
        elapsed: Seconds it has run before, where it goes on after a pause or a failure.
        now: The time; that of the Trio run when None.

    Attributes:
        begun_at: When it would have begun had it never waited for a person.
        used: What `total_timeout` counts; a retry begins with nothing.
        started: How many visits were started; one that asks counts when it has its answer.
        ready: Begun and not started; a heap where there is a limit.
        is_over: Whether nothing further may start: a node failed, or a terminal stopped the run.
        is_line: Whether nothing ever ran beside anything, and so all finished in merge order.
        output_is_reduced: The empty text that `output` starts with is no first write for a reducer.
        cancel: Stops what runs; None while nothing does.
        tell_failure: Told of each node that failed; None where nobody is.
        hosted: What the run was given, where a host keeps its record; None elsewhere.
    """

    started = 0
    is_line = True
    is_over = False
    stopped_at: Visit | None = None
    cancel: Callable[[], None] | None = None
    tell_failure: Callable[[NodeResult], None] | None = None
    hosted: RunContext | None = None

    def __init__(
        self,
        graph: CompiledGraph,
        config: GraphConfig,
        initial: State,
        *,
        run_id: str | None = None,
        given: AbstractSet[str] = frozenset(),
        elapsed: float = 0.0,
        now: float | None = None,
    ) -> None:
        self.graph = graph
        self.config = config
        self.reducers = graph.reducers
        self.output_is_reduced = graph.reduces_output
        self.run_id = run_id
        self.given = given
        self.elapsed = elapsed
        self.used = elapsed
        self.begun_at = (trio.current_time() if now is None else now) - elapsed
        self.start = Visit.at_start(initial)
        self.schedule: Schedule[Arrival] = Schedule(graph.reach)
        self.limit: float = inf
        self.ready: deque[Visit] | list[Visit] = deque()
        if config.max_parallel_branches or not config.parallel_branches:
            self.limit = config.max_parallel_branches if config.parallel_branches else 1
            self.ready = []
        self.finished: list[Visit] = []
        self.questions: dict[Visit, Question] = {}
        self.answers: dict[Visit, NestedAnswer] = {}
        self.failures: list[GraphExecutionError] = []
        self.failed: list[NodeResult] = []

    @property
    def conflicts_matter(self) -> bool:
        """Whether concurrent writes of a key without a reducer fail the run."""
        return self.config.on_conflict == "error"

    def live_in(self, context: RunContext) -> None:
        """Be a part of an instance: it names the run, and what runs inside is a part as well."""
        self.hosted = context
        self.run_id = context.run_id

    @property
    def wall(self) -> Wall:
        """The clock on the wall: in a host, that of the instance."""
        if self.hosted is None or self.hosted.journal is None:
            return time
        return self.hosted.journal.clock

    def spend(self, seconds: float) -> None:
        """Count time in which it ran."""
        self.used += seconds
        self.elapsed += seconds

    # --- what is ready ----------------------------------------------------------------------

    def begin(self) -> None:
        """Make the entry ready."""
        entry = self.graph.entry
        visit = Visit(entry, 1, (self.start,), (0,), self.start.state, self.start, True)
        self.schedule.begin(entry.index)
        self.make_ready(visit)

    def make_ready(self, visit: Visit) -> None:
        """Let a visit start when there is room."""
        if isinstance(self.ready, deque):
            self.ready.append(visit)
        else:
            heapq.heappush(self.ready, visit)

    def beside(self) -> Visit | None:
        """Return a ready visit that no limit holds back."""
        if self.config.parallel_branches or not self.graph.has_parallel_edges:
            return None
        return next((visit for visit in self.ready if visit.side_by_side), None)

    def _begin(
        self, node: CompiledNode, parent: Visit, slot: int, overlay: State | None, beside: bool
    ) -> None:
        """Make an execution ready that was begun in the schedule, after one arrival."""
        is_fork = len(parent.routes) > 1
        visit = Visit(node, parent.depth + 1, (parent,), (slot,), parent.state, parent, is_fork)
        if overlay is not None:
            visit.overlay = overlay
        if beside:
            visit.side_by_side = True
        if not is_fork:
            parent.state = None
        self.make_ready(visit)

    def _joined(self, node: CompiledNode, arrivals: Sequence[Arrival]) -> Visit:
        """Return an execution after several arrivals, which stand in merge order."""
        parents, slots, beside = zip(*arrivals, strict=True)
        distinct = list(dict.fromkeys(parents))
        dominator = dominator_of(distinct)
        state = merged(distinct, dominator, self.reducers, conflicts_matter=self.conflicts_matter)
        visit = Visit(node, parents[-1].depth + 1, parents, slots, state, dominator)
        visit.side_by_side = any(beside)
        return visit

    # --- what a node is shown ---------------------------------------------------------------

    def adapt(self, visit: Visit, view: State) -> None:
        """Make what a node is given out of the state, where it differs."""
        if visit.overlay is not None:
            view.update(visit.overlay)
        if self.output_is_reduced:
            view.setdefault("output", "")
        if visit.node.hides is not None:
            self._hide_answers(visit, view)
        if visit.node.nests and (self.run_id is not None or self.hosted is not None):
            self._name_inner_run(visit, view)

    def _name_inner_run(self, visit: Visit, view: State) -> None:
        """Tell a node that holds a graph what a run of that, in this visit, is called."""
        slots = "-".join(map(str, visit.slots))
        name = f"{visit.node.name}@{visit.depth}.{slots}"
        if self.run_id is not None:
            view[RUN_ID] = f"{self.run_id}/{name}"
        if self.hosted is not None:
            view[HOSTED] = self.hosted.inside(name)

    def _hide_answers(self, visit: Visit, view: State) -> None:
        """Let a human node see its own answer, and no other."""
        node, initial = visit.node, self.start.state
        key = node.hides
        assert key is not None
        assert initial is not None
        if visit.overlay is None or key not in visit.overlay:
            if key in self.given and not follows(visit, node):
                view[key] = initial[key]  # the first visit on its way
            else:
                view.pop(key, None)

    # --- what follows -----------------------------------------------------------------------

    def conclude(self, visit: Visit, state: State, command: Command | None) -> bool:
        """Write the update and decide where it leads; False where that failed the run."""
        try:
            if self.reducers:
                write(state, visit.update, self.reducers)
            else:
                state.update(visit.update)
            visit.ends, visit.routes = self._ways_on(visit, command)
        except GraphExecutionError as error:
            error.node = visit.node.name
            self.fail(error, visit)
            return False
        except Exception as error:  # noqa: BLE001 - a goto, say, that cannot be iterated
            self.fail_node(visit, error)
            return False
        return True

    def _ways_on(self, visit: Visit, command: Command | None) -> tuple[bool, tuple[Route, ...]]:
        """Return whether the branch ends here, and the ways on where it does not."""
        node = visit.node
        view: State | None = None
        if node.is_terminal:
            if node.terminal_condition is None:
                return True, ()
            view = self._view_after(visit)
            if ends_branch(node, node.terminal_condition, view):
                return True, ()
        if command is not None and (command.goto is not None or command.send):
            return False, routes_of_command(node, command)
        if node.always is not None:
            return False, node.always
        return False, routes_along_edges(node, view or self._view_after(visit))

    def _view_after(self, visit: Visit) -> State:
        """Return what conditions are asked about: what the node saw, plus what it wrote."""
        assert visit.state is not None
        view = visit.state.copy()
        if visit.overlay is not None:
            view.update({k: v for k, v in visit.overlay.items() if k not in visit.update})
        if self.output_is_reduced:
            view.setdefault("output", "")
        view[ITERATION] = visit.depth
        return view

    def sync(self, visit: Visit) -> None:
        """Say in the schedule which node is active; a line does not at each of its own."""
        if self.schedule.total == 1:
            self.schedule.move(visit.node.index)

    def take_over(self, visit: Visit) -> None:
        """Take over a visit that finished: what follows it is ready, or held."""
        self.finished.append(visit)
        schedule = self.schedule
        node, routes = visit.node, visit.routes
        if len(routes) == 1 and routes[0].overlay is None and routes[0].target.is_join:
            target, slot, _, beside = routes[0]
            self.is_line = False
            schedule.pass_on(node.index, target.index, (visit, slot, beside), visit.depth)
        else:
            schedule.end(node.index)
            if routes or schedule.total:
                self.is_line = False
            if routes:
                self._fan_out(visit, routes)
            elif visit.ends and node.stops_run and not self.is_over:
                self.stopped_at = visit
                self._stop()
        if schedule.free:
            try:
                self._release()
            except GraphExecutionError as error:
                self.fail(error)

    def _arrive(self, visit: Visit, route: Route) -> None:
        target, slot, overlay, beside = route
        if overlay is None and target.is_join:
            self.schedule.hold(target.index, (visit, slot, beside), visit.depth)
        else:
            self.schedule.begin(target.index)
            self._begin(target, visit, slot, overlay, beside)

    def _fan_out(self, visit: Visit, routes: tuple[Route, ...]) -> None:
        if len(routes) == 1 or not self.schedule.try_begin([way.target.index for way in routes]):
            for route in routes:
                self._arrive(visit, route)
            return
        depth, parents, state = visit.depth + 1, (visit,), visit.state
        for target, slot, overlay, beside in routes:
            follower = Visit(target, depth, parents, (slot,), state, visit, True)
            if overlay is not None:
                follower.overlay = overlay
            if beside:
                follower.side_by_side = True
            self.make_ready(follower)

    def _release(self) -> None:
        """Begin what needs to be held no longer.

        Raises:
            GraphExecutionError: What arrived cannot be merged.
        """
        for index, arrivals in self.schedule.release():
            node = self.graph.in_order[index]
            if len(arrivals) == 1:
                parent, slot, beside = arrivals[0]
                self._begin(node, parent, slot, None, beside)
                continue
            try:
                self.make_ready(self._joined(node, sorted_arrivals(arrivals)))
            except GraphExecutionError as error:
                error.node = error.node or node.name
                raise

    # --- questions and answers --------------------------------------------------------------

    def ask(self, visit: Visit, question: Question) -> None:
        """Leave a visit open until it is answered; for joins it counts as running."""
        self.started -= 1
        self.questions[visit] = question

    def answer(self, visit: Visit, overlay: State) -> None:
        """Let a visit that asked go on, with the answer among what it sees."""
        del self.questions[visit]
        visit.overlay = {**(visit.overlay or {}), **overlay}
        self.make_ready(visit)

    def answer_nested(self, visit: Visit, answer: NestedAnswer) -> None:
        """Let the graph inside a visit go on."""
        del self.questions[visit]
        self.answers[visit] = answer
        self.make_ready(visit)

    def expire_questions(self) -> bool:
        """Take the default of each question whose time is over; say whether that moves anything.

        One without a default fails its node, and with it the run.
        """
        expired = [visit for visit, question in self.questions.items() if question.has_expired]
        for visit in expired:
            self.expire(visit)
        return bool(expired)

    def expire(self, visit: Visit) -> None:
        """Take the default of a question whose time is over, or fail its node.

        Where it is asked inside the node, that is done in there.
        """
        node = visit.node
        nested = self.questions[visit].nested
        if nested is not None:
            self.answer_nested(visit, NestedAnswer(nested, "", None))
            return
        default = getattr(node.node, "default_answer", None)
        if default is not None:
            self.answer(visit, {node.resume_key: default})
            return
        limit = self.questions.pop(visit).expires_after
        late = WorkflowTimeoutError(
            f"nobody answered node {node.name!r} within {limit:g} s", step_name=node.name
        )
        visit.started = visit.ended = trio.current_time()
        self.fail_node(visit, late, late.message)

    @property
    def may_expire(self) -> bool:
        """Whether an open question does, sooner or later."""
        return any(question.expires_after < inf for question in self.questions.values())

    # --- how it ends ------------------------------------------------------------------------

    def fail_node(self, visit: Visit, error: Exception, text: str | None = None) -> None:
        """Note that a node failed, and stop everything."""
        cause = sole_error(error)
        name = visit.node.name
        if text is None:
            text = f"node {name!r} failed: {describe(cause)}"
        self.fail(NodeExecutionError(text, node=name, cause=cause), visit)

    def fail(self, error: GraphExecutionError, visit: Visit | None = None) -> None:
        """Note a failure, and stop everything; the first is the run's."""
        self.failures.append(error)
        if visit is not None:
            failed = self.result_of(visit, error)
            self.failed.append(failed)
            if self.tell_failure is not None:
                self.tell_failure(failed)
        self._stop()

    def _stop(self) -> None:
        self.is_over = True
        if self.cancel is not None:
            self.cancel()

    def result_of(self, visit: Visit, error: GraphExecutionError | None = None) -> NodeResult:
        """Return what is told of a visit that ended."""
        return NodeResult(
            visit.node.name,
            {} if error is not None else visit.update,
            (visit.ended - visit.started) * 1000,
            None if error is None else error.message,
            False,
            (visit.started - self.begun_at) * 1000,
        )
