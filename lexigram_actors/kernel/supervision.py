"""Supervision at work: the children of one supervisor, or of any actor that spawned some.

What to do is decided in `restarts.py`; here it is done. A restart of one child alone is a plain
call made from the child's own end. Whatever takes several steps (the first start, restarting a
group, closing) runs in a task that exists only that long, and one of these at a time: so a
supervisor that has nothing to do costs no task.

No lock is needed. Between any two awaits each child's `state` and `intent` say all there is to say,
and every step looks at them anew after it has waited.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import checkpoint, current_task, enable_ki_protection

from lexigram_actors.errors import (
    ActorError,
    ActorFailed,
    ActorStopped,
    ChildError,
    ConfigurationError,
    RestartIntensityExceeded,
)
from lexigram_actors.kernel.cell import (
    ALONE,
    BY_HAND,
    DOWN,
    IN_GROUP,
    RESTARTING,
    STARTING,
    TO_RESTART,
    TO_TERMINATE,
    Cell,
    Start,
)
from lexigram_actors.kernel.groups import restart_together
from lexigram_actors.kernel.restarts import (
    must_restart,
    record_restart,
    restart_delay,
    restarts_in_a_row,
    shuts_down,
)
from lexigram_actors.kernel.specs import (
    ActorRestarted,
    AutoShutdown,
    ChildSpec,
    Exit,
    Mailbox,
    Restart,
    Strategy,
    SupervisionPolicy,
    as_mailbox,
    check_behaviour,
    check_seconds,
)
from lexigram_actors.kernel.views import runs_inside

if TYPE_CHECKING:
    from lexigram_actors.kernel.refs import ActorRef
    from lexigram_actors.kernel.system import ActorSystem

TEMPORARY = Restart.TEMPORARY  # as a plain name: see cell.py
DEFAULT_POLICY = SupervisionPolicy()


@final
class Supervision:
    """The children of `owner` (None: of the system itself), in start order."""

    __slots__ = (
        "children",
        "close_error",
        "close_reason",
        "closing",
        "crashed",
        "limit",
        "owner",
        "policy",
        "restart_times",
        "scope",
        "serial",
        "shutdown_due",
        "starting",
        "system",
        "working",
    )

    def __init__(
        self, system: ActorSystem, owner: Cell | None, policy: SupervisionPolicy = DEFAULT_POLICY
    ) -> None:
        self.system = system
        self.owner = owner
        self.policy = policy
        self.children: dict[str, Cell] = {}
        self.restart_times: list[float] = []
        self.crashed: list[Cell] = []  # wait for the task that restarts groups
        self.working = False  # that task, or the first start's, exists
        self.scope: trio.CancelScope | None = None  # its scope
        self.closing = False
        self.close_reason = "shutdown"
        self.close_error: Exception | None = None
        self.limit = inf  # the instant at which whatever still runs is cancelled
        self.serial = 0
        self.starting = False  # the policy's children are not all there yet
        self.shutdown_due = False

    # --- start

    async def spawn(
        self,
        behaviour: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        name: str | None,
        mailbox: float | Mailbox,
        restart: Restart,
        shutdown: float,
    ) -> ActorRef[Any]:
        """Start a child that has no spec of its own."""
        check_behaviour(behaviour)
        check_seconds("shutdown", shutdown)
        if self.system.pacer.due():
            await checkpoint()
        if type(restart) is not Restart:
            raise ConfigurationError(f"restart is a Restart, not {restart!r}")
        if name is None:
            name = self._free_name(behaviour)
        elif not isinstance(name, str) or not name:
            raise ConfigurationError(f"an actor's name is a string, not empty, not {name!r}")
        cell = self._make(
            name, behaviour, args, kwargs, restart, shutdown, as_mailbox(mailbox), False
        )
        return await self._start_by_hand(cell)

    def _free_name(self, behaviour: Any) -> str:
        while True:
            self.serial += 1
            name = f"{_name_of(behaviour)}-{self.serial}"
            if not self.system.registry.has(self._full_name(name)):
                return name

    async def start_child(self, spec: ChildSpec) -> ActorRef[Any]:
        self.policy.check_child(spec)
        if self.system.pacer.due():
            await checkpoint()
        there = self.children.get(spec.id)
        if there is not None:
            known = "already_started" if there.active else "already_present"
            raise ChildError(self.name, spec.id, known)
        if len(self.children) >= self.policy.max_children:
            raise ChildError(self.name, spec.id, "max_children")
        return await self._start_by_hand(self._make_from(spec))

    def _make_from(self, spec: ChildSpec) -> Cell:
        return self._make(
            spec.id,
            spec.behaviour,
            spec.args,
            spec.kwargs,
            spec.restart,
            spec.shutdown,
            as_mailbox(spec.mailbox),
            spec.significant,
        )

    def _make(
        self,
        id: str,
        behaviour: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        restart: Restart,
        shutdown: float,
        mailbox: Mailbox,
        significant: bool,
    ) -> Cell:
        if self.closing:
            raise ActorStopped(self.name, self.close_reason)
        cell = Cell(
            self,
            id,
            self._full_name(id),
            behaviour,
            args,
            kwargs,
            restart,
            shutdown,
            mailbox,
            significant,
        )
        self.system.registry.add(cell)
        self.children[id] = cell
        return cell

    def _full_name(self, id: str) -> str:
        return id if self.owner is None else f"{self.owner.name}/{id}"

    @property
    def name(self) -> str:
        return self.system.name if self.owner is None else self.owner.name

    async def _start_by_hand(self, cell: Cell) -> ActorRef[Any]:
        """Start a child for somebody who waits for it and is told when it fails."""
        self._launch(cell)
        if cell.state is STARTING:
            await cell.wait_started()
        return cell.ref

    def _launch(self, cell: Cell) -> None:
        try:
            cell.start(BY_HAND)
        except BaseException as exc:  # noqa: ASYNC103 - raised again, a failure as `ActorFailed`
            self._keep_or_forget(cell)
            cell.give_up("failed")
            if not isinstance(exc, Exception):
                raise
            cell.last_exit = Exit(cell.name, "failed", exc)
            raise ActorFailed(cell.name, exc) from exc  # noqa: ASYNC104

    def begin(self) -> None:
        """Start the children of the policy, in a task; the owner has started when they have."""
        self.working = self.starting = True
        self.system.nursery.start_soon(self._begin, name=f"{self.name}: start")

    @enable_ki_protection
    async def _begin(self) -> None:
        assert self.owner is not None
        with trio.CancelScope() as self.scope:
            try:
                for spec in self.policy.children:
                    await self._start_by_hand(self._make_from(spec))
            except ActorError as exc:
                self.close("failed", exc, inf)
                return
            except (Exception, trio.Cancelled):
                raise
            except BaseException as exc:  # noqa: ASYNC104, BLE001 - raised from the system's block
                self.system.crash(exc)
                self.close("shutdown", None, 0.0)
                return
            self.starting = False
            self.owner.mark_started()
            if self.shutdown_due:  # a significant child ended while a later one started
                self._consider_shutdown()
            await self._restart_groups()
        self.working = False

    # --- ends and restarts

    def child_ended(self, cell: Cell, exit_: Exit, started: bool) -> None:
        """Decide about a child whose incarnation is over, and do it. A plain call.

        Leaves the cell DOWN, RESTARTING, or running again.
        """
        if self.closing or self.system.torn_down:
            self._keep_or_forget(cell)
        elif cell.intent is TO_RESTART and (started or cell.way is not BY_HAND):
            cell.state = RESTARTING
        elif cell.intent is TO_TERMINATE or (cell.way is BY_HAND and not started):
            self._keep_or_forget(cell)
        elif cell.way is IN_GROUP and not started:
            cell.state = RESTARTING  # the group tries again, or gives up
        elif must_restart(cell.restart, exit_.reason):
            self._restart(cell, exit_)
        else:
            self._keep_or_forget(cell)
            if cell.significant:
                self._consider_shutdown()

    def _keep_or_forget(self, cell: Cell) -> None:
        """A static supervisor keeps its children's specs, except those of temporary ones."""
        keeps = self.owner is not None and self.owner.is_supervisor and not self.policy.dynamic
        if not keeps or cell.restart is TEMPORARY or cell.fresh or self.closing:
            self.forget(cell)

    def forget(self, cell: Cell) -> None:
        if self.children.pop(cell.id, None) is not None:
            self.system.registry.remove(cell)

    def _consider_shutdown(self) -> None:
        """End, if the significant children that ended say so; not before the start is over."""
        policy = self.policy.auto_shutdown
        if policy is AutoShutdown.NEVER:
            return
        if self.starting:
            self.shutdown_due = True
            return
        cells = self.children.values()
        left = [cell.id for cell in cells if cell.significant and cell.state is not DOWN]
        if shuts_down(policy, left):
            self.close("shutdown", None, inf)

    def _restart(self, cell: Cell, exit_: Exit) -> None:
        if self.policy.strategy is not Strategy.ONE_FOR_ONE:
            cell.state = RESTARTING
            self.restart_later(cell)
        elif self.count_restart(exit_):
            cell.state = RESTARTING
            delay = self.delay(cell)
            if delay:
                cell.restart_timer = self.system.timers.call_at(
                    trio.current_time() + delay, partial(self._restart_now, cell)
                )
            else:
                self._restart_now(cell)

    def restart_later(self, crashed: Cell) -> None:
        """Restart a child with its group, after those before it.

        It is counted when its turn comes: by then it may have come back with another's group.
        """
        self.crashed.append(crashed)
        if not self.working:
            self.working = True
            self.system.nursery.start_soon(self._work, name=f"{self.name}: restart")

    def _take_eldest(self) -> Cell:
        """Of those that crashed, the one started first: its group may hold the others."""
        order = {id_: place for place, id_ in enumerate(self.children)}
        eldest = min(self.crashed, key=lambda cell: order.get(cell.id, 0))
        self.crashed.remove(eldest)
        return eldest

    def count_restart(self, exit_: Exit) -> bool:
        """Whether one more restart is within the intensity; escalates when it is not."""
        policy = self.policy
        within, self.restart_times = record_restart(
            self.restart_times, trio.current_time(), policy.max_restarts, policy.period
        )
        if not within:
            self._escalate(exit_)
        return within

    def _escalate(self, exit_: Exit) -> None:
        policy = self.policy
        error = RestartIntensityExceeded(self.name, policy.max_restarts, policy.period, exit_.error)
        if self.owner is None:
            self.system.fail(error)
        elif self.owner.supervision is self and self.owner.is_supervisor:
            self.close("failed", error, inf)
        else:
            self.owner.fail(error)

    def delay(self, cell: Cell) -> float:
        backoff = self.policy.backoff
        if backoff is None:
            return 0.0
        lived = trio.current_time() - cell.begun_at
        cell.restarts_in_a_row = restarts_in_a_row(backoff, cell.restarts_in_a_row, lived)
        return restart_delay(backoff, cell.restarts_in_a_row)

    def _restart_now(self, cell: Cell) -> None:
        cell.restart_timer = None
        if cell.state is not RESTARTING or self.closing:
            return
        if not self.start_again(cell, ALONE):
            # A constructor that raises counts as one more crash. The task between the two lets
            # others run, so that a supervisor with a generous intensity does not spin.
            self.system.nursery.start_soon(self._crash_again, cell, name=f"{cell.name}: restart")

    def start_again(self, cell: Cell, way: Start) -> bool:
        """Start a child once more; False when its constructor raises (see `last_exit`)."""
        error = cell.last_exit.error if cell.last_exit else None
        cell.restarts += 1
        if self.policy.backoff is not None:
            cell.begun_at = trio.current_time()
        try:
            cell.start(way)
        except Exception:  # noqa: BLE001 - it is the child's exit
            cell.state = RESTARTING
            assert cell.last_exit is not None
            self.system.events.publish(cell.last_exit)
            return False
        except BaseException as exc:  # noqa: ASYNC103, BLE001 - raised from the system's block
            self.system.crash(exc)
            return True  # noqa: ASYNC104 - nothing was awaited
        self.system.events.publish(ActorRestarted(cell.name, cell.restarts, error))
        return True

    @enable_ki_protection
    async def _crash_again(self, cell: Cell) -> None:
        await checkpoint()
        if cell.state is RESTARTING and not self.closing and cell.last_exit is not None:
            cell.state = DOWN
            self._restart(cell, cell.last_exit)
            if cell.is_down:
                cell.retire(cell.last_exit)

    def give_up_restart(self, cell: Cell, reason: str) -> None:
        """A child that waits to be restarted is to stay down instead."""
        if cell.restart_timer is not None:
            cell.restart_timer.cancel()
            cell.restart_timer = None
        cell.intent = TO_TERMINATE
        self._keep_or_forget(cell)
        cell.give_up(reason)

    @enable_ki_protection
    async def _work(self) -> None:
        with trio.CancelScope() as self.scope:
            await self._restart_groups()
        self.working = False

    async def _restart_groups(self) -> None:
        while self.crashed and not self.closing:
            cell = self._take_eldest()
            if cell.state is not RESTARTING:
                continue  # an earlier group has taken it along, or it was given up
            assert cell.last_exit is not None
            if self.count_restart(cell.last_exit):
                await restart_together(self, cell)

    # --- by hand

    def _find(self, id: str) -> Cell:
        cell = self.children.get(id)
        if cell is None:
            raise ChildError(self.name, id, "not_found")
        return cell

    async def terminate_child(self, id: str) -> None:
        await self.terminate(self._find(id))

    async def terminate(self, cell: Cell) -> None:
        if cell.state is DOWN:
            await checkpoint()
            return
        if cell.state is RESTARTING:
            self.give_up_restart(cell, "shutdown")
        else:
            cell.intent = TO_TERMINATE
            cell.begin_stop("shutdown", None)
        if cell.alive and not runs_inside(cell, current_task()):
            await cell.next_exit()
        elif self.system.pacer.due():
            await checkpoint()

    async def restart_child(self, id: str) -> ActorRef[Any]:
        cell = self._stopped(id)
        cell.restarts += 1
        return await self._start_by_hand(cell)

    def delete_child(self, id: str) -> None:
        self.forget(self._stopped(id))

    def _stopped(self, id: str) -> Cell:
        cell = self._find(id)
        if cell.state is not DOWN:
            raise ChildError(self.name, id, "running" if cell.active else "restarting")
        return cell

    # --- close

    def close(self, reason: str, error: Exception | None, grace: float) -> None:
        """End the supervisor: stop all children, then its own incarnation. A plain call.

        Called again, the shorter grace holds and the first reason.
        """
        self.hasten(grace)
        if self.closing:
            return
        self.closing = True
        self.close_reason = reason
        self.close_error = error
        if self.scope is not None:
            self.scope.cancel()
        self.system.nursery.start_soon(self._close, name=f"{self.name}: close")

    @enable_ki_protection
    async def _close(self) -> None:
        assert self.owner is not None
        try:
            await self.stop_children()
        finally:
            self.owner.end(self.close_reason, self.close_error)

    def hasten(self, grace: float) -> None:
        """Whatever still runs `grace` seconds from now is cancelled."""
        if grace == inf:
            return
        self.limit = min(self.limit, trio.current_time() + grace)
        for cell in tuple(self.children.values()):
            if cell.stop_reason is not None:
                cell.begin_stop(cell.stop_reason, self._grace(cell))

    def _grace(self, cell: Cell) -> float | None:
        """What a child gets: its own deadline, or what the limit leaves of it."""
        if self.limit == inf:
            return None
        left = max(0.0, self.limit - trio.current_time())
        if cell.is_supervisor:
            return left if cell.shutdown else 0.0
        return min(cell.shutdown, left)

    async def stop_children(self) -> None:
        """Stop all children, the last started first; a dynamic supervisor's all at once."""
        self.closing = True
        cells = list(reversed(self.children.values()))
        if self.policy.dynamic:
            for cell in cells:
                self._stop_child(cell)
        for cell in cells:
            self._stop_child(cell)
            if cell.alive:
                await cell.wait_down()
            elif self.system.pacer.due():
                await checkpoint()
        for cell in cells:
            self.forget(cell)

    def _stop_child(self, cell: Cell) -> None:
        reason = self.owner.stop_reason if self.owner is not None else None
        if reason is None or reason == "stopped":
            reason = "shutdown"
        if cell.state is RESTARTING:
            self.give_up_restart(cell, reason)
        elif cell.state is not DOWN:
            cell.begin_stop(reason, self._grace(cell))


def _name_of(behaviour: Any) -> str:
    """What an actor without a name is called after."""
    if isinstance(behaviour, partial):
        return _name_of(behaviour.func)
    name = getattr(behaviour, "__name__", None) or type(behaviour).__name__
    return str(name)
