"""How alike items are, asked for one picked item a row at a time: never all pairs of a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64, concat_ranges
from nbarec_plugins.attributes import Features
from nbarec_plugins.sparse_rows import SparseRows, sums_at


class Windows(Protocol):
    """The items of `rows` windows of one width, gathered once."""

    def cosines(self, picked: Ints64) -> Floats64:
        """The cosine of every item of a window with the one at place `picked` int64 [rows]: float64 [rows, width].

        Added up in an order that depends on the two items alone; 0 with an item that has no features.
        """


class ItemSpace(Protocol):
    """Where items are compared."""

    def cells(self, width: int) -> int:
        """About how many float64 values the windows of one row take, to choose how many rows go at once."""

    def windows(self, item: Ints64) -> Windows:
        """The windows of these items: int64 [rows, width], -1 beyond the end of a row, where cosines mean nothing."""


@dataclass(frozen=True)
class VectorSpace:
    """Items by dense vectors, float32 [items, d]; a zero vector is like no other."""

    vectors: Floats32

    def cells(self, width: int) -> int:
        """A vector an item."""
        return width * int(self.vectors.shape[1])

    def windows(self, item: Ints64) -> VectorWindows:
        """The unit vectors of the items."""
        taken = np.take(self.vectors, item, axis=0, mode="wrap").astype(np.float64)
        length = np.sqrt(np.vecdot(taken, taken))
        return VectorWindows(taken * _inverse(length)[..., None])


@dataclass(frozen=True)
class VectorWindows:
    """`unit` float64 [rows, width, d]: vectors of length 1, or 0."""

    unit: Floats64

    def cosines(self, picked: Ints64) -> Floats64:
        """Products of unit vectors."""
        chosen = self.unit[np.arange(len(picked)), picked]
        return np.asarray(np.vecdot(self.unit, chosen[:, None]), np.float64)


@dataclass(frozen=True)
class FeatureSpace:
    """Items by the attributes of the catalogue; one with no attribute at all is like no other."""

    features: Features

    def cells(self, width: int) -> int:
        """A dense row of levels; per item its numbers, and its levels with where they stand."""
        numbers, levels = self.features.numbers, self.features.levels
        return levels.columns + width * int(numbers.shape[1] + 4 * len(levels.column) // max(levels.rows, 1))

    def windows(self, item: Ints64) -> FeatureWindows:
        """The items' features, divided by their lengths."""
        rows, width = item.shape
        inverse = _inverse(self.features.length[item])
        levels = self.features.levels.take_rows(item.ravel())
        entry = levels.row_of
        return FeatureWindows(
            unit_numbers=np.take(self.features.numbers, item, axis=0, mode="wrap") * inverse[..., None],
            levels=levels,
            unit_value=levels.value * inverse.ravel()[entry],
            entry=entry,
            cell=entry // width * levels.columns + levels.column,
            dense=np.zeros(rows * levels.columns),
        )


@dataclass(frozen=True)
class FeatureWindows:
    """Features of length 1, or 0, of E entries, which are the places of all windows one after the other.

    `unit_numbers` float64 [rows, width, n]; `levels` (entries x levels), and for each of its values: `unit_value`
    float64, `entry` int64, and `cell` int64, where its row and level stand in `dense` float64 [rows * levels], which
    is all zero between two questions.
    """

    unit_numbers: Floats64
    levels: SparseRows
    unit_value: Floats64
    entry: Ints64
    cell: Ints64
    dense: Floats64

    def cosines(self, picked: Ints64) -> Floats64:
        """Products of unit vectors: the levels that the picked item has, then the numbers."""
        rows, width, numbers = self.unit_numbers.shape
        chosen = np.arange(rows) * width + picked
        starts = self.levels.indptr[chosen]
        values = concat_ranges(starts, self.levels.indptr[chosen + 1] - starts)
        self.dense[self.cell[values]] = self.unit_value[values]
        shared = np.take(self.dense, self.cell) * self.unit_value
        self.dense[self.cell[values]] = 0
        cosines = sums_at(self.entry, shared, rows * width).reshape(rows, width)
        if numbers:
            cosines += np.vecdot(self.unit_numbers, self.unit_numbers[np.arange(rows), picked][:, None])
        return cosines


def _inverse(length: Floats64) -> Floats64:
    """1 / length, and 0 for a length of 0."""
    return np.divide(1.0, length, out=np.zeros(length.shape), where=length > 0)
