"""Text files as blocks of rows: delimited text and JSON lines, plain or gzipped, with the true line of every row."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from nbarec.errors import DataError
from nbarec.progress import Advance, track
from nbarec_plugins.cells import Cell, shown

BLOCK_ROWS = 1_000
"""Rows read at a time: few enough for their cells to stay in cache. Changes no result."""


@dataclass(frozen=True)
class Rejection:
    """A row that is not taken: the line it begins at, from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Block:
    """Consecutive rows: `columns` has the cells of each wanted column, `lines` the line each row begins at
    (to be iterated once at most), `rejected` the rows that could not be split into cells."""

    columns: tuple[Sequence[Cell], ...]
    lines: Iterable[int]
    rejected: Sequence[Rejection] = ()

    @classmethod
    def of(cls, rows: Sequence[Sequence[Cell]], lines: Iterable[int], rejected: Sequence[Rejection] = ()) -> Block:
        """From rows of wanted cells."""
        return cls(tuple(zip(*rows, strict=True)), lines, rejected)


class TextFile:
    """An open file of UTF-8 text; `lines` gives each line with its end, whatever kind of line end it has."""

    def __init__(self, path: Path, raw: BinaryIO, text: io.TextIOWrapper, advance: Advance) -> None:
        self.path = path
        self.lines: Iterator[str] = chain.from_iterable(self._checked(raw, text, advance))
        self.suspect = False
        """Whether a NUL or a broken character was seen so far."""

    def _checked(self, raw: BinaryIO, text: io.TextIOWrapper, advance: Advance) -> Iterator[list[str]]:
        before = 0
        while lines := list(islice(text, BLOCK_ROWS)):
            self.suspect = self.suspect or is_broken("".join(lines))
            position = raw.tell() if raw.seekable() else 0
            advance(position - before)
            before = position
            yield lines


@contextmanager
def open_text(path: Path) -> Iterator[TextFile]:
    """Open `path`, through gzip where its name ends in .gz; a byte order mark is skipped.

    Raises DataError, also from within the block, where the file can't be opened or read.
    """
    with ExitStack() as stack:
        try:
            if path.is_dir():
                raise DataError(f"{path} is a folder; name the file inside it")
            raw = stack.enter_context(open(path, "rb"))
            content: Any = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw
            text = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
            advance = stack.enter_context(track(f"reading {path}", path.stat().st_size))
            yield TextFile(path, raw, stack.enter_context(text), advance)
        except FileNotFoundError:
            raise DataError(f"there is no file {path} in {Path.cwd()}; check the path") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is not a whole gzip file: {error}; fetch or compress it again") from error
        except OSError as error:
            raise DataError(f"{path} can't be read: {error}; check the path and its permissions") from error


def is_broken(text: str) -> bool:
    """Whether a text holds a NUL or bytes that are not UTF-8."""
    if "\0" in text:
        return True
    try:
        return not text.isascii() and not text.encode()
    except UnicodeEncodeError:
        return True


class Wanted(NamedTuple):
    """A column to read: whether its cells may be lists, and whether a row without it is bad."""

    name: str
    may_list: bool
    required: bool


class RowFormat(ABC):
    """How the text of a file splits into rows and cells."""

    @abstractmethod
    def blocks(self, file: TextFile, wanted: Sequence[Wanted]) -> Iterator[Block]:
        """All rows, cut to the `wanted` columns. Raises DataError."""


@dataclass(frozen=True)
class Delimited(RowFormat):
    """A header line, then a row a line. With `quotes` as in RFC 4180; without, a quote is a letter as any other."""

    delimiter: str
    quotes: bool

    def blocks(self, file: TextFile, wanted: Sequence[Wanted]) -> Iterator[Block]:
        """Blocks of rows that have as many cells as the header; empty lines are no rows."""
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE
        reader = csv.reader(file.lines, delimiter=self.delimiter, quoting=quoting, strict=True)
        rows = _rows_of(reader)
        header = _header(file, rows)
        at = [_column(file.path, header, column.name) for column in wanted]
        first = reader.line_num + 1
        while block := list(islice(rows, BLOCK_ROWS)):
            yield _delimited_block(block, first, header, at, file.suspect)
            first = reader.line_num + 1


@dataclass(frozen=True)
class _Unreadable:
    """What stands for a row that the parser refused: why, and the last line it read."""

    reason: str
    last_line: int

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        return iter(())


_Row = list[str] | _Unreadable


def _rows_of(reader: Any) -> Iterator[_Row]:
    """Rows of a csv reader, which starts anew with the next line after one that it refuses."""
    while True:
        try:
            yield from reader
        except csv.Error as error:
            yield _Unreadable(f"the row is not well formed: {error}", reader.line_num)
        else:
            return


