"""Relevance: what a perfect recommender would show of the held-out events."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Bools, Ints64, hash_texts, mix64
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.ids import encode_texts
from nbarec.sparse import Csr
from nbarec.timelines import Moments, Timeline


def relevant_items(test: Events, relevant: Bools, train: Events, *, repeats: bool = False) -> Csr:
    """What a perfect recommender would show: (rows x items), each pair with the weight of its relevant held-out events.

    `relevant` bool [test events] says which held-out events count. A pair that has a training event of positive weight
    is left out, because by default such items are not recommended again; `repeats` keeps it.
    """
    counts = relevant
    if not repeats:
        liked = train.weight > 0
        known = Csr.from_pairs(train.row[liked], train.item[liked], None, (train.rows, train.n_items))
        counts = counts & ~known.contains(test.row, test.item)
    return test.where(counts).matrix()


def relevant_moments(timeline: Timeline, relevant: Bools, *, repeats: bool = False) -> Ints64:
    """Which of the later events of a timeline are to be found, each at its moment: positions, int64 [M].

    `relevant` bool [later events] says which count. Those of an item that the user liked already, by what was known at
    the moment, are left out, because by default such items are not recommended again; `repeats` keeps them.
    """
    return np.flatnonzero(relevant if repeats else relevant & ~timeline.repeats)


def truth_of(later: Events, which: Ints64) -> Csr:
    """What a perfect recommender would show at the moments of some events, int64 [M]: of each its item alone, with the
    event's weight: (M x items)."""
    return Csr.from_pairs(np.arange(len(which)), later.item[which], later.weight[which], (len(which), later.n_items))


def fingerprint(truth: Csr, data: Dataset, moments: Moments | None = None, *, weights: bool = False) -> str:
    """A short text that tells what is to be found from anything else: the pairs of a user's and an item's outside id
    in `truth` (users x items), in any order; with `moments` also which event of the user it is, `truth` being (moments
    x items). With `weights` it tells other weights of the pairs, too."""
    users, items = (hash_texts(*encode_texts(ids.texts(range(len(ids))))) for ids in (data.users, data.items))
    if moments is not None:
        users = mix64(users.take(moments.user)) + moments.number.astype(np.uint64)
    pairs = mix64(mix64(users.take(truth.row_of)) + items.take(truth.indices))
    if weights:
        pairs = mix64(pairs + truth.data.astype(np.float32).view(np.uint32))
    return f"{truth.nnz}:{int(pairs.sum(dtype=np.uint64)):016x}"
