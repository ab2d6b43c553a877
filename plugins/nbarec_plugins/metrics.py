"""Metrics of slates: how well they meet held-out events, and how they treat the catalogue.

`slate.item` int32 [B, k] holds the recommended items, best first, -1 for an empty place; k is the slate's width, and an
empty place is a miss. `truth` (B x items) stores each user's relevant held-out items. In the formulas R is that set,
|R| its size, and h_j is 1 where the item at place j = 1..k is in R, else 0. Precision, recall, nDCG, MAP, MRR and hit
rate are undefined (NaN) for users without a relevant item.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, concat_ranges
from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, TagsColumn

SHARE = (0.0, 1.0)
CELLS_IN_BLOCK = 1 << 20
"""Slates x attributes held at once while diversity is computed: 8 MB."""


@dataclass(frozen=True)
class AccuracyMetric(Metric):
    """A metric of which places of the slate hold a relevant item."""

    bounds: ClassVar[tuple[float, float]] = SHARE

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """One value a row of the slate: float64 [B]; NaN for users without a relevant item."""
        relevant = truth.counts
        values = self.of_hits(hits(slate, truth), np.maximum(relevant, 1))
        return np.where(relevant > 0, values, np.nan)

    @abstractmethod
    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """The value of each row, float64 [B], from its hits, bool [B, k], and how many items are relevant,
        int64 [B], at least 1."""


@dataclass(frozen=True)
class Precision(AccuracyMetric):
    """sum_j h_j / k: the share of the k places that hold a relevant item (Cleverdon 1967)."""

    name: ClassVar[str] = "precision"

    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """Hits over places: float64 [B]."""
        return np.asarray(hit.mean(axis=1))


@dataclass(frozen=True)
class Recall(AccuracyMetric):
    """sum_j h_j / |R|: the share of the relevant items that are in the slate (Cleverdon 1967). The metric
    `recall_capped` divides by min(k, |R|)."""

    name: ClassVar[str] = "recall"

    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """Hits over relevant items: float64 [B]."""
        return np.asarray(hit.sum(axis=1) / relevant)


@dataclass(frozen=True)
class Ndcg(AccuracyMetric):
    """sum_j h_j / log2(j + 1), over the same sum of a perfect slate, which has min(k, |R|) hits in its first places.

    Normalised discounted cumulative gain with binary relevance (Järvelin and Kekäläinen 2002); the metric `ndcg_graded`
    goes by weights.
    """

    name: ClassVar[str] = "ndcg"

    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """Gain over ideal gain: float64 [B]."""
        discount = 1 / np.log2(_places(hit) + 1)
        ideal = np.cumsum(discount)[np.minimum(relevant, hit.shape[1]) - 1]
        # Summed by cumsum like the ideal, so that a perfect slate has exactly 1.
        return np.asarray(np.cumsum(hit * discount, axis=1)[:, -1] / ideal)


@dataclass(frozen=True)
class AveragePrecision(AccuracyMetric):
    """sum_j h_j P_j / min(k, |R|), where P_j is the precision of the first j places; its mean over users is MAP@k.

    Average precision (Buckley and Voorhees 2000), cut at k and normalised by what k places can hold.
    """

    name: ClassVar[str] = "map"

    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """Average precision at k: float64 [B]."""
        precision = np.cumsum(hit, axis=1) / _places(hit)
        return np.asarray((hit * precision).sum(axis=1) / np.minimum(relevant, hit.shape[1]))


@dataclass(frozen=True)
class ReciprocalRank(AccuracyMetric):
    """1 / the first place with a relevant item, 0 without one; its mean over users is MRR@k (Voorhees 1999)."""

    name: ClassVar[str] = "mrr"

    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """Reciprocal of the first hit's place: float64 [B]."""
        return np.asarray(hit.any(axis=1) / (np.argmax(hit, axis=1) + 1))


@dataclass(frozen=True)
class HitRate(AccuracyMetric):
    """1 where any of the k places holds a relevant item, else 0 (Deshpande and Karypis 2004)."""

    name: ClassVar[str] = "hit_rate"

    def of_hits(self, hit: Bools, relevant: Ints64) -> Floats64:
        """Whether there is a hit: float64 [B]."""
        return np.asarray(hit.any(axis=1), np.float64)


@dataclass(frozen=True)
class Coverage(Metric):
    """The share of the catalogue's items that stand in at least one slate (Herlocker et al. 2004).

    One user's value is the share of the catalogue in that user's slate; the figure for all is not their mean.
    """

    name: ClassVar[str] = "coverage"
    bounds: ClassVar[tuple[float, float]] = SHARE

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Items in the slate over items in the catalogue: float64 [B]; NaN where the catalogue is empty."""
        filled = (slate.item >= 0).sum(axis=1)
        items = len(data.items)
        return np.asarray(filled / items if items else np.full(len(filled), np.nan))

    def aggregate(self, values: Floats64, slate: Slate, data: Dataset) -> float:
        """Different items in all slates together over items in the catalogue."""
        return self.of_exposure(exposure(slate, data), data)

    def of_exposure(self, shown: Ints64, data: Dataset) -> float:
        """Items that are shown, by how often each is, int64 [items], over items in the catalogue."""
        return np.count_nonzero(shown) / len(shown) if len(shown) else float("nan")


@dataclass(frozen=True)
class Novelty(Metric):
    """Mean self-information of the slate's items: -log2(U_i / U) bits (Zhou et al. 2010; Vargas and Castells 2011).

    U is the number of users with a training event, U_i of those with one of item i, whatever its weight: whoever
    disliked an item knew it. An item without an event counts as if one user had it, so that its information is
    finite. Empty places are left out; a slate without an item is undefined.
    """

    name: ClassVar[str] = "novelty"
    bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Mean bits over the filled places: float64 [B]."""
        bits = np.append(self_information(data), 0.0)  # the last is that of an empty place, -1
        return ratio(bits[slate.item].sum(axis=1), (slate.item >= 0).sum(axis=1))


