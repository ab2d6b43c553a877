"""Many trees at once: what they give to entries, and how much of it each feature did.

All trees have the same depth and stand in arrays side by side, so that entries go down all of them together, a level a
step. Every number that is added up is a multiple of 2^-28 and no sum has more than 53 bits: sums are exact, the same
for any order, batch and number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints32, Ints64, frozen
from nbarec.work import on_shards
from nbarec_plugins.feature_bins import HIGHEST

GRID = 2.0**28
"""Values of leaves are whole multiples of 1 / GRID."""

LARGEST = 2.0**10
"""No leaf has a value beyond it, so that the sum of thousands of them is exact."""

ROWS_AT_ONCE = 512
"""Entries that go down the trees together: their values and places stay in the cache."""


@dataclass(frozen=True)
class Trees:
    """T trees of depth D for P features, each with its 2^D - 1 inner nodes level by level.

    `column` int32 [T, 2^D - 1] is the feature that a node asks for, plus P where entries without a value go right;
    `threshold` float32 of the same shape: larger values go right. A node that is a leaf of its tree asks for feature 0
    with a threshold of infinity: everything goes left, down to the last level. `expected` float64 [T, 2^(D+1) - 1] is
    the mean of what the trees give over the entries that they were grown on, at every node; on the last level these
    are the values of the leaves. `base` is added to every sum; the trees' own means are not in it.
    """

    column: Ints32
    threshold: Floats32
    expected: Floats64
    base: float
    features: int

    @property
    def depth(self) -> int:
        """Levels of inner nodes."""
        return int(self.column.shape[1]).bit_length()

    def margins(self, values: Floats32) -> Floats64:
        """The sum of the values of the leaves that each entry falls in: float64 [N], of `values` float32 [N, P], NaN
        where unknown. An entry's sum depends on its values alone."""
        total = np.empty(len(values))
        leaves = np.ascontiguousarray(self.expected[:, -(2**self.depth) :]).ravel()

        def fill(block: slice) -> None:
            *_, place = self._descent(both_sides(values[block]))
            total[block] = leaves.take(place).sum(axis=0) + self.base

        on_shards(fill, blocks(len(values)))
        return total

    def contributions(self, values: Floats32) -> tuple[Floats64, float]:
        """How much each feature moves each entry's margin, float64 [N, P], and the margin that they start from.

        On an entry's way down a tree the expected value changes at each node, and the change is the doing of the
        feature that the node asks for (Saabas 2014, "Interpreting random forests"). Row sums plus the start are the
        margins, exactly.
        """
        parts = np.empty((len(values), self.features))

        def fill(block: slice) -> None:
            parts[block] = self._changes(values[block])

        on_shards(fill, blocks(len(values)))
        return parts, self.start

    @property
    def start(self) -> float:
        """The mean margin of the entries that the trees were grown on."""
        return float(self.expected[:, 0].sum() + self.base)

    @property
    def asked(self) -> Ints32:
        """The features that nodes ask for: int32, one for each split."""
        return np.asarray(self.column[~np.isinf(self.threshold)] % max(self.features, 1))

    def moved(self) -> Floats64:
        """How much each feature moves margins: float64 [P], the mean over the two sides of every node of the size of
        the change there, nodes on the first level counting once, on the next half, and so on."""
        moved = np.zeros(self.features)
        for level in range(self.depth):  # a step a level
            change = np.abs(_level(self.expected, level + 1) - np.repeat(_level(self.expected, level), 2, axis=1))
            asked = _level(self.column, level).ravel() % max(self.features, 1)
            both = change.reshape(-1, 2).sum(axis=1) / 2 ** (level + 1)
            weights = np.where(np.isinf(_level(self.threshold, level).ravel()), 0.0, both)
            moved += np.bincount(asked, weights=weights, minlength=self.features)
        return moved

    def _changes(self, values: Floats32) -> Floats64:
        """`contributions` of one block."""
        rows = np.arange(len(values)) * self.features
        before = np.repeat(self.expected[:, :1], len(values), axis=1)
        asked = np.repeat(self.column[:, :1], len(values), axis=1)
        total = np.zeros(len(values) * self.features)
        for level, place in enumerate(self._descent(both_sides(values)), start=1):  # a step a level
            now = _level(self.expected, level).ravel().take(place)
            key = asked % self.features + rows
            total += np.bincount(key.ravel(), weights=(now - before).ravel(), minlength=len(total))
            before = now
            if level < self.depth:
                asked = _level(self.column, level).ravel().take(place)
        return total.reshape(len(values), self.features)

    def _descent(self, sides: Floats32) -> Iterator[Ints64]:
        """Where entries stand on each level from the second on: int64 [T, n], tree * 2^level + place in it.

        `sides` float32 [2 P, n] is what `both_sides` gives. The array is one and the same, changed for each level.
        """
        count = sides.shape[1]
        place = (sides.take(self.column[:, 0], axis=0) > self.threshold[:, :1]).astype(np.int64)
        place += 2 * np.arange(len(self.column))[:, None]
        yield place
        flat, row = sides.ravel(), np.arange(count)
        for level in range(1, self.depth):  # a step a level: all trees and entries at once
            asked = (_level(self.column, level).ravel() * np.int64(count)).take(place)
            asked += row
            right = flat.take(asked) > _level(self.threshold, level).ravel().take(place)
            place *= 2
            place += right
            yield place


def both_sides(values: Floats32) -> Floats32:
    """Each feature's values twice: float32 [2 P, n], of [n, P]. Unknown ones are below everything in the first P rows
    and above everything in the others, so that one comparison sends them where a node wants them."""
    known = np.clip(values.T, -HIGHEST, HIGHEST)
    missing = np.isnan(known)
    sides = np.concatenate([known, known])
    if missing.any():
        sides[: len(known)][missing] = -np.inf
        sides[len(known) :][missing] = np.inf
    return sides


def on_grid(values: Floats64) -> Floats64:
    """The nearest multiples of 1 / GRID, within what can be summed exactly."""
    return np.asarray(np.rint(np.clip(values, -LARGEST, LARGEST) * GRID) / GRID)


def expectations(leaf_values: Floats64, entries: AnyArray) -> Floats64:
    """The mean value below every node of a perfect tree: float64 [2^(D+1) - 1], level by level, on the grid.

    `leaf_values` float64 [2^D] on the grid, `entries` [2^D]: how many each leaf has. Nodes without entries have 0.
    """
    levels, mean, count = [leaf_values], leaf_values, entries.astype(np.float64)
    while len(mean) > 1:  # a step a level
        weighted, count = (mean * count).reshape(-1, 2).sum(axis=1), count.reshape(-1, 2).sum(axis=1)
        mean = on_grid(weighted / np.maximum(count, 1.0))
        levels.append(mean)
    return frozen(np.concatenate(levels[::-1]))


def blocks(rows: int) -> list[slice]:
    """Entries that go down together, block by block."""
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)]


def _level(nodes: AnyArray, level: int) -> AnyArray:
    return nodes[:, 2**level - 1 : 2 ** (level + 1) - 1]
