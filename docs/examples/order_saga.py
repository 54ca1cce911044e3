"""Orders over four services that share no transaction and no database.

    reserve ──▶ charge ──▶ ship ──▶ notify
    release ◀── refund ◀──   │ the pivot: what is shipped does not come back

Each service is a SQLite file of its own, and remembers the keys it was called with: a call that
comes again has no effect again.

    order-1   the process is killed when the carrier has taken the parcel, and before it could say
              so; another process goes on, and every service has done its part once
    order-2   cannot be shipped, and is undone
    order-3   cannot be shipped, and the refund fails: a person sends the money back, and says so

    python docs/examples/order_saga.py
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import trio

from lexigram_actors import (
    AbstractSaga,
    Operator,
    SagaContext,
    SagaState,
    SagaStep,
    open_host,
    open_store,
)

IS_TO_DIE = sys.argv[2:] == ["die"]

Order = dict[str, Any]


# --- the services: what is committed there has happened --------------------------------------


class Service:
    """Writes down what it did for whom, and under which keys it was asked."""

    folder: ClassVar[Path]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        path = self.folder / f"{type(self).__name__}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as books, books:
            books.execute("BEGIN IMMEDIATE")
            books.execute("CREATE TABLE IF NOT EXISTS done (order_id, what)")
            books.execute("CREATE TABLE IF NOT EXISTS calls (key PRIMARY KEY, order_id, times)")
            yield books

    def once(self, key: str, order: Order, what: str, *, undoes: str | None = None) -> str:
        """Do it, if the key is new. An undo of what was never done has no effect."""
        count = "INSERT INTO calls VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1"
        with self.transaction() as books:
            books.execute(count, [key, order["id"]])
            (times,) = books.execute("SELECT times FROM calls WHERE key = ?", [key]).fetchone()
            if times == 1 and (undoes is None or undoes in done_for(order["id"], books)):
                books.execute("INSERT INTO done VALUES (?, ?)", [order["id"], what])
        return f"{what} for {order['item']}"

    def tell(self, order_id: str) -> str:
        """Say what was done for an order, and how often something was asked."""
        total = "SELECT coalesce(sum(times), 0) FROM calls WHERE order_id = ?"
        with self.transaction() as books:
            done = ", ".join(done_for(order_id, books)) or "nothing"
            (times,) = books.execute(total, [order_id]).fetchone()
        return f"{type(self).__name__}: {done} (asked {times}x)"


def done_for(order_id: str, books: sqlite3.Connection) -> list[str]:
    rows = books.execute("SELECT what FROM done WHERE order_id = ? ORDER BY rowid", [order_id])
    return [what for (what,) in rows]


class Stock(Service):
    def reserve(self, key: str, order: Order) -> str:
        return self.once(key, order, "reserved")

    def release(self, key: str, order: Order) -> str:
        return self.once(key, order, "released", undoes="reserved")


class Bank(Service):
    def charge(self, key: str, order: Order) -> str:
        return self.once(key, order, "charged")

    def refund(self, key: str, order: Order) -> str:
        if order.get("card") == "expired":
            raise LookupError("the card has expired")
        return self.once(key, order, "refunded", undoes="charged")


class Carrier(Service):
    def ship(self, key: str, order: Order) -> str:
        if order["to"] == "the moon":
            raise LookupError("no flights to the moon")
        shipped = self.once(key, order, "shipped")
        if IS_TO_DIE:  # the parcel is on its way, and nobody here will hear of it
            os.kill(os.getpid(), signal.SIGKILL)
        return shipped


class Mail(Service):
    def notify(self, key: str, order: Order) -> str:
        return self.once(key, order, "sent")


stock, bank, carrier, mail = Stock(), Bank(), Carrier(), Mail()

Call = Callable[[str, Order], str]


# --- the saga --------------------------------------------------------------------------------


class OrderSaga(AbstractSaga[None]):
    """An order. It is made anew from its input wherever it goes on."""

    def __init__(self, order: Order) -> None:
        super().__init__()
        self.order = order
        self.add("reserve", stock.reserve, stock.release)
        self.add("charge", bank.charge, bank.refund)
        self.add("ship", carrier.ship, pivot=True)
        self.add("notify", mail.notify)

    def add(self, name: str, do: Call, undo: Call | None = None, *, pivot: bool = False) -> None:
        # The undos remember their keys too, and bear that there is nothing to undo: idempotent.
        action, compensation = self.calling(do), None if undo is None else self.calling(undo)
        step = SagaStep(name, action, compensation, 2, 0.05, idempotent=True, pivot=pivot)
        self.add_step(step)

    def calling(self, service: Call) -> Callable[[SagaContext], Awaitable[str]]:
        async def call(context: SagaContext) -> str:
            # In a thread, as it blocks. Cut off, the step waits for it all the same.
            return await trio.to_thread.run_sync(service, context.idempotency_key, self.order)

        return call

    def get_id(self) -> str:
        return str(self.order["id"])

    def is_completed(self) -> bool:
        return self.state in (SagaState.COMPLETED, SagaState.FAILED)


orders = OrderSaga.as_runnable(name="order")


# --- three orders ----------------------------------------------------------------------------


async def work(url: str) -> None:
    """Bring the first order to its end, wherever it stands. Dies on the way if it is told to."""
    async with open_host(url, register=[orders]) as host:
        order = {"id": "order-1", "item": "a book", "to": "Ada"}
        handle = await host.start(orders, order, id="order-1")
        results = (await handle.result()).unwrap()
        print(f"another process goes on: order-1 is {handle.status.value}: {', '.join(results)}")


async def die_and_come_back(folder: Path, url: str) -> None:
    command = [sys.executable, __file__, str(folder)]
    dead = await trio.run_process([*command, "die"], check=False)
    async with open_store(url) as store:
        rows = await Operator(store).history("order-1")
    recorded = ", ".join(row.path for row in rows if row.kind == "step")
    print(f"killed while it ships, exit status {dead.returncode}; recorded: {recorded}", flush=True)
    await trio.run_process(command)
    for service in (stock, bank, carrier, mail):
        print("   ", service.tell("order-1"))


async def fail_and_settle(url: str) -> None:
    async with open_host(url, register=[orders]) as host:
        order = {"id": "order-2", "item": "a lamp", "to": "the moon"}
        handle = await host.start(orders, order, id="order-2")
        await handle.result()
        print(f"order-2 is {handle.status.value}: it cannot be shipped")
        print("  ", stock.tell("order-2"), bank.tell("order-2"), sep="  ")

        order = {"id": "order-3", "item": "a tent", "to": "the moon", "card": "expired"}
        handle = await host.start(orders, order, id="order-3")
        await handle.result()
        print(f"order-3 is {handle.status.value}: {(await handle.describe()).note}")
        print("  ", stock.tell("order-3"), bank.tell("order-3"), sep="  ")
        await handle.force("charge")  # once the money went back by bank transfer
        await handle.result()
        print(f"order-3 is {handle.status.value}: a person has settled it")
        for row in await handle.history():
            if row.path == "charge":
                print(f"    {row.position:2} {row.kind:11} {row.outcome}")


async def main() -> None:
    url = f"sqlite:///{Service.folder}/orders.db"
    await die_and_come_back(Service.folder, url)
    await fail_and_settle(url)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Service.folder = Path(sys.argv[1])
        trio.run(work, f"sqlite:///{Service.folder}/orders.db")
    else:
        with tempfile.TemporaryDirectory() as name:
            Service.folder = Path(name)
            trio.run(main)
