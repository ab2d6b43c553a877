"""What data look like: how unevenly events lie on items, how they lie on users and in time, how full the matrix is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from nbarec.arrays import Floats64, Ints64
from nbarec.data import Dataset

FEW_EVENTS = 5
"""Items with fewer are hard to learn anything about from events alone."""

PERIODS = {"day": "D", "week": "W", "month": "M", "year": "Y"}
MOST_PERIODS = 54
"""Columns of a chart of activity: a finer period that gives more gives way to a coarser one."""

POINTS = 120


@dataclass(frozen=True)
class DataProfile:
    """Events of each item and each user, int64 [items] and [users], and of each pair as `pairs` different ones; `time`
    int64 [events] seconds UTC, empty where the data have no times."""

    item_events: Ints64
    user_events: Ints64
    pairs: int
    time: Ints64

    @classmethod
    def of(cls, data: Dataset) -> DataProfile:
        """The profile of a dataset."""
        events = data.events
        timed = bool(events.time.any())
        pairs = events.matrix().nnz
        return cls(data.item_counts, events.counts, pairs, events.time if timed else events.time[:0])

    @property
    def events(self) -> int:
        """How many events there are."""
        return int(self.item_events.sum())

    @property
    def density(self) -> float:
        """The share of all pairs of a user and an item that have an event; NaN without a pair."""
        places = len(self.item_events) * len(self.user_events)
        return self.pairs / places if places else float("nan")

    @cached_property
    def gini(self) -> float:
        """How unevenly events lie on items: 0 equally, 1 all on one item (Gini 1912); NaN without an event.

        G = sum_i (2 i - n - 1) c_i / (n sum_i c_i) over the n items' events c in rising order.
        """
        counts = np.sort(self.item_events).astype(np.float64)
        n, total = len(counts), counts.sum()
        weights = 2 * np.arange(1, n + 1) - n - 1
        return float(weights @ counts / (n * total)) if total else float("nan")

    @property
    def rare_items(self) -> int:
        """Items with fewer than `FEW_EVENTS` events."""
        return int(np.count_nonzero(self.item_events < FEW_EVENTS))

    def share_of_top(self, fraction: float) -> float:
        """The share of events on so large a part of the items, the most popular, at least one; NaN without an event."""
        most = max(round(fraction * len(self.item_events)), 1)
        top = np.sort(self.item_events)[::-1][:most].sum()
        return float(top / self.events) if self.events else float("nan")

    def concentration(self) -> tuple[Floats64, Floats64]:
        """Shares of items, the most popular first, and the shares of events on them, both float64 [points] from 0 to 1:
        the curve of Lorenz (1905), from the other end."""
        counts = np.sort(self.item_events)[::-1]
        held = np.concatenate([[0], np.cumsum(counts)]) / max(self.events, 1)
        # Half of the points lie in the head, where the curve bends.
        head, whole = np.geomspace(1, max(len(counts), 1), POINTS // 2), np.linspace(0, len(counts), POINTS // 2)
        at = np.unique(np.round(np.concatenate([head, whole])).astype(np.int64))
        at = at[at <= len(counts)]
        return at / max(len(counts), 1), held[at]

    def users_by_events(self) -> tuple[list[str], Ints64]:
        """Users by how many events they have, in bins that double: what each bin is, and its users int64 [bins]."""
        most = int(self.user_events.max(initial=0))
        bounds = 2 ** np.arange(max(most, 1).bit_length() + 1)
        edges = np.concatenate([[0], bounds])
        counts = np.bincount(np.searchsorted(edges, self.user_events, side="right") - 1, minlength=len(edges) - 1)
        names = [_bin(low, high - 1) for low, high in pairwise(edges.tolist())]
        filled = np.flatnonzero(counts)
        span = slice(int(filled.min(initial=len(names))), int(filled.max(initial=-1)) + 1)
        return names[span], counts[span]

    def activity(self) -> tuple[str, list[str], Ints64]:
        """The period that time is cut into, the first day of each, and its events int64 [periods]; nothing where the
        data have no times."""
        if not len(self.time):
            return "", [], np.zeros(0, np.int64)
        moments = self.time.astype("datetime64[s]")
        period, unit = next(
            (found for found in PERIODS.items() if _periods(moments, found[1]) <= MOST_PERIODS), ("year", "Y")
        )
        number = moments.astype(f"datetime64[{unit}]").astype(np.int64)
        first = int(number.min())
        counts = np.bincount(number - first)
        starts = np.arange(first, first + len(counts)).astype(f"datetime64[{unit}]")
        written = unit if unit in "MY" else "D"
        return period, [str(start) for start in starts.astype(f"datetime64[{written}]")], counts


def _periods(moments: np.ndarray, unit: str) -> int:
    number = moments.astype(f"datetime64[{unit}]").astype(np.int64)
    return int(number.max() - number.min()) + 1


def _bin(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}–{high}"
