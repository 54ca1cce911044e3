"""How the documentation is built: `sphinx-build -W -b html docs docs/_build/html`.

Docstrings are written to be read in the source: names stand in single backquotes, and an indented
block below a sentence is code. `as_restructured_text` turns that into what Sphinx expects.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "lexigram_actors"
author = "The lexigram_actors developers"
release = version = version_of("lexigram-actors")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib_trio", "myst_parser"]
exclude_patterns = ["_build", "changes/*", "examples"]
default_role = "code"

myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
add_module_names = False
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "lexigram_actors"
html_copy_source = False
html_show_sourcelink = False


# --- docstrings ------------------------------------------------------------------------------

INDENTED = re.compile(r"^ {4}\S")
PLURAL = re.compile(r"(`\w+`)s\b")


def as_restructured_text(app: Sphinx, what: str, *arguments: Any) -> None:
    """Turn a docstring into reStructuredText. Changes the lines in place."""
    lines: list[str] = arguments[-1]
    lines[:] = with_plain_returns(with_tables(with_marked_code(lines)))
    lines[:] = [PLURAL.sub(r"\1\\ s", line) for line in lines]
    if what in ("attribute", "data", "property"):
        # Napoleon takes what stands before a colon in their first line for a type.
        lines[:0] = ["..", ""]


def with_marked_code(lines: list[str]) -> list[str]:
    """Return the lines with a mark before each indented block below a paragraph of its own."""
    result: list[str] = []
    above = ""  # the last line that is not empty
    for line in lines:
        begins_block = INDENTED.match(line) and result and result[-1] == ""
        if begins_block and above and not above.startswith(" "):
            language = "python" if re.search(r"[()=@]", line) else "text"
            result += [f".. code-block:: {language}", ""]
        result.append(line)
        above = line or above
    return result


def with_plain_returns(lines: list[str]) -> list[str]:
    """Return the lines with a comment ahead of a sentence about what is returned.

    Napoleon takes what stands before a colon in its first line for a type.
    """
    result: list[str] = []
    above = ""
    for line in lines:
        if above == "Returns:" and ": " in line:
            indent = line[: len(line) - len(line.lstrip())]
            result += [f"{indent}..", ""]
        result.append(line)
        above = line.strip()
    return result


def with_tables(lines: list[str]) -> list[str]:
    """Return the lines with Markdown tables as list tables."""
    result: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        result += list_table(table)
        table = []
        result.append(line)
    return result


def list_table(table: list[str]) -> list[str]:
    """Return the rows of a Markdown table, the second of which is a rule, as a list table."""
    if not table:
        return []
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    heading, _, *body = rows
    has_heading = any(heading)
    result = [".. list-table::", *(["   :header-rows: 1"] if has_heading else []), ""]
    for row in [heading, *body] if has_heading else body:
        result += [f"   {' ' if index else '*'} - {cell}" for index, cell in enumerate(row)]
    return [*result, ""]


def setup(app: Sphinx) -> None:
    # Before napoleon, which reads the sections of a docstring at the default priority of 500.
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)
