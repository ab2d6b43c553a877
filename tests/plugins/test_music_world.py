"""The music world as a data source: what its CSV files hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec.data import Dataset
from nbarec.tables import CategoryColumn, Column, TagsColumn
from nbarec_plugins import music_world, sources
from nbarec_plugins.music_simulation import simulate, write_csv
from nbarec_plugins.music_world import MusicWorldSource, dataset_of
from nbarec_plugins.sources import Csv

SMALL = MusicWorldSource(users=60, songs=40, days=20, seed=7, events_per_user=15)
ATTRIBUTES = {
    **dict.fromkeys(("artist", "album", "genre"), "category"),
    **dict.fromkeys(("tempo", "energy", "danceability", "length_s"), "number"),
    "moods": {"many": "|"},
    "regions": {"many": "|"},
    "released": "date",
    "explicit": "flag",
}
EVENTS = {"user": "user_id", "item": "song_id", "time": "time", "kind": "event", "seconds": "seconds"}
CONTEXT = {"device": "category", "session": "number", "hour": "number", "weekday": "category"}
USERS = {"age": "number", "country": "category", "subscription": "category", "joined": "date"}


def arrays(column: Column) -> list[Any]:
    match column:
        case CategoryColumn(codes, levels):
            return [codes.tolist(), levels.all()]
        case TagsColumn(matrix, levels):
            return [matrix.to_dense().tolist(), levels.all()]
        case _:
            return [repr(next(iter(vars(column).values())).tolist())]


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.users.all() == other.users.all()
    assert one.items.all() == other.items.all()
    assert one.as_of == other.as_of
    for name in ("indptr", "item", "weight", "value", "time", "kind"):
        np.testing.assert_array_equal(getattr(one.events, name), getattr(other.events, name))
    assert one.events.kinds == other.events.kinds
    for mine, others in ((one.catalog, other.catalog), (one.audience, other.audience)):
        assert mine.columns.keys() == others.columns.keys()
        assert {name: arrays(c) for name, c in mine.columns.items()} == {
            name: arrays(c) for name, c in others.columns.items()
        }
    assert all(arrays(column) == arrays(other.events.columns[name]) for name, column in one.events.columns.items())


def test_it_is_what_its_files_hold(tmp_path: Path) -> None:
    paths = write_csv(simulate(60, 40, 20, 7, 15), tmp_path)
    source = Csv(
        events={"path": paths["events"], "columns": EVENTS, "context": CONTEXT},  # type: ignore[arg-type]
        items={"path": paths["songs"], "id": "song_id", "name": "title", "columns": ATTRIBUTES},  # type: ignore[arg-type]
        users={"path": paths["users"], "id": "user_id", "columns": USERS},  # type: ignore[arg-type]
    )
    data = SMALL.load()
    assert_same(source.load(), data)
    assert [(report.what, report.accepted) for report in data.files] == [
        ("event", len(data.events)),
        ("item", 40),
        ("user", 60),
    ]


def test_events_know_how_long_their_song_is() -> None:
    data = SMALL.load()
    length: Any = data.events.columns["length"]
    songs: Any = data.catalog.columns["length_s"]
    np.testing.assert_array_equal(length.values, songs.values[data.events.item])
    seconds: Any = data.events.columns["seconds"]
    assert (seconds.values[~np.isnan(seconds.values)] <= length.values[~np.isnan(seconds.values)]).all()


def test_positions_do_not_depend_on_the_order_of_the_tables() -> None:
    world = simulate(60, 40, 20, 7, 15)
    turned = replace(
        world,
        songs={name: np.roll(column, 7) for name, column in world.songs.items()},
        users={name: np.roll(column, 7) for name, column in world.users.items()},
    )
    assert_same(dataset_of(turned), dataset_of(world))


def test_sources_are_found_by_their_hook() -> None:
    found = [*sources.nbarec_data_sources(), *music_world.nbarec_data_sources()]
    assert [source.name for source in found] == ["csv", "tsv", "jsonl", "music_world"]


def test_the_seed_decides() -> None:
    assert_same(SMALL.load(), SMALL.load())
    assert not np.array_equal(replace(SMALL, seed=8).load().events.item, SMALL.load().events.item)


@pytest.mark.parametrize("wrong", [{"users": 0}, {"days": 0}, {"events_per_user": 0.0}, {"seed": -1}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        MusicWorldSource(**wrong)
