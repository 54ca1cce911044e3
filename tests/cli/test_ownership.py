"""Files that are not the command's own: devices, items, results of another run, things in the way.

Each test tries to make the command destroy one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lexigram_actors.cli import ownership
from lexigram_actors.cli.ownership import claim, inode_of, mark, owner_of
from tests.cli.conftest import Command, Workshop

JOB = ("--checkpoint", "jobs.db", "--id")


@pytest.fixture(params=["marks", "no marks"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with a file system that knows extended attributes, and with one that does not."""
    if request.param == "no marks":
        monkeypatch.setattr(os, "setxattr", refuse)
        monkeypatch.setattr(os, "getxattr", refuse)
    return str(request.param)


def refuse(*given: object) -> None:
    raise OSError(95, "Operation not supported")


def drained(path: str) -> Callable[[], bytes]:
    """Open a named pipe for reading, and return what reads what was written to it."""
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read() -> bytes:
        with open(reading, "rb") as pipe:
            return pipe.read() or b""

    return read


# --- devices and pipes -----------------------------------------------------------------------


@pytest.mark.parametrize("job", [(), (*JOB, "a")])
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
@pytest.mark.parametrize("target", ["tasks:double", "tasks:odd_fails"])
def test_errors_may_go_down_a_pipe_that_stays_one(
    workshop: Workshop,
    command: Command,
    target: str,
    more: tuple[str, ...],
    job: tuple[str, ...],
) -> None:
    workshop.items(4)
    os.mkfifo("errors")
    read = drained("errors")
    done = command.bulk(target, "--errors", "errors", *job, *more)
    assert done.code == (0 if target == "tasks:double" else 1), done.err
    assert stat.S_ISFIFO(os.stat("errors").st_mode)
    failed = [json.loads(line)["index"] for line in read().splitlines()]
    assert sorted(failed) == ([] if target == "tasks:double" else [1, 3])


# --- one file for two purposes ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "o.jsonl",
        "o.jsonl.partial",
        "o.jsonl.lock",
        "o.jsonl.rewritten",
        "o.errors.jsonl",
        "o.errors.jsonl.partial",
    ],
)
@pytest.mark.parametrize("link", [False, True])
def test_items_are_never_among_the_files_that_are_written(
    workshop: Workshop, command: Command, name: str, link: bool
) -> None:
    if link:
        os.symlink(workshop.items(3, "real.jsonl"), name)
    before = workshop.items(3, name).read_bytes()
    done = command("bulk", "tasks:double", "--items", name, "--out", "o.jsonl", "--overwrite")
    assert done.code == 2
    assert "--items and" in done.err
    assert (workshop.folder / name).read_bytes() == before
    assert os.path.islink(name) is link


@pytest.mark.parametrize("target", ["mine.py:double", "mine:double"])
def test_the_source_of_target_is_never_written(
    workshop: Workshop, command: Command, target: str
) -> None:
    source = workshop.write("mine.py", (workshop.folder / "tasks.py").read_bytes())
    workshop.items(3)
    before = source.read_bytes()
    done = command.bulk(target, "--overwrite", out="mine.py")
    assert done.code == 2
    assert "the file of TARGET and --out are both" in done.err
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ("--errors", "out.jsonl.partial"),
        ("--errors", "out.jsonl.lock"),
        (*("--checkpoint", "out.jsonl.lock"), "--id", "a"),
        (*("--checkpoint", "out.errors.jsonl"), "--id", "a"),
        (*("--checkpoint", "out.jsonl.partial"), "--id", "a"),
        (*JOB, "a", "--errors", "jobs.db-wal"),
        (*JOB, "a", "--errors", "jobs.db.a.lock"),
    ],
)
def test_no_two_files_that_are_written_are_the_same(
    workshop: Workshop, command: Command, options: tuple[str, ...]
) -> None:
    workshop.items(3)
    done = command.bulk("tasks:double", *options)
    assert done.code == 2
    assert "give two files" in done.err
    assert workshop.names() == {"items.jsonl"}


def test_items_that_are_a_checkpoint_are_refused(workshop: Workshop, command: Command) -> None:
    workshop.items(3, "jobs.db-wal")
    done = command(
        *("bulk", "tasks:double", "--items", "jobs.db-wal", "--out", "out.jsonl", *JOB, "a")
    )
    assert done.code == 2
    assert "--items and the -wal file of --checkpoint are both" in done.err


# --- results of another run ------------------------------------------------------------------


def other_run(command: Command, kind: str, *more: str) -> None:
    job = (*JOB, "b") if kind == "job" else ()
    assert command.bulk("tasks:double", *job, *more).code == 0


