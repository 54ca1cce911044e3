"""What exactly happens where no process dies, and steps come one after another.

Told once more, in another way than the machine does it: as the list of what happens.
"""

from __future__ import annotations

from tests.saga.faults.plans import Case, StepPlan
from tests.saga.faults.states import Event


def predict(case: Case) -> list[Event]:
    """Return all that happens, the end included."""
    events = [Event("start")]
    done: list[StepPlan] = []
    for step in case.steps:
        outcome = forward(case, step, events)
        if outcome == "ok":
            done.append(step)
            continue
        stuck: frozenset[str] = frozenset()
        if not any(each.pivot for each in done):
            stuck = back(case, done, step if outcome == "cut" else None, events)
        how = "cancelled" if case.fault in ("cancel", "wait") or case.cut_at else "err"
        return [*events, Event("end", step.name, how, stuck)]
    return [*events, Event("end", "", "ok")]


def forward(case: Case, step: StepPlan, events: list[Event]) -> str:
    """Let a step be tried; return its last outcome."""
    is_met = step.name == case.at
    how = ""
    for attempt in range(1, step.attempts + 1):
        how = case.action(step.name, attempt).replace("hang", "cut")
        if is_met and case.fault == "cancel":
            how = "cut"
        events += [Event("do", step.name), Event("did", step.name, how)]
        if how == "ok" or (is_met and case.fault in ("overdue", "cancel", "wait")):
            break
    return how


def back(
    case: Case, done: list[StepPlan], doubtful: StepPlan | None, events: list[Event]
) -> frozenset[str]:
    """Let everything be undone; return what is stuck."""
    stuck: set[str] = set()
    undos = done[::-1]
    if doubtful is not None and case.probes:
        events += [Event("probe", doubtful.name), Event("probed", doubtful.name, case.probe)]
        if case.probe == "yes":
            undos.insert(0, doubtful)
        elif case.probe == "raise":
            stuck.add(doubtful.name)
    elif doubtful is not None:
        if doubtful.idempotent and doubtful.undo:
            undos.insert(0, doubtful)
        else:
            stuck.add(doubtful.name)
    for step in undos:
        if step.undo and not undone(case, step, events):
            stuck.add(step.name)
    return frozenset(stuck)


def undone(case: Case, step: StepPlan, events: list[Event]) -> bool:
    """Let a step be undone, as often as may be; return whether it was."""
    for failures in range(step.undo_attempts if step.idempotent else 1):
        how = case.compensation(step.name, failures).replace("hang", "cut")
        events += [Event("undo", step.name), Event("undid", step.name, how)]
        if how == "ok":
            return True
    return False
