"""The Python blocks of README and docs run, and print what the `output` block below them says.

Blocks of one page share their names, from top to bottom. A block that awaits at its top level is
run by `trio.run`, as the docs say; the clock is the real one, so no block waits for long. In an
`output` block `...` stands for anything.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import io
import os
from collections.abc import Awaitable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import trio
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parents[2]
FRAGMENTS = ROOT / "docs" / "changes"
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if FRAGMENTS not in path.parents and "_build" not in path.parts
]


def run_python(example: Example) -> None:
    """Run a block and keep what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run(compiled(example), example.namespace)
    example.namespace["__printed__"] = printed.getvalue()


def compiled(example: Example) -> CodeType:
    """Compile a block so that a traceback shows the line of the page."""
    padded = "\n" * example.line + example.parsed
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(padded, example.path, "exec", flags, dont_inherit=True)
    return code


def run(code: CodeType, namespace: dict[str, Any]) -> None:
    awaitable: Awaitable[None] | None = eval(code, namespace)  # noqa: S307 - our own pages
    if code.co_flags & inspect.CO_COROUTINE:

        async def main() -> None:
            assert awaitable is not None
            await awaitable

        trio.run(main)


def compare_output(example: Example) -> str | None:
    """Return what differs between an `output` block and what the block above printed."""
    printed = example.namespace.pop("__printed__", None)
    if printed is None:
        return "no Python block stands above this output"
    checker, options = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if checker.check_output(example.parsed, printed, options):
        return None
    wanted = doctest.Example("", example.parsed)
    return checker.output_difference(wanted, printed, options)


SYBIL = Sybil(
    parsers=[
        CodeBlockParser(language="python", evaluator=run_python),
        CodeBlockParser(language="output", evaluator=compare_output),
    ]
)


@pytest.mark.leaves("threads", reason="Trio keeps idle threads for reuse")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_snippets_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = SYBIL.parse(page)
    document.namespace["__name__"] = "__main__"
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("LEX_")]:
        monkeypatch.delenv(variable)
    for example in document.examples():
        example.evaluate()
