"""The music world as a data source: a seeded simulation, so that a pipeline runs without any file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np

from nbarec.arrays import AnyArray, Ints64, frozen
from nbarec.components import DataSource, param
from nbarec.data import Dataset, EventColumns, FileReport
from nbarec.events import Combine
from nbarec.hookspecs import hookimpl
from nbarec.ids import Ids
from nbarec.tables import CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn
from nbarec_plugins.music_simulation import MusicWorld, simulate
from nbarec_plugins.source_params import Columns, EventFields, EventsFile
from nbarec_plugins.sources import Csv

Make: TypeAlias = Callable[[AnyArray], Column]


@dataclass(frozen=True)
class MusicWorldSource(DataSource):
    """Simulated songs, listeners and listening events, the period ending with 2025-06-30.

    Items have name, artist, album, genre (categories), moods, regions (many), released (date), tempo, energy,
    danceability, length_s, explicit (numbers); users have age (number), country, subscription (categories), joined
    (date); events have a kind (play, skip, like, playlist_add), seconds heard (missing for like and playlist_add),
    length of the song, hour, session (numbers), device and weekday (categories).
    """

    name: ClassVar[str] = "music_world"
    users: int = param(1000, ge=1, doc="Number of listeners; a few of them never listen.")
    songs: int = param(500, ge=1, doc="Number of songs; a few of them are too new to have been heard.")
    days: int = param(90, ge=1, doc="Length of the period.")
    seed: int = param(42, ge=0, doc="The same seed gives the same world.")
    events_per_user: float = param(60.0, gt=0, doc="Mean number of events of a user, about.")

    def load(self) -> Dataset:
        """The world's tables and events; what it hides is not in them."""
        return dataset_of(simulate(self.users, self.songs, self.days, self.seed, self.events_per_user))

    def events_from(self, path: str | Path) -> Dataset:
        """The events of a file as `nbarec generate music` writes them (`events.csv`), with the length of the songs."""
        columns = EventFields(user="user_id", item="song_id", time="time", kind="event", seconds="seconds")
        context: Columns = {"device": "category", "session": "number", "hour": "number", "weekday": "category"}
        found, world = Csv(events=EventsFile(path=Path(path), columns=columns, context=context)).load(), self.load()
        song = world.items.index(found.items.all())
        length = world.catalog.columns["length_s"].take(song).take(found.events.item)
        return found.with_events(replace(found.events, columns={**found.events.columns, "length": length}))


def dataset_of(world: MusicWorld) -> Dataset:
    """The dataset that a simulated world shows; items and users are in the natural order of their ids."""
    items, users = Ids.sorted_of(world.songs["song_id"].tolist()), Ids.sorted_of(world.users["user_id"].tolist())
    song_at, song = _positions(items, world.songs["song_id"], world.events["song_id"])
    user_at, user = _positions(users, world.users["user_id"], world.events["user_id"])
    further = {name: make(world.events[name]) for name, make in EVENT_COLUMNS.items()}
    length = world.songs["length_s"].astype(np.float64)[song_at][song]
    columns = EventColumns(
        user=user,
        item=song,
        weight=np.ones(len(user)),
        value=np.ones(len(user)),
        time=world.events["time"],
        kind=_category(world.events["event"]),
        columns={"seconds": _number(world.events["seconds"]), "length": NumberColumn(frozen(length)), **further},
    )
    events = columns.sorted_events(len(users), len(items), Combine())
    catalog = Table(len(items), {ours: make(world.songs[theirs]) for ours, (theirs, make) in SONG_COLUMNS.items()})
    audience = Table(len(users), {name: make(world.users[name]) for name, make in USER_COLUMNS.items()})
    counts = {"event": len(events), "item": len(items), "user": len(users)}
    dataset = Dataset.of(users, items, events, catalog.take(song_at), audience.take(user_at))
    return replace(dataset, files=tuple(FileReport("music_world", what, rows, 0) for what, rows in counts.items()))


def _positions(ids: Ids, table: AnyArray, events: AnyArray) -> tuple[Ints64, Ints64]:
    """The table's row of every position, and the position of every event."""
    distinct, code = np.unique(events, return_inverse=True)
    return np.argsort(ids.index(table.tolist())), ids.index(distinct.tolist())[code]


def _number(column: AnyArray) -> NumberColumn:
    return NumberColumn(frozen(column.astype(np.float64)))


def _category(column: AnyArray) -> CategoryColumn:
    distinct, code = np.unique(column, return_inverse=True)
    levels = Ids.sorted_of(distinct.tolist())
    return CategoryColumn(frozen(levels.index(distinct.tolist())[code].astype(np.int32)), levels)


def _tags(column: AnyArray) -> TagsColumn:
    split = [cell.split("|") if cell else [] for cell in column.tolist()]
    row = np.repeat(np.arange(len(split)), list(map(len, split)))
    return TagsColumn.of(row, [tag for tags in split for tag in tags], len(split))


def _date(column: AnyArray) -> DateColumn:
    return DateColumn(frozen(column.astype("datetime64[s]").astype(np.int64)))


SONG_COLUMNS: Mapping[str, tuple[str, Make]] = {
    "name": ("title", _category),
    "artist": ("artist", _category),
    "album": ("album", _category),
    "genre": ("genre", _category),
    "moods": ("moods", _tags),
    "regions": ("regions", _tags),
    "released": ("released", _date),
    "tempo": ("tempo", _number),
    "energy": ("energy", _number),
    "danceability": ("danceability", _number),
    "length_s": ("length_s", _number),
    "explicit": ("explicit", _number),
}
USER_COLUMNS: Mapping[str, Make] = {"age": _number, "country": _category, "subscription": _category, "joined": _date}
EVENT_COLUMNS: Mapping[str, Make] = {
    "device": _category,
    "session": _number,
    "hour": _number,
    "weekday": _category,
}


@hookimpl
def nbarec_data_sources() -> list[type[DataSource]]:
    """The source of this file."""
    return [MusicWorldSource]
