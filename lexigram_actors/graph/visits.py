"""Executions of nodes, their causal past, and the one order in which they are merged. Pure.

**The problem.** What a node sees must not depend on which of two branches was faster. So it sees
the merge of its causal past only, and that merge is done in an order that time has no part in.

**Merge order.** By depth (the length of the longest way that led there), then by the order in which
nodes were registered, then by the order of the parents, at last by which edge or `Send` of the same
parent it was. Whoever comes later in it has not influenced whoever comes earlier.

**The trick.** Along a single line nothing has to be merged: the state moves on from visit to visit,
and each writes into it. Only where branches meet the past is looked at: the nearest visit that lies
on all ways to all of them (the dominator) kept its state, and what was written since is applied to
it once, in merge order. So a step costs the same however long the run is, and a join costs what
lies between it and the fork.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cmp_to_key
from itertools import groupby
from typing import cast, final

from lexigram_actors.errors import GraphExecutionError, StateConflictError
from lexigram_actors.errors.base import describe
from lexigram_actors.graph.compiled import CompiledNode, Route
from lexigram_actors.graph.definition import Reducer, State


@final
class Visit:
    """One execution of a node.

    Attributes:
        depth: The length of the longest way that led here; the entry's is 1.
        parents: Those whose arrivals started it, in merge order.
        slots: For each parent, which of its edges or sends led here.
        update: What it wrote, once it has finished.
        overlay: What it alone sees on top of the state; None if nothing.
        state: What its causal past wrote; from its end on with its own update. None once that was
            handed on to the only successor.
        is_shared: Whether others refer to `state` too, so that it has to be copied to be changed.
        dominator: The nearest visit on all ways that led here; None for the start.
        started, ended: By the Trio clock.
        side_by_side: Whether it may run beside others even where one at a time is the rule.
        ends: Whether its node was terminal.
        routes: Where it led.
    """

    # Slots for what every visit has; a dict for the rest, which few have, and defaults for it.
    __slots__ = (
        "__dict__",
        "depth",
        "dominator",
        "ended",
        "ends",
        "is_shared",
        "node",
        "parents",
        "routes",
        "slots",
        "started",
        "state",
        "update",
    )
    overlay: State | None = None
    side_by_side = False

    node: CompiledNode
    update: State
    started: float
    ended: float
    ends: bool
    routes: tuple[Route, ...]

    def __init__(
        self,
        node: CompiledNode,
        depth: int,
        parents: tuple[Visit, ...],
        slots: tuple[int, ...],
        state: State | None,
        dominator: Visit | None,
        is_shared: bool = False,
    ) -> None:
        self.node = node
        self.depth = depth
        self.parents = parents
        self.slots = slots
        self.state = state
        self.dominator = dominator
        self.is_shared = is_shared

    @classmethod
    def at_start(cls, state: State) -> Visit:
        """Return the visit before the first: no node, and the state to begin with."""
        return cls(cast("CompiledNode", None), 0, (), (), state, None)

    def __repr__(self) -> str:
        return f"Visit({self.node.name!r}, depth={self.depth})"

    def __lt__(self, other: Visit) -> bool:
        return compare(self, other) < 0


def follows(visit: Visit, node: CompiledNode) -> bool:
    """Say whether a visit of `node` lies in the causal past of this one."""
    found: set[Visit] = set()
    waiting = [visit]
    while waiting:
        for parent in waiting.pop().parents:
            if parent.depth and parent.node is node:
                return True
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return False


Arrival = tuple[Visit, int, bool]
"""A visit that has finished and leads on to a node; by which of its edges; whether that edge lets
the node run beside others. A plain tuple, for one is made for each branch."""


# --- order -----------------------------------------------------------------------------------


def compare(one: Visit, other: Visit) -> int:
    """Return a negative number where `one` comes first in merge order, 0 for the same visit."""
    while True:
        if one is other:
            return 0
        if one.depth != other.depth:
            return one.depth - other.depth
        if one.node.index != other.node.index:
            return one.node.index - other.node.index
        for one_parent, other_parent, one_slot, other_slot in zip(
            one.parents, other.parents, one.slots, other.slots, strict=False
        ):
            if one_parent is not other_parent:
                one, other = one_parent, other_parent
                break
            if one_slot != other_slot:
                return one_slot - other_slot
        else:
            return len(one.parents) - len(other.parents)


def in_merge_order(visits: Iterable[Visit]) -> list[Visit]:
    """Return a few visits sorted by merge order."""
    ordered = sorted(visits, key=_coarse)
    if len(set(map(_coarse, ordered))) < len(ordered):  # ties, which the parents decide
        ordered.sort(key=cmp_to_key(compare))
    return ordered


def past_in_merge_order(visits: Collection[Visit]) -> list[Visit]:
    """Return visits sorted by merge order; with each the parents are among them, as far as it goes.

    Where branches run through the same nodes side by side, each visit of one is a tie with one of
    the other, and asking the parents of each would lead back to the fork. Here they have their
    places when their turn comes.
    """
    coarse = [visit.depth << 32 | visit.node.index for visit in visits]
    in_order = sorted(coarse)
    if len(set(coarse)) == len(coarse):
        if coarse == in_order:  # as where nothing waited
            return list(visits)
        by_place = dict(zip(coarse, visits, strict=True))
        return [by_place[place] for place in in_order]
    places: dict[Visit, int] = {}
    for _, group in groupby(sorted(visits, key=_coarse), key=_coarse):
        tied = list(group)
        if len(tied) > 1:
            tied.sort(
                key=lambda visit: [
                    (places.get(parent, -1), slot)
                    for parent, slot in zip(visit.parents, visit.slots, strict=True)
                ]
            )
        for visit in tied:
            places[visit] = len(places)
    return list(places)


def _coarse(visit: Visit) -> int:
    return visit.depth << 32 | visit.node.index


def sorted_arrivals(arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
    """Return arrivals in merge order of their visits, those of one visit by slot."""
    by_place = {each[0].depth << 32 | each[0].node.index: each for each in arrivals}
    if len(by_place) == len(arrivals):
        return [by_place[place] for place in sorted(by_place)]
    return sorted(arrivals, key=cmp_to_key(_compare_arrivals))


def _compare_arrivals(one: Arrival, other: Arrival) -> int:
    return compare(one[0], other[0]) or one[1] - other[1]


# --- state -----------------------------------------------------------------------------------


def write(state: State, update: State, reducers: Mapping[str, Reducer]) -> None:
    """Apply an update to a state, in place.

    Raises:
        GraphExecutionError: A reducer raised.
    """
    if not reducers:
        state.update(update)
        return
    for key, value in update.items():
        reducer = reducers.get(key)
        if reducer is None or key not in state:
            state[key] = value
            continue
        try:
            state[key] = reducer(state[key], value)
        except Exception as error:
            raise GraphExecutionError(
                f"the reducer of the key {key!r} failed: {describe(error)}", cause=error
            ) from error


def dominator_of(visits: Sequence[Visit]) -> Visit:
    """Return the nearest visit that lies on all ways to all of these; one of them, it may be."""
    nearest = visits[0]
    if len(visits) > 1 and nearest.dominator is not None:
        shared = nearest.dominator
        if all([visit.dominator is shared for visit in visits]):  # noqa: C419 - half the time
            return shared
    for visit in visits[1:]:
        while nearest is not visit:
            if nearest.depth >= visit.depth:  # a dominator's is always less
                assert nearest.dominator is not None
                nearest = nearest.dominator
            else:
                assert visit.dominator is not None
                visit = visit.dominator
    return nearest


def past_since(base: Visit, visits: Sequence[Visit]) -> list[Visit]:
    """Return these visits and their causal past behind `base`, in merge order.

    `base` lies on all ways to them, who stand in merge order themselves.
    """
    just_behind = (base,)
    if all([visit.parents == just_behind for visit in visits]):  # noqa: C419 - half the time
        return list(visits)
    found = set(visits)
    found.discard(base)
    waiting = list(found)
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not base and parent not in found:
                found.add(parent)
                waiting.append(parent)
    return past_in_merge_order(found)


def merged(
    visits: Sequence[Visit],
    base: Visit,
    reducers: Mapping[str, Reducer],
    *,
    conflicts_matter: bool,
) -> State:
    """Return a fresh state with all that these visits and their causal past wrote.

    Args:
        base: Their dominator.

    Raises:
        StateConflictError: `conflicts_matter`, and two of them that did not know of each other
            wrote one key that has no reducer.
        GraphExecutionError: A reducer raised.
    """
    while base.state is None:
        assert base.dominator is not None
        base = base.dominator
    assert base.state is not None
    state = dict(base.state)
    past = past_since(base, visits)
    if conflicts_matter:
        refuse_conflicts(past, reducers)
    for visit in past:
        if reducers:
            write(state, visit.update, reducers)
        else:
            state.update(visit.update)
    return state


def refuse_conflicts(past: Sequence[Visit], reducers: Mapping[str, Reducer]) -> None:
    """Refuse writes of one key by visits of which neither lies in the past of the other.

    `past` stands in merge order, in which whoever influences comes before whom it influences. All
    writers of a key know of each other if each knows of the one before.

    Raises:
        StateConflictError: There are such; the first key that is met is named.
    """
    places = {visit: place for place, visit in enumerate(past)}
    known: list[int] = []  # for each visit the bits of its causal past, by place
    last: dict[str, int] = {}
    for place, visit in enumerate(past):
        bits = 0
        for parent in visit.parents:
            above = places.get(parent)
            if above is not None:
                bits |= known[above] | 1 << above
        known.append(bits)
        for key in visit.update:
            if key in reducers:
                continue
            before = last.get(key)
            if before is not None and not bits >> before & 1:
                raise StateConflictError(key, [past[before].node.name, visit.node.name])
            last[key] = place
