"""The two solvers of many small ridge regressions over one design, behind alternating least squares.

`HalfSweep` improves all rows by a few steps of conjugate gradients in float32, which is what fitting needs.
`exact_rows` solves each row's normal equations in float64, and gives a row the same bits whatever other rows stand
beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64, concat_ranges, row_pointers
from nbarec.scored_pairs import pair_products
from nbarec_plugins.ridge_rows import Block, RidgeRows, blocks_of, padded_lengths
from nbarec_plugins.sparse_rows import strongest

BLOCK_BYTES = 700_000
"""Gathered vectors of one block of conjugate gradients: read several times, so they should stay in the cache."""

LONGEST_BYTES = 1 << 25
"""A row whose gathered vectors need more than this is solved exactly, part by part, which bounds the memory."""

EXACT_BYTES = 1 << 22
"""What one block of exact solves may take."""

PART = 1024
"""Places of a row that an exact solve gathers at a time."""

SMALL = np.float32(1e-30)
"""Keeps the step of a row that is already solved finite."""


def exact_rows(problem: RidgeRows, design: Floats32, shared: Floats64) -> Floats64:
    """Each row's solution: (shared + sum_n strength_n z_n z_n' + ridge_r I) x = sum_n target_n z_n, float64 [rows, d].

    `design` float32 [columns, d]; `shared` float64 [d, d], symmetric, no negative eigenvalue. A row without terms gets
    zeros. A row's bits depend on its own terms alone: it is padded, added up and solved as if it were by itself.
    """
    solved = np.zeros((problem.rows, design.shape[1]))
    # One step a block of rows: what bounds the memory.
    for block, normal, right in _normal_equations(problem, design, shared, 16):
        solved[block.row] = np.linalg.solve(normal, right)[:, :, 0]
    return solved


def strongest_terms(
    problem: RidgeRows, design: Floats32, shared: Floats64, row: Ints64, column: Ints64, limit: int
) -> tuple[Ints64, Ints64, Floats64]:
    """The terms that add most to the product z_c . x_r of M pairs of a row r and a column c: int64 [M] each.

    The solution is x_r = A_r^-1 sum_n target_n z_n, so term n adds target_n z_c' A_r^-1 z_n, and all of a row's add up
    to the product (Hu, Koren, Volinsky 2008, section 5). Returns which pair, which term of the problem, int64 [E], and
    what it adds, float64 [E], not zero; at most `limit` a pair, the largest in size. No other pair changes its bits.
    """
    by_row = np.argsort(row, kind="stable")
    indptr = row_pointers(np.bincount(row, minlength=problem.rows))
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    # One step a block of rows: what bounds the memory.
    for block, normal, _ in _normal_equations(problem, design, shared, 40):
        targets = design.take(block.column, axis=0) * block.target[:, :, None]
        moved = np.asarray(np.linalg.solve(normal, targets.transpose(0, 2, 1)).transpose(0, 2, 1), np.float64)
        asked = np.diff(indptr)[block.row]
        pairs = by_row[concat_ranges(indptr[block.row], asked)]
        counts = problem.counts[row[pairs]]
        pair, nth = np.repeat(np.arange(len(pairs)), counts), concat_ranges(np.zeros(len(pairs)), counts)
        place = np.repeat(np.arange(len(block.row)), asked)[pair] * block.column.shape[1] + nth
        amount = pair_products(moved.reshape(-1, design.shape[1]), design, place, column[pairs[pair]])
        kept = np.flatnonzero(amount)
        kept = kept[strongest(pair[kept], np.abs(amount[kept]), len(pairs), limit)]
        found.append((pairs[pair[kept]], problem.indptr[row[pairs[pair[kept]]]] + nth[kept], amount[kept]))
    pair, term, amount = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return pair, term, amount


def _normal_equations(
    problem: RidgeRows, design: Floats32, shared: Floats64, bytes_each: int
) -> Iterator[tuple[Block, Floats64, Floats64]]:
    """Each block of rows, with the left side float64 [B, d, d] and the right side float64 [B, d, 1] of each row's
    equations. A term takes `bytes_each` for each number of its vector."""
    width = design.shape[1]
    identity = np.eye(width)
    # One step a block of rows, and in it one step a part of their places: what bounds the memory.
    for block in blocks_of(problem, np.arange(problem.rows), 32 * width * width, bytes_each * width, EXACT_BYTES):
        normal = shared + problem.ridge[block.row, None, None] * identity
        right = np.zeros((len(block.row), width, 1))
        for start in range(0, block.column.shape[1], PART):
            part = slice(start, start + PART)
            vectors = design.take(block.column[:, part], axis=0).astype(np.float64)
            across = vectors.transpose(0, 2, 1)
            right += across @ block.target[:, part, None]
            normal += np.multiply(across, block.strength[:, None, part], order="C") @ vectors
        yield block, normal, right


@dataclass(frozen=True)
class Curvature:
    """A quadratic form that the rows have in common: `form` float64 [d, d], symmetric, no negative eigenvalue.

    `counted`: it is part of what every row minimises, so it stands in the normal equations. Otherwise it only says what
    a row's own terms are expected to add up to, and conjugate gradients use it to look in the right directions.
    """

    form: Floats64
    counted: bool


@dataclass(frozen=True)
class _Basis:
    """Coordinates x' = x `inverse` in which curvature + reference I is the identity, x = x' `back`; float32 [d, d].

    `own` + ridge `unit` is the diagonal that stands in a row's normal equations beside its own terms, `expected` +
    ridge `unit` the one that they are preconditioned by: float64 [d].
    """

    into: Floats32
    inverse: Floats32
    back: Floats32
    own: Floats64
    expected: Floats64
    unit: Floats64

    @classmethod
    def of(cls, curvature: Curvature, reference: float) -> _Basis:
        values, vectors = np.linalg.eigh(curvature.form)
        values = np.maximum(values, 0.0)
        scale = 1.0 / np.sqrt(values + reference)
        into = (vectors * scale).astype(np.float32)
        inverse = (vectors / scale).astype(np.float32)
        expected, unit = values * scale**2, scale**2
        own = expected if curvature.counted else np.zeros_like(expected)
        return cls(into, inverse, np.ascontiguousarray(into.T), own, expected, unit)


@dataclass(frozen=True)
class HalfSweep:
    """One side's rows, laid out once for all sweeps. `blocks` hold float32; `long` int64 are rows too long for them."""

    problem: RidgeRows
    blocks: tuple[Block, ...]
    long: Ints64

    @classmethod
    def of(cls, problem: RidgeRows, width: int) -> HalfSweep:
        """The layout for vectors of length `width`."""
        each = 4 * width
        is_long = padded_lengths(problem.counts) * each > LONGEST_BYTES
        short = np.flatnonzero(~is_long)
        blocks = tuple(
            Block(block.row, block.column, block.strength.astype(np.float32), block.target.astype(np.float32))
            for block in blocks_of(problem, short, 0, each, BLOCK_BYTES)
        )
        return cls(problem, blocks, np.flatnonzero(is_long))

    def improve(
        self, solution: Floats32, design: Floats32, curvature: Curvature, steps: int, offset: Floats32 | None = None
    ) -> None:
        """Take `steps` steps of conjugate gradients (Hestenes, Stiefel 1952) from `solution` float32 [rows, d], in
        place.

        With the curvature G = Q S Q' and the reference ridge r, each row is solved in the coordinates
        x' = (S + r)^(1/2) Q' x, where G + r I is the identity: what is left to find is what the row's own terms add, so
        a few steps do. A ridge of the row's own is a diagonal there, and is preconditioned by. (Takacs, Pilaszy, Tikk
        2011 take the steps in the plain coordinates.) No row costs d^2. `design` float32 [columns, d]; `offset` float32
        [columns] is what each column's terms hold already: strength x offset less in each target.
        """
        ridge = self.problem.ridge
        basis = _Basis.of(curvature, self.problem.usual_ridge)
        rotated = design @ basis.into
        scratch = np.empty(max((block.column.size for block in self.blocks), default=0) * design.shape[1], np.float32)
        # One step a block: its gathered vectors stay in the cache over all steps of its rows.
        for block in self.blocks:
            target = block.target if offset is None else block.target - block.strength * offset[block.column]
            gathered = scratch[: block.column.size * design.shape[1]].reshape(*block.column.shape, design.shape[1])
            rotated.take(block.column, axis=0, out=gathered, mode="clip")
            own, inverse = _diagonals(basis, ridge[block.row])
            start = solution.take(block.row, axis=0) @ basis.inverse
            found = _conjugate_gradients(gathered, block.strength, target, own, inverse, start, steps)
            solution[block.row] = found @ basis.back
        if len(self.long):
            shared = curvature.form if curvature.counted else np.zeros_like(curvature.form)
            solution[self.long] = exact_rows(self.problem.take(self.long).without(offset), design, shared)


