"""The commands for sagas whose undo failed: how it is shown, and what a person decides."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from lexigram_actors.cli.hints import after_failure
from lexigram_actors.errors import SagaError
from lexigram_actors.host.compensation import COMPENSATING, FORCED, SKIPPED, STUCK
from lexigram_actors.host.history import HistoryEntry
from lexigram_actors.result import Err
from lexigram_actors.storage.instances import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    NewInstance,
)
from lexigram_actors.storage.ports import Store
from tests.cli.conftest import Command, Workshop
from tests.cli.test_instances import ORDER, STORE, Desk

SAGAS = """
import os
from lexigram_actors.saga import AbstractSaga, SagaStep

def tell(what):
    with open("happened", "a") as file:
        file.write(what + " ")

class Order(AbstractSaga):
    def __init__(self, given):
        super().__init__()
        for name, undo in (("reserve", "release"), ("charge/card", "refund"), ("ship", None)):
            self.add_step(SagaStep(name, self.does(name), undo and self.does(undo), 1))

    def does(self, what):
        def act():
            if not os.path.exists(what.replace("/", "-")):
                raise ValueError(f"no {what} \\x1b[31m")
            tell(what)
        return act

    def get_id(self):
        return "order"

    def is_completed(self):
        return False

class Final(AbstractSaga):
    def __init__(self, given):
        super().__init__()
        self.add_step(SagaStep("reserve", lambda: 1, lambda: None, pivot=True))
        self.add_step(SagaStep("ship", Order.does(self, "ship"), max_retries=1))

    def get_id(self):
        return "final"

    def is_completed(self):
        return False

