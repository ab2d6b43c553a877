"""Non-negative least squares, and the non-negative factorisation that is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats32, Floats64
from nbarec.progress import track
from nbarec.work import current, in_shards, on_shards
from nbarec_plugins.gram import gram
from nbarec_plugins.sparse_products import SparseProducts
from nbarec_plugins.truncated_svd import truncated_svd

EXCHANGE_BYTES = 1 << 25
"""What one block of exact solutions may take."""

EXPECTED = 0.02
"""Places with more than this share of the largest value, negative ones allowed, are expected to be positive."""

CLOSE = 1e-12
"""Values and slopes below zero by less than this share of the row's largest are zeros."""

PATIENCE = 3
"""Exchanges of whole blocks that may fail to leave fewer wrong places, before places are exchanged one by one."""

MOST_EXCHANGES = 1000
"""Where two factors are nearly the same, rounding may send a row in circles: any point of it is as good."""

RIDGE = 1e-12
"""Share of the largest diagonal entry that is added to the diagonal, so that no system is singular."""

SWEPT_BYTES = 1 << 19
"""One block of rows under descent: it is read once for each factor, so it should stay in the cache. The same whatever
memory there is, as the bits of a product depend on its shape."""

FIRST_SWEEPS = 3
"""Sweeps over the loadings when they begin at zero. Later one does: more would chase what the other side moves."""

STRETCH, LONGER, LOOSER, SHORTER = 0.5, 1.05, 1.01, 1.5
"""How far ahead a side starts, as a share of its last step: at first, and by what factors it and the most that it may
be grow after a step down, and shrink after a step up (Ang, Gillis 2019)."""

LATEST = 3
"""Iterations whose gain is averaged: stretched steps gain unevenly."""

START_TOLERANCE = 1e-4
"""How exact the singular vectors are that fitting starts from: enough that chance decides nothing."""

NEGLIGIBLE = 1e-6
"""Entries of a vector of length 1 that are taken for zeros."""


