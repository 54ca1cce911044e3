"""Runs the steps of a level one at a time, in the task of the caller.

Steps that are a function and at most a time limit are taken in stretches: what stands around other
steps costs three times as much as they do. Those with a time limit share a cancel scope, whose
deadline moves with them (`Limit`).

**Invariants of a stretch with a scope:**

- Nothing but the work of its steps runs inside: no handler, no checkpoint, no step of another
  kind. So the scope never fires at what has no time limit, and a step without one may leave a
  nursery open behind it.
- It ends with a step that fails or is late, and before one that starts when the deadline of an
  earlier one is past: a scope that fired stays cancelled, and would fire at what follows.

A step that is quick and never waits costs less than a checkpoint, so there is not one for each,
but one after 100 steps or 1 ms, whichever is first: others, and a cancellation, wait no longer.
"""

from __future__ import annotations

import math
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, final

import trio

from lexigram_actors.invoking import PLAIN_TYPES
from lexigram_actors.pipeline.attempts import error_of, late
from lexigram_actors.pipeline.helpers import recover
from lexigram_actors.pipeline.models import completed
from lexigram_actors.pipeline.recording import Record
from lexigram_actors.pipeline.tree import Node
from lexigram_actors.result import Err, Ok

if TYPE_CHECKING:
    from lexigram_actors.pipeline.run import Level

LONGEST_TURN: Final = 100
TURN_SECONDS: Final = 0.001

SLACK: Final = 0.001
"""Seconds; a hundredth of the time limit where that is less."""


@final
class Limit:
    """A cancel scope for steps that follow each other, each with its own time limit.

    Moving a deadline costs as much as a small step, so it is not done for each: it is set later
    than it need be by the slack, and serves for all steps with the same limit that start
    meanwhile. It never fires early, and late by the slack at most.

    Args:
        has_slack: False: none; for a clock that stands still between steps, as one for tests does,
            and is to be followed exactly.
    """

    __slots__ = ("_deadline", "_slack", "scope", "serves_until")

    def __init__(self, now: float, timeout: float, *, has_slack: bool) -> None:
        self._slack = SLACK if has_slack else 0.0
        slack = min(self._slack, timeout / 100)
        self._deadline = now + timeout + slack
        self.serves_until = now + slack
        """Steps with this limit that start before are served by the deadline as it is."""
        self.scope = trio.CancelScope(deadline=self._deadline)

    def is_moved_for(self, now: float, timeout: float) -> bool:
        """Let the step that starts now have its time; say no where the scope may have fired."""
        if now >= self._deadline:
            return False
        slack = min(self._slack, timeout / 100)
        self._deadline = self.scope.deadline = now + timeout + slack
        self.serves_until = now + slack
        return True


