"""Reports of documents, where what has been done once is not done again.

    fetch ──▶ translate ──▶ render

The same document is reported on again and again: unchanged, with another layout, after a failure.
Each stage runs where something that decides its output has changed, and nowhere else. The outputs
are in a SQLite file: another process would find them as well.

    python docs/examples/content_addressed.py
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from lexigram_actors import (
    ContentAddressedSaga,
    ContentAddressedStage,
    DatabaseContentCheckpointStore,
    Err,
)
from lexigram_actors.storage.sqlite.database import SQLiteDatabase

RAN: Counter[str] = Counter()


async def fetch(inputs: dict[str, Any]) -> str:
    RAN["fetch"] += 1
    await trio.sleep(0.05)  # a slow network
    return f"the text of {inputs['document']}"


async def translate(inputs: dict[str, Any]) -> str:
    RAN["translate"] += 1
    await trio.sleep(0.05)  # a model that costs money
    return str(inputs["fetch"].upper())


async def render(inputs: dict[str, Any]) -> Any:
    RAN["render"] += 1
    if inputs["layout"] == "broken":
        return Err("no such layout")
    return f"<{inputs['layout']}>{inputs['translate']}</{inputs['layout']}>"


async def report(store: DatabaseContentCheckpointStore, run: int, layout: str) -> None:
    """Make one report, and say which of its stages had to run."""
    before = RAN.copy()
    saga = ContentAddressedSaga(f"report-{run}", store, inputs={"document": "a.txt"})
    saga.add_stage(ContentAddressedStage("fetch", fetch, "1"))
    saga.add_stage(ContentAddressedStage("translate", translate, "3", {"model": "large"}))
    # Only the last stage depends on the layout: it gets it where it is part of its configuration.
    saga.add_stage(
        ContentAddressedStage(
            "render",
            lambda inputs: render({**inputs, "layout": layout}),
            "1",
            {"layout": layout},
            max_retries=1,
        )
    )
    outcome = await saga.execute()
    end = saga.outputs["render"] if outcome.is_ok() else outcome.unwrap_err().message
    print(f"{layout:8} ran: {', '.join(RAN - before) or 'nothing':24} {end}")


async def main(folder: Path) -> None:
    async with SQLiteDatabase(folder / "checkpoints.db") as database:
        store = DatabaseContentCheckpointStore(database)
        for run, layout in enumerate(["broken", "plain", "plain", "fancy"]):
            await report(store, run, layout)
    print("translated", RAN["translate"], "time for 4 reports")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        trio.run(main, Path(name))
