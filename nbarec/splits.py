"""Splits: which events a pipeline learns from, and which are held out to measure it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Ints64, rank_in_row
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.moments import moment
from nbarec.params import check_params, param

ROUNDING = 1e-9
"""Added before a share is cut to a whole number, so that 0.29 of 100 events are 29 and not 28."""


@dataclass(frozen=True)
class Split(ABC):
    """A rule for which events are held out. Wrong parameter values raise ValueError at construction."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_params(self)

    @abstractmethod
    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """Which events are held out: bool [events], in the order of `data.events`.

        Raises ConfigError where the data can't be split by this rule.
        """


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
        return int(moments[len(distance) - np.argmin(distance[::-1])])


@dataclass(frozen=True)
class Random(Split):
    """A random share of each user's events, as many as `last_fraction` takes, whatever their times."""

    name: ClassVar[str] = "random"
    fraction: float = param(0.2, gt=0, lt=1, doc="Share of each user's events that is held out.")

    def test_mask(self, data: Dataset, rng: np.random.Generator) -> Bools:
        """Events drawn without replacement from each user's: bool [events]."""
        events = data.events
        shuffled = np.lexsort((rng.random(len(events)), events.row))
        mask = np.zeros(len(events), bool)
        mask[shuffled] = _last(events, _held_out_counts(events, self.fraction))
        return mask


@dataclass(frozen=True)
class Given:
    """Held-out events from a file of their own; nothing of the training data is held out."""

    name: ClassVar[str] = "given"
    path: str = param(doc="File of held-out events, written like the training events.")

    def __post_init__(self) -> None:
        check_params(self)


SPLITS: Mapping[str, type[Split] | type[Given]] = {
    "last_fraction": LastFraction,
    "leave_last_out": LeaveLastOut,
    "global_time": GlobalTime,
    "random": Random,
    "given": Given,
}
"""Every split by the name that the config uses."""


@dataclass(frozen=True)
class Holdout:
    """Data cut in two. `train` has all users and items but only training events, and its clock stands at the
    latest of them; `test` holds the other events, a row a user, as in `train.events`."""

    train: Dataset
    test: Events
    split: str

    @property
    def user_has_history(self) -> Bools:
        """Whether each user has a training event: bool [users]."""
        return np.asarray(self.train.events.counts > 0)

    @property
    def item_has_history(self) -> Bools:
        """Whether each item has a training event: bool [items]."""
        return np.asarray(self.train.item_counts > 0)

    def describe(self) -> tuple[str, ...]:
        """For people: how many events, users and moments stand on each side, and how much of the held-out part
        has a training history."""
        return (self._events_line(), self._users_line(), self._history_line(), *self._times_lines())

    def _events_line(self) -> str:
        train, test = len(self.train.events), len(self.test)
        return f"split {self.split}: {train + test:,} events = {train:,} training + {test:,} held out"

    def _users_line(self) -> str:
        tested = self.test.counts > 0
        users, known = int(tested.sum()), int((tested & self.user_has_history).sum())
        without = int((~tested & self.user_has_history).sum())
        return (
            f"held-out users: {users:,}, {_percent(known, users)} of them with a training history; "
            f"users with training events alone: {without:,}"
        )

    def _history_line(self) -> str:
        user, item = self.user_has_history[self.test.row], self.item_has_history[self.test.item]
        total = len(self.test)
        return (
            f"held-out events: {_percent(int(user.sum()), total)} by users with a training history, "
            f"{_percent(int(item.sum()), total)} of items with one, {_percent(int((user & item).sum()), total)} both"
        )

    def _times_lines(self) -> tuple[str, ...]:
        sides = (self.train.events.time, self.test.time)
        if not any(time.any() for time in sides):
            return ()
        train, test = map(_span, sides)
        return (f"times: training {train}; held out {test} (UTC)",)


def hold_out(data: Dataset, split: Split, rng: np.random.Generator) -> Holdout:
    """Cut `data` in two. Raises ConfigError where one side would be empty."""
    mask = split.test_mask(data, rng)
    if not mask.any():
        raise ConfigError(f"the split {split.name} holds out none of {len(mask):,} events; use another split")
    if mask.all():
        raise ConfigError(f"the split {split.name} leaves none of {len(mask):,} events to learn from; cut later")
    events = data.events.where(~mask)
    train = replace(data, events=events, as_of=int(events.time.max()))
    return Holdout(train, data.events.where(mask), split.name)


def _held_out_counts(events: Events, fraction: float) -> Ints64:
    """How many events of each user are held out: int64 [rows]."""
    counts = events.counts
    wanted = np.floor(fraction * counts + ROUNDING).astype(np.int64)
    return np.asarray(np.minimum(np.maximum(wanted, 1), np.maximum(counts - 1, 0)))


def _last(events: Events, held_out: Ints64) -> Bools:
    """The last `held_out` int64 [rows] places of each row: bool [events]."""
    kept = events.counts - held_out
    return np.asarray(rank_in_row(events.indptr) > kept[events.row])


def _require_times(data: Dataset, name: str) -> None:
    if not data.events.time.any():
        raise ConfigError(f"the split {name} needs times, but the data have no time column; use random")


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _span(time: Ints64) -> str:
    if not len(time):
        return "none"
    first, last = (np.datetime64(int(moment), "s") for moment in (time.min(), time.max()))
    return f"{first} to {last}"
