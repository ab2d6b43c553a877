"""Array operations against loops, and hashes against the published algorithms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import (
    concat_ranges,
    frozen,
    hash_texts,
    mix64,
    order_in_rows,
    rank_in_row,
    rising_bits,
    row_blocks,
    row_pointers,
    row_starts,
    rows_of,
    stable_order,
)
from nbarec.ids import encode_texts

WORD = 2**64

counts = st.lists(st.integers(0, 5), max_size=12)


def fnv_1a(text: str) -> int:
    """As published: offset basis, then xor and multiply a byte at a time."""
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = ((state ^ byte) * 0x100000001B3) % WORD
    return state


def splitmix_finaliser(state: int) -> int:
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def test_frozen_is_the_same_array_and_cannot_be_written() -> None:
    array = np.arange(3)
    assert frozen(array) is array
    assert frozen(array) is array
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 5)), max_size=12))
def test_concat_ranges_is_the_ranges_one_after_the_other(ranges: list[tuple[int, int]]) -> None:
    starts, lengths = [start for start, _ in ranges], [length for _, length in ranges]
    found = concat_ranges(np.array(starts), np.array(lengths))
    assert found.tolist() == [start + step for start, length in ranges for step in range(length)]
    assert found.dtype == np.int64


@given(counts)
def test_row_pointers_rows_and_ranks_agree_with_a_walk_over_the_rows(lengths: list[int]) -> None:
    indptr = row_pointers(np.array(lengths))
    assert indptr.tolist() == [sum(lengths[:row]) for row in range(len(lengths) + 1)]
    assert rows_of(indptr).tolist() == [row for row, length in enumerate(lengths) for _ in range(length)]
    assert rank_in_row(indptr).tolist() == [rank for length in lengths for rank in range(1, length + 1)]
    assert indptr.dtype == rows_of(indptr).dtype == rank_in_row(indptr).dtype == np.int64


def test_the_hash_of_known_texts() -> None:
    # FNV-1a test vectors of the authors: the state before it is mixed.
    assert [fnv_1a(text) for text in ("", "a", "foobar")] == [
        0xCBF29CE484222325,
        0xAF63DC4C8601EC8C,
        0x85944171F73967E8,
    ]
    found = hash_texts(*encode_texts(["", "a", "foobar"]))
    assert found.tolist() == [splitmix_finaliser(fnv_1a(text)) for text in ("", "a", "foobar")]


@settings(max_examples=60)
@given(st.lists(st.text(max_size=12), max_size=8))
def test_hashes_are_fnv_1a_mixed_whatever_stands_beside_them(texts: list[str]) -> None:
    found = hash_texts(*encode_texts(texts))
    assert found.dtype == np.uint64
    assert found.tolist() == [splitmix_finaliser(fnv_1a(text)) for text in texts]


@given(st.lists(st.integers(0, WORD - 1), min_size=1, max_size=5))
def test_mixing_is_the_finaliser_of_splitmix64(states: list[int]) -> None:
    assert mix64(np.array(states, np.uint64)).tolist() == [splitmix_finaliser(state) for state in states]


@settings(max_examples=100)
@given(st.lists(st.integers(0, 20), max_size=40), st.integers(5, 70))
def test_a_stable_order_is_that_of_a_stable_sort_whether_keys_and_positions_fit_one_number_or_not(
    keys: list[int], bits: int
) -> None:
    expected = sorted(range(len(keys)), key=lambda at: keys[at])
    assert stable_order(np.array(keys, np.int64), bits).tolist() == expected


SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


@settings(max_examples=200)
@given(st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, SMALLEST, -SMALLEST, np.inf, -np.inf]), max_size=20))
def test_rising_bits_have_the_order_of_the_values(values: list[float]) -> None:
    drawn = np.array([*values, np.nan, -np.nan, 0.0, -0.0], np.float32)
    bits = rising_bits(drawn)
    assert bits.dtype == np.uint32
    for value, its_bits in zip(drawn.tolist(), bits.tolist(), strict=True):
        np.testing.assert_array_equal(bits < its_bits, drawn < value if value == value else ~np.isnan(drawn))
        np.testing.assert_array_equal(bits == its_bits, drawn == value if value == value else np.isnan(drawn))


@given(counts)
def test_row_starts_are_the_pointers_of_the_rows(lengths: list[int]) -> None:
    indptr = row_pointers(np.array(lengths))
    for dtype in (np.int32, np.int64):
        found = row_starts(rows_of(indptr).astype(dtype), len(lengths))
        assert found.dtype == np.int64
        assert found.tolist() == indptr.tolist()


@given(counts, st.integers(1, 9))
def test_blocks_of_rows_hold_every_entry_once_and_no_more_than_a_row_too_many(lengths: list[int], size: int) -> None:
    indptr = row_pointers(np.array(lengths))
    blocks = list(row_blocks(indptr, size))
    entries = [range(indptr[first], indptr[last]) for first, last in blocks]
    assert [at for block in entries for at in block] == list(range(sum(lengths)))
    for first, last in blocks:
        starts = [indptr[row] for row in range(first, last) if lengths[row]]
        assert max(starts, default=0) - min(starts, default=0) < size


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=20), st.sampled_from([0, 2**31 - 7]))
def test_the_order_in_rows_is_by_row_then_number_then_place(drawn: list[tuple[int, int]], least: int) -> None:
    row, number = np.array(drawn, np.int64).reshape(-1, 2).T + np.array([[0], [least]])
    assert order_in_rows(row.astype(np.int32), number).tolist() == sorted(range(len(drawn)), key=lambda at: drawn[at])
