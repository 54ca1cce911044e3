"""The outermost layer: extras, help, wrong command lines, readers that go away."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
import trio

from lexigram_actors import cli
from lexigram_actors.cli import options
from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.errors import TargetError
from lexigram_actors.cli.outermost import guarded
from lexigram_actors.errors import StoreError
from tests.cli.conftest import COMMAND, Command, Workshop, without_color


@pytest.mark.parametrize("package", ["cyclopts", "rich"])
def test_without_the_extra_the_command_says_how_to_install_it(
    package: str, workshop: Workshop
) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from lexigram_actors.cli import main; "
        "sys.exit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"the package '{package}' is needed" in done.stderr
    assert "pip install 'lexigram-actors[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_missing_module_is_a_defect_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lexigram_actors.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["demo"])


def test_an_interrupt_while_it_loads_ends_quietly() -> None:
    code = (
        "import sys, importlib.abc\n"
        "class Interrupted(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'cyclopts': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from lexigram_actors.cli import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_importing_the_package_imports_neither_cyclopts_nor_rich() -> None:
    code = (
        "import sys, lexigram_actors, lexigram_actors.cli; "
        "sys.exit(bool({'cyclopts', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_lists_the_commands_and_exit_codes(command: Command) -> None:
    done = command("--help")
    assert done.code == 0
    for text in ("bulk", "demo", "Exit codes", "130, 143"):
        assert text in done.out


def test_help_of_bulk_lists_every_option(command: Command) -> None:
    done = command("bulk", "--help")
    assert done.code == 0
    names = (
        "items out errors concurrency batch-size rate retries retry-delay timeout failure-limit "
        "executor each no-each checkpoint id overwrite json"
    )
    assert [name for name in names.split() if f"--{name} " not in done.out] == []
    assert "Exit codes" in done.out


def test_the_version_is_shown(command: Command) -> None:
    assert command("--version").out.strip()[0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["bulk"], "TARGET requires an argument", "lexigram-actors bulk --help"),
        (["bulk", "tasks:double", "--out", "o"], "--items requires", "bulk --help"),
        (["blk"], 'Did you mean "bulk"?', "lexigram-actors --help"),
        (
            ["bulk", "tasks:double", "--items", "i", "--out", "o", "--concurency", "2"],
            "Did you mean --concurrency?",
            "bulk --help",
        ),
        (
            ["bulk", "tasks:double", "--items", "i", "--out", "o", "--retries", "many"],
            'unable to convert "many" into int',
            "bulk --help",
        ),
        (
            ["bulk", "tasks:double", "--items", "i", "--out", "o", "--executor", "gpu"],
            '"task", "thread", "process"',
            "bulk --help",
        ),
        (
            ["bulk", "tasks:double", "--items", "a.txt", "b.txt", "c.txt", "--out", "o"],
            "Unused",
            "quote a pattern",
        ),
    ],
)
def test_a_wrong_command_line_is_one_block_with_a_hint(
    command: Command, arguments: list[str], says: str, hint: str
) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert says in done.err
    assert hint in done.err
    assert "Traceback" not in done.err


def test_an_error_is_json_too_when_json_was_asked_for(command: Command) -> None:
    done = command.bulk("tasks:dubble", "--json")
    assert done.code == 2
    assert done.summary["error"]["hint"] == "did you mean double?"
    assert done.summary["exit_code"] == 2
    assert "error: " in done.err


def test_what_the_function_prints_does_not_disturb_the_json(workshop: Workshop) -> None:
    workshop.items(3)
    for executor in ("thread", "process"):
        done = workshop.run(
            "bulk",
            "tasks:prints",
            "--items",
            "items.jsonl",
            "--out",
            f"{executor}.jsonl",
            "--executor",
            executor,
            "--json",
        )
        assert json.loads(done.stdout)["succeeded"] == 3
        # Threads may print at once, so their lines may be mixed; nothing is missing all the same.
        assert done.stderr.count("printed") == 3


def test_a_reader_that_goes_away_is_no_error(workshop: Workshop) -> None:
    workshop.items(3)
    for arguments in (
        ("--help",),
        ("bulk", "tasks:double", "--items", "items.jsonl", "--out", "a.jsonl"),
        ("bulk", "tasks:double", "--items", "items.jsonl", "--out", "b.jsonl", "--json"),
    ):
        with workshop.start(*arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(30) == 0


# --- the guard around everything -------------------------------------------------------------


def guard(error: BaseException) -> int:
    def command() -> int:
        raise error

    return guarded(Terminal.of_process(as_json=False), command)


def test_known_errors_end_with_their_codes() -> None:
    assert guard(TargetError("x")) == 2
    assert guard(StoreError("x")) == 3
    assert guard(KeyboardInterrupt()) == 130
    assert guard(BaseExceptionGroup("", [KeyboardInterrupt()])) == 130


def test_one_known_error_in_groups_is_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard(BaseExceptionGroup("", [ExceptionGroup("", [StoreError("full")])])) == 3
    assert capsys.readouterr().err == "error: full\n"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("x"),
        ExceptionGroup("", [KeyError("x")]),
        ExceptionGroup("", [StoreError("x"), StoreError("y")]),
        GeneratorExit(),
    ],
)
def test_what_is_not_known_is_a_defect_with_a_code_of_its_own(
    capfd: pytest.CaptureFixture[str], error: BaseException
) -> None:
    assert guard(error) == 70
    shown = capfd.readouterr().err
    assert "Traceback" in shown
    assert type(error).__name__ in shown


def test_a_defect_is_told_in_json_too(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(options, "_check_numbers", broken)
    done = command.bulk("tasks:double", "--json")
    assert done.code == 70
    assert done.summary["status"] == "failed"
    assert done.summary["exit_code"] == 70
    assert done.summary["error"]["code"] == "ZeroDivisionError"
    assert "Traceback" in done.err


def test_what_the_system_refuses_ends_with_3() -> None:
    assert guard(OSError(28, "No space left on device")) == 3


# --- standard streams that are no good -------------------------------------------------------


ON_ITEMS = "bulk tasks:double --items items.jsonl"


@pytest.mark.parametrize("more", ["", " --json"])
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_do_no_harm(workshop: Workshop, more: str, closed: str) -> None:
    workshop.items(3)
    line = f"{shlex.join(COMMAND)} {ON_ITEMS} --out out.jsonl{more} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert workshop.results() == {0: 0, 1: 2, 2: 4}


@pytest.mark.parametrize("more", ["", " --json"])
def test_a_summary_that_cannot_be_written_ends_with_3(workshop: Workshop, more: str) -> None:
    workshop.items(3)
    line = f"{shlex.join(COMMAND)} {ON_ITEMS} --out out.jsonl{more} > /dev/full"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert workshop.results() == {0: 0, 1: 2, 2: 4}


def test_a_name_that_the_terminal_has_no_letters_for_is_shown_all_the_same(
    workshop: Workshop,
) -> None:
    workshop.items(1)
    environment = {**without_color(), "PYTHONIOENCODING": "latin-1", "COLUMNS": "300"}
    done = workshop.run(*ON_ITEMS.split(), "--out", "Ω.jsonl", env=environment)
    assert done.returncode == 0, done.stderr
    assert "u03a9.jsonl" in done.stdout


def test_standard_input_that_is_closed_is_not_an_empty_one(workshop: Workshop) -> None:
    line = f"{shlex.join(COMMAND)} bulk tasks:double --items - --out out.jsonl <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "standard input cannot be read: it is closed" in done.stderr


def test_a_folder_that_is_gone_is_one_block(workshop: Workshop) -> None:
    workshop.write("gone/tasks.py", "")
    script = (
        "import os, shutil, sys\n"
        "from lexigram_actors.cli import main\n"
        "shutil.rmtree(os.getcwd())\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *ON_ITEMS.split(), "--out", "o.jsonl", "--json"],
        cwd=workshop.folder / "gone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "the current folder cannot be used" in json.loads(done.stdout)["error"]["message"]
    assert "Traceback" not in done.stderr


def test_json_may_be_asked_for_with_a_value(workshop: Workshop, command: Command) -> None:
    workshop.items(1)
    assert command.bulk("tasks:double", "--json=true").summary["status"] == "complete"
    done = command.bulk("tasks:double", "--json=false", "--overwrite")
    assert "every item succeeded" in done.out


def test_an_interrupt_while_the_target_is_imported_ends_with_130(
    workshop: Workshop, command: Command
) -> None:
    workshop.items(1)
    workshop.write(
        "interrupted.py", "import os, signal, time\nos.kill(os.getpid(), 2)\ntime.sleep(9)\n"
    )
    assert command.bulk("interrupted:f").code == 130
    assert workshop.names() == {"items.jsonl", "interrupted.py"}


def test_trio_is_left_when_the_command_ends(workshop: Workshop, command: Command) -> None:
    workshop.items(1)
    assert command.bulk("tasks:double").code == 0
    with pytest.raises(RuntimeError):
        trio.lowlevel.current_trio_token()
