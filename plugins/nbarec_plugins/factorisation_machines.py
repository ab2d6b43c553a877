"""Factorisation machines: what they give to entries whose fields have one active level each, and the slopes of it.

An entry n has F fields; in field f it has one active level, numbered through all fields, with a value x_nf. A machine
has for each level l a weight w_l and vectors v, and gives the entry the margin

    base + sum_f w_f x_f + sum over pairs f < g of <v_f, v_g> x_f x_g            (Rendle 2010)

where v_f is that of the level that is active in f. In the field-aware form a level has a vector for each other field,
and the pair's product is <v_f,g, v_g,f> (Juan, Zhuang, Chin, Lin 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints32, Ints64, frozen, stable_order

BLOCK = 1 << 12
"""Entries that are worked on at a time: their vectors stay in the cache."""


@dataclass(frozen=True)
class Active:
    """N entries: `level` int32 [F, N], numbered through all fields, and `value` float32 [F, N], finite."""

    level: Ints32
    value: Floats32

    def __len__(self) -> int:
        return int(self.level.shape[1])

    @property
    def fields(self) -> int:
        """F."""
        return len(self.level)

    def take(self, entries: Ints64) -> Active:
        """These entries."""
        return Active(self.level.take(entries, axis=1), self.value.take(entries, axis=1))

    def blocks(self) -> Iterator[tuple[slice, Active]]:
        """All entries, a block at a time."""
        for start in range(0, len(self), BLOCK):  # a step a block: what bounds the memory
            block = slice(start, min(start + BLOCK, len(self)))
            yield block, Active(self.level[:, block], self.value[:, block])


@dataclass(frozen=True)
class Slopes:
    """How a sum over entries changes with what levels have: `level` int64 [U], each once, `linear` float32 [U],
    `vectors` float32 [U, k] or [U, F, k]; `entries` int64 [U]: how many have the level."""

    level: Ints64
    linear: Floats32
    vectors: Floats32
    entries: Ints64


@dataclass(frozen=True)
class Machine:
    """`base`, `linear` w float32 [L], and `vectors` v: float32 [L, k], or [L, F, k] in the field-aware form."""

    base: float
    linear: Floats32
    vectors: Floats32

    @classmethod
    def zeros(cls, levels: int, fields: int, factors: int, *, field_aware: bool) -> Machine:
        """One that gives 0 to everything."""
        shape = (levels, fields, factors) if field_aware else (levels, factors)
        return cls(0.0, np.zeros(levels, np.float32), np.zeros(shape, np.float32))

    @property
    def field_aware(self) -> bool:
        """Whether a level has a vector for each other field."""
        return bool(self.vectors.ndim == 3)

    @property
    def has_pairs(self) -> bool:
        """Whether vectors have a length: without one it is a linear model."""
        return bool(self.vectors.shape[-1] > 0)

    def margins(self, active: Active) -> Floats64:
        """The margin of each entry, float64 [N], whose bits depend on that entry alone.

        All is added up in float64 in the order of fields, products of vectors in that of `einsum`.
        """
        margin = np.empty(len(active))
        for block, inside in active.blocks():
            if self.has_pairs and not self.field_aware:
                margin[block] = self._plain_margins(inside)
                continue
            margin[block] = self.base + self._linear(inside, np.float64)
            if self.has_pairs:
                margin[block] += self._pairs(inside, np.float64)
        return margin

    def quick_margins(self, active: Active) -> Floats32:
        """The same in float32, for learning."""
        margin = np.float32(self.base) + self._linear(active, np.float32)
        return np.asarray(margin + self._pairs(active, np.float32) if self.has_pairs else margin, np.float32)

    def parts(self, active: Active) -> Floats64:
        """Of each field its w_f x_f and half of each pair that it is in: float64 [F, N]. With `base` they add up."""
        part = np.empty((active.fields, len(active)))
        for block, inside in active.blocks():
            for field in range(active.fields):  # a step a field, in order
                part[field, block] = self._weighed(inside, field, np.float64)
            if not self.has_pairs:
                continue
            for field in range(active.fields):
                part[field, block] += 0.5 * self._half(inside, field)
        return part

    def main_effects(self, active: Active) -> Floats64:
        """w_f x_f of each field: float64 [F, N]."""
        return np.stack([self._weighed(active, field, np.float64) for field in range(active.fields)])

    def pair(self, active: Active, first: int, second: int) -> Floats64:
        """What the pair of two different fields adds to each entry's margin: float64 [N]."""
        if not self.has_pairs:
            return np.zeros(len(active))
        left, right = self._vectors(active, first, second, np.float64), self._vectors(active, second, first, np.float64)
        return np.asarray(np.einsum("nk,nk->n", left, right), np.float64)

    def slopes(self, active: Active, slope: Floats32) -> Slopes:
        """How sum_n slope_n margin_n changes with w and v; `slope` float32 [N]."""
        vectors = self._field_aware_slopes if self.field_aware else self._plain_slopes
        groups = [_Levels.of(level) for level in active.level]
        weighed = active.value * slope
        linear = [group.sums(own) for group, own in zip(groups, weighed, strict=True)]
        width = self.vectors.shape[1:]
        found = vectors(active, weighed, groups) if self.has_pairs else [np.empty((len(g), *width)) for g in groups]
        return Slopes(
            np.concatenate([group.level for group in groups]),
            np.concatenate(linear).astype(np.float32),
            np.concatenate(found).astype(np.float32, copy=False),
            np.concatenate([group.counts for group in groups]),
        )

    def _plain_margins(self, active: Active) -> Floats64:
        """Margins in the plain form, by the lemma that `_pairs` has too; |v|^2 of a level is worked out once."""
        added = np.zeros((len(active), self._side_by_side.shape[1]))
        plain = (active.value == 1).all(axis=1).tolist()  # times 1 changes nothing
        for level, value, is_plain in zip(active.level, active.value, plain, strict=True):  # a step a field, in order
            own = self._side_by_side.take(level, axis=0)
            if not is_plain:
                exact = value.astype(np.float64)
                norm = own[:, 1] * (exact * exact)
                own *= exact[:, None]
                own[:, 1] = norm
            added += own
        linear, norms, vectors = added[:, 0], added[:, 1], added[:, 2:]
        pairs = np.einsum("nk,nk->n", vectors, vectors) - norms
        return np.asarray(self.base + linear + 0.5 * pairs, np.float64)

    @cached_property
    def _side_by_side(self) -> Floats64:
        """w, |v|^2 and v of each level, as they are added up: float64 [L, 2 + k]. What is read together stands
        together, and adding float32 to float64 would take twice the time."""
        exact = self.vectors.astype(np.float64)
        norms = np.einsum("lk,lk->l", exact, exact)
        return frozen(np.concatenate([self.linear[:, None], norms[:, None], exact], axis=1, dtype=np.float64))

    def _weighed(self, active: Active, field: int, dtype: type[np.floating]) -> AnyArray:
        weight: AnyArray = self.linear.take(active.level[field]).astype(dtype)
        weight *= active.value[field]
        return weight

    def _linear(self, active: Active, dtype: type[np.floating]) -> AnyArray:
        total = np.zeros(len(active), dtype)
        for field in range(active.fields):  # a step a field, in order
            total += self._weighed(active, field, dtype)
        return total

    def _pairs(self, active: Active, dtype: type[np.floating]) -> AnyArray:
        """What all pairs add up to. In the plain form by (|sum_f v_f x_f|^2 - sum_f |v_f x_f|^2) / 2, which is linear
        in the number of fields (Rendle 2010, lemma 3.1)."""
        total = np.zeros(len(active), dtype)
        if self.field_aware:
            # One step a pair of fields: every pair has vectors of its own.
            for first in range(active.fields):
                for second in range(first + 1, active.fields):
                    left = self._vectors(active, first, second, dtype)
                    total += np.einsum("nk,nk->n", left, self._vectors(active, second, first, dtype))
            return total
        added = np.zeros((len(active), self.vectors.shape[1]), dtype)
        for field in range(active.fields):  # a step a field, in order
            own = self._vectors(active, field, 0, dtype)
            added += own
            total -= np.einsum("nk,nk->n", own, own)
        total += np.einsum("nk,nk->n", added, added)
        total *= 0.5
        return total

    def _half(self, active: Active, field: int) -> Floats64:
        """All pairs of one field: float64 [N]."""
        total = np.zeros(len(active))
        others = [other for other in range(active.fields) if other != field]
        if self.field_aware:
            for other in others:  # a step a field, in order
                total += self.pair(active, field, other)
            return total
        rest = np.zeros((len(active), self.vectors.shape[1]))
        for other in others:
            rest += self._vectors(active, other, field, np.float64)
        total += np.einsum("nk,nk->n", self._vectors(active, field, 0, np.float64), rest)
        return total

    def _vectors(self, active: Active, field: int, other: int, dtype: type[np.floating]) -> AnyArray:
        """v_f x_f towards another field: [N, k]."""
        table = self.vectors[:, other] if self.field_aware else self.vectors
        taken: AnyArray = table.take(active.level[field], axis=0).astype(dtype, copy=False)
        taken *= active.value[field][:, None]
        return taken

    def _plain_slopes(self, active: Active, weighed: Floats32, groups: list[_Levels]) -> list[Floats32]:
        """sum_n slope_n x_f (s_n - x_f v_f) of each level, with s_n the sum of the entry's vectors."""
        added = np.zeros((len(active), self.vectors.shape[1]), np.float32)
        for field in range(active.fields):
            added += self._vectors(active, field, 0, np.float32)
        found = []
        for field, group in enumerate(groups):
            towards = group.sums(added * weighed[field][:, None])
            own = group.sums(weighed[field] * active.value[field])
            found.append(towards - own[:, None] * self.vectors[group.level])
        return found

    def _field_aware_slopes(self, active: Active, weighed: Floats32, groups: list[_Levels]) -> list[Floats32]:
        """sum_n slope_n x_f x_g v_g,f of each level in f, towards each other field g."""
        found = [np.zeros((len(group), *self.vectors.shape[1:]), np.float32) for group in groups]
        # One step a pair of fields and a direction.
        for field, group in enumerate(groups):
            for other in range(active.fields):
                if other != field:
                    against = self._vectors(active, other, field, np.float32)
                    against *= weighed[field][:, None]
                    found[field][:, other] = group.sums(against)
        return found


@dataclass(frozen=True)
class _Levels:
    """The different levels of one field in some entries: `level` int64 [U], ascending, the entries' `order` by level
    int64 [N], and where each level `starts` in it int64 [U]."""

    level: Ints64
    order: Ints64
    starts: Ints64

    @classmethod
    def of(cls, level: Ints32) -> _Levels:
        order = stable_order(level, int(level.max(initial=0)).bit_length())
        ordered = level.take(order)
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
        return cls(ordered[starts].astype(np.int64), order, starts)

    def __len__(self) -> int:
        return len(self.level)

    @property
    def counts(self) -> Ints64:
        """How many entries have each level: int64 [U]."""
        return np.diff(np.append(self.starts, len(self.order)))

    def sums(self, values: Floats32) -> Floats32:
        """The sum of `values` [N, ...] over the entries of each level: [U, ...]."""
        return np.asarray(np.add.reduceat(values.take(self.order, axis=0), self.starts, axis=0))


def frozen_machine(machine: Machine) -> Machine:
    """The same, its arrays read-only."""
    return Machine(machine.base, frozen(machine.linear), frozen(machine.vectors))
