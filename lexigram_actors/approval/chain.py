"""`ApprovalChain`: levels of people who decide, as something that can be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any, final

from trio.lowlevel import checkpoint

from lexigram_actors.approval import draw
from lexigram_actors.approval.answers import Answer, read_answer
from lexigram_actors.approval.course import (
    Course,
    at_timer,
    open_questions,
    outcome_of,
    question_name,
    questions,
)
from lexigram_actors.approval.deciding import Standing, decided, expired, seat_held_by
from lexigram_actors.approval.levels import (
    ApprovalLevel,
    Roles,
    chain_problems,
    flag_problem,
    name_problem,
    prompt_problem,
)
from lexigram_actors.approval.models import (
    ApprovalDecision,
    ApprovalOutcome,
    ApprovalQuestion,
    ApprovalStatus,
)
from lexigram_actors.approval.plan import Part, Plan, planned
from lexigram_actors.checks import given, require, whole
from lexigram_actors.errors import (
    AnswerInvalidError,
    ConfigurationError,
    HumanInputRequiredError,
    WorkflowStateError,
    WorkflowVersionMismatchError,
)
from lexigram_actors.host.seam import RunContext
from lexigram_actors.result import Err, Ok, Result

Outcome = Result[dict[str, Any], Exception]


@final
class ApprovalChain:
    """Levels of people who decide about a request, one level after the other.

        chain = ApprovalChain(
            "expense",
            [
                ApprovalLevel("manager", "ana", expires_after=86_400, on_expiry="escalate"),
                ApprovalLevel("board", roles="director", required="majority", minimum=10_000),
            ],
            roles={"director": ["bob", "cleo", "dan"]},
        )

    Where no level applies, the request is approved. The first level that is rejected, or expires
    without another to escalate to, ends it.

    It is `Resumable`: it can be registered in a host, be a node of a graph, a step of a pipeline in
    a host, or a part of a durable function (`ctx.run`). In a host every person is asked in a
    question of their own, whose id ends with `chain.question(level, person)`; the answer is
    `{"by": ..., "verdict": "approved", "comment": ...}`, with the verdict `"rejected"` alike, or
    `{"by": ..., "verdict": "delegated", "to": ...}`. Alone, `run` raises `HumanInputRequiredError`,
    and `resume` goes on with an answer.

    Args:
        name: Of the chain.
        levels: In order; the last cannot escalate.
        roles: The people of each role; or a function of the role and the request.
        amount: What the `minimum` of levels is compared with: a key of the request, or a function
            of it.
        requester: Who asks, likewise. They may not decide, not for somebody else either. None:
            nobody is barred.
        self_approval: Let the requester decide all the same.
        prompt: What people are asked; `{key}` is replaced by what the request has under it. Or a
            function of the request. A level may have its own.
        request: Makes the request out of what the run is given; None: it is the run's input.
        version: Raise it when a request that is under way could not go on under the levels as they
            are now. (Who is asked is fixed when it begins.)
        clock: Wall time in unix seconds, outside of a host.

    Raises:
        ConfigurationError: Something is wrong; everything is listed.
    """

    __slots__ = (
        "_amount",
        "_clock",
        "_name",
        "_prompt",
        "_request",
        "_requester",
        "_roles",
        "_self_approval",
        "_version",
        "levels",
    )

    def __init__(
        self,
        name: str,
        levels: Sequence[ApprovalLevel],
        *,
        roles: Roles | None = None,
        amount: Part = "amount",
        requester: Part = None,
        self_approval: bool = False,
        prompt: str | Callable[[Any], str] | None = None,
        request: Callable[[RunContext], Any] | None = None,
        version: int = 1,
        clock: Callable[[], float] = time,
    ) -> None:
        require("version", version, whole(least=1))
        known: Roles = {} if roles is None else roles
        kept = tuple(levels)
        found = [name_problem(name), prompt_problem(prompt)]
        found += [flag_problem("self_approval", self_approval), *chain_problems(kept, known)]
        if problems := [problem for problem in found if problem]:
            raise ConfigurationError(f"wrong approval chain {given(name)}", problems=problems)
        self.levels = kept
        self._name = name
        self._version = version
        self._roles = known
        self._amount = amount
        self._requester = requester
        self._self_approval = self_approval
        self._prompt = prompt
        self._request = request
        self._clock = clock

    def __repr__(self) -> str:
        return f"<ApprovalChain {self._name!r} of {len(self.levels)} levels>"

    @property
    def kind(self) -> str:
        """`"approval"`."""
        return "approval"

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    @property
    def version(self) -> int:
        """The version it was given."""
        return self._version

    @staticmethod
    def question(level: str, person: str) -> str:
        """Return the name of the question that a person is asked at a level.

        In a host it is the id of the question, behind the place of the chain in the instance.
        """
        return question_name(level, person)

    # --- running

    async def run(self, context: RunContext) -> Outcome:
        """Ask the first level that applies.

        Returns:
            `Ok` of an `ApprovalOutcome` as data, where there is nobody to ask; an `Err` of a
            `ConfigurationError` where the request cannot be decided: it lacks its amount or its
            requester, or too few people are left to ask.

        Raises:
            HumanInputRequiredError: People are asked.
            Exception: What a function of the chain raises.
        """
        await checkpoint()
        request = context.input if self._request is None else self._request(context)
        begun_at = self._now(context)
        try:
            plan = self.plan(request)
        except ConfigurationError as error:
            return Err(error)
        return self._outcome(Course(plan=plan, begun_at=begun_at, run_id=context.run_id), begun_at)

    def plan(self, request: Any) -> Plan:
        """Return who would be asked about a request; nobody is.

        Raises:
            ConfigurationError: It cannot be decided; every reason is listed.
        """
        return planned(
            self._name,
            self.levels,
            self._roles,
            request,
            amount=self._amount,
            requester=self._requester,
            self_approval=self._self_approval,
            prompt=self._prompt,
        )

    async def resume(
        self, paused: Mapping[str, Any], answer: Any = None, *, node: str | None = None
    ) -> Outcome:
        """Go on where a run paused, with an answer, outside of a host.

        Args:
            paused: The `state` of the `HumanInputRequiredError`; it is not changed.
            answer: None, without a node: nobody answers, and if the time is over, that is noticed.
            node: Which question; None: the one for whoever answers.

        Raises:
            HumanInputRequiredError: People are asked still, with another state.
            AnswerInvalidError: The answer does not count: it does not fit, is of somebody who is
                not asked, or comes too late.
            WorkflowStateError: There is no such question; or the state is none of this chain.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        await checkpoint()
        return self._go_on(paused, answer, node, self._clock(), is_hosted=False)

    async def go_on(
        self, context: RunContext, paused: Mapping[str, Any], answer: Any, *, node: str | None
    ) -> Outcome:
        """Go on as `resume` does, as a part of something else.

        In a host an answer counts as given in time: the host has seen to that. One that does not
        count, which a graph around this lets pass, is asked for again.
        """
        await checkpoint()
        is_hosted = context.journal is not None
        return self._go_on(paused, answer, node, self._now(context), is_hosted=is_hosted)

    def check_answer(self, paused: Mapping[str, Any], node: str, answer: Any) -> dict[str, Any]:
        """Return the answer as it counts, as the data of an `ApprovalDecision`.

        Raises:
            AnswerInvalidError: It does not fit, or is of somebody else than who is asked there.
            WorkflowStateError: There is no such question; or the state is none of this chain.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        now = self._brought_back(paused).standing()
        return self._decided(now, answer, node, self._clock()).as_data()

    # --- looking

    def pending(self, paused: Mapping[str, Any]) -> list[ApprovalQuestion]:
        """Return what is open in the state of a paused run, in the order of the approvers.

        Raises:
            WorkflowStateError: It is none of this chain.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        return questions(self._brought_back(paused), self._clock())

    def outcome(self, paused: Mapping[str, Any]) -> ApprovalOutcome:
        """Return where a paused run stands: who has said what, and who is asked.

        Raises:
            WorkflowStateError: The state is none of this chain.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        course = self._brought_back(paused)
        return outcome_of(self._name, course, course.standing())

    def to_mermaid(self) -> str:
        """Return the states of a request, and how it gets from one to the other, as Mermaid."""
        return draw.to_mermaid(self._name, self.levels)

    def to_dot(self) -> str:
        """Return the states of a request, and how it gets from one to the other, as DOT."""
        return draw.to_dot(self._name, self.levels)

    # --- within

    def _now(self, context: RunContext) -> float:
        return self._clock() if context.journal is None else context.journal.clock()

    def _go_on(
        self,
        paused: Mapping[str, Any],
        answer: Any,
        node: str | None,
        at: float,
        *,
        is_hosted: bool,
    ) -> Outcome:
        course = self._brought_back(paused)
        now = course.standing()
        if answer is None and node is None:
            return self._outcome(course.after(expired(now, at_timer(now, at))), at)
        try:
            decision = self._decided(now, answer, node, at)
        except AnswerInvalidError:
            if not is_hosted:
                raise
            # A graph around it has let it pass, and it is recorded: it can only be asked again.
            return self._outcome(course, at)
        if not is_hosted and expired(now, at) is not None:
            raise AnswerInvalidError(
                self.question(decision.level, str(decision.by)),
                f"it comes too late: the time of level {decision.level!r} is over",
                hint="go on without an answer: resume(state)",
            )
        return self._outcome(course.after(decision), at)

    def _decided(self, now: Standing, answer: Any, node: str | None, at: float) -> ApprovalDecision:
        asked = open_questions(now)
        if node is not None and node not in asked:
            known = ", ".join(map(repr, asked)) or "nothing"
            raise WorkflowStateError(
                f"{self._name!r} does not ask {given(node)}; it asks {known}",
                details={"questions": list(asked)},
            )
        asker = self._name if node is None else node
        said: Answer = read_answer(asker, answer)
        if node is not None and seat_held_by(now, said.by) != asked[node]:
            raise AnswerInvalidError(asker, f"{said.by!r} is somebody else than who is asked here")
        return decided(asker, now, said, at)

    def _brought_back(self, paused: Mapping[str, Any]) -> Course:
        facts = paused if isinstance(paused, Mapping) else {}
        version = facts.get("version")
        if facts.get("approval") != self._name or type(version) is not int:
            raise WorkflowStateError(f"this is no state of a paused run of {self._name!r}")
        if version != self._version:
            raise WorkflowVersionMismatchError(self._name, version, self._version)
        try:
            return Course.from_data(paused)
        except Exception as error:
            raise WorkflowStateError(
                f"the state of a paused run of {self._name!r} is damaged", cause=error
            ) from error

    def _outcome(self, course: Course, at: float) -> Outcome:
        now = course.standing()
        if now.status is not ApprovalStatus.PENDING:
            return Ok(outcome_of(self._name, course, now).as_data())
        pending = questions(course, at)
        raise HumanInputRequiredError(
            pending[0].prompt,
            node=pending[0].node,
            checkpoint_id=pending[0].checkpoint_id,
            pending=pending,
            state={"approval": self._name, "version": self._version, **course.as_data()},
        )
