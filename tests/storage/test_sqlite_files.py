"""The SQLite file: how it is made, who may read it, and which files are refused and left alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from lexigram_actors.errors import StoreCorruptedError, StoreError, StoreVersionError
from lexigram_actors.result import Ok
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.sqlite import creation, opening, schema
from tests.storage.sqlite_files import contents, fill, mode, other_process, worker_of

NEWEST = len(schema.MIGRATIONS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def opening_fails(path: Path, expected: type[StoreError]) -> StoreError:
    """Return the error of opening a store there; the folder must stay as it was, to the byte."""
    before = contents(path.parent)
    with pytest.raises(StoreError) as caught:
        async with SQLiteStore(path, busy_timeout=0.05):
            pytest.fail("it was opened")
    assert type(caught.value) is expected
    assert contents(path.parent) == before
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


# --- making ----------------------------------------------------------------------------------


async def test_a_store_is_made_where_there_is_none_and_found_again(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.cache.set("k", {"a": (1,)})
        assert sorted(contents(path.parent)) == ["store.db", "store.db-shm", "store.db-wal"]
    assert list(contents(path.parent)) == ["store.db"]
    async with SQLiteStore(str(path)) as store:
        assert await store.cache.get("k") == Ok({"a": (1,)})


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_the_files_are_the_owners_alone_whatever_the_umask(path: Path, umask: int) -> None:
    earlier = os.umask(umask)
    try:
        async with SQLiteStore(path) as store:
            await store.cache.set("k", 1)
            assert {mode(file) for file in path.parent.iterdir()} == {0o600}
            assert len(list(path.parent.iterdir())) == 3
    finally:
        os.umask(earlier)


async def test_a_file_is_never_open_to_others_while_it_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: set[int] = set()

    def watched(connection: apsw.Connection, path_: str) -> None:
        schema.migrate(connection, path_)
        modes.update(mode(file) for file in path.parent.iterdir())

    monkeypatch.setattr(creation, "migrate", watched)
    earlier = os.umask(0)
    try:
        await fill(path)
    finally:
        os.umask(earlier)
    assert modes == {0o600}


async def test_the_rights_that_the_owner_gave_stay(path: Path) -> None:
    await fill(path, k=1)
    path.chmod(0o640)
    async with SQLiteStore(path) as store:
        await store.cache.set("k", 2)
        assert mode(path) == mode(path.parent / "store.db-wal") == 0o640


async def test_a_store_whose_making_failed_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: apsw.Connection, path_: str) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(creation, "migrate", full)
    error = await opening_fails(path, StoreError)
    assert "the disk is full" in error.message


async def test_of_two_that_make_the_same_file_the_first_wins(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(source: str, target: str) -> None:
        connection = other_process(source)
        connection.execute("INSERT INTO cache VALUES ('k', x'31', NULL, 0)")
        connection.close()
        link(source, target)  # the other process is faster...
        link(source, target)  # ...and ours comes second

    monkeypatch.setattr(os, "link", late)
    async with SQLiteStore(path) as store:
        assert await store.cache.exists("absent") == Ok(False)
        assert await worker_of(store).read(lambda c: c.execute("SELECT key FROM cache").get) == "k"
    assert list(contents(path.parent)) == ["store.db"]


async def test_a_file_system_without_hard_links_is_a_store_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    error = await opening_fails(path, StoreError)
    assert "Operation not permitted" in error.message


async def test_a_link_to_a_store_is_followed(path: Path, tmp_path: Path) -> None:
    await fill(path, k=1)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with SQLiteStore(link) as store:
        assert await store.cache.get("k") == Ok(1)
        assert not (tmp_path / "link.db-wal").exists()


async def test_a_link_to_nowhere_makes_the_store_there(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    await fill(link, k=1)
    assert link.is_symlink()
    assert path.is_file()


async def test_the_settings_are_what_was_asked_for(path: Path) -> None:
    for synchronous, number in (("full", 2), ("normal", 1)):
        async with SQLiteStore(path, synchronous=synchronous) as store:  # type: ignore[arg-type]
            worker = worker_of(store)
            assert await worker.read(lambda c: c.pragma("synchronous")) == number
            assert await worker.read(lambda c: c.pragma("journal_mode")) == "wal"
            assert await worker.read(lambda c: c.pragma("trusted_schema")) == 0
            assert await worker.read(lambda c: c.pragma("fullfsync")) == (number == 2)


# --- places where there can be none ----------------------------------------------------------


async def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "no" / "such" / "store.db"
    with pytest.raises(StoreError, match="does not exist") as caught:
        async with SQLiteStore(path):
            pass
    assert f"mkdir -p {path.parent}" in str(caught.value)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("kind", ["folder", "fifo"])
async def test_what_is_no_file_is_refused(path: Path, tmp_path: Path, kind: str) -> None:
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(StoreError, match="is no regular file"):
        async with SQLiteStore(path):
            pass


async def test_a_folder_below_a_file_is_refused(path: Path) -> None:
    path.write_bytes(b"x")
    with pytest.raises(StoreError, match=r"the folder .* does not exist"):
        async with SQLiteStore(path / "store.db"):
            pass


AS_NOBODY = """
import os, sys, trio
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.errors import StoreError
import lexigram_actors.storage.sqlite.opening, lexigram_actors.storage.sqlite.worker, orjson
os.setgid(65534); os.setuid(65534)
async def main():
    try:
        async with SQLiteStore(sys.argv[1], busy_timeout=0.1) as store:
            print(await store.cache.set("k", 1))
    except StoreError as error:
        print(type(error).__name__, error)
