"""Growing a regression tree from histograms of gradients, level by level.

Gradients and hessians are rounded to whole numbers, by chance up or down so that sums keep their mean (Shi et al.
2022, "Quantized training of gradient boosting decision trees"), and both are packed into one float64: one counting pass
over a feature's bins sums both, and every sum is exact. So the larger child of a node is its parent less the smaller
child, to the bit, and no number of workers changes a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nbarec.arrays import AnyArray, Bools, Bytes, Floats64, Ints64
from nbarec.work import in_shards
from nbarec_plugins.node_splits import Split, Sums, best_of, best_splits

COUNTED_AT_ONCE = 1 << 15
"""Entries that one pass counts: 15 bits, which leave 12 to a gradient (and its sign) and 11 to a hessian of 53."""

GRADIENT_STEPS, HESSIAN_STEPS = (1 << 12) - 1, (1 << 11) - 1
"""The largest gradient and the largest hessian as whole numbers."""

PACKED = 2.0**26
"""What gradients are multiplied by before hessians, whose sums stay below it, are added."""

TOGETHER = 1024
"""Nodes with fewer entries count all features of a shard in one pass: else calls would take longer than counting."""

SHARD = 8
"""Features that are one worker's work."""


@dataclass(frozen=True)
class Growth:
    """How trees grow: at most `depth` levels of splits; `min_leaf` entries in a leaf at least, told from its share of
    the node's hessian; `l2` is added to the hessian of every leaf; splits gain more than `min_gain` of loss."""

    depth: int = 6
    min_leaf: float = 20.0
    l2: float = 1.0
    min_gain: float = 0.0


@dataclass(frozen=True)
class Quantised:
    """`packed` float64 [N]: gradient * PACKED + hessian as whole numbers; what one unit of either is worth."""

    packed: Floats64
    gradient_unit: float
    hessian_unit: float


@dataclass
class Shape:
    """A grown tree: of its 2^D - 1 inner nodes level by level the `feature` int64, the last `bin` int64 that goes left
    and whether unknown values go `missing_right`; bin -1 marks what is no split, where everything goes left. `leaf`
    int64 [n] is the leaf of 0 .. 2^D - 1 that each of the entries given is in."""

    feature: Ints64
    bin: Ints64
    missing_right: Bools
    leaf: Ints64

    @classmethod
    def of(cls, depth: int, entries: int) -> Shape:
        """A tree without a split."""
        nodes = 2**depth - 1
        return cls(np.zeros(nodes, np.int64), np.full(nodes, -1), np.zeros(nodes, bool), np.zeros(entries, np.int64))

    def leaves_of(self, bins: Bytes) -> Ints64:
        """The leaf of any entries: int64 [N], of their bins uint8 [P, N]."""
        count = bins.shape[1]
        node, row, flat = np.zeros(count, np.int64), np.arange(count), bins.ravel()
        for _ in range(len(self.bin).bit_length()):  # a step a level
            column = flat.take(self.feature.take(node) * count + row)
            node = 2 * node + 1 + _goes_right(column, self.bin.take(node), self.missing_right.take(node))
        return node - len(self.bin)


def quantised(gradient: Floats64, hessian: Floats64, rng: np.random.Generator) -> Quantised:
    """Both float64 [N] as whole numbers, rounded up with the chance of the part cut off; no `hessian` is negative."""
    gradient_unit = max(float(np.abs(gradient).max(initial=0.0)), 1e-300) / GRADIENT_STEPS
    hessian_unit = max(float(hessian.max(initial=0.0)), 1e-300) / HESSIAN_STEPS
    packed = np.floor(gradient / gradient_unit + rng.random(len(gradient), np.float32))
    np.clip(packed, -GRADIENT_STEPS, GRADIENT_STEPS, out=packed)
    packed *= PACKED
    packed += np.minimum(np.floor(hessian / hessian_unit + rng.random(len(hessian), np.float32)), HESSIAN_STEPS)
    return Quantised(packed, gradient_unit, hessian_unit)


