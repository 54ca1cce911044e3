"""The commands for instances against odd ids, damage, planted files and secrets."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
import trio

from lexigram_actors.cli.errors import OptionError
from lexigram_actors.cli.stores import command_line, parse_value
from lexigram_actors.storage import Codec, InstanceStatus, NewInstance, open_store
from lexigram_actors.storage.ports import Store
from tests.cli.conftest import Command, Workshop
from tests.cli.test_instances import ORDER, STORE, Desk

HOST_LOCK = "flows.db-host"


@pytest.fixture
def desk(command: Command, workshop: Workshop) -> Desk:
    return Desk(command, workshop)


def findings(desk: Desk) -> list[str]:
    return [each["what"] for each in desk.json("doctor")["findings"]]


def change(desk: Desk, *statements: str) -> None:
    connection = apsw.Connection(str(desk.folder / "flows.db"))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def ended(desk: Desk, id: str) -> None:
    async def act(store: Store) -> None:
        await store.instances.enter("desk", 60.0)
        await store.instances.create(NewInstance(id=id, definition=ORDER, input=7), host="desk")
        await store.instances.end(id, 1, InstanceStatus.COMPLETED, {"ok": 7})
        await store.instances.leave("desk")

    desk.change(act)


# --- odd ids and values --------------------------------------------------------------------------

ODD_IDS = [
    "-x",
    "--ids",
    "-",
    "a b",
    "a\nb",
    "\N{GRINNING FACE}",
    "x" * 512,
    "'; DROP TABLE instances;--",
    "\x1b[31mred",
    "%s{}[bold]",
]


@pytest.mark.parametrize("id", ODD_IDS)
def test_an_odd_id_is_an_id_everywhere(desk: Desk, id: str) -> None:
    (desk.folder / "paid").touch()
    assert desk.json("run", "flows:order", "7", "--id", id)["id"] == id
    assert desk.json("show", id)["instance"]["id"] == id
    assert [each["id"] for each in desk.json("tree", id)["instances"]] == [id]
    assert desk.json("fork", id, "--new-id", f"{id[:500]}-2")["instance"]["parent"] is None
    assert desk.json("delete", id)["deleted"] == id
    assert [each["id"] for each in desk.json("ls")["instances"]] == [f"{id[:500]}-2"]


@pytest.mark.parametrize("id", ODD_IDS)
def test_an_odd_id_does_nothing_to_the_terminal(desk: Desk, id: str) -> None:
    desk.begin(id)
    for arguments in (["ls"], ["show", id], ["tree", id], ["pause", id], ["doctor"]):
        done = desk(*arguments)
        assert done.code == (1 if arguments == ["doctor"] else 0)
        assert "\x1b" not in done.out + done.err


def test_a_command_that_is_shown_for_an_odd_id_can_be_run(desk: Desk) -> None:
    desk.begin("-x y", status=InstanceStatus.PAUSED)
    (hint,) = desk.json("show", "-x y")["next"]
    command = shlex.split(hint.removeprefix("to go on: "))
    assert command[0] == "lexigram-actors"
    assert desk.command(*command[1:]).code == 0
    assert [kind for kind, *_ in desk.mail("-x y")] == ["resume"]


def test_a_number_too_long_to_be_one_is_no_text() -> None:
    for text in ("9" * 5000, "-" + "9" * 5000):
        with pytest.raises(OptionError, match="begins as JSON and is none"):
            parse_value("INPUT", text)
    assert parse_value("INPUT", "--x") == "--x"


def test_an_argument_that_is_too_much_gets_no_hint_of_another_command(desk: Desk) -> None:
    done = desk("show", "a", "b", "c")
    assert done.code == 2
    assert "--items" not in done.err


# --- secrets -------------------------------------------------------------------------------------


SECRETIVE_URLS = [
    "sqlite:///flows.db?key=s3cr3t",
    "postgresql://u:s3cr3t@host/flows",
    "s3cr3t@host",
]
NO_FILE = "sqlite:////u:s3cr3t@host/flows.db"
LOOKING = [["ls"], ["doctor"], ["show", "a"]]
RUNNING = ["run", "flows:order"]


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        *((arguments, url) for arguments in (*LOOKING, RUNNING) for url in SECRETIVE_URLS),
        *((arguments, NO_FILE) for arguments in LOOKING),
    ],
)
def test_what_may_be_secret_in_the_url_of_a_store_is_not_shown(
    desk: Desk, arguments: list[str], url: str
) -> None:
    for flags in ([], ["--json"]):
        done = desk.command(*arguments, "--store", url, *flags)
        assert done.code == 2
        assert "s3cr3t" not in done.out + done.err


# --- values of types that are not known here -----------------------------------------------------


@attrs.frozen
class Money:
    amount: int


def test_values_of_types_that_are_not_known_here_are_shown_and_are_no_damage(desk: Desk) -> None:
    codec = Codec()
    codec.register(Money, name="money")

    async def main() -> None:
        async with open_store(STORE, codec=codec) as store:
            await store.instances.create(
                NewInstance(id="a", definition=ORDER, input={"paid": {Money(3)}})
            )

    trio.run(main)
    shown = desk.json("show", "a")
    assert 'money({\\"amount\\": 3})' in json.dumps(shown["input"])
    assert findings(desk) == ["1 have not ended, and no host runs: a"]


# --- doctor --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE instances SET seed = 's' WHERE id = 'a'",
        "UPDATE instances SET status = 'rum' WHERE id = 'a'",
        "UPDATE instances SET outcome = x'31' WHERE id = 'a'",
        "UPDATE inputs SET value = x'31' WHERE instance = 'a'",
        "DELETE FROM inputs WHERE instance = 'a'",
    ],
)
def test_doctor_finds_damage_in_what_has_ended_too(desk: Desk, damage: str) -> None:
    ended(desk, "a")
    ended(desk, "b")
    change(desk, damage)
    assert findings(desk) == ["what is recorded of a is damaged"]
    assert desk("doctor").code == 1


def test_doctor_finds_text_that_is_none_and_damaged_keys(desk: Desk) -> None:
    async def act(store: Store) -> None:
        (await store.cache.set("k\x1b[2J", 1)).unwrap()

    ended(desk, "a")
    desk.change(act)
    change(
        desk,
        "UPDATE instances SET note = CAST(x'ff' AS TEXT)",
        "UPDATE cache SET checksum = checksum + 1",
    )
    assert findings(desk) == [
        "1 rows in instances are damaged, and no UTF-8",
        "what is stored under k\\x1b[2J is damaged",
    ]


def plant_pipe(path: Path) -> None:
    os.mkfifo(path)


def plant_folder(path: Path) -> None:
    path.mkdir()


def plant_link(path: Path) -> None:
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("plant", [plant_pipe, plant_folder, plant_link])
def test_doctor_says_that_what_stands_in_the_place_of_the_lock_is_none(
    desk: Desk, plant: Any
) -> None:
    ended(desk, "a")
    (desk.folder / HOST_LOCK).unlink()
    plant(desk.folder / HOST_LOCK)
    (finding,) = findings(desk)
    assert finding.startswith("whether a host runs cannot be said: ")
    assert HOST_LOCK in finding


def test_doctor_does_not_say_that_no_host_runs_where_it_may_not_look(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.begin("a")
    open_file = os.open

    def refusing(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("-host"):
            raise PermissionError(13, "Permission denied")
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)
    done = desk("doctor")
    assert done.code == 1
    assert "not known" in done.out
    assert "no host runs" not in done.out


def test_doctor_knows_all_hosts_of_the_process_that_has_the_file(desk: Desk) -> None:
    async def main() -> None:
        async with open_store(STORE) as store:
            for host in ("first", "second"):
                await store.instances.enter(host, 60.0)
                new = NewInstance(id=f"of-{host}", definition=ORDER)
                await store.instances.create(new, host=host)
            assert await trio.to_thread.run_sync(findings, desk) == []
            await store.instances.renew("first", 60.0)

    trio.run(main)


def test_doctor_changes_no_file_and_leaves_none(desk: Desk) -> None:
    ended(desk, "a")
    before = {path.name: path.read_bytes() for path in desk.folder.glob("flows.db*")}
    assert desk("doctor").code == 0
    assert {path.name: path.read_bytes() for path in desk.folder.glob("flows.db*")} == before


def test_doctor_leaves_the_lock_to_who_wants_it(desk: Desk) -> None:
    ended(desk, "a")
    (desk.folder / HOST_LOCK).write_text("1 killed 1700000000\n")
    assert findings(desk) == []
    with (desk.folder / HOST_LOCK).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_command_line_has_its_arguments_quoted() -> None:
    line = command_line("show", "a b; rm -rf /", store=STORE)
    assert shlex.split(line) == ["lexigram-actors", "show", "a b; rm -rf /", "--store", STORE]
