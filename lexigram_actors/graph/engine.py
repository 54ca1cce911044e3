"""`WorkflowEngine`: a graph that can be run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, final

from trio.lowlevel import checkpoint, checkpoint_if_cancelled

from lexigram_actors.config import GraphConfig
from lexigram_actors.errors import GraphExecutionError, WorkflowStateError
from lexigram_actors.graph import draw
from lexigram_actors.graph.answering import answer, checked_answer
from lexigram_actors.graph.attempts import RecordedRuns, Retries
from lexigram_actors.graph.compiled import CompiledGraph
from lexigram_actors.graph.continuation import Continuation, brought_back
from lexigram_actors.graph.definition import GraphDefinition, Join, Predicate, Reducer, State
from lexigram_actors.graph.driving import drive, pending_of
from lexigram_actors.graph.edge import WorkflowEdge
from lexigram_actors.graph.execution import Execution
from lexigram_actors.graph.models import GraphResult, PendingQuestion
from lexigram_actors.graph.node import AbstractWorkflowNode
from lexigram_actors.graph.stream import GraphStream
from lexigram_actors.graph.validate import check_structure
from lexigram_actors.host.observing import OBSERVER, observed_on
from lexigram_actors.host.seam import RunContext
from lexigram_actors.kernel.pacing import Pacer
from lexigram_actors.result import Result
from lexigram_actors.storage import Codec


@final
class WorkflowEngine:
    """Runs a graph. Made by `WorkflowBuilder.build`.

    A node starts as soon as it is ready, beside whatever else runs; it sees what its causal past
    wrote, and so the outcome does not depend on how long nodes take. One engine may have any number
    of runs at once. A `Runnable`: a pipeline's step or another graph's node may be an engine.

    Args:
        name: What messages and checkpoints call it.
        nodes: By name. The order decides where concurrent writes are merged.
        edges: All of them.
        entry_node: Where runs start.
        terminal_conditions: Nodes that end their branch, each with the condition for it, or None
            for always. May be empty: then a run ends where no edge leads on.
        config: Time-outs, limits, and how branches run; the default configuration when None.
        version: Of the structure. A run that was paused under another version is not resumed.
        joins: For nodes with several ways in: `"all"` (the default) waits for every branch that can
            still arrive, `"any"` runs once for each arrival.
        reducers: For keys of the state: `(earlier, later) -> combined`, for writes after the first.
        run_terminals: Which of the terminals end the whole run, and cancel what still runs.
        gotos: For each node the targets that a `Command` of it may name, besides its edges.
        codec: How the state of a paused run is kept as JSON; give one that knows your types.

    The constructor checks nothing; `validate` does, and the first run.
    """

    def __init__(
        self,
        name: str,
        nodes: Mapping[str, AbstractWorkflowNode],
        edges: Sequence[WorkflowEdge],
        entry_node: str,
        terminal_conditions: Mapping[str, Predicate | None],
        config: GraphConfig | None = None,
        version: int = 1,
        *,
        joins: Mapping[str, Join] | None = None,
        reducers: Mapping[str, Reducer] | None = None,
        run_terminals: Collection[str] = (),
        gotos: Mapping[str, Sequence[str]] | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.definition = GraphDefinition(
            name=name,
            nodes=dict(nodes),
            edges=tuple(edges),
            entry=entry_node,
            terminals=dict(terminal_conditions),
            run_terminals=frozenset(run_terminals),
            gotos=dict(gotos or {}),
            joins=dict(joins or {}),
            reducers=dict(reducers or {}),
            version=version,
        )
        self.config = GraphConfig() if config is None else config
        self.codec = Codec() if codec is None else codec
        self._graph: CompiledGraph | None = None
        self._pacer = Pacer()

    @property
    def kind(self) -> str:
        """`"graph"`."""
        return "graph"

    @property
    def name(self) -> str:
        """What messages and checkpoints call it."""
        return self.definition.name

    @property
    def version(self) -> int:
        """The version of the structure."""
        return self.definition.version

    def validate(self) -> None:
        """Check the structure.

        Raises:
            GraphValidationError: It cannot run; every problem is listed.
        """
        check_structure(self.definition, terminals_needed=False)

    @property
    def graph(self) -> CompiledGraph:
        """The graph made ready to run.

        Raises:
            GraphValidationError: It cannot run.
        """
        if self._graph is None:
            self.validate()
            self._graph = CompiledGraph(self.definition)
        return self._graph

    async def execute(
        self,
        input: Any,
        *,
        config: GraphConfig | None = None,
        state: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> Result[GraphResult, GraphExecutionError]:
        """Run from the entry to the end.

        Args:
            input: What nodes find under the key `input`. Any value.
            config: In place of the engine's, for this run.
            state: Further keys to begin with; its `input` wins over the argument. Keys that begin
                with `_` are the engine's and left out.
            run_id: Names the run; it begins the `checkpoint_id` of its questions.

        Returns:
            `Ok`, or `Err`: of `NodeExecutionError` for whatever a node raised (or its time-out),
            `CycleDetectedError`, `GraphTimeoutError`, `StateConflictError`, or a
            `GraphExecutionError` for a condition, a reducer or a command that went wrong. The error
            has the results until then.

        Runs in the caller's task, with further tasks for branches. Checkpoints at the least every
        100 nodes or 1 ms, but a short run may have none. Cancelled, no task of it is left; nothing
        of the run can be continued.

        Raises:
            HumanInputRequiredError: Nothing can move until a person answers; go on with `resume`.
            NotStorableError: A person has to be asked, and the state holds what JSON cannot.
            GraphValidationError: The structure cannot run.
            WorkflowStateError: Graphs are switched off by the configuration.
        """
        execution = self.execution(input, config, state, run_id)
        if self._pacer.due():
            await checkpoint()
        else:
            await checkpoint_if_cancelled()
        observer = OBSERVER.get()
        if observer is None:
            return await drive(execution, self.codec)
        return await observer.watch(run_id, self.name, drive, execution, self.codec)

    async def resume(
        self,
        checkpoint_state: Mapping[str, Any],
        human_response: Any,
        *,
        node: str | None = None,
        config: GraphConfig | None = None,
    ) -> Result[GraphResult, GraphExecutionError]:
        """Go on where a run paused, with a person's answer.

        No node that finished runs again. The answer goes to the node that asked and to no other.
        The state is not used up: resuming twice from it makes two runs.

        Args:
            checkpoint_state: The `state` of the `HumanInputRequiredError`, as it is or through
                JSON, in this process or another.
            human_response: The answer; structured to the question's schema where it has one. None
                is no answer: the run goes on where a question has expired, and else pauses again.
            node: Which question is answered, where several are open; as `pending` names it.
            config: In place of the engine's, for the rest of this run.

        Returns:
            As `execute` does.

        Raises:
            HumanInputRequiredError: Another question is open, or came up.
            AnswerInvalidError: The answer does not fit the schema; nothing ran.
            WorkflowStateError: There is no such question, or the state is not one of this graph.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        run = self.brought_back(checkpoint_state, config)
        answer(run.execution, human_response, node=node)
        if self._pacer.due():
            await checkpoint()
        else:
            await checkpoint_if_cancelled()
        observer = OBSERVER.get()
        if observer is None:
            return await drive(run.execution, self.codec)
        run_id = run.execution.run_id
        return await observer.watch_on(run_id, self.name, drive, run.execution, self.codec)

    async def run(self, context: RunContext) -> Result[State, Exception]:
        """Run as a part of something else; `Ok` of the final state, without the engine's keys.

        What the surroundings know is known inside too, but no answers that people gave outside.

        In a host every node that finished is recorded in the journal of the instance. After a crash
        it goes on from there, and where it had ended it comes to the same result without running.
        """
        state = self.state_inside(context)
        if context.record is not None:
            result = await self._hosted(context).run("", state, context.run_id)
        else:
            result = await self.execute("", state=state, run_id=context.run_id)
        return plain_outcome(result)

    def check_answer(self, paused: Mapping[str, Any], node: str, answer: Any) -> Any:
        """Return the answer as the node gets it: structured to the question's schema.

        Args:
            paused: The `state` of the `HumanInputRequiredError`; within a Trio run.
            node: Which question.

        Raises:
            AnswerInvalidError: It does not fit.
            WorkflowStateError: The node asks nothing, or the state is not one of this graph.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        return checked_answer(self.brought_back(paused).execution, node, answer)

    async def go_on(
        self, context: RunContext, paused: Mapping[str, Any], answer: Any, *, node: str | None
    ) -> Result[State, Exception]:
        """Go on from a pause with an answer, as a part of something else; `Ok` as of `run`.

        Raises as `resume` does. In a host the answer is recorded before anything runs, and counts
        as given in time. Called again after a crash, with the same, it goes on from what is
        recorded since; so the answer has to be one that can be stored, as it was given.
        """
        if context.record is not None:
            return plain_outcome(await self._hosted(context).resume(paused, answer, node=node))
        return plain_outcome(await self.resume(paused, answer, node=node))

    def _hosted(self, context: RunContext) -> RecordedRuns:
        return RecordedRuns(self, context.record, Retries(), context)

    def astream(
        self,
        input: Any,
        *,
        config: GraphConfig | None = None,
        state: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> GraphStream:
        """Run, and tell what happens as it happens; the arguments are those of `execute`.

        An async iterator over `NodeStarted`, `NodeFinished`, `StateUpdated`, `TokenEmitted` and, at
        the end, `RunFinished` with what `execute` would have returned; what `execute` would have
        raised is raised. With `async with engine.astream(...) as events` no task is left when the
        block is; leaving a plain `async for` early stops the run when the iterator is dropped. The
        run waits for who reads: it starts no node while many events are not taken.
        """
        return GraphStream(lambda: self.execution(input, config, state, run_id), self.codec)

    def astream_resume(
        self,
        checkpoint_state: Mapping[str, Any],
        human_response: Any,
        *,
        node: str | None = None,
        config: GraphConfig | None = None,
    ) -> GraphStream:
        """Go on where a run paused, as `resume` does, and tell what happens as `astream` does."""

        def begin() -> Execution:
            run = self.brought_back(checkpoint_state, config)
            answer(run.execution, human_response, node=node)
            return run.execution

        return GraphStream(begin, self.codec, observed_on)

    def pending(self, checkpoint_state: Mapping[str, Any]) -> list[PendingQuestion]:
        """Return the questions that are open in the state of a paused run.

        Raises:
            WorkflowStateError: It is not the state of a paused run of this graph.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        run = self.brought_back(checkpoint_state)
        return pending_of(run.execution)

    def to_dot(self, result: GraphResult | None = None) -> str:
        """Return the graph as Graphviz DOT, coloured by what ran where a result is given."""
        return draw.to_dot(self.definition, result)

    def to_mermaid(self, result: GraphResult | None = None) -> str:
        """Return the graph as a Mermaid flowchart, coloured by what ran where a result is given."""
        return draw.to_mermaid(self.definition, result)

    # --- for whoever runs it in another way -------------------------------------------------

    def state_inside(self, context: RunContext) -> State:
        """Return what a run inside something else begins with."""
        resume_keys = {node.hides for node in self.graph.nodes.values()}
        state = {key: value for key, value in context.state.items() if key not in resume_keys}
        if context.input is not None:
            state["input"] = context.input
        return state

    def execution(
        self,
        input: Any,
        config: GraphConfig | None = None,
        state: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> Execution:
        """Return a run that is ready to begin; within a Trio run.

        Raises:
            GraphValidationError: The structure cannot run.
            WorkflowStateError: Graphs are switched off by the configuration.
        """
        graph = self.graph
        given = frozenset(state) if state and graph.asks else frozenset()
        initial = self._initial(input, state)
        execution = Execution(graph, self._used(config), initial, run_id=run_id, given=given)
        execution.begin()
        return execution

    def brought_back(
        self, checkpoint_state: Mapping[str, Any], config: GraphConfig | None = None
    ) -> Continuation:
        """Return the paused run that a state is of; within a Trio run.

        Raises:
            WorkflowStateError: It is not the state of a paused run of this graph.
            WorkflowVersionMismatchError: The run was begun under another version.
        """
        return brought_back(self.graph, self._used(config), checkpoint_state, self.codec)

    def _used(self, config: GraphConfig | None) -> GraphConfig:
        used = self.config if config is None else config
        if not used.enabled:
            raise WorkflowStateError(
                f"graph {self.name!r} cannot run: graphs are switched off by the configuration",
                hint="GraphConfig(enabled=True)",
            )
        return used

    def _initial(self, input: Any, state: Mapping[str, Any] | None) -> State:
        initial: State = {"input": input, "output": ""}
        if "output" in self.definition.reducers:
            del initial["output"]
        if state:
            for key, value in state.items():
                if not key.startswith("_"):
                    initial[key] = value
        return initial


def plain_outcome(result: Result[GraphResult, GraphExecutionError]) -> Result[State, Exception]:
    """Return what a run comes to as a part of something else."""
    return result.map_sync(lambda done: without_engine_keys(done.final_state))


def without_engine_keys(state: Mapping[str, Any]) -> State:
    """Return a copy without the keys that begin with `_`."""
    return {key: value for key, value in state.items() if not key.startswith("_")}
