"""The rules of splits: which events are held out, by time or by chance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Bools, Ints64, rank_in_row
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.moments import moment
from nbarec.params import check_params, param

ROUNDING = 1e-9
"""Added before a share is cut to a whole number, so that 0.29 of 100 events are 29 and not 28; shares that differ by
less are equal."""


@dataclass(frozen=True)
class Split(ABC):
    """A rule for which events are held out. Wrong parameter values raise ValueError at construction."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_params(self)

    @abstractmethod
    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """Which events are held out, in the first fold where there are several: bool [events], in the order of
        `data.events`.

        Raises ConfigError where the data can't be split by this rule.
        """

    @property
    def fold_count(self) -> int:
        """In how many ways the data are cut in two, each to be measured: 1 but for cross-validation."""
        return 1

    def fold_mask(self, data: Dataset, rng: np.random.Generator, fold: int) -> Bools:
        """Which events are held out in this fold, from 0: bool [events]. All folds are those of one partition where
        `rng` stands at the same point for each of them. Raises ConfigError as `test_mask` does."""
        return self.test_mask(data, rng)

    def left_out(self, data: Dataset) -> Bools:
        """Which events stand on neither side, as if they had never happened: bool [events]; none, as a rule."""
        return np.zeros(len(data.events), bool)


@dataclass(frozen=True)
class LastFraction(Split):
    """Each user's last events by time; events of one moment count in the order they came in.

    Of n events floor(fraction * n) are held out, but at least one where n is 2 or more; a user with a single
    event keeps it for training.
    """

    name: ClassVar[str] = "last_fraction"
    fraction: float = param(0.2, gt=0, lt=1, doc="Share of each user's events that is held out.")

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """The last events of each user: bool [events]."""
        _require_times(data, self.name)
        return _last(data.events, _held_out_counts(data.events, self.fraction))


@dataclass(frozen=True)
class LeaveLastOut(Split):
    """The last event of each user with at least two; of several at the last moment, the one that came in last."""

    name: ClassVar[str] = "leave_last_out"

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """The last event of each user: bool [events]."""
        _require_times(data, self.name)
        return _last(data.events, (data.events.counts >= 2).astype(np.int64))


