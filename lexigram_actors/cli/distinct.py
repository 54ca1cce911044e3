"""Every file of a command has one purpose: none that it writes is one that it reads.

What it writes is more than what the options name: the errors beside the results, `.partial`,
`.rewritten` and `.lock` files, and the files of the checkpoint's database.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from lexigram_actors.cli.errors import OptionError
from lexigram_actors.cli.items import STANDARD_INPUT
from lexigram_actors.cli.options import BulkOptions
from lexigram_actors.cli.output import ENDINGS, Places, beside, is_special
from lexigram_actors.cli.target import TargetName

DATABASE_ENDINGS = ("", "-wal", "-shm", "-journal")


@frozen
class Used:
    """A file and what it is used for, in the words of the command line."""

    purpose: str
    path: Path
    option: str

    @property
    def names(self) -> set[str]:
        """Where it stands, and where a link that stands there leads."""
        folder = os.path.realpath(self.path.parent)
        return {os.path.join(folder, self.path.name), os.path.realpath(self.path)}


def check_distinct(options: BulkOptions, target: TargetName, places: Places) -> None:
    """Refuse a command in which one file has two purposes. Nothing was touched.

    Raises:
        OptionError: names the file and both purposes.
    """
    written = list(_written(options, places))
    taken: dict[str, Used] = {}
    for file in written:
        for name in file.names:
            other = taken.setdefault(name, file)
            if other is not file:
                raise _clash(other, file, name)
    for file in _read(options, target):
        for name in file.names & taken.keys():
            raise _clash(file, taken[name], name)


def _clash(one: Used, other: Used, name: str) -> OptionError:
    return OptionError(
        f"{one.purpose} and {other.purpose} are both {name}; give two files.",
        details={"path": name},
        hint=f"choose another {other.option}",
    )


def _read(options: BulkOptions, target: TargetName) -> Iterator[Used]:
    if options.items != STANDARD_INPUT and not is_special(Path(options.items)):
        yield Used("--items", Path(options.items).absolute(), "--items")
    module = sys.modules.get(target.module)
    source = target.module if target.is_file else getattr(module, "__file__", None)
    if source:
        yield Used("the file of TARGET", Path(source), "TARGET")


def _written(options: BulkOptions, places: Places) -> Iterator[Used]:
    for option, path in (("--out", places.out), ("--errors", places.errors)):
        if is_special(path):
            continue
        shown = option if option == "--out" or options.errors else "the errors file of --out"
        for ending in ENDINGS:
            purpose = f"the {ending} file of {shown}" if ending else shown
            yield Used(purpose, beside(path, ending), option)
    if options.checkpoint is not None:
        checkpoint = Path(os.path.realpath(options.checkpoint))
        for ending in (*DATABASE_ENDINGS, f".{options.job}.lock"):
            purpose = f"the {ending} file of --checkpoint" if ending else "--checkpoint"
            yield Used(purpose, beside(checkpoint, ending), "--checkpoint")
