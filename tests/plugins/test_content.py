"""Content-based filtering against a slow reference, and on the music example."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates, Request
from nbarec.data import Dataset, EventColumns
from nbarec.errors import ConfigError
from nbarec.events import Combine, Events
from nbarec.ids import Ids
from nbarec.sparse import Csr
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, Table, TagsColumn
from nbarec_plugins.attributes import usable_columns
from nbarec_plugins.content import Content, nbarec_candidate_generators

DATA = Path(os.environ.get("NBAREC_DATA", Path(__file__).parents[3] / "shared/data"))
RNG = np.random.default_rng(0)
Plays = list[tuple[int, int, float]]


def events_of(plays: Plays, users: int, items: int) -> Events:
    user, item, weight = (np.array([row[n] for row in plays]) for n in range(3))
    columns = EventColumns(user.astype(np.int64), item.astype(np.int64), weight, weight, np.zeros(len(plays)))
    return columns.sorted_events(users, items, Combine())


def dataset(catalog: Table, events: Events | None = None) -> Dataset:
    events = events or Events.empty(1, catalog.rows)
    return Dataset.of(Ids.of(range(events.rows)), Ids.of(range(catalog.rows)), events, catalog, Table(events.rows))


def request_for(history: Events, excluded: Csr | None = None) -> Request:
    rows, items = history.rows, history.n_items
    return Request(
        user=np.full(rows, -1, np.int32),
        key=np.zeros(rows, np.uint64),
        history=history,
        excluded=Csr.empty(rows, items) if excluded is None else excluded,
        context={},
        catalog=Table(items),
        audience=Table(rows),
        now=np.zeros(rows, np.int64),
        k=10,
    )


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


def tags(rows: list[list[str]]) -> TagsColumn:
    pairs = [(row, tag) for row, listed in enumerate(rows) for tag in listed]
    return TagsColumn.of(np.array([row for row, _ in pairs], np.int64), [tag for _, tag in pairs], len(rows))


def dates(days: list[int | None]) -> DateColumn:
    return DateColumn(np.array([MISSING_DATE if day is None else day * 86_400 for day in days], np.int64))


@dataclasses.dataclass(frozen=True)
class World:
    """A catalogue as plain lists, to compute with slowly, and plays."""

    tempo: list[float]
    genre: list[str | None]
    moods: list[list[str]]
    released: list[int | None]
    plays: Plays
    users: int

    @property
    def table(self) -> Table:
        columns: dict[str, Column] = {
            "tempo": NumberColumn(np.array(self.tempo)),
            "genre": CategoryColumn.of(self.genre),
            "moods": tags(self.moods),
            "released": dates(self.released),
        }
        return Table(len(self.tempo), columns)

    @property
    def events(self) -> Events:
        return events_of(self.plays, self.users, len(self.tempo))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    items, users, plays = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(0, 15))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    days = [None, *range(draw(st.integers(1, 9)))]
    picks = (
        rng.integers(users, size=plays),
        rng.integers(items, size=plays),
        rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0], size=plays),
    )
    return World(
        tempo=rng.choice([60.5, 90.1, 120.0, np.nan], size=items).tolist(),
        genre=[["rock", "jazz", "folk", None][n] for n in rng.integers(4, size=items)],
        moods=[[mood for mood in "abc" if rng.random() < 0.4] for _ in range(items)],
        released=[days[n] for n in rng.integers(len(days), size=items)],
        plays=list(zip(*(column.tolist() for column in picks), strict=True)),
        users=users,
    )


def vectors(world: World, fields: Mapping[str, float], tfidf: bool) -> list[dict[str, float]]:
    """The reference: one dictionary of named features an item."""
    items = len(world.tempo)
    found: list[dict[str, float]] = [{} for _ in range(items)]
    for name, values in (("tempo", world.tempo), ("released", world.released)):
        known = [float(v) for v in values if v is not None and not math.isnan(v)]
        if name in fields and len(set(known)) > 1:
            mean = sum(known) / len(known)
            deviation = math.sqrt(sum((v - mean) ** 2 for v in known) / len(known))
            for at, v in enumerate(values):
                if v is not None and not math.isnan(v):
                    found[at][name] = fields[name] * (v - mean) / deviation
    for at in range(items):
        if "genre" in fields and world.genre[at]:
            found[at][f"genre {world.genre[at]}"] = fields["genre"]
        if "moods" in fields:
            having = {mood: sum(mood in moods for moods in world.moods) for mood in world.moods[at]}
            raw = {mood: 1 + math.log(items / n) if tfidf else 1.0 for mood, n in having.items()}
            length = math.sqrt(sum(v * v for v in raw.values()))
            found[at].update({f"mood {mood}": fields["moods"] * v / length for mood, v in raw.items()})
    return found


def cosines(world: World, features: list[dict[str, float]]) -> list[dict[int, float]]:
    found = []
    for user in range(world.users):
        profile: dict[str, float] = {}
        for who, item, weight in world.plays:
            if who == user and weight > 0:
                for name, value in features[item].items():
                    profile[name] = profile.get(name, 0.0) + weight * value
        scores = {}
        for item, vector in enumerate(features):
            length = math.hypot(*vector.values()) * math.hypot(*profile.values())
            if length > 1e-9:
                scores[item] = sum(v * profile.get(name, 0.0) for name, v in vector.items()) / length
        found.append(scores)
    return found


WEIGHTS = {"tempo": 2.0, "genre": 0.5, "moods": 1.5, "released": 1.0}


@given(
    world=worlds(),
    names=st.sets(st.sampled_from(sorted(WEIGHTS)), min_size=1),
    tfidf=st.booleans(),
    limit=st.sampled_from([2, 50]),
)
@settings(max_examples=150, deadline=None)
def test_lists_equal_the_reference(world: World, names: set[str], tfidf: bool, limit: int) -> None:
    fields = {name: WEIGHTS[name] for name in sorted(names)}
    model = Content(fields=fields, tfidf=tfidf)
    seen = Csr.from_pairs(np.arange(world.users), np.zeros(world.users, int), None, (world.users, len(world.tempo)))
    found = lists(model.generate(model.fit(dataset(world.table), RNG), request_for(world.events, seen), limit))
    for proposed, scores in zip(found, cosines(world, vectors(world, fields, tfidf)), strict=True):
        scores.pop(0, None)
        largest = max(map(abs, scores.values()), default=0.0)
        order = sorted(scores, key=lambda item: (-round(scores[item] / largest, 8) if largest else 0, item))[:limit]
        if largest > 1e-9:
            assert [item for item, _ in proposed] == order
        np.testing.assert_allclose([s for _, s in proposed], [scores[item] for item in order], rtol=1e-6, atol=1e-7)


@given(world=worlds())
@settings(max_examples=50, deadline=None)
def test_a_batch_changes_no_bit(world: World) -> None:
    model = Content(fields=WEIGHTS)
    state, request = model.fit(dataset(world.table), RNG), request_for(world.events)
    together = lists(model.generate(state, request, 4))
    for user in range(world.users):
        assert lists(model.generate(state, request.take(np.array([user])), 4)) == [together[user]]


def test_the_music_example_is_reproduced() -> None:
    folder = DATA / "seed-music"
    if not folder.exists():
        pytest.skip(f"{folder} is not there; set NBAREC_DATA")
    with (folder / "songs.csv").open() as songs, (folder / "interactions.csv").open() as interactions:
        listed, plays = list(csv.DictReader(songs)), list(csv.DictReader(interactions))
    items, users = Ids.of([row["song_id"] for row in listed]), Ids.sorted_of(row["user_id"] for row in plays)
    numbers = ("tempo", "energy", "danceability", "popularity")
    columns = {name: NumberColumn(np.array([float(row[name]) for row in listed])) for name in numbers}
    levels = {name: CategoryColumn.of([row[name] for row in listed]) for name in ("genre", "artist")}
    user, item = users.index(row["user_id"] for row in plays), items.index(row["song_id"] for row in plays)
    events = events_of(
        [(int(u), int(i), float(row["rating"])) for u, i, row in zip(user, item, plays, strict=True)], len(users), 50
    )
    liked = events.where(events.weight > 0.5)
    model = Content(fields=dict.fromkeys([*columns, *levels], 1.0))
    state = model.fit(dataset(Table(50, {**columns, **levels})), RNG)
    found = lists(model.generate(state, request_for(liked, liked.matrix()), 20))
    expected = json.loads((folder / "expected.json").read_text())["content"]
    assert len(expected) == 100
    for name, proposed in zip(users.texts(range(len(users))), found, strict=True):
        assert items.take([i for i, _ in proposed]) == expected[name], name


def test_items_no_one_touched_are_proposed_and_those_without_features_are_not() -> None:
    table = Table(4, {"genre": CategoryColumn.of(["rock", "rock", None, "jazz"])})
    model = Content(fields={"genre": 1.0})
    (found,) = lists(model.generate(model.fit(dataset(table), RNG), request_for(events_of([(0, 0, 1.0)], 1, 4)), 9))
    assert found == [(0, 1.0), (1, 1.0), (3, 0.0)]


def test_only_liked_events_make_a_profile() -> None:
    table = Table(2, {"genre": CategoryColumn.of(["rock", "jazz"])})
    model = Content(fields={"genre": 1.0})
    state = model.fit(dataset(table), RNG)
    nothing = request_for(events_of([(0, 0, -1.0), (1, 0, 0.0)], 3, 2))
    assert lists(model.generate(state, nothing, 9)) == [[], [], []]
    twice = request_for(events_of([(0, 0, 1.0), (0, 0, 1.0), (0, 1, 1.0), (0, 1, -5.0)], 1, 2))
    (found,) = lists(model.generate(state, twice, 9))
    np.testing.assert_allclose([s for _, s in found], [2 / math.sqrt(5), 1 / math.sqrt(5)], rtol=1e-6)


def test_a_profile_that_cancels_out_points_nowhere() -> None:
    table = Table(3, {"tempo": NumberColumn(np.array([0.1, 0.7, 0.4]))})
    model = Content(fields={"tempo": 1.0})
    request = request_for(events_of([(0, 0, 1.0), (0, 1, 1.0), (1, 0, 1.0)], 2, 3))
    found = lists(model.generate(model.fit(dataset(table), RNG), request, 9))
    assert found[0] == []
    assert found[1] == [(0, 1.0), (1, -1.0)]  # item 2 is the mean: nothing to compare


def test_left_out_fields_are_the_usable_columns() -> None:
    columns: dict[str, Column] = {
        "id": CategoryColumn.of(["a", "b", "c"]),
        "name": CategoryColumn.of(["x", "x", "y"]),
        "isbn": CategoryColumn.of(["1", "2", "3"]),
        "genre": CategoryColumn.of(["rock", "rock", None]),
        "tempo": NumberColumn(np.array([60.0, np.nan, 90.0])),
        "constant": NumberColumn(np.array([0.1, 0.1, 0.1])),
        "released": dates([1, None, 2]),
        "moods": tags([["calm"], ["calm", "sad"], []]),
        "notes": tags([["p"], ["q"], []]),
    }
    table = Table(3, columns)
    assert usable_columns(table) == ["genre", "tempo", "released", "moods"]
    usable = Table(3, {name: columns[name] for name in usable_columns(table)})
    np.testing.assert_array_equal(Content().features_of(table).length, Content().features_of(usable).length)


def test_an_update_follows_the_catalogue() -> None:
    small = Table(2, {"tempo": NumberColumn(np.array([60.0, 90.0]))})
    grown = dataset(Table(3, {"tempo": NumberColumn(np.array([60.0, 90.0, 130.0]))}))
    model = Content()
    updated, refit = model.update(model.fit(dataset(small), RNG), grown, grown), model.fit(grown, RNG)
    np.testing.assert_array_equal(updated.features.numbers, refit.features.numbers)
    np.testing.assert_array_equal(updated.features.length, refit.features.length)


def test_missing_columns_are_named() -> None:
    table = Table(2, {"tempo": NumberColumn(np.array([1.0, 2.0])), "id": CategoryColumn.of(["a", "b"])})
    with pytest.raises(ConfigError, match=r"fields names 'temp'; the items have these columns: tempo, id"):
        Content(fields={"temp": 1.0}).fit(dataset(table), RNG)
    with pytest.raises(ConfigError, match="fields is empty"):
        Content(fields={}).fit(dataset(table), RNG)
    with pytest.raises(ConfigError, match=r"columns: none\); give data.items"):
        Content().fit(dataset(Table(2)), RNG)
    with pytest.raises(ValueError, match="more than 0"):
        Content(fields={"tempo": 0.0})


def test_small_worlds_empty_requests_and_read_only_states(tmp_path: Path) -> None:
    table = Table(1, {"genre": CategoryColumn.of(["rock"]), "moods": tags([["calm"]])})
    model = Content(fields={"genre": 1.0, "moods": 1.0})
    state = model.fit(dataset(table), RNG)
    assert len(model.generate(state, request_for(Events.empty(0, 1)), 5).indptr) == 1
    assert lists(model.generate(state, request_for(events_of([(0, 0, 1.0)], 1, 1)), 100)) == [[(0, 1.0)]]
    features = state.features
    assert not any(array.flags.writeable for array in (features.numbers, features.length, features.levels.value))
    np.save(tmp_path / "length.npy", features.length)
    mapped = np.load(tmp_path / "length.npy", mmap_mode="r")
    state = dataclasses.replace(state, features=dataclasses.replace(features, length=mapped))
    assert lists(model.generate(state, request_for(events_of([(0, 0, 1.0)], 1, 1)), 1)) == [[(0, 1.0)]]
    assert nbarec_candidate_generators() == [Content]
