"""The items of largest inner product with each user: exact, pruned by norms, in blocks that stay in the cache.

Single-precision matrix products find the few items that can be among the best, with a bound on their error; these are
scored again, pair by pair, in double precision, and only those scores decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints64, concat_ranges, frozen
from nbarec.batch import Candidates
from nbarec.kernels import NOT_PROPOSED, TIE
from nbarec.scored_pairs import ScoredPairs, merged, stacked
from nbarec.sparse import Csr

CELLS = 1 << 20
"""Rough scores held at a time: 4 MB, which stays in the cache."""

TILE = 1024
"""The fewest items that are looked at first: the longest, which bound the best scores well."""

GROUP = 16
"""The most items whose largest rough score stands for all of them when the `limit`-th best is bounded."""

UNIT_ROUNDOFF = 2.0**-24
"""Of single precision."""

TINY = float(np.finfo(np.float32).tiny)
"""The smallest number of single precision with all its digits."""

Pairs = tuple[Ints64, Ints64]


@dataclass(frozen=True)
class ItemIndex:
    """Item vectors and their order by length: all that a search needs to know of the items, so a state can keep it.

    `items` float32 [n, d], finite; `order` int64 [n]: items by falling Euclidean norm, equal ones by position;
    `norm` float64 [n]: the norm of `items[order]`; `place` int64 [n]: where in `order` each item stands; `smallest`:
    the smallest positive number in `items` (1 if that is smaller), or 0 where one is negative.

    >>> index = ItemIndex.of(np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]], np.float32))
    >>> found = index.best(np.array([[1.0, 1.0], [1.0, -1.0]]), limit=2, excluded=Csr.empty(2, 3))
    >>> found.indptr.tolist(), found.item.tolist(), found.score.tolist()
    ([0, 2, 4], [2, 1, 0, 2], [4.0, 3.0, 1.0, 0.0])
    """

    items: Floats32
    order: Ints64
    norm: Floats64
    place: Ints64
    smallest: float

    @classmethod
    def of(cls, items: Floats32) -> ItemIndex:
        """Of vectors float32 [n, d], which become read-only. Raises ValueError where one isn't finite."""
        norm = np.sqrt(np.einsum("nd,nd->n", items, items, dtype=np.float64))
        if items.dtype != np.float32 or not np.isfinite(norm).all():
            raise ValueError("item vectors must be finite float32 [n, d]")
        order = np.argsort(-norm, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        smallest = float(_smallest(items.reshape(1, -1))[0])
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
        rows = max(1, CELLS // max(TILE, 4 * limit))
        whole = _Block(self, users, limit, excluded, above)
        # A step a block of users: what bounds the memory.
        return stacked([whole.rows(first, first + rows).best() for first in range(0, len(users), rows)])

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


@dataclass
class _Search:
    """Rough scores of a block of users: which pairs can be among the best, and down to what score none is missing.

    Let u = 2^-24. A rough score differs from the exact one by at most `margin` = g |user| max |item|,
    g = (d + 4) u / (1 - (d + 4) u): d u for products and sums in any order (Higham 2002, section 3.1), u for rounding
    the user, the rest for norms and thresholds. `floor` is the `limit`-th largest of rough scores of distinct allowed
    items, so that many exact scores reach `floor - margin`; items whose rough score is below `floor - 4 margin` have
    exact ones below `floor - 2 margin`, and are neither among the best nor ties of the last of them (`TIE` is far
    below u), unless ties form a chain. And no score exceeds |user| |item| (Cauchy, Schwarz), so with items by falling
    norm the rest need no look as soon as that is below.

    All of it in units of 2^`exponent`, [B], in which neither products nor sums leave float32's range.
    """

    index: ItemIndex
    limit: int
    users: Floats32
    size: Floats64
    margin: Floats64
    least: Floats64
    exponent: Ints64
    barred: Pairs
    floor: Floats64
    leading: Floats32
    cells: Floats32
    found: list[tuple[Ints64, Ints64, Floats32]]

    @classmethod
    def of(cls, block: _Block) -> _Search:
        """Nothing looked at yet."""
        index, users = block.index, block.users
        greatest = index.norm[0]
        exponent = np.frexp(np.abs(users).max(axis=1, initial=0.0))[1] + np.clip(np.frexp(greatest)[1], -100, 100)
        scaled = np.ldexp(users, -exponent[:, None])
        size = np.sqrt((scaled**2).sum(axis=1))
        error = (users.shape[1] + 4) * UNIT_ROUNDOFF
        margin = error / (1 - error) * size * greatest
        with np.errstate(over="ignore"):  # a bound beyond all scores is infinite
            above = np.ldexp(block.above, -exponent)
        # Nothing cancels where nothing is negative: then rough scores are zero where exact ones are, and only there.
        sure = (block.above >= 0) & (_smallest(scaled) * index.smallest >= 2 * TINY)
        least = np.maximum(above - 2 * margin, np.where(sure, TINY, -np.inf))
        least[size == 0] = np.inf  # a user without a direction has no rough scores: all exact ones are zero
        row, place = block.excluded.row_of, index.place[block.excluded.indices]
        by_place = np.argsort(place)
        return cls(
            index=index,
            limit=block.limit,
            users=scaled.astype(np.float32),
            size=size,
            margin=margin,
            least=least,
            exponent=exponent,
            barred=(row[by_place], place[by_place]),
            floor=np.full(len(users), -np.inf),
            leading=np.full((len(users), block.limit), -np.inf, np.float32),
            cells=np.empty(CELLS, np.float32),
            found=[],
        )

    def run(self) -> None:
        """Look at all items that matter, in tiles that grow as fewer users need them."""
        start, live = 0, int(np.count_nonzero(self.index.norm))
        # A step a tile: what is found in one spares the next.
        while start < live and not self.crowded():
            active = np.flatnonzero(self.size * self.index.norm[start] >= self.cut())
            if not len(active):
                break
            width = min(live - start, max(TILE, 4 * self.limit, start), CELLS // len(active))
            self.scan(active, start, start + width)
            start += width

    def crowded(self) -> bool:
        """Whether so many pairs are possible (ties, nearly always) that fewer rows should be searched at a time."""
        return len(self.size) > 1 and sum(len(row) for row, _, _ in self.found) > 2 * CELLS

    def cut(self) -> Floats64:
        """The least rough score of each row that still matters: float64 [B]."""
        return np.maximum(self.floor - 4 * self.margin, self.least)

    def scan(self, active: Ints64, start: int, stop: int) -> None:
        """Rough scores of the rows `active` and the items `order[start:stop]`."""
        width = stop - start
        tile = self.index.items.take(self.index.order[start:stop], axis=0)
        rough = self.cells[: len(active) * width].reshape(len(active), width)
        np.matmul(self.users.take(active, axis=0), tile.T, out=rough)
        self._bar(rough, active, start)
        self._raise_floor(rough, active, start)
        lowest = np.maximum(self.cut()[active], np.finfo(np.float32).min).astype(np.float32)
        hits = np.flatnonzero(rough >= lowest[:, None])
        row, place = np.divmod(hits, width)
        self.found.append((active[row], place + start, rough.reshape(-1)[hits]))

    def _bar(self, rough: Floats32, active: Ints64, start: int) -> None:
        """Excluded items are never proposed."""
        row, place = self.barred
        inside = slice(*np.searchsorted(place, (start, start + rough.shape[1])))
        at = np.full(len(self.size), -1)
        at[active] = np.arange(len(active))
        at = at[row[inside]]
        rough[at[at >= 0], place[inside][at >= 0] - start] = NOT_PROPOSED

    def _raise_floor(self, rough: Floats32, active: Ints64, start: int) -> None:
        """Bound the `limit`-th best score by the largest scores of groups of items, every so many places."""
        rows, width = rough.shape
        # In the first tile most of the best are neighbours; later only some are, and groups may be larger.
        size = min(GROUP, width if start else max(1, width // (4 * self.limit)))
        groups = width // size
        largest = rough[:, : groups * size].reshape(rows, size, groups).max(axis=1)
        largest = np.concatenate([self.leading[active], largest], axis=1)
        largest.partition(groups, axis=1)
        self.leading[active] = largest[:, groups:]
        self.floor[active] = largest[:, groups]

    def possible(self) -> Pairs:
        """Rows and items of the pairs that can be among the best, but for those where a vector is zero."""
        nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        row, place, rough = (np.concatenate(parts) for parts in zip(nothing, *self.found, strict=True))
        kept = rough >= self.cut()[row]
        return row[kept], self.index.order[place[kept]]

    def complete(self) -> Floats64:
        """The exact score down to which no item of a row is missing: float64 [B]."""
        return np.ldexp(self.floor - 2 * self.margin, self.exponent)


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
        search = _Search.of(self)
        search.run()
        if search.crowded():
            half = len(self.users) // 2
            return stacked([self.rows(0, half).best(), self.rows(half, len(self.users)).best()])
        pairs = search.possible(), self.zeros(search)
        scored = self.scored(*(np.concatenate(parts) for parts in zip(*pairs, strict=True)))
        clear, tied = scored.without_ties(self.limit)
        return merged([clear, *self.with_ties(scored.of_rows(tied), search.complete())]) if tied.any() else clear

    def zeros(self, search: _Search) -> Pairs:
        """The pairs that can be among the best where a vector, and so the score, is zero.

        They are ties, so no row needs more than the first `limit` that it may have.
        """
        zero_items = self.index.order[np.count_nonzero(self.index.norm) :]
        low = np.flatnonzero(search.cut() <= 0)
        nowhere = np.flatnonzero(search.size == 0)
        counts = self.limit + self.excluded.counts
        few, many = np.minimum(counts[low], len(zero_items)), np.minimum(counts[nowhere], len(self.index.items))
        first = concat_ranges(np.zeros(len(low)), few)
        item = np.append(zero_items[first], concat_ranges(np.zeros(len(nowhere)), many))
        return self.allowed(np.repeat(np.append(low, nowhere), np.append(few, many)), item)

    def allowed(self, row: Ints64, item: Ints64) -> Pairs:
        """The pairs that aren't excluded."""
        kept = ~self.excluded.contains(row, item)
        return row[kept], item[kept]

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


def _smallest(rows: AnyArray) -> Floats64:
    """The smallest positive number of each row, or 1 if that is smaller; 0 for a row with a negative one."""
    smallest = np.zeros(len(rows))
    positive = np.flatnonzero(rows.min(axis=1, initial=0.0) >= 0)
    chosen = rows.take(positive, axis=0)
    smallest[positive] = np.where(chosen > 0, chosen, rows.dtype.type(1)).min(axis=1, initial=1.0)
    return smallest
