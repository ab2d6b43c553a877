"""The largest singular triplets of a sparse matrix, by a randomised block Krylov method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.work import in_shards, on_shards
from nbarec_plugins.gram import gram
from nbarec_plugins.sparse_products import PaddedRows, SparseProducts

BLOCK = 32
"""Directions that are multiplied at a time. With more the same is found in a larger basis (64: by a fifth), with fewer
products gather shorter rows and take longer (16: by half)."""

FIRST_LOOK, NEXT_LOOK, MOST = 1.75, 0.25, 6.0
"""Basis vectors for each triplet that is asked for: when what was found is first looked at, how many more before each
next look, and how many there may be at all."""

SPARE = 8
"""Further triplets that are computed to the end, so that the last one asked for is cut from a space that holds it."""

NOISE = 1e-6
"""What is shorter than this share of the whole is rounding: a dozen units of single precision."""

CLOSE = 1e-3
"""Squared singular values within this share of each other may be copies of one."""

DIGITS = 1e-3
"""Share of the largest squared value down to which squares in single precision keep four digits."""

ILL = 1e-2
"""Vectors whose lengths differ by more have lost digits on the way, and with them a right angle to the others."""

HALF = 0.5
"""Of a vector that was of length 1, when so much is gone that the rest is noise."""

CHUNK = 4096
"""Coordinates that one worker takes at a time where tall matrices are multiplied."""


@dataclass(frozen=True)
class Triplets:
    """The largest singular triplets, r of them: `left` float32 [rows, r] and `right` float32 [columns, r], columns of
    length 1, and `value` float64 [r], falling, all positive. Each right vector's largest entry is positive."""

    left: Floats32
    value: Floats64
    right: Floats32


def truncated_svd(matrix: SparseProducts, count: int, rng: np.random.Generator, tolerance: float = 5e-3) -> Triplets:
    """The `count` largest singular triplets of a matrix A, or as many as its rank is.

    Randomised block Krylov method (Halko, Martinsson, Shkolnisky, Tygert 2011; Musco, Musco 2015): an orthonormal basis
    of X, (A A') X, (A A')^2 X, ... with X = A times random numbers, and the best triplets that are in it (Rayleigh,
    Ritz). Subspace iteration keeps the last power alone: it needs three times the products, and is less exact.

    It stops where `count` / 4 further basis vectors add no more than the share `tolerance` to the energy, the sum of
    the `count` largest squared values; about as much is missing then, nearly all of it in the last triplets. Products
    are in single precision: values below a millionth of the largest are taken for 0, and a rank that is less than
    `count` shows in that. The same `rng` gives the same bits for any number of workers.
    """
    forward, backward = matrix.forward, matrix.backward
    wide = forward.rows <= forward.columns
    if not wide:
        forward, backward = backward, forward
    short, value, long = _completed(*_best_of_basis(forward, backward, count, rng, tolerance), backward, count)
    left, right = (short, long) if wide else (long, short)
    sign = _signs(right)
    left *= sign
    right *= sign
    return Triplets(frozen(left), frozen(value), frozen(right))


def _best_of_basis(
    forward: PaddedRows, backward: PaddedRows, count: int, rng: np.random.Generator, tolerance: float
) -> tuple[Floats32, Floats64]:
    """The best singular vectors of the shorter side, float32 [rows, n], and their squared values, float64 [n], falling.

    `count` of them, or `SPARE` more where the squares have lost digits. The basis is gone from memory afterwards.
    """
    basis = _Basis(forward, backward, count)
    basis.grow(rng, tolerance)
    square, axes = np.linalg.eigh(basis.form[: basis.size, : basis.size])
    square, axes = np.maximum(square[::-1], 0.0), axes[:, ::-1]
    kept = min(basis.count, basis.size)
    if not _exact(square[:kept]):
        kept += SPARE
    return _tall(basis.vectors[: basis.size].T, axes[:, :kept]), square[:kept]


def _completed(
    short: Floats32, square: Floats64, backward: PaddedRows, count: int
) -> tuple[Floats32, Floats64, Floats32]:
    """The `count` triplets u, s, v of vectors u of the shorter side, whose squared values are `square`.

    v is A' u / s. Where the squares have lost digits, A' u still has them: a small matrix decomposes it.
    """
    long = backward.times(short)
    if _exact(square):
        long /= _lengths(long).astype(np.float32)
        return short, np.sqrt(square), long
    value, turned = _principal(long)
    kept = np.flatnonzero(value[:count] > NOISE * value.max(initial=0.0))
    return _tall(short, turned[:, kept]), value[kept], _tall(long, turned[:, kept] / value[kept])


def _exact(square: Floats64) -> bool:
    """Whether all of these squared values, float64 [n], falling, have kept digits enough."""
    return len(square) > 0 and bool(square[-1] > DIGITS * square[0])


