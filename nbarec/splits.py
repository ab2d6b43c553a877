"""Splits: which events a pipeline learns from, and which are held out to measure it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import Bools, Ints64
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.split_rules import (
    ColdItems,
    ColdUsers,
    Given,
    GlobalTime,
    KFold,
    LastFraction,
    LeaveLastOut,
    Random,
    Split,
)

__all__ = [
    "SPLITS",
    "ColdItems",
    "ColdUsers",
    "Given",
    "GlobalTime",
    "Holdout",
    "KFold",
    "LastFraction",
    "LeaveLastOut",
    "Random",
    "Split",
    "hold_out",
]

SPLITS: Mapping[str, type[Split] | type[Given]] = {
    "last_fraction": LastFraction,
    "leave_last_out": LeaveLastOut,
    "global_time": GlobalTime,
    "random": Random,
    "k_fold": KFold,
    "cold_users": ColdUsers,
    "cold_items": ColdItems,
    "given": Given,
}
"""Every split by the name that the config uses."""


@dataclass(frozen=True)
class Holdout:
    """Data cut in two. `train` has all users and items but only training events, and its clock stands at the
    latest of them; `test` holds the held-out events, a row a user, as in `train.events`. `left_out` events are on
    neither side. It is number `fold`, from 0, of `folds` of one partition."""

    train: Dataset
    test: Events
    split: str
    left_out: int = 0
    fold: int = 0
    folds: int = 1

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
        fold = f", fold {self.fold + 1} of {self.folds}" if self.folds > 1 else ""
        counts = f"{train + test + self.left_out:,} events = {train:,} training + {test:,} held out"
        return f"split {self.split}{fold}: {counts}" + (f" + {self.left_out:,} left out" if self.left_out else "")

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


def hold_out(data: Dataset, split: Split, rng: np.random.Generator, fold: int = 0) -> Holdout:
    """Cut `data` in two; of a split with folds, number `fold`, from 0.

    The folds of one partition need an `rng` that stands at the same point for each of them, such as a new one of the
    same seed. Raises ConfigError where one side would be empty, ValueError where there is no such fold.
    """
    if not 0 <= fold < split.fold_count:
        raise ValueError(f"the split {split.name} has the folds 0 to {split.fold_count - 1}, and none of number {fold}")
    mask, left_out = split.fold_mask(data, rng, fold), split.left_out(data)
    known = ~(mask | left_out)
    if not mask.any():
        raise ConfigError(f"the split {split.name} holds out none of {len(mask):,} events; use another split")
    if not known.any():
        raise ConfigError(f"the split {split.name} leaves none of {len(mask):,} events to learn from; hold out fewer")
    events = data.events.where(known)
    train = replace(data, events=events, as_of=int(events.time.max()))
    test, absent = data.events.where(mask), int(np.count_nonzero(left_out))
    return Holdout(train, test, split.name, absent, fold, split.fold_count)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _span(time: Ints64) -> str:
    if not len(time):
        return "none"
    first, last = (np.datetime64(int(moment), "s") for moment in (time.min(), time.max()))
    return f"{first} to {last}"