order = Order.as_runnable(name="order")
final = Final.as_runnable(name="final")
"""

CHARGE = "charge%2Fcard"
RUN = ("run", "sagas.py:order", "7", "--id", "a")


class SagaDesk(Desk):
    """A folder with a saga whose steps and undos work where a file of their name is there."""

    def __init__(self, command: Command, workshop: Workshop) -> None:
        super().__init__(command, workshop)
        workshop.write("sagas.py", SAGAS)
        self.mend("reserve", "charge-card")

    def mend(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def park(self, id: str, *stuck: tuple[str, Any]) -> None:
        """End an instance with these steps, and why they are stuck."""

        async def act(store: Store) -> None:
            instances = store.instances
            await instances.enter("desk", 60.0)
            await instances.create(NewInstance(id=id, definition=ORDER, input=7), host="desk")
            entries = [Entry(path, STUCK, why, at) for at, (path, why) in enumerate(stuck, 1)]
            status = InstanceStatus.COMPENSATION_STUCK
            await instances.end(id, 1, status, {"ok": None}, entries=entries)
            await instances.leave("desk")

        self.change(act)

    def happened(self) -> list[str]:
        return (self.folder / "happened").read_text().split()

    def decide(self, word: str) -> None:
        """Run the command that `show` gives for a decision."""
        (line,) = [each for each in self.json("show", "a")["next"] if f" {word} " in each]
        command = shlex.split(line.partition(": ")[2])
        assert command[0] == "lexigram-actors"
        assert self.command(*command[1:]).code == 0


@pytest.fixture
def desk(command: Command, workshop: Workshop) -> SagaDesk:
    return SagaDesk(command, workshop)


@pytest.fixture
def stuck(desk: SagaDesk) -> SagaDesk:
    """An order that cannot be shipped, and whose refund failed."""
    desk.mend("release")
    assert desk(*RUN).code == 1
    return desk


def test_a_class_of_sagas_is_no_target_and_the_hint_says_what_is(desk: SagaDesk) -> None:
    done = desk("run", "sagas.py:Order", "7")
    assert done.code == 2
    for known in ("a saga class's as_runnable()", "a StateMachineDefinition", "an ApprovalChain"):
        assert known in done.err


# --- looking -----------------------------------------------------------------------------------


def test_a_run_that_got_stuck_ends_with_1_and_names_the_command_that_shows_it(
    desk: SagaDesk,
) -> None:
    done = desk(*RUN)
    assert done.code == 1
    assert "not undone: 'charge/card', 'reserve'" in done.err
    assert "how to decide: lexigram-actors show a --store sqlite:///flows.db" in done.err
    summary = desk.json(*RUN)
    assert summary["status"] == "compensation_stuck"
    assert summary["next"].endswith("lexigram-actors show a --store sqlite:///flows.db")


def test_a_run_that_got_stuck_and_is_kept_nowhere_names_no_command(desk: SagaDesk) -> None:
    done = desk.command(*RUN, "--store", "memory:")
    assert done.code == 1
    assert "lexigram-actors" not in done.err


def test_ls_lists_what_is_stuck_and_says_what_is_not_undone(stuck: SagaDesk) -> None:
    summary = stuck.json("ls", "--status", "compensation_stuck")
    assert [each["id"] for each in summary["instances"]] == ["a"]
    assert summary["instances"][0]["note"] == f"not undone: {CHARGE}"
    assert summary["counts"] == {"compensation_stuck": 1}
    assert "in all: 1 compensation_stuck" in stuck("ls", "--status", "compensation_stuck").out


def test_ls_keeps_an_id_and_a_status_whole_where_they_have_room(
    desk: SagaDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    id = "order-7d0c9a52-5c1f-4d9e-a1f4"
    desk.park(id, ("charge", {"reason": "it was cut off", "error": None}))
    shown = desk("ls").out
    assert f"{id} " in shown
    assert "compensation_stuck " in shown
    desk.park("X" * 100)  # folded, and not cut
    assert desk("ls").out.count("X") == 100


def test_show_lists_each_stuck_step_why_and_what_decides(stuck: SagaDesk) -> None:
    shown = stuck("show", "a").out
    assert f"not undone '{CHARGE}': its undo failed: ValueError: no refund \\x1b[31m" in shown
    assert shown.splitlines()[-3:] == [
        "to try again: lexigram-actors retry a --store sqlite:///flows.db",
        f"to leave it done: lexigram-actors skip a {CHARGE} --store sqlite:///flows.db",
        f"once it is undone by hand: lexigram-actors force a {CHARGE} --store sqlite:///flows.db",
    ]
    assert "\x1b" not in shown
    summary = stuck.json("show", "a")
    error = "ValueError: no refund \x1b[31m"
    assert summary["stuck"] == [{"step": CHARGE, "reason": "its undo failed", "error": error}]


def test_show_lists_several_in_the_order_their_undos_failed(desk: SagaDesk) -> None:
    desk(*RUN)
    summary = desk.json("show", "a")
    assert [each["step"] for each in summary["stuck"]] == [CHARGE, "reserve"]
    words = [shlex.split(line.partition(": ")[2])[1] for line in summary["next"]]
    assert words == ["retry", "skip", "force", "skip", "force"]


def test_what_is_recorded_of_why_may_be_anything(desk: SagaDesk) -> None:
    desk.park("a", ("parked", {"reason": "it was cut off", "error": None}), ("odd", "\x1b[31m"))
    shown = desk("show", "a").out
    assert "not undone 'parked': it was cut off\n" in shown
    assert "not undone 'odd': \n" in shown
    assert [each["error"] for each in desk.json("show", "a")["stuck"]] == [None, None]


def test_what_was_settled_is_not_listed(stuck: SagaDesk) -> None:
    stuck("force", "a", "charge/card")
    stuck(*RUN)
    summary = stuck.json("show", "a")
    assert summary["instance"]["status"] == "failed"
    assert summary["stuck"] == []
    assert [line.partition(": ")[0] for line in summary["next"]] == ["to begin anew"]


# --- after the way back ------------------------------------------------------------------------


def purposes(desk: SagaDesk, id: str) -> list[str]:
    return [line.partition(": ")[0] for line in desk.json("show", id)["next"]]


def test_what_was_undone_begins_anew_with_a_fork_that_the_run_and_show_name(
    desk: SagaDesk,
) -> None:
    desk.mend("release", "refund")
    done = desk(*RUN)
    fork = "to begin anew: lexigram-actors fork a --new-id NEW --store sqlite:///flows.db"
    run = "lexigram-actors run sagas.py:order 7 --id NEW --store sqlite:///flows.db"
    assert done.err.splitlines()[1:] == [f"{fork} && {run}"]
    assert desk.json("show", "a")["next"] == [fork]
    desk.mend("ship")
    for line in f"{fork.partition(': ')[2]} && {run}".replace("NEW", "b").split(" && "):
        assert desk.command(*shlex.split(line)[1:]).code == 0


def test_a_saga_of_which_nothing_was_done_begins_anew(desk: SagaDesk) -> None:
    (desk.folder / "reserve").unlink()
    assert desk(*RUN).code == 1
    assert purposes(desk, "a") == ["to begin anew"]


def test_where_it_may_be_past_its_pivot_both_are_named(desk: SagaDesk) -> None:
    run = ("run", "sagas.py:final", "7", "--id", "a")
    done = desk(*run)
    assert purposes(desk, "a") == ["to go on, if it is past its pivot", "to begin anew"]
    assert [line.partition(": ")[0] for line in done.err.splitlines()[1:]] == purposes(desk, "a")
    assert desk.json(*run)["next"].count("\n") == 1
    desk("retry", "a")
    assert desk(*run).code == 1
    assert purposes(desk, "a") == ["to try again"]
    desk("retry", "a")
    desk.mend("ship")
    assert desk(*run).code == 0


def test_a_saga_that_was_stopped_on_its_way_back_is_tried_again(desk: SagaDesk) -> None:
    saga = Instance(id="a", definition=Definition("saga", "order", 1), status=InstanceStatus.FAILED)
    history = [HistoryEntry(1, "#saga", COMPENSATING, 0.0, "")]
    (parked,) = after_failure(saga, Err(ValueError("crashed")), history, STORE)
    assert parked.purpose == "to try again"
    (anew,) = after_failure(saga, Err(SagaError("ship")), history, STORE)
    assert anew.purpose == "to begin anew"


# --- deciding ----------------------------------------------------------------------------------


def test_retry_tries_the_undo_again(stuck: SagaDesk) -> None:
    stuck.mend("refund")
    stuck.decide("retry")
    assert stuck.json(*RUN)["status"] == "failed"
    assert stuck.happened() == ["reserve", "charge/card", "release", "refund"]


def test_a_retry_that_fails_again_leaves_it_stuck(stuck: SagaDesk) -> None:
    stuck.decide("retry")
    assert stuck.json(*RUN)["status"] == "compensation_stuck"
    assert [each["step"] for each in stuck.json("show", "a")["stuck"]] == [CHARGE]


@pytest.mark.parametrize(("word", "kind"), [("skip", SKIPPED), ("force", FORCED)])
def test_a_decision_ends_the_instance_and_calls_nothing(
    stuck: SagaDesk, word: str, kind: str
) -> None:
    stuck.mend("refund")
    stuck.decide(word)
    assert stuck.json("show", "a")["instance"]["status"] == "pending"
    assert stuck.json(*RUN)["status"] == "failed"
    assert stuck.happened() == ["reserve", "charge/card", "release"]
    assert stuck.json("show", "a")["journal"][-1]["kind"] == kind


@pytest.mark.parametrize("word", ["skip", "force"])
def test_a_decision_is_told(stuck: SagaDesk, word: str) -> None:
    done = stuck(word, "a", "charge/card")
    assert done.code == 0
    assert done.out == "a is pending; the next host that runs order v1 (saga) takes it up\n"


def test_of_two_that_are_stuck_one_is_settled_and_the_other_waits(desk: SagaDesk) -> None:
    desk(*RUN)
    done = desk("force", "a", "charge/card")
    assert done.code == 0
    assert done.out.endswith("takes it up, and then waits for a decision on: reserve\n")
    early = desk("skip", "a", "reserve")
    assert early.code == 3
    assert "the last decision or retry, waits for a host: run one, then give the next" in early.err
    assert desk.json(*RUN)["status"] == "compensation_stuck"
    assert [each["step"] for each in desk.json("show", "a")["stuck"]] == ["reserve"]
    assert desk.json("skip", "a", "reserve")["stuck"] == []
    assert desk.json(*RUN)["status"] == "failed"
    assert desk.happened() == ["reserve", "charge/card"]


@pytest.mark.parametrize("word", ["skip", "force"])
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nobody", "charge/card"), 2, "no workflow is known as 'nobody'"),
        (("a", "ship"), 3, "no step 'ship' waits for a decision"),
        (("a", "reserve"), 3, f"these do: '{CHARGE}'"),
        (("a", ""), 3, "no step '' waits"),
        (("a", "x\x1b[31m"), 3, "waits for a decision"),
        (("a",), 2, ""),
    ],
)
def test_what_cannot_be_decided_is_one_block(
    stuck: SagaDesk, word: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = stuck(word, *arguments)
    assert done.code == code
    assert done.err.startswith("error: ")
    assert says in done.err
    assert "\x1b" not in done.err
    assert "Traceback" not in done.err
    assert stuck.json("show", "a")["instance"]["status"] == "compensation_stuck"


@pytest.mark.parametrize("word", ["skip", "force"])
def test_where_nothing_is_stuck_nothing_is_decided(desk: SagaDesk, word: str) -> None:
    desk.begin("b")
    done = desk(word, "b", "charge")
    assert done.code == 3
    assert "no step 'charge' waits for a decision" in done.err


def test_an_odd_name_of_a_step_is_one_on_the_command_line(desk: SagaDesk) -> None:
    names = ["-x", "a b", "$(touch pwned)", "\N{GRINNING FACE}"]
    for at, name in enumerate(names):
        id = f"s{at}"
        desk.park(id, (name, {"reason": "its undo failed", "error": None}))
        force = desk.json("show", id)["next"][2]
        command = shlex.split(force.partition(": ")[2])
        assert command[3] == name
        assert desk.command(*command[1:]).code == 0
    assert STORE in force
