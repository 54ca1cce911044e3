"""Running a graph from where it can move until nothing can: who does the work, and when.

**Who does the work.** There is no task that hands out work. Whoever finishes a node decides at
once, in a plain call of the `Execution`, what may start next, and goes on with it. A line of nodes
runs in the caller's own task, without a nursery. Where several nodes are ready at once, a nursery
is opened; where the graph forks in any case, from the start. A task that is about to wait while
others are ready calls two helpers, tasks that take what is ready, and do the same in their turn. So
of nodes that wait, all are under way after a few passes of Trio's scheduler; and nodes that do not
wait are run one after the other by the task that is at it, which costs no task at all.

**Time.** All nodes of a run have the same time-out, and one that is late ends the run. So one
cancel scope serves them all (see `Alarm`).

**How it ends.** When nothing can move, or when the execution is over: by the first failure, or by a
terminal that stops the run. That cancels the scope, so that what still runs is cancelled within one
pass of the scheduler; what a node raises while it is cancelled does not hide the first failure.
Cancellation from outside is never an outcome: it passes through.

**What is lost.** Nothing that finished: a visit is recorded, where runs are recorded, before
anything starts that builds on it; and where that was cut short by a failure elsewhere, at the end.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from math import inf
from types import CoroutineType
from typing import Any, final

import trio
from trio.lowlevel import checkpoint, current_clock

from lexigram_actors.errors import CycleDetectedError, HumanInputRequiredError
from lexigram_actors.errors.base import sole_error
from lexigram_actors.graph.alarm import Alarm
from lexigram_actors.graph.definition import State
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.lateness import be_late, was_late
from lexigram_actors.graph.models import (
    Command,
    NodeFinished,
    NodeStarted,
    StateUpdated,
    TokenEmitted,
)
from lexigram_actors.graph.questions import Question
from lexigram_actors.graph.routing import taken_apart
from lexigram_actors.graph.state import ITERATION
from lexigram_actors.graph.suspended import Suspended
from lexigram_actors.graph.tokens import token_sink
from lexigram_actors.graph.visits import Visit
from lexigram_actors.graph.watching import Recorder, Recording, Watcher
from lexigram_actors.kernel.pacing import BATCH, BATCH_SECONDS
from lexigram_actors.nurseries import split_cancelled

current_time = trio.current_time


@final
class Stretch:
    """One stretch of a run.

    Args:
        watcher: Told of what happens; no node starts while it is full.
        record: Awaited with each visit that finished, before anything follows it.
    """

    __slots__ = (
        "_alarm",
        "_execution",
        "_helpers",
        "_nursery",
        "_recording",
        "_running",
        "_tasks",
        "_timers",
        "_waiting",
        "_watcher",
    )

    def __init__(
        self,
        execution: Execution,
        *,
        watcher: Watcher | None = None,
        record: Recorder | None = None,
    ) -> None:
        self._execution = execution
        self._watcher = watcher
        self._recording = None if record is None else Recording(execution, record)
        self._running: OrderedDict[Visit, None] = OrderedDict()
        """The eldest first; only where there may be several."""
        self._waiting = 0
        """How many visits were taken and do not run yet; the limit counts them."""
        self._nursery: trio.Nursery | None = None
        self._tasks = 0
        self._helpers = 0
        """Tasks that were started to take something from what is ready, and have not yet."""
        self._timers: dict[Visit, trio.CancelScope] = {}
        """Of the questions that expire while something else runs."""

    async def run(self) -> None:
        """Execute what is ready and all that follows, until nothing can move.

        Afterwards the execution says why it does not go on. Cancelled, no task of it is left.

        Raises:
            BaseException: What `record` raised, or a node that is no `Exception`.
        """
        execution = self._execution
        config = execution.config
        now = current_time()
        if not execution.finished:
            execution.begun_at = now  # not before others had their turn
        until = now + config.total_timeout - execution.used if config.total_timeout else inf
        try:
            if execution.graph.always_forks:
                await self._work_side_by_side(now, until)
            else:
                self._set_alarm(now, until)
                with self._alarm.scope:
                    visit = self._next()
                    if visit is not None:
                        await self._work(visit, now)
                    if execution.ready and not execution.is_over:
                        await self._work_side_by_side(now, until)
        finally:
            execution.cancel = None
            end = current_time()
            execution.spend(end - now)
        if (self._alarm.scope.cancelled_caught or end >= until) and not execution.is_over:
            be_late(execution, next(iter(self._running), None), self._alarm)
        if self._recording is not None:
            await self._recording.catch_up()

    def _set_alarm(self, now: float, until: float, scope: trio.CancelScope | None = None) -> None:
        self._alarm = Alarm(self._execution.config.node_timeout or inf, now, until, scope)
        self._execution.cancel = self._alarm.scope.cancel

    async def _work_side_by_side(self, now: float, until: float) -> None:
        """Work in a nursery; where the run begins with it, its scope has the alarm."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._execution.cancel is None:
                    self._set_alarm(now, until, nursery.cancel_scope)
                for visit in self._execution.questions:
                    self._time(visit, nursery)
                self._tasks = 1
                await self._work_on(self._next())
        except BaseExceptionGroup as group:
            other = split_cancelled(group)[1]
            # An interrupt or a store's failure matters more than the cancellations it led to.
            raise sole_error(group if other is None else other) from None  # noqa: ASYNC104
        finally:
            self._nursery = None

    # --- what starts ------------------------------------------------------------------------

    def _next(self) -> Visit | None:
        """Take something for this task from what is ready.

        None where nothing may start, or where it has to be started beside others and the nursery
        for that is still to be opened.
        """
        execution = self._execution
        ready = execution.ready
        if not ready or execution.is_over:
            return None
        if self._nursery is None and self._needs_nursery():
            return None
        if isinstance(ready, deque):
            visit = ready.popleft()
        elif len(self._running) + self._waiting < execution.limit:
            visit = heapq.heappop(ready)
        else:
            beside = execution.beside()
            if beside is None:
                return None
            visit = beside
            ready.remove(visit)
            heapq.heapify(ready)
        return visit

    def _needs_nursery(self) -> bool:
        """Say whether several of those that are ready may run at once, or a question expire."""
        execution = self._execution
        if execution.questions and execution.may_expire:
            return True
        several = len(execution.ready) > 1
        return several and (execution.limit > 1 or execution.beside() is not None)

    def _call_helpers(self) -> None:
        """Before this task waits: see to it that others take what is ready, where they may."""
        execution, nursery = self._execution, self._nursery
        if nursery is None or execution.is_over:
            return
        room = execution.limit - len(self._running) - self._waiting
        if execution.beside() is not None:
            room = inf
        while self._helpers < min(2, room, len(execution.ready)):
            self._helpers += 1
            self._tasks += 1
            nursery.start_soon(self._help)

    async def _help(self) -> None:
        self._helpers -= 1
        await self._work_on(self._next())

    async def _work_on(self, visit: Visit | None) -> None:
        """Work in the nursery; the last to leave puts the lights out."""
        if visit is not None:
            await self._work(visit, current_time())
        self._tasks -= 1
        if self._tasks:
            self._rest()
        for timer in self._timers.values() if not self._tasks else ():
            timer.cancel()

    # --- one node after the other -----------------------------------------------------------

    async def _work(self, visit: Visit | None, now: float) -> None:
        """Execute a visit and what follows it, as long as there is something for this task.

        Long, and with what is usual written out: each call here is paid for by every node.
        """
        execution, alarm, running = self._execution, self._alarm, self._running
        schedule, finished, answers = execution.schedule, execution.finished, execution.answers
        watcher = self._watcher
        most = execution.config.max_iterations
        timeout = alarm.node_timeout
        alone = self._nursery is None
        queue = execution.ready if isinstance(execution.ready, deque) and not alone else None
        attended = watcher is not None or self._recording is not None
        simple = not execution.reducers
        clock = current_clock().current_time
        left, until = BATCH, now + BATCH_SECONDS
        while visit is not None:
            node = visit.node
            if execution.started >= most:
                execution.fail(CycleDetectedError(execution.started, node=node.name))
                return
            execution.started += 1
            if watcher is not None:
                now = await self._announce(visit, watcher)
            if now + timeout > alarm.covered and not running:
                alarm.cover(now + timeout, now)
            visit.started = began = now
            state = visit.state
            assert state is not None
            view = state.copy()
            view[ITERATION] = visit.depth - 1
            if visit.overlay is not None or not simple or node.is_shown_more:
                execution.adapt(visit, view)
            update: State | None
            command: Command | None = None
            try:
                if answers and visit in answers:
                    running[visit] = None
                    self._call_helpers()
                    returned = await node.node.resume_nested(view, answers.pop(visit))
                elif alone:
                    returned = await node.execute(view)
                else:  # should it wait, others have to take what is ready
                    awaitable: Any = node.execute(view)
                    if type(awaitable) is CoroutineType:
                        try:
                            trap = awaitable.send(None)
                        except StopIteration as done:
                            returned, awaitable = done.value, None
                        else:
                            awaitable = Suspended(awaitable, trap)
                    if awaitable is not None:
                        running[visit] = None
                        self._call_helpers()
                        returned = await awaitable
                update = None
                if type(returned) is dict:
                    for key in returned:
                        if type(key) is not str or key[:1] == "_":
                            break
                    else:
                        update = returned.copy()
                if update is None:
                    update, command = taken_apart(node.name, returned)
                visit.update = update
            except BaseException as error:  # noqa: BLE001, ASYNC103 - what is not ours is raised
                unhandled = self._crash(visit, error)
                if unhandled is not None:
                    raise unhandled from None  # noqa: ASYNC104 - it is, or holds, the Cancelled
                visit, now = self._next(), current_time()
                continue  # noqa: ASYNC104 - `_crash` has said that it is no cancellation
            now = visit.ended = clock()
            if running:
                running.pop(visit, None)
                if running:
                    self._look_after_eldest(now)
            if now - began >= timeout and was_late(execution, visit, alarm):
                return
            if visit.is_shared:
                visit.state = state = state.copy()
                visit.is_shared = False
            if simple and command is None and node.decided is not None:
                state.update(update)
                visit.ends, visit.routes = node.decided
            elif not execution.conclude(visit, state, command):
                return
            if attended:
                await self._attend(visit)
                now = clock()
            routes = visit.routes
            if schedule.total == 1 and not schedule.held and execution.stopped_at is None:
                if len(routes) == 1 and routes[0].overlay is None:  # nothing else moves: a line
                    target, slot, _, _ = routes[0]
                    finished.append(visit)
                    visit.state = None
                    visit = Visit(target, visit.depth + 1, (visit,), (slot,), state, visit)
                elif not routes and not node.stops_run:  # its end
                    finished.append(visit)
                    schedule.clear()
                    return
                else:
                    execution.sync(visit)
                    execution.take_over(visit)
                    visit = self._next()
            else:
                execution.take_over(visit)
                if queue is None:
                    visit = self._next()
                else:  # what `_next` comes to where there is no limit
                    visit = queue.popleft() if queue and not execution.is_over else None
            left -= 1
            if visit is not None and (not left or now > until):
                await self._checkpoint()
                now = current_time()
                left, until = BATCH, now + BATCH_SECONDS

    def _look_after_eldest(self, now: float) -> None:
        """A node's code has ended; should it have been the eldest, another is now."""
        alarm = self._alarm
        deadline = next(iter(self._running)).started + alarm.node_timeout
        if deadline > alarm.covered:
            alarm.cover(deadline, now)

    async def _checkpoint(self) -> None:
        """Let others have their turn."""
        self._rest()
        self._waiting += 1
        await checkpoint()
        self._waiting -= 1

    def _rest(self) -> None:
        """Before this task waits for something else than a node: let nothing be held up.

        Others are to take what is ready; and where no node runs, no deadline may pass that is
        nobody's.
        """
        self._call_helpers()
        if not self._running:
            self._alarm.rest()

    # --- who is told, and what is recorded --------------------------------------------------

    async def _announce(self, visit: Visit, watcher: Watcher) -> float:
        """Tell that a node starts, once there is room. Return the time."""
        if watcher.is_full:
            self._rest()
            self._waiting += 1
            await watcher.wait_room()
            self._waiting -= 1
        name = visit.node.name
        watcher.tell(NodeStarted(name, visit.depth))
        token_sink.set(lambda text: watcher.tell(TokenEmitted(name, text)))
        return current_time()

    async def _attend(self, visit: Visit) -> None:
        """Record a visit that finished, and tell of it."""
        if self._recording is not None:
            await self._recording.write(visit, self._rest)
        if self._watcher is not None:
            self._watcher.tell(NodeFinished(self._execution.result_of(visit)))
            self._watcher.tell(StateUpdated(visit.node.name, visit.update.copy()))

    # --- questions that expire --------------------------------------------------------------

    def _time(self, visit: Visit, nursery: trio.Nursery) -> None:
        """Let a question expire while something else still runs."""
        if self._execution.questions[visit].expires_after < inf:
            self._timers[visit] = trio.CancelScope()
            nursery.start_soon(self._expire_in_time, visit)

    async def _expire_in_time(self, visit: Visit) -> None:
        execution = self._execution
        with self._timers[visit]:
            await trio.sleep(execution.questions[visit].seconds_left)
            if not execution.is_over:
                execution.expire(visit)
                self._call_helpers()
        del self._timers[visit]

    # --- what goes wrong --------------------------------------------------------------------

    def _crash(self, visit: Visit, error: BaseException) -> BaseException | None:
        """Sort what left a node: a question, or a failure; return what has to be raised."""
        execution = self._execution
        execution.sync(visit)
        self._running[visit] = None  # it is there already where it did not run alone
        sole = sole_error(error)
        if self._alarm.scope.cancel_called and not execution.is_over:
            be_late(execution, next(iter(self._running)), self._alarm)
        visit.ended = current_time()
        del self._running[visit]
        if self._running:
            self._look_after_eldest(visit.ended)
        if isinstance(sole, HumanInputRequiredError):
            execution.ask(visit, Question.raised_by(visit.node, sole, execution.wall))
            if self._nursery is not None:
                self._time(visit, self._nursery)
            return None
        if isinstance(error, BaseExceptionGroup) and not isinstance(error, Exception):
            cancelled, other = split_cancelled(error)
            if isinstance(other, Exception):
                execution.fail_node(visit, other)
                return cancelled
        if not isinstance(error, Exception):
            return error
        execution.fail_node(visit, error)
        return None