def _header(file: TextFile, rows: Iterator[_Row]) -> list[str]:
    header = next((row for row in rows if len(row) or isinstance(row, _Unreadable)), None)
    if header is None:
        raise DataError(f"{file.path} is empty; its first line must name the columns")
    if isinstance(header, _Unreadable):
        raise DataError(f"{file.path}: in the header, {header.reason}")
    if is_broken("".join(header)):
        raise DataError(f"{file.path}: the header is not UTF-8 text; save the file as UTF-8")
    twins = sorted({name for name in header if name and header.count(name) > 1})
    if twins:
        raise DataError(f"{file.path} has more than one column {twins[0]!r}; give each its own name")
    return header


def _column(path: Path, header: Sequence[str], name: str) -> int:
    if name in header:
        return header.index(name)
    raise DataError(f"{path} has no column {name!r}; it has: {_known(header, name)}")


def _known(names: Sequence[str], wanted: str) -> str:
    """The names there are, as an error lists them, and the one that was probably meant."""
    more = ", ..." if len(names) > 30 else ""
    near = difflib.get_close_matches(wanted, names, n=1)
    return ", ".join(names[:30]) + more + (f"; did you mean {near[0]!r}?" if near else "")


def _delimited_block(rows: list[_Row], first: int, header: Sequence[str], at: list[int], suspect: bool) -> Block:
    lines: Iterable[int] = _lines_of(rows, first)
    rejected: list[Rejection] = []
    broken = suspect and is_broken("".join(chain.from_iterable(rows)))
    if broken or set(map(len, rows)) != {len(header)}:
        kept = []
        # Something is wrong in this block: row by row to find where.
        for row, line in zip(rows, lines, strict=True):
            if reason := _fault(row, len(header)):
                rejected.append(Rejection(line, reason))
            elif len(row):
                kept.append((row, line))
        rows, lines = [row for row, _ in kept], [line for _, line in kept]
    columns = tuple(zip(*rows, strict=True))
    return Block(tuple(columns[position] for position in at) if columns else (), lines, rejected)


def _lines_of(rows: Iterable[_Row], first: int) -> Iterator[int]:
    """The line that each row begins at: quoted cells may hold line breaks."""
    line = first
    for row in rows:
        yield line
        if isinstance(row, _Unreadable):
            line = row.last_line + 1
        else:
            line += 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in row)


def _fault(row: _Row, width: int) -> str | None:
    if isinstance(row, _Unreadable):
        return row.reason
    if row and len(row) != width:
        return f"the row has {len(row)} cells and the header {width}"
    return _broken_text("".join(row))


def _broken_text(text: str) -> str | None:
    if "\0" in text:
        return "the row holds a NUL character"
    return "the row holds bytes that are not UTF-8" if is_broken(text) else None


class JsonLines(RowFormat):
    """One JSON object a line; lines without one are no rows."""

    def blocks(self, file: TextFile, wanted: Sequence[Wanted]) -> Iterator[Block]:
        """Blocks of the objects that have every required key; another key that is absent, or null, is a blank cell."""
        first = 1
        while lines := list(islice(file.lines, BLOCK_ROWS)):
            rows, places, rejected = [], [], []
            for place, line in enumerate(lines, first):
                if not line.isspace():
                    try:
                        rows.append(_json_cells(line, wanted))
                        places.append(place)
                    except ValueError as error:
                        rejected.append(Rejection(place, str(error)))
            yield Block.of(rows, places, rejected)
            first += len(lines)


def _json_cells(line: str, wanted: Sequence[Wanted]) -> list[Cell]:
    record = _json_object(line)
    for name, _, required in wanted:
        if required and name not in record:
            raise ValueError(f"the object has no key {name!r}; it has: {_known(list(record), name)}")
    cells = [
        cell if isinstance(cell := record.get(name), str) else _json_text(name, cell, may_list)
        for name, may_list, _ in wanted
    ]
    if not line.isascii() or "\\u" in line:
        texts = "".join(chain.from_iterable(cells))
        if reason := _broken_text(line) or _broken_text(texts):
            raise ValueError(reason)
    return cells


def _json_object(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:  # JSONDecodeError, or a number of more digits than Python takes
        raise ValueError(_broken_text(line) or f"the line is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("the line is nested too deep") from None
    if not isinstance(record, dict):
        raise ValueError(f"the line is {shown(record)}, not an object")
    return record


def _json_text(name: str, cell: Any, many: bool) -> Cell:
    """What a value of JSON, no text, looks like in a text file."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return str(cell)
    if many and isinstance(cell, list):
        return [part if isinstance(part, str) else _json_text(name, part, False) for part in cell]
    raise ValueError(f"{name} is {shown(cell)}; it must be a single value")
