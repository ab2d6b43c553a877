"""Data from text files: CSV, TSV and JSON lines, plain or gzipped, streamed in blocks.

The order of rows matters only where two events of one user have the same time: ids get their positions in natural
order. Rows that can't be read are errors with their line, or are counted and left out (`on_bad_row: skip`).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np

from nbarec.components import DataSource, param
from nbarec.data import Dataset, EventColumns, FileReport
from nbarec.errors import DataError
from nbarec.events import Combine
from nbarec.hookspecs import hookimpl
from nbarec.ids import Ids
from nbarec.tables import CategoryColumn
from nbarec_plugins.cells import CellReader, Moments, Numbers, Texts
from nbarec_plugins.readers import Delimited, JsonLines, RowFormat
from nbarec_plugins.source_params import (
    EventsFile,
    ItemsFile,
    ItemTags,
    TagNames,
    UsersFile,
    UserTags,
    column_readers,
)
from nbarec_plugins.tables_in import AttributeTable, TagPairs, TagsCalled, read_rows

MOST_KINDS = int(np.iinfo(np.int16).max)


@dataclass(frozen=True)
class TextSource(DataSource):
    """What the sources that read text files share: their parameters, and the way from columns to a dataset."""

    events: EventsFile = param(doc="The file of events and its columns.")
    items: ItemsFile | None = param(None, doc="The file of items and its columns.")
    users: UsersFile | None = param(None, doc="The file of users and its columns.")
    on_bad_row: Literal["fail", "skip"] = param(
        "fail", doc="Rows that can't be read: fail with their lines, or skip them and count them."
    )

    @abstractmethod
    def row_format(self) -> RowFormat:
        """How a file splits into rows."""

    def load(self) -> Dataset:
        """Events, items and users; `files` says what became of every row.

        Users and items are those of the events and of the tables. Raises DataError naming file, line and reason.
        """
        items, users = self._attributes(self.items, "item"), self._attributes(self.users, "user")
        events = _EventReaders.of(self.events)
        report = self._read(self.events.path, events.all(), "event")
        if not report.accepted:
            advice = "check its columns" if report.rejected else "add events"
            raise DataError("\n  ".join([f"{report.path} has no event that can be used; {advice}", *report.notes]))
        user_ids = Ids.sorted_of(chain(events.user.names(), users.ids))
        item_ids = Ids.sorted_of(chain(events.item.names(), items.ids))
        catalog, item_reports = items.table(item_ids)
        audience, user_reports = users.table(user_ids)
        columns = events.columns(user_ids, item_ids, self.events.path)
        joined = columns.sorted_events(len(user_ids), len(item_ids), Combine())
        dataset = Dataset.of(user_ids, item_ids, joined, catalog, audience)
        return replace(dataset, files=(report, *item_reports, *user_reports))

    def events_from(self, path: str | Path) -> Dataset:
        """The events of another file with the same columns, and no more than they tell of users and items."""
        return self._of_events(replace(self.events, path=Path(path))).load()

    def _of_events(self, events: EventsFile) -> Self:
        return replace(self, events=events, items=None, users=None)

    def _read(self, path: Path, readers: list[CellReader], what: str) -> FileReport:
        return read_rows(self.row_format(), path, readers, what, skip_bad=self.on_bad_row == "skip")

    def _attributes(self, file: ItemsFile | UsersFile | None, what: str) -> AttributeTable:
        if file is None:
            return AttributeTable((), {}, {}, ())
        columns = column_readers(file.columns)
        if file.name:
            columns = {"name": Texts(file.name), **columns}
        ids = Texts(file.id, required=True, unique=True)
        report = self._read(file.path, [*columns.values(), ids], what)
        long = {name: self._pairs(tags) for name, tags in file.long.items()}
        return AttributeTable(ids.names(), columns, long, (report,))

    def _pairs(self, file: ItemTags | UserTags) -> TagPairs:
        ids, tags = Texts(file.key, required=True), Texts(file.value)
        report = self._read(file.path, [ids, tags], "tag")
        return TagPairs(ids, tags, report, None if file.names is None else self._called(file.names))

    def _called(self, file: TagNames) -> TagsCalled:
        tags, names = Texts(file.id, required=True, unique=True), Texts(file.name)
        report = self._read(file.path, [names, tags], "name")
        written = names.names()
        return TagsCalled({tag: written[code] for tag, code in zip(tags.names(), names.codes(), strict=True)}, report)


@dataclass(frozen=True)
class _EventReaders:
    """The readers of an events file; None where its column is not mapped."""

    user: Texts
    item: Texts
    time: Moments | None
    kind: Texts | None
    value: Numbers | None
    further: dict[str, CellReader]

    @classmethod
    def of(cls, file: EventsFile) -> Self:
        fields = file.columns
        lengths = {"seconds": fields.seconds, "length": fields.length}
        return cls(
            user=Texts(fields.user, required=True),
            item=Texts(fields.item, required=True),
            time=Moments(fields.time, required=True) if fields.time else None,
            kind=Texts(fields.kind, required=True) if fields.kind else None,
            value=Numbers(fields.value, required=True) if fields.value else None,
            further={name: Numbers(column) for name, column in lengths.items() if column}
            | column_readers(file.context),
        )

    def all(self) -> list[CellReader]:
        mapped = (self.user, self.item, self.time, self.kind, self.value, *self.further.values())
        return [reader for reader in mapped if reader is not None]

    def columns(self, users: Ids, items: Ids, path: Path) -> EventColumns:
        """The events as they stand in the file; weights are the values, or ones."""
        user = users.index(self.user.names())[self.user.codes()]
        values = self.value.values() if self.value else np.ones(len(user))
        return EventColumns(
            user=user,
            item=items.index(self.item.names())[self.item.codes()],
            weight=values,
            value=values,
            time=self.time.seconds() if self.time else np.zeros(len(user), np.int64),
            kind=self._kinds(path),
            columns={name: reader.finish() for name, reader in self.further.items()},
        )

    def _kinds(self, path: Path) -> CategoryColumn | None:
        if self.kind is None:
            return None
        kinds = self.kind.finish()
        if len(kinds.levels) > MOST_KINDS:
            raise DataError(
                f"{path}: {self.kind.column!r} has {len(kinds.levels):,} kinds of event, more than {MOST_KINDS:,}; "
                "map kind to the column that says what the user did"
            )
        return kinds


@dataclass(frozen=True)
class Csv(TextSource):
    """Comma-separated files with a header (RFC 4180: Shafranovich 2005), `.gz` by name."""

    name: ClassVar[str] = "csv"

    def row_format(self) -> RowFormat:
        """Commas, and double quotes around cells that hold commas, quotes or line breaks."""
        return Delimited(",", quotes=True)


@dataclass(frozen=True)
class Tsv(TextSource):
    """Tab-separated files with a header (IANA text/tab-separated-values, 1993), `.gz` by name."""

    name: ClassVar[str] = "tsv"

    def row_format(self) -> RowFormat:
        """Tabs; a quote is a letter as any other, so that no cell holds a tab or a line break."""
        return Delimited("\t", quotes=False)


@dataclass(frozen=True)
class Jsonl(TextSource):
    """JSON lines: an object a line, whose keys are the columns, `.gz` by name."""

    name: ClassVar[str] = "jsonl"

    def row_format(self) -> RowFormat:
        """Numbers may be JSON numbers or text, flags true or false, multi-valued attributes lists or text."""
        return JsonLines()


@hookimpl
def nbarec_data_sources() -> list[type[DataSource]]:
    """The sources of this file."""
    return [Csv, Tsv, Jsonl]
