"""Where items come from."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import trio

from lexigram_actors.cli import items as items_module
from lexigram_actors.cli.errors import ItemsError
from lexigram_actors.cli.items import ItemSource, LineSource, numbered, open_items
from tests.cli.conftest import Workshop


def read_all(source: ItemSource) -> list[Any]:
    found: list[Any] = []
    while (items := source.read()) is not None:
        found += items
    source.close()
    return found


async def ignore_end(total: int) -> None:
    await trio.lowlevel.checkpoint()


def test_a_file_is_read_in_chunks(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items_module, "CHUNK", 7)
    workshop.items(100)
    assert read_all(open_items("items.jsonl")) == list(range(100))


def test_a_file_can_be_estimated_and_not_known(workshop: Workshop) -> None:
    workshop.items(100)
    source = open_items("items.jsonl")
    assert source.total() is None
    assert source.estimate() == 100
    source.close()


def test_a_huge_file_is_not_counted(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items_module, "MAX_COUNTED", 10)
    workshop.items(100)
    source = open_items("items.jsonl")
    assert source.estimate() is None
    source.close()


def test_a_pattern_gives_sorted_paths_at_any_depth(workshop: Workshop) -> None:
    for name in ("data/b.txt", "data/a.txt", "data/deep/er/c.txt", "data/x.csv"):
        workshop.write(name, "")
    source = open_items("data/**/*.txt")
    assert source.total() == source.estimate() == 3
    assert read_all(source) == ["data/a.txt", "data/b.txt", "data/deep/er/c.txt"]


def test_folders_are_no_matches(workshop: Workshop) -> None:
    workshop.write("data/a/file", "")
    assert read_all(open_items("data/**/*")) == ["data/a/file"]


def test_a_pattern_leaves_out_what_the_command_writes(workshop: Workshop) -> None:
    for name in ("in.jsonl", "out.jsonl", "deep/out.jsonl"):
        workshop.write(name, "")
    source = open_items("**/*.jsonl", [workshop.folder / "out.jsonl"])
    assert read_all(source) == ["deep/out.jsonl", "in.jsonl"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(workshop: Workshop) -> None:
    workshop.write("data[1].jsonl", "7\n")
    assert read_all(open_items("data[1].jsonl")) == [7]


def test_a_pattern_without_a_match_says_where_it_looked(workshop: Workshop) -> None:
    with pytest.raises(ItemsError, match="matches no file in") as caught:
        open_items("*.none")
    assert "**" in str(caught.value.hint)
    with pytest.raises(ItemsError) as caught:
        open_items("**/*.none")
    assert caught.value.hint is None


def test_a_missing_file_names_the_three_forms(workshop: Workshop) -> None:
    with pytest.raises(ItemsError, match="there is no such file") as caught:
        open_items("none.jsonl")
    assert "quoted pattern" in str(caught.value.hint)


def test_a_folder_shows_the_pattern_for_it(workshop: Workshop) -> None:
    workshop.write("data/x", "")
    with pytest.raises(ItemsError, match="is a folder") as caught:
        open_items("data/")
    assert "'data/**/*'" in str(caught.value.hint)


def test_what_cannot_be_opened_or_read_says_why(workshop: Workshop) -> None:
    workshop.write("loop", "")
    os.remove("loop")
    os.symlink("loop", "loop")
    with pytest.raises(ItemsError, match="cannot be opened: Too many levels"):
        open_items("loop")
    folder = os.open(workshop.folder, os.O_RDONLY)
    source = LineSource("folder", folder, is_stream=False)
    with pytest.raises(ItemsError, match="cannot be read: Is a directory"):
        source.read()
    source.close()


async def test_items_are_numbered_and_their_end_is_told_first(workshop: Workshop) -> None:
    workshop.write("items.jsonl", '"a"\n"b"\n')
    told: list[int] = []

    async def at_end(total: int) -> None:
        await trio.lowlevel.checkpoint()
        told.append(total)

    source = open_items("items.jsonl")
    iterator = numbered(source, at_end)
    assert [await anext(iterator), await anext(iterator)] == [[0, "a"], [1, "b"]]
    assert told == []
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)
    assert told == [2]
    source.close()


@pytest.mark.leaves("threads", reason="a read of a silent pipe is abandoned with its thread")
async def test_waiting_for_a_silent_pipe_can_be_cancelled() -> None:
    reading, writing = os.pipe()
    source = LineSource("pipe", reading, is_stream=True)
    iterator = numbered(source, ignore_end)
    with trio.move_on_after(0.05) as scope:
        await anext(iterator)
    assert scope.cancelled_caught
    source.close()
    os.write(writing, b"1\n")  # lets the abandoned thread end
    os.close(writing)
    os.close(reading)


def test_a_named_pipe_is_a_stream(workshop: Workshop) -> None:
    os.mkfifo("fifo")

    def feed() -> None:
        with open("fifo", "wb") as fifo:
            fifo.write(b"1\n2\n")

    writer = threading.Thread(target=feed)
    writer.start()
    source = open_items("fifo")
    assert source.is_stream
    assert source.estimate() is None
    assert read_all(source) == [1, 2]
    writer.join()
    os.close(source._descriptor)  # type: ignore[attr-defined] # streams are closed with the process
