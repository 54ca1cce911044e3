"""The demo, on the standard library of this Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from lexigram_actors.cli.demo import shortened, source_files, standard_library
from lexigram_actors.cli.measure import measure_file, measure_source
from tests.cli.conftest import Command


def test_a_source_is_measured() -> None:
    source = b"""import os
from sys import path, argv


class A:
    def short(self): pass

    async def longest(self):
        def inner():
            pass
        return inner
"""
    assert measure_source(source) == {
        "lines": 11,
        "functions": 3,
        "classes": 1,
        "imports": 2,
        "longest": "longest",
        "longest_lines": 4,
    }


def test_an_empty_source_and_one_without_line_end_are_measured() -> None:
    assert measure_source(b"")["lines"] == 0
    assert measure_source(b"x = 1")["lines"] == 1
    assert measure_source(b"x = 1")["longest"] == ""


def test_a_declared_encoding_is_read() -> None:
    assert measure_source("# coding: latin-1\nx = 'é'\n".encode("latin-1"))["lines"] == 2


def test_what_the_compiler_warns_of_is_not_shown() -> None:
    assert measure_source(b"x = '\\d'\ny = 1 is 1\n")["lines"] == 2


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        measure_source(b"print 'hello'\n")


def test_the_library_is_found_without_what_was_installed(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    for name in ("b.py", "a.py", "site-packages/c.py", "d.txt"):
        (tmp_path / name).write_text("")
    assert source_files(tmp_path, None) == [str(tmp_path / "a.py"), str(tmp_path / "b.py")]
    assert source_files(tmp_path, 1) == [str(tmp_path / "a.py")]
    assert measure_file(str(standard_library() / "ast.py"))["lines"] > 500


def test_a_long_path_loses_its_beginning() -> None:
    assert shortened("package/module.py", 17) == "package/module.py"
    assert shortened("package/module.py", 10) == "…module.py"


def test_the_demo_measures_files_in_worker_processes(command: Command) -> None:
    done = command("demo", "--limit", "20", "--concurrency", "2", "--json")
    assert done.code == 0, done.err
    summary = done.summary
    assert summary["items"] == summary["total"] == 20
    assert len(summary["largest"]) == 10
    lines = [module["lines"] for module in summary["largest"]]
    assert lines == sorted(lines, reverse=True)
    assert summary["totals"]["lines"] >= sum(lines)


def test_the_demo_prints_a_table(command: Command) -> None:
    done = command("demo", "--limit", "3")
    assert done.code == 0, done.err
    assert "largest modules in" in done.out
    assert "longest function" in done.out
    assert "3 files in" in done.out


def test_files_that_do_not_parse_are_shown_and_expected(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lexigram_actors.cli import demo

    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "good.py").write_text("def f():\n    pass\n")
    (tmp_path / "lib" / "bad.py").write_text("print 'x'\n")
    monkeypatch.setattr(demo, "standard_library", lambda: tmp_path / "lib")
    done = command("demo")
    assert done.code == 0
    assert "1 files do not parse" in done.out
    assert "bad.py: Missing parentheses" in done.out
    parsed = command("demo", "--json").summary
    assert (parsed["status"], parsed["succeeded"], parsed["failed"]) == ("items_failed", 1, 1)
    assert parsed["not_parsed"][0]["error_type"] == "SyntaxError"


@pytest.mark.parametrize("option", ["--limit", "--concurrency"])
def test_wrong_numbers_are_refused(command: Command, option: str) -> None:
    done = command("demo", f"{option}=0")
    assert done.code == 2
    assert f"{option} is 0; it is a number from 1 on" in done.err


def test_without_worker_processes_the_extra_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trio_parallel", None)
    done = command("demo", "--limit", "3")
    assert done.code == 2
    assert "lexigram-actors[processes]" in done.err
