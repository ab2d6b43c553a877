"""Serendipity: what the slate has that is relevant, and that nobody needed a recommender for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints64, rank_in_row
from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec_plugins.exposure_metrics import popularity
from nbarec_plugins.metrics import SHARE, hits
from nbarec_plugins.slate_histories import owned_items


@dataclass(frozen=True)
class Serendipity(Metric):
    """sum_j h_j u_j / k: the share of the k places that hold a relevant item which is unexpected (Ge,
    Delgado-Battenfeld and Jannach 2010; in this form, over all places, Kaminskas and Bridge 2016).

    h_j is 1 where the item at place j is one of the user's relevant held-out items. u_j is 0 where it is expected, that
    is among the k items that a list of the most popular ones would recommend to this user: those with the most users
    with a training event (ties by item position) of which the user has none of positive weight. It is 0 too for items
    that the user has, and 1 for all others. So the value is at most `precision`, and what it lacks to it is what the
    popularity list finds as well. An empty place is a miss. Undefined for users without a relevant item.

    >>> from nbarec.testing.worlds import slate_of, tiny_world
    >>> slate = slate_of(tiny_world(), [[0, 5]], places=2)  # songs 0 and 1 are a stranger's popularity list
    >>> Serendipity().per_user(slate, Csr.from_pairs([0, 0], [0, 5], None, (1, 8)), tiny_world()).tolist()
    [0.5]
    """

    name: ClassVar[str] = "serendipity"
    bounds: ClassVar[tuple[float, float]] = SHARE

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Unexpected hits over places: float64 [B]."""
        owned, rank = owned_items(slate, data), np.append(popularity_ranks(data), 0)
        last = last_expected_ranks(owned, rank, slate.item.shape[1])
        unexpected = (rank[slate.item] > last[:, None]) & ~hits(slate, owned)
        values = (hits(slate, truth) & unexpected).mean(axis=1)
        return np.where(truth.counts > 0, values, np.nan)


def popularity_ranks(data: Dataset) -> Ints64:
    """The place of each item in the list of the most popular ones, from 1, ties by item position: int64 [items]."""
    ranks = np.empty(len(data.items), np.int64)
    ranks[np.argsort(-popularity(data), kind="stable")] = np.arange(1, len(ranks) + 1)
    return ranks


def last_expected_ranks(owned: Csr, rank: Ints64, k: int) -> Ints64:
    """The rank up to which the popularity list has k items that a row does not own: int64 [rows].

    Of a row's own items, c_n is the rank of the n-th most popular one: c_n - n items before it are not owned. The k-th
    that is not owned comes after all own items with c_n - n < k, and after no other.
    """
    row = owned.row_of
    own = rank[owned.indices]
    before = own[np.lexsort((own, row))] - rank_in_row(owned.indptr)
    return k + np.bincount(row[before < k], minlength=owned.shape[0])


@hookimpl
def nbarec_metrics() -> Iterable[type[Metric]]:
    """The metrics of this module."""
    return [Serendipity]
