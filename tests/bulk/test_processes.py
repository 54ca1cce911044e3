"""Processors in worker processes. Real processes and real time: few tests, and no jumping clock."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lexigram_actors.adapters.processes import ProcessExecutor
from lexigram_actors.bulk import BulkOperationState, bulk_map
from lexigram_actors.config import BulkOperationConfig
from lexigram_actors.errors import BulkOperationError, ConfigurationError, MissingExtraError
from tests.bulk import work
from tests.bulk.helpers import collect, collect_until, operation, same, until

pytestmark = pytest.mark.leaves(
    "threads", "files", reason="multiprocessing keeps its resource tracker"
)


async def test_it_computes_in_other_processes() -> None:
    bulk = operation(work.with_process, batch_size=2, max_concurrency=2, executor=ProcessExecutor())
    results = await collect(bulk.execute(list(range(6))))
    answers = [answer for result in results for answer in result.results]
    assert sorted(answer[0] for answer in answers) == [0, 1, 4, 9, 16, 25]
    processes = {answer[1] for answer in answers}
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2
    assert all(not is_running(process) for process in processes)


async def test_map_takes_it_too() -> None:
    config = BulkOperationConfig(max_concurrency=1)
    executor = ProcessExecutor()
    assert await bulk_map(work.square, [1, 2, 3], config, executor=executor) == [1, 4, 9]


async def test_a_process_that_dies_fails_its_batch_only(tmp_path: Path) -> None:
    marker = str(tmp_path / "died")
    bulk = operation(
        partial(work.dies, marker), batch_size=2, max_concurrency=2, executor=ProcessExecutor()
    )
    results = sorted(await collect(bulk.execute(list(range(8)))), key=lambda r: r.batch_id)
    assert [r.is_successful for r in results] == [True, False, True, True]
    assert "the worker process died, exit code -9" in results[1].errors[0].error
    os.unlink(marker)
    again = operation(
        partial(work.dies, marker),
        batch_size=2,
        max_concurrency=1,
        retry_attempts=1,
        retry_delay=0,
        executor=ProcessExecutor(),
    )
    results = await collect(again.execute(list(range(8))))
    assert all(r.is_successful for r in results)
    assert again.metrics.total_retries == 1


async def test_cancelled_its_process_is_killed(tmp_path: Path) -> None:
    marker = tmp_path / "process"
    bulk = operation(partial(work.naps, str(marker)), executor=ProcessExecutor())
    async with bulk.execute([1]):
        await until(lambda: marker.exists() and marker.read_text())
        start = time.monotonic()
        await bulk.cancel()
    assert time.monotonic() - start < 10
    assert not is_running(int(marker.read_text()))


async def test_a_process_that_died_idle_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    bulk = operation(work.with_process, batch_size=1, executor=ProcessExecutor())
    async with bulk.execute([1]) as run:
        result = await anext(run)
        os.kill(result.results[0][1], signal.SIGKILL)
        assert [late async for late in run] == []
    assert bulk.state is BulkOperationState.COMPLETED
    assert "did not end well" in caplog.text


async def test_an_error_in_a_process_is_an_error_of_the_batch() -> None:
    bulk = operation(work.fails, max_concurrency=1, executor=ProcessExecutor(1))
    (result,) = await collect(bulk.execute([1]))
    assert (result.errors[0].error, result.errors[0].error_type) == ("no [1]", "ValueError")


async def test_items_that_cannot_be_sent_fail_their_batch() -> None:
    bulk = operation(work.with_process, max_concurrency=1, executor=ProcessExecutor())
    (result,) = await collect(bulk.execute([lambda: 1]))
    assert "pickle" in result.errors[0].error


@pytest.mark.parametrize("processor", [same, lambda items: items])
async def test_what_cannot_run_in_a_process_is_refused_at_the_call(processor: Any) -> None:
    with pytest.raises(BulkOperationError, match=r"is async|cannot be sent to a worker"):
        operation(processor, executor=ProcessExecutor()).execute([1])


async def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio_parallel", None)
    with pytest.raises(MissingExtraError, match=r"lexigram-actors\[processes\]"):
        operation(work.square, executor=ProcessExecutor()).execute([1])


@pytest.mark.parametrize("wrong", [{"max_workers": 0}, {"grace": -1}, {"grace": float("inf")}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ProcessExecutor(**wrong)


async def test_an_executor_that_breaks_fails_the_run() -> None:
    class Broken:
        def open(self, processor: Any, max_concurrency: int) -> Any:
            return self

        async def __aenter__(self) -> Any:
            raise OSError("no cluster")

        async def __aexit__(self, *_: object) -> None:
            pass

    results, error = await collect_until(operation(same, executor=Broken()).execute([1]))
    assert not results
    assert isinstance(error, BulkOperationError)
    assert isinstance(error.__cause__, OSError)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
