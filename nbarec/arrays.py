"""Small array operations that every part of the engine shares, and the names of its array types."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Ints16: TypeAlias = npt.NDArray[np.int16]
Ints32: TypeAlias = npt.NDArray[np.int32]
Ints64: TypeAlias = npt.NDArray[np.int64]
Uints64: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats32: TypeAlias = npt.NDArray[np.float32]
Floats64: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
AnyArray: TypeAlias = npt.NDArray[Any]

A = TypeVar("A", bound=AnyArray)

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)


def frozen(array: A) -> A:
    """The same array, marked read-only, so that a plugin that writes into it fails at once."""
    if array.flags.writeable:
        array.setflags(write=False)
    return array


def concat_ranges(starts: AnyArray, counts: AnyArray) -> Ints64:
    """`starts[0], starts[0] + 1, ...` for `counts[0]` values, then the same for the next: int64 [sum(counts)]."""
    counts = np.asarray(counts, np.int64)
    before = np.cumsum(counts) - counts
    total = int(counts.sum())
    return np.repeat(np.asarray(starts, np.int64) - before, counts) + np.arange(total)


def stable_order(key: AnyArray, bits: int) -> Ints64:
    """Positions that sort `key` int [N], 0 <= key < 2^bits, equal ones in the order in which they stand: int64 [N].

    What `argsort(kind="stable")` gives. Where both fit, key and position are sorted as one number, which takes an
    eighth of the time: NumPy sorts whole numbers by vector instructions, and moves no second array along.
    """
    position_bits = len(key).bit_length()
    if bits + position_bits > 63:
        return np.argsort(key, kind="stable")
    packed = np.asarray(key).astype(np.int64)
    packed <<= position_bits
    packed |= np.arange(len(key))
    packed.sort()
    packed &= (1 << position_bits) - 1
    return packed


def row_pointers(counts: AnyArray) -> Ints64:
    """Row pointers of consecutive rows with these lengths: int64 [rows + 1]."""
    return np.append(0, np.cumsum(counts)).astype(np.int64)


def rows_of(indptr: AnyArray) -> Ints64:
    """The row of every entry: int64 [indptr[-1]]."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def rank_in_row(indptr: AnyArray) -> Ints64:
    """1, 2, 3, ... anew in each row: int64 [indptr[-1]]."""
    return concat_ranges(np.ones(len(indptr) - 1, np.int64), np.diff(indptr))


def hash_texts(blob: Bytes, offsets: Ints64) -> Uints64:
    """A 64-bit hash of each text of a UTF-8 blob (FNV-1a: Fowler, Noll, Vo 1991; mixed as in splitmix64).

    Depends on the text alone: not on the process, the platform or the other texts.
    """
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = offsets[:-1][order], lengths[order]
    state = np.full(len(lengths), FNV_OFFSET)
    # One step a byte position over the texts that reach it: as many steps as the longest text has bytes.
    for position in range(int(lengths[0]) if len(lengths) else 0):
        reaching = int(np.searchsorted(-lengths, -position))
        letters = blob[starts[:reaching] + position].astype(np.uint64)
        state[:reaching] = (state[:reaching] ^ letters) * FNV_PRIME
    hashed = np.empty_like(state)
    hashed[order] = mix64(state)
    return hashed


def mix64(state: Uints64) -> Uints64:
    """Spread 64-bit values evenly (the finaliser of splitmix64: Steele, Lea, Flood 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
