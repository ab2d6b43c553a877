"""The data of the benchmarks: Gowalla's published split, and made-up worlds of any size.

>>> world = made("small", Shape(users=300, items=200, events=4000, tested=50, seed=1))
>>> len(world.train_user) + len(world.test_user) <= 4000
True
"""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from nbarec import Dataset
from nbarec.arrays import Floats64, Ints32, Ints64
from nbarec.data import EventColumns
from nbarec.events import Combine
from nbarec.ids import Ids
from nbarec.tables import Table

VERSION = 1
"""Goes up when `made` draws other worlds, so that old files in the cache are not taken for new ones."""

CACHE = Path(tempfile.gettempdir()) / "nbarec-benchmarks"
"""Where worlds, factors and models are kept between runs, unless a command is told another folder."""

CLUSTERS, INTERESTS = 60, 4
"""How many clusters of items there are, and how many of them a user is drawn to, at most."""

SECOND = 0.4
"""What an item counts in the second of its two clusters, against 1 in the first."""

MAINSTREAM = 0.25
"""The share of events that follow popularity alone, whatever the user is drawn to."""

RANK_SHIFT, RANK_POWER = 30.0, 1.05
"""The popularity of the item of rank r is (r + shift)^-power: the law of Zipf and Mandelbrot, as in MovieLens 20M."""

SPREAD = 1.05
"""Standard deviation of the logarithm of a user's events: few do much, most do little."""

FEWEST, MOST = 8, 0.15
"""Events of a user: at least so many, and at most so large a share of the items."""

SURPLUS = 1.22
"""So many more events are drawn than there shall be: pairs that are drawn twice count once."""

HELD_OUT = 0.2
"""The share of a tested user's events that are held out."""


@dataclass(frozen=True)
class World:
    """Who chose what: distinct pairs of positions, in rows of users by item; int32 each.

    `train_user`, `train_item`: what is learnt from. `test_user`, `test_item`: what is held out to measure quality by.
    """

    name: str
    users: int
    items: int
    train_user: Ints32
    train_item: Ints32
    test_user: Ints32
    test_item: Ints32

    @classmethod
    def of_pairs(cls, name: str, shape: tuple[int, int], train: Ints64, test: Ints64) -> World:
        """From numbers user x items + item, ascending: int64."""
        users, items = shape
        parts = (part.astype(np.int32) for keys in (train, test) for part in np.divmod(keys, items))
        return cls(name, users, items, *parts)

    @classmethod
    def load(cls, path: Path) -> World:
        """What `save` has written."""
        with np.load(path) as arrays:
            users, items = map(int, arrays["shape"])
            return cls(path.stem, users, items, *(arrays[field.name] for field in fields(cls)[3:]))

    def save(self, path: Path) -> None:
        """To one file, which is there as a whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.stem}-{os.getpid()}.npz")
        arrays = {field.name: getattr(self, field.name) for field in fields(self)[3:]}
        np.savez(unfinished, shape=np.array([self.users, self.items]), **arrays)
        unfinished.replace(path)

    @property
    def tested(self) -> Ints64:
        """The users that something is held out of, ascending."""
        return np.unique(self.test_user).astype(np.int64)

    def dataset(self) -> Dataset:
        """The training pairs as the engine holds them: an event of weight 1 each, ids that are the positions."""
        ones = np.ones(len(self.train_user))
        columns = EventColumns(
            user=self.train_user, item=self.train_item, weight=ones, value=ones, time=np.zeros(len(ones))
        )
        events = columns.sorted_events(self.users, self.items, Combine())
        return Dataset.of(_numbered(self.users), _numbered(self.items), events, Table(self.items), Table(self.users))

    def swapped(self) -> World:
        """Users as items and items as users, with nothing held out: neighbours of users are those of its items."""
        nobody = np.empty(0, np.int32)
        return World(self.name, self.items, self.users, self.train_item, self.train_user, nobody, nobody)


def _numbered(count: int) -> Ids:
    return Ids.of_whole_numbers(np.arange(count))[0]


@dataclass(frozen=True)
class Shape:
    """How large a made-up world is: `events` at most, of which `tested` users have some held out."""

    users: int
    items: int
    events: int
    tested: int = 10_000
    seed: int = 0


SHAPES = {
    "synth2m": Shape(100_000, 20_000, 2_000_000),
    "synth10m": Shape(138_000, 27_000, 10_000_000, seed=1),
    "tiny": Shape(600, 400, 12_000, tested=200),
}
"""About as large as MovieLens 20M in users and items, with a tenth and with half of its events; and a smoke test."""

NAMES = ("gowalla", *SHAPES)

GROWTH = "growth-"
"""What the names of worlds of `growth.py` begin with; the number of events follows."""

EVENTS_A_USER = 25
GROWTH_ITEMS, GROWTH_EVENTS = 10_000, 1_000_000
"""A growing world: so many events a user, and so many items at so many events, growing by the square root."""


def shape_of(name: str) -> Shape:
    """The shape of a made-up world by its name. Users grow with the events, each doing as much as before: a service
    grows by its audience. Items grow by the square root, slower: so do catalogues."""
    if not name.startswith(GROWTH):
        return SHAPES[name]
    events = int(name.removeprefix(GROWTH))
    items = round(GROWTH_ITEMS * (events / GROWTH_EVENTS) ** 0.5)
    return Shape(max(events // EVENTS_A_USER, 1), max(items, 10), events)


def world_file(name: str, cache: Path) -> Path:
    """The file of a world, which is read or drawn now if it is not in the cache. Exits where Gowalla is not there."""
    path = cache / f"v{VERSION}" / f"{name}.npz"
    if not path.is_file():
        world = gowalla() if name == "gowalla" else made(name, shape_of(name))
        world.save(path)
    return path


def gowalla_folder() -> Path:
    """Where Gowalla's published split is. Exits where it is not."""
    folder = Path(os.environ.get("NBAREC_DATA", "")) / "gowalla"
    if not (folder / "train.csv.gz").is_file():
        raise SystemExit(
            f"{folder}/train.csv.gz is not there: set NBAREC_DATA to the folder that holds gowalla/train.csv.gz and "
            "gowalla/test.csv.gz (columns user_id, item_id), or use --data synth2m"
        )
    return folder


