"""What happened outside, in order: the side effects of the lives of a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple


class Effect(NamedTuple):
    """A side effect that began.

    Attributes:
        name: Which.
        life: Of the program, from 1.
        at: Unix seconds of virtual time.
    """

    name: str
    life: int = 1
    at: float = 0.0


def check_steps(
    ledger: Sequence[Effect],
    crashes: int,
    *,
    undisturbed: Sequence[Effect] | None = None,
    after: Mapping[str, Collection[str]] | None = None,
    at_once: int = 1,
) -> None:
    """Check that the effects of one program happened no more often, and no later, than they may.

    - **None starts again once one that comes after it has started**: that it ended was recorded by
      then.
    - **A crash costs no more than what was under way**: there are at most `crashes * at_once`
      starts more than in an undisturbed run.

    Args:
        ledger: In the order of the starts; of one program, that is one instance of a workflow.
        crashes: How many there were.
        undisturbed: The effects of a run that nobody disturbs; None: each once.
        after: By name, what has to have ended before it starts; None: whatever starts before it
            first. Where an effect is tried again without a crash, its attempts count as one.
        at_once: How many may be under way at the same time.

    Raises:
        AssertionError: Naming the effects.
    """
    refuse_returns(ledger, order_of(ledger) if after is None else closure(after))
    refuse_extras(ledger, undisturbed, crashes * at_once)


def refuse_returns(ledger: Sequence[Effect], before: Mapping[str, Collection[str]]) -> None:
    over: dict[str, str] = {}
    for effect in ledger:
        if effect.name in over:
            raise AssertionError(
                f"{effect.name!r} started again in life {effect.life}, after "
                f"{over[effect.name]!r}, which comes after it, had started: "
                f"{[each.name for each in ledger]}"
            )
        over |= dict.fromkeys(before.get(effect.name, ()), effect.name)


def refuse_extras(
    ledger: Sequence[Effect], undisturbed: Sequence[Effect] | None, most: int
) -> None:
    started = Counter(effect.name for effect in ledger)
    if undisturbed is None:
        expected = Counter(set(started))
    else:
        expected = Counter(effect.name for effect in undisturbed)
    extra = started - expected
    if extra.total() > most:
        raise AssertionError(
            f"{extra.total()} starts too many, where {most} can be excused: {dict(extra)}"
        )


def order_of(ledger: Sequence[Effect]) -> dict[str, list[str]]:
    """Return by name what started before its own first start."""
    names = list(dict.fromkeys(effect.name for effect in ledger))
    return {name: names[:place] for place, name in enumerate(names)}


def closure(after: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Return by name all that comes before it, at any distance."""
    reached: dict[str, set[str]] = {}
    for name in after:
        found: set[str] = set()
        waiting = list(after[name])
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting.extend(after.get(each, ()))
        reached[name] = found - {name}
    return reached
