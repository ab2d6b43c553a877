"""Metrics of held-out events beside those of `metrics.py`: recall by what k places can hold, graded nDCG, and AUC.

As there, `slate.item` int32 [B, k] holds the recommended items, best first, -1 for an empty place; R is the set of a
user's relevant held-out items, which `truth` (B x items) stores, |R| its size, and h_j is 1 where the item at place
j = 1..k is in R, else 0. All are undefined (NaN) for users without a relevant item.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, rank_in_row
from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec_plugins.calibration import where_stored
from nbarec_plugins.metrics import SHARE, AccuracyMetric, hits, ratio
from nbarec_plugins.slate_histories import owned_items
from nbarec_plugins.sparse_rows import SparseRows, sums_at


@dataclass(frozen=True)
class CappedRecall(AccuracyMetric):
    """sum_j h_j / min(k, |R|): the share of the relevant items that are in the slate, of as many as fit into it.

    Liang et al. (2018) call it Recall@k, and tables of autoencoders follow them; the metric `recall` divides by |R|.
    The two differ for users with more than k relevant items, for whom only this one can reach 1.

    >>> from nbarec.testing.worlds import slate_of, tiny_world
    >>> slate, truth = slate_of(tiny_world(), [[3, 1]], places=2), Csr.from_pairs([0] * 4, [1, 3, 4, 5], None, (1, 8))
    >>> CappedRecall().per_user(slate, truth, tiny_world()).tolist()
    [1.0]
    """

    name: ClassVar[str] = "recall_capped"

    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """Hits over the most hits that there can be: float64 [B]."""
        return np.asarray(hit.sum(axis=1) / np.minimum(relevant, hit.shape[1]))


@dataclass(frozen=True)
class GradedNdcg(Metric):
    """sum_j g_j / log2(j + 1), over the same sum of a perfect slate, which has the largest gains in its first places.

    Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002) with gains as they are, not 2^g - 1: g_j is
    the value that `truth` stores for the item at place j, the weight of the held-out event. An item that is not in R
    has none, and one whose weight is not positive counts 0. Where all gains are alike it is `ndcg`. Undefined where no
    relevant item has a positive gain.

    >>> from nbarec.testing.worlds import slate_of, tiny_world
    >>> slate, truth = slate_of(tiny_world(), [[3, 1]], places=2), Csr.from_pairs([0, 0], [1, 3], [3, 1], (1, 8))
    >>> GradedNdcg().per_user(slate, truth, tiny_world()).round(3).tolist()  # the smaller gain stands first
    [0.797]
    """

    name: ClassVar[str] = "ndcg_graded"
    bounds: ClassVar[tuple[float, float]] = SHARE
    by_weight: ClassVar[bool] = True

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Gain over ideal gain: float64 [B]."""
        gain = np.maximum(truth.data.astype(np.float64), 0.0)
        discount = 1 / np.log2(np.arange(2, slate.item.shape[1] + 2))
        ideal = _ideal_sums(truth, gain, discount)
        # Added up in the same order as the ideal, so that a perfect slate has exactly 1.
        found = np.cumsum(_gains_of_places(slate, truth, gain) * discount, axis=1)[:, -1]
        return ratio(found, ideal)


@dataclass(frozen=True)
class LimitedAuc(Metric):
    """The chance that a relevant item stands before one that is not (area under the ROC curve: Hanley and McNeil
    1982), as far as the slate tells (limited AUC: Schröder, Thiele and Lehner 2011).

    (1 / (|R| |N|)) sum over i in R and n in N of w(i, n), with w = 1 where i stands in the slate and n behind it or
    nowhere, 0 where n stands in the slate and i behind it or nowhere, and 1/2 where neither is in the slate: behind its
    last place the curve goes on as a straight line to (1, 1), as if the rest of the catalogue came in random order.

    N are the items of the whole catalogue that are neither in R nor in the user's training events of positive weight
    (Rendle et al. 2009), which are not counted where they stand in a slate, either. An empty slate has 1/2. One of
    the whole catalogue has the usual AUC; of a large catalogue a slate says little, so most values are near
    1/2 + recall / 2. Undefined too where N is empty.

    >>> from nbarec.testing.worlds import slate_of, tiny_world
    >>> slate, truth = slate_of(tiny_world(), [[3, 1]], places=2), Csr.from_pairs([0, 0], [1, 4], None, (1, 8))
    >>> LimitedAuc().per_user(slate, truth, tiny_world()).round(3).tolist()  # (5 + 5 / 2) / (2 * 6)
    [0.625]
    """

    name: ClassVar[str] = "auc"
    bounds: ClassVar[tuple[float, float]] = SHARE

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Pairs in the right order over pairs, halves for those that the slate says nothing of: float64 [B]."""
        owned, hit = owned_items(slate, data), hits(slate, truth)
        miss = (slate.item >= 0) & ~hit & ~hits(slate, owned)
        no_miss = np.bincount(owned.row_of[~truth.contains(owned.row_of, owned.indices)], minlength=len(slate))
        relevant, others = truth.counts, len(data.items) - truth.counts - no_miss
        found, missed = hit.sum(axis=1), miss.sum(axis=1)
        passed = (np.cumsum(miss, axis=1) * hit).sum(axis=1)  # pairs in the wrong order, both in the slate
        right = found * others - passed + (relevant - found) * (others - missed) / 2
        return ratio(right, relevant * others)


def _gains_of_places(slate: Slate, truth: Csr, gain: Floats64) -> Floats64:
    """The gain of each place's item, 0 where it is not relevant: float64 [B, k]. `gain` float64 [nnz] of `truth`."""
    row, place = np.nonzero(slate.item >= 0)
    stored = SparseRows(truth.indptr, truth.indices, gain, truth.shape[1])
    gains = np.zeros(slate.item.shape)
    gains[row, place] = np.append(gain, 0.0)[where_stored(stored, row, slate.item[row, place])]  # the last is -1's
    return gains


def _ideal_sums(truth: Csr, gain: Floats64, discount: Floats64) -> Floats64:
    """The discounted sum of each row's largest gains, float64 [B], over as many places as have a `discount`."""
    row, place = truth.row_of, rank_in_row(truth.indptr)
    within = place <= len(discount)
    largest = gain[np.lexsort((-gain, row))][within]
    return sums_at(row[within], largest * discount[place[within] - 1], truth.shape[0])


@hookimpl
def nbarec_metrics() -> Iterable[type[Metric]]:
    """The metrics of this module."""
    return [CappedRecall, GradedNdcg, LimitedAuc]
