"""The worlds that components are checked in: ordinary ones, and those in which components tend to break.

All but `no_attributes` have the columns of `tiny_world`, and two more of items: `genre` (category) and `energy`
(number); their events have `device` (category) and `hour` (number). Items are called s0, s1, s2, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints64, frozen
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine
from nbarec.ids import Ids
from nbarec.joining import join_datasets
from nbarec.tables import MISSING_DATE, CategoryColumn, Column, DateColumn, NumberColumn, Table
from nbarec.testing.worlds import DAY, NOON, tags_of, tiny_world

ARTISTS = ("ada", "bo", "cleo", None)
GENRES = ("folk", "jazz", "pop", "rock", None)
MOODS = ("calm", "fast", "loud", "warm")
COUNTRIES = ("DE", "FR", None)
DEVICES = ("car", "phone", "tv", None)
KINDS = {"play": 1.0, "like": 3.0, "skip": -0.5}

SECRET = 71
"""Seed of everything that is drawn here."""


@dataclass(frozen=True, eq=False)
class World:
    """A dataset with a name, and what is special about it; equal only to itself."""

    name: str
    data: Dataset
    what: str


@cache
def main_worlds() -> tuple[World, ...]:
    """Ordinary worlds: a component must take part in one of them at least."""
    return (
        World("tiny", tiny_world(), "five users and eight songs, as `tiny_world` documents them"),
        World("busy", _busy(), "twenty users, sixteen items and 150 events of several kinds"),
    )


@cache
def twin_world() -> World:
    """Items 2n and 2n + 1 are the same in all but their ids: whoever has one has the other, at the same moment."""
    rng = np.random.default_rng(SECRET)
    user, song = _pairs(rng, 9, 5, 24)
    user, item = np.repeat(user, 2), np.repeat(2 * song, 2) + np.tile([0, 1], len(song))
    kind = np.repeat(rng.integers(2, size=len(song)), 2)
    time = np.repeat(NOON - DAY * rng.integers(50, size=len(song)), 2)
    data = _dataset(rng, _names("u", 9), _names("s", 10), user, item, kind, time)
    data = replace(data, catalog=data.catalog.take(np.arange(10) // 2 * 2))
    return World("twins", data, "every item has a twin, the same in all but its id")


@cache
def smallest_worlds() -> tuple[World, ...]:
    """One user and one item, and one of either."""
    return (
        World("one_user_one_item", _drawn(1, 1, 1), "one user, one item and one event"),
        World("one_user", _drawn(1, 6, 4), "one user and six items"),
        World("one_item", _drawn(6, 1, 4), "six users and one item"),
    )


@cache
def silent_world() -> World:
    """Users and items, and nothing that ever happened."""
    return World("no_events", _drawn(4, 5, 0), "four users, five items and no event")


@cache
def bare_world() -> World:
    """Events alone: no attributes, no times, no kinds."""
    user, song = _pairs(np.random.default_rng(SECRET), 6, 7, 20)
    data = Dataset.from_arrays(user, [f"s{number}" for number in song])
    return World("no_attributes", data, "events of users and items, of which nothing else is known, not even times")


@cache
def disliked_world() -> World:
    """Nobody likes anything."""
    data = _drawn(5, 6, 18)
    disliked = replace(data.events, weight=frozen(-np.abs(data.events.weight)))
    disliked = replace(disliked, value=disliked.weight)
    return World("only_dislikes", data.with_events(disliked), "all weights are negative")


@cache
def all_worlds() -> tuple[World, ...]:
    """Every world, the main ones first."""
    return (*main_worlds(), twin_world(), *smallest_worlds(), silent_world(), bare_world(), disliked_world())


@cache
def grown(world: World) -> tuple[Dataset, Dataset]:
    """The world with two new users and two new items, and the new events alone: of each of the new ones with each other
    and with a few that were known before, a day later."""
    return join_datasets(world.data, _newcomers(world.data))


def _newcomers(data: Dataset) -> Dataset:
    rng = np.random.default_rng(SECRET)
    users = [*map(str, data.users.take(np.arange(min(2, len(data.users))))), "new_user_1", "new_user_2"]
    items = [*map(str, data.items.take(np.arange(min(3, len(data.items))))), "new_item_1", "new_item_2"]
    user, item = np.divmod(np.arange(len(users) * len(items)), len(items))
    kind = rng.integers(2, size=len(user))
    return _dataset(rng, users, items, user, item, kind, np.full(len(user), data.as_of + DAY))


def _busy() -> Dataset:
    data = _drawn(20, 16, 150)
    # Somebody never did anything, and the last item is new.
    return data.with_events(data.events.where((data.events.row != 7) & (data.events.item != 15)))


def _drawn(users: int, items: int, events: int) -> Dataset:
    """A world drawn at random, and always the same."""
    rng = np.random.default_rng(SECRET)
    user, item = _pairs(rng, users, items, events)
    kind = np.where(rng.random(events) < 0.2, 2, rng.integers(2, size=events))
    if users == items == 1:
        kind[:] = 0  # the only thing that ever happened is something good
    time = NOON - rng.integers(60 * DAY, size=events)
    return _dataset(rng, _names("u", users), _names("s", items), user, item, kind, time)


def _pairs(rng: np.random.Generator, users: int, items: int, events: int) -> tuple[Ints64, Ints64]:
    """Users and items of events; the first items are the popular ones."""
    item = (items * rng.random(events) ** 1.7).astype(np.int64)
    return rng.integers(users, size=events), item


def _dataset(
    rng: np.random.Generator,
    users: Sequence[str],
    items: Sequence[str],
    user: Ints64,
    item: Ints64,
    kind: AnyArray,
    time: AnyArray,
) -> Dataset:
    names = list(KINDS)
    weight = np.array(list(KINDS.values()))[kind]
    context: dict[str, Column] = {
        "device": _categories(rng, DEVICES, len(user)),
        "hour": NumberColumn(frozen(time // 3600 % 24 * 1.0)),
    }
    columns = EventColumns(
        user=user,
        item=item,
        weight=weight,
        value=weight,
        time=time,
        kind=CategoryColumn(frozen(kind.astype(np.int32)), Ids.of(names)),
        columns=context,
    )
    events = columns.sorted_events(len(users), len(items), Combine())
    as_of = None if len(user) else NOON
    return Dataset.of(Ids.of(users), Ids.of(items), events, _songs(rng, len(items)), _people(rng, len(users)), as_of)


def _songs(rng: np.random.Generator, rows: int) -> Table:
    days = rng.integers(2, 900, size=rows)
    released = np.where(rng.random(rows) < 0.1, MISSING_DATE, NOON - DAY * days)
    columns: dict[str, Column] = {
        "artist": _categories(rng, ARTISTS, rows),
        "genre": _categories(rng, GENRES, rows),
        "moods": tags_of([[mood for mood in MOODS if rng.random() < 0.4] for _ in range(rows)]),
        "regions": tags_of([[region for region in ("DE", "FR") if rng.random() < 0.7] for _ in range(rows)]),
        "explicit": NumberColumn(frozen(_some_missing(rng, rng.integers(2, size=rows) * 1.0))),
        "tempo": NumberColumn(frozen(_some_missing(rng, rng.integers(60, 180, size=rows) * 1.0))),
        "energy": NumberColumn(frozen(rng.random(rows).round(2))),
        "released": DateColumn(frozen(released)),
    }
    return Table(rows, columns)


def _people(rng: np.random.Generator, rows: int) -> Table:
    ages = NumberColumn(frozen(_some_missing(rng, rng.integers(13, 80, size=rows) * 1.0)))
    return Table(rows, {"age": ages, "country": _categories(rng, COUNTRIES, rows)})


def _categories(rng: np.random.Generator, levels: Sequence[str | None], rows: int) -> CategoryColumn:
    """One of the levels for each row; all are known, whether or not they occur."""
    known = [level for level in levels if level is not None]
    code = rng.integers(len(levels), size=rows)
    return CategoryColumn(frozen(np.where(code < len(known), code, -1).astype(np.int32)), Ids.of(known))


def _some_missing(rng: np.random.Generator, values: AnyArray) -> Floats64:
    return np.where(rng.random(len(values)) < 0.15, np.nan, values)


def _names(letter: str, number: int) -> list[str]:
    return [f"{letter}{at}" for at in range(number)]
