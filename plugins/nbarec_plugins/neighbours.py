"""The most similar items of each item, by five measures over one kernel of co-occurrence sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, frozen, mix64
from nbarec.events import Events
from nbarec.progress import track
from nbarec.sparse import Csr
from nbarec_plugins.sparse_rows import Overlaps, SparseRows, Term, overlaps, strongest_met, sums_at

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
    def of(cls, events: Events, similarity: Similarity) -> Signal:
        """The signal of the combined weights of all pairs, explicit zeros and negatives included."""
        matrix = events.matrix()
        keep, value = _SIGNALS[similarity](matrix, events.pair_weights())
        users = SparseRows.from_csr(matrix, keep, value)
        return cls(users, users.transpose(), users.column_sums(users.value**2))

    def digest(self) -> Ints64:
        """A 64-bit hash of each item's entries, 0 for an item without any: int64 [items].

        The sum, modulo 2^64, of a hash of each entry's user and value: it tells which items new events touch,
        whatever the way (a new pair, a changed weight, another mean of the user).
        """
        user = mix64(self.items.column.astype(np.uint64) + np.uint64(1))
        hashed = mix64(user ^ self.items.value.view(np.uint64))
        running = np.append(np.zeros(1, np.uint64), np.cumsum(hashed, dtype=np.uint64))
        return frozen((running[self.items.indptr[1:]] - running[self.items.indptr[:-1]]).view(np.int64))

    def near(self, items: Ints64) -> Ints64:
        """Every item that has a user in common with one of these, ascending: int64."""
        users = np.unique(self.items.take_rows(items).column).astype(np.int64)
        return np.unique(self.users.take_rows(users).column).astype(np.int64)


@dataclass(frozen=True)
class Measure:
    """How alike item j is to item i, over what their users have in common.

    With the pairs that count, x and y the values of i and j, n the number of common users, |i| the users of i:

    * `cosine`: sum(x y) / sqrt(sum x^2 sum y^2) over all users, absent values 0; pairs of nonzero weight.
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

    @property
    def terms(self) -> tuple[Term, ...]:
        """What `strength` needs the sums of, over what two have in common."""
        return _TERMS[self.similarity]

    def strength(self, met: Overlaps, size_of_row: Floats64, size_of_column: Floats64) -> Floats64:
        """The similarity of each entry, in [-1, 1], 0 where undefined: float64 [entries]."""
        pairs = _Pairs(met.common, met.sums, size_of_row, size_of_column, self.alpha)
        return _FORMULAS[self.similarity](pairs) * (met.common / (met.common + self.shrink))

    def nearest(self, signal: Signal, items: Ints64, neighbors: int) -> SparseRows:
        """For each of `items` int64 [M] its `neighbors` most similar others; M rows, by item position.

        Similarities of 0 are left out; those within 1e-9 of the row's largest are ties and go by item position.
        """
        return strongest_met(self._compared(signal, items), neighbors, signal.users.columns)

    def _compared(self, signal: Signal, items: Ints64) -> Iterator[tuple[Overlaps, Floats64, Bools]]:
        """Blocks of the items' similarities, and which of them tell of another item."""
        with track("similar items", len(items)) as advance:
            for met in overlaps(signal.items.take_rows(items), signal.users, self.terms):
                item = items[met.first + met.row]
                strength = self.strength(met, signal.size[item], signal.size[met.column])
                yield met, strength, (strength != 0) & (item != met.column)
                advance(met.rows)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of items: common users, the sums of the measure's terms over them, and both items' sizes."""

    common: Ints64
    sums: tuple[Floats64, ...]
    size_of_row: Floats64
    size_of_column: Floats64
    alpha: float


def _cosine(pairs: _Pairs) -> Floats64:
    return _ratio(pairs.sums[0], pairs.size_of_row * pairs.size_of_column)


def _adjusted_cosine(pairs: _Pairs) -> Floats64:
    product, x_square, y_square = pairs.sums
    return _ratio(product, x_square * y_square)


def _pearson(pairs: _Pairs) -> Floats64:
    product, x_square, y_square, x, y = pairs.sums
    x_spread, y_spread = _spread(x, x_square, pairs.common), _spread(y, y_square, pairs.common)
    return _ratio(product - x * y / pairs.common, x_spread * y_spread)


def _spread(total: Floats64, square: Floats64, common: Ints64) -> Floats64:
    """The sum of squared distances from the mean; 0 where it is rounding noise."""
    spread = square - total * total / common
    return np.where(spread > NOISE * square, spread, 0.0)


def _jaccard(pairs: _Pairs) -> Floats64:
    return pairs.common / (pairs.size_of_row + pairs.size_of_column - pairs.common)


def _conditional(pairs: _Pairs) -> Floats64:
    return np.asarray(pairs.common / (pairs.size_of_row * pairs.size_of_column**pairs.alpha))


def _ratio(product: Floats64, squares: Floats64) -> Floats64:
    """product / sqrt(squares), 0 where undefined or noise."""
    ratio = np.divide(product, np.sqrt(squares), out=np.zeros(len(product)), where=squares > 0)
    return np.where(np.abs(ratio) > NOISE, ratio, 0.0)


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

_FORMULAS: Mapping[Similarity, Callable[[_Pairs], Floats64]] = {
    "cosine": _cosine,
    "adjusted_cosine": _adjusted_cosine,
    "pearson": _pearson,
    "jaccard": _jaccard,
    "conditional": _conditional,
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
