"""Compressed sparse rows in NumPy: the one matrix format of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import (
    AnyArray,
    Bools,
    Floats32,
    Floats64,
    Ints32,
    Ints64,
    concat_ranges,
    frozen,
    row_pointers,
    stable_order,
)


@dataclass(frozen=True)
class Csr:
    """A sparse matrix; row `r` holds `indices[indptr[r]:indptr[r + 1]]`, sorted and unique.

    `indptr` int64 [rows + 1], `indices` int32 [nnz], `data` float32 [nnz], `shape` (rows, columns).
    """

    indptr: Ints64
    indices: Ints32
    data: Floats32
    shape: tuple[int, int]

    @classmethod
    def from_pairs(cls, row: np.ndarray, column: np.ndarray, data: np.ndarray | None, shape: tuple[int, int]) -> Csr:
        """From unsorted (row, column, value) triples; values of equal pairs are added. `None` stands for ones.

        Raises ValueError where a row or a column lies outside `shape`.
        """
        if _outside(row, shape[0]) or _outside(column, shape[1]):
            raise ValueError(f"rows and columns must lie inside {shape[0]} x {shape[1]}; some do not")
        pairs = SortedPairs.of(row, column, shape, in_order=data is not None)
        values = pairs.counts() if data is None else pairs.sums(np.asarray(data, np.float64))
        return pairs.matrix(values.astype(np.float32))

    @classmethod
    def where(cls, marked: Bools) -> Csr:
        """A 1 wherever `marked` bool [rows, columns] holds."""
        indices = np.nonzero(marked)[1].astype(np.int32)
        indptr = row_pointers(marked.sum(axis=1))
        return cls(frozen(indptr), frozen(indices), frozen(np.ones(len(indices), np.float32)), marked.shape)

    @classmethod
    def empty(cls, rows: int, columns: int) -> Csr:
        """A matrix without entries."""
        nothing = np.empty(0, np.int64)
        return cls.from_pairs(nothing, nothing, None, (rows, columns))

    @property
    def nnz(self) -> int:
        """How many entries are stored."""
        return len(self.indices)

    @property
    def row_of(self) -> Ints64:
        """The row of every stored entry: int64 [nnz]."""
        return np.repeat(np.arange(self.shape[0]), self.counts)

    @property
    def counts(self) -> Ints64:
        """Stored entries of each row: int64 [rows]."""
        return np.diff(self.indptr)

    def transpose(self) -> Csr:
        """Columns as rows."""
        return Csr.from_pairs(self.indices, self.row_of, self.data, (self.shape[1], self.shape[0]))

    def take_rows(self, rows: np.ndarray) -> Csr:
        """The given rows, in that order; -1 gives an empty row."""
        rows = np.asarray(rows, np.int64)
        known = rows >= 0
        safe = np.where(known, rows, 0)
        counts = np.where(known, self.counts[safe], 0) if self.shape[0] else np.zeros(len(rows), np.int64)
        starts = self.indptr[safe] if self.shape[0] else counts
        at = concat_ranges(starts, counts)
        indptr = row_pointers(counts)
        return Csr(
            frozen(indptr), frozen(self.indices.take(at)), frozen(self.data.take(at)), (len(rows), self.shape[1])
        )

    def contains(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Whether each (row, column) pair is stored: bool, shaped as `row`; False where a pair lies outside."""
        wanted = (np.asarray(row, np.int64) << _bits(self.shape[1])) | np.asarray(column, np.int64)
        at = np.searchsorted(self._keys, wanted)
        found = self._keys.take(at, mode="clip") == wanted if self.nnz else np.zeros(wanted.shape, bool)
        return np.asarray(found & _inside(row, self.shape[0]) & _inside(column, self.shape[1]))

    @cached_property
    def _keys(self) -> Ints64:
        """Row and column of every stored entry in one number, ascending: int64 [nnz]."""
        return (self.row_of << _bits(self.shape[1])) | self.indices

    def to_dense(self) -> np.ndarray:
        """float64 (rows, columns), zeros where nothing is stored."""
        dense = np.zeros(self.shape)
        dense[self.row_of, self.indices] = self.data
        return dense


