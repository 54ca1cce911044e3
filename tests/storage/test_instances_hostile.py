"""What no store could keep is refused before anything is written, by every store alike."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from lexigram_actors.errors import NotStorableError
from lexigram_actors.storage import Definition, InstanceStatus, InstanceStore
from tests.storage.instance_values import LEASE, ORDER, begin, new, step

RUNNING = InstanceStatus.RUNNING
FAILED = InstanceStatus.FAILED

Call = Callable[[InstanceStore, Any], Coroutine[Any, Any, object]]


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


VALUES: dict[str, Any] = {
    "nul": "a\0",
    "nan": float("nan"),
    "infinity": float("-inf"),
    "surrogate": "\ud800",
    "65 bits": 2**64,
    "depth": nested(200),
    "size": "x" * (4 * 1024 * 1024 + 1),
    "type": object(),
}

TAKES_A_VALUE: dict[str, Call] = {
    "create": lambda s, v: s.create(new("order-2", input={"x": v})),
    "append": lambda s, v: s.append("order-1", 1, [step(1), step(2, {"x": v})], status=RUNNING),
    "end": lambda s, v: s.end("order-1", 1, FAILED, {"x": v}, entries=[step(1)]),
    "end with": lambda s, v: s.end("order-1", 1, FAILED, None, entries=[step(1, {"x": v})]),
    "start_over": lambda s, v: s.start_over("order-1", 1, {"x": v}, []),
    "post": lambda s, v: s.post("order-1", "signal", payload={"x": v}),
    "reopen": lambda s, v: s.reopen("order-1", [step(1, {"x": v})]),
}

TEXTS: dict[str, str] = {"nul": "a\0", "surrogate": "\ud800", "long": "x" * 5000}

TAKES_A_TEXT: dict[str, Call] = {
    "enter": lambda s, t: s.enter(t, LEASE),
    "renew": lambda s, t: s.renew(t, LEASE),
    "leave": lambda s, t: s.leave(t),
    "create": lambda s, t: s.create(new(t)),
    "create for": lambda s, t: s.create(new("order-2"), host=t),
    "seed": lambda s, t: s.create(new("order-2", seed=t)),
    "parent": lambda s, t: s.create(new("order-2", parent=t)),
    "kind": lambda s, t: s.create(new("order-2", definition=Definition(t, "n", 1))),
    "name": lambda s, t: s.create(new("order-2", definition=Definition("k", t, 1))),
    "claim": lambda s, t: s.claim(t, [ORDER]),
    "claim ids": lambda s, t: s.claim("a", [ORDER], ids=[t]),
    "release": lambda s, t: s.release(t, 1),
    "load": lambda s, t: s.load(t),
    "append": lambda s, t: s.append(t, 1, []),
    "path": lambda s, t: s.append("order-1", 1, [step(1), step(2)._replace(path=t)]),
    "entry": lambda s, t: s.append("order-1", 1, [step(1), step(2)._replace(kind=t)]),
    "mark": lambda s, t: s.mark({"order-1": (1, RUNNING, ""), t: (1, RUNNING, "")}),
    "end": lambda s, t: s.end(t, 1, FAILED, None),
    "start_over": lambda s, t: s.start_over(t, 1, None, []),
    "get": lambda s, t: s.get(t),
    "input": lambda s, t: s.input(t),
    "outcome": lambda s, t: s.outcome(t),
    "journal": lambda s, t: s.journal(t),
    "select name": lambda s, t: s.select(name=t),
    "select parent": lambda s, t: s.select(parent=t),
    "select before": lambda s, t: s.select(before=(1.0, t)),
    "post": lambda s, t: s.post(t, "signal"),
    "post kind": lambda s, t: s.post("order-1", t),
    "post name": lambda s, t: s.post("order-1", "signal", t),
    "post key": lambda s, t: s.post("order-1", "signal", key=t),
    "reopen": lambda s, t: s.reopen(t),
    "fork": lambda s, t: s.fork(t, "order-2", 1, ""),
    "fork id": lambda s, t: s.fork("order-1", t, 1, ""),
    "fork seed": lambda s, t: s.fork("order-1", "order-2", 1, t),
    "delete": lambda s, t: s.delete(t),
}
MAY_BE_EMPTY = ["fork seed", "path", "post key", "post name", "seed"]

MISUSE: dict[str, Callable[[InstanceStore], Coroutine[Any, Any, object]]] = {
    "an id that is no str": lambda s: s.get(b"a"),  # type: ignore[arg-type]
    "a path that is no str": lambda s: s.append("order-1", 1, [step(1)._replace(path=1)]),  # type: ignore[arg-type]
    "an epoch that is no int": lambda s: s.append("order-1", True, [step(1)]),
    "an epoch of 65 bits": lambda s: s.release("order-1", 2**64),
    "a negative epoch": lambda s: s.end("order-1", -1, FAILED, None),
    "no position": lambda s: s.append("order-1", 1, [step(1), step(0)]),
    "a position of 65 bits": lambda s: s.append("order-1", 1, [step(2**63)]),
    "mail that is no int": lambda s: s.append("order-1", 1, [step(1, mail=1.5)]),
    "a time that is no number": lambda s: s.append("order-1", 1, [step(1, at="now")]),
    "a status that is a text": lambda s: s.append("order-1", 1, [], status="running"),  # type: ignore[arg-type]
    "an end by append": lambda s: s.append("order-1", 1, [], status=FAILED),
    "an end by mark": lambda s: s.mark({"order-1": (1, FAILED, "")}),
    "an end that is none": lambda s: s.end("order-1", 1, RUNNING, None),
    "a note that is no text": lambda s: s.end("order-1", 1, FAILED, None, note=1),  # type: ignore[arg-type]
    "no lease": lambda s: s.enter("a", 0),
    "a lease that is no number": lambda s: s.renew("a", float("nan")),
    "a new that is none": lambda s: s.create("order-2"),  # type: ignore[arg-type]
    "a version that is a text": lambda s: s.create(new("2", definition=Definition("k", "n", "1"))),  # type: ignore[arg-type]
    "ids that are one": lambda s: s.claim("a", [ORDER], ids="order-1"),
    "a status that is one": lambda s: s.select(status=FAILED),
    "a limit below 0": lambda s: s.select(limit=-1),
    "seqs that are none": lambda s: s.start_over("order-1", 1, None, [None]),  # type: ignore[list-item]
}


async def state(store: InstanceStore) -> list[Any]:
    """Return everything there is."""
    found = [await store.load(each.id) for each in await store.select()]
    return [*found, await store.mail_after(0), await store.last_mail()]


@pytest.mark.parametrize("call", TAKES_A_VALUE)
async def test_a_value_without_a_stored_form_is_refused_with_its_path(
    instances: InstanceStore, call: str
) -> None:
    await begin(instances)
    before = await state(instances)
    for what, value in VALUES.items():
        with pytest.raises(NotStorableError) as caught:
            await TAKES_A_VALUE[call](instances, value)
        # The size is that of the whole; the depth is over the limit somewhere below.
        assert caught.value.path.startswith("$" if what == "size" else "$.x"), what
    assert await state(instances) == before


@pytest.mark.parametrize("call", TAKES_A_TEXT)
async def test_a_text_that_cannot_be_kept_is_refused_with_what_it_is(
    instances: InstanceStore, call: str
) -> None:
    await begin(instances)
    before = await state(instances)
    for text in [*TEXTS.values(), *(() if call in MAY_BE_EMPTY else ("",))]:
        with pytest.raises(NotStorableError) as caught:
            await TAKES_A_TEXT[call](instances, text)
        assert caught.value.path
    assert await state(instances) == before


@pytest.mark.parametrize("call", MAY_BE_EMPTY)
async def test_a_text_that_says_nothing_may_be_empty(instances: InstanceStore, call: str) -> None:
    await begin(instances)
    await TAKES_A_TEXT[call](instances, "")


@pytest.mark.parametrize("what", MISUSE)
async def test_misuse_is_raised_and_changes_nothing(instances: InstanceStore, what: str) -> None:
    await begin(instances)
    before = await state(instances)
    with pytest.raises(TypeError):
        await MISUSE[what](instances)
    assert await state(instances) == before


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 10**400])
async def test_a_moment_that_is_none_is_refused(instances: InstanceStore, at: float) -> None:
    await begin(instances)
    for call in (
        lambda: instances.append("order-1", 1, [step(1, at=at)]),
        lambda: instances.create(new("order-2", start_at=at)),
        lambda: instances.delete_ended(at, [FAILED]),
        lambda: instances.create(new("order-2", definition=Definition("k", "n", 2**63))),
    ):
        with pytest.raises(NotStorableError):
            await call()


async def test_a_note_that_cannot_be_kept_is_kept_as_well_as_can_be(
    instances: InstanceStore,
) -> None:
    await begin(instances)
    await instances.append("order-1", 1, [], status=RUNNING, note="a\0b\ud800\u00e9")
    found = await instances.get("order-1")
    assert found is not None
    assert found.note == "a\ufffdb?\u00e9"
    await instances.mark({"order-1": (1, RUNNING, "x" * 5000)})
    found = await instances.get("order-1")
    assert found is not None
    assert found.note == "x" * 1000


async def test_minus_zero_and_the_largest_numbers_come_back(instances: InstanceStore) -> None:
    await begin(instances)
    largest = 2**63 - 1
    await instances.append("order-1", 1, [step(1, at=-0.0), step(largest, mail=largest, at=2**62)])
    assert [(e.position, e.mail, e.at) for e in await instances.journal("order-1")] == [
        (1, 0, 0.0),
        (largest, largest, float(2**62)),
    ]


async def test_what_is_handed_out_is_a_copy(instances: InstanceStore) -> None:
    value = {"list": [1]}
    await begin(instances, input=value)
    await instances.append("order-1", 1, [step(1, value)])
    mail = await instances.post("order-1", "signal", payload=value)
    value["list"].append(2)
    mail.payload["list"].append(3)
    (await instances.input("order-1"))["list"].append(4)
    loaded = await instances.load("order-1")
    assert loaded is not None
    assert loaded.input == loaded.entries[0].value == loaded.mail[0].payload == {"list": [1]}
