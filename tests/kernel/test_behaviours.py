"""What can be an actor, and what happens when one of its functions raises."""

from __future__ import annotations

import contextvars
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lexigram_actors import (
    Actor,
    ActorContext,
    ActorFailed,
    ActorRestarted,
    ActorStopped,
    Backoff,
    ConfigurationError,
    Exit,
    Restart,
    open_system,
)
from tests.kernel.behaviours import Echo, Noting, Parting, deaf, outcome_of


@attrs.define
class Defined(Actor[Any]):
    total: int = 0

    async def receive(self, message: int) -> int:
        self.total += message
        return self.total


@attrs.frozen
class Frozen(Actor[Any]):
    total: int = 0

    async def receive(self, message: int) -> int:
        return self.total + message


@dataclass
class Data(Actor[Any]):
    total: int = 0

    async def receive(self, message: int) -> int:
        self.total += message
        return self.total


class Slotted(Actor[Any]):
    __slots__ = ("total",)

    def __init__(self, total: int = 0) -> None:
        self.total = total

    async def receive(self, message: int) -> int:
        return self.total + message


class OwnNew(Actor[Any]):
    total: int

    def __new__(cls, total: int = 0) -> Self:
        self = super().__new__(cls)
        self.total = total
        return self

    async def receive(self, message: int) -> int:
        return self.total + message


class OwnNewStrict(Actor[Any]):
    total: int

    def __new__(cls, total: int) -> Self:
        self = super().__new__(cls)
        self.total = total
        return self

    def __init__(self, total: int) -> None:
        pass

    async def receive(self, message: int) -> int:
        return self.total + message


@pytest.mark.parametrize(
    "behaviour", [Defined, Frozen, Data, Slotted, OwnNew, OwnNewStrict], ids=lambda b: b.__name__
)
async def test_an_actor_may_be_any_sort_of_class(behaviour: Any) -> None:
    async with open_system(max_restarts=5) as system:
        ref = await system.spawn(behaviour, 5, restart=Restart.PERMANENT)
        assert await ref.ask(1) == 6
        with pytest.raises(ActorFailed):
            await ref.ask("no number")
        assert await ref.ask(2) == 7


async def test_a_context_is_there_before_init_runs() -> None:
    class Curious(Echo):
        def __init__(self) -> None:
            self.name = self.context.self.name
            self.system = self.context.system
            self.ended = self.context.stop_reason

    async def look(actor: Any) -> Any:
        return actor.name, actor.system, actor.ended

    async with open_system() as system:
        ref = await system.spawn(Curious, name="curious")
        assert await ref.ask(look) == ("curious", system, None)


async def test_timers_may_be_started_in_init(autojump_clock: MockClock) -> None:
    got: list[str] = []

    class Ticking(Actor[str]):
        def __init__(self) -> None:
            self.context.send_after(1, "once")

        async def receive(self, message: str) -> None:
            got.append(message)

    async with open_system() as system:
        await system.spawn(Ticking)
        await trio.sleep(2)
    assert got == ["once"]


async def test_an_init_that_tells_itself_something_handles_it_first() -> None:
    class Eager(Echo):
        def __init__(self) -> None:
            self.context.self.tell_nowait(partial(self.note, "first"))
            self.notes: list[str] = []

        async def note(self, what: str, _: Any) -> list[str]:
            self.notes.append(what)
            return self.notes

    async with open_system() as system:
        ref = await system.spawn(Eager)

        async def notes(actor: Any) -> Any:
            return actor.notes

        assert await ref.ask(notes) == ["first"]


async def test_a_failed_init_leaves_no_timer_and_no_message(
    autojump_clock: MockClock,
) -> None:
    leaked: list[Any] = []

    class Broken(Echo):
        def __init__(self) -> None:
            leaked.append(self.context.self)
            self.context.self.tell_nowait("to myself")
            self.context.send_every(1, "tick")
            raise OSError

    async with open_system() as system, system.dead_letters() as letters:
        with pytest.raises(ActorFailed) as caught:
            await system.spawn(Broken, mailbox=3)
        assert isinstance(caught.value.cause, OSError)
        await trio.sleep(10)
        assert letters.queued == 1  # type: ignore[attr-defined]
        with pytest.raises(ActorStopped):
            leaked[0].tell_nowait("x")
        assert leaked[0].statistics().queued == 0


