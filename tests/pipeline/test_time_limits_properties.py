from __future__ import annotations

import math

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lexigram_actors.pipeline import Pipeline, PipelineContext, step
from lexigram_actors.pipeline.sequence import SLACK, Limit

# No duration is as long as a limit: which of them counts is up to the order of Trio's deadlines.
seconds = st.sampled_from([0.0, 0.0003, 0.001, 0.01, 0.5, 1.0, 1.0005, 2.0, 60.0])
limits = st.one_of(st.none(), st.sampled_from([0.0001, 0.0012, 0.4, 1.5, 3.0, math.inf]))


@given(st.lists(st.tuples(seconds, limits), max_size=8))
def test_under_a_clock_for_tests_every_step_is_stopped_exactly_when_its_time_is_up(
    plans: list[tuple[float, float | None]],
) -> None:
    async def main() -> None:
        def sleeping(duration: float) -> object:
            async def work(context: PipelineContext) -> None:
                if duration:
                    await trio.sleep(duration)

            return work

        context = PipelineContext("p")
        steps = [
            step(str(n), sleeping(duration), timeout=limit)
            for n, (duration, limit) in enumerate(plans)
        ]
        await Pipeline("p", steps).execute(context, fail_fast=False)
        for record, (duration, limit) in zip(context.metadata["step_results"], plans, strict=True):
            is_late = limit is not None and duration > limit
            assert record.status == ("failed" if is_late else "completed")
            expected = limit if is_late else duration
            assert math.isclose(record.duration, expected, abs_tol=1e-9)

    trio.run(main, clock=MockClock(autojump_threshold=0))


steps = st.lists(
    st.tuples(st.floats(0, 0.01), st.floats(0.001, 100) | st.just(math.inf)),
    min_size=1,
    max_size=30,
)


@given(steps)
def test_a_limit_never_fires_early_and_late_by_its_slack_at_most(
    steps: list[tuple[float, float]],
) -> None:
    now = 1000.0
    limit, last = None, None
    for pause, timeout in steps:
        now += pause
        if limit is None:
            limit = Limit(now, timeout, has_slack=True)
        elif (timeout != last or now >= limit.serves_until) and not limit.is_moved_for(
            now, timeout
        ):
            assert now >= limit.scope.deadline
            limit = Limit(now, timeout, has_slack=True)
        last = timeout
        slack = min(SLACK, timeout / 100)
        assert now + timeout - 1e-9 <= limit.scope.deadline <= now + timeout + slack + 1e-9
