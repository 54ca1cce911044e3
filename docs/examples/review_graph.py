"""Review a document: checks side by side, a person's decision, and publication.

    fetch ─┬─▶ words ──▶ spelling ─┐
           ├─▶ links ──────────────┼─▶ report ──▶ approval ──▶ decision ─┬─▶ publish
           └─▶ readability ────────┘              (a person)             └─▶ reject

The three branches are of unequal length, and the report waits for all of them. The run pauses at
the approval; its state is written to disk as JSON. Another process reads it, hands in the answer
and goes on. Each node notes the process that it ran in, so that the end shows what ran where: no
node ran twice.

    python docs/examples/review_graph.py

Needs the extra `schemas`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, TypedDict

import trio

from lexigram_actors import (
    AnswerInvalidError,
    ExecutionHistory,
    GraphResult,
    HumanInputRequiredError,
    HumanNode,
    WorkflowBuilder,
    WorkflowEngine,
)

State = dict[str, Any]
Node = Callable[[State], Awaitable[State]]

DRAFT = """\
# Statements

A statement is executed for its effect. An [expression](expressions.md) has a value, and may be
used where a statement is expected.

The `with` statement calls a context manager, whose exit method is called however the block is
left, by an exception too. See [exceptions](errors.md) for what an exception does when no handler
is found, and for the differance between an error and a warning.
"""
EXPRESSIONS = "# Expressions\n\nAn expression is evaluated, and has a value.\n"


class Decision(TypedDict):
    """What the reviewer is asked for."""

    approved: bool
    by: str


# --- the nodes -------------------------------------------------------------------------------


def noted(node: Node) -> Node:
    """Let a node note in the folder that it ran, and in which process."""

    @wraps(node)
    async def noting(state: State) -> State:
        line = f"{os.getpid()} {node.__name__}\n"
        async with await trio.open_file(Path(state["folder"], "ran.log"), "a") as log:
            await log.write(line)
        return await node(state)

    return noting


@noted
async def fetch(state: State) -> State:
    return {"text": await trio.Path(state["folder"], state["input"]).read_text("utf-8")}


@noted
async def words(state: State) -> State:
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", state["text"])
    return {"words": sorted({word.lower() for word in re.findall(r"[A-Za-z]+", prose)})}


def known_words() -> set[str]:
    """Return the words that Python's language reference uses more than once."""
    counts = Counter(re.findall(r"[a-z]+", " ".join(topics.values()).lower()))
    return {word for word, count in counts.items() if count > 1}


@noted
async def spelling(state: State) -> State:
    known = await trio.to_thread.run_sync(known_words)
    return {"unknown_words": [word for word in state["words"] if word not in known]}


@noted
async def links(state: State) -> State:
    targets = re.findall(r"\]\(([^)]+)\)", state["text"])
    folder = trio.Path(state["folder"])
    return {"dead_links": [target for target in targets if not await (folder / target).exists()]}


@noted
async def readability(state: State) -> State:
    sentences = re.split(r"[.!?]\s+", state["text"])
    return {"longest_sentence": max(len(sentence.split()) for sentence in sentences)}


@noted
async def report(state: State) -> State:
    return {
        "report": f"unknown words: {', '.join(state['unknown_words']) or 'none'}; "
        f"dead links: {', '.join(state['dead_links']) or 'none'}; "
        f"longest sentence: {state['longest_sentence']} words"
    }


@noted
async def publish(state: State) -> State:
    target = Path(state["folder"], "published", state["input"])
    await trio.Path(target.parent).mkdir(exist_ok=True)
    await write_atomically(target, state["text"])
    return {"output": f"published by {state['decision']['by']}"}


@noted
async def reject(state: State) -> State:
    return {"output": f"rejected by {state['decision']['by']}"}


