"""The commands for instances: run, look, post, change. In this process, over a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from lexigram_actors.cli.errors import OptionError
from lexigram_actors.cli.hosting import refusal_text
from lexigram_actors.cli.instances import grown
from lexigram_actors.cli.showing import one_line, time_text, tree_lines
from lexigram_actors.cli.stores import parse_value
from lexigram_actors.host.operator import InstanceTree
from lexigram_actors.machine import State, StateMachine, StoreStatePersistence, Transition
from lexigram_actors.storage import open_store
from lexigram_actors.storage.instances import (
    Definition,
    Entry,
    Instance,
    InstanceStatus,
    NewInstance,
)
from lexigram_actors.storage.ports import Store
from lexigram_actors.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS, apply
from tests.cli.conftest import Command, Commanded, Workshop

FLOWS = """
import os
from lexigram_actors import Pipeline, step
from lexigram_actors import workflow

def load():
    with open("loaded", "a") as file:
        file.write("x")
    return [1, 2]

def pay(item):
    if not os.path.exists("paid"):
        raise ValueError("declined \\x1b[31m")
    return item

@workflow
async def order(ctx, item):
    loaded = await ctx.step(load)
    return {"loaded": loaded, "paid": await ctx.step(pay, item)}

async def plain(ctx):
    pass

