"""The gradient of personalised ranking over unit vectors, a batch of users at a time, and steps along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64
from nbarec.work import in_shards, on_shards
from nbarec_plugins.bpr_batches import Batch, Chunk

FIRST, SECOND = 0.9, 0.99
"""How much of the mean gradient, and of its mean square, each step keeps."""

SMALL = 1e-6
"""A history whose squared length, without an item, is below this share of the whole is nothing but that item."""

ROWS = 1 << 11
"""Vectors that one worker moves at a time, which stay in the cache."""


@dataclass(frozen=True)
class Drawn:
    """The items that a batch's own ones are ranked above: `item` int64 [groups * size], each once, in groups of `size`.

    `group` int64 [P] says which group each pair is compared with.
    """

    item: Ints64
    group: Ints64
    size: int

    @classmethod
    def of(cls, item: Ints64, size: int, pairs: int, rng: np.random.Generator) -> Drawn:
        """Each of the P `pairs` gets a random group."""
        groups = len(item) // size
        group = rng.integers(0, groups, pairs) if groups > 1 else np.zeros(pairs, np.int64)
        return cls(item, group, size)

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self.item) // self.size


@dataclass(frozen=True)
class _Found:
    """What a chunk of users gives: the `loss` of its pairs, and how it rises with the vectors of the drawn items
    float32 [drawn, d]."""

    loss: float
    drawn: Floats32


@dataclass(frozen=True)
class Slope:
    """The objective at `vectors` e float32 [items, d] of length 1, and its slope, for one batch.

    With h = sum over the history of w_j e_j, and h' = h - w_i e_i, the history without i, a pair of user and item adds

        ln(own / (own + sum over its group of exp(cos(h, e_j) / temperature))), own = exp(cos(h', e_i) / temperature)

    where items of the user's own count nothing in a group. `pull` float32 [P] and `turn` float32 [users, d] are filled
    chunk by chunk: how the objective rises with h for each unit of e_i in it, and with h otherwise.
    """

    batch: Batch
    vectors: Floats32
    drawn: Drawn
    temperature: float

    def ascent(self) -> tuple[Floats32, float]:
        """How the objective, added up over the pairs, rises with the vectors, float32 [items, d], but for what is along
        them, which their fixed length takes away; and the loss: minus the objective."""
        batch = self.batch
        histories = batch.by_user.times(batch.weight, self.vectors)
        pull, turn = np.zeros(len(batch.item), np.float32), np.empty_like(histories)
        place = np.full(len(self.vectors), -1)
        place[self.drawn.item] = np.arange(len(self.drawn.item))
        pair, at = batch.own(place)
        against = self.vectors.take(self.drawn.item, axis=0)

        def look(chunk: Chunk, _: object) -> _Found:
            inside = slice(*np.searchsorted(pair, (chunk.start, chunk.stop)))
            own = batch.row.take(pair[inside]) - chunk.first, at[inside]
            return self._look(chunk, histories, against, own, pull, turn)

        found = list(in_shards(look, batch.chunks))
        turn += batch.by_user.times(pull, self.vectors)
        ascent = batch.by_item.times(pull, histories)
        ascent += batch.by_item.times(batch.weight, turn)
        # One step a chunk: added up in their order, whoever worked on them.
        for part in found:
            ascent[self.drawn.item] -= part.drawn
        return ascent, sum(part.loss for part in found)

    def _look(
        self,
        chunk: Chunk,
        histories: Floats32,
        against: Floats32,
        own: tuple[Ints64, Ints64],
        pull: Floats32,
        turn: Floats32,
    ) -> _Found:
        """Fill `pull` and `turn` of a chunk; `against` float32 [drawn, d], `own` the cells of the user's own items."""
        users, pairs = slice(chunk.first, chunk.last), slice(chunk.start, chunk.stop)
        row, weight = self.batch.row[pairs] - chunk.first, self.batch.weight[pairs]
        history = histories[users]
        size = np.sqrt(np.vecdot(history, history))
        inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
        unit = history * inverse[:, None]
        cosine, rest = self._without_itself(history, size, row, weight, pairs)
        odds = self._odds(unit @ against.T)
        odds[own] = 0.0
        grouped = odds.reshape(len(history), self.drawn.groups, self.drawn.size)
        cell = row * self.drawn.groups + self.drawn.group[pairs]
        others = grouped.sum(axis=2).ravel().take(cell)
        mine = self._odds(cosine)
        share = np.where(rest > 0, np.float32(1 / self.temperature) / (mine + others), np.float32(0))
        slope = others * share
        pull[pairs] = slope * rest * (1 + cosine * weight * rest)
        shared = np.bincount(cell, weights=share, minlength=len(history) * self.drawn.groups).astype(np.float32)
        grouped *= shared.reshape(len(history), self.drawn.groups, 1)
        pushed = odds @ against
        along = np.bincount(row, weights=slope * cosine * rest**2, minlength=len(history)).astype(np.float32)
        along -= np.vecdot(unit, pushed) * inverse**2
        turn[users] = -pushed * inverse[:, None] - along[:, None] * history
        return _Found(float(np.log1p(others / mine)[rest > 0].sum(dtype=np.float64)), odds.T @ unit)

    def _without_itself(
        self, history: Floats32, size: Floats32, row: Ints64, weight: Floats32, pairs: slice
    ) -> tuple[Floats32, Floats32]:
        """The cosine of each pair's item with the history without it, and 1 over the length of that history, 0 where
        nothing is left of it: float32 [pairs] both."""
        item = self.vectors.take(self.batch.item[pairs], axis=0)
        product = np.vecdot(history.take(row, axis=0), item)
        whole = np.square(size).take(row)
        square = whole - 2 * weight * product + weight**2
        left = square > SMALL * whole
        rest = np.zeros_like(square)
        rest[left] = 1 / np.sqrt(square[left])
        return np.clip((product - weight) * rest, -1, 1), rest

    def _odds(self, cosine: Floats32) -> Floats32:
        """exp((cosine - 1) / temperature): what all odds are multiplied by cancels, and none can overflow."""
        odds = cosine - np.float32(1)
        odds *= np.float32(1 / self.temperature)
        np.exp(odds, out=odds)
        return odds


class UnitSteps:
    """Vectors of length 1, `vectors` float32 [items, d], that are moved in place, and the memory of their steps.

    Adam (Kingma, Ba 2015) along what of the slope is at right angles to each vector, which is then given length 1
    again.
    """

    def __init__(self, vectors: Floats32) -> None:
        self.vectors = vectors
        self.first, self.second = np.zeros_like(vectors), np.zeros_like(vectors)
        self.taken = 0

    def move(self, ascent: Floats32, rate: float) -> None:
        """One step of about `rate` in each coordinate, upwards. `ascent` float32 [items, d] is written over."""
        self.taken += 1
        reach = np.float32(rate * np.sqrt(1 - SECOND**self.taken) / (1 - FIRST**self.taken))
        shards = [slice(start, start + ROWS) for start in range(0, len(ascent), ROWS)]
        on_shards(lambda rows: self._move(rows, ascent[rows], reach), shards)  # each moves rows of its own

    def _move(self, rows: slice, ascent: Floats32, reach: np.float32) -> None:
        vectors, first, second = self.vectors[rows], self.first[rows], self.second[rows]
        ascent -= np.vecdot(ascent, vectors)[:, None] * vectors
        first *= np.float32(FIRST)
        first += np.float32(1 - FIRST) * ascent
        ascent *= ascent
        second *= np.float32(SECOND)
        second += np.float32(1 - SECOND) * ascent
        vectors += reach * first / (np.sqrt(second) + np.float32(1e-8))
        to_unit(vectors)


def to_unit(vectors: Floats32 | Floats64) -> None:
    """Give each row of `vectors` [n, d] length 1, in place; zeros stay."""
    size = np.sqrt(np.vecdot(vectors, vectors))
    size[size == 0] = 1
    vectors /= size[:, None]