trio.run(main)
"""


def as_nobody(path: Path) -> str:
    """Return what a user without rights is told."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def public_path(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A path in a folder that other users can reach."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user without rights")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name) / "store.db"


def test_a_folder_that_is_not_writable_is_a_store_error(public_path: Path) -> None:
    said = as_nobody(public_path)
    assert said.startswith("StoreError")
    assert "Permission denied" in said
    assert "rights of this user" in said


async def test_a_file_that_is_not_readable_is_a_store_error(public_path: Path) -> None:
    await fill(public_path)
    said = as_nobody(public_path)
    assert said.startswith("StoreError")
    assert "it cannot be opened" in said
    assert "check the rights" in said


async def test_a_file_that_is_read_only_is_a_store_error(public_path: Path) -> None:
    await fill(public_path)
    before = public_path.read_bytes()
    public_path.chmod(0o644)
    said = as_nobody(public_path)
    assert said.startswith("StoreError")
    assert "read-only" in said
    assert "make both writable" in said
    assert contents(public_path.parent) == {"store.db": before}


async def test_a_writable_file_in_a_read_only_folder_is_a_store_error(public_path: Path) -> None:
    await fill(public_path)
    public_path.chmod(0o666)
    said = as_nobody(public_path)
    assert said.startswith("StoreError")
    assert "beside it" in said


# --- files that are refused --------------------------------------------------------------------


async def test_an_empty_file_was_cut_off(path: Path) -> None:
    path.touch()
    error = await opening_fails(path, StoreCorruptedError)
    assert "delete it and open again" in str(error)


@pytest.mark.parametrize(
    "data",
    [b"x", b"hello world\n" * 100, b"SQLite format 3\0", b"SQLite format 3\0" * 2, b"\0" * 8192],
    ids=["a letter", "text", "magic alone", "magic twice", "zeros"],
)
async def test_a_file_that_is_no_database_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    error = await opening_fails(path, StoreCorruptedError)
    assert "is no SQLite database" in error.message


@pytest.mark.parametrize("wal", [False, True])
async def test_another_programs_database_is_refused(path: Path, wal: bool) -> None:
    connection = other_process(path)
    if wal:
        connection.pragma("journal_mode", "WAL")
    connection.execute("CREATE TABLE cache (key, value)")
    connection.close()
    error = await opening_fails(path, StoreVersionError)
    assert "not one of lexigram_actors" in error.message


async def test_a_newer_database_is_refused(path: Path) -> None:
    await fill(path, k=1)
    connection = other_process(path)
    connection.pragma("user_version", NEWEST + 1)
    connection.close()
    error = await opening_fails(path, StoreVersionError)
    assert (
        f"schema version {NEWEST + 1}, and this lexigram_actors knows versions up to {NEWEST}"
        in error.message
    )
    assert error.hint == "upgrade lexigram_actors"


