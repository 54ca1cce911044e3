"""One process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lexigram_actors.cli.errors import OutputBusyError, OutputError, OutputPlaceError
from lexigram_actors.cli.locking import locked

HOLD = """
import sys, time
from pathlib import Path
from lexigram_actors.cli.locking import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert holder.stdout is not None
    holder.stdout.close()


def test_a_lock_file_is_there_while_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with locked(path, "it"):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()


def test_a_second_holder_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    holder = hold(path)
    with pytest.raises(OutputBusyError, match=f"it is in use by process {holder.pid}"):
        with locked(path, "it"):
            pass
    assert path.exists()
    end(holder)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    end(hold(path))
    assert path.exists()
    with locked(path, "it"):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()


def test_the_lock_goes_with_the_block_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with pytest.raises(KeyError), locked(path, "it"):
        raise KeyError
    assert not path.exists()


def test_a_lock_file_that_its_owner_removed_meanwhile_is_not_mistaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "x.lock", fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, how: int) -> None:
        if not calls:
            path.unlink()  # the owner ends between our opening and our locking
        calls.append(descriptor)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(path, "it"):
        assert len(calls) == 2
        assert path.exists()


def test_a_place_for_no_lock_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputPlaceError), locked(tmp_path / "none" / "x.lock", "it"):
        pass


def test_a_file_system_without_locks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OutputError, match="No locks available"):
        with locked(tmp_path / "x.lock", "it"):
            pass
