"""Weights of pairs of a user and an item that say how much a pair tells of the item: TF-IDF and BM25."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np

from nbarec.arrays import Floats64, frozen
from nbarec_plugins.sparse_rows import SparseRows, sums_at

Weighting: TypeAlias = Literal["none", "tfidf", "bm25"]

SATURATION, LENGTH = 1.2, 0.8
"""k1 and b of BM25, as in the comparison of Ferrari Dacrema, Boglio, Cremonesi, Jannach (2021)."""


def weighted(pairs: SparseRows, weighting: Weighting) -> SparseRows:
    """The pairs (users x items), an item being a text whose words are its users: a user of many items says little.

    With f the size of a pair's weight, whose sign stays, N items in all of which user u has n_u, and l_i the sum of an
    item's f in relation to the mean of all items' sums:

    * `tfidf`: sqrt(f) idf_u (Sparck Jones 1972),
    * `bm25`: (k1 + 1) f / (k1 (1 - b + b l_i) + f) idf_u (Robertson, Walker, Jones, Hancock-Beaulieu, Gatford 1994),

    and idf_u = ln(1 + N / n_u).
    """
    if weighting == "none":
        return pairs
    value = _FREQUENCY[weighting](pairs) * np.log1p(pairs.columns / np.maximum(pairs.counts, 1)).take(pairs.row_of)
    return SparseRows(pairs.indptr, pairs.column, frozen(np.copysign(value, pairs.value)), pairs.columns)


def _root(pairs: SparseRows) -> Floats64:
    return np.sqrt(np.abs(pairs.value))


def _saturated(pairs: SparseRows) -> Floats64:
    size = np.abs(pairs.value)
    length = sums_at(pairs.column, size, pairs.columns)
    length /= max(float(length.mean()), np.finfo(np.float64).tiny) if len(length) else 1.0
    return (SATURATION + 1) * size / (SATURATION * (1 - LENGTH + LENGTH * length.take(pairs.column)) + size)


_FREQUENCY: Mapping[Weighting, Callable[[SparseRows], Floats64]] = {"tfidf": _root, "bm25": _saturated}
