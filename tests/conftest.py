"""What holds for every test: nothing is left behind, and a failure can be repeated.

**Leaks.** After each test that passed: no new thread, no new open file, and, for async tests, no
new system task of Trio. A test that leaves something on purpose says what and why:

    @pytest.mark.leaves("threads", "files", reason="idle worker processes are kept for reuse")

**Clocks.** A clock fixture works only as an argument of the test itself; one that another fixture
asked for would be ignored without a word, and the test run on real time. Here it fails.

**Hypothesis.** Profile `ci` (chosen where the variable CI is true) derives its examples from the
test alone; `dev` looks for new ones and remembers failures. Both print the line that repeats a
failure. Note that with Hypothesis installed pytest-trio turns Trio's deterministic scheduling on
for the whole process: the suite has to be run once without it as well. Then the files that import
it are left out.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from lexigram_actors.testing.leaks import left_behind, no_task_left, possessions

PASSED = pytest.StashKey[bool]()

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    HAS_HYPOTHESIS = False
else:
    HAS_HYPOTHESIS = True
    common: dict[str, Any] = {
        "deadline": None,  # two cores shared with other runs: a time limit would be a coin toss
        "print_blob": True,
        "suppress_health_check": [HealthCheck.too_slow],
    }
    settings.register_profile("ci", derandomize=True, **common)
    settings.register_profile("dev", **common)
    settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "leaves(*kinds, reason): the test leaves 'threads', 'files' or 'tasks' behind, on purpose",
    )


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if HAS_HYPOTHESIS or collection_path.suffix != ".py":
        return None
    return True if "\nfrom hypothesis" in collection_path.read_text("utf-8") else None


def allowed(item: pytest.Item) -> set[str]:
    """Return the kinds of things this test may leave behind."""
    return {kind for mark in item.iter_markers("leaves") for kind in mark.args}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that passed and left threads or open files."""
    earlier = possessions()
    yield
    # A failed test's traceback keeps its frames, and with them whatever they hold, alive.
    if request.node.stash.get(PASSED, False):
        left = left_behind(earlier)
        left = {kind: names for kind, names in left.items() if kind not in allowed(request.node)}
        if left:
            pytest.fail(f"left behind by the test: {left}", pytrace=False)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    # Before pytest-trio wraps the function, so that the check runs inside its Trio run.
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        refuse_idle_clock(item)
        if "tasks" not in allowed(item):
            item.obj = with_task_check(item.obj)
    return (yield)


def refuse_idle_clock(item: pytest.Function) -> None:
    """Fail a test whose clock only a fixture asked for: pytest-trio would run on real time."""
    clocks = {name for name, value in item.funcargs.items() if isinstance(value, trio.abc.Clock)}
    if idle := clocks - set(inspect.signature(item.obj).parameters):
        pytest.fail(f"the test itself must take {idle} for the clock to be used", pytrace=False)


def with_task_check(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return the test with a check that no system task is left when it passed."""

    @functools.wraps(test)
    async def checked(**kwargs: Any) -> None:
        with no_task_left():
            await test(**kwargs)

    return checked