async def test_a_newer_version_that_is_in_the_log_only_is_refused(path: Path) -> None:
    await fill(path, k=1)
    connection = other_process(path)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("user_version", NEWEST + 1)
    connection.close()
    log = (path.parent / "store.db-wal").read_bytes()
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match=f"schema version {NEWEST + 1}"):
        async with SQLiteStore(path):
            pass
    assert path.read_bytes() == before
    assert (path.parent / "store.db-wal").read_bytes() == log


async def test_a_version_that_there_never_was_is_damage(path: Path) -> None:
    await fill(path, k=1)
    connection = other_process(path)
    connection.pragma("user_version", 0)
    connection.close()
    error = await opening_fails(path, StoreCorruptedError)
    assert "which there never was" in error.message


@pytest.mark.parametrize("kept", [99, 100, 4095, 4096, 5000, 8192, -1])
async def test_a_file_that_was_cut_off_is_refused(path: Path, kept: int) -> None:
    await fill(path, **{f"k{number}": "x" * 5000 for number in range(20)})
    data = path.read_bytes()
    path.write_bytes(data[:kept])
    error = await opening_fails(path, StoreCorruptedError)
    assert "restore a backup" in str(error)


async def test_a_database_that_is_gone_beside_its_log_is_not_made_anew(path: Path) -> None:
    await fill(path, k=1)
    (path.parent / "store.db-wal").write_bytes(b"the log of what was here")
    path.unlink()
    error = await opening_fails(path, StoreCorruptedError)
    assert "store.db-wal is there" in error.message
    assert "move" in str(error.hint)


@pytest.mark.parametrize(
    "statement",
    ["DROP INDEX cache_expiry", "DROP TABLE cache", "ALTER TABLE cache RENAME value TO worth"],
)
async def test_a_changed_table_is_damage(path: Path, statement: str) -> None:
    await fill(path, k=1)
    connection = other_process(path)
    connection.execute(statement)
    connection.close()
    error = await opening_fails(path, StoreCorruptedError)
    assert "the definition of cache" in error.message


async def test_what_an_operator_added_does_no_harm(path: Path) -> None:
    await fill(path, k=1)
    connection = other_process(path)
    connection.execute("CREATE VIEW keys AS SELECT key FROM cache")
    connection.execute("CREATE INDEX by_length ON cache (length(value))")
    connection.close()
    async with SQLiteStore(path) as store:
        assert await store.cache.get("k") == Ok(1)


async def test_a_database_taken_back_to_a_rollback_journal_gets_its_log_again(path: Path) -> None:
    await fill(path, k=1)
    connection = other_process(path)
    assert connection.pragma("journal_mode", "DELETE") == "delete"
    connection.close()
    async with SQLiteStore(path) as store:
        assert await store.cache.get("k") == Ok(1)
        assert await worker_of(store).read(lambda c: c.pragma("journal_mode")) == "wal"


async def test_a_place_that_can_keep_no_log_is_a_store_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, k=1)
    connection = other_process(path)
    connection.pragma("journal_mode", "DELETE")
    connection.close()

    class Stubborn(apsw.Connection):
        def pragma(self, name: str, *rest: Any, **more: Any) -> Any:
            return "delete" if name == "journal_mode" else super().pragma(name, *rest, **more)

    monkeypatch.setattr(apsw, "Connection", Stubborn)
    error = await opening_fails(path, StoreError)
    assert "keeps a delete journal" in error.message
    assert "local disk" in str(error.hint)


# --- migrations --------------------------------------------------------------------------------

NOTES = ("CREATE TABLE notes (text TEXT) STRICT",)


async def test_an_older_database_is_brought_up_to_date_and_keeps_its_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, k=1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NOTES))
    for _ in range(2):
        async with SQLiteStore(path) as store:
            assert await store.cache.get("k") == Ok(1)
            assert await worker_of(store).read(schema.version_of) == NEWEST + 1
            assert (
                await worker_of(store).read(lambda c: c.execute("SELECT * FROM notes").get) is None
            )


async def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, k=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            schema, "MIGRATIONS", (*schema.MIGRATIONS, (*NOTES, "CREATE TABLE cache (x)"))
        )
        with pytest.raises(StoreError, match="already exists"):
            async with SQLiteStore(path):
                pass
    async with SQLiteStore(path) as store:
        assert await store.cache.get("k") == Ok(1)
        assert await worker_of(store).read(schema.version_of) == NEWEST


