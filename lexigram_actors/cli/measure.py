"""Measures a Python source file: what `demo` does to every module of the standard library."""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def measure_file(path: str) -> dict[str, Any]:
    """Parse the file and count what is in it.

    Returns lines, functions, classes, imports (import statements), and the longest function by
    name and lines.

    Raises:
        SyntaxError: it is no Python of this version, or not in the encoding it declares.
    """
    return measure_source(Path(path).read_bytes())


def measure_source(source: bytes) -> dict[str, Any]:
    """Like `measure_file`, for a file's bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler thinks of the file is not asked here
        tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    longest, lines = max(_function_lengths(nodes), key=lambda one: one[1], default=("", 0))
    return {
        "lines": _count_lines(source),
        "functions": sum(isinstance(node, FUNCTIONS) for node in nodes),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
        "imports": sum(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes),
        "longest": longest,
        "longest_lines": lines,
    }


def _function_lengths(nodes: list[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, FUNCTIONS) and node.end_lineno is not None:
            yield node.name, node.end_lineno - node.lineno + 1


def _count_lines(source: bytes) -> int:
    return source.count(b"\n") + (bool(source) and not source.endswith(b"\n"))