@dataclass(frozen=True)
class SortedPairs:
    """Pairs of a row and a column in order, equal ones beside each other: what every matrix here is built from.

    A pair is one whole number, `(row << bits) | column`, so that a single sort does (a sort by two keys takes twenty
    times as long). `key` uint32 or int64 [distinct] is each pair once; `starts` int64 [distinct]: where its run begins
    among all sorted pairs, None where no pair was given twice; `order` int64 [given]: which given pair stands where,
    equal ones as given, None where nobody asked.
    """

    key: AnyArray
    starts: Ints64 | None
    order: Ints64 | None
    given: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, row: AnyArray, column: AnyArray, shape: tuple[int, int], *, in_order: bool) -> SortedPairs:
        """From pairs in any order, inside `shape`; `in_order`: where each came from will be asked for."""
        bits = _bits(shape[0]) + _bits(shape[1])
        # Numbers half as long are sorted twice as fast, in half the memory.
        key, order = np.asarray(row).astype(np.uint32 if bits <= 32 else np.int64), None
        np.left_shift(key, _bits(shape[1]), out=key)
        # Into the key itself, whatever the column's type: a page of fresh memory costs as much as sorting it.
        np.bitwise_or(key, column, out=key, dtype=key.dtype, casting="unsafe")
        if in_order:
            order = stable_order(key, bits)
            key = key.take(order)
        else:
            key.sort()
        differs = key[1:] != key[:-1]
        if differs.all():
            return cls(key, None, order, len(key), shape)
        starts = np.flatnonzero(np.append(True, differs))
        return cls(key.take(starts), starts, order, len(key), shape)

    def counts(self) -> Ints64:
        """How often each pair was given: int64 [distinct]."""
        if self.starts is None:
            return np.broadcast_to(np.int64(1), self.given)
        return np.diff(self.starts, append=self.given)

    def sums(self, values: Floats64) -> Floats64:
        """The sum of each pair's `values` float64 [given], added up in the order given: float64 [distinct]."""
        ordered = self._in_order(values)
        return ordered if self.starts is None else np.add.reduceat(ordered, self.starts)

    def largest(self, values: Floats64) -> Floats64:
        """The largest of each pair's `values` float64 [given]: float64 [distinct]."""
        ordered = self._in_order(values)
        return ordered if self.starts is None else np.maximum.reduceat(ordered, self.starts)

    def last(self, values: Floats64) -> Floats64:
        """The last given of each pair's `values` float64 [given]: float64 [distinct]."""
        ordered = self._in_order(values)
        return ordered if self.starts is None else ordered[np.append(self.starts[1:], self.given) - 1]

    def _in_order(self, values: Floats64) -> Floats64:
        """`values` float64 [given], pair by pair. Raises ValueError where the pairs were sorted without their order."""
        if self.order is None:
            raise ValueError("these pairs were sorted without their order; ask for it with in_order=True")
        return values.take(self.order)

    def matrix(self, values: Floats32) -> Csr:
        """The matrix that holds `values` float32 [distinct] at the pairs, whose memory it takes: nothing may follow."""
        bits = _bits(self.shape[1])
        indptr = np.searchsorted(self.key, np.arange(self.shape[0] + 1, dtype=self.key.dtype) << bits)
        short = self.key.itemsize == 4
        column = self.key.view(np.int32) if short else self.key.astype(np.int32)  # its last 32 bits
        column &= np.int32((1 << bits) - 1)
        return Csr(frozen(indptr), frozen(column), frozen(values), self.shape)


def _outside(positions: AnyArray, length: int) -> bool:
    """Whether any position lies outside a length."""
    positions = np.asarray(positions)
    return bool(len(positions)) and (int(positions.min()) < 0 or int(positions.max()) >= length)


def _inside(positions: np.ndarray, length: int) -> Bools:
    positions = np.asarray(positions)
    return np.asarray((positions >= 0) & (positions < length))


def _bits(columns: int) -> int:
    """Bits that hold any column, so that (row << bits) | column sorts by row, then column."""
    return max(int(columns), 1).bit_length()