def another_process_migrates_first(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Have another process bring the file to a version just before ours takes the lock."""
    asked = schema.version_of

    def asked_too_early(connection: apsw.Connection) -> int:
        found = asked(connection)
        if not connection.in_transaction:
            other = other_process(path)
            other.execute(NOTES[0])
            other.pragma("user_version", version)
            other.close()
        return found

    def migrate(connection: apsw.Connection, path_: str) -> None:
        monkeypatch.setattr(schema, "version_of", asked_too_early)
        schema.migrate(connection, path_)

    monkeypatch.setattr(opening, "migrate", migrate)


async def test_a_migration_made_meanwhile_by_another_process_is_not_made_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, k=1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NOTES))
    another_process_migrates_first(path, monkeypatch, NEWEST + 1)
    async with SQLiteStore(path) as store:
        assert await store.cache.get("k") == Ok(1)


async def test_a_newer_process_that_was_here_meanwhile_is_not_undone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, k=1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NOTES))
    another_process_migrates_first(path, monkeypatch, NEWEST + 2)
    with pytest.raises(StoreVersionError, match=f"schema version {NEWEST + 2}"):
        async with SQLiteStore(path):
            pass
    connection = other_process(path)
    assert connection.pragma("user_version") == NEWEST + 2
    connection.close()


async def test_a_migration_whose_transaction_is_gone_is_still_its_own_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, k=1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ROLLBACK", "NONSENSE")))
    with pytest.raises(StoreError, match="NONSENSE"):
        async with SQLiteStore(path):
            pass


async def test_a_file_that_opens_for_reading_only_is_refused(path: Path) -> None:
    await fill(path, k=1)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    with pytest.raises(apsw.ReadOnlyError):
        opening.make_ready(connection, str(path), "full")
    connection.close()


async def test_leaving_a_store_that_is_not_open_is_an_error(path: Path) -> None:
    with pytest.raises(StoreError, match="is not open"):
        await SQLiteStore(path).__aexit__(None, None, None)


# --- opening and closing -------------------------------------------------------------------------


async def test_a_store_can_be_opened_again_but_not_twice(path: Path) -> None:
    store = SQLiteStore(path)
    async with store:
        with pytest.raises(StoreError, match="is open already"):
            await store.__aenter__()
        assert await store.cache.set("k", 1) == Ok(None)
    async with store:
        assert await store.cache.get("k") == Ok(1)


async def test_outside_its_block_a_store_answers_with_an_error(path: Path) -> None:
    store = SQLiteStore(path)
    cache = store.cache
    for _ in range(2):
        error = (await cache.get("k")).unwrap_err()
        assert isinstance(error, StoreError)
        assert "the store is not open" in str(error)
        assert "async with" in str(error)
        assert (await cache.set("k", 1)).is_err()
        assert (await cache.delete_many(["k"])).is_err()
        assert (await cache.exists("k")).is_err()
        async with store:
            assert await cache.set("k", 1) == Ok(None)


async def test_a_store_that_failed_to_open_can_be_opened_when_the_cause_is_gone(path: Path) -> None:
    path.touch()
    store = SQLiteStore(path)
    with pytest.raises(StoreCorruptedError):
        async with store:
            pass
    path.unlink()
    async with store:
        assert await store.cache.set("k", 1) == Ok(None)


def another_process_reads(path: Path) -> None:
    code = (
        "import apsw, sys; apsw.Connection(sys.argv[1]).execute('SELECT * FROM cache').fetchall()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


async def test_two_stores_of_one_process_share_the_file_and_its_locks(path: Path) -> None:
    async with SQLiteStore(path) as first:
        async with SQLiteStore(path) as second:
            assert await first.cache.set("k", 1) == Ok(None)
            assert await second.cache.get("k") == Ok(1)
            assert await second.cache.set("k", 2) == Ok(None)
        # A plain open and close of the file by the second would have dropped the first one's lock,
        # and another process then taken the log away on closing.
        another_process_reads(path)
        assert (path.parent / "store.db-wal").exists()
        assert await first.cache.get("k") == Ok(2)
        assert await first.cache.set("k", 3) == Ok(None)
    async with SQLiteStore(path) as store:
        assert await store.cache.get("k") == Ok(3)
