"""Compressed sparse rows in NumPy: the one matrix format of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import Bools, Floats32, Ints32, Ints64, concat_ranges, frozen, row_pointers


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
        if not (_inside(row, shape[0]).all() and _inside(column, shape[1]).all()):
            raise ValueError(f"rows and columns must lie inside {shape[0]} x {shape[1]}; some do not")
        key = (np.asarray(row, np.int64) << _bits(shape[1])) | np.asarray(column, np.int64)
        if data is None:
            key.sort()
            starts = _run_starts(key)
            values = np.diff(np.append(starts, len(key))).astype(np.float64)
        else:
            order = np.argsort(key, kind="stable")
            key = key[order]
            starts = _run_starts(key)
            ordered = np.asarray(data, np.float64)[order]
            values = np.add.reduceat(ordered, starts) if len(starts) else ordered
        return cls._from_sorted_keys(key[starts], values.astype(np.float32), shape)

    @classmethod
    def _from_sorted_keys(cls, key: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> Csr:
        bits = _bits(shape[1])
        rows = key >> bits
        indptr = np.zeros(shape[0] + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=shape[0]), out=indptr[1:])
        indices = (key & ((1 << bits) - 1)).astype(np.int32)
        return cls(frozen(indptr), frozen(indices), frozen(values), shape)

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
        return Csr(frozen(indptr), frozen(self.indices[at]), frozen(self.data[at]), (len(rows), self.shape[1]))

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


def _inside(positions: np.ndarray, length: int) -> Bools:
    positions = np.asarray(positions)
    return np.asarray((positions >= 0) & (positions < length))


def _run_starts(key: Ints64) -> Ints64:
    """Where each run of equal keys begins: int64 [distinct keys]."""
    return np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.empty(0, np.int64)


def _bits(columns: int) -> int:
    """Bits that hold any column, so that (row << bits) | column sorts by row, then column."""
    return max(int(columns), 1).bit_length()
