"""Files of whole lines, also when the disk says no."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lexigram_actors.cli.errors import OutputError, OutputPlaceError
from lexigram_actors.cli.lines import LineFile, mend, sync_folder
from lexigram_actors.cli.reconcile import plan


def test_a_fresh_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "x.partial", final=tmp_path / "x")
    file.write(b"1\n", sync=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x.partial"]
    file.finish()
    assert (tmp_path / "x").read_bytes() == b"1\n"
    assert file.path == tmp_path / "x"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_existing_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1\n")
    file = LineFile(path)
    file.write(b"2\n", sync=True)
    file.close()
    file.close()
    assert path.read_bytes() == b"1\n2\n"


def test_a_write_that_the_disk_takes_in_parts_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    file = LineFile(tmp_path / "x")
    file.write(b"123456789\n", sync=False)
    file.close()
    assert (tmp_path / "x").read_bytes() == b"123456789\n"


def fill_up_after(monkeypatch: pytest.MonkeyPatch, bytes_left: int) -> None:
    """Let the disk be full after so many bytes."""
    real, left = os.write, [bytes_left]

    def write(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)


def test_a_full_disk_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LineFile(tmp_path / "x")
    file.write(b"11111\n", sync=True)
    fill_up_after(monkeypatch, 4)
    with pytest.raises(OutputError, match="No space left") as caught:
        file.write(b"22222\n", sync=True)
    file.close()
    assert (tmp_path / "x").read_bytes() == b"11111\n"
    assert caught.value.hint == "make room on the disk"
    assert caught.value.exit_code == 3


def test_a_full_disk_that_refuses_to_cut_off_too_is_still_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, length: int) -> None:
        raise OSError(errno.EIO, "broken")

    file = LineFile(tmp_path / "x")
    fill_up_after(monkeypatch, 4)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OutputError, match="No space left"):
        file.write(b"22222\n", sync=True)
    file.close()


def test_a_sync_that_fails_takes_the_lines_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = LineFile(tmp_path / "x")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match="Input/output error"):
        file.write(b"1\n", sync=True)
    with pytest.raises(OutputError, match="Input/output error"):
        file.finish()
    assert (tmp_path / "x").read_bytes() == b""


@pytest.mark.parametrize(
    ("place", "hint"),
    [("none/x", "mkdir -p"), ("file/x", "is not a folder"), (".", "not a folder")],
)
def test_a_place_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, place: str, hint: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputPlaceError) as caught:
        LineFile(tmp_path / place)
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == 2


def results(*indexes: int) -> bytes:
    return b"".join(b'{"index":%d,"result":1}\n' % index for index in indexes)


class Recorded:
    batch_size = 1

    def __init__(self, *indexes: int) -> None:
        self.batches = frozenset(indexes)
        self.items = len(indexes)


def mended(path: Path, data: bytes, recorded: Recorded) -> bytes:
    path.write_bytes(data)
    with path.open("rb") as file:
        found = plan(file, recorded)
    mend(path, found)
    return path.read_bytes()


def test_mending_cuts_the_end_off_in_place(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    inode = path.stat().st_ino
    assert mended(path, results(0, 1, 7) + b'{"ind', Recorded(0, 1)) == results(0, 1)
    assert path.stat().st_ino == inode


def test_mending_in_the_midst_writes_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    path.chmod(0o640)
    assert mended(path, results(0, 7, 1, 8, 2), Recorded(0, 1, 2)) == results(0, 1, 2)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [left.name for left in tmp_path.iterdir()] == ["x"]


def test_a_clean_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(results(0))
    before = path.stat().st_mtime_ns
    assert mended(path, results(0), Recorded(0)) == results(0)
    assert path.stat().st_mtime_ns >= before


def test_mending_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "x"
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="No space left"):
        mended(path, results(0, 7, 1), Recorded(0, 1))
    assert path.read_bytes() == results(0, 7, 1)
    assert [left.name for left in tmp_path.iterdir()] == ["x"]


def test_a_name_that_cannot_be_given_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    file = LineFile(tmp_path / "x.partial", final=tmp_path / "x")
    with pytest.raises(OutputPlaceError, match="x cannot be written: Is a directory"):
        file.finish()
    assert (tmp_path / "x.partial").exists()


def test_a_pipe_is_written_without_being_brought_to_the_disk() -> None:
    reading, writing = os.pipe()
    file = LineFile(Path(f"/dev/fd/{writing}"))
    os.close(writing)
    file.write(b"1\n", sync=True)
    file.finish()
    assert os.read(reading, 10) == b"1\n"
    os.close(reading)


def test_a_folder_can_be_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path)
