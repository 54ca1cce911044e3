"""One run of a graph.

**Who does the work.** There is no task that hands out work. Whoever finishes a node decides at
once, in a plain call, what starts next, goes on with the first of it and starts tasks for the rest.
So a line of nodes runs in the caller's own task, without a nursery, and nobody waits for a message.

**Time.** All nodes of a run have the same time-out, and one that is late ends the run. So one
cancel scope serves them all (see `Alarm`).

**How it ends.** By the first failure, by a terminal that stops the run, or when nothing can move.
The first two cancel the scope, so that what still runs is cancelled within one pass of Trio's
scheduler; what a node raises while it is cancelled does not hide the first failure. Cancellation
from outside is never an outcome: it passes through.

**What is lost.** Nothing that finished: a visit is recorded, where runs are recorded, before
anything starts that builds on it.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from math import inf
from typing import Protocol, final

import trio
from trio.lowlevel import checkpoint

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import (
    CycleDetectedError,
    GraphExecutionError,
    GraphTimeoutError,
    HumanInputRequiredError,
    NodeExecutionError,
    WorkflowTimeoutError,
)
from lexigram_actors.errors.base import describe, sole_error
from lexigram_actors.graph.alarm import Alarm
from lexigram_actors.graph.compiled import CompiledGraph, CompiledNode, Route
from lexigram_actors.graph.definition import State
from lexigram_actors.graph.models import (
    Command,
    GraphEvent,
    NodeFinished,
    NodeResult,
    NodeStarted,
    StateUpdated,
    TokenEmitted,
)
from lexigram_actors.graph.node import NestedAnswer
from lexigram_actors.graph.questions import Question
from lexigram_actors.graph.routing import (
    cleaned,
    ends_branch,
    routes_along_edges,
    routes_of_command,
    taken_apart,
)
from lexigram_actors.graph.schedule import Schedule
from lexigram_actors.graph.state import ITERATION
from lexigram_actors.graph.tokens import token_sink
from lexigram_actors.graph.visits import (
    Arrival,
    Visit,
    dominator_of,
    merged,
    rank_of,
    sorted_arrivals,
    write,
)
from lexigram_actors.kernel.pacing import BATCH, BATCH_SECONDS

Record = Callable[[Visit], Awaitable[None]]

current_time = trio.current_time


class Watcher(Protocol):
    """Whoever is told of what happens in a run."""

    @property
    def is_full(self) -> bool: ...

    async def wait_room(self) -> None: ...

    def tell(self, event: GraphEvent, /) -> None: ...


@final
class Execution:
    """Runs a graph from wherever it stands until nothing can move.

    Args:
        initial: The state to begin with. Kept and never changed.
        given: Keys of it that the caller gave: of those only a human node takes its answer.
        elapsed: Seconds it has run before, where it goes on after a pause or a failure.
        now: The time; that of the Trio run when None.
        watcher: Told of what happens; nothing starts while it is full.
        record: Awaited with each visit that finished, before anything follows it.
    """

    def __init__(
        self,
        graph: CompiledGraph,
        config: GraphConfig,
        initial: State,
        *,
        given: AbstractSet[str] = frozenset(),
        elapsed: float = 0.0,
        now: float | None = None,
        record: Record | None = None,
    ) -> None:
        self.graph = graph
        self.config = config
        self.reducers = graph.reducers
        self.conflicts_matter = config.on_conflict == "error"
        self.watcher: Watcher | None = None
        self.record = record
        self.elapsed = elapsed
        self.used = elapsed
        """What `total_timeout` counts; a retry begins with nothing."""
        self.begun_at = (current_time() if now is None else now) - elapsed
        """When it would have begun had it never waited for a person."""
        self.start = Visit.at_start(initial)
        self.nodes = graph.in_order
        self.schedule: Schedule[Arrival] = Schedule(graph.reach, self._rank)
        self.limit = config.max_parallel_branches or inf
        if not config.parallel_branches:
            self.limit = 1
        self.ready: deque[Visit] | list[Visit] = deque() if self.limit == inf else []
        """Begun and not started; a heap where there is a limit."""
        self.running: OrderedDict[Visit, None] = OrderedDict()
        """The eldest first."""
        self.finished: list[Visit] = []
        self.questions: dict[Visit, Question] = {}
        self.answers: dict[Visit, NestedAnswer] = {}
        self.unrecorded: dict[Visit, None] = {}
        self.visited: set[str] = set()
        """Human nodes that were visited: only the first visit may find its answer in the state."""
        self.given = given
        self.started = 0
        self.is_line = True
        """Whether nothing ever ran beside anything, and so all finished in merge order."""
        self.stopped_at: Visit | None = None
        self.failures: list[GraphExecutionError] = []
        self.failed: list[NodeResult] = []
        self.nursery: trio.Nursery | None = None
        self.waiting = 0
        """How many visits were taken and do not run yet; the limit counts them."""
        self.timers: dict[Visit, trio.CancelScope] = {}
        """Of the questions that expire while something else runs."""
        self.tasks = 0
        """How many work, or are about to."""
        self.helpers = 0
        """Tasks that were started to take something from what is ready, and have not yet."""
        self.output_is_reduced = "output" in graph.reducers
        """The empty text that `output` starts with is no first write for a reducer."""
        self.alarm: Alarm | None = None

    def _rank(self, node: int, arrivals: list[Arrival]) -> tuple[int, int]:
        return rank_of(self.nodes[node], arrivals)

    # --- the run as a whole -----------------------------------------------------------------

    def begin(self) -> None:
        """Make the entry ready."""
        entry = self.graph.entry
        visit = Visit(entry, 1, (self.start,), (0,), self.start.state, self.start, 1)
        visit.is_shared = True
        self.schedule.begin(entry.index)
        self.make_ready(visit)

    async def run(self) -> None:
        """Execute what is ready and all that follows, until nothing can move.

        Afterwards `failures`, `stopped_at` and `questions` say why it does not go on. Cancelled,
        no task of it is left.

        Raises:
            BaseException: What `record` raised, or a node that is no `Exception`.
        """
        now = current_time()
        config = self.config
        until = now + config.total_timeout - self.used if config.total_timeout else inf
        self.alarm = alarm = Alarm(config.node_timeout or inf, until)
        try:
            with alarm.scope:
                visit = self._next()
                if visit is not None:
                    await self._work(visit, alarm)
                if self.ready and not self.is_over:
                    await self._work_side_by_side(alarm)
        finally:
            self.used += current_time() - now
            self.elapsed += current_time() - now
        if alarm.scope.cancelled_caught and not self.is_over:
            self._be_late(alarm)
        while self.unrecorded and self.record is not None:
            visit = next(iter(self.unrecorded))
            await self._record(visit, self.record)
            self.take_over(visit)

    @property
    def is_over(self) -> bool:
        """Whether nothing further may start."""
        return self.stopped_at is not None or bool(self.failures)

    async def _work_side_by_side(self, alarm: Alarm) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                for visit in self.questions:
                    self._time(visit, nursery)
                self.tasks = 1
                await self._work_on(self._next(), alarm)
        except BaseExceptionGroup as group:
            other = group.split(trio.Cancelled)[1]
            # An interrupt or a store's failure matters more than the cancellations it led to.
            raise sole_error(group if other is None else other) from None  # noqa: ASYNC104
        finally:
            self.nursery = None

    # --- what starts ------------------------------------------------------------------------

    def _next(self) -> Visit | None:
        """Take something for this task from what is ready, and see to it that others are helped.

        None where nothing may start, or where it has to be started beside others and the nursery
        for that is still to be opened.
        """
        ready = self.ready
        if not ready or self.is_over:
            return None
        if self.nursery is None and self.questions and self._may_expire():
            return None
        if isinstance(ready, deque):
            if self.nursery is None and len(ready) > 1:
                return None
            visit = ready.popleft()
        else:
            beside = self._beside()
            if self.nursery is None and len(ready) > 1 and (self.limit > 1 or beside is not None):
                return None
            if len(self.running) + self.waiting < self.limit:
                visit = heapq.heappop(ready)
            elif beside is not None:
                visit = beside
                ready.remove(visit)
                heapq.heapify(ready)
            else:
                return None
        if ready and self.nursery is not None:
            self._call_helpers(self.nursery)
        return visit

    def _beside(self) -> Visit | None:
        """Return a ready visit that no limit holds back."""
        if self.config.parallel_branches:
            return None
        return next((visit for visit in self.ready if visit.side_by_side), None)

    def _call_helpers(self, nursery: trio.Nursery) -> None:
        """Start up to two tasks that take what is ready, and call others in their turn.

        So nodes that do not wait are run one after the other by the task that is at it, which costs
        a fraction of a task each; and of those that do wait, all have a task after a few passes.
        """
        while self.helpers < 2 and self.helpers < len(self.ready):
            assert self.alarm is not None
            self.helpers += 1
            self.tasks += 1
            nursery.start_soon(self._help, self.alarm)

    async def _help(self, alarm: Alarm) -> None:
        self.helpers -= 1
        await self._work_on(self._next(), alarm)

    async def _work_on(self, visit: Visit | None, alarm: Alarm) -> None:
        """Work in the nursery; the last to leave puts the lights out."""
        if visit is not None:
            await self._work(visit, alarm)
        self.tasks -= 1
        if not self.tasks:
            for timer in self.timers.values():
                timer.cancel()

    def _begin(self, node: CompiledNode, arrivals: Sequence[Arrival]) -> None:
        """Make an execution ready that was begun in the schedule.

        Raises:
            GraphExecutionError: What arrived cannot be merged.
        """
        if len(arrivals) == 1:
            arrival = arrivals[0]
            parent = arrival.visit
            visit = Visit(
                node,
                parent.depth + 1,
                (parent,),
                (arrival.slot,),
                parent.state,
                parent,
                parent.level + 1,
            )
            visit.overlay = arrival.overlay
            visit.side_by_side = arrival.side_by_side
            if len(parent.routes) > 1:
                visit.is_shared = True
            else:
                parent.state = None
        else:
            visit = self._joined(node, sorted_arrivals(arrivals))
        self.make_ready(visit)

    def make_ready(self, visit: Visit) -> None:
        """Let a visit start when there is room."""
        if isinstance(self.ready, deque):
            self.ready.append(visit)
        else:
            heapq.heappush(self.ready, visit)

    def _joined(self, node: CompiledNode, arrivals: Sequence[Arrival]) -> Visit:
        parents = tuple(arrival.visit for arrival in arrivals)
        distinct = list(dict.fromkeys(parents))
        dominator = dominator_of(distinct)
        visit = Visit(
            node,
            1 + max(parent.depth for parent in distinct),
            parents,
            tuple(arrival.slot for arrival in arrivals),
            merged(distinct, dominator, self.reducers, conflicts_matter=self.conflicts_matter),
            dominator,
            dominator.level + 1,
        )
        visit.side_by_side = any(arrival.side_by_side for arrival in arrivals)
        return visit

    # --- one node after the other -----------------------------------------------------------

    async def _work(self, visit: Visit | None, alarm: Alarm) -> None:
        """Execute a visit and what follows it, as long as there is something for this task.

        Long, and with what is usual written out: each call here is paid for by every node.
        """
        watcher, running, reducers = self.watcher, self.running, self.reducers
        most = self.config.max_iterations
        timeout = alarm.node_timeout
        now = current_time()
        left, until = BATCH, now + BATCH_SECONDS
        while visit is not None:
            node = visit.node
            if self.started >= most:
                self._fail(CycleDetectedError(self.started, node=node.name))
                return
            self.started += 1
            if watcher is not None:
                now = await self._announce(visit, watcher, alarm)
            if not running and now + timeout > alarm.covered:
                alarm.cover(now + timeout, now)
            running[visit] = None
            visit.started = now
            state = visit.state
            assert state is not None
            view = state.copy()
            view[ITERATION] = visit.depth - 1
            if node.hides is not None or visit.overlay is not None or self.output_is_reduced:
                self._adapt(visit, view)
            command: Command | None = None
            try:
                if self.answers and visit in self.answers:
                    returned = await node.node.resume_nested(view, self.answers.pop(visit))
                else:
                    returned = await node.execute(view)
                if type(returned) is dict:
                    visit.update = update = cleaned(returned)
                else:
                    update, command = taken_apart(node.name, returned)
                    visit.update = update
            except HumanInputRequiredError as error:
                now = self._leave(visit, alarm)
                self.started -= 1  # it counts when it has its answer
                self.questions[visit] = Question.raised_by(node, error)
                if self.nursery is not None:
                    self._time(visit, self.nursery)
                visit = self._next()
                continue
            except BaseException as error:  # noqa: BLE001, ASYNC103 - what is not ours is raised
                unhandled = self._crash(visit, error, alarm)
                if unhandled is not None:
                    raise unhandled from None  # noqa: ASYNC104 - it is, or holds, the Cancelled
                return
            now = self._leave(visit, alarm)
            if now - visit.started >= timeout and self._was_late(visit, alarm):
                return
            if visit.is_shared:
                visit.state = state = state.copy()
                visit.is_shared = False
            if command is None and not reducers and node.decided is not None:
                state.update(update)
                visit.ends, visit.routes = node.decided
            elif not self._conclude(visit, state, command):
                return
            if self.record is not None:
                await self._record(visit, self.record)
            if watcher is not None:
                watcher.tell(NodeFinished(self.result_of(visit)))
                watcher.tell(StateUpdated(node.name, update.copy()))
            visit = self._follow(visit)
            left -= 1
            if visit is not None and (not left or now > until):
                await self._checkpoint(alarm)
                now = current_time()
                left, until = BATCH, now + BATCH_SECONDS

    async def _checkpoint(self, alarm: Alarm) -> None:
        if not self.running:
            alarm.rest()
        self.waiting += 1
        await checkpoint()
        self.waiting -= 1

    async def _record(self, visit: Visit, record: Record) -> None:
        """Have a visit recorded; should that be cut short, `run` sees to it at its end."""
        if self.alarm is not None and not self.running:
            self.alarm.rest()
        self.unrecorded[visit] = None
        await record(visit)
        del self.unrecorded[visit]

    async def _announce(self, visit: Visit, watcher: Watcher, alarm: Alarm) -> float:
        """Tell that a node starts, once there is room. Return the time."""
        if watcher.is_full:
            if not self.running:
                alarm.rest()
            self.waiting += 1
            await watcher.wait_room()
            self.waiting -= 1
        name = visit.node.name
        watcher.tell(NodeStarted(name, visit.depth))
        token_sink.set(lambda text: watcher.tell(TokenEmitted(name, text)))
        return current_time()

    def _leave(self, visit: Visit, alarm: Alarm) -> float:
        """A node's code has ended. Return the time."""
        now = visit.ended = current_time()
        running = self.running
        del running[visit]
        if running:
            deadline = next(iter(running)).started + alarm.node_timeout
            if deadline > alarm.covered:
                alarm.cover(deadline, now)
        return now

    def _adapt(self, visit: Visit, view: State) -> None:
        """Make what a node is given out of the state, where it differs."""
        if visit.overlay is not None:
            view.update(visit.overlay)
        if self.output_is_reduced:
            view.setdefault("output", "")
        if visit.node.hides is not None:
            self._hide_answers(visit, view)

    def _hide_answers(self, visit: Visit, view: State) -> None:
        """Let a human node see its own answer, and no other."""
        node, initial = visit.node, self.start.state
        key = node.hides
        assert key is not None
        assert initial is not None
        if visit.overlay is None or key not in visit.overlay:
            if key in self.given and node.name not in self.visited:
                view[key] = initial[key]
            else:
                view.pop(key, None)
        self.visited.add(node.name)

    # --- what follows -----------------------------------------------------------------------

    def _conclude(self, visit: Visit, state: State, command: Command | None) -> bool:
        """Write the update and decide where it leads; False where that failed the run."""
        try:
            write(state, visit.update, self.reducers)
            visit.ends, visit.routes = self._ways_on(visit, command)
        except GraphExecutionError as error:
            error.node = visit.node.name
            self._fail(error, visit)
            return False
        except Exception as error:  # noqa: BLE001 - a goto, say, that cannot be iterated
            self._fail_node(visit, error)
            return False
        return True

    def _ways_on(self, visit: Visit, command: Command | None) -> tuple[bool, tuple[Route, ...]]:
        """Return whether the branch ends here, and the ways on where it does not."""
        node = visit.node
        view: State = {}
        if node.terminal_condition is not None:
            view = self._view_after(visit)
        if ends_branch(node, view):
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

    def _follow(self, visit: Visit) -> Visit | None:
        """Take over a visit that finished, and return what its task goes on with."""
        routes = visit.routes
        schedule = self.schedule
        if len(routes) == 1 and schedule.total == 1 and not schedule.held:
            target, slot, overlay, _ = routes[0]
            if overlay is None:  # nothing else moves: a line
                self.finished.append(visit)
                schedule.move(target.index)
                follower = Visit(
                    target, visit.depth + 1, (visit,), (slot,), visit.state, visit, visit.level + 1
                )
                visit.state = None
                return follower
        self.take_over(visit)
        return self._next()

    def take_over(self, visit: Visit) -> None:
        """Take over a visit that finished: what follows it is ready, or held."""
        node = visit.node
        self.finished.append(visit)
        schedule = self.schedule
        schedule.end(node.index)
        routes = visit.routes
        if not routes:
            self.is_line = self.is_line and not schedule.total
            if visit.ends and node.stops_run and not self.is_over:
                self.stopped_at = visit
                self._cancel()
        else:
            self.is_line = False
        try:
            if len(routes) > 1 and schedule.try_begin([route.target.index for route in routes]):
                for target, slot, overlay, side_by_side in routes:
                    self._begin(target, [Arrival(visit, slot, overlay, side_by_side)])
                return
            for target, slot, overlay, side_by_side in routes:
                arrival = Arrival(visit, slot, overlay, side_by_side)
                if target.is_join and overlay is None:
                    schedule.hold(target.index, arrival)
                else:
                    schedule.begin(target.index)
                    self._begin(target, [arrival])
            for index, arrivals in schedule.release() if schedule.held else ():
                target = self.nodes[index]
                self._begin(target, arrivals)
        except GraphExecutionError as error:
            error.node = error.node or target.name
            self._fail(error)

    # --- answers ----------------------------------------------------------------------------

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
            self._expire(visit)
        return bool(expired)

    def _expire(self, visit: Visit) -> None:
        node = visit.node
        default = getattr(node.node, "default_answer", None)
        if default is not None:
            self.answer(visit, {node.resume_key: default})
            return
        limit = self.questions.pop(visit).expires_after
        late = WorkflowTimeoutError(
            f"nobody answered node {node.name!r} within {limit:g} s", step_name=node.name
        )
        visit.started = visit.ended = current_time()
        self._fail_node(visit, late)

    def _may_expire(self) -> bool:
        return any(question.expires_after < inf for question in self.questions.values())

    def _time(self, visit: Visit, nursery: trio.Nursery) -> None:
        """Let a question expire while something else still runs."""
        if self.questions[visit].expires_after < inf:
            self.timers[visit] = trio.CancelScope()
            nursery.start_soon(self._expire_in_time, visit, nursery)

    async def _expire_in_time(self, visit: Visit, nursery: trio.Nursery) -> None:
        with self.timers[visit]:
            await trio.sleep(self.questions[visit].seconds_left)
            if not self.is_over:
                self._expire(visit)
                self._call_helpers(nursery)
        del self.timers[visit]

    # --- how it ends ------------------------------------------------------------------------

    def _cancel(self) -> None:
        if self.alarm is not None:
            self.alarm.scope.cancel()

    def _crash(self, visit: Visit, error: BaseException, alarm: Alarm) -> BaseException | None:
        """Turn what left a node into a failure; return what has to be raised all the same."""
        if alarm.scope.cancel_called and not self.is_over:
            self._be_late(alarm)
        self._leave(visit, alarm)
        if isinstance(error, BaseExceptionGroup) and not isinstance(error, Exception):
            cancelled, other = error.split(trio.Cancelled)
            if isinstance(other, Exception):
                self._fail_node(visit, other)
                return cancelled
        if not isinstance(error, Exception):
            return error
        self._fail_node(visit, error)
        return None

    def _fail_node(self, visit: Visit, error: Exception) -> None:
        cause = sole_error(error)
        name = visit.node.name
        text = f"node {name!r} failed: {describe(cause)}"
        self._fail(NodeExecutionError(text, node=name, cause=cause), visit)

    def _fail(self, error: GraphExecutionError, visit: Visit | None = None) -> None:
        """Note a failure and stop everything; the first is the run's."""
        self.failures.append(error)
        if visit is not None:
            failed = self.result_of(visit, error)
            self.failed.append(failed)
            if self.watcher is not None:
                self.watcher.tell(NodeFinished(failed))
        self._cancel()

    def _be_late(self, alarm: Alarm) -> None:
        """Say whose time was up."""
        eldest = next(iter(self.running), None)
        if alarm.is_the_runs or eldest is None:
            name = None if eldest is None else eldest.node.name
            self._fail(GraphTimeoutError(self.config.total_timeout, node=name))
            return
        eldest.ended = current_time()
        self._fail_late(eldest)

    def _was_late(self, visit: Visit, alarm: Alarm) -> bool:
        """Fail a node that ended after its time, and all the same did not raise."""
        if self.is_over or alarm.is_the_runs or not alarm.scope.cancel_called:
            return False
        self._fail_late(visit)
        return True

    def _fail_late(self, visit: Visit) -> None:
        name, timeout = visit.node.name, self.config.node_timeout
        late = WorkflowTimeoutError(
            f"node {name!r} did not end within {timeout:g} s (node_timeout)", step_name=name
        )
        self._fail_node(visit, late)

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