async def write_atomically(path: Path, text: str) -> None:
    """Write a file so that others see all of it, or what was there before.

    A node may run again after a crash, so what it does has to bear that.
    """
    draft = trio.Path(path.with_suffix(".tmp"))
    await draft.write_text(text, "utf-8")
    await draft.replace(path)


# --- the graph -------------------------------------------------------------------------------


def is_approved(state: State) -> bool:
    return bool(state["decision"]["approved"])


def review() -> WorkflowEngine:
    approval = HumanNode(
        "approval", prompt="Publish {input}? {report}", output_key="decision", schema=Decision
    )
    builder = WorkflowBuilder("review")
    for node in (fetch, words, spelling, links, readability, report):
        builder.add_node(node.__name__, node=node)
    builder.add_node("approval", node=approval)
    builder.add_gate("decision", {"publish": is_approved, "reject": lambda s: not is_approved(s)})
    builder.add_node("publish", node=publish).add_node("reject", node=reject)
    for source, target in [
        ("fetch", "words"),
        ("words", "spelling"),
        ("fetch", "links"),
        ("fetch", "readability"),
        ("spelling", "report"),
        ("links", "report"),
        ("readability", "report"),
        ("report", "approval"),
        ("approval", "decision"),
    ]:
        builder.add_edge(source, target)
    return builder.set_entry("fetch").set_terminal("publish").set_terminal("reject").build()


# --- two processes ---------------------------------------------------------------------------


async def ask(folder: Path) -> None:
    """Run until a person has to be asked, and keep the state."""
    try:
        await review().execute("draft.md", state={"folder": str(folder)}, run_id="draft-1")
    except HumanInputRequiredError as pause:
        await write_atomically(folder / "waiting.json", json.dumps(pause.state))
        print(f"{pause.checkpoint_id} asks: {pause.prompt}")
    else:
        raise AssertionError("the review ended without asking")


async def answer(folder: Path) -> None:
    """Go on from the state on disk, with the answer."""
    state = json.loads(await trio.Path(folder / "waiting.json").read_text("utf-8"))
    engine = review()
    try:
        await engine.resume(state, {"approved": "perhaps", "by": "Ada"})
    except AnswerInvalidError as error:
        print(f"refused: {error.problem}")
    print(f"still open: {[question.node for question in engine.pending(state)]}")

    result = (await engine.resume(state, {"approved": "yes", "by": "Ada"})).unwrap()
    print(result.output)
    show(result)
    await write_atomically(folder / "review.dot", engine.to_dot(result))
    await write_atomically(folder / "review.mmd", engine.to_mermaid(result))


def show(result: GraphResult) -> None:
    """Print when each node ran; the time that the run waited for the person does not count."""
    timeline = ExecutionHistory(result).timeline()
    scale = 40 / result.duration_ms
    for node, started, duration in timeline:
        bar = " " * int(started * scale) + "#" * max(1, round(duration * scale))
        print(f"  {node:12} {started:7.1f} ms {duration:7.1f} ms  {bar}")


def account(folder: Path) -> None:
    """Print what ran where, and what came of it."""
    log = [line.split() for line in folder.joinpath("ran.log").read_text().splitlines()]
    here = [node for process, node in log if process == str(os.getpid())]
    there = [node for process, node in log if process != str(os.getpid())]
    print("ran here:", ", ".join(here))
    print("ran there:", ", ".join(there))
    print("ran twice:", ", ".join(set(here) & set(there)) or "none")
    print("drawn:", *sorted(path.name for path in folder.glob("review.*")))
    print("published:", *(path.name for path in folder.joinpath("published").iterdir()))


async def main() -> None:
    if len(sys.argv) > 1:
        await answer(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.joinpath("draft.md").write_text(DRAFT, "utf-8")
        folder.joinpath("expressions.md").write_text(EXPRESSIONS, "utf-8")
        await ask(folder)
        print("the run is on disk; another process goes on", flush=True)
        await trio.run_process([sys.executable, __file__, name])

        account(folder)


if __name__ == "__main__":
    trio.run(main)
