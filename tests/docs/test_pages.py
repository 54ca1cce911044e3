"""The pages hold together: links lead somewhere, and every public name is described."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import lexigram_actors
from lexigram_actors import InstanceStatus, testing
from lexigram_actors.host.compensation import LEDGER
from lexigram_actors.host.journal import VOID
from lexigram_actors.host.record import RECORD
from lexigram_actors.workflow.function import DEADLINE, RETRY
from lexigram_actors.workflow.replay import CUT, MARK, NOUNS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FRAGMENTS = DOCS / "changes"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    found = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
    return [ROOT / "README.md", *found]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def test_every_relative_link_leads_to_a_file() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in LINK.findall(prose(page))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_reference_describes_every_public_name() -> None:
    text = "\n".join(path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md"))
    missing = [name for name in lexigram_actors.__all__ if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_the_reference_describes_every_name_of_the_kit_for_tests() -> None:
    text = (DOCS / "reference" / "testing.md").read_text("utf-8")
    missing = [name for name in testing.__all__ if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_the_reference_has_every_state_and_every_kind_of_entry() -> None:
    rows = re.findall(
        r"^\| `([\w ]+)` \|", (DOCS / "reference" / "host.md").read_text("utf-8"), re.MULTILINE
    )
    kinds = {*NOUNS, CUT, MARK, DEADLINE, RETRY, VOID, RECORD, *LEDGER}
    assert {status.value for status in InstanceStatus} | kinds == set(rows)


def test_every_fragment_is_of_a_kind_that_towncrier_knows() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    kinds = {kind["directory"] for kind in settings["tool"]["towncrier"]["type"]}
    fragments = [path.name for path in FRAGMENTS.iterdir() if path.suffix == ".md"]
    assert fragments
    assert {name.split(".")[-2] for name in fragments} <= kinds


def test_the_page_of_changes_has_the_mark_where_they_go() -> None:
    assert "<!-- changes start -->\n" in (DOCS / "changes.md").read_text("utf-8")


def test_every_test_file_that_the_readme_names_is_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"`((?:tests|docs|benchmarks)/[^`*]+)`", readme))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
