"""Read by type checkers, run by nobody: what is inferred of the steps of a pipe."""

from __future__ import annotations

from typing import Never, assert_type

from lexigram_actors.pipeline.transform import TransformPipe


def parse(text: str) -> int:
    return int(text)


async def spell(number: int) -> str:
    return str(number)


def scale(number: int, *, factor: int) -> float:
    return number * factor


def is_large(number: int) -> bool:
    return number > 9


async def is_small(number: int) -> bool:
    return number < 9


def log(value: object) -> None: ...


def refuse(exception: Exception, value: object) -> Never:
    raise RuntimeError from exception


async def replace(exception: Exception, value: object) -> bytes:
    return b""


async def pipes() -> None:
    numbers = TransformPipe[str]().pipe(parse)
    assert_type(numbers, TransformPipe[int])
    assert_type(numbers.pipe(spell), TransformPipe[str])
    assert_type(numbers.pipe(scale), TransformPipe[float])
    assert_type(numbers.pipe(lambda number: [number]), TransformPipe[list[int]])
    assert_type(numbers.pipe(TransformPipe[int]().pipe(spell)), TransformPipe[str])
    assert_type(numbers.tap(log), TransformPipe[int])
    assert_type(numbers.tap(spell), TransformPipe[int])
    assert_type(numbers.tap(scale), TransformPipe[int])
    assert_type(numbers.tap(lambda number: [number]), TransformPipe[int])
    assert_type(numbers.tap([0].append), TransformPipe[int])
    assert_type(numbers.pipe_if(is_large, spell), TransformPipe[str | int])
    assert_type(numbers.pipe_if(is_small, scale), TransformPipe[float | int])
    assert_type(numbers.pipe_if(lambda number: number > 9, parse_again), TransformPipe[int])
    assert_type(numbers.catch(refuse), TransformPipe[int])
    assert_type(numbers.catch(lambda exception, value: None), TransformPipe[int | None])
    assert_type(numbers.catch(replace), TransformPipe[bytes | int])
    numbers.pipe(parse)  # type: ignore[arg-type]
    numbers.pipe(lambda number: number.upper())  # type: ignore[attr-defined]
    numbers.pipe_if(parse, spell)  # type: ignore[arg-type]


def parse_again(number: int) -> int:
    return number


async def results() -> None:
    pipe = TransformPipe[str]().pipe(parse)
    assert_type(await pipe.execute("1"), int)
    assert_type(await pipe("1", base=10), int)
    wider: TransformPipe[object] = pipe
    assert_type(await wider("1"), object)
