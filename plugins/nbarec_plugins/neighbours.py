"""The most similar items of each item, by five measures over one kernel of co-occurrence sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64
from nbarec.events import Events
from nbarec.progress import track
from nbarec.sparse import Csr
from nbarec_plugins.contenders import Strength, Wanted, strongest_met
from nbarec_plugins.overlaps import Overlaps, ratios
from nbarec_plugins.pair_weighting import Weighting, weighted
from nbarec_plugins.row_products import Product, Term
from nbarec_plugins.sparse_rows import SparseRows, row_digests, sums_at

Similarity: TypeAlias = Literal["cosine", "adjusted_cosine", "pearson", "jaccard", "conditional"]

NOISE = 1e-12
"""A similarity, or a spread in relation to the values, below this is rounding noise and counts as zero."""


@dataclass(frozen=True)
class Signal:
    """What a measure sees of the events: the pairs that count, by user and by item, with their values.

    `users` (users x items) and `items` (items x users) hold the same entries; `size` float64 [items] is the sum of
    the squares of each item's values (their number, where all values are 1).
    """

    users: SparseRows
    items: SparseRows
    size: Floats64

    @classmethod
    def of(cls, events: Events, similarity: Similarity, weighting: Weighting = "none") -> Signal:
        """The signal of the combined weights of all pairs, explicit zeros and negatives included."""
        matrix = events.matrix()
        keep, value = _SIGNALS[similarity](matrix, events.pair_weights())
        users = weighted(SparseRows.from_csr(matrix, keep, value), weighting)
        return cls(users, users.transpose(), users.column_sums(np.square(users.value)))

    def digest(self) -> Ints64:
        """A 64-bit hash of each item's entries, 0 for an item without any: int64 [items].

        It tells which items new events touch, whatever the way: a new pair, a changed weight, another mean of the user.
        """
        return row_digests(self.items)

    def near(self, items: Ints64) -> Ints64:
        """Every item that has a user in common with one of these, ascending: int64."""
        users = np.unique(self.items.take_rows(items).column).astype(np.int64)
        return np.unique(self.users.take_rows(users).column).astype(np.int64)


@dataclass(frozen=True)
class Measure:
    """How alike item j is to item i, over what their users have in common.

    With the pairs that count, x and y the values of i and j, n the number of common users, |i| the users of i:

    * `cosine`: sum(x y) / (sum x^2)^source (sum y^2)^(1 - source) over all users, absent values 0; pairs of nonzero
      weight. With `source` 0.5 that is the cosine; above it, likely items gain (the asymmetric form of Aiolli 2013).
    * `adjusted_cosine`: the same of weights less their user's mean, sums over the common users (Sarwar, Karypis,
      Konstan, Riedl 2001, section 3.1.3).
    * `pearson`: the correlation of the weights over the common users, means over these too (the same, 3.1.2).
    * `jaccard`: n / (|i| + |j| - n); pairs of positive weight (Jaccard 1912).
    * `conditional`: n / (|i| |j|^alpha), so P(j | i) where alpha is 0; pairs of positive weight (Deshpande,
      Karypis 2004, section 4.1.2).

    Every measure is multiplied by n / (n + shrink), which draws what few users say towards 0 (Bell, Koren 2007).
    """

    similarity: Similarity
    shrink: float = 0.0
    alpha: float = 0.0
    source: float = 0.5

    @property
    def terms(self) -> tuple[Term, ...]:
        """What `strength` needs the sums of, over what two have in common."""
        return _TERMS[self.similarity]

    @property
    def least(self) -> float:
        """Similarities up to this size are rounding noise."""
        return NOISE if self.terms else 0.0

    def scales(self, size: Floats64) -> tuple[Floats64, Floats64]:
        """What `strength` has to know of sizes, float64 [items]: of those of rows, and of those of columns."""
        return _SCALES[self.similarity](size, self)

    def strength(self, met: Overlaps, of_row: Floats64, of_column: Floats64) -> Floats64:
        """The similarity of each entry, in [-1, 1], 0 where undefined: float64, shaped as the entries are.

        `of_row` float64 [left rows] and `of_column` float64 [columns] are `scales` of either side.
        """
        strength = _FORMULAS[self.similarity](met, of_row, of_column)
        if self.shrink:
            number = np.arange(int(met.common.max(initial=0)) + 1)
            strength *= (number / (number + self.shrink)).take(met.common)
        return strength

    def nearest(self, signal: Signal, items: Ints64, neighbors: int, *, inward: bool = False) -> SparseRows:
        """For each of `items` int64 [M] its `neighbors` most similar others; M rows, by item position.

        With `inward` those that are most similar to it, by similarity(j -> i), instead of those that it leads to.
        Similarities of 0 are left out; those within 1e-9 of the row's largest are ties and go by item position.
        """
        whole = len(items) == signal.items.rows
        left = signal.items if whole else signal.items.take_rows(items)
        outer, inner = self.scales(signal.size)
        of_row, of_column = (inner, outer) if inward else (outer, inner)
        of_row = of_row.take(items)

        def strength(met: Overlaps) -> Floats64:
            return self.strength(met, of_row, of_column)

        product = Product(left, signal.users.strips, self.terms)
        negative = self.similarity in _CENTRED or bool(signal.users.value.min(initial=0) < 0)
        return nearest_by(product, strength, items, neighbors, self.least, negative=negative)


def nearest_by(
    product: Product, strength: Strength, items: Ints64, neighbors: int, least: float = 0.0, *, negative: bool = False
) -> SparseRows:
    """The `neighbors` strongest columns of each row of a product, without itself: row m is that of `items` int64 [M].

    Strengths of size `least` or less, and negative ones unless they may be `negative`, are left out; ties, within 1e-9
    of the row's largest, go by column.
    """
    wanted = Wanted(neighbors, _themselves(items, product.right.columns), least, negative)
    with track("similar items", len(items)) as advance:
        return strongest_met(product, strength, wanted, advance)


def _themselves(items: Ints64, columns: int) -> Csr:
    """Each item as the one entry of its row: (M x items)."""
    every = np.arange(len(items) + 1)
    return Csr(every, items.astype(np.int32), np.ones(len(items), np.float32), (len(items), columns))


def _inverse_root(size: Floats64) -> Floats64:
    """1 / sqrt(size), 0 where that is undefined."""
    return np.divide(1.0, np.sqrt(size), out=np.zeros(len(size)), where=size > 0)


def _cosine(met: Overlaps, of_row: Floats64, of_column: Floats64) -> Floats64:
    strength = met.sums[0] * met.of_columns(of_column)
    strength *= met.of_rows(of_row)
    return strength


def _adjusted_cosine(met: Overlaps, of_row: Floats64, of_column: Floats64) -> Floats64:
    product, x_square, y_square = met.sums
    return _ratio(product, x_square * y_square)


def _pearson(met: Overlaps, of_row: Floats64, of_column: Floats64) -> Floats64:
    product, x_square, y_square, x, y = met.sums
    common = np.maximum(met.common, 1)
    x_spread, y_spread = _spread(x, x_square, common), _spread(y, y_square, common)
    return _ratio(product - x * y / common, x_spread * y_spread)


def _spread(total: Floats64, square: Floats64, common: Ints64) -> Floats64:
    """The sum of squared distances from the mean; 0 where it is rounding noise."""
    spread = square - total * total / common
    return np.where(spread > NOISE * square, spread, 0.0)


def _ratio(product: Floats64, squares: Floats64) -> Floats64:
    """product / sqrt(squares), 0 where undefined."""
    return np.divide(product, np.sqrt(squares), out=np.zeros(product.shape), where=squares > 0)


def _jaccard(met: Overlaps, of_row: Floats64, of_column: Floats64) -> Floats64:
    either = met.of_rows(of_row) + met.of_columns(of_column)
    either -= met.common
    return ratios(met.common, either)


def _conditional(met: Overlaps, of_row: Floats64, of_column: Floats64) -> Floats64:
    strength = met.common * met.of_columns(of_column)
    strength *= met.of_rows(of_row)
    return strength


_PRODUCT: Term = np.multiply
_SQUARES: tuple[Term, Term] = (lambda x, y: x * x, lambda x, y: y * y)
_VALUES: tuple[Term, Term] = (lambda x, y: x, lambda x, y: y)

_TERMS: Mapping[Similarity, tuple[Term, ...]] = {
    "cosine": (_PRODUCT,),
    "adjusted_cosine": (_PRODUCT, *_SQUARES),
    "pearson": (_PRODUCT, *_SQUARES, *_VALUES),
    "jaccard": (),
    "conditional": (),
}

_CENTRED = {"adjusted_cosine", "pearson"}
"""Measures of what lies above and below a mean, so that they can be negative whatever the values are."""

_FORMULAS: Mapping[Similarity, Callable[[Overlaps, Floats64, Floats64], Floats64]] = {
    "cosine": _cosine,
    "adjusted_cosine": _adjusted_cosine,
    "pearson": _pearson,
    "jaccard": _jaccard,
    "conditional": _conditional,
}


def _inverse_power(size: Floats64, alpha: float) -> Floats64:
    """size^-alpha, 0 where that is undefined."""
    return np.power(size, -alpha, out=np.zeros(len(size)), where=size > 0)


def _sizes(size: Floats64, measure: Measure) -> tuple[Floats64, Floats64]:
    return size, size


def _cosine_scales(size: Floats64, measure: Measure) -> tuple[Floats64, Floats64]:
    if measure.source == 0.5:
        return _inverse_root(size), _inverse_root(size)
    return _inverse_power(size, measure.source), _inverse_power(size, 1 - measure.source)


def _conditional_scales(size: Floats64, measure: Measure) -> tuple[Floats64, Floats64]:
    return _inverse_power(size, 1.0), _inverse_power(size, measure.alpha)


_SCALES: Mapping[Similarity, Callable[[Floats64, Measure], tuple[Floats64, Floats64]]] = {
    "cosine": _cosine_scales,
    "adjusted_cosine": _sizes,
    "pearson": _sizes,
    "jaccard": _sizes,
    "conditional": _conditional_scales,
}


def _nonzero(matrix: Csr, weight: Floats64) -> tuple[Bools, Floats64]:
    return weight != 0, weight


def _rated(matrix: Csr, weight: Floats64) -> tuple[Bools, Floats64]:
    return np.ones(len(weight), bool), weight


def _centred(matrix: Csr, weight: Floats64) -> tuple[Bools, Floats64]:
    row = matrix.row_of
    mean = sums_at(row, weight, matrix.shape[0]) / np.maximum(matrix.counts, 1)
    return np.ones(len(weight), bool), weight - mean[row]


def _liked(matrix: Csr, weight: Floats64) -> tuple[Bools, Floats64]:
    return weight > 0, np.ones(len(weight))


_SIGNALS: Mapping[Similarity, Callable[[Csr, Floats64], tuple[Bools, Floats64]]] = {
    "cosine": _nonzero,
    "adjusted_cosine": _centred,
    "pearson": _rated,
    "jaccard": _liked,
    "conditional": _liked,
}
