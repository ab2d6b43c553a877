"""The solver of many small ridge regressions over one design that fitting by alternating least squares needs.

`HalfSweep` improves all rows by a few steps of conjugate gradients in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64
from nbarec.work import on_shards
from nbarec_plugins.exact_rows import Form, exact_rows
from nbarec_plugins.row_shards import FitBlock, Layout, ProblemOf, Shard
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.turned import Turned

SMALL = np.float32(1e-30)
"""Keeps the step of a row that is already solved finite."""

ROUNDING = 1e-6
"""A diagonal this close to the identity is the identity in single precision: the usual case, one ridge for all."""


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
    """Coordinates x' = x `inverse`, z' = z `into` in which curvature + reference I is the identity; float64 [d, d].

    `own` + ridge `unit` is the diagonal that stands in a row's normal equations beside its own terms, `expected` +
    ridge `unit` the one that they are preconditioned by: float64 [d].
    """

    into: Floats64
    inverse: Floats64
    own: Floats64
    expected: Floats64
    unit: Floats64

    @classmethod
    def of(cls, curvature: Curvature, reference: float) -> _Basis:
        values, vectors = np.linalg.eigh(curvature.form)
        values = np.maximum(values, 0.0)
        scale = 1.0 / np.sqrt(values + reference)
        expected, unit = values * scale**2, scale**2
        own = expected if curvature.counted else np.zeros_like(expected)
        return cls(vectors * scale, vectors / scale, own, expected, unit)

    def diagonals(self, ridge: Floats64) -> _Diagonals | None:
        """Those of rows with these ridges float64 [B]; None where all of them are the identity."""
        if (ridge == ridge[0]).all():
            ridge = ridge[:1]
        own = (self.own + ridge[:, None] * self.unit).astype(np.float32)
        expected = self.expected + ridge[:, None] * self.unit
        inverse = (1.0 / expected).astype(np.float32)
        near = np.abs(own - 1).max() <= ROUNDING and np.abs(inverse - 1).max() <= ROUNDING
        return None if near else _Diagonals(own, inverse)


@dataclass(frozen=True)
class _Diagonals:
    """What the normal equations of rows have on the diagonal beside their own terms, and the inverse of what they are
    expected to have: float32 [B, d] each, or [1, d] where it is the same for all."""

    own: Floats32
    inverse: Floats32

    def of(self, rows: slice) -> _Diagonals:
        """Those of some rows."""
        return self if len(self.own) == 1 else _Diagonals(self.own[rows], self.inverse[rows])


@dataclass(frozen=True)
class HalfSweep:
    """One side's rows, laid out once for all sweeps."""

    layout: Layout

    @classmethod
    def of_rows(cls, pairs: SparseRows, problem_of: ProblemOf, width: int) -> HalfSweep:
        """The rows of `pairs`, for vectors of length `width`."""
        return cls(Layout.of_rows(pairs, problem_of, 4 * width))

    @classmethod
    def of_columns(cls, pairs: SparseRows, problem_of: ProblemOf, width: int) -> HalfSweep:
        """The columns of `pairs`, for vectors of length `width`."""
        return cls(Layout.of_columns(pairs, problem_of, 4 * width))

    def improve(
        self, solution: Turned, design: Turned, curvature: Curvature, steps: int, offset: Floats32 | None = None
    ) -> None:
        """Take `steps` steps of conjugate gradients (Hestenes, Stiefel 1952) from `solution` [rows, d], in place.

        With the curvature G = Q S Q' and the reference ridge r, each row is solved in the coordinates
        x' = (S + r)^(1/2) Q' x, where G + r I is the identity: what is left to find is what the row's own terms add, so
        a few steps do. A ridge of the row's own is a diagonal there, and is preconditioned by. (Takacs, Pilaszy, Tikk
        2011 take the steps in the plain coordinates.) No row costs d^2. `design` [columns, d] is turned into these
        coordinates, and `solution` is left in them; its rows without terms must be zeros. `offset` float32 [columns] is
        what each column's terms hold already: strength x offset less in each target.
        """
        basis = _Basis.of(curvature, self.layout.usual_ridge)
        design.turn(basis.into, basis.inverse.T)
        begin = (solution.back @ basis.inverse).astype(np.float32)
        held = None if offset is None else np.append(offset, np.float32(0))

        def improve_shard(shard: Shard) -> None:
            _improve(shard, solution.own, begin, basis, design.own, held, steps)

        on_shards(improve_shard, self.layout.shards)  # no two share a row
        solution.back = basis.into.T
        if len(self.layout.long_row):
            shared = curvature.form if curvature.counted else np.zeros_like(curvature.form)
            exact = exact_rows(self.layout.long.without(offset), design.copy().plain(), Form.of(shared))
            solution.own[self.layout.long_row] = exact @ basis.inverse