@dataclass(frozen=True)
class Diversity(Metric):
    """Mean of 1 - cosine over the pairs of the slate's items (intra-list diversity: Smyth and McClave 2001; Ziegler et
    al. 2005).

    An item's vector has a 1 for each of its levels in the catalogue's categorical and multi-valued columns; where
    there is no such column, a 1 for each user with a training event of the item. Two items about which
    nothing is known are neither alike nor unlike: items whose vector is all zero are left out, and a slate with
    fewer than two other items is undefined.
    """

    name: ClassVar[str] = "diversity"
    bounds: ClassVar[tuple[float, float]] = SHARE

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """Mean dissimilarity of the pairs: float64 [B].

        With unit vectors v_i of n items, the cosines of all pairs add up to (|sum_i v_i|^2 - n) / 2, so that no
        pair is ever formed.
        """
        vectors = item_attributes(data)
        known = np.append(vectors.counts > 0, False)[slate.item]
        count = known.sum(axis=1)
        cosines = (_squared_sums(slate.item, known, vectors) - count) / 2
        mean = ratio(cosines, np.where(count > 1, count * (count - 1) / 2, 0))
        return np.clip(1 - mean, *SHARE)  # rounding alone leaves the range


def users_of_items(data: Dataset) -> tuple[Ints64, int]:
    """How many users have an event of each item, at least 1: int64 [items]; and how many have any, at least 1."""
    pairs = data.events.matrix()
    having = np.bincount(pairs.indices, minlength=pairs.shape[1])
    return np.maximum(having, 1), max(int(np.count_nonzero(pairs.counts)), 1)


def self_information(data: Dataset) -> Floats64:
    """-log2(U_i / U) bits of each item, as `Novelty` defines U_i and U: float64 [items]."""
    having, users = users_of_items(data)
    return np.asarray(np.log2(users / having), np.float64)


def ratio(total: np.ndarray, count: np.ndarray) -> Floats64:
    """total / count of each row, NaN where the count is 0: float64 [rows]."""
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0), np.float64)


def exposure(slate: Slate, data: Dataset) -> Ints64:
    """How many of the slates each item stands in: int64 [items]."""
    return np.bincount(slate.item[slate.item >= 0], minlength=len(data.items))


def hits(slate: Slate, truth: Csr) -> Bools:
    """Which places hold a relevant item: bool [B, k]; empty places don't."""
    row = np.broadcast_to(np.arange(len(slate.item))[:, None], slate.item.shape)
    return np.asarray(truth.contains(row, slate.item))


def item_attributes(data: Dataset) -> Csr:
    """What `Diversity` compares items by: (items x levels), or (items x users) where the catalogue has no level."""
    rows, levels, width = [], [], 0
    for column in data.catalog.columns.values():
        match column:
            case CategoryColumn(codes, names):
                known = np.flatnonzero(codes >= 0)
                rows.append(known)
                levels.append(codes[known] + np.int64(width))
            case TagsColumn(matrix, names):
                rows.append(matrix.row_of)
                levels.append(matrix.indices + np.int64(width))
            case _:
                continue
        width += len(names)
    if not width:
        return data.events.matrix().transpose()
    return Csr.from_pairs(np.concatenate(rows), np.concatenate(levels), None, (data.catalog.rows, width))


def _squared_sums(item: np.ndarray, known: Bools, vectors: Csr) -> Floats64:
    """|sum of the known items' unit vectors|^2 of each row: float64 [B]."""
    squared = np.zeros(len(item))
    size = max(CELLS_IN_BLOCK // max(vectors.shape[1], 1), 1)
    # A step a block of slates, which bounds the memory.
    for start in range(0, len(item), size):
        rows = slice(start, start + size)
        summed = _summed_vectors(item[rows], known[rows], vectors)
        squared[rows] = np.vecdot(summed, summed)
    return squared


def _summed_vectors(item: np.ndarray, known: Bools, vectors: Csr) -> Floats64:
    """The sum of the known items' unit vectors of each row: float64 [rows, columns of `vectors`]."""
    row = np.nonzero(known)[0]
    shown = item[known]
    counts = vectors.counts[shown]
    at = concat_ranges(vectors.indptr[shown], counts)
    width = vectors.shape[1]
    cell = np.repeat(row * width, counts) + vectors.indices[at]
    length = np.repeat(1 / np.sqrt(counts), counts)
    summed = np.bincount(cell, weights=length, minlength=len(item) * width)
    return np.asarray(summed.reshape(len(item), width), np.float64)


def _places(hit: Bools) -> Ints64:
    """1, 2, ..., k."""
    return np.arange(1, hit.shape[1] + 1)


@hookimpl
def nbarec_metrics() -> Iterable[type[Metric]]:
    """The built-in metrics."""
    return [
        Precision,
        Recall,
        Ndcg,
        AveragePrecision,
        ReciprocalRank,
        HitRate,
        Coverage,
        Novelty,
        Diversity,
    ]
