"""Asking what a provider depends on: each a harmless question, all at once, within a time limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from lexigram_actors.errors.base import sole_error
from lexigram_actors.module.discretion import reason
from lexigram_actors.module.surroundings import TRIO, Surroundings, library, surroundings
from lexigram_actors.module.values import HealthStatus
from lexigram_actors.result import Err

OURS: Final = __name__.partition(".")[0]


@frozen
class Finding:
    """How well one component is, and why."""

    status: HealthStatus
    message: str | None = None


WELL: Final = Finding(HealthStatus.HEALTHY)


@frozen
class Question:
    """How to ask one component.

    Args:
        component: What is asked.
        ask: Asks. It changes nothing; an `Err` or an exception means that it is not well.
        facts: What else is said about it.
        needs_trio: It answers only under Trio.
        never_waits: It answers at once, on any loop and without a time limit.
    """

    component: str
    ask: Callable[[], Awaitable[Any]]
    facts: Mapping[str, Any] = field(factory=dict)
    needs_trio: bool = False
    never_waits: bool = False

    def details(self, finding: Finding) -> dict[str, Any]:
        """Return what is said about the component."""
        details = {"status": str(finding.status), **self.facts}
        return details if finding.message is None else {**details, "message": finding.message}


def needs_trio(thing: object) -> bool:
    """Say whether an object can be awaited under Trio only: ours, or one that says so."""
    return (
        type(thing).__module__.partition(".")[0] == OURS
        or getattr(thing, "async_library", None) == TRIO
    )


async def ask_all(questions: Sequence[Question], timeout: float) -> list[Finding]:
    """Ask all side by side; return what was found, in the order of the questions.

    Cancelled, the questions are cancelled, and nothing is left running. What a component raises is
    found, not raised.

    Args:
        questions: At least one.
        timeout: Seconds for each; `inf`: no limit.
    """
    here = surroundings()
    found = [unasked(question, here) for question in questions]
    open_ones = [index for index, finding in enumerate(found) if finding is None]
    if here is None or not open_ones:
        return [finding or WELL for finding in found]

    async def fill(index: int) -> None:
        found[index] = await ask_one(questions[index], timeout, here)

    try:
        async with here.open_group() as group:
            for index in open_ones:
                group.start_soon(fill, index)
    except BaseExceptionGroup as error:
        raise sole_error(error) from None
    return [finding or WELL for finding in found]


def unasked(question: Question, here: Surroundings | None) -> Finding | None:
    """Return what is found without asking; None: it has to be asked."""
    running = library()
    if question.needs_trio and running != TRIO:
        return degraded(f"not asked: it answers under Trio only, not under {running or 'no loop'}")
    if here is None:
        return WELL if question.never_waits else degraded(f"not asked: {no_limit(running)}")
    return None


def no_limit(running: str | None) -> str:
    """Say why there is no time limit here."""
    if running == "asyncio":
        return "time limits under asyncio need the package anyio, which is not installed"
    return "there are no time limits " + ("here" if running is None else f"under {running}")


async def ask_one(question: Question, timeout: float, here: Surroundings) -> Finding:
    """Ask within the time limit; return what was found."""
    began = here.current_time()
    answer: Any = None
    try:
        with here.move_on_after(timeout) as scope:
            answer = await question.ask()
    except Exception as error:  # noqa: BLE001 - whatever a store raises, it is not well
        return unhealthy(reason(error))
    # One that blocked its thread, or held off its cancellation, comes back late.
    if scope.cancelled_caught or here.current_time() - began > timeout:
        return unhealthy(f"did not answer within {timeout:g} s")
    return unhealthy(reason(answer.error)) if isinstance(answer, Err) else WELL


def degraded(message: str) -> Finding:
    return Finding(HealthStatus.DEGRADED, message)


def unhealthy(message: str) -> Finding:
    return Finding(HealthStatus.UNHEALTHY, message)


def worst(findings: Sequence[Finding]) -> HealthStatus:
    """Return the worst status of all; HEALTHY where there are none."""
    order = list(HealthStatus)
    return max((each.status for each in findings), key=order.index, default=order[0])


def summary(questions: Sequence[Question], findings: Sequence[Finding]) -> str | None:
    """Return one sentence of what is not well; None: everything is."""
    said = [
        f"{question.component}: {finding.message}"
        for question, finding in zip(questions, findings, strict=True)
        if finding.message is not None
    ]
    return "; ".join(said) or None
