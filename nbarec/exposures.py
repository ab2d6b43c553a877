"""Exposure: how often each item is shown to the users of a resample, for many resamples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from nbarec.arrays import Ints32, Ints64, stable_order
from nbarec.statistics import Resamples

BITS = 64
"""Of one whole number, which holds the counts of several resamples side by side."""


def drawn_exposures(item: Ints32, items: int, resamples: Resamples, count: int) -> Iterator[Ints64]:
    """How often each item is shown to the users of each of the first `count` resamples, one at a time: int64 [items].

    `item` int32 [users, k] are slates, -1 for an empty place, in which no item stands twice. A user's numbers of draws
    in several resamples are packed into one number of 64 bits; an item's exposure is the sum of that number over
    the users who see it. No lane runs over, because no exposure is larger than the users drawn, each with as many rows
    as anybody has.
    """
    filled = np.flatnonzero(item.ravel() >= 0)
    shown = item.ravel().take(filled)
    order = stable_order(shown, max(items, 1).bit_length())
    user = filled.take(order) // max(item.shape[1], 1)
    user = user if resamples.of is None else resamples.of.take(user)
    present, starts = np.unique(shown.take(order), return_index=True)
    most = resamples.users * int(resamples.counts.max(initial=1))
    lane = next((bits for bits in (BITS // 4, BITS // 2) if most < 1 << bits), BITS - 1)
    drawn = islice(chain.from_iterable(resamples.blocks()), count)
    while together := list(islice(drawn, BITS // lane)):  # a step a few resamples: as many as there are lanes
        packed = np.zeros(resamples.users, np.int64)
        for at, users in enumerate(together):
            packed |= np.bincount(users, minlength=resamples.users) << (lane * at)
        summed = np.add.reduceat(packed.take(user), starts) if len(starts) else packed[:0]
        for at in range(len(together)):
            exposure = np.zeros(items, np.int64)
            exposure[present] = (summed >> (lane * at)) & ((1 << lane) - 1)
            yield exposure
