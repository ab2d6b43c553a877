"""Which items can be among those of largest inner product: rough scores, a bound on their error, pruned by norms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints32, Ints64, frozen
from nbarec.kernels import NOT_PROPOSED
from nbarec.sparse import Csr

CELLS = 1_000_000
"""Rough scores held at a time: 4 MB. No power of two: scores of one user would all fall on the same lines of the cache,
and turning rows into columns take six times as long."""

TILE = 1024
"""The fewest items that are looked at first: the longest, which bound the best scores well."""

WIDEST = 8192
"""The most items that are looked at together, and at first for a single user: it takes no longer than the calls around.
Their vectors are kept in the order of their lengths too, as most searches end among them."""

GROUP = 16
"""The most items whose largest rough score stands for all of them when the `limit`-th best is bounded."""

MANY = 8
"""Where more than one in so many groups matters, a look at all their members is faster than one at each of these."""

UNIT_ROUNDOFF = 2.0**-24
"""Of single precision."""

TINY = float(np.finfo(np.float32).tiny)
"""The smallest number of single precision with all its digits."""

LOWEST = float(np.finfo(np.float32).min)
"""The smallest number of single precision: nothing excluded is above."""

Pairs = tuple[Ints64, Ints64]
"""Rows and items, or rows and places: int64 [N] each."""


@dataclass(frozen=True)
class Ordered:
    """Item vectors by falling length: `items` float32 [n, d], `order` int64 [n], `norm` float64 [n] of `items[order]`,
    `place` int64 [n] where in `order` each item stands; `smallest` as `smallest_positive` of all."""

    items: Floats32
    order: Ints64
    norm: Floats64
    place: Ints64
    smallest: float

    @cached_property
    def longest(self) -> Floats32:
        """The vectors of the first items in `order`, where nearly all searches end."""
        return frozen(self.items.take(self.order[:WIDEST], axis=0))

    def tile(self, start: int, stop: int) -> Floats32:
        """The vectors of the items `order[start:stop]`."""
        if stop <= WIDEST:
            return self.longest[start:stop]
        return self.items.take(self.order[start:stop], axis=0)

    @cached_property
    def live(self) -> int:
        """How many items are longer than zero."""
        return int(np.count_nonzero(self.norm))


@dataclass
class Search:
    """Rough scores of a block of users: which pairs can be among the best, and down to what score none is missing.

    Let u = 2^-24. A rough score differs from the exact one by at most `margin` = g |user| max |item|,
    g = (d + 4) u / (1 - (d + 4) u): d u for products and sums in any order (Higham 2002, section 3.1), u for rounding
    the user, the rest for norms and thresholds. `floor` is the `limit`-th largest of rough scores of distinct allowed
    items, so that many exact scores reach `floor - margin`; items whose rough score is below `floor - 4 margin` have
    exact ones below `floor - 2 margin`, and are neither among the best nor ties of the last of them (`TIE` is far
    below u), unless ties form a chain. And no score exceeds |user| |item| (Cauchy, Schwarz), so with items by falling
    norm the rest need no look as soon as that is below.

    All of it in units of 2^`exponent`, [B], in which neither products nor sums leave float32's range.

    Tighter bounds were tried. Of the first h principal directions and the norm of the rest, h = 16 leaves half of the
    pairs that norms leave, but scattered ones: the products of h + 1 numbers and the walk over all their results cost
    more than the products that they spare.
    """

    index: Ordered
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
    found: list[tuple[Ints32, Ints32, Floats32]]

    @classmethod
    def of(cls, index: Ordered, users: Floats64, limit: int, excluded: Csr, lowest: float) -> Search:
        """Nothing looked at yet; scores must be above `lowest`."""
        greatest = index.norm[0]
        exponent = np.frexp(np.abs(users).max(axis=1, initial=0.0))[1] + np.clip(np.frexp(greatest)[1], -100, 100)
        scaled = np.ldexp(users, -exponent[:, None])
        size = np.sqrt((scaled**2).sum(axis=1))
        error = (users.shape[1] + 4) * UNIT_ROUNDOFF
        margin = error / (1 - error) * size * greatest
        with np.errstate(over="ignore"):  # a bound beyond all scores is infinite
            above = np.ldexp(lowest, -exponent)
        # Nothing cancels where nothing is negative: then rough scores are zero where exact ones are, and only there.
        sure = (lowest >= 0) & (smallest_positive(scaled) * index.smallest >= 2 * TINY)
        least = np.maximum(above - 2 * margin, np.where(sure, TINY, -np.inf))
        least[size == 0] = np.inf  # a user without a direction has no rough scores: all exact ones are zero
        return cls(
            index=index,
            limit=limit,
            users=scaled.astype(np.float32),
            size=size,
            margin=margin,
            least=least,
            exponent=exponent,
            barred=_by_place(excluded, index.place),
            floor=np.full(len(users), -np.inf),
            leading=np.full((len(users), limit), NOT_PROPOSED, np.float32),
            cells=np.empty(CELLS + GROUP * len(users), np.float32),
            found=[],
        )

    def run(self) -> None:
        """Look at all items that matter, in tiles that double: few bounds, and each from as many items as before it."""
        start = 0
        # A step a tile: what is found in one spares the next.
        while start < self.index.live and not self.crowded():
            need = self.need()
            rows = np.flatnonzero(need > start)
            if not len(rows):
                break
            rows = rows.take(np.argsort(-need.take(rows), kind="stable"))
            width = max(TILE, 4 * self.limit, start or WIDEST // len(rows))
            width = min(width, WIDEST, CELLS, int(need[rows[0]]) - start)
            tile = self.index.tile(start, start + width)
            # A step as many rows as there are cells for: they need about as many items.
            while len(rows) and not self.crowded():
                last = min(width, int(need[rows[0]]) - start)
                some = max(1, CELLS // last)
                self.scan(rows[:some], tile[:last], start)
                rows = rows[some:]
            start += width

    def need(self) -> Ints64:
        """How many items, by falling norm, can still matter for each row, |user| |item| being no less: int64 [B]."""
        with np.errstate(divide="ignore", invalid="ignore"):  # without a direction: none, as its least is infinite
            return np.searchsorted(-self.index.norm[: self.index.live], -self.cut() / self.size, side="right")

    def crowded(self) -> bool:
        """Whether so many pairs are possible (ties, nearly always) that fewer rows should be searched at a time."""
        return len(self.size) > 1 and sum(len(row) for row, _, _ in self.found) > 2 * CELLS

    def cut(self) -> Floats64:
        """The least rough score of each row that still matters: float64 [B]."""
        return np.maximum(self.floor - 4 * self.margin, self.least)

    def scan(self, active: Ints64, tile: Floats32, start: int) -> None:
        """Look at the rows `active` and the items of `tile` float32 [W, d], which stand at `order[start:]`.

        Rough scores are [items, rows]: the largest of a group of items is then found along few long rows of numbers,
        not along many short columns, which takes an eighth of the time.
        """
        width, rows = len(tile), len(active)
        # In the first tile most of the best are neighbours; later only some are, and groups may be larger.
        size = min(GROUP, width if start else max(1, width // (4 * self.limit)))
        groups = -(-width // size)
        rough = self.cells[: groups * size * rows].reshape(groups * size, rows)
        np.matmul(tile, self.users.take(active, axis=0).T, out=rough[:width])
        rough[width:] = NOT_PROPOSED
        self._bar(rough, active, start, start + width)
        largest = rough.reshape(size, groups, rows).max(axis=0) if size > 1 else rough
        self._raise_floor(largest, active)
        self._collect(rough, largest, active, start)

    def _bar(self, rough: Floats32, active: Ints64, start: int, stop: int) -> None:
        """Excluded items are never proposed."""
        row, place = self.barred
        inside = slice(*np.searchsorted(place, (start, stop)))
        at = np.full(len(self.size), -1)
        at[active] = np.arange(len(active))
        at = at.take(row[inside])
        here = np.flatnonzero(at >= 0)
        rough[place[inside].take(here) - start, at.take(here)] = NOT_PROPOSED

    def _raise_floor(self, largest: Floats32, active: Ints64) -> None:
        """Bound the `limit`-th best score by the largest scores of groups of items: float32 [groups, rows]."""
        better = np.flatnonzero(largest.max(axis=0) > self.floor.take(active))
        rows = active.take(better)
        known = np.ascontiguousarray(largest.T).take(better, axis=0)
        known = np.concatenate([self.leading.take(rows, axis=0), known], axis=1)
        known.partition(len(largest), axis=1)
        self.leading[rows] = known[:, len(largest) :]
        self.floor[rows] = known[:, len(largest)]

    def _collect(self, rough: Floats32, largest: Floats32, active: Ints64, start: int) -> None:
        """Keep the pairs that matter: those of the groups whose largest does."""
        lowest = np.maximum(self.cut().take(active), LOWEST).astype(np.float32)
        cell = np.flatnonzero(largest >= lowest)
        if len(largest) < len(rough):
            many = len(cell) * MANY > largest.size
            cell = np.flatnonzero(rough >= lowest) if many else _members(cell, rough, largest.size, lowest)
        place, at = _divided(cell, len(active))
        place += start
        self.found.append((active.take(at).astype(np.int32), place.astype(np.int32), rough.reshape(-1).take(cell)))

    def possible(self) -> Pairs:
        """Rows and places of the pairs that can be among the best, but for those where a vector is zero."""
        nothing = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
        row, place, rough = (np.concatenate(parts) for parts in zip(nothing, *self.found, strict=True))
        kept = np.flatnonzero(rough >= self.cut().take(row))
        return row.take(kept).astype(np.int64), place.take(kept).astype(np.int64)

    def complete(self) -> Floats64:
        """The exact score down to which no item of a row is missing: float64 [B]."""
        return np.ldexp(self.floor - 2 * self.margin, self.exponent)


def _members(group: Ints64, rough: Floats32, groups: int, lowest: Floats32) -> Ints64:
    """The cells of `rough` float32 [items, rows] that reach their row's `lowest`, of groups whose largest does: every
    `groups`-th cell from the group's own belongs to it."""
    _, row = _divided(group, rough.shape[1])
    member = np.arange(0, rough.size, groups)[:, None] + group
    return np.asarray(member[rough.reshape(-1).take(member) >= lowest.take(row)], np.int64)


def _divided(number: Ints64, by: int) -> Pairs:
    """Quotients and remainders, neither of them negative: `np.divmod` takes four times as long."""
    quotient = number // max(by, 1)
    return quotient, number - quotient * by


def _by_place(excluded: Csr, place: Ints64) -> Pairs:
    """Rows and places of excluded items, by place."""
    bits = excluded.shape[0].bit_length()
    key = (place.take(excluded.indices) << bits) | excluded.row_of
    key.sort()
    return key & ((1 << bits) - 1), key >> bits


def smallest_positive(rows: AnyArray) -> Floats64:
    """The smallest positive number of each row, or 1 if that is smaller; 0 for a row with a negative one."""
    smallest = np.zeros(len(rows))
    positive = np.flatnonzero(rows.min(axis=1, initial=0.0) >= 0)
    chosen = rows.take(positive, axis=0)
    smallest[positive] = np.where(chosen > 0, chosen, rows.dtype.type(1)).min(axis=1, initial=1.0)
    return smallest
