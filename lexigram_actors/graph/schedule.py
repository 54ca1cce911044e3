"""When a node may start: from graph, active nodes and arrivals to what starts and what waits. Pure.

**The rule.** An arrival at a node that joins is held while any other node that is running, ready or
asked about can still reach it; then the node starts once, with everything that arrived. A node in a
loop does not wait for itself. Where only held nodes are left that could reach each other, waiting
would never end: of those that no other one can reach all start, and of a circle of them the first
in merge order.

**Why it cannot depend on timing.** A node that starts can no longer be reached by anything active,
so nothing that is still to come was missed; and whatever could have arrived has. Which of a circle
starts is decided when nothing outside can reach the circle any more, so its members and what has
arrived there are settled too.

**Cost.** Each held node counts the active executions that can reach it. Beginning and ending one
touches the counts of the held nodes only, which are few; with none of them it touches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar, final

A = TypeVar("A")


@final
class Held(Generic[A]):
    """A node that waits for further arrivals.

    Attributes:
        blockers: How many active executions can reach the node.
        depth: How deep the deepest of the arrivals lies; with the node's index it says where the
            execution would stand in merge order.
    """

    __slots__ = ("arrivals", "blockers", "depth")

    def __init__(self, blockers: int, arrival: A, depth: int) -> None:
        self.arrivals = [arrival]
        self.blockers = blockers
        self.depth = depth


@final
class Schedule(Generic[A]):
    """Who is active and who waits, by the index of the nodes.

    Args:
        reach: For each node the bits of the nodes it can reach in one step or more.
    """

    __slots__ = ("active", "free", "held", "reach", "total")

    def __init__(self, reach: Sequence[int]) -> None:
        self.reach = reach
        self.active: dict[int, int] = {}
        """How many executions of each node are active; none is 0."""
        self.total = 0
        self.held: dict[int, Held[A]] = {}
        self.free = 0
        """How many of the held nodes nothing active can reach."""

    def begin(self, node: int) -> None:
        """Count an execution as active: it is ready, runs, or waits for an answer."""
        self.active[node] = self.active.get(node, 0) + 1
        self.total += 1
        if self.held:
            self._block(node, 1)

    def end(self, node: int) -> None:
        """Count it no more."""
        left = self.active[node] - 1
        if left:
            self.active[node] = left
        else:
            del self.active[node]
        self.total -= 1
        if self.held:
            self._block(node, -1)

    def move(self, node: int) -> None:
        """Let `node` begin in place of the only active execution; nothing is held."""
        self.active = {node: 1}

    def clear(self) -> None:
        """Count the only active execution no more; nothing is held."""
        self.active = {}
        self.total = 0

    def _block(self, node: int, change: int) -> None:
        reach = self.reach[node]
        for target, held in self.held.items():
            if reach >> target & 1:
                if not held.blockers:
                    self.free -= 1
                held.blockers += change
                if not held.blockers:
                    self.free += 1

    def hold(self, node: int, arrival: A, depth: int) -> None:
        """Let an arrival wait at a node that joins.

        Args:
            depth: How deep the execution lies that has arrived.
        """
        held = self.held.get(node)
        if held is not None:
            held.arrivals.append(arrival)
            if depth > held.depth:
                held.depth = depth
            return
        blockers = sum(
            count for other, count in self.active.items() if self.reach[other] >> node & 1
        )
        self.held[node] = Held(blockers, arrival, depth)
        self.free += not blockers

    def pass_on(self, node: int, target: int, arrival: A, depth: int) -> None:
        """End an execution of `node`, and let its arrival wait at `target`.

        As `end` and `hold`, written out: every branch of a fan-out comes by here.
        """
        active, held = self.active, self.held
        left = active[node] - 1
        if left:
            active[node] = left
        else:
            del active[node]
        self.total -= 1
        if held:
            reach = self.reach[node]
            for other, each in held.items():
                if reach >> other & 1:
                    each.blockers -= 1
                    self.free += not each.blockers
        waiting = held.get(target)
        if waiting is None:
            self.hold(target, arrival, depth)
            return
        waiting.arrivals.append(arrival)
        if depth > waiting.depth:
            waiting.depth = depth

    def try_begin(self, nodes: Sequence[int]) -> bool:
        """Let all these begin at once; False if one of them might have to wait, and none began.

        For what follows an execution that has ended, where nothing else is active or held.
        """
        if self.total or self.held:
            return False
        reached = wanted = 0
        for node in nodes:
            wanted |= 1 << node
            reached |= self.reach[node]
        if reached & wanted or wanted.bit_count() != len(nodes):
            return False
        self.active = dict.fromkeys(nodes, 1)
        self.total = len(nodes)
        return True

    def release(self) -> list[tuple[int, list[A]]]:
        """Return the nodes whose wait is over, in merge order, with what arrived.

        They are held no more, and have begun.
        """
        if not self.free:
            return []
        free = [node for node, held in self.held.items() if not held.blockers]
        starting = free if len(free) == 1 else self._first_of(free)
        released = [(node, self.held.pop(node).arrivals) for node in starting]
        self.free -= len(released)
        for node, _ in released:
            self.begin(node)
        return released

    def _first_of(self, free: list[int]) -> list[int]:
        """Return those that no other one can reach, and of each circle of such the first."""
        ranked = sorted(free, key=lambda node: (self.held[node].depth, node))
        reached = 0
        for node in ranked:
            reached |= self.reach[node]
        if not any(reached >> node & 1 for node in ranked):
            return ranked
        starting: list[int] = []
        for position, node in enumerate(ranked):
            others = (other for other in ranked if other != node and self._reaches(other, node))
            # One that is reached may still start: as the first of a circle that reaches all of it.
            circle = all(self._reaches(node, other) for other in others)
            if circle and not any(self._reaches(earlier, node) for earlier in ranked[:position]):
                starting.append(node)
        return starting

    def _reaches(self, node: int, target: int) -> bool:
        return bool(self.reach[node] >> target & 1)
