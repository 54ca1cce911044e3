"""What holds for any input: delays, the breaker and the bus against models, any configuration.

These need Hypothesis. They stand apart, so that the rest of the suite also runs without it.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lexigram_actors.breaker import CircuitBreaker, CircuitBreakerConfig
from lexigram_actors.checks import rules_of
from lexigram_actors.config import BulkOperationConfig, GraphConfig
from lexigram_actors.errors import CircuitOpenError, ConfigurationError
from lexigram_actors.events import EventBus
from lexigram_actors.retry import RetryPolicy

# --- retry ---------------------------------------------------------------------------------------

policies = st.builds(
    RetryPolicy,
    retries=st.integers(0, 10),
    delay=st.floats(0, 1e300),
    factor=st.floats(1, 1e10),
    max_delay=st.floats(0, math.inf),
    jitter=st.floats(0, 1),
)


def by_pickle(thing: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))


@given(policies, st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_negative_nor_above_cap_and_jitter(
    policy: RetryPolicy, retry: int, chance: float
) -> None:
    wait = policy.delay_before(retry, lambda: chance)
    assert 0 <= wait <= policy.max_delay * (1 + policy.jitter)


@given(policies, st.integers(1, 50))
def test_delays_never_shrink(policy: RetryPolicy, retry: int) -> None:
    def middle() -> float:
        return 0.5

    assert policy.delay_before(retry, middle) <= policy.delay_before(retry + 1, middle)


@given(policies)
def test_a_policy_survives_pickle_and_hash(policy: RetryPolicy) -> None:
    assert by_pickle(policy) == policy
    assert hash(attrs.evolve(policy)) == hash(policy)


# --- breaker -------------------------------------------------------------------------------------


class Model:
    """The same promises, written down another way: a log of outcomes for each era."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.eras: list[tuple[str, float | None, list[bool]]] = [("closed", None, [])]
        self.probe: int | None = None

    def state(self, now: float) -> str:
        name, until, _ = self.eras[-1]
        return "half_open" if name == "open" and until is not None and now >= until else name

    def enter(self, name: str, until: float | None = None) -> None:
        self.eras.append((name, until, []))
        self.probe = None

    def begin(self, call: int, now: float) -> int | None:
        """Return the era the call belongs to; None if it is refused."""
        if self.state(now) == "half_open" and self.eras[-1][0] == "open":
            self.enter("half_open")
        name = self.eras[-1][0]
        if name == "open" or (name == "half_open" and self.probe is not None):
            return None
        if name == "half_open":
            self.probe = call
        return len(self.eras) - 1

    def end(self, call: int, era: int, outcome: bool | None, now: float) -> None:
        if era != len(self.eras) - 1:
            return
        name, _, outcomes = self.eras[-1]
        if self.probe == call:
            self.probe = None
        if outcome is None:
            return
        outcomes.append(outcome)
        threshold = 1 if name == "half_open" else self.config.failure_threshold
        if not any(outcomes[-threshold:]) and len(outcomes) >= threshold:
            self.enter("open", now + self.config.recovery_timeout)
        elif name == "half_open" and len(outcomes) >= self.config.success_threshold:
            self.enter("closed")


commands = st.lists(
    st.one_of(
        st.just(("begin", None)),
        st.tuples(st.just("end"), st.tuples(st.integers(0, 5), st.sampled_from([True, False]))),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.tuples(st.just("tick"), st.sampled_from([1.0, 4.0, 10.0])),
        st.sampled_from([("reset", None), ("force_open", None)]),
    ),
    max_size=60,
)
configs = st.builds(
    CircuitBreakerConfig,
    failure_threshold=st.integers(1, 3),
    recovery_timeout=st.sampled_from([0.0, 4.0, 10.0]),
    success_threshold=st.integers(1, 2),
)


@given(configs, commands)
def test_it_does_what_the_model_does(
    config: CircuitBreakerConfig, steps: list[tuple[str, Any]]
) -> None:
    clock = MockClock()
    trio.run(follow, config, steps, clock, clock=clock)


