"""TARGET: from its text to the function it names, or to an error that says what to mend.

TARGET is `module:function` (importable from the current folder or installed) or
`path/file.py:function`. A function is called with one item at a time or with a batch (a list),
told apart by the annotation of its first parameter; `read_shape` decides.
"""

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import frozen

from lexigram_actors.cli.errors import TargetError
from lexigram_actors.cli.shape import Shape, read_shape

EXPECTED = "TARGET is module:function or path/file.py:function"


@frozen
class TargetName:
    """Where a function lives, as plain text: a worker process loads it again from this."""

    module: str
    """A dotted module name, or the absolute path of a file when `is_file`."""
    attribute: str
    is_file: bool
    folder: str
    """The folder the command was started in; it is importable."""

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


@frozen
class Target:
    """A loaded function and how it wants to be called."""

    name: TargetName
    function: Callable[..., Any]
    shape: Shape


def parse_target(text: str, folder: str) -> TargetName:
    """Split TARGET at its last colon. A left part with a slash or `.py` names a file."""
    left, colon, attribute = text.rpartition(":")
    if not colon or not left or not attribute:
        raise TargetError(
            f"TARGET {text!r} names no function: {EXPECTED}.",
            hint=f"for example: {text.rstrip(':') or 'tasks.py'}:process",
        )
    if left.endswith(".py") or os.sep in left:
        return TargetName(os.path.abspath(os.path.join(folder, left)), attribute, True, folder)
    return TargetName(left, attribute, False, folder)


def load_target(name: TargetName) -> Target:
    """Import the module and look up the function.

    Raises:
        TargetError: the module or file is missing, does not compile, raises while it is imported,
            lacks the attribute, or the attribute cannot be called with items.
    """
    function = load_object(name)
    if not callable(function):
        raise TargetError(f"{name} is a {type(function).__name__}, not a function.")
    try:
        return Target(name, function, read_shape(function))
    except ValueError as problem:
        raise TargetError(f"{name} {problem}", cause=problem) from problem


def load_object(name: TargetName) -> Any:
    """Import the module and return what it has under the name.

    Raises:
        TargetError: the module or file is missing, does not compile, raises while it is imported,
            or lacks the attribute.
    """
    module = _import_file(name) if name.is_file else _import_module(name)
    return _find_attribute(name, module)


def _import_module(name: TargetName) -> ModuleType:
    _make_importable(name.folder)
    try:
        return importlib.import_module(name.module)
    except ModuleNotFoundError as problem:
        raise _missing_module(name, problem) from problem
    except (Exception, SystemExit) as problem:
        raise _failed_import(name, problem) from problem


def _import_file(name: TargetName) -> ModuleType:
    path = Path(name.module)
    if not path.is_file():
        raise TargetError(
            f"TARGET {name}: there is no file {path}.",
            hint=_did_you_mean(path.name, [file.name for file in path.parent.glob("*.py")]),
        )
    # As `python path/file.py` does: its neighbours can be imported by their plain names.
    _make_importable(str(path.parent))
    module_name = path.stem if path.stem not in sys.modules else f"{path.stem}@{path}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"TARGET {name}: {path} is not a Python file (its name ends in .py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:
        del sys.modules[module_name]
        raise _failed_import(name, problem) from problem
    return module


def _make_importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _missing_module(name: TargetName, problem: ModuleNotFoundError) -> TargetError:
    missing = problem.name or ""
    if name.module == missing or name.module.startswith(missing + "."):
        known = [file.stem for file in Path(name.folder).glob("*.py")]
        return TargetError(
            f"TARGET {name}: there is no module {missing!r}, neither in {name.folder} "
            "nor among the installed packages.",
            hint=_did_you_mean(missing, known)
            or "run from the folder that holds it, install it, "
            "or give the file: path/file.py:function",
            cause=problem,
        )
    return TargetError(
        f"TARGET {name} imports {missing!r}, which is not installed{_where_text(problem)}.",
        hint=f"install {missing.partition('.')[0]!r} into {sys.executable}",
        cause=problem,
    )


def _failed_import(name: TargetName, problem: BaseException) -> TargetError:
    if isinstance(problem, SyntaxError):
        return TargetError(
            f"TARGET {name} has a syntax error in {problem.filename}, line {problem.lineno}: "
            f"{problem.msg}",
            details={"path": problem.filename, "line": problem.lineno, "column": problem.offset},
            hint=(problem.text or "").strip() or None,
            cause=problem,
        )
    if isinstance(problem, SystemExit):
        return TargetError(
            f"TARGET {name} ends the program while it is imported{_where_text(problem)}.",
            hint='put what runs at import under: if __name__ == "__main__":',
            cause=problem,
        )
    return TargetError(
        f"TARGET {name} raised {type(problem).__name__} while it was imported"
        f"{_where_text(problem)}: {problem}",
        cause=problem,
    )


def _where_text(problem: BaseException) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _find_attribute(name: TargetName, module: ModuleType) -> Any:
    found: Any = module
    for part in name.attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as problem:
            raise _missing_attribute(name, found, part, problem) from problem
    return found


def _missing_attribute(
    name: TargetName, holder: Any, part: str, problem: AttributeError
) -> TargetError:
    module = holder.__name__ if inspect.ismodule(holder) else None
    functions = [
        known
        for known, value in vars(holder).items()
        if callable(value)
        and not known.startswith("_")
        and getattr(value, "__module__", module) == (module or value.__module__)
    ]
    listing = f"it has: {', '.join(sorted(functions)[:8])}" if functions else None
    return TargetError(
        f"TARGET {name}: {name.module} has no {part!r}.",
        hint=_did_you_mean(part, functions) or listing,
        cause=problem,
    )


def _did_you_mean(given: str, known: list[str]) -> str | None:
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else None
