"""Files -> columns: every row is accepted or rejected, and the report says how many and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nbarec.arrays import Bools, Ints64
from nbarec.data import FileReport
from nbarec.errors import DataError
from nbarec.ids import Ids
from nbarec.tables import Table, TagsColumn
from nbarec_plugins.cells import Cell, CellReader, Texts, tags_column
from nbarec_plugins.readers import Block, Rejection, RowFormat, Wanted, open_text

SHOWN_REASONS = 10


@dataclass
class Tally:
    """How many rows of one file were accepted and rejected so far, and why the first of them were not."""

    path: Path
    what: str
    accepted: int = 0
    rejected: int = 0
    reasons: tuple[str, ...] = ()

    def count(self, accepted: int, rejected: Iterable[Rejection]) -> None:
        """Add the rows of one block."""
        in_order = sorted(rejected, key=lambda rejection: rejection.line)
        self.accepted += accepted
        self.rejected += len(in_order)
        room = SHOWN_REASONS - len(self.reasons)
        self.reasons += tuple(f"{self.path}:{bad.line}: {bad.reason}" for bad in in_order[:room])

    def notes(self) -> tuple[str, ...]:
        """The first reasons, and how many more there are."""
        more = self.rejected - len(self.reasons)
        return (*self.reasons, f"and {more:,} more rejected") if more else self.reasons

    def refuse_bad(self) -> None:
        """Raises DataError where a row was rejected."""
        if self.rejected:
            total = self.accepted + self.rejected
            said = f"{self.path}: {self.rejected:,} of {total:,} {self.what} rows can't be read"
            advice = "fix them, or set data.on_bad_row: skip to go on without them"
            raise DataError("\n  ".join([f"{said}; {advice}", *self.notes()]))


def read_rows(
    row_format: RowFormat, path: Path, readers: Sequence[CellReader], what: str, *, skip_bad: bool
) -> FileReport:
    """Read every row of `path` into `readers`, of which one with unique texts must be the last.

    Raises DataError where the file can't be read or, unless `skip_bad`, where any row is bad.
    """
    tally = Tally(path, what)
    wanted = [Wanted(reader.column, reader.lists, reader.required) for reader in readers]
    with open_text(path) as file:
        for block in row_format.blocks(file, wanted):
            _take(block, readers, tally)
    if not skip_bad:
        tally.refuse_bad()
    return FileReport(str(path), what, tally.accepted, tally.rejected, (*tally.notes(), *_missing_cells(readers)))


def _missing_cells(readers: Iterable[CellReader]) -> Iterator[str]:
    for reader in readers:
        if not reader.required and reader.missing:
            yield f"column {reader.column!r}: {reader.missing:,} rows without a value"


def _take(block: Block, readers: Sequence[CellReader], tally: Tally) -> None:
    columns, bad = block.columns, list(block.rejected)
    if columns and (converted := _converted(columns, readers)) is None:
        columns, more = _without_bad(block, readers)
        bad += more
        converted = _converted(columns, readers) if columns else []
        assert converted is not None, "a block is bad although each of its cells is good"
    if columns:
        for reader, part in zip(readers, converted or [], strict=True):
            reader.keep(part)
    tally.count(len(columns[0]) if columns else 0, bad)


def _converted(columns: Sequence[Sequence[Cell]], readers: Sequence[CellReader]) -> list[Any] | None:
    """A block for each reader; None where any cell is bad."""
    try:
        return [reader.convert(cells) for reader, cells in zip(readers, columns, strict=True)]
    except ValueError:
        return None


def _without_bad(block: Block, readers: Sequence[CellReader]) -> tuple[tuple[Sequence[Cell], ...], list[Rejection]]:
    """The columns of the rows whose every cell is good, and the other rows."""
    kept, rejected = [], []
    for line, *row in zip(block.lines, *block.columns, strict=True):
        try:
            for reader, cell in zip(readers, row, strict=True):
                reader.check(cell)
            kept.append(row)
        except ValueError as error:
            rejected.append(Rejection(line, str(error)))
    return tuple(zip(*kept, strict=True)), rejected


@dataclass(frozen=True)
class TagsCalled:
    """What tags are called, and what became of the file that says so."""

    names: Mapping[str, str]
    report: FileReport

    def applied(self, tags: Sequence[str]) -> tuple[list[str], Ints64, FileReport]:
        """The distinct names, which of them each tag has, and the report. A tag without a name keeps its own."""
        called = [self.names.get(tag, "") or tag for tag in tags]
        distinct = {name: at for at, name in enumerate(dict.fromkeys(called))}
        nameless = sum(tag not in self.names for tag in tags)
        note = f"{nameless:,} tags have no name here: they keep their own"
        report = with_note(self.report, note) if nameless else self.report
        return list(distinct), np.array([distinct[name] for name in called], np.int64), report


@dataclass(frozen=True)
class TagPairs:
    """A file in long form: the ids' and the tags' cells, what became of the file, and what the tags are called."""

    ids: Texts
    tags: Texts
    report: FileReport
    called: TagsCalled | None = None

    def column(self, ids: Ids) -> tuple[TagsColumn, tuple[FileReport, ...]]:
        """The tags of each id; the reports say what could not be joined."""
        position = ids.index(self.ids.names())[self.ids.codes()]
        known = position >= 0
        tag, report = self.tags.codes()[known], self._noted(known)
        if self.called is None:
            return tags_column(position[known], tag, self.tags.names(), len(ids)), (report,)
        names, place, about_names = self.called.applied(self.tags.names())
        return tags_column(position[known], place[tag], names, len(ids)), (report, about_names)

    def _noted(self, known: Bools) -> FileReport:
        if known.all():
            return self.report
        strange = len(np.unique(self.ids.codes()[~known]))
        note = f"{(~known).sum():,} rows are of {strange:,} ids that no other file has: not used"
        return with_note(self.report, note)


@dataclass(frozen=True)
class AttributeTable:
    """A table of items or users as read: its ids in file order, its columns, and its files in long form."""

    ids: Sequence[str]
    columns: Mapping[str, CellReader]
    long: Mapping[str, TagPairs]
    reports: tuple[FileReport, ...]

    def table(self, ids: Ids) -> tuple[Table, tuple[FileReport, ...]]:
        """A row for each of `ids`, missing where the file has none, and the reports on its files."""
        row = np.full(len(ids), -1)
        row[ids.index(self.ids)] = np.arange(len(self.ids))
        own = Table(len(self.ids), {name: reader.finish() for name, reader in self.columns.items()}).take(row)
        joined = {name: pairs.column(ids) for name, pairs in self.long.items()}
        columns = {**own.columns, **{name: column for name, (column, _) in joined.items()}}
        reports = self._reports(row)
        return Table(len(ids), columns), (*reports, *chain.from_iterable(told for _, told in joined.values()))

    def _reports(self, row: Ints64) -> tuple[FileReport, ...]:
        absent = int((row < 0).sum())
        if not self.reports or not absent:
            return self.reports
        own, *others = self.reports
        note = f"{absent:,} {own.what}s of the events have no row here: their attributes are missing"
        return (with_note(own, note), *others)


def with_note(report: FileReport, note: str) -> FileReport:
    """The report with one more note."""
    return FileReport(report.path, report.what, report.accepted, report.rejected, (*report.notes, note))
