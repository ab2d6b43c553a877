"""The items of largest inner product with each user: exact, pruned by norms, in blocks that stay in the cache.

Single-precision matrix products find the few items that can be among the best, with a bound on their error; these are
scored again, pair by pair, in double precision, and only those scores decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nbarec import product_search
from nbarec.arrays import Floats32, Floats64, Ints64, concat_ranges, frozen
from nbarec.batch import Candidates
from nbarec.kernels import NOT_PROPOSED, TIE
from nbarec.product_search import Ordered, Pairs, Search, smallest_positive
from nbarec.scored_pairs import ScoredPairs, clear_best, merged, stacked
from nbarec.sparse import Csr
from nbarec.work import in_shards


@dataclass(frozen=True)
class ItemIndex(Ordered):
    """Item vectors and their order by length: all that a search needs to know of the items, so a state can keep it.

    `items` float32 [n, d], finite; `order` int64 [n]: items by falling Euclidean norm, equal ones by position;
    `norm` float64 [n]: the norm of `items[order]`; `place` int64 [n]: where in `order` each item stands; `smallest`:
    the smallest positive number in `items` (1 if that is smaller), or 0 where one is negative.

    >>> index = ItemIndex.of(np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]], np.float32))
    >>> found = index.best(np.array([[1.0, 1.0], [1.0, -1.0]]), limit=2, excluded=Csr.empty(2, 3))
    >>> found.indptr.tolist(), found.item.tolist(), found.score.tolist()
    ([0, 2, 4], [2, 1, 0, 2], [4.0, 3.0, 1.0, 0.0])
    """

    @classmethod
    def of(cls, items: Floats32) -> ItemIndex:
        """Of vectors float32 [n, d], which become read-only. Raises ValueError where one isn't finite."""
        norm = np.sqrt(np.einsum("nd,nd->n", items, items, dtype=np.float64))
        if items.dtype != np.float32 or not np.isfinite(norm).all():
            raise ValueError("item vectors must be finite float32 [n, d]")
        order = np.argsort(-norm, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        smallest = float(smallest_positive(items.reshape(1, -1))[0])
        return cls(frozen(items), frozen(order), frozen(norm[order]), frozen(place), smallest)

    def best(self, users: Floats64, limit: int, excluded: Csr, above: float = NOT_PROPOSED) -> Candidates:
        """The `limit` items of largest inner product with each row of `users` float64 [B, d], best first.

        The score of a pair is `pair_products`: the same bits in any batch. Left out are `excluded` (B x n) and scores
        that are not above `above`; negative scores and zeros are scores like any other. Scores within `TIE` of the
        size of the row's best score are ties and go by item position, as in `kernels.best_first`. Raises ValueError
        where users aren't finite, or shapes don't fit.
        """
        self._check(users, excluded)
        limit = min(limit, len(self.items))
        if limit <= 0:
            return Candidates.empty(len(users))
        rows = max(1, product_search.CELLS // max(product_search.TILE, 8 * limit))
        whole = _Block(self, users, limit, excluded, above)
        if len(users) <= rows:
            return whole.best()
        # A step a block of users: what bounds the memory.
        blocks = in_shards(lambda first, _: whole.rows(first, first + rows).best(), range(0, len(users), rows))
        return stacked(blocks, len(users) * limit)

    def _check(self, users: Floats64, excluded: Csr) -> None:
        if users.dtype != np.float64 or users.shape[1:] != self.items.shape[1:] or not np.isfinite(users).all():
            raise ValueError(f"user vectors must be finite float64 [B, {self.items.shape[1]}]")
        if excluded.shape != (fits := (len(users), len(self.items))):
            raise ValueError(f"excluded must be {fits}, users x items, and is {excluded.shape}")


def best_products(
    users: Floats64, items: Floats32, limit: int, excluded: Csr, above: float = NOT_PROPOSED
) -> Candidates:
    """`ItemIndex.of(items).best(...)`: keep the index instead where the same items are searched again."""
    return ItemIndex.of(items).best(users, limit, excluded, above)


@dataclass(frozen=True)
class _Block:
    """The rows that are searched together: `users` float64 [B, d], `excluded` (B x n)."""

    index: ItemIndex
    users: Floats64
    limit: int
    excluded: Csr
    above: float

    def rows(self, first: int, last: int) -> _Block:
        """Rows `first` to `last` alone, which are copied nowhere."""
        indptr = self.excluded.indptr[first : last + 1]
        inside = slice(indptr[0], indptr[-1])
        shape = len(indptr) - 1, self.excluded.shape[1]
        excluded = Csr(indptr - indptr[0], self.excluded.indices[inside], self.excluded.data[inside], shape)
        return replace(self, users=self.users[first:last], excluded=excluded)

    def best(self) -> Candidates:
        """The best items of each row."""
        search = Search.of(self.index, self.users, self.limit, self.excluded, self.above)
        search.run()
        if search.crowded():
            half = len(self.users) // 2
            return stacked([self.rows(0, half).best(), self.rows(half, len(self.users)).best()])
        row, item = self.possible(search)
        clear, left_out = clear_best(self.users, self.index.items, row, item, self.limit, self.above)
        if not left_out.any():
            return clear
        rest = left_out[row]
        return merged([clear, *self.with_ties(self.scored(row[rest], item[rest]), search.complete())])

    def possible(self, search: Search) -> Pairs:
        """Rows and items of the pairs that can be among the best, row by row."""
        row, place = (np.concatenate(parts) for parts in zip(search.possible(), self.zeros(search), strict=True))
        bits = len(self.index.items).bit_length()
        key = (row << bits) | place
        key.sort()
        return key >> bits, self.index.order.take(key & ((1 << bits) - 1))

    def zeros(self, search: Search) -> Pairs:
        """Rows and places of those where a vector, and so the score, is zero.

        They are ties, so no row needs more than the first `limit` that it may have.
        """
        zero_items = self.index.order[self.index.live :]
        low = np.flatnonzero(search.cut() <= 0)
        nowhere = np.flatnonzero(search.size == 0)
        counts = self.limit + self.excluded.counts
        few, many = np.minimum(counts[low], len(zero_items)), np.minimum(counts[nowhere], len(self.index.items))
        first = concat_ranges(np.zeros(len(low)), few)
        item = np.append(zero_items[first], concat_ranges(np.zeros(len(nowhere)), many))
        row, item = self.allowed(np.repeat(np.append(low, nowhere), np.append(few, many)), item)
        return row, self.index.place.take(item)

    def allowed(self, row: Ints64, item: Ints64) -> Pairs:
        """The pairs that aren't excluded."""
        kept = np.flatnonzero(~self.excluded.contains(row, item))
        return row.take(kept), item.take(kept)

    def scored(self, row: Ints64, item: Ints64) -> ScoredPairs:
        """The pairs whose score is above `above`."""
        return ScoredPairs.of(self.users, self.index.items, row, item, self.above)

    def with_ties(self, scored: ScoredPairs, complete: Floats64) -> list[Candidates]:
        """The best of rows with ties; none of a row's pairs is missing down to the score `complete` float64 [B]."""
        largest, reach = scored.ties(self.limit)
        short = (reach - TIE * largest < complete) & (self.above < complete)
        parts = [scored.of_rows(~short).best(self.limit, largest)]
        every = np.arange(len(self.index.items))
        # A step a row whose chain of ties reaches a thousand tolerances down: rare, and each may hold all items.
        for row in np.flatnonzero(short):
            pairs = self.allowed(np.full(len(every), row), every)
            parts.append(self.scored(*pairs).best(self.limit, largest))
        return parts
