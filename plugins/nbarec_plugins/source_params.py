"""The `data:` section of a config for sources that are text files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nbarec.params import check_params, param
from nbarec_plugins.cells import CellReader, Flags, Moments, Numbers, Tags, Texts

Kind: TypeAlias = Literal["number", "category", "flag", "date"]

_RESERVED_ATTRIBUTES = ("id", "events")
_RESERVED_CONTEXT = ("user", "item", "time", "kind", "value", "weight", "seconds", "length")
_READERS: Mapping[str, type[CellReader]] = {"number": Numbers, "category": Texts, "flag": Flags, "date": Moments}


@dataclass(frozen=True)
class _Group:
    """A group of parameters inside `data:`, checked alike from YAML and from Python."""

    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class ColumnSpec(_Group):
    """A column in the long way: `{from: genres, many: "|"}` or `{from: bpm, as: number}`."""

    from_: str | None = param(None, key="from", doc="The column's name in the file, where it has another name there.")
    as_: Kind | None = param(None, key="as", doc="What its cells are.")
    many: str | None = param(None, doc="What stands between the values of a cell that holds several.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.as_ is None) == (self.many is None):
            raise ValueError('write one of as: number (or category, flag, date) and many: "|"')
        if self.many == "":
            raise ValueError('many must not be empty; write what stands between the values, such as many: "|"')


Columns: TypeAlias = Mapping[str, Kind | ColumnSpec]


@dataclass(frozen=True)
class EventFields(_Group):
    """Which columns of the events file hold what."""

    user: str = param(doc="The user's id.")
    item: str = param(doc="The item's id.")
    time: str | None = param(None, doc="When: epoch seconds or ISO 8601, UTC where no zone is given.")
    kind: str | None = param(None, doc="What the user did: play, like, skip, ...")
    value: str | None = param(None, doc="The user's own number: a rating, a play count; 1 if left out.")
    seconds: str | None = param(None, doc="How long the user stayed, in seconds.")
    length: str | None = param(None, doc="How long the item is, in seconds.")


@dataclass(frozen=True)
class EventsFile(_Group):
    """What users did: a row an event."""

    path: Path = param(doc="The file, relative to the working directory.")
    columns: EventFields = param(doc="Our names for columns of the file.")
    context: Columns = param({}, doc="Further columns to keep with each event: device: category, hour: number, ...")

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_reserved(self.context, _RESERVED_CONTEXT, "context")


@dataclass(frozen=True)
class _TableFile(_Group):
    path: Path = param(doc="The file, relative to the working directory.")
    id: str = param(doc="The column of ids.")
    columns: Columns = param({}, doc="The attributes: genre: category, tempo: number, explicit: flag, released: date.")
    name: str | None = param(None, doc="The column with what people call it; kept as the column `name`.")


@dataclass(frozen=True)
class TagNames(_Group):
    """A file that says what tags are called: a row a tag."""

    path: Path = param(doc="The file, relative to the working directory.")
    id: str = param(doc="The column of tags as the long form writes them.")
    name: str = param(doc="The column with what people call them.")


@dataclass(frozen=True)
class ItemTags(_Group):
    """A file in long form: a row for each pair of an item and a tag."""

    path: Path = param(doc="The file, relative to the working directory.")
    item: str = param(doc="The column of item ids.")
    value: str = param(doc="The column of tags.")
    names: TagNames | None = param(None, doc="What the tags are called, where their column holds numbers.")

    @property
    def key(self) -> str:
        """The column to join by."""
        return self.item


@dataclass(frozen=True)
class UserTags(_Group):
    """A file in long form: a row for each pair of a user and a tag."""

    path: Path = param(doc="The file, relative to the working directory.")
    user: str = param(doc="The column of user ids.")
    value: str = param(doc="The column of tags.")
    names: TagNames | None = param(None, doc="What the tags are called, where their column holds numbers.")

    @property
    def key(self) -> str:
        """The column to join by."""
        return self.user


@dataclass(frozen=True)
class ItemsFile(_TableFile):
    """What is known of items: a row an item."""

    long: Mapping[str, ItemTags] = param({}, doc="Multi-valued attributes, each from a file in long form.")

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_clashes(self)


@dataclass(frozen=True)
class UsersFile(_TableFile):
    """What is known of users: a row a user."""

    long: Mapping[str, UserTags] = param({}, doc="Multi-valued attributes, each from a file in long form.")

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_clashes(self)


def column_readers(columns: Columns) -> dict[str, CellReader]:
    """A reader for each column, by our name of it."""
    return {name: _reader(name, spec) for name, spec in columns.items()}


def _reader(name: str, spec: Kind | ColumnSpec) -> CellReader:
    if not isinstance(spec, ColumnSpec):
        return _READERS[spec](name)
    column = spec.from_ or name
    return Tags(column, spec.many) if spec.many else _READERS[spec.as_ or ""](column)


def _refuse_reserved(names: Iterable[str], reserved: tuple[str, ...], where: str) -> None:
    taken = sorted(set(names).intersection(reserved))
    if taken:
        raise ValueError(
            f"{where} can't have a column {taken[0]!r}, which has a meaning of its own; "
            f"give it another name: {{from: {taken[0]}, as: ...}}"
        )


def _refuse_clashes(file: ItemsFile | UsersFile) -> None:
    _refuse_reserved([*file.columns, *file.long], _RESERVED_ATTRIBUTES, "columns")
    named = [*file.columns, *file.long, *(["name"] if file.name else [])]
    twins = sorted({name for name in named if named.count(name) > 1})
    if twins:
        raise ValueError(f"the column {twins[0]!r} is declared twice; keep one, or give one another name")
