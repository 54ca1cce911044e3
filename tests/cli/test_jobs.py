"""Jobs: runs that continue one another until every item has its result."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lexigram_actors.cli import continuing
from lexigram_actors.cli.items import PathSource
from lexigram_actors.errors import StoreError
from lexigram_actors.result import Err, Result
from lexigram_actors.storage.cache import KeyValueCache
from tests.cli.conftest import Command, Workshop


def test_a_job_writes_its_results_under_their_name(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    done = command.job("tasks:double", "--json")
    assert done.code == 0
    assert workshop.results() == {index: 2 * index for index in range(10)}
    assert workshop.names() == {"items.jsonl", "out.jsonl", "jobs.db"}


def test_a_complete_job_is_not_run_again(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    assert command.job("tasks:double").code == 0
    before = (workshop.folder / "out.jsonl").read_bytes()
    done = command.job("tasks:double", "--json")
    assert done.code == 0
    assert done.summary["status"] == "already_complete"
    assert (done.summary["items"], done.summary["resumed"]) == (10, 10)
    assert (workshop.folder / "out.jsonl").read_bytes() == before
    assert "complete already" in command.job("tasks:double").out


def test_a_complete_job_without_items_stays_complete(workshop: Workshop, command: Command) -> None:
    workshop.items(0)
    assert command.job("tasks:double").code == 0
    assert command.job("tasks:double", "--json").summary["status"] == "already_complete"


def test_failed_items_are_tried_again_and_only_they(workshop: Workshop, command: Command) -> None:
    workshop.items(20)
    done = command.job("tasks:flaky", "--json")
    assert done.code == 1
    assert set(workshop.errors()) == {0, 5, 10, 15}
    assert "to try the failed items again: lexigram-actors bulk" in done.summary["next"]
    workshop.write("good", "")
    done = command.job("tasks:flaky", "--json")
    assert done.code == 0
    assert (done.summary["resumed"], done.summary["succeeded"]) == (16, 20)
    assert workshop.results() == {index: index for index in range(20)}
    assert workshop.names() == {"items.jsonl", "out.jsonl", "jobs.db", "good"}
    assert command.job("tasks:flaky", "--json").summary["status"] == "already_complete"


def test_mates_of_a_failed_item_in_a_batch_do_not_stand_twice(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(23)
    assert command.job("tasks:flaky", "--batch-size", "4").code == 1
    assert len(workshop.results()) == 18
    assert set(workshop.errors()) == {0, 5, 10, 15, 20}
    workshop.write("good", "")
    done = command.job("tasks:flaky", "--json")
    assert done.code == 0, done.err
    assert "were written and not recorded" in done.err
    assert workshop.results() == {index: index for index in range(23)}


def test_a_run_ended_by_a_broken_line_goes_on_when_it_is_mended(
    workshop: Workshop, command: Command
) -> None:
    workshop.write("items.jsonl", "".join(f"{n}\n" if n != 16 else "{,\n" for n in range(30)))
    done = command.job("tasks:double", "--json")
    assert done.code == 2
    assert "line 17, column 2" in done.summary["error"]["message"]
    assert "to continue: lexigram-actors bulk" in done.summary["next"]
    assert set(workshop.results()) == set(range(16))
    workshop.items(30)
    done = command.job("tasks:double", "--json")
    assert done.code == 0
    assert done.summary["resumed"] == 16
    assert workshop.results() == {index: 2 * index for index in range(30)}


def test_other_settings_of_the_run_may_change(workshop: Workshop, command: Command) -> None:
    workshop.items(20)
    assert command.job("tasks:flaky", "--concurrency", "1").code == 1
    workshop.write("good", "")
    done = command.job("tasks:flaky", "--executor", "process", "--retries", "1")
    assert done.code == 0, done.err
    assert len(workshop.results()) == 20


def test_a_folder_that_moves_takes_its_jobs_along(
    workshop: Workshop, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.items(10)
    target = "tasks.py:flaky"
    assert command.job(target).code == 1
    moved = workshop.folder / "moved"
    moved.mkdir()
    for name in ("tasks.py", "items.jsonl", "out.jsonl", "jobs.db"):
        shutil.move(name, moved / name)
    monkeypatch.chdir(moved)
    (moved / "good").touch()
    done = command.job(target)
    assert done.code == 0, done.err
    assert len(workshop.results("moved/out.jsonl")) == 10


def test_two_jobs_share_a_checkpoint_file(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    assert command.job("tasks:double").code == 0
    done = command.bulk("tasks:slow", "--checkpoint", "jobs.db", "--id", "two", out="two.jsonl")
    assert done.code == 0, done.err
    assert workshop.results("two.jsonl") == {index: index for index in range(10)}
    assert workshop.results() == {index: 2 * index for index in range(10)}


def test_standard_input_that_differs_is_refused(workshop: Workshop) -> None:
    job = ("--items", "-", "--out", "out.jsonl", "--checkpoint", "jobs.db", "--id", "job")
    assert workshop.run("bulk", "tasks:flaky", *job, input="5\n1\n2\n").returncode == 1
    workshop.write("good", "")
    done = workshop.run("bulk", "tasks:flaky", *job, input="5\n1\n3\n")
    assert done.returncode == 2
    assert "items of the digest" in done.stderr
    assert "give the items and the batch size it was started with" in done.stderr
    assert workshop.run("bulk", "tasks:flaky", *job, input="5\n1\n2\n").returncode == 0
    assert workshop.results() == {0: 5, 1: 1, 2: 2}


# --- another job -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "options", "shows"),
    [
        ("tasks:double", (), "TARGET was tasks:flaky, now tasks:double"),
        ("tasks:flaky", ("--batch-size", "7"), "--batch-size was 1, now 7"),
    ],
)
def test_a_job_that_was_started_differently_is_refused_with_both(
    workshop: Workshop, command: Command, target: str, options: tuple[str, ...], shows: str
) -> None:
    workshop.items(10)
    assert command.job("tasks:flaky").code == 1
    before = (workshop.folder / "out.jsonl").read_bytes()
    done = command.job(target, *options)
    assert done.code == 2
    assert shows in done.err
    assert "--overwrite" in done.err
    assert (workshop.folder / "out.jsonl").read_bytes() == before


def test_other_items_or_another_output_are_refused_with_both(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(10)
    workshop.items(10, "others.jsonl")
    assert command.job("tasks:flaky").code == 1
    job = ("--checkpoint", "jobs.db", "--id", "job")
    done = command("bulk", "tasks:flaky", "--items", "others.jsonl", "--out", "out.jsonl", *job)
    assert "--items was items.jsonl, now others.jsonl" in done.err
    done = command.bulk("tasks:flaky", *job, out="elsewhere.jsonl")
    assert "--out was out.jsonl, now elsewhere.jsonl" in done.err
    assert not (workshop.folder / "elsewhere.jsonl").exists()


def test_items_that_changed_are_refused(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    assert command.job("tasks:flaky").code == 1
    workshop.write("items.jsonl", "".join(f"{n + 100}\n" for n in range(10)))
    done = command.job("tasks:flaky")
    assert done.code == 2
    assert "recorded with items of the digest" in done.err
    workshop.items(4)
    done = command.job("tasks:flaky")
    assert done.code == 2
    assert "end after 4 batches" in done.err


@pytest.mark.parametrize(("count", "says"), [(12, "holds 12 now"), (10, "holds others now")])
def test_a_complete_job_with_other_items_is_refused(
    workshop: Workshop, command: Command, count: int, says: str
) -> None:
    workshop.items(10)
    assert command.job("tasks:double").code == 0
    workshop.write("items.jsonl", "".join(f"{number + 1}\n" for number in range(count)))
    done = command.job("tasks:double")
    assert done.code == 2
    assert "is complete with 10 items" in done.err
    assert says in done.err


def test_a_start_that_recorded_nothing_binds_nobody(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    assert command.job("tasks:no_json").code == 1
    done = command.job("tasks:double", "--batch-size", "3")
    assert done.code == 0, done.err
    assert len(workshop.results()) == 10


def test_results_that_are_not_of_the_job_are_not_touched(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(10)
    workshop.write("out.jsonl", "precious\n")
    done = command.job("tasks:double")
    assert done.code == 2
    assert "exists already" in done.err
    assert command.job("tasks:double", "--overwrite").code == 0
    assert len(workshop.results()) == 10


def test_overwrite_begins_a_job_anew(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    assert command.job("tasks:flaky").code == 1
    workshop.write("good", "")
    done = command.job("tasks:double", "--overwrite", "--batch-size", "3", "--json")
    assert done.code == 0
    assert done.summary["resumed"] == 0
    assert workshop.results() == {index: 2 * index for index in range(10)}
    assert "out.errors.jsonl" not in workshop.names()


# --- a results file that somebody changed ----------------------------------------------------


def changed(workshop: Workshop, lines: list[str]) -> None:
    (workshop.folder / "out.jsonl").write_text("".join(lines))


def lines_of(workshop: Workshop) -> list[str]:
    return (workshop.folder / "out.jsonl").read_text().splitlines(keepends=True)


@pytest.mark.parametrize("target", ["tasks:flaky", "tasks:double"])
def test_recorded_results_that_are_gone_are_not_lost_in_silence(
    workshop: Workshop, command: Command, target: str
) -> None:
    workshop.items(10)
    command.job(target)
    lines = lines_of(workshop)
    changed(workshop, lines[:-3])
    done = command.job(target)
    assert done.code == 2
    assert f"{len(lines)} results recorded, and 3 of them are missing" in done.err
    os.remove("out.jsonl")
    assert f"{len(lines)} of them are missing" in command.job(target).err
    assert command.job(target, "--overwrite").code == (1 if target == "tasks:flaky" else 0)


@pytest.mark.parametrize("target", ["tasks:flaky", "tasks:double"])
def test_a_line_of_somebody_else_is_named(
    workshop: Workshop, command: Command, target: str
) -> None:
    workshop.items(10)
    command.job(target)
    lines = lines_of(workshop)
    changed(workshop, [*lines[:3], "mine\n", *lines[3:]])
    done = command.job(target)
    assert done.code == 2
    assert "out.jsonl, line 4, was not written by job 'job'" in done.err
    assert "mine\n" in lines_of(workshop)


def test_a_torn_end_is_mended(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    assert command.job("tasks:flaky").code == 1
    changed(workshop, [*lines_of(workshop), '{"index":5,"res'])
    workshop.write("good", "")
    assert command.job("tasks:flaky").code == 0
    assert workshop.results() == {index: index for index in range(10)}


# --- the checkpoint file ---------------------------------------------------------------------


def test_a_checkpoint_in_no_folder_is_refused(workshop: Workshop, command: Command) -> None:
    workshop.items(1)
    done = command.bulk("tasks:double", "--checkpoint", "none/jobs.db", "--id", "x")
    assert done.code == 2
    assert "there is no folder" in done.err


def test_a_checkpoint_that_is_no_database_is_refused_untouched(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(1)
    workshop.write("jobs.db", "not a database, but important\n" * 10)
    done = command.job("tasks:double")
    assert done.code == 3
    assert "no SQLite database" in done.err
    assert (workshop.folder / "jobs.db").read_text().startswith("not a database")


def test_a_record_of_another_version_is_refused(
    workshop: Workshop, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lexigram_actors.cli import job

    workshop.items(10)
    monkeypatch.setattr(job, "FORMAT", 99)
    assert command.job("tasks:flaky").code == 1
    monkeypatch.undo()
    os.chdir(workshop.folder)
    done = command.job("tasks:flaky")
    assert done.code == 2
    assert "was not written by this version" in done.err


def test_a_checkpoint_without_its_record_is_refused(
    workshop: Workshop, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lexigram_actors.cli.job import JobRecords

    async def nothing(self: JobRecords) -> None:
        return None

    workshop.items(10)
    assert command.job("tasks:flaky").code == 1
    monkeypatch.setattr(JobRecords, "load", nothing)
    done = command.job("tasks:flaky")
    assert done.code == 2
    assert "not what the job is" in done.err


def test_a_job_in_use_is_refused_though_it_writes_elsewhere(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(1)
    from lexigram_actors.cli.locking import locked

    # The lock of another open file is the lock of another process.
    with locked(workshop.folder / "jobs.db.job.lock", "it"):
        done = command.job("tasks:double")
    assert done.code == 2
    assert "job 'job' in" in done.err
    assert "still running" in done.err


def test_a_store_that_fails_ends_the_run_and_the_job_goes_on(
    workshop: Workshop, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.items(10)
    real, calls = KeyValueCache.set, 0

    async def failing(self: KeyValueCache, key: str, value: object) -> Result[None, Exception]:
        nonlocal calls
        calls += 1
        return await real(self, key, value) if calls < 6 else Err(StoreError("disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(KeyValueCache, "set", failing)
        done = command.job("tasks:slow", "--concurrency", "1", "--json")
        assert done.code == 3
        assert "disk is full" in done.summary["error"]["message"]
        calls = 6
        assert command.job("tasks:slow", "--overwrite").code == 3
    assert command.job("tasks:slow").code == 0
    assert workshop.results() == {index: index for index in range(10)}


def test_a_file_that_the_system_refuses_is_one_block(
    workshop: Workshop, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, recorded: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    workshop.items(3)
    monkeypatch.setattr(continuing, "survey", refuse)
    done = command.job("tasks:double")
    assert done.code == 3
    assert done.err.startswith(f"error: {workshop.folder}/out.jsonl: Permission denied")


async def test_items_are_counted_across_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from lexigram_actors.cli import items

    monkeypatch.setattr(items, "PATHS_AT_ONCE", 2)
    assert await continuing.count_items(PathSource("x", ["a", "b", "c"])) == 3


def test_the_json_summary_names_the_next_command(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    summary = json.loads(command.job("tasks:flaky", "--json", "--overwrite").out)
    assert "--overwrite" not in summary["next"]
    assert summary["next"].endswith("--checkpoint jobs.db --id job --json")