async def follow(
    config: CircuitBreakerConfig, steps: list[tuple[str, Any]], clock: MockClock
) -> None:
    breaker, model = CircuitBreaker(config), Model(config)
    running: dict[int, tuple[Any, int]] = {}
    for number, (command, argument) in enumerate(steps):
        now = trio.current_time()
        if command == "begin":
            passage = breaker.protect()
            era = model.begin(number, now)
            if era is None:
                with pytest.raises(CircuitOpenError):
                    await passage.__aenter__()
            else:
                await passage.__aenter__()
                running[number] = (passage, era)
        elif command == "tick":
            clock.jump(argument)
        elif command == "reset":
            breaker.reset()
            model.enter("closed")
        elif command == "force_open":
            breaker.force_open()
            model.enter("open")
        elif running:
            index, good = argument if command == "end" else (argument, None)
            call = list(running)[index % len(running)]
            passage, era = running.pop(call)
            error = {True: None, False: ValueError(), None: KeyboardInterrupt()}[good]
            await passage.__aexit__(type(error) if error else None, error, None)
            model.end(call, era, good, now)
        assert breaker.state == model.state(trio.current_time())


# --- bus -----------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.lists(st.sampled_from(["publish", "other", "take"]), max_size=40))
def test_a_subscription_is_a_bounded_queue(bound: int, steps: list[str]) -> None:
    async def main() -> None:
        bus = EventBus()
        model: deque[int] = deque(maxlen=bound)
        dropped = 0
        async with bus.subscribe(int, bound=bound) as events:
            for number, step in enumerate(steps):
                if step == "publish":
                    dropped += len(model) == bound
                    model.append(number)
                    bus.publish(number)
                elif step == "other":
                    bus.publish("no int")
                elif model:
                    assert await anext(events) == model.popleft()
                assert (events.queued, events.dropped) == (len(model), dropped)

    trio.run(main)


# --- configuration -------------------------------------------------------------------------------

values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**9),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["fail", "bisect", "last", "error"]),
    st.builds(CircuitBreakerConfig),
    st.lists(st.integers(), max_size=2),
)


@pytest.mark.parametrize("kind", [BulkOperationConfig, GraphConfig])
@given(data=st.data())
def test_any_values_make_a_config_or_a_refusal_that_names_just_the_wrong_ones(
    kind: Any, data: st.DataObject
) -> None:
    rules = rules_of(kind)
    settings = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(rules, values)))
    wrong = [name for name, value in settings.items() if not rules[name].allows(value)]
    if wrong:
        with pytest.raises(ConfigurationError) as caught:
            kind(**settings)
        named = [problem.split(":")[0] for problem in caught.value.problems]
        assert sorted(named) == sorted(wrong)
    else:
        config = kind(**settings)
        assert all(getattr(config, name) is value for name, value in settings.items())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.integers(1, 10**6),
            "timeout": st.floats(0.001, 1e9),
            "ordered": st.booleans(),
            "failure_limit": st.one_of(st.none(), st.integers(0, 100), st.floats(0, 1)),
            "circuit_breaker_config": st.one_of(
                st.none(),
                st.fixed_dictionaries({}, optional={"failure_threshold": st.integers(1, 9)}),
            ),
        },
    )
)
def test_dict_and_environment_give_the_same_config(settings: dict[str, Any]) -> None:
    from_dict = BulkOperationConfig.from_dict(settings)
    breaker = settings.get("circuit_breaker_config")
    flat = {k: v for k, v in settings.items() if k != "circuit_breaker_config" or v is None}
    environ = {f"LEX_WORKFLOW__{name.upper()}": str(value) for name, value in flat.items()}
    environ |= {
        f"LEX_WORKFLOW__CIRCUIT_BREAKER_CONFIG__{name.upper()}": str(value)
        for name, value in (breaker or {}).items()
    }
    if breaker == {}:
        from_dict = attrs.evolve(from_dict, circuit_breaker_config=None)
    assert BulkOperationConfig.from_env(environ) == from_dict