class _Basis:
    """Orthonormal vectors in the shorter side of a matrix A (rows <= columns), and the form Q' A A' Q in them.

    `vectors` float32 [most, rows], of which `size` are there yet; what was never written takes no memory. `form`
    float64 [most, most]. `recent`: where the block before the last one begins.
    """

    def __init__(self, forward: PaddedRows, backward: PaddedRows, count: int) -> None:
        self.forward, self.backward = forward, backward
        self.count = min(count, forward.rows)
        most = min(forward.rows, int(MOST * self.count) + 2 * BLOCK)
        self.vectors = np.empty((most, forward.rows), np.float32)
        self.form = np.zeros((most, most))
        self.size = self.recent = 0

    def grow(self, rng: np.random.Generator, tolerance: float) -> None:
        """Add vectors until the triplets are there as far as the tolerance asks, or everything is.

        Powers of A A' bring out of b random vectors at most b copies of a singular value, and a normalised matrix has
        a copy for each connected component. Where that many come out, new random vectors look for more.
        """
        energy = 0.0
        # A step a start from random vectors: a single one where copies are no matter.
        while (block := self._random(rng)).shape[1]:
            self._pursue(block, energy, tolerance)
            values = self._values()
            gained, energy = values.sum() - energy, values.sum()
            if self.size >= self.count and not (_has_copies(values) and gained > tolerance * energy):
                return

    def _random(self, rng: np.random.Generator) -> Floats32:
        """Vectors from random numbers, at right angles to all; fewer than a block, or none, where there are no more."""
        if self.size == len(self.vectors):
            return self.vectors[:0].T
        block = self.forward.times(rng.standard_normal((self.forward.columns, BLOCK), dtype=np.float32))
        least = NOISE * float(np.linalg.norm(block, axis=0).max())
        self._take_out(block, 0)
        self._take_out(block, 0)
        return self._orthonormal(block, least)

    def _pursue(self, block: Floats32, energy: float, tolerance: float) -> None:
        """Add a block and its powers, until they bring little beyond `energy`, or there are no more."""
        look = max(FIRST_LOOK * self.count, self.size + 2 * BLOCK)
        # A step a block: each is what A A' makes of the one before.
        while block.shape[1]:
            rest = self._add(block)
            if self.size >= look:
                before, energy = energy, float(self._values().sum())
                if energy - before <= tolerance * energy:
                    return
                look = self.size + max(NEXT_LOOK * self.count, BLOCK)
            block = self._orthonormal(rest, NOISE * float(self.form.max()))

    def _add(self, block: Floats32) -> Floats32:
        """Add orthonormal vectors, [rows, b]; what of A A' times them is at right angles to all."""
        first, self.size = self.size, self.size + block.shape[1]
        new = slice(first, self.size)
        self.vectors[new] = block.T
        image = self.forward.times(self.backward.times(block))
        # But for rounding, it lies in this block, the one before and the one after: these go first, and exactly.
        self.form[self.recent : self.size, new] = self._take_out(image, self.recent)
        self.form[: self.size, new] += self._take_out(image, 0)
        self.form[new, :first] = self.form[:first, new].T
        self.recent = first
        return image

    def _take_out(self, block: Floats32, first: int) -> Floats64:
        """Take out of `block` float32 [rows, b], in place, what lies along the vectors from `first` on; how much that
        was: float64 [size - first, b]."""
        vectors = self.vectors[first : self.size]
        shards = _chunks(len(block))
        parts = in_shards(lambda chunk, _: (vectors[:, chunk] @ block[chunk]).astype(np.float64), shards)
        along = sum(parts, np.zeros((len(vectors), block.shape[1])))

        def subtract(chunk: slice) -> None:
            block[chunk] -= vectors[:, chunk].T @ along.astype(np.float32)

        on_shards(subtract, shards)
        return along

    def _orthonormal(self, block: Floats32, least: float) -> Floats32:
        """The directions of `block` [rows, b] that are longer than `least`, made orthonormal by eigenvectors of their
        products, twice (Stathopoulos, Wu 2002); no more than there is room for."""
        length, turned = _principal(block)
        kept = (length > least) & (np.arange(len(length)) < len(self.vectors) - self.size)
        block = block @ (turned[:, kept] / length[kept]).astype(np.float32)
        if kept.any() and length[kept].min() < ILL * length.max():
            self._take_out(block, 0)
        length, turned = _principal(block)
        kept = length > HALF
        return block @ (turned[:, kept] / length[kept]).astype(np.float32)

    def _values(self) -> Floats64:
        """The squared singular values found, `count` at most, falling."""
        values = np.linalg.eigvalsh(self.form[: self.size, : self.size])[::-1]
        return np.asarray(np.maximum(values[: self.count], 0.0), np.float64)


def _has_copies(values: Floats64) -> bool:
    """Whether as many values as a block has vectors are nearly the same; `values` float64 [n], falling."""
    later = values[BLOCK - 1 :]
    return bool((later >= (1 - CLOSE) * values[: len(later)]).any())


def _signs(vectors: Floats32) -> Floats32:
    """The sign of the largest entry of each column: float32 [columns], 1 or -1."""
    largest, smallest = vectors.max(axis=0, initial=0.0), vectors.min(axis=0, initial=0.0)
    return np.where(-smallest > largest, -1, 1).astype(np.float32)


def _lengths(vectors: Floats32) -> Floats64:
    """The length of each column, added up in float64: [columns]."""
    shards = _chunks(len(vectors))
    squares = in_shards(lambda chunk, _: np.square(vectors[chunk], dtype=np.float64).sum(axis=0), shards)
    return np.sqrt(sum(squares, np.zeros(vectors.shape[1])))


def _principal(block: Floats32) -> tuple[Floats64, Floats64]:
    """The lengths of the principal axes of `block` [n, b], falling, and how to get there: float64 [b] and [b, b]."""
    square, axes = np.linalg.eigh(gram(block))
    return np.sqrt(np.maximum(square[::-1], 0.0)), axes[:, ::-1]


def _tall(block: Floats32, turned: Floats64) -> Floats32:
    """block [n, a] @ turned [a, b]: float32 [n, b]."""
    product = np.empty((len(block), turned.shape[1]), np.float32)
    small = turned.astype(np.float32)

    def multiply(chunk: slice) -> None:
        np.matmul(block[chunk], small, out=product[chunk])

    on_shards(multiply, _chunks(len(block)))
    return product


def _chunks(rows: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, rows, CHUNK)]
