"""Cosines with a row's past, to the bit the same in any batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import row_pointers
from nbarec.work import Work, working
from nbarec_plugins.unit_cosines import mean_and_max

ITEMS = 20

lists = st.lists(st.integers(0, ITEMS - 1), max_size=7)
rows = st.lists(st.tuples(lists, lists), min_size=1, max_size=6)


def found(vectors: np.ndarray, drawn: list[tuple[list[int], list[int]]]) -> np.ndarray:
    entries, past = ([pair[side] for pair in drawn] for side in (0, 1))
    joined = [np.array([item for row in some for item in row], np.int32) for some in (entries, past)]
    pointers = [row_pointers(np.array([len(row) for row in some])) for some in (entries, past)]
    return np.array(mean_and_max(vectors, pointers[0], joined[0], pointers[1], joined[1]))


def drawn_vectors(seed: int, factors: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(ITEMS, factors)).astype(np.float32)
    vectors[::5] = 0
    vectors[1::5] *= np.float32(1e-12)
    return vectors


@given(rows, st.integers(0, 10**6), st.sampled_from([1, 3, 64]))
@settings(max_examples=60, deadline=None)
def test_they_are_the_cosines_of_a_loop(drawn: list[tuple[list[int], list[int]]], seed: int, factors: int) -> None:
    vectors = drawn_vectors(seed, factors)
    unit = [one / np.linalg.norm(one) if one.any() else one for one in vectors.astype(float)]
    expected = []
    for entries, past in drawn:
        for item in entries:
            alike = [float(unit[item] @ unit[other]) for other in past if vectors[other].any()]
            some = bool(alike) and bool(vectors[item].any())
            expected.append((np.mean(alike), max(alike)) if some else (np.nan, np.nan))
    np.testing.assert_allclose(found(vectors, drawn), np.array(expected).reshape(-1, 2).T, atol=3e-6)


@given(rows, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_row_gets_the_same_bits_alone_and_in_any_block(drawn: list[tuple[list[int], list[int]]], seed: int) -> None:
    vectors = drawn_vectors(seed, 50)
    together = found(vectors, drawn)
    alone = np.concatenate([found(vectors, [row]) for row in drawn], axis=1)
    with working(Work(memory=1 << 16)):
        blocks = found(vectors, drawn)
    assert together.tobytes() == alone.tobytes() == blocks.tobytes()


def test_as_many_as_may_be_added_up_stay_exact() -> None:
    vectors = np.ones((2, 1), np.float32)
    mean, largest = mean_and_max(
        vectors, np.array([0, 1]), np.zeros(1, np.int32), np.array([0, 511]), np.ones(511, np.int32)
    )
    assert (mean[0], largest[0]) == (pytest.approx(1.0, abs=0), 1.0)
