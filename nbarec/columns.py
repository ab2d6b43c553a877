"""Columns of a pool whose entries were taken: read late, because most of them nobody reads again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nbarec.arrays import AnyArray, Ints64, frozen


class Columns(Mapping[str, AnyArray]):
    """Arrays by name whose last axis goes along the entries, each taken when somebody first reads it.

    Between the rankers and the slate every filter takes entries from a pool, and most look at rows, items and the
    score alone. Scores and ranks of each generator, as many as all other arrays together, then are never copied.

    >>> import numpy as np
    >>> columns = Columns({"price": np.array([3.0, 5.0, 7.0])}).taken(np.array([2, 0, 1])).taken(np.array([0, 2]))
    >>> columns["price"].tolist()
    [7.0, 5.0]
    """

    def __init__(self, whole: Mapping[str, AnyArray], at: Ints64 | None = None) -> None:
        self._whole, self._at = whole, at
        self._read: dict[str, AnyArray] = {}

    def __getitem__(self, name: str) -> AnyArray:
        if self._at is None:
            return self._whole[name]
        if name not in self._read:
            self._read[name] = frozen(self._whole[name].take(self._at, axis=-1))
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)

    def taken(self, positions: Ints64) -> Columns:
        """The columns of the entries at these positions, in this order."""
        return Columns(self._whole, positions if self._at is None else self._at.take(positions))