@pytest.mark.usefixtures("file_system")
@pytest.mark.parametrize("kind", ["job", "plain"])
def test_a_job_that_recorded_nothing_keeps_the_results_of_another_run(
    workshop: Workshop, command: Command, kind: str
) -> None:
    workshop.items(20)
    assert command.bulk("tasks:no_json", *JOB, "a", "--failure-limit", "0").code == 3
    assert command.bulk("tasks:no_json", *JOB, "a").code == 1
    other_run(command, kind, "--overwrite")
    before = workshop.results()
    assert len(before) == 20
    done = command.bulk("tasks:double", *JOB, "a")
    assert done.code == 2
    assert "out.jsonl exists already" in done.err
    assert workshop.results() == before
    assert command.bulk("tasks:double", *JOB, "a", "--overwrite").code == 0


@pytest.mark.usefixtures("file_system")
@pytest.mark.parametrize("kind", ["job", "plain"])
def test_a_job_that_recorded_nothing_knows_a_file_that_is_made_in_its_place(
    workshop: Workshop, command: Command, kind: str
) -> None:
    workshop.items(20)
    # Interrupted before its first record: the file is there, and empty.
    assert command.bulk("tasks:no_json", *JOB, "a", "--failure-limit", "0").code == 3
    os.remove("out.errors.jsonl")
    assert os.path.getsize("out.jsonl") == 0
    other_run(command, kind)
    done = command.bulk("tasks:double", *JOB, "a")
    assert done.code == 2
    assert len(workshop.results()) == 20