def nonnegative_rows(right: Floats64, normal: Floats64) -> Floats64:
    """The w >= 0 that minimises w' normal w / 2 - right . w, for each row of `right` float64 [rows, d].

    Exact, by block principal pivoting (Portugal, Judice, Vicente 1994; Kim, Park 2011): guess which places are
    positive, solve for these alone, and exchange the places that came out negative or would lower the loss if they were
    positive, until there are none. Three or four small systems a row, where descent takes dozens of sweeps. `normal`
    float64 [d, d], symmetric, no negative eigenvalue. A row's bits depend on itself alone.
    """
    solved = np.zeros_like(right)
    width, largest = len(normal), float(normal.diagonal().max(initial=0.0))
    if largest <= 0:
        return solved
    normal = normal + RIDGE * largest * np.eye(width)
    inverse = np.linalg.inv(normal)
    step = max(1, current().block_bytes(EXCHANGE_BYTES) // (16 * width * (width + 4)))

    def solve(start: int) -> None:
        block = right[start : start + step]
        solved[start : start + step] = pivoted(block, normal, np.matvec(inverse, block))

    on_shards(solve, range(0, len(right), step))  # each fills rows of its own
    return solved


def pivoted(right: Floats64, normal: Floats64, guess: Floats64) -> Floats64:
    """The same for a block of rows, from a guess of the solution, negative values allowed: float64 [B, d].

    `normal` float64 [d, d] is that of all rows, or [B, d, d] that of each; positive definite.
    """
    solved, open_rows = np.zeros_like(right), np.arange(len(right))
    positive = guess > EXPECTED * guess.max(axis=1, initial=0.0, keepdims=True)
    fewest, patience = np.full(len(right), right.shape[1] + 1), np.full(len(right), PATIENCE)
    # One step an exchange, of the rows that are not solved yet.
    for _ in range(MOST_EXCHANGES):
        values = _solved_at(positive, right, normal)
        solved[open_rows] = np.maximum(values, 0.0)
        wrong = _wrong(values, np.matvec(normal, values), right, positive)
        count = wrong.sum(axis=1)
        left = np.flatnonzero(count)
        if not len(left):
            break
        open_rows, right, positive, wrong = open_rows[left], right[left], positive[left], wrong[left]
        count, fewest, patience = count[left], fewest[left], patience[left]
        normal = normal if normal.ndim == 2 else normal[left]
        patience = np.where(count < fewest, PATIENCE, patience - 1)
        fewest = np.minimum(fewest, count)
        positive = positive ^ _exchanged(wrong, patience < 0)
    return solved


def _wrong(values: Floats64, image: Floats64, right: Floats64, positive: Bools) -> Bools:
    """Positive places whose value is negative, and zeros that would lower the loss if they were positive: [B, d]."""
    low_values = values < -CLOSE * np.abs(values).max(axis=1, keepdims=True)
    low_slopes = image - right < -CLOSE * np.abs(right).max(axis=1, keepdims=True)
    return np.asarray(np.where(positive, low_values, low_slopes), bool)


def _exchanged(wrong: Bools, one_by_one: Bools) -> Bools:
    """All wrong places of a row; the last alone where `one_by_one` says so, which can't go in circles (Murty 1974)."""
    if not one_by_one.any():
        return wrong
    last = wrong.shape[1] - 1 - wrong[:, ::-1].argmax(axis=1)
    return np.where(one_by_one[:, None], np.arange(wrong.shape[1]) == last[:, None], wrong)


def _solved_at(positive: Bools, right: Floats64, normal: Floats64) -> Floats64:
    """The solution of each row's equations at its positive places alone, zeros elsewhere: float64 [B, d]."""
    width = normal.shape[-1]
    values, counts = np.zeros(right.size), positive.sum(axis=1)
    order = np.argsort(counts, kind="stable")
    starts = np.flatnonzero(np.diff(counts[order], prepend=0))
    # One step a size of system, at most d: rows of the same size are solved side by side, each by itself.
    for rows in np.split(order, starts)[1:]:
        size = int(counts[rows[0]])
        place = np.flatnonzero(positive[rows]).reshape(-1, size) % width
        start = rows * width**2 if normal.ndim == 3 else np.zeros(len(rows), np.int64)
        system = normal.ravel().take(start[:, None, None] + place[:, :, None] * width + place[:, None, :])
        at = rows[:, None] * width + place
        values[at] = np.linalg.solve(system, right.ravel().take(at)[:, :, None])[:, :, 0]
    return values.reshape(right.shape)


@dataclass(frozen=True)
class Factorisation:
    """`users` W float32 [users, d] and `items` H float32 [items, d], both >= 0 and each column of H of length 1 (or 0:
    a factor that nothing is left for); `losses`: the objective after each iteration that lowered it."""

    users: Floats32
    items: Floats32
    losses: tuple[float, ...]


def factorise(
    matrix: SparseProducts, start: Floats32, ridge: float, iterations: int, tolerance: float
) -> Factorisation:
    """Minimise |X - W H'|^2 / 2 + ridge |W|^2 / 2 over W, H >= 0 with columns of H of length 1, from H = `start`.

    Hierarchical alternating least squares (Cichocki, Phan 2009): a sweep over the items, one over the users, and so on,
    each from a stretch ahead, where the last one leads (Ang, Gillis 2019): a third of the iterations do. Where the loss
    rose by that, the iteration does not count, and the next one is plain: no loss is above the one before. `matrix` X
    (users x items); an absent entry is 0. Stops early where the latest iterations take less than the share `tolerance`
    off the loss, on average. The same bits for any number of workers.
    """
    descent = _Descent(matrix, start, ridge)
    with track("factorising", iterations) as advance:
        advance(1)
        # One step an iteration: each starts from the one before.
        for _ in range(1, iterations):
            plain, fell = not descent.stretched, descent.iterate()
            advance(1)
            losses = descent.losses[-1 - LATEST :]
            if (plain and not fell) or (
                len(losses) > LATEST and losses[0] - losses[-1] <= LATEST * tolerance * losses[0]
            ):
                break  # little is left to gain; or rounding is all that moves the loss
    return descent.scaled()


class _Descent:
    """Both sides on their way down: `best` (W, H) and the `losses` on the way there.

    The length of H's columns matters to the ridge alone. So the objective that is descended leaves it free, and has
    ridge sum_k |w_k|^2 |h_k|^2 / 2 instead: the same at columns of length 1, and of one form for either side.
    """

    def __init__(self, matrix: SparseProducts, start: Floats32, ridge: float) -> None:
        self.matrix, self.ridge = matrix, ridge
        self.users = np.zeros((matrix.forward.rows, start.shape[1]), np.float32)
        self.items = self.ahead_items = start
        self.share, self.most, self.stretched = STRETCH, 1.0, False
        found, loss = self._swept_users(self.users, FIRST_SWEEPS)
        self.users = self.ahead_users = found
        self.best, self.losses = (found, start), [loss]

    def iterate(self) -> bool:
        """A sweep over each side. Whether the loss fell; if not, it was for nothing, and the next one is plain."""
        share = self.share if self.stretched else 0.0
        right = self.matrix.backward.times(self.ahead_users)
        found = improved_rows(self.ahead_items, right, _normal(self.ahead_users, self.ridge), 1)
        self.ahead_items, self.items = _ahead(found, self.items, share), found
        found, loss = self._swept_users(self.ahead_users, 1)
        if loss > self.losses[-1]:
            self.users, self.items = self.ahead_users, self.ahead_items = self.best
            self.share, self.most, self.stretched = self.share / SHORTER, self.share, False
            return False
        self.best = found, self.ahead_items
        self.losses.append(loss)
        self.ahead_users, self.users = _ahead(found, self.users, share), found
        self.share, self.most, self.stretched = min(LONGER * self.share, self.most), min(LOOSER * self.most, 1.0), True
        return True

    def _swept_users(self, start: Floats32, sweeps: int) -> tuple[Floats32, float]:
        """Better users for the items ahead, and the objective with them."""
        right, normal = self.matrix.forward.times(self.ahead_items), _normal(self.ahead_items, self.ridge)
        found = improved_rows(start, right, normal, sweeps)
        explained = float(np.vecdot(right, found).sum(dtype=np.float64))
        return found, float(self.matrix.square_sum + np.vdot(gram(found), normal)) / 2 - explained

    def scaled(self) -> Factorisation:
        """The best, with columns of H of length 1."""
        users, items = self.best
        length = np.sqrt(np.diag(gram(items)))
        shrunk = np.where(length > 0, length, 1.0).astype(np.float32)
        return Factorisation(users * length.astype(np.float32), items / shrunk, tuple(self.losses))


def _ahead(now: Floats32, before: Floats32, share: float) -> Floats32:
    """Where the step from `before` to `now` leads if it is taken further by this share; nothing is below 0."""
    if not share:
        return now
    further = now - before
    further *= np.float32(share)
    further += now
    np.maximum(further, 0, out=further)
    return further


def _normal(factors: Floats32, ridge: float) -> Floats64:
    """What stands in the normal equations of the other side: float64 [d, d]."""
    products = gram(factors)
    return products + ridge * np.diag(np.diag(products))


def improved_rows(start: Floats32, right: Floats32, normal: Floats64, sweeps: int) -> Floats32:
    """The rows w of `start` float32 [rows, d] after some sweeps down w' normal w / 2 - right . w, w >= 0.

    A sweep takes each coordinate in turn to its best value, given the others. `right` float32 [rows, d], `normal`
    float64 [d, d], symmetric, no negative eigenvalue.
    """
    better = np.empty_like(start)
    step = max(1, SWEPT_BYTES // (4 * max(start.shape[1], 1)))
    rounded = normal.astype(np.float32)

    def improve(first: int, _: object) -> None:
        block = slice(first, first + step)
        found, wanted = start[block].T.copy(), right[block].T.copy()
        for _ in range(sweeps):
            _sweep(found, wanted, rounded)
        better[block] = found.T

    for _ in in_shards(improve, range(0, len(start), step)):
        pass  # each has filled rows of its own
    return better


def _sweep(found: Floats32, right: Floats32, normal: Floats32) -> None:
    """Each coordinate in turn goes to its best value, never below 0, in place: `found` and `right` [d, B]."""
    change = np.empty(found.shape[1], np.float32)
    # One step a factor: each sees what the ones before it became.
    for factor, curvature in enumerate(normal.diagonal()):
        if curvature > 0:
            np.matmul(normal[factor], found, out=change)
            np.subtract(right[factor], change, out=change)
            change /= curvature
            change += found[factor]
            np.maximum(change, 0, out=found[factor])


def singular_start(matrix: SparseProducts, width: int, rng: np.random.Generator) -> Floats32:
    """Columns to start from, >= 0 and of length 1: float32 [columns of the matrix, width].

    NNDSVD (Boutsidis, Gallopoulos 2008): of the k-th singular pair u v', the positive or the negative parts of both,
    whichever are larger together. Zeros where there are fewer singular pairs than `width`.
    """
    found = truncated_svd(matrix, width, rng, START_TOLERANCE)
    start = np.zeros((matrix.forward.columns, width), np.float32)
    up, down = _positive_part(found.left, found.right), _positive_part(-found.left, -found.right)
    start[:, : len(found.value)] = np.where(up[1] >= down[1], up[0], down[0])
    return start


def _positive_part(left: Floats32, right: Floats32) -> tuple[Floats32, AnyArray]:
    """The positive part of each right vector, of length 1, and how much of the pair the positive parts hold."""
    left_size = np.linalg.norm(np.maximum(left, 0), axis=0)
    # What is less would only grow smaller, down to numbers that processors are slow with.
    part = np.where(right > NEGLIGIBLE, right, np.float32(0))
    size = np.linalg.norm(part, axis=0)
    return np.asarray(part / np.where(size > 0, size, 1), np.float32), left_size * size
