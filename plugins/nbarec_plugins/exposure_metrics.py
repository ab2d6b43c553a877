"""Metrics of exposure: how slates share out attention over the catalogue, and how much they lean on what is popular.

An item's popularity U_i is the number of users with a training event of it, whatever its weight, as in `novelty`.
`slate.item` int32 [B, k] holds the recommended items, best first, -1 for an empty place, which is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints64
from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec_plugins.calibration import liked_items
from nbarec_plugins.metrics import SHARE, exposure, ratio
from nbarec_plugins.slate_histories import histories_of

AMOUNT = (0.0, np.inf)


@dataclass(frozen=True)
class Gini(Metric):
    """The Gini index (Gini 1912) of how often each item of the catalogue stands in all slates together, as Fleder and
    Hosanagar (2009) use it: sum_i (2 i - n - 1) x_(i) / (n sum_i x_i), x_(1) <= ... <= x_(n) being these numbers for
    all n items, those that are never shown among them.

    0: every item is shown equally often; 1 - 1/n: all places hold the same item. One user's value is that of the own
    slate, 1 - (items in it) / n; the figure for all is not their mean. Undefined where no place is filled.

    >>> from nbarec.testing.worlds import slate_of, tiny_world
    >>> data = tiny_world()
    >>> slate = slate_of(data, [[0, 1], [0, 2]], places=2)
    >>> values = Gini().per_user(slate, Csr.empty(2, 8), data)
    >>> values.tolist(), Gini().aggregate(values, slate, data)  # (3 + 5 + 2 * 7) / (8 * 4)
    ([0.75, 0.75], 0.6875)
    """

    name: ClassVar[str] = "gini"
    bounds: ClassVar[tuple[float, float]] = SHARE

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """The index of each slate alone: float64 [B]."""
        filled = (slate.item >= 0).sum(axis=1)
        share = ratio(filled, np.full(len(slate), len(data.items)))
        return np.where(filled > 0, 1 - share, np.nan)

    def aggregate(self, values: Floats64, slate: Slate, data: Dataset) -> float:
        """The index of all slates together."""
        return self.of_exposure(exposure(slate, data), data)

    def of_exposure(self, shown: Ints64, data: Dataset) -> float:
        """The index of how often each item is shown: int64 [items]."""
        items, total = len(shown), int(shown.sum())
        spread = int(np.dot(2 * np.arange(1, items + 1) - items - 1, np.sort(shown)))
        return spread / (items * total) if total else float("nan")


@dataclass(frozen=True)
class AveragePopularity(Metric):
    """The mean popularity U_i of the slate's items: average recommendation popularity (Yin et al. 2012; Abdollahpouri
    et al. 2019). Undefined for a slate without an item.

    >>> from nbarec.testing.worlds import slate_of, tiny_world
    >>> slate = slate_of(tiny_world(), [[0, 1], [6]], places=2)  # two users have song 0, one has song 1, none song 6
    >>> AveragePopularity().per_user(slate, Csr.empty(2, 8), tiny_world()).tolist()
    [1.5, 0.0]
    """

    name: ClassVar[str] = "average_popularity"
    bounds: ClassVar[tuple[float, float]] = AMOUNT

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Users an item, on average over the filled places: float64 [B]."""
        return mean_popularity(slate, data)


@dataclass(frozen=True)
class PopularityLift(Metric):
    """The mean popularity U_i of the slate's items over that of the items in the user's training history with positive
    weight: how much more popular what is recommended is than what the user chose (Abdollahpouri et al. 2019).

    1: as popular as the user's own items; 2: twice as popular. The figure for all is the mean of the users' ratios,
    which can be compared pair by pair; the paper's group average popularity is a ratio of means, less 1. Undefined
    for a slate without an item and for a user without such a history.

    >>> from dataclasses import replace
    >>> from nbarec.testing.worlds import slate_of, tiny_world
    >>> slate = replace(slate_of(tiny_world(), [[0, 1]], places=2), users=("dan",))
    >>> PopularityLift().per_user(slate, Csr.empty(1, 8), tiny_world()).tolist()  # dan has song 2, and nobody else
    [1.5]
    """

    name: ClassVar[str] = "popularity_lift"
    bounds: ClassVar[tuple[float, float]] = AMOUNT

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Popularity of the slate over that of the history: float64 [B]."""
        liked = liked_items(histories_of(slate, data))
        total = np.bincount(liked.row_of, weights=popularity(data)[liked.column], minlength=liked.rows)
        return ratio(mean_popularity(slate, data), ratio(total, liked.counts))


def popularity(data: Dataset) -> Ints64:
    """U_i: how many users have a training event of each item: int64 [items]."""
    return np.bincount(data.events.matrix().indices, minlength=len(data.items))


def mean_popularity(slate: Slate, data: Dataset) -> Floats64:
    """The mean of U_i over the filled places of each slate: float64 [B], NaN where there is none."""
    users = np.append(popularity(data), 0)[slate.item]  # the last is that of an empty place, -1
    return ratio(users.sum(axis=1), (slate.item >= 0).sum(axis=1))


@hookimpl
def nbarec_metrics() -> Iterable[type[Metric]]:
    """The metrics of this module."""
    return [Gini, AveragePopularity, PopularityLift]
