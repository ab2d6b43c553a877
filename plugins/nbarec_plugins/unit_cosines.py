"""Cosines of a pool's items with the items of each row's history, exact in any batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, concat_ranges, row_pointers
from nbarec.work import current
from nbarec_plugins.feature_columns import ratio

STEPS = 2.0**22
"""Into how many steps the length 1 is cut. Products of whole vectors of that length, and sums of 512 of them, are whole
numbers below 2^53: float64 holds each exactly, in whatever order a matrix product adds them up."""

MOST = 512
"""How many products may be added up."""

BLOCK = 1 << 23
"""Bytes of a block's products and vectors."""


def mean_and_max(
    vectors: Floats32, indptr: Ints64, item: Ints32, past_indptr: Ints64, past_item: Ints32
) -> tuple[Floats64, Floats64]:
    """The mean and the largest cosine of each entry's item with those of its row's past: float64 [N] both.

    `vectors` float32 [items, d]; entries stand row by row under `indptr` int64 [B + 1], `item` int32 [N], and the past
    under `past_indptr`, at most `MOST` a row. Items whose vector is zero are left out; NaN where none is left on either
    side. Vectors are rounded to 2^-22 of their length.
    """
    past = whole_vectors(vectors, past_item)
    kept = np.asarray(past.any(axis=1))
    past_indptr, past = row_pointers(_counts_where(kept, past_indptr)), past[kept]
    mean, largest = np.full(len(item), np.nan), np.full(len(item), np.nan)
    for first, last in _blocks(np.diff(indptr), np.diff(past_indptr), vectors.shape[1]):  # a step some rows
        inside = slice(int(indptr[first]), int(indptr[last]))
        own = whole_vectors(vectors, item[inside])
        theirs = past[past_indptr[first] : past_indptr[last]]
        found = _of_block(own, indptr[first : last + 1], theirs, past_indptr[first : last + 1])
        mean[inside], largest[inside] = found
    return mean, largest


def whole_vectors(vectors: Floats32, item: Ints32) -> Floats64:
    """The items' vectors at length `STEPS`, rounded to whole numbers; zeros where they have no direction."""
    wanted = vectors.take(item, axis=0).astype(np.float64)
    length = np.sqrt(np.vecdot(wanted, wanted))
    return np.rint(wanted * np.divide(STEPS, length, out=np.zeros(len(item)), where=length > 0)[:, None])


def _of_block(own: Floats64, indptr: Ints64, past: Floats64, past_indptr: Ints64) -> tuple[Floats64, Floats64]:
    counts, past_counts = np.diff(indptr), np.diff(past_indptr)
    left, right = _padded(own, counts), _padded(past, past_counts)
    products = np.matmul(left, right.transpose(0, 2, 1))
    there = np.arange(right.shape[1]) < past_counts[:, None]
    if not there.all():
        products = np.where(there[:, None], products, -np.inf)
    total = np.matmul(left, right.sum(axis=1)[:, :, None])[:, :, 0]  # as exact as the sum of the products
    largest = products.max(axis=2, initial=-np.inf)
    compared = past_counts.repeat(counts)
    real = np.vecdot(own, own) * compared > 0
    mean = ratio(_listed(total, counts) / STEPS**2, compared)
    return np.where(real, mean, np.nan), np.where(real, _listed(largest, counts) / STEPS**2, np.nan)


def _listed(values: Floats64, counts: Ints64) -> Floats64:
    """Row after row of `values` [rows, longest], each to its own end."""
    return values.reshape(-1) if values.size == counts.sum() else values[_places(counts)]


def _padded(vectors: Floats64, counts: Ints64) -> Floats64:
    """The vectors of each row below each other, zeros beyond its end: float64 [rows, longest, d]."""
    rows, width, factors = len(counts), int(counts.max(initial=0)), vectors.shape[1]
    if len(vectors) == rows * width:
        return vectors.reshape(rows, width, factors)
    padded = np.zeros((rows, width, factors))
    padded[_places(counts)] = vectors
    return padded


def _places(counts: Ints64) -> tuple[Ints64, Ints64]:
    """The row of each entry, and its place in it from 0."""
    return np.repeat(np.arange(len(counts)), counts), concat_ranges(np.zeros(len(counts), np.int64), counts)


def _counts_where(kept: np.ndarray, indptr: Ints64) -> Ints64:
    before = row_pointers(kept)
    return np.diff(before[indptr])


def _blocks(counts: Ints64, past: Ints64, factors: int) -> Iterator[tuple[int, int]]:
    """Consecutive rows whose vectors and products fit a block, as first and last + 1."""
    widest, longest = int(counts.max(initial=0)), int(past.max(initial=0))
    cells = max(widest * (factors + longest) + longest * factors, 1)
    size = max(current().block_bytes(BLOCK) // 8 // cells, 1)
    return ((first, min(first + size, len(counts))) for first in range(0, len(counts), size))
