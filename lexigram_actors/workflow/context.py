"""What a durable function is given: every way to act so that it happens once, across crashes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, Final, NoReturn, TypeVar, final, overload
from uuid import UUID

import trio
from attrs import frozen

from lexigram_actors.checks import given, number, require, whole
from lexigram_actors.errors import NotStorableError, WorkflowStateError
from lexigram_actors.events import WorkflowPublished
from lexigram_actors.host.asking import ANSWERED, run_asking
from lexigram_actors.host.retrying import MARK_SIGN
from lexigram_actors.host.seam import RunContext, Runnable, check_runnable
from lexigram_actors.host.steps import STEP, Step, record_failure, run_step, value_of, wait_until
from lexigram_actors.host.surroundings import ContinueAsNew, Handle, Surroundings
from lexigram_actors.result import Err, Ok
from lexigram_actors.retry import RetryPolicy
from lexigram_actors.schemas import check_schema, structured
from lexigram_actors.storage.instances import Entry
from lexigram_actors.workflow.draws import random_of, uuid_of
from lexigram_actors.workflow.given import as_runnable, name_of, policy_of, timestamp_of
from lexigram_actors.workflow.replay import (
    A_CHILD,
    A_CHILD_RESULT,
    A_QUESTION,
    A_RUN,
    A_SIGNAL,
    A_SLEEP,
    A_STEP,
    CHILD,
    MARK,
    SIGNAL,
    SLEEP,
    Command,
    Fate,
    Scope,
    joined,
    part_of,
)
from lexigram_actors.workflow.running import Held, Issued, Run, check_turn
from lexigram_actors.workflow.scopes import Branch, Parallel, TimeLimit
from lexigram_actors.workflow.waits import (
    ask,
    no_answer,
    no_signal,
    receive_answer,
    receive_signal,
    wait_child,
)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Item = TypeVar("Item")

CANCEL_SEEN: Final = f"{MARK_SIGN}cancel"

MOST_OF_AN_ID: Final = 200
"""Characters of a child's id that stand in a name."""


@final
@frozen
class Child:
    """An instance that a durable function began; `ctx.child_result(child)` waits for it."""

    id: str


