"""TARGET: found, or an error that says what to mend."""

from __future__ import annotations

import pytest

from lexigram_actors.cli.errors import TargetError
from lexigram_actors.cli.target import Target, load_target, parse_target
from tests.cli.conftest import Workshop


def load(workshop: Workshop, text: str) -> Target:
    return load_target(parse_target(text, str(workshop.folder)))


def refusal(workshop: Workshop, text: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        load(workshop, text)
    return caught.value


@pytest.mark.parametrize("text", ["tasks:double", "tasks.py:double", "./tasks.py:double"])
def test_a_module_of_the_folder_and_a_file_are_found(workshop: Workshop, text: str) -> None:
    assert load(workshop, text).function(4) == 8


def test_a_method_of_a_class_is_found(workshop: Workshop) -> None:
    workshop.write("kinds.py", "class Kind:\n    @staticmethod\n    def run(item: int): return 1\n")
    assert load(workshop, "kinds:Kind.run").function(0) == 1


def test_a_file_imports_its_neighbours(workshop: Workshop) -> None:
    workshop.write("deep/neighbour.py", "factor = 3\n")
    workshop.write("deep/work.py", "import neighbour\ndef run(i: int): return neighbour.factor\n")
    assert load(workshop, "deep/work.py:run").function(0) == 3


def test_a_file_named_like_a_loaded_module_does_not_take_its_place(workshop: Workshop) -> None:
    import json

    workshop.write("json.py", "def run(item: int): return 'mine'\n")
    assert load(workshop, "json.py:run").function(0) == "mine"
    assert json.loads("1") == 1


@pytest.mark.parametrize("text", ["tasks", "tasks:", ":double", ""])
def test_a_text_without_a_function_shows_the_form(workshop: Workshop, text: str) -> None:
    error = refusal(workshop, text)
    assert "module:function or path/file.py:function" in error.message
    assert ":process" in str(error.hint)


def test_a_missing_module_names_a_near_one(workshop: Workshop) -> None:
    error = refusal(workshop, "taks:double")
    assert "no module 'taks'" in error.message
    assert error.hint == "did you mean tasks?"


def test_a_missing_file_names_a_near_one(workshop: Workshop) -> None:
    error = refusal(workshop, "task.py:double")
    assert "there is no file" in error.message
    assert error.hint == "did you mean tasks.py?"


def test_a_missing_function_names_a_near_one(workshop: Workshop) -> None:
    error = refusal(workshop, "tasks:dubble")
    assert "tasks has no 'dubble'" in error.message
    assert error.hint == "did you mean double?"


def test_a_missing_function_without_a_near_one_lists_what_there_is(workshop: Workshop) -> None:
    workshop.write("few.py", "from os import getcwd\ndef first(i: int): ...\ndef second(): ...\n")
    assert refusal(workshop, "few:zzz").hint == "it has: first, second"


def test_a_syntax_error_names_the_file_and_line(workshop: Workshop) -> None:
    workshop.write("broken.py", "x = 1\ndef run(item: int)\n    return item\n")
    error = refusal(workshop, "broken:run")
    assert "broken.py, line 2" in error.message
    assert error.details["line"] == 2
    assert error.hint == "def run(item: int)"


def test_an_import_that_is_not_installed_is_told_from_the_target(workshop: Workshop) -> None:
    workshop.write("needy.py", "import no_such_package\n")
    error = refusal(workshop, "needy:run")
    assert "imports 'no_such_package', which is not installed" in error.message
    assert "needy.py, line 1" in error.message


def test_what_a_module_raises_is_shown_with_its_place(workshop: Workshop) -> None:
    workshop.write("raising.py", "\n\nraise RuntimeError('no config')\n")
    error = refusal(workshop, "raising.py:run")
    assert "RuntimeError" in error.message
    assert "raising.py, line 3" in error.message
    assert "no config" in error.message


def test_a_script_that_exits_at_import_is_told_how_not_to(workshop: Workshop) -> None:
    workshop.write("script.py", "import sys\nsys.exit(1)\n")
    assert "__main__" in str(refusal(workshop, "script:run").hint)


def test_what_is_no_function_is_refused(workshop: Workshop) -> None:
    workshop.write("values.py", "limit = 3\ndef nothing(): ...\n")
    assert "is a int, not a function" in refusal(workshop, "values:limit").message
    assert "takes no positional parameter" in refusal(workshop, "values:nothing").message