@dataclass(frozen=True)
class GlobalTime(Split):
    """All events from one moment on, that moment included: what a system that starts then would face.

    The moment is `at`, or the one (other than the first) from which on the share of all events comes nearest to
    `fraction`, the later of two that come equally near. Events of one moment are never torn apart.
    """

    name: ClassVar[str] = "global_time"
    at: str | None = param(None, doc="First held-out second: ISO 8601 (UTC unless it has an offset) or epoch seconds.")
    fraction: float | None = param(None, gt=0, lt=1, doc="Share of all events to hold out, without `at`; 0.2.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at is not None:
            try:
                moment(self.at)
            except ValueError as error:
                raise ValueError(f"at is {self.at!r}, which {error}") from None
            if self.fraction is not None:
                raise ValueError("at and fraction both say where to cut; keep one of them")

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """The events from the moment on: bool [events]."""
        _require_times(data, self.name)
        return np.asarray(data.events.time >= self.moment(data.events.time))

    def moment(self, time: Ints64) -> int:
        """The first held-out moment, in seconds since 1970 UTC, for events at `time` int64 [events].

        Raises ConfigError where it is to be found by share and all events are of one moment.
        """
        if self.at is not None:
            return moment(self.at)
        moments, counts = np.unique(time, return_counts=True)
        if len(moments) < 2:
            raise ConfigError("the split global_time can't cut data whose events are all of one moment; use random")
        share = np.cumsum(counts[::-1])[::-1] / len(time)
        distance = np.abs(share[1:] - (0.2 if self.fraction is None else self.fraction))
        return int(moments[1:][distance <= distance.min() + ROUNDING][-1])


@dataclass(frozen=True)
class Random(Split):
    """A random share of each user's events, as many as `last_fraction` takes, whatever their times.

    `min_item_events` is for choosing parameters inside the training part of a published split whose data were filtered
    to a core, that is to items with at least so many events, before they were cut: there an item that is rare in
    training has the more in the test part, and a plain random share of the training part does not look like that. So
    events of items with fewer are left out of both sides first, once; items that are rarer afterwards stay.
    """

    name: ClassVar[str] = "random"
    fraction: float = param(0.2, gt=0, lt=1, doc="Share of each user's events that is held out.")
    min_item_events: int = param(1, ge=1, doc="Events of items that have fewer are left out of both sides.")

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """Events drawn without replacement from each user's: bool [events]."""
        kept = ~self.left_out(data)
        if self.min_item_events > 1 and not kept.any():
            raise ConfigError(
                f"the split random finds no item with {self.min_item_events:,} events; lower min_item_events"
            )
        events = data.events.where(kept)
        shuffled = np.lexsort((rng.random(len(events)), events.row))
        drawn = np.zeros(len(events), bool)
        drawn[shuffled] = _last(events, _held_out_counts(events, self.fraction))
        mask = np.zeros(len(kept), bool)
        mask[kept] = drawn
        return mask

    def left_out(self, data: Dataset) -> Bools:
        """The events of items with fewer than `min_item_events`: bool [events]."""
        return np.asarray(data.item_counts[data.events.item] < self.min_item_events)


@dataclass(frozen=True)
class KFold(Split):
    """Cross-validation (Stone 1974): the events are dealt to folds at random, and each fold is held out once.

    `by: user` deals each user's events evenly, so that numbers of one user's events in two folds differ by at most 1;
    `by: events` deals all events together. Either way the folds' own sizes differ by at most 1, and every event is held
    out exactly once: a user's only event is, too, in a fold where nothing else is known of him.
    """

    name: ClassVar[str] = "k_fold"
    folds: int = param(5, ge=2, doc="How many folds there are.")
    by: Literal["user", "events"] = param("user", doc="Whose events are dealt evenly: each user's, or all together.")
    seed: int | None = param(None, ge=0, doc="The number that the folds depend on; that of the config if left out.")

    @property
    def fold_count(self) -> int:
        """As many as there are folds."""
        return self.folds

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """The events of the first fold: bool [events]."""
        return self.fold_mask(data, rng, 0)

    def fold_mask(self, data: Dataset, rng: np.random.Generator, fold: int) -> Bools:
        """The events of one fold, from 0: bool [events]."""
        return np.asarray(self.fold_of(data, rng) == fold)

    def fold_of(self, data: Dataset, rng: np.random.Generator) -> Ints64:
        """The fold of each event, from 0: int64 [events]."""
        draw = rng if self.seed is None else np.random.default_rng(self.seed)
        events = data.events
        chance = draw.random(len(events))
        # Users come in a random order, so that which fold has one more of a user's events is chance, and not his place.
        turn = draw.permutation(events.rows)[events.row] if self.by == "user" else np.zeros(len(events), np.int64)
        fold = np.empty(len(events), np.int64)
        fold[np.lexsort((chance, turn))] = np.arange(len(events)) % self.folds
        return fold


@dataclass(frozen=True)
class ColdUsers(Split):
    """All events of some users but their first ones: new users, of whom little or nothing is known (strong
    generalisation: Marlin 2004; so many known events of each: Breese, Heckerman and Kadie 1998).

    They are drawn from the users with more than `known` events: floor(fraction * n) of n, but at least one. The first
    events are those by time, or random ones in data without times, and stages are fitted on them like on any other.
    """

    name: ClassVar[str] = "cold_users"
    fraction: float = param(0.2, gt=0, lt=1, doc="Share of the users that are taken as new.")
    known: int = param(0, ge=0, doc="How many of their first events stay in training.")

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """The events of new users after their first ones: bool [events]."""
        events = data.events
        able = np.flatnonzero(events.counts > self.known)
        if not len(able):
            raise ConfigError(f"the split cold_users finds no user with more than {self.known:,} events; lower known")
        new = np.zeros(events.rows, bool)
        new[_drawn(able, self.fraction, rng)] = True
        return np.asarray(new[events.row] & (_places(events, rng) > self.known))


@dataclass(frozen=True)
class ColdItems(Split):
    """All events of some items: new items, with which nothing has happened yet (Schein et al. 2002).

    They are drawn from the items that have events: floor(fraction * n) of n, but at least one. Only stages that go by
    the catalogue can propose them.
    """

    name: ClassVar[str] = "cold_items"
    fraction: float = param(0.2, gt=0, lt=1, doc="Share of the items that are taken as new.")

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """The events of new items: bool [events]."""
        able = np.flatnonzero(data.item_counts)
        new = np.zeros(len(data.items), bool)
        new[_drawn(able, self.fraction, rng)] = True
        return np.asarray(new[data.events.item])


@dataclass(frozen=True)
class Given:
    """Held-out events from a file of their own; nothing of the training data is held out."""

    name: ClassVar[str] = "given"
    path: str = param(doc="File of held-out events, written like the training events.")

    def __post_init__(self) -> None:
        check_params(self)


def _held_out_counts(events: Events, fraction: float) -> Ints64:
    """How many events of each user are held out: int64 [rows]."""
    counts = events.counts
    wanted = np.floor(fraction * counts + ROUNDING).astype(np.int64)
    return np.asarray(np.minimum(np.maximum(wanted, 1), np.maximum(counts - 1, 0)))


def _last(events: Events, held_out: Ints64) -> Bools:
    """The last `held_out` int64 [rows] places of each row: bool [events]."""
    kept = events.counts - held_out
    return np.asarray(rank_in_row(events.indptr) > kept[events.row])


def _drawn(able: Ints64, fraction: float, rng: np.random.Generator) -> Ints64:
    """A share of those that are able, at least one where there is any: int64."""
    return rng.permutation(able)[: share_of(able, fraction)]


def share_of(able: Ints64, fraction: float) -> int:
    """How many make this share of them, cut to a whole number but at least 1."""
    return max(int(fraction * len(able) + ROUNDING), 1)


def _places(events: Events, rng: np.random.Generator) -> Ints64:
    """The how-manieth event of its user each is, from 1; in a random order where there are no times: int64 [events]."""
    places = rank_in_row(events.indptr)
    if events.time.any():
        return places
    shuffled = np.empty_like(places)
    shuffled[np.lexsort((rng.random(len(events)), events.row))] = places
    return shuffled


def _require_times(data: Dataset, name: str) -> None:
    if not data.events.time.any():
        raise ConfigError(f"the split {name} needs times, but the data have no time column; use random")
