"""Exact solutions of many small ridge regressions over one design: what a user's vector is solved by.

A row gets the same bits whatever other rows stand beside it: each product and each solution is of the row's own arrays,
whose shapes depend on the number of its terms alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64, concat_ranges, row_pointers
from nbarec.scored_pairs import pair_products
from nbarec_plugins.ridge_rows import Block, RidgeRows, blocks_of, padded_lengths
from nbarec_plugins.sparse_rows import strongest

EXACT_BYTES = 1 << 21
"""What one block of exact solves may take, which stays in the cache."""

PART = 1024
"""Places of a row that an exact solve gathers at a time."""

FEW = 0.75
"""Below this share of the length of a vector, a row has few terms: one equation a term is faster than one a factor."""


@dataclass(frozen=True)
class Form:
    """What the normal equations of all rows hold: `matrix` float64 [d, d], symmetric, no negative eigenvalue.

    `axes` float64 [d, d] holds its eigenvectors, a column each, and `values` float64 [d] its eigenvalues.
    """

    matrix: Floats64
    axes: Floats64
    values: Floats64

    @classmethod
    def of(cls, matrix: Floats64) -> Form:
        """Of a symmetric matrix; eigenvalues that rounding made negative become zero."""
        values, axes = np.linalg.eigh(matrix)
        return cls(matrix, axes, np.maximum(values, 0.0))


def exact_rows(problem: RidgeRows, design: Floats32, shared: Form) -> Floats64:
    """Each row's solution: (shared + sum_n strength_n z_n z_n' + ridge_r I) x = sum_n target_n z_n, float64 [rows, d].

    `design` float32 [columns, d]. A row without terms gets zeros. A row's bits depend on its own terms alone: it is
    padded, added up and solved as if it were by itself.
    """
    width = design.shape[1]
    solved = np.zeros((problem.rows, width))
    few = padded_lengths(problem.counts) < FEW * width
    few, many = np.flatnonzero(few), np.flatnonzero(~few)
    # One step a block of rows, here and below: what bounds the memory.
    for block in blocks_of(problem, few, 0, 32 * width, EXACT_BYTES) if len(few) else ():
        solved[block.row] = _by_terms(block, problem.ridge[block.row], design, shared)
    for block, normal, right in _normal_equations(problem, many, design, shared.matrix, 16) if len(many) else ():
        solved[block.row] = np.linalg.solve(normal, right)[:, :, 0]
    return solved


def _by_terms(block: Block, ridge: Floats64, design: Floats32, shared: Form) -> Floats64:
    """The solutions of rows with few terms, L < d: one equation a term, float64 [B, d].

    With M = shared + ridge I, the solution is x = M^-1 Z' a, where a = target - strength Z x is what each term has
    left. So (I + diag(strength) Z M^-1 Z') a = target, which is L x L: the dual of ridge regression (Saunders,
    Gammerman, Vovk 1998), by the identity of Woodbury (1950). In the axes of `shared`, M is a diagonal.
    """
    scale = 1.0 / np.sqrt(shared.values + ridge[:, None])
    turned = design.take(block.column, axis=0).astype(np.float64) @ shared.axes
    turned *= scale[:, None, :]
    system = turned @ turned.transpose(0, 2, 1)
    system *= block.strength[:, :, None]
    system += np.eye(block.column.shape[1])
    left = np.linalg.solve(system, block.target[:, :, None])[:, :, 0]
    return np.asarray(np.matvec(shared.axes, np.vecmat(left, turned) * scale), np.float64)


def strongest_terms(
    problem: RidgeRows, design: Floats32, shared: Form, row: Ints64, column: Ints64, limit: int
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
    for block, normal, _ in _normal_equations(problem, np.arange(problem.rows), design, shared.matrix, 40):
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
    problem: RidgeRows, rows: Ints64, design: Floats32, shared: Floats64, bytes_each: int
) -> Iterator[tuple[Block, Floats64, Floats64]]:
    """Each block of the given rows, with the left side float64 [B, d, d] and the right side float64 [B, d, 1] of each
    row's equations. A term takes `bytes_each` for each number of its vector."""
    width = design.shape[1]
    identity = np.eye(width)
    # One step a block of rows, and in it one step a part of their places: what bounds the memory.
    for block in blocks_of(problem, rows, 32 * width * width, bytes_each * width, EXACT_BYTES):
        normal = shared + problem.ridge[block.row, None, None] * identity
        right = np.zeros((len(block.row), width, 1))
        for start in range(0, block.column.shape[1], PART):
            part = slice(start, start + PART)
            vectors = design.take(block.column[:, part], axis=0).astype(np.float64)
            right[:, :, 0] += np.vecmat(block.target[:, part], vectors)
            vectors *= np.sqrt(block.strength[:, part])[:, :, None]
            normal += vectors.transpose(0, 2, 1) @ vectors  # of itself: BLAS adds up one half of it alone
        yield block, normal, right
