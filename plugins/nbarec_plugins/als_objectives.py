"""What alternating least squares minimises: the implicit and the explicit objective, as ridge regressions of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, frozen
from nbarec.events import Events
from nbarec_plugins.factor_solvers import Curvature, HalfSweep
from nbarec_plugins.gram import gram
from nbarec_plugins.ridge_rows import RidgeRows
from nbarec_plugins.row_shards import occurrences
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.turned import Turned

VANISHED = 1e-12
"""A vector whose largest place is no more than this is on its way to zero."""


class Objective(ABC):
    """One of the two. Users and items are alike in both, so each method serves either side.

    A side's vectors are float32 [rows, `width`].
    """

    width: int

    @abstractmethod
    def pairs_of(self, events: Events) -> SparseRows:
        """The pairs of user and item that count, with what the objective needs of their weights (users x items)."""

    @abstractmethod
    def speaks(self, pairs: SparseRows) -> Bools:
        """Whether each row's pairs are enough for a vector: bool [rows]."""

    @abstractmethod
    def speaks_of(self, pairs: SparseRows) -> Bools:
        """Whether each column's pairs are enough for a vector: bool [columns]."""

    @abstractmethod
    def remains(self, vectors: Floats32) -> Bools:
        """Whether each of a side's vectors still says something: bool [rows]."""

    @abstractmethod
    def problem(self, pairs: SparseRows, columns: int) -> RidgeRows:
        """Each row's ridge regression; `columns` rows of the other side have a vector."""

    @abstractmethod
    def design(self, other: Floats32) -> Floats32:
        """What the other side's vectors are to the rows: float32 [columns, width]."""

    @abstractmethod
    def offset(self, other: Floats32) -> Floats32 | None:
        """What a term holds of the other side alone: float32 [columns]; None for nothing."""

    @abstractmethod
    def shared(self, design: Floats32) -> Floats64:
        """The quadratic form that every row's normal equations hold: float64 [width, width]."""

    @abstractmethod
    def asked(self, vectors: Floats64) -> tuple[Floats64, Floats64]:
        """What to multiply the items' vectors by for scores, and what to add to all scores of a row: float64
        [rows, width] and [rows]."""

    @abstractmethod
    def improve(self, rows: HalfSweep, solution: Turned, other: Turned, steps: int) -> None:
        """Half a sweep: better vectors of the rows, in place, for the other side's as they are."""


@dataclass(frozen=True)
class Implicit(Objective):
    """sum over all pairs of c (p - x.y)^2 + ridges, c = unobserved + confidence |weight|, p = 1 where weight > 0."""

    width: int
    regularization: float
    confidence: float
    unobserved: float
    scaling: float

    def pairs_of(self, events: Events) -> SparseRows:
        """Pairs of nonzero weight."""
        matrix, weight = events.matrix(), events.pair_weights()
        return SparseRows.from_csr(matrix, weight != 0, weight)

    def speaks(self, pairs: SparseRows) -> Bools:
        """Where a weight is positive: without one the least is at zero."""
        positive = pairs.value > 0
        if positive.all():
            return np.asarray(pairs.counts > 0)
        return np.bincount(pairs.row_of[positive], minlength=pairs.rows) > 0

    def speaks_of(self, pairs: SparseRows) -> Bools:
        """Where a weight is positive."""
        positive = pairs.value > 0
        return occurrences(pairs.column if positive.all() else pairs.column[positive], pairs.columns) > 0

    def remains(self, vectors: Floats32) -> Bools:
        """Not where the regularization outweighed all that the pairs say, and every sweep shrank the vector."""
        # Largest and least instead of sizes, which would be a second copy of all vectors.
        largest, least = vectors.max(axis=1, initial=0.0), vectors.min(axis=1, initial=0.0)
        return np.asarray(np.maximum(largest, -least) > VANISHED)

    def problem(self, pairs: SparseRows, columns: int) -> RidgeRows:
        """Strengths are the confidence beyond `unobserved`, which the shared form counts for all columns."""
        strength = self.confidence * np.abs(pairs.value)
        target = np.where(pairs.value > 0, self.unobserved + strength, 0.0)
        weight = pairs.counts + self.unobserved * columns
        return RidgeRows.of(pairs, strength, target, self.regularization * np.power(weight, self.scaling))

    def design(self, other: Floats32) -> Floats32:
        """The vectors themselves."""
        return other

    def offset(self, other: Floats32) -> None:
        """Nothing."""

    def shared(self, design: Floats32) -> Floats64:
        """unobserved Y'Y: every column, as if it were not observed."""
        return self.unobserved * gram(design)

    def asked(self, vectors: Floats64) -> tuple[Floats64, Floats64]:
        """The vectors themselves, and nothing more."""
        return vectors, np.zeros(len(vectors))

    def improve(self, rows: HalfSweep, solution: Turned, other: Turned, steps: int) -> None:
        """Half a sweep."""
        rows.improve(solution, other, Curvature(self.unobserved * other.gram(), counted=True), steps)


@dataclass(frozen=True)
class Explicit(Objective):
    """sum over rated pairs of (weight - mean - b - b' - x.y)^2 + regularization n (|x|^2 + b^2) for both sides.

    A vector's last place holds its bias. Each row is divided by its number of pairs n, which leaves its solution.
    """

    width: int
    regularization: float
    mean: float

    def pairs_of(self, events: Events) -> SparseRows:
        """Every pair, a weight of 0 is a rating; values are weights less the mean."""
        matrix, weight = events.matrix(), events.pair_weights()
        return SparseRows(matrix.indptr, matrix.indices, frozen(weight - self.mean), matrix.shape[1])

    def speaks(self, pairs: SparseRows) -> Bools:
        """Where there is a pair."""
        return np.asarray(pairs.counts > 0)

    def speaks_of(self, pairs: SparseRows) -> Bools:
        """Where there is a pair."""
        return occurrences(pairs.column, pairs.columns) > 0

    def remains(self, vectors: Floats32) -> Bools:
        """All: one of zeros says that the mean is the best estimate."""
        return np.ones(len(vectors), bool)

    def problem(self, pairs: SparseRows, columns: int) -> RidgeRows:
        """Terms of 1 / n."""
        share = np.repeat(1.0 / np.maximum(pairs.counts, 1), pairs.counts)
        return RidgeRows.of(pairs, share, share * pairs.value, np.full(pairs.rows, self.regularization))

    def design(self, other: Floats32) -> Floats32:
        """The vectors with 1 in the place of their bias: the row's own bias multiplies it."""
        design = other.copy()
        design[:, -1] = 1.0
        return design

    def offset(self, other: Floats32) -> Floats32:
        """The other side's biases."""
        return np.ascontiguousarray(other[:, -1])

    def shared(self, design: Floats32) -> Floats64:
        """Nothing: what is not rated says nothing."""
        return np.zeros((self.width, self.width))

    def asked(self, vectors: Floats64) -> tuple[Floats64, Floats64]:
        """1 meets the items' biases; the mean and the rows' own biases are the same for all items."""
        users = vectors.copy()
        users[:, -1] = 1.0
        return users, self.mean + vectors[:, -1]

    def improve(self, rows: HalfSweep, solution: Turned, other: Turned, steps: int) -> None:
        """Half a sweep. A row's terms are expected to add up to the mean of all terms."""
        vectors = other.copy().plain()
        design, terms = self.design(vectors), rows.layout.terms
        often = np.sqrt(terms / max(terms.sum(), 1)).astype(np.float32)
        expected = Curvature(gram(design * often[:, None]), counted=False)
        rows.improve(solution, Turned.of(design), expected, steps, self.offset(vectors))
