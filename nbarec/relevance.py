"""Relevance: what a perfect recommender would show of the held-out events."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Bools, hash_texts, mix64
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.ids import encode_texts
from nbarec.sparse import Csr


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


def fingerprint(truth: Csr, data: Dataset) -> str:
    """A short text that tells what is to be found from anything else: the pairs of a user's and an item's outside id
    in `truth` (users x items), in any order."""
    users, items = (hash_texts(*encode_texts(ids.texts(range(len(ids))))) for ids in (data.users, data.items))
    pairs = mix64(mix64(users.take(truth.row_of)) + items.take(truth.indices))
    return f"{truth.nnz}:{int(pairs.sum(dtype=np.uint64)):016x}"