@pytest.mark.parametrize(
    "behaviour",
    [
        Echo.receive,
        deaf,
        partial(deaf),
        Echo,
    ],
)
async def test_what_can_be_called_with_a_context_is_started(behaviour: Any) -> None:
    async with open_system(grace=0) as system:
        await outcome_of(system.spawn, behaviour)
        await wait_all_tasks_blocked()


class NoActor:
    async def receive(self, message: Any) -> Any:
        return message


class NotFinished(Actor[Any]):
    @abstractmethod
    def something(self) -> None: ...

    async def receive(self, message: Any) -> None: ...


@pytest.mark.parametrize(
    "behaviour",
    [NoActor, partial(Echo), Echo.__new__(Echo)],
    ids=["no-actor", "partial-of-class", "instance"],
)
async def test_what_could_never_run_is_refused_before_it_is_started(behaviour: Any) -> None:
    async with open_system() as system:
        with pytest.raises(ConfigurationError):
            await system.spawn(behaviour)
        assert system.tree().children == ()


@pytest.mark.parametrize("hook", ["receive", "started", "stopping"])
def test_a_hook_that_is_not_async_is_refused_where_its_class_is_written(hook: str) -> None:
    with pytest.raises(ConfigurationError, match=f"async def {hook}"):
        type("Sync", (Echo,), {hook: lambda self, *_: None})


async def test_an_abstract_class_fails_to_start() -> None:
    async with open_system() as system:
        with pytest.raises((ActorFailed, ConfigurationError)):
            await system.spawn(NotFinished)  # type: ignore[type-abstract]
        assert system.tree().children == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"restart": "permanent"},
        {"restart": None},
        {"shutdown": -1},
        {"shutdown": "5"},
        {"mailbox": -1},
        {"mailbox": "64"},
        {"mailbox": True},
        {"name": 5},
        {"name": ""},
    ],
    ids=str,
)
async def test_spawn_refuses_an_option_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    async with open_system() as system:
        with pytest.raises((ConfigurationError, TypeError)):
            await system.spawn(Echo, **wrong)
        assert system.tree().children == ()


async def test_names_that_are_made_up_avoid_those_that_are_taken() -> None:
    async with open_system() as system:
        await system.spawn(Echo, name="Echo-1")
        await system.spawn(Echo, name="Echo-3")
        refs = [await system.spawn(Echo) for _ in range(3)]
        assert len({ref.name for ref in refs} | {"Echo-1", "Echo-3"}) == 5


async def test_a_failed_start_does_not_use_up_its_name() -> None:
    class Broken(Echo):
        def __init__(self) -> None:
            raise OSError

    async with open_system() as system:
        for _ in range(3):
            with pytest.raises(ActorFailed):
                await system.spawn(Broken, name="x")
        assert (await system.spawn(Echo, name="x")).name == "x"


# --- hooks


async def test_stopping_is_told_of_a_failure_and_not_called_when_the_start_failed() -> None:
    notes: list[str] = []

    class BadStart(Noting):
        async def started(self) -> None:
            raise OSError

    async with open_system() as system:
        with pytest.raises(ActorFailed):
            await system.spawn(BadStart, notes)
        assert notes == []
        ref = await system.spawn(Noting, notes)
        await ref.tell(ValueError())
        await ref.monitor()
    assert notes == ["it started", "it failed"]


async def test_an_idle_actor_says_goodbye_too() -> None:
    notes: list[str] = []
    async with open_system() as system:
        ref = await system.spawn(Parting, notes, "stopped")
        await ref.stop("enough")
        assert await ref.monitor() == Exit("Parting-1", "enough")
        await system.spawn(Parting, notes, "left")
    assert notes == ["stopped enough", "left shutdown"]


async def test_a_crash_and_a_failing_goodbye_report_one_failure() -> None:
    class Both(Echo):
        async def stopping(self, reason: str) -> None:
            raise KeyError("goodbye")

    async with open_system() as system:
        ref = await system.spawn(Both)
        await ref.tell(ValueError("first"))
        exit_ = await ref.monitor()
        assert exit_.reason == "failed"
        assert {type(exit_.error), type(getattr(exit_.error, "__context__", None))} & {
            ValueError,
            KeyError,
        }