def _improve(
    shard: Shard,
    own: Floats32,
    begin: Floats32,
    basis: _Basis,
    design: Floats32,
    held: Floats32 | None,
    steps: int,
) -> None:
    """Better vectors of a shard's rows than `own` `begin` float32 [rows, d], left in `own`. Only this reads gathered
    vectors."""
    width = design.shape[1]
    scratch = np.empty(shard.largest * width, np.float32)
    diagonals = basis.diagonals(shard.ridge)
    first = 0
    # One step a block: its gathered vectors stay in the cache over all steps of its rows.
    for block in shard.blocks:
        inside = slice(first, first + len(block.column))
        gathered = scratch[: block.column.size * width].reshape(*block.column.shape, width)
        design.take(block.column, axis=0, out=gathered, mode="clip")
        row = shard.row[inside]
        found = own.take(row, axis=0) @ begin
        here = diagonals and diagonals.of(inside)
        _conjugate_gradients(gathered, block.strength, _targets(block, held), here, found, steps)
        own[row] = found
        first = inside.stop


def _targets(block: FitBlock, held: Floats32 | None) -> Floats32:
    """What is left of the targets beside what each column's terms hold already: float32 [B, L or 1]."""
    return block.target if held is None else block.target - block.strength * held.take(block.column)


def _conjugate_gradients(
    vectors: Floats32, strength: Floats32, target: Floats32, diagonals: _Diagonals | None, found: Floats32, steps: int
) -> None:
    """Solve (diag(own) + sum_n strength_n z_n z_n') x = sum_n target_n z_n, preconditioned by `inverse`, in place.

    `vectors` z float32 [B, L, d], `strength` and `target` [B, L or 1]; own and inverse are those of `diagonals`, ones
    where it is None; `found` x [B, d] is where to start, and where the solution goes. The vectors are read
    2 `steps` + 1 times: how far to go along the last direction is known from its products with them alone.
    """
    inner = np.matvec(vectors, found)
    inner *= strength
    residual = np.vecmat(np.subtract(target, inner, out=inner), vectors)
    residual -= found if diagonals is None else diagonals.own * found
    conditioned = residual if diagonals is None else residual * diagonals.inverse
    direction = conditioned.copy()
    size = np.vecdot(residual, conditioned)
    for step in range(steps):  # each step needs the one before
        inner = np.matvec(vectors, direction)
        weighted = inner * strength
        damped = direction if diagonals is None else diagonals.own * direction
        bend = np.vecdot(weighted, inner) + np.vecdot(damped, direction)
        length = (size / np.maximum(bend, SMALL))[:, None]
        found += length * direction
        if step == steps - 1:
            break
        fallen = np.vecmat(weighted, vectors)
        fallen += damped
        fallen *= length
        residual -= fallen
        if diagonals is not None:
            np.multiply(residual, diagonals.inverse, out=conditioned)
        before, size = size, np.vecdot(residual, conditioned)
        direction *= (size / np.maximum(before, SMALL))[:, None]
        direction += conditioned
