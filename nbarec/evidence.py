"""Evidence: why a generator gave its score, as named parts that add up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen, rank_in_row, row_pointers


@dataclass(frozen=True)
class Evidence:
    """Why M pairs of a row and an item have their generator's score.

    Pair m has the parts `indptr[m]` to `indptr[m + 1]`, the largest first. A part is an item of the user's history, at
    position `item` int32 [E], or, where that is -1, what `label` says: `genre rock`. Its `amount` float64 [E] is what
    it adds to the score, and `rest` float64 [M] what the score has beside the parts that are told; together they add
    up to it. `because` puts the names of the parts in words, in the place of `{}`: `you played {}`.
    """

    indptr: Ints64
    item: Ints32
    label: tuple[str, ...]
    amount: Floats64
    rest: Floats64
    because: str

    def __len__(self) -> int:
        return len(self.rest)

    @classmethod
    def strongest(
        cls,
        pair: Ints64,
        part: Ints32 | Sequence[str],
        amount: Floats64,
        score: Floats64,
        limit: int,
        because: str,
    ) -> Evidence:
        """The `limit` parts of the largest size of each pair; what the others add goes into the rest.

        `pair` int64 [E] says whose each part is, `part` which item of the history (int32 [E]) or what it is called,
        `amount` float64 [E] and `score` float64 [M] what they are worth. Ties stay in the order given.
        """
        order = np.lexsort((-np.abs(amount), pair))
        pairs = len(score)
        told = order[rank_in_row(row_pointers(np.bincount(pair, minlength=pairs))) <= limit]
        sums = np.bincount(pair[told], weights=amount[told], minlength=pairs)
        item, label = np.full(len(told), -1, np.int32), ("",) * len(told)
        if isinstance(part, np.ndarray):
            item = part[told].astype(np.int32)
        else:
            label = tuple(part[at] for at in told.tolist())
        return cls(
            indptr=frozen(row_pointers(np.bincount(pair[told], minlength=pairs))),
            item=frozen(item),
            label=label,
            amount=frozen(amount[told].astype(np.float64)),
            rest=frozen(score - sums),
            because=because,
        )

    @classmethod
    def whole(cls, labels: Sequence[str], score: Floats64, because: str) -> Evidence:
        """One part a pair, worth the whole score: `popular in country DE`."""
        pairs = np.arange(len(score), dtype=np.int64)
        return cls.strongest(pairs, tuple(labels), np.asarray(score, np.float64), score, 1, because)

    def labelled(self, labels: Sequence[str]) -> Evidence:
        """The same parts, which are no items, by name: one label a part."""
        return replace(self, item=frozen(np.full(len(self.item), -1, np.int32)), label=tuple(labels))

    @property
    def score(self) -> Floats64:
        """What the parts and the rest add up to: float64 [M]."""
        pair = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        return np.bincount(pair, weights=self.amount, minlength=len(self)) + self.rest