async def test_a_goodbye_that_fails_while_it_is_cut_off_is_its_actors_failure_alone(
    autojump_clock: MockClock,
) -> None:
    class Untidy(Echo):
        async def stopping(self, reason: str) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("in the clean-up")

    async with open_system() as system:
        other = await system.spawn(Echo)
        ref = await system.spawn(Untidy)
        await ref.stop(grace=1)
        exit_ = await ref.monitor()
        assert exit_.reason == "failed"
        assert isinstance(exit_.error, ValueError)
        assert await other.ask("unharmed") == "unharmed"


async def test_what_goodbye_tells_itself_becomes_a_dead_letter() -> None:
    class Late(Echo):
        async def stopping(self, reason: str) -> None:
            with pytest.raises(ActorStopped):
                self.context.self.tell_nowait("late")

    async with open_system() as system, system.dead_letters() as letters:
        ref = await system.spawn(Late)
        await ref.stop()
        assert (await anext(letters)).message == "late"
        assert (await ref.monitor()).reason == "stopped"


# --- context variables

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("backoff", [None, Backoff(initial=1.0)])
async def test_every_incarnation_sees_the_spawners_context_also_in_init(
    backoff: Backoff | None, autojump_clock: MockClock
) -> None:
    seen: list[tuple[str, str]] = []

    class Sees(Echo):
        def __init__(self) -> None:
            self.at_init = variable.get()

        async def receive(self, message: Any) -> None:
            seen.append((self.at_init, variable.get()))
            variable.set("the actor's own")
            raise ValueError

    async with open_system(max_restarts=5, backoff=backoff) as system:
        variable.set("spawner")
        ref = await system.spawn(Sees, restart=Restart.PERMANENT)
        variable.set("later")
        for _ in range(3):
            await ref.tell("look")
            await trio.sleep(5)
    assert seen == [("spawner", "spawner")] * 3


# --- function actors


async def test_a_function_actor_may_open_nurseries(autojump_clock: MockClock) -> None:
    async def body(context: ActorContext[str]) -> None:
        async def work(message: str) -> None:
            await trio.sleep(1)
            done.append(message)

        async with trio.open_nursery() as nursery:
            async for message in context.messages():
                nursery.start_soon(work, message)
                context.reply("begun")

    done: list[str] = []
    async with open_system() as system:
        ref = await system.spawn(body)
        assert await ref.ask("a") == "begun"
        await ref.tell("b")
        await ref.stop()
        assert sorted(done) == ["a", "b"]
        assert trio.current_time() == pytest.approx(1)


async def test_a_function_actor_notices_a_stop_without_reading_mail(
    autojump_clock: MockClock,
) -> None:
    reasons: list[str | None] = []

    async def body(context: ActorContext[str]) -> None:
        await context.stopping.wait_value(True)
        reasons.append(context.stop_reason)

    async with open_system() as system:
        ref = await system.spawn(body)
        await wait_all_tasks_blocked()
        await ref.stop("enough")
        assert reasons == ["enough"]
        assert trio.current_time() == 0


async def test_arguments_are_given_at_every_start() -> None:
    seen: list[Any] = []

    async def body(context: ActorContext[Any], *args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs))
        async for _ in context.messages():
            raise ValueError

    async with open_system() as system, system.events.subscribe(ActorRestarted) as restarts:
        ref = await system.spawn(body, 1, 2, key="value", restart=Restart.TRANSIENT)
        await ref.tell("crash")
        await anext(restarts)
        await wait_all_tasks_blocked()
    assert seen == [((1, 2), {"key": "value"})] * 2


@pytest.mark.parametrize("use", ["spawn", "send_after", "send_every", "link", "messages"])
async def test_a_context_kept_past_its_incarnation_is_of_no_use(
    use: str, autojump_clock: MockClock
) -> None:
    kept: list[ActorContext[Any]] = []

    async def body(context: ActorContext[Any]) -> None:
        kept.append(context)
        async for _ in context.messages():
            return

    async with open_system() as system:
        other = await system.spawn(Echo)
        for restart in (Restart.TEMPORARY, Restart.PERMANENT):
            ref = await system.spawn(body, restart=restart)
            await ref.tell("end")
            await wait_all_tasks_blocked()
            context = kept[-2] if restart is Restart.PERMANENT else kept[-1]
            with pytest.raises((ActorStopped, StopAsyncIteration)), trio.fail_after(1):
                match use:
                    case "spawn":
                        await context.spawn(Echo)
                    case "send_after":
                        context.send_after(1, "x")
                    case "send_every":
                        context.send_every(1, "x")
                    case "link":
                        context.link(other)
                    case "messages":
                        await anext(context.messages())
