"""How good results are: one code for both sides of a comparison."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from bench.jobs import Figures
from bench.worlds import World
from nbarec.arrays import AnyArray, Floats32, Floats64, Ints64, row_pointers, rows_of
from nbarec.batch import Candidates

PLACES = 20
"""Length of the lists that are compared."""

BLOCK = 4096
"""Users whose scores are computed at a time."""


def of_lists(recommended: Ints64, world: World) -> Figures:
    """Recall and nDCG of `recommended` int64 [tested users, 20] (-1: none), as papers on Gowalla have them (Wang, He,
    Wang, Feng, Chua 2019): a user's hits over all that he has held out, and the mean over the tested users."""
    tested, best = world.tested, recommended[:, :PLACES].astype(np.int64)
    held_out = world.test_user.astype(np.int64) * world.items + world.test_item
    hit = np.isin(tested[:, None] * world.items + best, held_out) & (best >= 0)
    count = np.bincount(world.test_user, minlength=world.users)[tested]
    discount = 1 / np.log2(np.arange(2, PLACES + 2))
    ideal = np.cumsum(discount)[np.minimum(count, PLACES) - 1]
    return {
        "recall@20": float((hit.sum(axis=1) / count).mean()),
        "ndcg@20": float(((hit * discount[: hit.shape[1]]).sum(axis=1) / ideal).mean()),
    }


def as_table(found: Candidates, places: int = PLACES) -> Ints64:
    """Lists of candidates as rows of items: int64 [rows, places], -1 where there are fewer."""
    counts = np.minimum(np.diff(found.indptr), places)
    table = np.full((len(counts), places), -1)
    there = np.arange(places) < counts[:, None]
    table[there] = found.item[(found.indptr[:-1, None] + np.arange(places))[there]]
    return table


def of_matrix(indptr: AnyArray, indices: AnyArray, data: AnyArray) -> Figures:
    """A checksum of a sparse matrix, equal for equal ones."""
    typed: tuple[AnyArray, ...] = indptr.astype(np.int64), indices.astype(np.int32), data.astype(np.float32)
    return {"checksum": crc32(b"".join(part.tobytes() for part in typed))}


def of_products(best: Ints64, users: Floats32, items: Floats32, world: World) -> Figures:
    """The mean score of all places of all users' lists [users, 20], in double precision: a list that lacks one of the
    best has a smaller one. And the quality of the lists of the tested."""
    total = 0.0
    for first in range(0, len(best), BLOCK):  # a step a block of users: what bounds the memory
        rows = best[first : first + BLOCK]
        gathered = items[np.maximum(rows, 0)].astype(np.float64)
        scores = np.einsum("bkd,bd->bk", gathered, users[first : first + BLOCK].astype(np.float64))
        total += float(scores[rows >= 0].sum())
    return {"score": total / best.size, **of_lists(best[world.tested], world)}


def of_neighbours(indptr: AnyArray, column: AnyArray, value: AnyArray, most: int) -> Figures:
    """The mean over rows of the sum of the `most` largest similarities to others, oneself left out."""
    row = rows_of(np.asarray(indptr, np.int64))
    other = row != column
    row, value = row[other], np.asarray(value, np.float64)[other]
    order = np.lexsort((-value, row))
    counts = np.bincount(row, minlength=len(indptr) - 1)
    rank = np.arange(len(row)) - np.repeat(row_pointers(counts)[:-1], counts)
    return {"similarity": float(value[order][rank < most].sum() / len(counts))}


def of_user_vectors(
    users: AnyArray, items: AnyArray, rows: Ints64, world: World, alpha: float, ridge: float
) -> Figures:
    """The mean over `rows` of what each user's vector costs in the loss of Hu, Koren, Volinsky (2008), where a chosen
    item has the confidence `alpha` and any other 1: the smaller, the better solved."""
    vectors, products = np.asarray(users, np.float64), np.asarray(items, np.float64)
    counts = np.bincount(world.train_user, minlength=world.users)
    place = np.full(world.users, -1)
    place[rows] = np.arange(len(rows))
    mine = place[world.train_user] >= 0
    at, item = place[world.train_user[mine]], world.train_item[mine]
    score = np.einsum("nd,nd->n", vectors[at], products[item])
    chosen = (alpha * (1 - score) ** 2 - score**2).sum()
    every = np.einsum("bd,de,be->", vectors, products.T @ products, vectors)
    cost = float(chosen + every + ridge * (vectors**2).sum()) / len(rows)
    return {"loss": cost, "events a user": float(counts[rows].mean())}


def of_singular_values(values: AnyArray, world: World) -> Figures:
    """The share of the matrix's squared entries, all ones, that the singular values hold."""
    squares: Floats64 = np.asarray(values, np.float64) ** 2
    return {"energy": float(squares.sum() / len(world.train_user))}