pipeline = Pipeline("etl", [step("load", lambda context: load())])
"""

STORE = "sqlite:///flows.db"
ORDER = Definition("workflow", "order", 1)
ASKED = {"prompt": "publish?\x1b[2J", "schema": "bool", "expires_at": 2e9}


class Desk:
    """The commands on the store of a folder with workflows in it."""

    def __init__(self, command: Command, workshop: Workshop) -> None:
        self.command = command
        self.folder = workshop.folder
        workshop.write("flows.py", FLOWS)

    def __call__(self, *arguments: str) -> Commanded:
        return self.command(*arguments, "--store", STORE)

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self(*arguments, "--json")
        assert done.code == done.summary["exit_code"]
        return done.summary

    def change(self, act: Callable[[Store], Any]) -> None:
        """Do something with the store itself."""

        async def main() -> None:
            async with open_store(STORE) as store:
                await act(store)

        trio.run(main)

    def begin(
        self,
        id: str,
        *rows: tuple[str, str, Any],
        parent: str | None = None,
        status: InstanceStatus = InstanceStatus.WAITING,
        definition: Definition = ORDER,
    ) -> None:
        """Begin an instance, with entries, that no host has any more."""

        async def act(store: Store) -> None:
            instances = store.instances
            await instances.enter("desk", 60.0)
            new = NewInstance(id=id, definition=definition, input=7, parent=parent)
            await instances.create(new, host="desk")
            entries = [Entry(*row, position=at) for at, row in enumerate(rows, 1)]
            await instances.append(id, 1, entries, status=status, note="it waits")
            await instances.leave("desk")

        self.change(act)

    def mail(self, id: str) -> list[tuple[str, str, Any]]:
        found: list[tuple[str, str, Any]] = []

        async def act(store: Store) -> None:
            loaded = await store.instances.load(id)
            assert loaded is not None
            found.extend((mail.kind, mail.name, mail.payload) for mail in loaded.mail)

        self.change(act)
        return found


@pytest.fixture
def desk(command: Command, workshop: Workshop) -> Desk:
    return Desk(command, workshop)


# --- run -------------------------------------------------------------------------------------


def test_a_run_prints_what_it_returned(desk: Desk) -> None:
    (desk.folder / "paid").touch()
    done = desk("run", "flows:order", '{"item": 7}', "--id", "a")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {"loaded": [1, 2], "paid": {"item": 7}}


def test_a_run_of_the_same_id_runs_nothing_twice(desk: Desk) -> None:
    (desk.folder / "paid").touch()
    first = desk("run", "flows.py:order", "7", "--id", "a")
    assert desk("run", "flows.py:order", "7", "--id", "a").out == first.out
    assert (desk.folder / "loaded").read_text() == "x"


def test_a_run_that_failed_says_why_and_goes_on_after_a_retry(desk: Desk) -> None:
    done = desk("run", "flows:order", "7", "--id", "a")
    assert done.code == 1
    assert "error: step 'pay' failed: ValueError: declined \\x1b[31m" in done.err
    assert "retry a --store sqlite:///flows.db && lexigram-actors run flows:order 7" in done.err
    (desk.folder / "paid").touch()
    assert desk.json("retry", "a")["instance"]["status"] == "pending"
    summary = desk.json("run", "flows:order", "7", "--id", "a")
    assert summary["outcome"] == {"ok": {"loaded": [1, 2], "paid": 7}}
    assert (desk.folder / "loaded").read_text() == "x"


def test_a_pipeline_runs_as_well_and_gets_an_id(desk: Desk) -> None:
    summary = desk.json("run", "flows:pipeline")
    assert summary["status"] == "completed"
    assert summary["id"].startswith("etl-")


def test_a_run_that_was_cancelled_ends_with_3(desk: Desk) -> None:
    desk.begin("a")
    assert desk("cancel", "a", "--reason", "late").code == 0
    done = desk("run", "flows:order", "7", "--id", "a")
    assert done.code == 3
    assert "cancelled: late" in done.err


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("flows:plain", "nothing that a host can run"),
        ("flows:nothing", "has no 'nothing'"),
        ("nowhere:order", "no module 'nowhere'"),
    ],
)
def test_a_target_that_cannot_be_run_is_refused(desk: Desk, target: str, says: str) -> None:
    done = desk("run", target)
    assert done.code == 2
    assert says in done.err
    assert not (desk.folder / "flows.db").exists()


def test_a_run_of_an_id_with_another_input_is_refused(desk: Desk) -> None:
    desk.begin("a")
    done = desk("run", "flows:order", "8", "--id", "a")
    assert done.code == 3
    assert "another input" in done.err


def test_without_a_store_the_variable_counts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.command("ls").code == 2
    desk.begin("a")
    monkeypatch.setenv("LEXIGRAM_STORE", STORE)
    assert "a " in desk.command("ls").out


# --- looking ---------------------------------------------------------------------------------


def test_ls_lists_the_newest_first_and_counts_all(desk: Desk) -> None:
    for id in ("a", "b", "c"):
        desk.begin(id)
    summary = desk.json("ls", "--limit", "2")
    assert [each["id"] for each in summary["instances"]] == ["c", "b"]
    assert (summary["more"], summary["counts"]) == (True, {"waiting": 3})
    shown = desk("ls", "--limit", "2").out
    assert "in all: 3 waiting" in shown
    assert "there are more: --limit 20" in shown


def test_ls_takes_several_states_and_a_name(desk: Desk) -> None:
    desk.begin("a")
    assert desk.json("ls", "--status", "failed", "--status", "waiting")["instances"]
    assert not desk.json("ls", "--status", "failed")["instances"]
    assert not desk.json("ls", "--name", "other")["instances"]
    assert desk("ls", "--status", "lost").code == 2
    assert desk("ls", "--limit", "0").code == 2


def test_show_tells_everything_about_an_instance(desk: Desk) -> None:
    desk.begin(
        "a",
        ("load", "step", {"value": "x" * 1000}),
        ("pay", "step", {"error": {"message": "no\x07"}}),
        ("", "void", [2]),
        ("ask", "asked", ASKED),
    )
    shown = desk("show", "a").out
    for text in ("order v1 (workflow)", "waiting", "it waits", "asks 'ask': publish?\\x1b[2J"):
        assert text in shown
    assert "(taken back) failed: no\\x07" in " ".join(shown.split())
    assert "to answer: lexigram-actors answer a VALUE --store sqlite:///flows.db" in shown
    assert "\x1b" not in shown
    assert "x" * 300 not in shown
    summary = desk.json("show", "a", "--limit", "2")
    assert summary["input"] == 7
    assert summary["outcome"] is None
    assert [each["id"] for each in summary["questions"]] == ["ask"]
    assert [each["path"] for each in summary["journal"]] == ["", "ask"]
    assert summary["journal_left_out"] == 2


def test_show_tells_the_outcome(desk: Desk) -> None:
    desk("run", "flows:order", "7", "--id", "a")
    shown = desk("show", "a").out
    assert "step 'pay' failed" in shown
    assert "to try again: lexigram-actors retry a" in shown
    assert desk.json("show", "a")["outcome"]["error"]["code"] == "LEX_ERR_WF_006"


def test_show_tells_who_began_it_and_how_each_question_is_answered(desk: Desk) -> None:
    desk.begin("a", ("x", "asked", ASKED), ("y", "asked", {**ASKED, "schema": None}), parent="p")
    shown = desk("show", "a").out
    assert "begun by" in shown
    for question in ("x", "y"):
        command = f"to answer: lexigram-actors answer a VALUE --question {question}"
        assert command in shown
    assert shown.count('expects "bool"') == 1
    assert shown.count("until 2033-05-1") == 2


def test_show_tells_what_an_approval_takes_for_an_answer(desk: Desk) -> None:
    question = {"prompt": "approve?", "schema": None, "expires_at": None}
    desk.begin("a", ("m/ana", "asked", question), definition=Definition("approval", "expense", 1))
    desk.begin("b", ("ask", "asked", question))
    expected = 'expects {"by": ..., "verdict": "approved" | "rejected" | "delegated"}'
    assert expected in desk("show", "a").out
    assert "expects" not in desk("show", "b").out


def test_show_tells_how_a_paused_instance_goes_on(desk: Desk) -> None:
    desk.begin("a", status=InstanceStatus.PAUSED)
    assert "to go on: lexigram-actors resume a --store" in desk("show", "a").out


def test_a_store_without_instances_is_shown_as_such(desk: Desk) -> None:
    async def nothing(store: Store) -> None:
        await store.instances.count()

    desk.change(nothing)
    assert "there are no instances" in desk("ls").out
    assert "there are no instances" in desk("tree").out
    assert "there are no instances" in desk("doctor").out


def test_tree_draws_children_below_their_parents(desk: Desk) -> None:
    desk.begin("root")
    desk.begin("left", parent="root")
    desk.begin("leaf", parent="left")
    desk.begin("right", parent="root")
    lines = [line.split("  ")[0] for line in desk("tree", "root").out.splitlines()]
    assert lines == ["root", "├─ left", "│", "└─ right"]
    assert [each["id"] for each in desk.json("tree")["instances"]] == [
        "root", "left", "leaf", "right",
    ]  # fmt: skip


# --- posting ---------------------------------------------------------------------------------


def test_what_is_wanted_of_an_instance_is_posted(desk: Desk) -> None:
    desk.begin("a", ("ask", "asked", ASKED))
    assert "is posted to a" in desk("signal", "a", "paid", '{"by": "card"}').out
    assert desk.json("signal", "a", "note", "in words", "--key", "k")["mail"]["key"] == "k"
    assert desk("signal", "a", "bare").code == 0
    assert desk("answer", "a", "-5").code == 0
    assert desk("answer", "a", "-5", "--question", "ask").code == 0  # the same once more
    assert desk("answer", "a", "true").code == 3  # the first counts
    assert desk("pause", "a").code == 0
    assert desk("resume", "a").code == 0
    assert desk("cancel", "a", "--grace", "0").code == 0
    assert desk.mail("a") == [
        ("signal", "paid", {"by": "card"}),
        ("signal", "note", "in words"),
        ("signal", "bare", None),
        ("answer", "ask", -5),
        ("pause", "", None),
        ("resume", "", None),
        ("cancel", "cancelled", {"grace": 0.0}),
    ]


def test_cancel_waits_only_as_long_as_it_was_told(desk: Desk) -> None:
    desk.begin("a")
    done = desk("cancel", "a", "--wait", "0.01")
    assert done.code == 3
    assert "takes effect when a host runs the instance" in " ".join(done.out.split())
    assert desk("cancel", "a", "--wait", "-1").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "nobody"), 2, "no workflow is known as 'nobody'"),
        (("signal", "nobody", "paid"), 2, "no workflow is known as 'nobody'"),
        (("signal", "a", "paid", "{broken"), 2, "PAYLOAD begins as JSON and is none"),
        (("signal", "a", "paid", "9" * 30), 2, "beyond 64 bits"),
        (("answer", "a", "yes"), 3, "asks nothing now"),
        (("answer", "a", "yes", "--question", "x"), 3, "asks nothing now"),
        (("retry", "a"), 3, ""),
        (("delete", "a"), 3, ""),
        (("fork", "a", "--step", "x"), 3, "nothing is recorded at 'x'"),
        (("fork", "a", "--new-id", "a"), 3, ""),
        (("cancel", "a", "--grace", "-1"), 2, "grace"),
    ],
)
def test_what_cannot_be_done_is_one_block(
    desk: Desk, arguments: tuple[str, ...], code: int, says: str
) -> None:
    desk.begin("a")
    done = desk(*arguments)
    assert done.code == code
    assert done.err.startswith("error: ")
    assert says in done.err
    assert "Traceback" not in done.err
    assert desk.json(*arguments)["error"]["code"].startswith("LEX_ERR")


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("sqlite:///nowhere.db", "there is no file"),
        ("memory:", "holds nothing that another process could see"),
        ("flows.db", "it begins with memory: or sqlite:///"),
    ],
)
@pytest.mark.parametrize("name", ["ls", "doctor"])
def test_a_store_that_is_not_there_is_not_made(
    command: Command, workshop: Workshop, store: str, says: str, name: str
) -> None:
    done = command(name, "--store", store)
    assert done.code == 2
    assert says in done.err
    assert workshop.names() == set()


@pytest.mark.parametrize(
    "arguments", [("signal", "m", "pay"), ("cancel", "m"), ("pause", "m"), ("delete", "m")]
)
def test_a_stored_machine_is_told_nothing_that_only_a_host_could_do(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    keep_machine(desk, "m")
    done = desk(*arguments)
    assert done.code == 3
    assert "no host runs it" in done.err
    assert "call transition()" in done.err
    assert desk.mail("m") == []


def keep_machine(desk: Desk, id: str) -> None:
    states = [State("new", {"pay": Transition("pay", "paid")}), State("paid")]

    async def act(store: Store) -> None:
        await StateMachine(states, "new", StoreStatePersistence(store), id).transition("pay")

    desk.change(act)


# --- refusals of a run -----------------------------------------------------------------------


def test_a_problem_with_an_answer_is_said_once() -> None:
    problem = {"problem": "the answer for 'm' does not fit: expected bool\x1b, got " + "x" * 120}
    said = refusal_text(
        [Entry("a/m", "refused", {"problem": ""}), Entry("a/m", "refused", problem)], "a/m"
    )
    assert said == "the answer to 'a/m' does not fit: expected bool\\x1b, got " + "x" * 120
    assert refusal_text([], "m") == "the answer to 'm' does not fit"
    assert refusal_text([Entry("m", "refused", {"problem": "no"})], "m").endswith("fit: no")


def test_an_event_of_a_machine_that_was_refused_is_said_to_be_one() -> None:
    refused = {"event": "open", "state": "closed"}
    failed = {**refused, "error": {"message": "ValueError: jammed"}}
    said = "event 'open' was refused in state 'closed'"
    assert refusal_text([Entry("open", "refused", refused)], "open") == said
    assert refusal_text([Entry("open", "refused", failed)], "open") == f"{said}: ValueError: jammed"


# --- changing --------------------------------------------------------------------------------


def test_a_fork_begins_anew_from_a_step(desk: Desk) -> None:
    desk("run", "flows:order", "7", "--id", "a")
    (desk.folder / "paid").touch()
    assert desk.json("fork", "a", "--step", "pay", "--new-id", "b")["instance"]["id"] == "b"
    assert desk("run", "flows:order", "7", "--id", "b").code == 0
    assert (desk.folder / "loaded").read_text() == "x"


def test_what_has_ended_is_deleted(desk: Desk) -> None:
    desk("run", "flows:order", "7", "--id", "a")
    assert desk("delete", "a").out == "a is deleted\n"
    assert desk("show", "a").code == 2


# --- doctor ----------------------------------------------------------------------------------


def test_doctor_finds_nothing_in_a_store_that_is_well(desk: Desk) -> None:
    (desk.folder / "paid").touch()
    desk("run", "flows:order", "7")
    assert "all is well" in desk("doctor").out
    summary = desk.json("doctor")
    assert (summary["exit_code"], summary["findings"]) == (0, [])
    assert summary["counts"] == {"completed": 1}


def test_doctor_tells_what_failed_and_what_nobody_runs(desk: Desk) -> None:
    desk("run", "flows:order", "7", "--id", "bad")
    desk.begin("a", ("ask", "asked", ASKED))
    summary = desk.json("doctor")
    assert (summary["exit_code"], summary["questions"], summary["host"]) == (1, 1, None)
    said = [each["what"] for each in summary["findings"]]
    assert said == ["1 failed: bad", "1 have not ended, and no host runs: a"]


def test_doctor_misses_no_host_for_a_stored_machine(desk: Desk) -> None:
    keep_machine(desk, "m")
    assert desk.json("doctor")["findings"] == []


def test_doctor_tells_of_a_host_that_has_not_the_definition(desk: Desk) -> None:
    desk.begin("a")

    async def main() -> None:
        async with open_store(STORE) as store:
            await store.instances.enter("other", 60.0)
            done = await trio.to_thread.run_sync(desk.json, "doctor")
            assert done["host"] == "other"
            (finding,) = done["findings"]
            assert "not run by the host that runs: order v1 (workflow)" in finding["what"]
            await store.instances.leave("other")

    trio.run(main)


def test_doctor_finds_a_file_that_others_may_read(desk: Desk) -> None:
    desk.begin("a")
    (desk.folder / "flows.db").chmod(0o644)
    assert any("chmod 600" in each["hint"] for each in desk.json("doctor")["findings"])


def test_doctor_finds_an_instance_that_is_damaged(desk: Desk) -> None:
    desk.begin("a", ("load", "step", {"value": "precious"}))
    desk.begin("b")
    connection = apsw.Connection("flows.db")
    rows = "UPDATE journal SET value = CAST(replace(value, 'precious', 'spurious') AS BLOB)"
    connection.execute(rows)
    connection.close()
    summary = desk.json("doctor")
    said = [each["what"] for each in summary["findings"]]
    assert "what is recorded of a is damaged" in said
    assert summary["exit_code"] == 1


def test_doctor_reads_no_instances_in_a_file_of_an_earlier_version(desk: Desk) -> None:
    connection = apsw.Connection("flows.db")
    apply(connection, MIGRATIONS[:1])
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 1)
    connection.close()
    before = (desk.folder / "flows.db").read_bytes()
    summary = desk.json("doctor")
    assert summary["version"] == 1
    assert any("of an earlier program" in each["what"] for each in summary["findings"])
    assert (desk.folder / "flows.db").read_bytes() == before


def test_doctor_refuses_a_file_that_is_damaged(desk: Desk) -> None:
    desk.begin("a")
    path = desk.folder / "flows.db"
    path.write_bytes(path.read_bytes()[:5000])
    done = desk("doctor")
    assert done.code == 3
    assert "cut off" in done.err
    assert "hint" in done.err


# --- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ('"7"', "7"),
        ("seven", "seven"),
        ("", ""),
        ("NaN", "NaN"),
        ("null", None),
        (" [1] ", [1]),
        (None, None),
    ],
)
def test_a_value_is_json_or_else_the_text_itself(text: str | None, value: Any) -> None:
    assert parse_value("VALUE", text) == value


@pytest.mark.parametrize("text", ["{", "[1,", '"', "[" * 100_000, "[NaN]"])
def test_what_begins_as_json_has_to_be_json(text: str) -> None:
    with pytest.raises(OptionError):
        parse_value("VALUE", text)


def test_a_line_does_nothing_to_the_terminal() -> None:
    assert one_line("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"
    assert len(one_line("x" * 1000)) == 200


def test_a_time_that_no_calendar_has_is_shown_as_a_number() -> None:
    assert time_text(1e300) == "1e+300"


def instance(id: str, parent: str | None = None) -> Instance:
    return Instance(id=id, definition=ORDER, status=InstanceStatus.RUNNING, parent=parent)


def test_a_very_deep_tree_is_drawn() -> None:
    tree = InstanceTree(instance("0"))
    for at in range(1, 3000):
        tree = InstanceTree(instance(str(at)), (tree,))
    assert len(tree_lines(tree)) == 3000


def test_instances_whose_parent_is_not_listed_are_roots() -> None:
    trees = grown([instance("c", "gone"), instance("b", "a"), instance("a")])
    assert [each.instance.id for each in trees] == ["c", "a"]
    assert grown([instance("x", "y"), instance("y", "x")]) == []


def test_the_store_is_made_for_its_owner_alone(desk: Desk) -> None:
    desk("run", "flows:order", "7")
    for path in Path(desk.folder).glob("flows.db*"):
        assert path.stat().st_mode & 0o077 == 0
