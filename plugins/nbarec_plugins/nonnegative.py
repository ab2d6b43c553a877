"""Non-negative least squares by coordinate descent, and the non-negative factorisation that is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64, rank_in_row, row_pointers
from nbarec.progress import track
from nbarec_plugins.sparse_rows import SparseRows

BLOCK_BYTES = 1 << 20
"""What one block of gathered vectors, or of rows under descent, may take: it is read again while it is in the cache."""

PIECE = 1024
"""A longer row is added up in pieces of this many entries, which bounds the memory and depends on the row alone."""

CLOSE = 1e-10
"""A row is solved when no coordinate moved by more than this share of its largest in a whole sweep."""

MOST_SWEEPS = 1000
"""Where two factors are nearly the same, coordinates crawl along a flat valley: any point of it is as good."""

INNER_SWEEPS = 4
"""Sweeps over one side before the other: the sparse product is the costly part (Gillis, Glineur 2012)."""

OVERSAMPLING, POWER_STEPS = 10, 4
"""Further directions of the random range finder, and how often it is sharpened."""


def times_dense(rows: SparseRows, dense: Floats32 | Floats64) -> Floats64:
    """rows @ dense: `dense` [columns, d] -> float64 [rows, d], by gathering and adding up segments, all in float64.

    A row's bits depend on its own entries alone.
    """
    width = dense.shape[1]
    pieces = -(-rows.counts // PIECE)
    starts = np.repeat(rows.indptr[:-1], pieces) + PIECE * (rank_in_row(row_pointers(pieces)) - 1)
    ends = np.append(starts[1:], len(rows.column))
    summed = np.empty((len(starts), width))
    most = max(BLOCK_BYTES // (8 * width), 1)
    first = 0
    # One step a block of pieces: what bounds the memory.
    while first < len(starts):
        last = max(int(np.searchsorted(ends, starts[first] + most, side="right")), first + 1)
        entries = slice(starts[first], ends[last - 1])
        gathered = dense.take(rows.column[entries], axis=0).astype(np.float64, copy=False)
        gathered *= rows.value[entries, None]
        np.add.reduceat(gathered, starts[first:last] - starts[first], axis=0, out=summed[first:last])
        first = last
    product = np.zeros((rows.rows, width))
    filled = np.flatnonzero(pieces)
    if len(filled):
        product[filled] = np.add.reduceat(summed, row_pointers(pieces)[filled], axis=0)
    return product


def _sweep(found: Floats64, residual: Floats64, normal: Floats64) -> None:
    """Each coordinate in turn goes to its best value, never below 0, in place.

    `found` w [d, B], `residual` right - normal w [d, B], `normal` [d, d]. There is no sum in here: a row's bits do not
    depend on the rows beside it.
    """
    # One step a factor: each sees what the ones before it became.
    for factor, curvature in enumerate(np.diag(normal)):
        if curvature <= 0:
            continue
        moved = np.maximum(found[factor] + residual[factor] / curvature, 0.0) - found[factor]
        found[factor] += moved
        residual -= normal[factor][:, None] * moved


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(BLOCK_BYTES // (8 * width), 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def improved_rows(start: Floats64, right: Floats64, normal: Floats64, sweeps: int) -> Floats64:
    """The rows w of `start` float64 [rows, d] after some sweeps down w' normal w / 2 - right . w, w >= 0.

    `right` float64 [rows, d], `normal` float64 [d, d], symmetric, no negative eigenvalue.
    """
    better = np.empty_like(start)
    # One step a block of rows, and in it one a sweep: the block stays in the cache.
    for block in _blocks(len(start), start.shape[1]):
        found = start[block].T.copy()
        residual = right[block].T - normal @ found
        for _ in range(sweeps):
            _sweep(found, residual, normal)
        better[block] = found.T
    return better


def nonnegative_rows(right: Floats64, normal: Floats64) -> Floats64:
    """The w >= 0 that minimises w' normal w / 2 - right . w, for each row of `right` float64 [rows, d].

    Coordinate descent (Hildreth 1957; Franc, Hlavac, Navara 2005) from 0 until the row is solved; a solved row is left
    as it is, so that its bits depend on itself alone. `normal` float64 [d, d], symmetric, no negative eigenvalue.
    """
    solved = np.zeros_like(right)
    for block in _blocks(len(right), right.shape[1]):  # one step a block of rows: it stays in the cache
        solved[block] = _solved(right[block].T.copy(), normal).T
    return solved


def _solved(right: Floats64, normal: Floats64) -> Floats64:
    """The same for one block, [d, B]; it may be written over."""
    solved = np.zeros_like(right)
    found, residual, open_rows = np.zeros_like(right), right, np.arange(right.shape[1])
    # One step a sweep over the rows that are still moving.
    for _ in range(MOST_SWEEPS):
        before = found.copy()
        _sweep(found, residual, normal)
        moving = np.abs(found - before).max(axis=0) > CLOSE * found.max(axis=0)
        if not moving.all():
            solved[:, open_rows[~moving]] = found[:, ~moving]
            found, residual = found[:, moving], residual[:, moving]
            open_rows = open_rows[moving]
        if not len(open_rows):
            return solved
    solved[:, open_rows] = found
    return solved


@dataclass(frozen=True)
class Factorisation:
    """`users` W float64 [users, d] and `items` H float64 [items, d], both >= 0 and each column of H of length 1 (or 0:
    a factor that nothing is left for); `losses`: the objective after each iteration, falling."""

    users: Floats64
    items: Floats64
    losses: tuple[float, ...]


def factorise(rows: SparseRows, start: Floats64, ridge: float, iterations: int, tolerance: float) -> Factorisation:
    """Minimise |X - W H'|^2 / 2 + ridge |W|^2 / 2 over W, H >= 0 with columns of H of length 1, from H = `start`.

    Hierarchical alternating least squares (Cichocki, Phan 2009), several sweeps a side (Gillis, Glineur 2012). `rows` X
    (users x items); an absent entry is 0. A column h_k of length 1 that is best for the others as they are is the
    positive part of X'w_k - sum over j != k of (w_j . w_k) h_j, scaled to length 1: no step makes the loss rise. Stops
    early where an iteration takes less than the share `tolerance` off the loss.
    """
    columns, size = rows.transpose(), float(rows.value @ rows.value)
    items, users, losses = start, np.zeros((rows.rows, start.shape[1])), list[float]()
    across = users.T @ users
    with track("factorising", iterations) as advance:
        # One step an iteration: each side in turn.
        for iteration in range(iterations):
            if iteration:
                items = _improved_items(items, times_dense(columns, users), across)
            right = times_dense(rows, items)
            normal = items.T @ items + ridge * np.eye(items.shape[1])
            users = improved_rows(users, right, normal, INNER_SWEEPS if iteration else 3 * INNER_SWEEPS)
            across = users.T @ users
            losses.append(float(size + np.vdot(across, normal)) / 2 - float(np.vdot(right, users)))
            advance(1)
            if iteration and losses[-2] - losses[-1] <= tolerance * losses[-2]:
                break
    return Factorisation(users, items, tuple(losses))


def _improved_items(items: Floats64, right: Floats64, gram: Floats64) -> Floats64:
    """After some sweeps over the columns of length 1. `right` X'W [items, d], `gram` W'W [d, d]."""
    found, wanted = items.T.copy(), np.ascontiguousarray(right.T)
    # One step a sweep, and in it one a factor: each sees what the ones before it became.
    for _ in range(INNER_SWEEPS):
        for factor in range(len(gram)):
            direction = wanted[factor] - gram[factor] @ found + gram[factor, factor] * found[factor]
            np.maximum(direction, 0.0, out=direction)
            length = np.linalg.norm(direction)
            if length > 0:
                found[factor] = direction / length
    return np.ascontiguousarray(found.T)


def singular_start(rows: SparseRows, width: int, rng: np.random.Generator) -> Floats64:
    """Columns to start from, >= 0 and of length 1: float64 [columns of `rows`, width].

    NNDSVD (Boutsidis, Gallopoulos 2008): of the k-th singular pair u v', the positive or the negative parts of both,
    whichever are larger together. Singular vectors by a random range finder (Halko, Martinsson, Tropp 2011). Zeros
    where there are fewer singular vectors than `width`.
    """
    columns = rows.transpose()
    rank = min(rows.rows, rows.columns, width + OVERSAMPLING)
    start = np.zeros((rows.columns, width))
    if not rank:
        return start
    left = np.linalg.qr(times_dense(rows, rng.standard_normal((rows.columns, rank)))).Q
    for _ in range(POWER_STEPS):  # a step sharpens the range
        left = np.linalg.qr(times_dense(rows, np.linalg.qr(times_dense(columns, left)).Q)).Q
    right, _, mixed = np.linalg.svd(times_dense(columns, left), full_matrices=False)
    left = left @ mixed.T
    up, down = _positive_part(left, right), _positive_part(-left, -right)
    chosen = np.where(up[1] >= down[1], up[0], down[0])
    start[:, : min(rank, width)] = chosen[:, :width]
    return start


def _positive_part(left: Floats64, right: Floats64) -> tuple[Floats64, Floats64]:
    """The positive part of each right vector, of length 1, and how much of the pair the positive parts hold."""
    left_size = np.linalg.norm(np.maximum(left, 0.0), axis=0)
    part = np.maximum(right, 0.0)
    size = np.linalg.norm(part, axis=0)
    return part / np.where(size > 0, size, 1.0), left_size * size
