"""Damaged files: the right value or a typed error, never a wrong value, never a fresh database."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from lexigram_actors.errors import StoreCorruptedError, StoreVersionError
from lexigram_actors.result import Err, Ok
from lexigram_actors.storage import SQLiteStore
from lexigram_actors.storage.sqlite import opening
from tests.storage.sqlite_files import contents, fill, other_process

VALUES: dict[str, Any] = {
    **{f"small{number}": {"number": number, "text": "x" * number} for number in range(40)},
    **{f"large{number}": f"{number}-" * 3_000 for number in range(4)},
}


@pytest.fixture
async def sound(tmp_path: Path) -> bytes:
    """The bytes of a store with all the values."""
    path = tmp_path / "sound" / "store.db"
    path.parent.mkdir()
    await fill(path, **VALUES)
    connection = other_process(path)
    connection.execute("VACUUM")  # no stale copies of a row for a test to find first
    connection.close()
    return path.read_bytes()


def places(length: int, seed: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield where to flip which bit: all over the header, and at random places behind it."""
    draw = random.Random(seed)
    yield from ((offset, 1 << draw.randrange(8)) for offset in range(110))
    yield from ((draw.randrange(length), 1 << draw.randrange(8)) for _ in range(count))


def without_a_leaf(path: Path) -> bytes:
    """Return the bytes of the file with one page of rows overwritten."""
    connection = other_process(path)
    pages: list[Any] = connection.execute(
        "SELECT pageno FROM dbstat WHERE name = 'cache' AND pagetype = 'leaf' ORDER BY pageno"
    ).fetchall()
    connection.close()
    (number,) = pages[-1]
    data = path.read_bytes()
    return data[: (number - 1) * 4096] + b"\xff" * 4096 + data[number * 4096 :]


async def answers(path: Path) -> list[str]:
    """Return what each key's answer is worth: "right" or "damage"; anything else fails."""
    said = []
    async with SQLiteStore(path, busy_timeout=0.1) as store:
        for key, value in VALUES.items():
            match await store.cache.get(key):
                case Ok(found) if found == value:
                    said.append("right")
                case Err(StoreCorruptedError() as error):
                    assert "damaged" in error.message
                    said.append("damage")
                case answer:
                    pytest.fail(f"{key}: {answer}")
    return said


async def test_a_flipped_bit_is_never_a_wrong_value(tmp_path: Path, sound: bytes) -> None:
    seed = random.randrange(10**6)
    path = tmp_path / "flipped" / "store.db"
    told = {"open": 0, "right": 0, "damage": 0}
    for offset, bit in places(len(sound), seed, 500):
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        damaged = bytearray(sound)
        damaged[offset] ^= bit
        path.write_bytes(damaged)
        where = f"seed {seed}, offset {offset}, bit {bit}"
        try:
            for answer in await answers(path):
                told[answer] += 1
        except (StoreCorruptedError, StoreVersionError):
            told["open"] += 1
            assert contents(path.parent) == {"store.db": bytes(damaged)}, where
        except BaseException as error:
            error.add_note(where)
            raise
    assert all(told.values()), told


async def test_a_damaged_row_names_its_key_and_leaves_the_others(
    tmp_path: Path, sound: bytes
) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(sound.replace(b'"number":7', b'"number":9'))
    async with SQLiteStore(path) as store:
        error = (await store.cache.get("small7")).unwrap_err()
        assert isinstance(error, StoreCorruptedError)
        assert error.details == {"key": "small7"}
        assert "'small7'" in error.message
        assert isinstance((await store.cache.exists("small7")).unwrap_err(), StoreCorruptedError)
        assert await store.cache.get("small8") == Ok(VALUES["small8"])
        # One row is no reason to stop: it can be deleted, or written anew.
        assert await store.cache.set("small7", "new") == Ok(None)
        assert await store.cache.get("small7") == Ok("new")


@pytest.mark.parametrize(
    ("column", "content"),
    [
        ("expires_at", 1e12),
        ("expires_at", 5.0),
        ("value", b'"other"'),
        ("checksum", 0),
        ("key", "b"),
    ],
)
async def test_no_column_of_a_row_can_change_unseen(
    tmp_path: Path, column: str, content: Any
) -> None:
    path = tmp_path / "store.db"
    await fill(path, a="v")
    connection = other_process(path)
    connection.execute(f"UPDATE cache SET {column} = ?", (content,))
    connection.close()
    async with SQLiteStore(path) as store:
        error = (await store.cache.get("b" if column == "key" else "a")).unwrap_err()
        assert "its checksum does not match" in str(error)


async def test_damage_found_at_work_stops_the_writing(
    tmp_path: Path, sound: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CHECKED_WHOLE", 0)  # as if the file were large
    path = tmp_path / "store.db"
    path.write_bytes(sound)
    path.write_bytes(without_a_leaf(path))
    async with SQLiteStore(path) as store:
        read = [await store.cache.get(key) for key in VALUES]
        errors = [answer.unwrap_err() for answer in read if answer.is_err()]
        assert 0 < len(errors) < len(VALUES)
        assert all(isinstance(error, StoreCorruptedError) for error in errors)
        assert ".recover" in str(errors[0])
        for _ in range(2):
            refused = (await store.cache.set("new", 1)).unwrap_err()
            assert isinstance(refused, StoreCorruptedError)
            assert "not written to any more" in str(refused)
        assert await store.cache.exists("new") == Ok(False)
    assert len(path.read_bytes()) == len(sound)


async def test_damage_found_by_a_write_stops_the_writing(
    tmp_path: Path, sound: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CHECKED_WHOLE", 0)
    path = tmp_path / "store.db"
    path.write_bytes(sound)
    path.write_bytes(without_a_leaf(path))
    async with SQLiteStore(path) as store:
        assert isinstance((await store.cache.delete_pattern("*")).unwrap_err(), StoreCorruptedError)
        refused = (await store.cache.delete("absent")).unwrap_err()
        assert "not written to any more" in str(refused)


async def test_a_damaged_file_keeps_its_log(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(sound)
    damaged = without_a_leaf(path)
    path.write_bytes(sound)
    connection = other_process(path)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("DELETE FROM cache WHERE key = 'small1'")
    connection.close()
    path.write_bytes(damaged)
    log = (tmp_path / "store.db-wal").read_bytes()
    assert log
    with pytest.raises(StoreCorruptedError, match="is damaged"):
        async with SQLiteStore(path):
            pass
    assert path.read_bytes() == damaged
    assert (tmp_path / "store.db-wal").read_bytes() == log


async def test_the_check_at_opening_finds_an_index_that_lost_a_key(
    tmp_path: Path, sound: bytes
) -> None:
    path = tmp_path / "store.db"
    last = sound.rindex(b"small12")  # in the index: tables come first
    path.write_bytes(sound[:last] + b"small1\xc3" + sound[last + 7 :])
    with pytest.raises(StoreCorruptedError, match="damaged"):
        async with SQLiteStore(path):
            pass


@pytest.mark.parametrize("inline", [False, True])
async def test_text_that_is_none_is_damage(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "flows.db"
    async with SQLiteStore(path):
        pass
    whole = path.read_bytes()
    assert whole.count(b"outcome_checksum") == 1
    path.write_bytes(whole.replace(b"outcome_checksum", b"outcome_\xe3hecksum"))
    with pytest.raises(StoreCorruptedError, match="damaged"):
        async with SQLiteStore(path, inline=inline):
            pass