def unpacked(sums: AnyArray) -> tuple[Floats64, Floats64]:
    """Sums of gradients and of hessians, from sums of at most COUNTED_AT_ONCE packed values."""
    gradient = np.floor(sums / PACKED)
    return gradient, sums - gradient * PACKED


def grow(bins: Bytes, width: int, rows: Ints64, values: Quantised, features: Ints64, growth: Growth) -> Shape:
    """A tree for the entries `rows` int64 [n], ascending, out of `features` int64, ascending.

    `bins` uint8 [P, N], fewer than `width` different ones. Each split is the one that lowers the loss's second-order
    model most (Chen and Guestrin 2016, "XGBoost", equation 7), unknown values on the better of the two sides.
    """
    tree = Shape.of(growth.depth, len(rows))
    growing = _Growing(bins, width, values, features, growth, _shards(features, len(rows)), rows, values.packed[rows])
    growing.places = np.arange(len(rows))
    level = _Level(np.zeros(1, np.int64), np.array([0, len(rows)]), np.full(1, -1))
    for at in range(growth.depth):  # a step a level
        splits = growing.splits(level)
        if not splits.found.any():
            return growing.ended(tree, level, at)
        level = growing.parted(tree, level, splits, at)
    return growing.ended(tree, level, growth.depth)


@dataclass(frozen=True)
class _Level:
    """Nodes of one level that have entries: `place` int64 [A] of 0 .. 2^level - 1, ascending; the entries of node a are
    `ends[a] : ends[a + 1]` of the order; `parent` int64 [A]: which node of the level before, -1 for none."""

    place: Ints64
    ends: Ints64
    parent: Ints64

    @property
    def counts(self) -> Ints64:
        return np.diff(self.ends)