def gowalla() -> World:
    """Check-ins of 29,858 users at 40,981 places, as split by Wang, He, Wang, Feng, Chua (2019) and used since."""
    train, test = (_pairs(gowalla_folder() / f"{part}.csv.gz") for part in ("train", "test"))
    users, items = (int(largest) + 1 for largest in np.concatenate([train, test]).max(axis=0))
    keys = (np.unique(pairs[:, 0] * items + pairs[:, 1]) for pairs in (train, test))
    return World.of_pairs("gowalla", (users, items), *keys)


def _pairs(path: Path) -> Ints64:
    """The columns user and item of a compressed CSV file: int64 [rows, 2]."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.int64, ndmin=2)


def made(name: str, shape: Shape) -> World:
    """A world like MovieLens 20M: popularity by a power law, activity log-normal, users drawn to clusters of items.

    The same for the same shape. Every step draws for all events at once.
    """
    rng = np.random.default_rng(shape.seed)
    popularity = rng.permutation((np.arange(1, shape.items + 1) + RANK_SHIFT) ** -RANK_POWER)
    user = np.repeat(np.arange(shape.users), _activity(shape, rng))
    item = _chosen(_interest(user, shape.users, rng), popularity, rng)
    keys = np.unique(user * shape.items + item)
    if len(keys) > shape.events:
        lost = rng.choice(len(keys), len(keys) - shape.events, replace=False, shuffle=False)
        keys = np.delete(keys, lost)
    held_out = _held_out(keys // shape.items, shape, rng)
    return World.of_pairs(name, (shape.users, shape.items), keys[~held_out], keys[held_out])


def _activity(shape: Shape, rng: np.random.Generator) -> Ints64:
    """Events of each user: int64 [users]."""
    share = rng.lognormal(0, SPREAD, shape.users)
    wanted = share / share.sum() * shape.events * SURPLUS
    events: Ints64 = np.clip(wanted, FEWEST, max(MOST * shape.items, FEWEST)).astype(np.int64)
    return events


def _interest(user: Ints64, users: int, rng: np.random.Generator) -> Ints64:
    """The cluster that each event comes from, by how much its user is drawn to his few: int64 [events]."""
    cluster = rng.integers(0, CLUSTERS, (users, INTERESTS))
    until = np.cumsum(rng.dirichlet(np.full(INTERESTS, 0.7), users), axis=1)
    drawn = rng.random(len(user))
    which = np.zeros(len(user), np.int64)
    # A step an interest, of which there are four: all events are compared with one column at a time.
    for interest in range(INTERESTS - 1):
        which += drawn > until[:, interest].take(user)
    return cluster.ravel().take(user * INTERESTS + which)


def _chosen(cluster: Ints64, popularity: Floats64, rng: np.random.Generator) -> Ints64:
    """The item of each event: int64 [events]. Within a cluster, as within all items, by popularity.

    One list holds the items of all clusters one after the other, and behind them all items once more as a cluster of
    the mainstream. Their summed popularity, which runs from c to c + 1 in cluster c, is searched for c + a draw.
    """
    items = len(popularity)
    every = np.arange(items)
    member = np.concatenate([rng.integers(0, CLUSTERS, 2 * items), np.full(items, CLUSTERS)])
    item = np.tile(every, 3)
    weight = np.concatenate([popularity, SECOND * popularity, popularity])
    order = np.argsort(member, kind="stable")
    member, item, weight = member[order], item[order], weight[order]
    total = np.bincount(member, weight, CLUSTERS + 1)
    until = np.cumsum(weight / total[member])
    end = np.cumsum(np.bincount(member, minlength=CLUSTERS + 1))
    start = np.append(0, end[:-1])
    there = np.where(rng.random(len(cluster)) < MAINSTREAM, CLUSTERS, cluster)
    there = np.where(start[there] < end[there], there, CLUSTERS)  # in a tiny world a cluster may have no items
    from_here = np.append(0.0, until)[start]
    at = np.searchsorted(until, from_here[there] + rng.random(len(there)), side="right")
    chosen: Ints64 = item[np.clip(at, start[there], end[there] - 1)]
    return chosen


def _held_out(user: Ints64, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Which events are held out, a part of those of the tested users: bool [events]."""
    tested = np.zeros(shape.users, bool)
    tested[rng.choice(shape.users, min(shape.tested, shape.users), replace=False)] = True
    return tested[user] & (rng.random(len(user)) < HELD_OUT)
