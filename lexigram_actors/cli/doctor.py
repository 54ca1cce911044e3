"""The command `doctor`: is the store whole, and what in it wants looking after."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import trio
from attrs import frozen

from lexigram_actors.cli.console import Terminal
from lexigram_actors.cli.errors import EXIT_OK
from lexigram_actors.cli.examining import (
    CURRENT_VERSION,
    NAMED,
    ExaminedFile,
    Finding,
    examine,
    file_findings,
    named,
)
from lexigram_actors.cli.instances import counts_text
from lexigram_actors.cli.showing import definition_text, one_line, print_facts, say
from lexigram_actors.cli.stores import check_exists, command_line, opened
from lexigram_actors.errors import StoreCorruptedError
from lexigram_actors.host.history import open_questions
from lexigram_actors.machine.stored import KIND as STORED_MACHINE
from lexigram_actors.storage.instances import (
    ENDED,
    RETRIABLE,
    Instance,
    InstanceStatus,
    InstanceStore,
    Loaded,
)
from lexigram_actors.storage.sqlite.verifying import Damage

EXIT_FOUND = 1

PAGE = 100
MOST_READ = 10_000
"""Instances that have not ended, of which the journals are read."""

UNFINISHED = frozenset(InstanceStatus) - ENDED


@frozen
class Read:
    """What was read of the instances that have not ended."""

    instances: Sequence[Instance]
    questions: int
    left_out: bool


async def run_doctor(store: str, terminal: Terminal) -> int:
    """Check the store, and say what was found.

    Raises:
        StoreError: it cannot be read, or is damaged as a whole.
    """
    file = await trio.to_thread.run_sync(examine, check_exists(store))
    counts: dict[InstanceStatus, int] = {}
    findings = file_findings(file)
    questions = 0
    if file.version == CURRENT_VERSION:
        try:
            async with opened(store) as open_one:
                counts = await open_one.instances.count()
                read = await read_unfinished(open_one.instances)
                failed = await open_one.instances.select(status=RETRIABLE, limit=NAMED)
        except StoreCorruptedError:
            # Rows that cannot be listed. Which they are is known; what else there is, is not.
            if file.damage == Damage():
                raise
        else:
            questions = read.questions
            findings += instance_findings(counts, failed, read, file, store)
    _tell(terminal, file, questions, counts, findings)
    return EXIT_FOUND if findings else EXIT_OK


# --- the instances ----------------------------------------------------------------------------


async def read_unfinished(instances: InstanceStore) -> Read:
    """Read the instances that have not ended with their journals."""
    found: list[Instance] = []
    questions = 0
    before: tuple[float, str] | None = None
    while len(found) < MOST_READ:
        page = await instances.select(status=UNFINISHED, before=before, limit=PAGE)
        for instance in page:
            try:
                loaded = await instances.load(instance.id)
            except StoreCorruptedError:
                pass  # it was found by its checksum before
            else:
                questions += _questions_of(loaded)
        found += page
        if len(page) < PAGE:
            return Read(found, questions, left_out=False)
        before = (page[-1].created_at, page[-1].id)
    return Read(found, questions, left_out=True)


def _questions_of(loaded: Loaded | None) -> int:
    return 0 if loaded is None else len(open_questions(loaded.entries))


def instance_findings(
    counts: dict[InstanceStatus, int],
    failed: Sequence[Instance],
    read: Read,
    file: ExaminedFile,
    store: str,
) -> list[Finding]:
    """Judge what was read."""
    findings: list[Finding] = []
    stopped = sum(counts.get(each, 0) for each in RETRIABLE)
    if stopped:
        findings.append(
            Finding(
                f"{stopped:,} failed: {named([each.id for each in failed], stopped)}",
                f"see why: {command_line('show', 'ID', store=store)}; then retry, fork or delete; "
                "skip or force what is stuck",
            )
        )
    alone = [
        each
        for each in read.instances
        if (file.host is None or each.owner not in file.hosts)
        and each.definition.kind != STORED_MACHINE  # which no host ever runs
    ]
    if file.lock_problem:
        pass  # it cannot be said who runs them
    elif file.host is None and alone:
        findings.append(
            Finding(
                f"{len(alone):,} have not ended, and no host runs: "
                f"{named([each.id for each in alone])}",
                "start the program that hosts them; it goes on where they stopped",
            )
        )
    elif alone:
        findings.append(
            Finding(
                f"{len(alone):,} have not ended, and are not run by the host that runs: "
                + ", ".join(definitions_of(alone)),
                "register these definitions, in these versions, with host "
                + " or ".join(repr(one_line(each)) for each in sorted(file.hosts)),
            )
        )
    if read.left_out:
        findings.append(
            Finding(
                f"only the newest {MOST_READ:,} that have not ended were read",
                "the others are checked when a host reads them",
            )
        )
    return findings


def host_text(file: ExaminedFile) -> str:
    """Say which host has the file."""
    if file.host is not None:
        return one_line(file.host.text)
    return "not known" if file.lock_problem else "none runs"


def definitions_of(instances: Sequence[Instance]) -> list[str]:
    """Return of what the instances are, the most frequent first."""
    return [text for text, _ in Counter(map(definition_text, instances)).most_common(NAMED)]


# --- telling ----------------------------------------------------------------------------------


def _tell(
    terminal: Terminal,
    file: ExaminedFile,
    questions: int,
    counts: dict[InstanceStatus, int],
    findings: Sequence[Finding],
) -> None:
    rows = [
        ("file", one_line(file.path)),
        ("size", f"{file.bytes:,} bytes, and {file.log_bytes:,} in its log"),
        ("structure", f"whole; schema version {file.version}"),
        ("host", host_text(file)),
        ("instances", counts_text(counts)),
        ("open questions", f"{questions:,}"),
    ]
    lines = [line for each in findings for line in (f"- {each.what}", f"  {each.hint}")]
    terminal.show(lambda out: print_facts(out, "the store", rows))
    for line in lines or ["all is well"]:
        terminal.show(partial(say, line=line))
    terminal.emit(
        {
            "exit_code": EXIT_FOUND if findings else EXIT_OK,
            "file": file.path,
            "bytes": file.bytes,
            "log_bytes": file.log_bytes,
            "version": file.version,
            "host": None if file.host is None else file.host.name,
            "questions": questions,
            "counts": {each.value: number for each, number in counts.items()},
            "findings": [{"what": each.what, "hint": each.hint} for each in findings],
        }
    )