def test_a_file_with_the_number_of_a_removed_one_is_not_mistaken(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(20)
    assert command.bulk("tasks:no_json", *JOB, "a").code == 1
    for name in ("out.jsonl", "out.errors.jsonl"):
        os.remove(name)
    other_run(command, "job")
    assert command.bulk("tasks:double", *JOB, "a").code == 2
    assert len(workshop.results()) == 20


@pytest.mark.usefixtures("file_system")
def test_a_job_does_not_take_the_results_of_another_function_for_its_own(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(20)
    assert command.bulk("tasks:no_json", *JOB, "a").code == 1
    other_run(command, "plain", "--overwrite")
    done = command.bulk("tasks:no_json", *JOB, "a", "--json")
    assert done.code == 2
    assert done.summary["status"] == "failed"
    assert len(workshop.results()) == 20


@pytest.mark.parametrize("target", ["tasks:flaky", "tasks:slow"])
def test_a_job_with_records_refuses_a_file_that_another_run_put_in_its_place(
    workshop: Workshop, command: Command, target: str
) -> None:
    workshop.items(10)
    command.bulk(target, *JOB, "a")
    other_run(command, "plain", "--overwrite")
    before = workshop.results()
    done = command.bulk(target, *JOB, "a")
    assert done.code == 2
    assert "was written by another run than job 'a'" in done.err
    assert workshop.results() == before


@pytest.mark.usefixtures("file_system")
def test_unrecorded_lines_of_its_own_are_run_again(workshop: Workshop, command: Command) -> None:
    workshop.items(6)
    assert command.bulk("tasks:flaky", *JOB, "a", "--batch-size", "6").code == 1
    assert len(workshop.results()) == 4
    workshop.write("good", "")
    done = command.bulk("tasks:flaky", *JOB, "a", "--batch-size", "6")
    assert done.code == 0, done.err
    assert "4 results were written and not recorded" in done.err
    assert workshop.results() == {index: index for index in range(6)}


@pytest.mark.usefixtures("file_system")
def test_a_file_that_was_mended_by_writing_it_anew_is_still_the_jobs(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(24)
    options = (*JOB, "a", "--batch-size", "4", "--concurrency", "1")
    for _ in range(3):
        assert command.bulk("tasks:flaky", *options).code == 1
    workshop.write("good", "")
    assert command.bulk("tasks:flaky", *options).code == 0
    assert workshop.results() == {index: index for index in range(24)}


def test_a_copy_without_its_mark_goes_on(workshop: Workshop, command: Command) -> None:
    workshop.items(10)
    assert command.bulk("tasks:flaky", *JOB, "a").code == 1
    for name in ("out.jsonl", "out.errors.jsonl"):
        data = Path(name).read_bytes()
        os.remove(name)
        workshop.write(name, data)
    workshop.write("good", "")
    assert command.bulk("tasks:flaky", *JOB, "a").code == 0
    assert len(workshop.results()) == 10


# --- errors of another run -------------------------------------------------------------------


@pytest.mark.usefixtures("file_system")
def test_a_job_does_not_remove_an_errors_file_that_it_did_not_write(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(4)
    workshop.write("notes", "precious\n")
    done = command.bulk("tasks:double", *JOB, "a", "--errors", "notes")
    assert done.code == 2
    assert "notes exists already" in done.err
    assert (workshop.folder / "notes").read_text() == "precious\n"
    assert command.bulk("tasks:odd_fails", *JOB, "a").code == 1
    done = command.bulk("tasks:odd_fails", *JOB, "a", "--errors", "notes")
    assert done.code == 2
    assert (workshop.folder / "notes").read_text() == "precious\n"


def test_errors_of_another_run_at_the_place_of_the_jobs_own_stay(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(4)
    assert command.bulk("tasks:flaky", *JOB, "a", "--errors", "bad").code == 1
    os.remove("bad")
    assert command.bulk("tasks:odd_fails", "--errors", "bad", out="other.jsonl").code == 1
    assert command.bulk("tasks:flaky", *JOB, "a", "--errors", "bad").code == 2
    assert set(workshop.errors("bad")) == {1, 3}


@pytest.mark.usefixtures("file_system")
def test_a_job_may_send_its_errors_elsewhere_from_now_on(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(4)
    assert command.bulk("tasks:odd_fails", *JOB, "a").code == 1
    for _ in range(2):
        assert command.bulk("tasks:odd_fails", *JOB, "a", "--errors", "bad").code == 1
        assert set(workshop.errors("bad")) == {1, 3}
    assert set(workshop.errors()) == {1, 3}


# --- things in the way -----------------------------------------------------------------------


@pytest.mark.parametrize("job", [(), (*JOB, "a")])
def test_a_file_with_the_name_of_the_lock_is_refused_untouched(
    workshop: Workshop, command: Command, job: tuple[str, ...]
) -> None:
    workshop.items(3)
    workshop.write("out.jsonl.lock", "precious\n")
    done = command.bulk("tasks:double", "--overwrite", *job)
    assert done.code == 2
    assert "out.jsonl.lock is in the way" in done.err
    assert (workshop.folder / "out.jsonl.lock").read_text() == "precious\n"


@pytest.mark.parametrize("name", ["out.jsonl.lock", "jobs.db.a.lock"])
def test_a_link_with_the_name_of_the_lock_is_not_followed(
    workshop: Workshop, command: Command, name: str
) -> None:
    workshop.items(3)
    workshop.write("precious", "")
    os.symlink("precious", name)
    done = command.bulk("tasks:double", *JOB, "a")
    assert done.code == 2
    assert "a link stands there" in done.err
    assert os.path.islink(name)
    assert (workshop.folder / "precious").read_bytes() == b""


def test_a_link_with_the_name_of_the_partial_file_is_not_followed(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(3)
    workshop.write("precious", "precious\n")
    os.symlink("precious", "out.jsonl.partial")
    assert command.bulk("tasks:double").code == 2
    assert command.bulk("tasks:double", "--overwrite").code == 0
    assert (workshop.folder / "precious").read_text() == "precious\n"


@pytest.mark.parametrize("link", [False, True])
def test_a_file_with_the_name_of_the_rewritten_one_is_refused_untouched(
    workshop: Workshop, command: Command, link: bool
) -> None:
    workshop.items(24)
    options = (*JOB, "a", "--batch-size", "4", "--concurrency", "1")
    assert command.bulk("tasks:flaky", *options).code == 1
    before = workshop.results()
    if link:
        os.symlink(workshop.write("precious", "precious\n"), "out.jsonl.rewritten")
    else:
        workshop.write("out.jsonl.rewritten", "precious\n")
    done = command.bulk("tasks:flaky", *options)
    assert done.code == 2, done.err
    assert (workshop.folder / "out.jsonl.rewritten").read_text() == "precious\n"
    assert workshop.results() == before


# --- marks -----------------------------------------------------------------------------------


def test_a_mark_goes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert owner_of(path) is None
    assert inode_of(path) == 0
    assert claim(path, "me") == 0
    path.rename(tmp_path / "y")
    assert owner_of(tmp_path / "y") == "me"


def test_without_marks_a_file_is_known_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    with monkeypatch.context() as patch:
        patch.setattr(os, "setxattr", refuse)
        assert claim(path, "me") == inode_of(path) != 0
    monkeypatch.delattr(os, "setxattr")
    monkeypatch.delattr(os, "getxattr")
    assert not mark(0, "me")
    assert owner_of(path) is None
    assert ownership.new_token() != ownership.new_token()