@dataclass
class _Growing:
    """What changes while a tree grows: `rows`, `packed` and `places` of the entries, ordered by node, and the sums of
    the last level, a pair of arrays a shard."""

    bins: Bytes
    width: int
    values: Quantised
    features: Ints64
    growth: Growth
    shards: Sequence[Ints64]
    rows: Ints64
    packed: Floats64
    places: Ints64 = field(default_factory=lambda: np.empty(0, np.int64))
    sums: list[Sums] = field(default_factory=list)

    def splits(self, level: _Level) -> Split:
        """The best split of every node."""
        open_ = level.counts >= 2 * self.growth.min_leaf
        if not open_.any():
            return Split.none(len(open_))
        wanted = _wanted(level, open_)

        def work(at: int, _shared: object) -> tuple[Sums, Split]:
            sums = self._level_sums(self.shards[at], level, wanted, self.sums[at] if self.sums else None)
            return sums, best_splits(sums, self._limits(level, open_))

        found = list(in_shards(work, range(len(self.shards))))
        self.sums = [sums for sums, _ in found]
        return best_of([split for _, split in found], self.shards)

    def _limits(self, level: _Level, open_: Bools) -> tuple[Ints64, float, float, float]:
        """Entries of nodes (0: not to be split), the least of a leaf, l2 and the least gain in whole numbers."""
        unit, hessian = self.values.gradient_unit, self.values.hessian_unit
        least_gain = 2 * self.growth.min_gain * hessian / unit / unit  # the square of the unit may be 0
        return np.where(open_, level.counts, 0), self.growth.min_leaf, self.growth.l2 / hessian, least_gain

    def _level_sums(self, shard: Ints64, level: _Level, wanted: Bools, before: Sums | None) -> Sums:
        """The sums of one shard for all nodes: counted, or the parent's less those of the child that was counted."""
        sums = np.zeros((2, len(level.place), len(shard), self.width))
        for node in np.flatnonzero(wanted).tolist():  # a step a node, of which a level has 2^level at most
            self._count(shard, slice(level.ends[node], level.ends[node + 1]), sums[:, node])
        if before is not None:
            # Children stand in pairs: one that was not counted is next to the one that was.
            other = np.flatnonzero(~wanted & wanted[np.arange(len(wanted)) ^ 1])
            sums[:, other] = before[:, level.parent[other]] - sums[:, other ^ 1]
        return sums

    def _count(self, shard: Ints64, node: slice, sums: Floats64) -> None:
        """Add up one node's gradients and hessians by bin: into `sums` float64 [2, features, width]."""
        rows, packed = self.rows[node], self.packed[node]
        if len(rows) < TOGETHER:
            keys = self.bins[shard[0] : shard[-1] + 1].take(rows, axis=1)[shard - shard[0]]
            keys = keys + np.arange(len(shard))[:, None] * self.width
            counted = np.bincount(keys.ravel(), weights=np.tile(packed, len(shard)), minlength=sums[0].size)
            sums[:] = np.stack(unpacked(counted)).reshape(sums.shape)
            return
        for start in range(0, len(rows), COUNTED_AT_ONCE):  # a step as many entries as one float64 can sum
            part = slice(start, start + COUNTED_AT_ONCE)
            counted = np.stack(
                [
                    np.bincount(self.bins[feature].take(rows[part]), weights=packed[part], minlength=self.width)
                    for feature in shard.tolist()  # a call a feature: counting itself is in NumPy
                ]
            )
            gradient, hessian = unpacked(counted)
            sums[0] += gradient
            sums[1] += hessian

    def parted(self, tree: Shape, level: _Level, splits: Split, at: int) -> _Level:
        """Note the splits in the tree, and order the entries by the nodes of the next level."""
        first = 2**at - 1
        nodes = first + level.place[splits.found]
        tree.feature[nodes] = splits.feature[splits.found]
        tree.bin[nodes] = splits.bin[splits.found]
        tree.missing_right[nodes] = splits.missing_right[splits.found]
        ends, order = [0], []
        for node in range(len(level.place)):  # a step a node, of which a level has 2^level at most
            where = np.arange(level.ends[node], level.ends[node + 1])
            if not splits.found[node]:
                self._leave(tree, where, int(level.place[node]), at)
                continue
            column = self.bins[splits.feature[node]].take(self.rows[where])
            right = _goes_right(column, splits.bin[node], splits.missing_right[node])
            order += [where[~right], where[right]]
            ends += [ends[-1] + len(order[-2]), ends[-1] + len(where)]
        taken = np.concatenate(order)
        self.rows, self.packed, self.places = self.rows[taken], self.packed[taken], self.places[taken]
        found = np.flatnonzero(splits.found)
        place = (2 * level.place[found][:, None] + np.arange(2)).ravel()
        return _Level(place, np.array(ends), np.repeat(found, 2))

    def ended(self, tree: Shape, level: _Level, at: int) -> Shape:
        """The tree with the entries of all nodes of this level in their leaves."""
        for node, place in enumerate(level.place.tolist()):  # a step a node
            self._leave(tree, np.arange(level.ends[node], level.ends[node + 1]), place, at)
        return tree

    def _leave(self, tree: Shape, where: Ints64, place: int, at: int) -> None:
        tree.leaf[self.places[where]] = place << (self.growth.depth - at)


def _wanted(level: _Level, open_: Bools) -> Bools:
    """Which nodes are counted: of two children the smaller, unless neither can be split."""
    if len(open_) == 1:
        return np.ones(1, bool)
    counts = level.counts.reshape(-1, 2)
    right_smaller = np.asarray(counts[:, 1] < counts[:, 0])
    smaller = np.stack([~right_smaller, right_smaller], axis=1)
    either = open_[::2] | open_[1::2]
    return np.asarray((smaller & either[:, None]).ravel())


def _goes_right(column: Bytes, last_left: AnyArray, missing_right: AnyArray) -> Bools:
    """Whether bins go right: those above the last that goes left, and bin 0 where unknown values go there."""
    return np.asarray(((column > last_left) & (last_left >= 0)) | ((column == 0) & missing_right))


def _shards(features: Ints64, rows: int) -> list[Ints64]:
    """Features of each shard: by the data alone, all in one where there is little to count."""
    if len(features) * rows < 1 << 18:
        return [features]
    return [features[start : start + SHARD] for start in range(0, len(features), SHARD)]
