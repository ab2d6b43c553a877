"""Windows: the first entries of each row of a pool, side by side, to be filled anew place by place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64
from nbarec.batch import Pool
from nbarec.kernels import TIE

NOBODY = -1
"""Stands in a window where its row has no further entry."""

NEVER = -np.inf
"""The gain of an entry that must not be picked."""

CELLS_IN_BLOCK = 1 << 18
"""About how many float64 values are worked on at a time: 2 MB, which stay in the cache."""

CELLS_OF_ENTRY = 16
"""How many float64 values the work on one entry takes, about, unless it is known better."""


@dataclass(frozen=True)
class Window:
    """The first entries of some rows: `row` int64 [rows], of the pool; `at` int64 [rows, width], the positions of its
    entries in the pool, `NOBODY` beyond the end of a row."""

    row: Ints64
    at: Ints64

    @cached_property
    def there(self) -> Bools:
        """Where there is an entry: bool [rows, width]."""
        return np.asarray(self.at != NOBODY)

    @property
    def width(self) -> int:
        """How many places the longest row has."""
        return int(self.at.shape[1])

    def items(self, pool: Pool) -> Ints64:
        """The item at each place, row after row: int64 [rows * width], `NOBODY` where there is none."""
        return np.where(self.there, pool.item.take(self.at, mode="wrap"), NOBODY).ravel()

    def scores(self, pool: Pool) -> Floats64:
        """(s - min) / (max - min) of each row's scores, 1 where all are equal: float64 [rows, width]."""
        score = pool.score.take(self.at, mode="wrap").astype(np.float64)
        low = np.where(self.there, score, np.inf).min(axis=1, keepdims=True)
        span = np.where(self.there, score, -np.inf).max(axis=1, keepdims=True) - low
        scaled = np.ones(self.at.shape)
        np.divide(score - low, span, out=scaled, where=self.there & (span > 0))
        return scaled

    def in_turn(self, turn: Ints64) -> Ints64:
        """The positions of the entries, row after row, by their `turn` int64 [rows, width]; the same turn keeps the
        old order: int64 [entries]."""
        bits = self.width.bit_length()
        place = np.arange(self.width)
        # Turn and place are one number: a plain sort of it is ten times as fast as a stable one by turn alone.
        places = np.sort(np.where(self.there, turn << bits | place, np.iinfo(np.int64).max), axis=1)
        ordered = self.at[:, :1] + (places & ((1 << bits) - 1))
        return np.asarray(ordered[self.there], np.int64)


class Gain(Protocol):
    """What each entry of a window would add to those that are picked; changes with every pick."""

    def values(self) -> Floats64:
        """The gain of each entry: float64 [rows, width], `NEVER` for one that must not be picked now."""

    def add(self, picked: Ints64) -> None:
        """Take the entries at places `picked` int64 [rows]; of rows that have ended, any."""


def windows_of(pool: Pool, rows: Ints64, among: int, cells: Callable[[int], int] | None = None) -> Iterator[Window]:
    """The first `among` entries of the given rows, int64, ascending; a block of rows at a time.

    `cells(width)` says how many float64 values the work on one row takes, where it is more than one an entry.
    """
    lengths = np.minimum(np.diff(pool.indptr)[rows], among)
    place = np.arange(lengths.max(initial=0))
    size = max(CELLS_IN_BLOCK // max(len(place) * CELLS_OF_ENTRY if cells is None else cells(len(place)), 1), 1)
    # A step a block of rows, which bounds the memory.
    for start in range(0, len(rows), size):
        block, length = rows[start : start + size], lengths[start : start + size, None]
        yield Window(block, np.where(place < length, pool.indptr[block, None] + place, NOBODY))


def turns(gain: Gain, there: Bools, steps: int) -> Ints64:
    """Fill `steps` places, each with the entry of the greatest gain, and say at which step from 0 each entry was
    picked, `steps` if it was not: int64 [rows, width].

    `there` bool [rows, width]. Gains within 1e-9 of the greatest are ties and go by place. A row ends where all that
    is left of it has the gain `NEVER`.
    """
    turn = np.full(there.shape, steps)
    left, row = there.copy(), np.arange(len(there))
    # A step a place: what is picked next depends on all that were picked before.
    for step in range(steps):
        gains = np.where(left, gain.values(), NEVER)
        picked = np.asarray((gains >= gains.max(axis=1, keepdims=True) - TIE).argmax(axis=1), np.int64)
        live = gains[row, picked] > NEVER
        turn[row[live], picked[live]] = step
        left[row[live], picked[live]] = False
        left[~live] = False
        if not live.any():
            break
        if step + 1 < steps:
            gain.add(picked)
    return turn