@final
class WorkflowContext:
    """What a durable function acts through.

    Whatever it does outside of its own variables it does in **commands**. Each is recorded when it
    has ended, and is then never done again: after a crash the function runs from its beginning, and
    every command that is recorded returns at once what it had returned, without a checkpoint. So
    the function itself must come to the same commands every time: clocks, random numbers and the
    world are for steps, or for `now`, `random` and `uuid` of the context.

    | command | does |
    | --- | --- |
    | `step(fn, *args)` | calls a function, tried again as it says |
    | `run(runnable)` | runs a pipeline, a graph, another durable function as a part of this |
    | `sleep`, `sleep_until` | wait for a time, however often the process dies meanwhile |
    | `wait_signal(name)` | waits for `handle.signal(name, payload)` |
    | `ask_human(prompt)` | waits for a person's answer |
    | `start_child`, `child_result` | begin another instance, and wait for its end |
    | `parallel()`, `map` | branches side by side, each with a context of its own |
    | `move_on_after`, `fail_after` | limit the time of several commands |

    A context belongs to one task and takes one command after the other. Cancelled in a command,
    what had not ended is not recorded, and runs again when the instance goes on.

    What the context's own scopes cut off may clean up with commands in a `finally`, under a shield:
    these are recorded and replayed like all others.

    Cancel scopes of Trio around commands cannot be replayed: use the context's own. Where one did
    cut a command off and the function went on, a replay says so with `NonDeterminismError`.
    """

    __slots__ = ("_busy", "_decided", "_run", "_scope", "_task")

    def __init__(self, run: Run, scope: Scope) -> None:
        self._run = run
        self._scope = scope
        self._task = trio.lowlevel.current_task()
        self._busy: str | None = None  # the path of the command under way
        self._decided: dict[tuple[str, str], bool] = {}  # patches, by scope

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self._run.journal.id

    @property
    def place(self) -> str:
        """The path of the scope in which the next command stands; `""` for the outermost."""
        return self._scope.place

    # --- steps

    @overload
    async def step(
        self,
        fn: Callable[..., Awaitable[Ok[T] | Err[Any]]],
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...
    @overload
    async def step(
        self,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...
    @overload
    async def step(
        self,
        fn: Callable[..., Ok[T] | Err[Any]],
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...
    @overload
    async def step(
        self,
        fn: Callable[..., T],
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...
    @overload
    async def step(self, fn: Runnable, input: Any = None, /, *, name: str | None = None) -> Any: ...
    async def step(
        self,
        fn: Any,
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return what `fn(*args, **kwargs)` returns, recorded before anything follows.

        Recorded, it never runs again. A crash before that repeats the attempt that was in flight:
        `current_step()`, inside it, has the `idempotency_key` to tell others that it is the same.

        Args:
            fn: Sync or async; returns a plain value or a `Result`. An `Err` is a failure, and so is
                any exception it raises. A `Runnable` is run as by `run`.
            name: Its name in the journal; the function's own when None.
            retry: When to try again: a policy, or the number of retries (then with the delays of
                `RetryPolicy`). None: never.
            timeout: Seconds for each attempt; one that takes longer is cancelled, and has failed.

        Raises:
            WorkflowStepError: It failed, `path` says where; the same after a crash, but for the
                `cause`. Also where its result cannot be stored.
            NonDeterminismError: The journal says that something else comes here.
        """
        runnable = as_runnable(fn)
        if runnable is not None:
            if retry is not None or timeout is not None or kwargs or len(args) > 1:
                raise TypeError("a Runnable as a step takes an input and a name, nothing else")
            return await self.run(runnable, *args, name=name)
        if not callable(fn):
            raise TypeError(f"a step takes a function or a Runnable, not {given(fn)}")
        label = name_of(fn) if name is None else name
        policy = policy_of(retry)
        if timeout is not None:
            require("timeout", timeout, number(above=0, unbounded=True))
        with self._issue(label, A_STEP) as issued:
            entry, cause = issued.last(STEP), None
            if entry is None:
                await issued.begin()
                call = partial(fn, *args, **kwargs)
                step = Step(issued.path, label, call, policy, timeout)
                earlier = () if issued.recorded is None else issued.recorded.entries
                entry, cause = await run_step(self._run.journal, step, earlier)
            self._reached(entry)
            return value_of(entry, label, cause)

    async def run(
        self,
        runnable: Runnable | Callable[..., Any],
        input: Any = None,
        *,
        name: str | None = None,
    ) -> Any:
        """Run a pipeline, a graph or another durable function as a part of this instance.

        Its result is recorded like a step's, and what it records itself stands below this path: so
        after a crash it goes on where it was. Where it asks a person, the instance waits.

        Args:
            runnable: Any `Runnable`, or a function decorated with `@workflow`.
            name: Its name in the journal; its own when None.

        Raises:
            WorkflowStepError: It ended with an `Err`, or its result cannot be stored.
        """
        found = as_runnable(runnable)
        if found is None:
            check_runnable(runnable)
        assert found is not None
        label = found.name if name is None else name
        with self._issue(label, A_RUN) as issued:
            entry, cause = issued.last(STEP), None
            if entry is None:
                await issued.begin()
                entry, cause = await self._run_part(found, input, issued)
            self._reached(entry)
            return value_of(entry, label, cause)

    async def _run_part(
        self, runnable: Runnable, input: Any, issued: Issued
    ) -> tuple[Entry, object]:
        run, path = self._run, issued.path
        run_id = None if run.run_id is None else f"{run.run_id}/{path}"
        hosted = run.journal if run.is_hosted else None
        context = RunContext(input=input, run_id=run_id, journal=hosted, place=path)
        run_part = getattr(runnable, "run_part", None)
        if run_part is not None:
            result = await run_part(context, run, issued.recorded, issued.scope)
        else:
            result = await run_asking(runnable, context)
        if isinstance(result, Err):
            return await record_failure(run.journal, path, result.error), result.error
        try:
            return await run.journal.append(path, STEP, {"value": result.unwrap()}), None
        except NotStorableError as error:
            return await record_failure(run.journal, path, error), error

    # --- time

    async def sleep(self, seconds: float) -> None:
        """Wait. The time to wake is recorded once: a crash does not prolong it."""
        require("seconds", seconds, number(least=0))
        await self._sleep(lambda: self._run.journal.clock() + seconds)

    async def sleep_until(self, moment: datetime) -> None:
        """Wait until a moment, an aware `datetime`; not at all where it is past.

        Raises:
            ConfigurationError: It has no time zone.
        """
        at = timestamp_of(moment)
        await self._sleep(lambda: at)

    async def _sleep(self, wake_at: Callable[[], float]) -> None:
        with self._issue("sleep", A_SLEEP) as issued:
            entry = issued.last(SLEEP)
            if entry is None or issued.was_cut or not issued.scope.had_ended(entry.value):
                await issued.begin()
                if entry is None:
                    entry = await self._run.journal.append(issued.path, SLEEP, wake_at())
                until = datetime.fromtimestamp(entry.value, UTC)
                await wait_until(self._run.journal, entry.value, f"{until:%Y-%m-%d %H:%M:%S} UTC")
            self._reached(entry)
            self._scope.at = max(self._scope.at, entry.value)

    # --- from outside

    async def wait_signal(self, name: str, timeout: float | None = None) -> Any:
        """Wait for a signal of that name, and return its payload.

        Each signal is taken once, in the order in which they were sent; one that was sent earlier
        is there at once.

        Args:
            timeout: Seconds from the moment at which the function first came here; None: no limit.

        Raises:
            WorkflowTimeoutError: The time was over first; also when replayed.
            WorkflowStateError: There is no host that could bring a signal.
        """
        if timeout is not None:
            require("timeout", timeout, number(least=0))
        self._check_hosted(f"wait_signal({name!r})")
        with self._issue(name, A_SIGNAL) as issued:
            entry = issued.last(SIGNAL)
            if entry is None:
                await issued.begin()
                entry = await receive_signal(self._run.journal, issued, name, timeout)
            self._reached(entry)
            if "error" in entry.value:
                raise no_signal(name, issued.path)
            return entry.value["value"]

    async def ask_human(
        self,
        prompt: str,
        *,
        name: str = "ask",
        schema: Any = None,
        expires_after: float | None = None,
        default: Any = None,
    ) -> Any:
        """Ask a person, and return the answer.

        An answer that does not fit the schema is refused, and the question stays open.

        Args:
            name: The question's name in the journal; its path is the question's id.
            schema: The type that an answer is made into (`cattrs` has to be installed); None: any
                storable value, as it is.
            expires_after: Seconds after which the question is withdrawn; None: never.
            default: What is returned then; None: it is a time-out.

        Raises:
            WorkflowTimeoutError: It expired, and there is no default.
            ConfigurationError: Answers cannot be made into the schema.
            WorkflowStateError: There is no host that could bring an answer.
        """
        if expires_after is not None:
            require("expires_after", expires_after, number(least=0))
        check_schema(name, schema)
        self._check_hosted(f"ask_human(name={name!r})")
        with self._issue(name, A_QUESTION) as issued:
            entry = issued.last(ANSWERED)
            if entry is None:
                await issued.begin()
                journal = self._run.journal
                question = await ask(journal, issued, prompt, schema, expires_after)
                entry = await receive_answer(journal, question, name, schema, default)
            self._reached(entry)
            if "value" in entry.value:
                answer = entry.value["value"]
                return answer if "expired" in entry.value else structured(name, schema, answer)
            raise no_answer(name, issued.path)

    # --- other instances

    async def start_child(
        self,
        runnable: Runnable | Callable[..., Any] | str,
        input: Any = None,
        *,
        id: str | None = None,
        delay: float | None = None,
        name: str | None = None,
    ) -> Child:
        """Begin another instance, which lives on its own; durable on return, and begun once.

        Args:
            runnable: What the host has registered, or its name.
            id: Of the instance; made of this one's and the path when None.
            delay: Seconds before it runs.
            name: Its name in the journal; the runnable's when None.

        Raises:
            WorkflowStateError: There is no host.
        """
        if delay is not None:
            require("delay", delay, number(least=0))
        host = self._host("start_child")
        found = as_runnable(runnable)
        label = str(runnable if found is None else found.name) if name is None else name
        with self._issue(label, A_CHILD) as issued:
            entry = issued.last(CHILD)
            if entry is None:
                await issued.begin()
                journal = self._run.journal
                child_id = self._id_below(issued.path) if id is None else id
                what = runnable if found is None else found
                beginning = host.start(what, input, id=child_id, delay=delay, parent=journal.id)
                await journal.of_host(beginning)
                entry = await journal.append(issued.path, CHILD, child_id)
            self._reached(entry)
            return Child(entry.value)

    async def child_result(self, child: Child | Handle, *, name: str | None = None) -> Any:
        """Wait for the end of another instance, and return its value.

        Args:
            name: Its name in the journal; made of the child's id when None.

        Raises:
            WorkflowStepError: It failed, or was cancelled.
            WorkflowStateError: There is no host.
        """
        host = self._host("child_result")
        label = f"result of {child.id}"[-MOST_OF_AN_ID:] if name is None else name
        with self._issue(label, A_CHILD_RESULT) as issued:
            entry, cause = issued.last(STEP), None
            if entry is None:
                await issued.begin()
                entry, cause = await wait_child(self._run.journal, host, child.id, issued.path)
            self._reached(entry)
            return value_of(entry, label, cause)

    # --- scopes

    def parallel(self, *, fail_fast: bool = True, name: str = "parallel") -> Parallel:
        """Return a scope for branches side by side, each with a context of its own.

            async with ctx.parallel() as group:
                shipped = group.start(ship, order)
                billed = group.start(bill, order)
            return shipped.value, billed.value

        Args:
            fail_fast: True: the first failure cancels the others at once, and is raised. False: all
                run to their end, then the failure is raised, or an `ExceptionGroup` of several.
            name: The scope's name in the journal.
        """
        return Parallel(self, fail_fast=fail_fast, name=name)

    async def map(
        self,
        fn: Callable[[WorkflowContext, Item], Awaitable[T]],
        items: Iterable[Item],
        *,
        limit: int | None = None,
        name: str | None = None,
    ) -> list[T]:
        """Return what `await fn(ctx, item)` returns for each item, in the order of the items.

        Each call is a branch of one `parallel` scope, with a context of its own; the first failure
        cancels the others.

        Args:
            limit: How many at a time; None: all.
            name: The scope's name in the journal; the function's when None.
        """
        if limit is not None:
            require("limit", limit, whole(least=1))
        limiter = None if limit is None else trio.CapacityLimiter(limit)

        async def limited(ctx: WorkflowContext, item: Item) -> T:
            if limiter is None:
                return await fn(ctx, item)
            async with limiter:
                return await fn(ctx, item)

        label = name_of(fn) if name is None else name
        branches: list[Branch[T]] = []
        async with self.parallel(name=label) as group:
            branches.extend(group.start(limited, item, name="item") for item in items)
        return [branch.value for branch in branches]

    def move_on_after(self, seconds: float, *, name: str = "move_on_after") -> TimeLimit:
        """Return a scope that cancels what is in it when its time is over, and goes on behind it.

            async with ctx.move_on_after(3600) as limit:
                answer = await ctx.wait_signal("approved")
            if limit.fired: ...

        The time counts from the first entry, also while the process is down.
        """
        return TimeLimit(self, seconds, name, fails=False)

    def fail_after(self, seconds: float, *, name: str = "fail_after") -> TimeLimit:
        """Return a scope like `move_on_after`, which raises `WorkflowTimeoutError` behind it."""
        return TimeLimit(self, seconds, name, fails=True)

    # --- the same in every replay, without a record

    def now(self) -> datetime:
        """Return when the last thing before this was recorded, or when the instance was begun.

        Aware, in UTC. For the time of the world call a step.
        """
        return datetime.fromtimestamp(self._scope.at, UTC)

    def uuid(self) -> UUID:
        """Return a UUID that is the same in every replay, and another at every call."""
        return uuid_of(self._draw())

    def random(self) -> Random:
        """Return a generator that gives the same in every replay, and another at every call."""
        return random_of(self._draw())

    def _draw(self) -> tuple[str | int, ...]:
        self._check_turn("a draw")
        instance = self._run.journal.instance
        origin: tuple[str | int, ...] = (instance.seed, instance.run)
        # What a fork has in common with its origin it must draw alike, and nothing else.
        if instance.copied and not self._scope.is_in_copied_past():
            origin = (*origin, instance.id)
        return (*origin, *self._scope.draw())

    def patched(self, id: str) -> bool:
        """Say whether this run takes the way that a change of the code has added here.

            if ctx.patched("check the stock first"):
                await ctx.step(check_stock, order)

        False for an instance that had come past this place before the change; then it goes the old
        way. True for all others, and recorded. In one scope the answer stays what it was first.
        """
        self._check_turn(f"patched({id!r})")
        scope = self._scope
        key = (scope.place, id)
        if key not in self._decided:
            segment = f"{MARK_SIGN}patch {part_of(id)}"
            self._decided[key] = scope.has_mark(segment) or self._mark(segment)
        return self._decided[key]

    def _mark(self, segment: str) -> bool:
        """Make a mark, where nothing recorded came later; say whether it was made."""
        scope = self._scope
        if scope.fate() is not Fate.OPEN:
            return False
        entry = self._run.journal.later(joined(scope.place, segment), MARK)
        scope.add_mark(segment, entry.position)
        return True

    # --- the end

    def continue_as_new(self, input: Any = None) -> NoReturn:
        """End this run, and begin again with another input and an empty journal.

        For what goes on for ever: its journal stays short. Signals that were not taken stay.

        Raises:
            WorkflowStateError: In a branch, or in a function that is a part of another instance.
        """
        self._check_turn("continue_as_new")
        if self._scope.place or self._run.place:
            raise WorkflowStateError(
                f"continue_as_new was called at {self._scope.place!r}, in a part of an instance",
                hint="return from the part, and call it in the outermost function and scope",
            )
        self._scope.check_ended()
        raise ContinueAsNew(input)

    @property
    def cancel_requested(self) -> bool:
        """Whether the end was asked for: `handle.cancel(reason, grace)`, and the grace is running.

        In a replay it is so from the same place on. The body of a step may ask as well.
        """
        if self._busy is not None:
            return self._run.journal.cancelled_by is not None
        self._check_turn("cancel_requested")
        if self._scope.is_at_mark(CANCEL_SEEN):
            return True
        return self._run.journal.cancelled_by is not None and self._mark(CANCEL_SEEN)

    @property
    def cancel_reason(self) -> str | None:
        """Why the end was asked for; None: it was not."""
        return self._run.journal.cancelled_by if self.cancel_requested else None

    async def wait_cancel_requested(self) -> str:
        """Wait until the end is asked for, and return the reason. For a branch of its own."""
        with self._held("wait_cancel_requested"):
            journal = self._run.journal
            await journal.cancelling.wait()
            if not self._scope.is_at_mark(CANCEL_SEEN):
                self._mark(CANCEL_SEEN)
            return journal.cancelled_by or ""

    # --- being watched

    def publish(self, value: Any, name: str = "progress") -> None:
        """Tell whoever listens to the host's events; never waits, and records nothing.

        Not repeated in a replay, but for what was told after the last thing recorded.
        """
        host = self._run.journal.host
        if host is not None and self._scope.fate() is Fate.OPEN:
            host.publish(WorkflowPublished(self._run.journal.id, name, value))

    @overload
    def query(self, name: str, fn: F) -> F: ...
    @overload
    def query(self, name: str) -> Callable[[F], F]: ...
    def query(self, name: str, fn: Any = None) -> Any:
        """Let `handle.query(name)` be answered by a function, as long as the run is at work.

        Also `@ctx.query("status")` above the function. It must not wait, nor change anything.
        """
        if fn is None:
            return partial(self.query, name)
        self._run.journal.queries[name] = fn
        return fn

    # --- within

    def _issue(self, name: str, command: Command) -> Issued:
        self._check_turn(name)
        return Issued(self, self._run, self._scope, name, command)

    def _check_turn(self, what: str) -> None:
        check_turn(self._busy, self._task, what)

    def _held(self, what: str) -> Held:
        """Return what keeps other commands from the context meanwhile."""
        self._check_turn(what)
        return Held(self, what)

    def _reached(self, entry: Entry) -> None:
        """Remember when what was reached last was recorded."""
        self._scope.at = max(self._scope.at, entry.at)

    def _check_hosted(self, what: str) -> None:
        if not self._run.is_hosted:
            raise WorkflowStateError(
                f"{what} has nobody to wait for: the function runs without a host",
                hint="start it in a host: async with open_host(...) as host: "
                "await host.start(function, input, id=...)",
            )

    def _host(self, what: str) -> Surroundings:
        self._check_hosted(what)
        host = self._run.journal.host
        if host is None:
            raise WorkflowStateError(f"{what} needs a host, and the journal has none")
        return host

    def _id_below(self, path: str) -> str:
        instance = self._run.journal.instance
        run = f"@{instance.run}" if instance.run else ""
        return f"{instance.id}/{path}{run}"
