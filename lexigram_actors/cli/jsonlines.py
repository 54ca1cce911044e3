"""Bytes in, items out: splits JSON lines as they arrive and says exactly where one is broken."""

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any

from lexigram_actors.cli.errors import ItemsError

MAX_LINE = 64 * 1024 * 1024
"""Bytes a line may have; a file without line ends must not fill the memory."""
MAX_DEPTH = 200
"""Lists and objects within one another that an item may have; a writer of JSON takes 254."""
TOO_DEEP = f"lists and objects are nested more than {MAX_DEPTH} deep"
BOM = b"\xef\xbb\xbf"
OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
LONG_NUMBER = re.compile(rb"\d{19}")


class JSONLines:
    """Turns chunks of a stream into items.

    Blank lines are skipped, a byte-order mark and CRLF line ends are tolerated, and the last line
    needs no line end. What a chunk holds before a broken line is handed out before the error.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.line = 0
        self.digest = hashlib.blake2b(digest_size=16)
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._problem: ItemsError | None = None

    def feed(self, chunk: bytes) -> list[Any]:
        """Return the items of the lines that `chunk` completes.

        Raises:
            ItemsError: a line is broken, and all items before it have been returned.
        """
        head, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            self._keep(tail)
            return self._checked([])
        lines = b"".join([*self._rest, head]).split(b"\n")
        self._rest, self._rest_size = [], 0
        self._keep(tail)
        return self._checked(lines)

    def finish(self) -> list[Any]:
        """Return the item of the last line, if it had no line end. Raises as `feed` does."""
        lines = [b"".join(self._rest)] if self._rest else []
        self._rest = []
        return self._checked(lines)

    def _keep(self, tail: bytes) -> None:
        if tail:
            self._rest.append(tail)
            self._rest_size += len(tail)

    def _checked(self, lines: list[bytes]) -> list[Any]:
        if self._problem is not None:
            raise self._problem
        items: list[Any] = []
        try:
            items.extend(self._items(lines))
            self._check_size()
        except ItemsError as problem:
            if not items:
                raise
            self._problem = problem
        return items

    def _items(self, lines: list[bytes]) -> Iterator[Any]:
        for line in lines:
            self.line += 1
            text = line.removeprefix(BOM) if self.line == 1 else line
            text = text.strip()
            if text:
                yield self._decode(text, offset=line.find(text[:1]))
                self.digest.update(text)
                self.digest.update(b"\n")

    def _check_size(self) -> None:
        if self._rest_size > MAX_LINE:
            raise self._error(self.line + 1, 1, f"the line is longer than {MAX_LINE >> 20} MiB")

    def _decode(self, text: bytes, offset: int) -> Any:
        import orjson

        # orjson reads integers beyond 64 bits as floats, which would change the value in silence.
        if LONG_NUMBER.search(text):
            return self._decode_exactly(text, offset)
        try:
            item = orjson.loads(text)
        except orjson.JSONDecodeError as problem:
            self._check_encoding(text, offset)
            raise self._error(self.line, offset + problem.colno, problem.msg) from problem
        return self._checked_depth(item, text, offset)

    def _decode_exactly(self, text: bytes, offset: int) -> Any:
        import json

        self._check_encoding(text, offset)
        try:
            item = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        except json.JSONDecodeError as problem:
            raise self._error(self.line, offset + problem.colno, problem.msg) from problem
        except RecursionError as problem:
            raise self._error(self.line, offset + 1, TOO_DEEP) from problem
        except ValueError as problem:
            raise self._error(self.line, offset + 1, str(problem)) from problem
        return self._checked_depth(item, text, offset)

    def _checked_depth(self, item: Any, text: bytes, offset: int) -> Any:
        # Counting the brackets is quick, and nearly always enough.
        if text.count(b"[") + text.count(b"{") > MAX_DEPTH and is_deeper(item, MAX_DEPTH):
            raise self._error(self.line, offset + 1, TOO_DEEP)
        return item

    def _check_encoding(self, text: bytes, offset: int) -> None:
        try:
            text.decode()
        except UnicodeDecodeError as problem:
            column = offset + len(text[: problem.start].decode()) + 1
            other = OTHER_ENCODINGS.get(text[:2]) if self.line == 1 else None
            looks = f"; the file looks like {other}" if other else ""
            what = f"byte 0x{text[problem.start]:02x} is not valid UTF-8{looks}"
            raise self._error(self.line, column, what) from problem

    def _error(self, line: int, column: int, problem: str) -> ItemsError:
        return ItemsError(
            f"{self.name}, line {line}, column {column}: {problem}.",
            details={"path": self.name, "line": line, "column": column},
            hint="an items file holds one JSON value per line, in UTF-8",
        )


def is_deeper(value: Any, depth: int) -> bool:
    """Say whether lists and dicts stand within one another more than `depth` times."""
    level = [value]
    for _ in range(depth + 1):
        containers = [one for one in level if isinstance(one, dict | list)]
        if not containers:
            return False
        level = [
            inner
            for one in containers
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return True


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
