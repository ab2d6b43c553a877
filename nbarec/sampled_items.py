"""Sampled items: lists of each user's relevant items and some others alone, as some published tables measure."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Ints64
from nbarec.events import Events
from nbarec.sparse import Csr
from nbarec.timelines import Moments

AT_ONCE = 4096
"""Requests whose negatives are drawn together: fixed, so that the draws depend on the seed alone."""

SAMPLED = (
    "WARNING: lists are of each user's relevant items and {:,} sampled others alone. Such figures are far too high and "
    "may put models in another order than lists of all items do (Krichene and Rendle 2020): set them beside nothing "
    "but a published table that was measured so."
)


def with_negatives(truth: Csr, known: Events, negatives: int, rng: np.random.Generator) -> Csr:
    """What each user may be shown: the relevant items (`truth`, users x items) and as many others, drawn without
    replacement from those that are not relevant and that the user has no event of in `known`; all where there are
    fewer."""
    seen = known.matrix()
    row, item = np.append(seen.row_of, truth.row_of), np.append(seen.indices, truth.indices)
    taken = Csr.from_pairs(row, item, None, truth.shape)
    row, place = _drawn_places(truth.shape[1] - taken.counts, negatives, rng)
    # The n-th item that is not taken stands as many places further on as there are taken ones before it.
    bits = truth.shape[1].bit_length()
    before = taken.indices - (np.arange(taken.nnz) - taken.indptr.take(taken.row_of))
    keys = (taken.row_of << bits) | before
    skipped = np.searchsorted(keys, (row << bits) | place, side="right") - taken.indptr.take(row)
    return Csr.from_pairs(np.append(truth.row_of, row), np.append(truth.indices, place + skipped), None, truth.shape)


def with_negatives_at(truth: Csr, moments: Moments, negatives: int, rng: np.random.Generator) -> Csr:
    """The same for requests of the past (`truth`, moments x items): others are items that the user had no event of in
    the history known then."""
    parts = []
    for start in range(0, len(moments), AT_ONCE):  # a step a block, so that not all histories are there at once
        rows = np.arange(start, min(start + AT_ONCE, len(moments)))
        parts.append(with_negatives(truth.take_rows(rows), moments.take(rows).histories(), negatives, rng))
    row = np.concatenate([part.row_of + at * AT_ONCE for at, part in enumerate(parts)])
    return Csr.from_pairs(row, np.concatenate([part.indices for part in parts]), None, truth.shape)


def _drawn_places(free: Ints64, wanted: int, rng: np.random.Generator) -> tuple[Ints64, Ints64]:
    """For each row `wanted` of the numbers from 0 to below `free` int64 [rows], without replacement, or all of them:
    rows and numbers, int64 (Floyd's algorithm: Bentley and Floyd 1987)."""
    count = np.minimum(free, wanted)
    drawn = np.full((len(free), wanted), -1)
    for step in range(wanted):  # a step a number, for all rows together: each depends on those before
        rows = np.flatnonzero(step < count)
        last = free[rows] - count[rows] + step
        number = rng.integers(0, last + 1)
        twice = (drawn[rows, :step] == number[:, None]).any(axis=1)
        drawn[rows, step] = np.where(twice, last, number)
    row, at = np.nonzero(drawn >= 0)
    return row, drawn[row, at]