def _diagonals(basis: _Basis, ridge: Floats64) -> tuple[Floats32, Floats32]:
    """What a row's normal equations have on the diagonal, and the inverse of what they are expected to have.

    float32 [B, d], or [1, d] where all ridges are the same.
    """
    if (ridge == ridge[0]).all():
        ridge = ridge[:1]
    own = basis.own + ridge[:, None] * basis.unit
    expected = basis.expected + ridge[:, None] * basis.unit
    return own.astype(np.float32), (1.0 / expected).astype(np.float32)


def _conjugate_gradients(
    vectors: Floats32,
    strength: Floats32,
    target: Floats32,
    own: Floats32,
    inverse: Floats32,
    start: Floats32,
    steps: int,
) -> Floats32:
    """Solve (diag(own) + sum_n strength_n z_n z_n') x = sum_n target_n z_n from `start`, preconditioned by `inverse`.

    `vectors` z float32 [B, L, d], `strength` and `target` [B, L], `own` and `inverse` [B or 1, d], `start` [B, d],
    which is written over. Returns x float32 [B, d].
    """
    found = start
    residual = np.vecmat(target - strength * np.matvec(vectors, found), vectors)
    residual -= own * found
    conditioned = residual * inverse
    direction = conditioned.copy()
    size = np.vecdot(residual, conditioned)
    for step in range(steps):  # each step needs the one before
        inner = np.matvec(vectors, direction)
        inner *= strength
        image = np.vecmat(inner, vectors)
        image += own * direction
        length = size / np.maximum(np.vecdot(direction, image), SMALL)
        found += length[:, None] * direction
        if step == steps - 1:
            break
        image *= length[:, None]
        residual -= image
        np.multiply(residual, inverse, out=conditioned)
        before, size = size, np.vecdot(residual, conditioned)
        direction *= (size / np.maximum(before, SMALL))[:, None]
        direction += conditioned
    return found


def gram(vectors: Floats32) -> Floats64:
    """vectors' vectors, added up in float64: [d, d]."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    # One step a block of rows: what bounds the memory.
    for start in range(0, len(vectors), 8192):
        part = vectors[start : start + 8192].astype(np.float64)
        total += part.T @ part
    return total
