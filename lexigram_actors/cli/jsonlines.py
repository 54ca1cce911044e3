"""Bytes in, items out: splits JSON lines as they arrive and says exactly where one is broken."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from lexigram_actors.cli.errors import ItemsError

MAX_LINE = 64 * 1024 * 1024
"""Bytes a line may have; a file without line ends must not fill the memory."""
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
            return orjson.loads(text)
        except orjson.JSONDecodeError as problem:
            self._check_encoding(text, offset)
            raise self._error(self.line, offset + problem.colno, problem.msg) from problem

    def _decode_exactly(self, text: bytes, offset: int) -> Any:
        import json

        self._check_encoding(text, offset)
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except json.JSONDecodeError as problem:
            raise self._error(self.line, offset + problem.colno, problem.msg) from problem
        except (ValueError, RecursionError) as problem:
            raise self._error(self.line, offset + 1, str(problem)) from problem

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


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
