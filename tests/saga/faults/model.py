"""What a saga may do, from its promises alone: a machine that reads what happened, event by event.

Nothing here looks at the library. What is on disk when a process dies is not known to whoever only
sees effects: a step that has ended may or may not have been recorded. So the machine keeps every
state that what it has read is consistent with, and refuses an event that none of them allows.

The promises:

- A step is recorded before anything behind it begins; the end of one stage before the next.
- Before the first undo it is recorded that there is undoing; before each, which one it is.
- After a crash a step that was not recorded runs again. So does an undo, if it may run twice; else
  it is parked.
- A step that was cut off by a cancellation, or the time-out of its last attempt, is in doubt. So is
  one that was at work at a crash, where it does not run again because the saga is to end by then.
- What is done is undone in reverse, what is in doubt first; what fails does not stop the rest.
- Once a pivot is done nothing is undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, final

from attrs import evolve

from tests.saga.faults.plans import Case, StepPlan
from tests.saga.faults.states import Event, Known, State


class Refused(AssertionError):
    """A saga did what it must not do."""


NOBODY: Final[frozenset[str]] = frozenset()
MOST_STATES: Final = 2000


@final
class Machine:
    """Reads events; `Refused` says which one must not have happened.

    Args:
        is_cut: Whether the saga may be cancelled, at any moment. None: as the case has it.
        hidden_crashes: How often its progress may be read again from disk, unseen: where a store
            reports a failure, or a host closes.
    """

    def __init__(self, case: Case, *, is_cut: bool | None = None, hidden_crashes: int = 0) -> None:
        self.case = case
        self.is_cut = case.is_cut if is_cut is None else is_cut
        self.steps = {step.name: step for step in case.steps}
        self.hidden_crashes = hidden_crashes
        self.known: frozenset[Known] = frozenset({Known()})

    def read(self, events: Sequence[Event]) -> None:
        for place, event in enumerate(events):
            before = self.widened()
            self.known = frozenset(after for each in before for after in self.after(each, event))
            if not self.known:
                raise Refused(
                    f"{event!r} must not happen after {list(events[:place])}; "
                    f"what follows: {list(events[place + 1 :])}; known before: "
                    f"{sorted(map(repr, before))[:6]}"
                )
            assert len(self.known) < MOST_STATES

    def widened(self) -> frozenset[Known]:
        """Return what may be by now, without anything seen."""
        found = set(self.known)
        if self.is_cut:
            found |= {cut for each in found for cut in self.cut(each)}
        for _ in range(self.hidden_crashes):
            found |= {after for each in found for after in self.crashed(each)}
            if self.is_cut:
                found |= {cut for each in found for cut in self.cut(each)}
        return frozenset(found)

    def cut(self, known: Known) -> Iterator[Known]:
        """Yield what is known after a cancellation while nothing is at work."""
        now = known.now
        if now.phase != "running" or now.flight:
            return
        yield from self.turned(known, now, NOBODY)

    def coming(self, now: State) -> frozenset[str]:
        """Return what may be at work behind what is done."""
        left = [step for step in self.case.steps if step.name not in now.done]
        return frozenset(step.name for step in left if step.stage == left[0].stage)

    def after(self, known: Known, event: Event) -> Iterable[Known]:
        transition = getattr(self, f"on_{event.what}")
        found: Iterable[Known] = transition(known, event)
        return found

    # --- forward

    def on_start(self, known: Known, event: Event) -> Iterable[Known]:
        if known.now.phase == "halted":
            now = evolve(known.now, phase="running", tries=frozenset(), failed=NOBODY, stops=False)
            return [Known(now, known.disk | {known.now})]
        return [known]

    def on_do(self, known: Known, event: Event) -> Iterable[Known]:
        now, step = known.now, self.steps[event.name]
        earlier = {each.name for each in self.case.steps if each.stage < step.stage}
        beside = {f"do {each.name}" for each in self.case.steps if each.stage == step.stage}
        may = (
            now.phase == "running"
            and not now.stops
            and step.name not in now.done
            and earlier <= set(now.done)
            and now.flight <= beside - {f"do {step.name}"}
            and now.tried(f"do {step.name}") < step.attempts
        )
        if may:
            flight = now.flight | {f"do {step.name}"}
            name = {step.name}
            now = evolve(now, flight=flight, maybe=now.maybe - name, unseen=now.unseen - name)
            # What stands behind it must have been recorded by now.
            disk = {d for d in known.disk if d.phase == "running" and earlier <= set(d.done)}
            yield Known(now, frozenset(disk))

    def on_did(self, known: Known, event: Event) -> Iterable[Known]:
        now, step = known.now, self.steps[event.name]
        doing = f"do {step.name}"
        if doing not in now.flight:
            return
        if event.how == "ok":
            done = evolve(now, done=(*now.done, step.name), flight=now.flight - {doing})
            if done.stops:
                yield from self.turned(known, done, done.failed)
            else:
                yield known.written(done)
            return
        if event.how != "cut" or step.name in self.case.late:
            yield from self.failed(known, step, in_doubt=event.how == "cut")
        if event.how == "cut" and self.is_cut:
            cut = evolve(
                now, doubt=now.doubt | {step.name}, flight=now.flight - {doing}, stops=True
            )
            yield from self.turned(known, cut, now.failed | {step.name})

    def failed(self, known: Known, step: StepPlan, *, in_doubt: bool) -> Iterator[Known]:
        now = known.now.failing_again(f"do {step.name}")
        if now.tried(f"do {step.name}") < step.attempts and not now.stops:
            yield Known(now, known.disk)
            return
        doubt = now.doubt | {step.name} if in_doubt else now.doubt
        now = evolve(now, doubt=doubt, stops=True, failed=now.failed or frozenset({step.name}))
        yield from self.turned(known, now, now.failed)

    def turned(self, known: Known, now: State, failed: frozenset[str]) -> Iterator[Known]:
        """Yield what is known once nothing more is tried; it turns when nothing is at work."""
        now = evolve(now, failed=failed, stops=True)
        if now.flight:
            yield known.written(now)
            return
        for doubtful in (now.maybe, now.maybe | now.unseen):
            yield known.written(self.backwards(evolve(now, doubt=now.doubt | doubtful)))

    def backwards(self, now: State) -> State:
        """Return the state in which it goes back, or stays where it is past its pivot."""
        now = evolve(now, maybe=NOBODY, unseen=NOBODY)
        if any(self.steps[name].pivot for name in now.done):
            return evolve(now, phase="halted", doubt=frozenset())
        return self.parked(evolve(now, phase="undoing", tries=frozenset()))

    def parked(self, now: State) -> State:
        """Return the state with that parked of which it cannot be known whether it happened."""
        if self.case.probes:
            return now
        lost = {n for n in now.doubt if not (self.steps[n].undo and self.steps[n].idempotent)}
        return evolve(now, doubt=now.doubt - lost, stuck=now.stuck | lost)

    # --- back

    def left(self, now: State) -> list[str]:
        """Return what is still to be undone, the next one first."""
        return [
            name
            for name in reversed(now.done)
            if self.steps[name].undo and name not in now.settled and name not in now.stuck
        ]

    def next_undos(self, now: State) -> list[str]:
        """Return what may be undone next."""
        if now.phase != "undoing" or now.flight:
            return []
        again = [what.removeprefix("undo ") for what, _ in now.tries if what.startswith("undo")]
        again = [name for name in again if name not in now.stuck and name not in now.settled]
        if again:
            return again
        if now.doubt and not self.case.probes:
            return sorted(now.doubt)
        return [] if now.doubt else self.left(now)[:1]

    def on_probe(self, known: Known, event: Event) -> Iterable[Known]:
        now = known.now
        may = now.phase == "undoing" and not now.flight and self.case.probes
        if may and event.name in now.doubt:
            yield Known(evolve(now, flight=frozenset({f"probe {event.name}"})), frozenset())

    def on_probed(self, known: Known, event: Event) -> Iterable[Known]:
        now, name = known.now, event.name
        if f"probe {name}" not in now.flight:
            return
        now = evolve(now, flight=frozenset(), doubt=now.doubt - {name})
        if event.how == "yes":
            now = evolve(now, done=(*now.done, name))
        elif event.how != "no":
            now = evolve(now, stuck=now.stuck | {name})
        yield known.written(now)

    def on_undo(self, known: Known, event: Event) -> Iterable[Known]:
        if event.name in self.next_undos(known.now):
            now = evolve(known.now, flight=frozenset({f"undo {event.name}"}))
            yield Known(now)  # that it begins is recorded, with all that was before

    def on_undid(self, known: Known, event: Event) -> Iterable[Known]:
        now, step = known.now, self.steps[event.name]
        undoing = f"undo {step.name}"
        if undoing not in now.flight:
            return
        if event.how == "ok":
            now = evolve(
                now,
                flight=frozenset(),
                settled=now.settled | {step.name},
                doubt=now.doubt - {step.name},
            )
            yield known.written(now)
            return
        now = now.failing_again(undoing)
        if step.idempotent and now.tried(undoing) < step.undo_attempts:
            yield Known(now, known.disk | {known.now})
            return
        yield known.written(self.given_up(now, step.name))

    def given_up(self, now: State, name: str) -> State:
        return evolve(now, stuck=now.stuck | {name}, doubt=now.doubt - {name})

    # --- crashes, ends, operators

    def on_crash(self, known: Known, event: Event) -> Iterable[Known]:
        return self.crashed(known)

    def crashed(self, known: Known) -> Iterator[Known]:
        """Yield what may be read from disk, and what becomes of what was at work."""
        for disk in {known.now} | known.disk:
            yield from self.recovered(disk)

    def recovered(self, disk: State) -> Iterator[Known]:
        fresh = evolve(disk, flight=frozenset(), tries=frozenset())
        if disk.phase != "undoing":
            if disk.phase == "running":
                flight = {each.removeprefix("do ") for each in disk.flight}
                fresh = evolve(
                    fresh,
                    doubt=frozenset(),
                    stops=False,
                    failed=NOBODY,
                    maybe=disk.maybe | flight,
                    unseen=self.coming(disk),
                )
            yield Known(fresh)
            return
        undoing = [each.removeprefix("undo ") for each in disk.flight if each.startswith("undo")]
        # Where none was at work yet it may be recorded already which one it would be.
        may_be = undoing or self.next_undos(fresh)
        for name in may_be:
            if not self.steps[name].idempotent:
                yield Known(self.given_up(fresh, name), frozenset({disk}))
        if not undoing or self.steps[undoing[0]].idempotent:
            yield Known(fresh)

    def on_end(self, known: Known, event: Event) -> Iterable[Known]:
        now = known.now
        if now.flight:
            return
        is_done = now.phase in ("running", "completed") and set(now.done) == set(self.steps)
        if event.how in ("ok", "cancelled") and is_done and not event.stuck:
            yield Known(evolve(now, phase="completed"))
        if event.how in ("err", "cancelled") and self.has_ended(now):
            is_named = not event.name or not now.failed or event.name in now.failed
            if event.stuck == now.stuck and is_named:
                yield Known(now)

    def has_ended(self, now: State) -> bool:
        """Whether nothing is left to do, and not all went well."""
        if now.phase == "halted":
            return not now.stuck
        return now.phase == "undoing" and not now.doubt and not self.next_undos(now)

    def on_retry(self, known: Known, event: Event) -> Iterable[Known]:
        now = known.now
        if not self.has_ended(now):
            return
        again = {name for name in now.stuck if self.steps[name].undo}
        doubtful = tuple(name for name in sorted(again) if name not in now.done)
        now = evolve(now, stuck=now.stuck - again, tries=frozenset())
        yield known.written(evolve(now, done=(*now.done, *doubtful)))
        if self.case.probes and doubtful:  # it may ask once more
            yield known.written(evolve(now, doubt=now.doubt | set(doubtful)))

    def on_skip(self, known: Known, event: Event) -> Iterable[Known]:
        if event.name in known.now.stuck:
            now = evolve(
                known.now,
                stuck=known.now.stuck - {event.name},
                settled=known.now.settled | {event.name},
            )
            yield known.written(now)

    on_force = on_skip
