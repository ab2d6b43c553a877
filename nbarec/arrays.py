"""Small array operations that every part of the engine shares, and the names of its array types."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Ints16: TypeAlias = npt.NDArray[np.int16]
Ints32: TypeAlias = npt.NDArray[np.int32]
Ints64: TypeAlias = npt.NDArray[np.int64]
Uints32: TypeAlias = npt.NDArray[np.uint32]
Uints64: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats32: TypeAlias = npt.NDArray[np.float32]
Floats64: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
AnyArray: TypeAlias = npt.NDArray[Any]
Places: TypeAlias = npt.NDArray[np.uint16 | np.int32]
"""Positions, as short as the largest allows: what kernels read again and again."""

A = TypeVar("A", bound=AnyArray)

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)

SIGN = -(2**31)
"""The int32 whose highest bit alone is set: the sign of a float32."""

SORTED_AT_ONCE = 1 << 15
"""About how many int64 keys are best sorted at a time: 256 kB, which stay in the cache."""


def frozen(array: A) -> A:
    """The same array, marked read-only, so that a plugin that writes into it fails at once."""
    if array.flags.writeable:
        array.setflags(write=False)
    return array


def places_up_to(largest: int) -> np.dtype[np.uint16 | np.int32]:
    """The shortest type of `Places` that holds this position."""
    return np.dtype(np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32)


def concat_ranges(starts: AnyArray, counts: AnyArray) -> Ints64:
    """`starts[0], starts[0] + 1, ...` for `counts[0]` values, then the same for the next: int64 [sum(counts)].

    The sum of steps: 1 inside a range, and what leads from the end of one to the start of the next. No second array of
    that length is made, and Python's lock is not held, as `np.repeat` would.
    """
    starts, counts = np.asarray(starts, np.int64), np.asarray(counts, np.int64)
    if not counts.all():
        filled = np.flatnonzero(counts)
        starts, counts = starts.take(filled), counts.take(filled)
    if not len(counts):
        return np.empty(0, np.int64)
    ends = counts.cumsum()
    steps = np.ones(ends[-1], np.int64)
    steps[0] = starts[0]
    jumps = starts[1:] - starts[:-1]
    jumps -= counts[:-1] - 1
    steps[ends[:-1]] = jumps
    return steps.cumsum(out=steps)


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


def order_in_rows(row: Ints32 | Ints64, number: Ints32 | Ints64) -> Ints64:
    """Positions that sort entries by `row` and in a row by `number`, both at least 0, ties as they stand: int64 [N]."""
    bits = int(number.max(initial=0)).bit_length()
    key = row.astype(np.int64)
    key <<= bits
    key |= number
    return stable_order(key, bits + int(row.max(initial=0)).bit_length())


def rising_bits(values: Floats32) -> Uints32:
    """Whole numbers in the order of float32 values, so that values can be part of a packed key: uint32 [N].

    Smaller where the value is smaller and equal where it is equal, 0.0 and -0.0 being the same; NaN comes last. The
    bits of a float are a sign and a magnitude: as a whole number, positive values have the order of their bits, and
    negative ones the reverse (Herf 2001, "Radix tricks"). So the former get their highest bit set, the latter all
    bits turned.
    """
    bits = (values + np.float32(0)).view(np.int32)  # -0.0 and 0.0 add up to 0.0
    turned = bits >> 31
    turned |= np.int32(SIGN)
    turned ^= bits
    rising = turned.view(np.uint32)
    missing = np.isnan(values)
    if missing.any():
        rising[missing] = np.iinfo(np.uint32).max
    return rising


def row_pointers(counts: AnyArray) -> Ints64:
    """Row pointers of consecutive rows with these lengths: int64 [rows + 1]."""
    pointers = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=pointers[1:])
    return pointers


def rows_of(indptr: AnyArray) -> Ints64:
    """The row of every entry: int64 [indptr[-1]]."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def row_starts(row: Ints32 | Ints64, rows: int) -> Ints64:
    """Row pointers of entries that stand row by row: int64 [rows + 1], from the ascending `row` int [N]."""
    return np.searchsorted(row, np.arange(rows + 1, dtype=row.dtype))


def row_blocks(indptr: Ints64, size: int) -> Iterator[tuple[int, int]]:
    """Consecutive blocks of rows, as first and last + 1, with about `size` entries each; a longer row is one block.

    Work that goes over them has arrays that stay in the cache, and needs no more memory for more rows.
    """
    starts = np.searchsorted(indptr, np.arange(0, int(indptr[-1]), size))
    return pairwise(dict.fromkeys([*starts.tolist(), len(indptr) - 1]))


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
    longest = int(lengths[0]) if len(lengths) else 0
    # One step a byte position over the texts that reach it: as many steps as the longest text has bytes.
    for position, reaching in enumerate(np.searchsorted(-lengths, -np.arange(longest)).tolist()):
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