@final
class Sequence:
    """The steps of a level on their way, one at a time."""

    __slots__ = ("_broken", "_clock", "_index", "_left", "_level", "_node", "_now", "_pause")

    def __init__(self, level: Level) -> None:
        self._level = level
        self._clock = level.run.clock
        self._now = self._pause = self._clock()
        self._left = LONGEST_TURN
        self._index = 0
        self._broken: dict[int, int] = {}

    async def run(self) -> None:
        """Run the steps to the end, or to the first failure where that ends the level."""
        level = self._level
        nodes, order = level.tree.nodes, level.tree.plan.order
        is_recorded = level.run.checkpoint is not None
        while self._index < len(order):
            position = order[self._index]
            if self._broken and self._is_skipped(position):
                self._index += 1
                continue
            if not self._left or self._now - self._pause > TURN_SECONDS:
                await self._leave_others_their_turn()
            node = nodes[position]
            if not is_recorded and is_plain(node):
                record = await self._stretch(node.step.timeout)
            else:
                record = await self._step(node)
            if record is not None and record.error is not None:
                position = order[self._index - 1]
                self._broken[position] = position
                level.has_failed = True
                if level.fail_fast:
                    return

    def _is_skipped(self, position: int) -> bool:
        culprit = self._level.tree.plan.culprit(position, self._broken)
        if culprit is None:
            return False
        self._broken[position] = culprit
        self._level.skip_behind(position, culprit)
        return True

    async def _leave_others_their_turn(self) -> None:
        await trio.lowlevel.checkpoint()
        self._now = self._pause = self._clock()
        self._left = LONGEST_TURN

    async def _step(self, node: Node) -> Record:
        record = await self._level.step(node)
        self._keep(record)
        return record

    def _keep(self, record: Record) -> None:
        level = self._level
        level.records[level.tree.plan.order[self._index]] = record
        self._index += 1
        self._left -= 1
        self._now = self._clock()

    # --- a stretch --------------------------------------------------------------------------

    async def _stretch(self, timeout: float | None) -> Record | None:
        """Run plain steps that follow each other; return the record of the last if it failed.

        Args:
            timeout: Of the first; all have one, or none has.
        """
        level = self._level
        try:
            if timeout is None:
                error = await self._plain_steps(None)
            else:
                error = await self._limited_steps(timeout)
            if error is None:
                return None
            result = await recover(self._node.step, level.run.context, error)
        except BaseException as error:  # noqa: BLE001 - what of it passes is raised
            raise level.cut_off(self._node, self._now, error)  # noqa: ASYNC104, B904
        record = level.ended(self._node, result, self._now)
        self._keep(record)
        return record

    async def _limited_steps(self, timeout: float) -> Exception | None:
        limit = Limit(self._now, timeout, has_slack=self._clock() > self._now)
        try:
            with limit.scope:
                return await self._plain_steps(limit)
        except Exception as error:  # noqa: BLE001 - a group, of which the scope took its part
            return error_of(error)
        return late(self._node.step)

    async def _plain_steps(self, limit: Limit | None) -> Exception | None:
        """Run steps until one fails, of which the error is returned, or the stretch ends."""
        level = self._level
        context, ended, records = level.run.context, level.run.records, level.records
        nodes, order = level.tree.nodes, level.tree.plan.order
        clock, index, started = self._clock, self._index, self._now
        # After a failure each step is a stretch, since it may have to be skipped.
        end = index + 1 if self._broken else min(len(order), index + self._left)
        turn_ends = self._pause + TURN_SECONDS
        position = order[index]
        node = nodes[position]
        step: Any = node.step
        timeout = step.timeout
        serves_until = math.inf if limit is None else limit.serves_until
        try:
            while True:
                self._node = node
                value = step.func(context)
                kind = type(value)
                if kind is CoroutineType or (kind not in PLAIN_TYPES and isawaitable(value)):
                    value = await value
                    kind = type(value)
                if kind is Ok:
                    value = value.value
                elif kind is Err:
                    return error_of(value.error)
                # One look at the clock serves for the end of this and the beginning of the next.
                now = clock()
                name = node.name
                context.step_results[name] = value
                records[position] = record = completed(name, value, now - started)
                ended.append(record)
                started = now
                index += 1
                if index == end or now > turn_ends:
                    return None
                position = order[index]
                node = nodes[position]
                step = node.step
                if (  # as `is_plain` asks, without the time of a call
                    not node.is_function
                    or step.skip_condition is not None
                    or step.cleanup_func is not None
                    or step.resilience is not None
                ):
                    return None
                if step.timeout != timeout or now >= serves_until:
                    timeout = step.timeout
                    if limit is None or timeout is None or not limit.is_moved_for(now, timeout):
                        return None
                    serves_until = limit.serves_until
        except Exception as error:  # noqa: BLE001 - whatever it is, the step failed
            return error_of(error)
        finally:
            self._left -= index - self._index
            self._index, self._now = index, started


def is_plain(node: Node) -> bool:
    """Say whether the step is a function, and at most a time limit and a handler."""
    step: Any = node.step
    return (
        node.is_function
        and step.skip_condition is step.cleanup_func is None
        and step.resilience is None
    )
