"""The door between kinds: what can be run, and what a run is given.

A kind never imports another. A pipeline's step, a graph's node, a saga's action accept any
`Runnable`; what they accept need not know where it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from lexigram_actors.checks import given
from lexigram_actors.host.journal import Journal
from lexigram_actors.result import Result
from lexigram_actors.storage.ports import CacheBackendProtocol


@frozen(kw_only=True)
class RunContext:
    """What a run is given by whoever starts it.

    Attributes:
        input: What to work on; None when there is nothing.
        run_id: Names this run among those of the same definition; None when it has no name. A run
            inside another has the outer id and its own place: `"order-42/review"`.
        state: What the surroundings know: the state of the graph, or the results of the pipeline,
            that the run is a part of. Read only.
        journal: Of the instance that the run is a part of; None where no host keeps it. A kind that
            records its progress does it in `record`, whatever store it was given.
        place: Where in the instance: `""` for the whole, `"review"` or `"ship/label"` for a part.
    """

    input: Any = None
    run_id: str | None = None
    state: Mapping[str, Any] = field(factory=dict)
    journal: Journal | None = field(default=None, repr=False)
    place: str = ""

    @property
    def record(self) -> CacheBackendProtocol | None:
        """Where the run records its progress, if it is hosted: kept until the instance ends."""
        return None if self.journal is None else self.journal.record

    def inside(
        self, name: str, *, input: Any = None, state: Mapping[str, Any] | None = None
    ) -> RunContext:
        """Return the context of a run inside this one, at the place `name`."""
        part = escaped(name)
        return RunContext(
            input=input,
            run_id=self.below(name),
            state={} if state is None else state,
            journal=self.journal,
            place=f"{self.place}/{part}" if self.place else part,
        )

    def below(self, name: str) -> str | None:
        """Return the id of a run inside this one, at the place `name`; None where this has none.

        A slash in the name is written `%2F`, and a percent sign `%25`, so that no two places read
        alike.
        """
        if self.run_id is None:
            return None
        return f"{self.run_id}/{escaped(name)}"


def escaped(name: str) -> str:
    """Return a name as one part of a path."""
    return name.replace("%", "%25").replace("/", "%2F")


def check_runnable(candidate: object) -> None:
    """Refuse what cannot be run.

    Raises:
        TypeError: It has not the four members of a `Runnable`.
    """
    if not isinstance(candidate, Runnable) or isinstance(candidate, type):
        raise TypeError(
            "expected a Runnable (a pipeline, an engine, runner.as_runnable(), "
            "operation.as_runnable(name), MySaga.as_runnable()) or, in a host, a function marked "
            f"@workflow, not {given(candidate)}"
        )


@runtime_checkable
class Runnable(Protocol):
    """Whatever can be run as a part of something else: a pipeline, a graph, a saga.

    Attributes:
        kind: Which sort: `"pipeline"`, `"graph"`.
        name: The definition's name.
        version: The definition's version.
    """

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    async def run(self, context: RunContext, /) -> Result[Any, Exception]:
        """Run to the end: `Ok` of a plain value (for a pipeline its results by step, for a graph
        its final state), or `Err` of why not.

        Raises only misuse, a bug, cancellation, and `HumanInputRequiredError` where a person has
        to be asked. Cancelled, no task of it is left.
        """
        ...


@runtime_checkable
class Resumable(Runnable, Protocol):
    """A `Runnable` that may raise `HumanInputRequiredError`, and goes on with an answer.

    Its `pending` are the open questions, each with `node`, `prompt`, `schema` and `seconds_left`
    (`inf`: for good); its `state` is JSON data.
    """

    def check_answer(self, paused: Mapping[str, Any], node: str, answer: Any) -> Any:
        """Return the answer as the node gets it.

        Raises:
            AnswerInvalidError: It does not fit.
            WorkflowStateError: The node asks nothing.
        """
        ...

    async def go_on(
        self, context: RunContext, paused: Mapping[str, Any], answer: Any, *, node: str | None
    ) -> Result[Any, Exception]:
        """Go on from the `state` of the pause, as `run` does, with the answer to one question.

        With None for both nothing is answered, and what has expired moves on.
        """
        ...
