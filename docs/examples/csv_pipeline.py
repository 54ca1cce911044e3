"""Clean a file of orders in steps, interrupted and continued.

    load ──▶ validate ─┬─▶ rejects (if there are any) ──┐
                       └─▶ clean ──▶ totals ────────────┴─▶ summary
                                      ├ by_country
                                      └ by_month

What goes from step to step are paths and counts: rows stay in files, so that a step's record is
small however many rows there are. The first run is cut off in the middle of `clean`; its half
written file is removed. The second run goes on: what is recorded does not run again.

    python docs/examples/csv_pipeline.py
"""

from __future__ import annotations

import csv
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import trio

from lexigram_actors import (
    CacheBackendProtocol,
    FunctionStep,
    Pipeline,
    PipelineContext,
    TransformPipe,
    conditional,
    open_store,
    parallel,
    step,
)

Row = dict[str, Any]

FIELDS = ["order", "country", "date", "amount", "currency"]
RATES = {"EUR": 1.0, "USD": 0.9, "GBP": 1.2}
ROWS = 5_000


def generate(path: Path) -> None:
    """Write orders as they come from a shop: most are fine, some are not."""
    chance = random.Random(7)  # noqa: S311 - the same orders each time, not a secret
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for order in range(1, ROWS + 1):
            country = chance.choice(["de", "FR", " it ", "pl"])
            date = f"2024-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
            amount = f"{chance.uniform(5, 500):.2f}"
            if chance.random() < 0.02:
                amount = chance.choice(["", "n/a", "-3.10"])
            if chance.random() < 0.01:
                date = "yesterday"
            writer.writerow([order, country, date, amount, chance.choice(list(RATES))])


def rows_of(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


# --- one row ---------------------------------------------------------------------------------


def fault_of(row: Row) -> str | None:
    """Return what is wrong with a row, None where nothing is."""
    try:
        amount = float(row["amount"])
    except ValueError:
        return "no amount"
    if amount <= 0:
        return "an amount below zero"
    return None if row["date"].startswith("2024-") else "no date"


def stripped(row: Row) -> Row:
    return {key: value.strip() for key, value in row.items()}


def typed(row: Row) -> Row:
    return {**row, "amount": float(row["amount"]), "country": row["country"].upper()}


def in_euros(row: Row) -> Row:
    return {**row, "amount": round(row["amount"] * RATES[row["currency"]], 2), "currency": "EUR"}


def is_foreign(row: Row) -> bool:
    return bool(row["currency"] != "EUR")


cleaned = TransformPipe[Row]().pipe(stripped).pipe(typed).pipe_if(is_foreign, in_euros)


# --- the steps -------------------------------------------------------------------------------


class Orders:
    """The steps, for the files of one folder."""

    def __init__(self, folder: Path, interrupt: Callable[[], None] | None) -> None:
        self.folder = folder
        self.interrupt = interrupt

    def load(self, context: PipelineContext) -> Row:
        path = self.folder / "orders.csv"
        return {"path": str(path), "rows": sum(1 for _ in rows_of(path))}

    def validate(self, context: PipelineContext) -> Row:
        good = self.folder / "valid.csv"
        faults: Counter[str] = Counter()
        with good.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            for row in rows_of(Path(context.get_step_result("load")["path"])):
                fault = fault_of(row)
                if fault is None:
                    writer.writerow(row)
                else:
                    faults[fault] += 1
        return {"path": str(good), "faults": dict(faults)}

    def reject(self, context: PipelineContext) -> str:
        path = self.folder / "rejects.json"
        path.write_text(json.dumps(context.get_step_result("validate")["faults"]))
        return str(path)

    async def clean(self, context: PipelineContext) -> str:
        path = self.folder / "clean.csv"
        draft = path.with_suffix(".tmp")
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            valid = Path(context.get_step_result("validate")["path"])
            for number, row in enumerate(rows_of(valid)):
                writer.writerow(await cleaned(row))
                if number % 500 == 0:  # let others have a turn, and a cancellation come through
                    await trio.lowlevel.checkpoint()
                if number == 2_000 and self.interrupt is not None:
                    self.interrupt()
        draft.replace(path)
        return str(path)

    def remove_draft(self, context: PipelineContext) -> None:
        draft = self.folder / "clean.tmp"
        if draft.exists():
            print(f"  removed {draft.name}, which is half written")
            draft.unlink()

    def total(self, context: PipelineContext, key: Callable[[Row], str]) -> dict[str, float]:
        totals: Counter[str] = Counter()
        for row in rows_of(Path(context.get_step_result("clean"))):
            totals[key(row)] += round(float(row["amount"]) * 100)  # cents are exact
        return {name: cents / 100 for name, cents in sorted(totals.items())}

    async def by_country(self, context: PipelineContext) -> dict[str, float]:
        return await trio.to_thread.run_sync(self.total, context, country_of)

    async def by_month(self, context: PipelineContext) -> dict[str, float]:
        return await trio.to_thread.run_sync(self.total, context, month_of)

    def summarise(self, context: PipelineContext) -> Row:
        by_country, by_month = context.get_step_result("totals")
        faults = context.get_step_result("validate")["faults"]
        summary = {"by_country": by_country, "by_month": by_month, "rejected": faults}
        (self.folder / "summary.json").write_text(json.dumps(summary, indent=1))
        return summary


def country_of(row: Row) -> str:
    return str(row["country"])


def month_of(row: Row) -> str:
    return str(row["date"])[:7]


def has_faults(context: PipelineContext) -> bool:
    return bool(context.get_step_result("validate")["faults"])


def pipeline(orders: Orders, store: CacheBackendProtocol) -> Pipeline:
    return Pipeline(
        "orders",
        [
            step("load", orders.load),
            step("validate", orders.validate, ["load"]),
            conditional("rejects", has_faults, step("reject", orders.reject), None, ["validate"]),
            FunctionStep("clean", orders.clean, ["validate"], cleanup_func=orders.remove_draft),
            parallel(
                "totals",
                [step("by_country", orders.by_country), step("by_month", orders.by_month)],
                ["clean"],
            ),
            step("summary", orders.summarise, ["rejects", "totals"]),
        ],
        store,
    )


# --- two runs --------------------------------------------------------------------------------


def show(context: PipelineContext) -> None:
    for record in context.metadata["step_results"]:
        because = f"  ({record.skipped_reason})" if record.skipped_reason else ""
        print(f"  {record.step_name:10} {record.status:9} {record.duration:6.3f} s{because}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "orders.csv")
        async with open_store(f"sqlite:///{folder}/runs.db") as store:
            print("first run, cut off while it cleans")
            context = PipelineContext("orders")
            with trio.CancelScope() as scope:
                await pipeline(Orders(folder, scope.cancel), store.cache).execute(context)
            show(context)

            print("second run")
            outcome = await pipeline(Orders(folder, None), store.cache).execute()
            context = outcome.unwrap()
            show(context)

        summary = context.get_step_result("summary")
        rejected = sum(summary["rejected"].values())
        print(f"rejected: {summary['rejected']}")
        print(f"euros by country: {summary['by_country']}")
        print(f"{ROWS - rejected} of {ROWS} orders cleaned, {rejected} rejected")


if __name__ == "__main__":
    trio.run(main)
