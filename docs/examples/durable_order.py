"""An order that survives the death of its process.

    charge ──▶ sleep ──┬─▶ pack ───┐
                       └─▶ label ──┴─▶ ship

This program starts itself as another process, kills that one (SIGKILL, so that nothing is cleaned
up) while it ships, and starts it again. The second one goes on: what was recorded does not run
again. The step that was in flight does, and under the same idempotency key: so the carrier, which
remembers its keys, ships one parcel.

    python docs/examples/durable_order.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import trio

from lexigram_actors import WorkflowContext, current_step, open_host, workflow

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()

Order = dict[str, Any]


# --- the world outside: what happens here has happened ---------------------------------------


def tell(what: str) -> None:
    """Write down that something happened, and in which process."""
    with FOLDER.joinpath("happened.log").open("a") as log:
        log.write(f"{os.getpid()} {what}\n")


async def carrier(parcel: str, key: str) -> str:
    """Ship a parcel, once for each key; whoever comes again with a key gets the same answer."""
    book = FOLDER / "carrier.json"
    shipped = json.loads(book.read_text()) if book.exists() else {}
    if key not in shipped:
        shipped[key] = f"tracking-{len(shipped) + 1}"
        draft = book.with_suffix(".tmp")
        draft.write_text(json.dumps(shipped))
        draft.replace(book)
    return str(shipped[key])


# --- the steps -------------------------------------------------------------------------------


async def charge(order: Order) -> str:
    tell("charge")
    return f"receipt for {order['amount']:.2f} EUR"


async def pack(order: Order) -> str:
    await trio.sleep(0.1)
    tell("pack")
    return f"parcel with {order['item']}"


async def label(order: Order) -> str:
    tell("label")
    return f"to {order['to']}"


async def ship(parcel: str, address: str) -> str:
    tell("ship")
    number = await carrier(f"{parcel} {address}", current_step().idempotency_key)
    await trio.sleep(0.5)  # the answer is on its way: a bad moment to die
    return number


# --- the workflow ----------------------------------------------------------------------------


@workflow
async def fulfil(ctx: WorkflowContext, order: Order) -> Order:
    receipt = await ctx.step(charge, order, retry=3, timeout=5.0)
    await ctx.sleep(0.2)  # seconds here; it may be days
    async with ctx.parallel() as group:
        packed = group.start(partial(doing, pack), order, name="pack")
        labelled = group.start(partial(doing, label), order, name="label")
    tracking = await ctx.step(ship, packed.value, labelled.value)
    return {"receipt": receipt, "tracking": tracking}


async def doing(step: Any, ctx: WorkflowContext, order: Order) -> str:
    return str(await ctx.step(step, order))


# --- two processes ---------------------------------------------------------------------------


async def work() -> None:
    """Run the order to its end, wherever it stands."""
    order = {"item": "a book", "amount": 12.5, "to": "Ada"}
    async with open_host(f"sqlite:///{FOLDER}/orders.db", register=[fulfil]) as host:
        handle = await host.start(fulfil, order, id="order-42")
        print("outcome:", (await handle.result()).unwrap())
        for row in await handle.history():
            print(f"  {row.position:2} {row.path:20} {row.kind:8} {row.outcome}")


async def die_and_come_back(folder: Path) -> None:
    command = [sys.executable, __file__, str(folder)]
    process = await trio.lowlevel.open_process(command)
    book = folder / "carrier.json"
    with trio.fail_after(30):
        while not book.exists():  # noqa: ASYNC110 - another process cannot set an event
            await trio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    print(f"killed while it ships: exit status {await process.wait()}", flush=True)
    await trio.run_process(command, stderr=subprocess.STDOUT)

    log = [line.split() for line in folder.joinpath("happened.log").read_text().splitlines()]
    first, second = dict.fromkeys(who for who, _ in log)
    for name, number in (("first", first), ("second", second)):
        print(f"the {name} process did:", *(what for who, what in log if who == number))
    counts = Counter(what for _, what in log)
    print("done more than once:", *(what for what, count in counts.items() if count > 1))
    print("parcels shipped:", len(json.loads(book.read_text())))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(work)
    else:
        with tempfile.TemporaryDirectory() as name:
            trio.run(die_and_come_back, Path(name))
