"""Best first with honest ties, against a walk over the sorted entries; products against dense ones."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates
from nbarec.kernels import (
    NOT_PROPOSED,
    TIE,
    best_first,
    exclude,
    from_lists,
    reach,
    top_of_dense,
    weighted_row_sums,
)
from nbarec.sparse import Csr

Ranked = list[list[tuple[int, float]]]

near_ties = st.sampled_from([0.0, 1.0, 1 - 0.6e-9, 1 - 1.2e-9, 1 - 1.8e-9, 1 - 5e-9, 0.5, 0.5 + 0.7e-9, -1.0, -1000.0])


def ranked(candidates: Candidates) -> Ranked:
    """(item, score) of each row."""
    bounds = zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)
    return [
        list(zip(candidates.item[start:end].tolist(), candidates.score[start:end].tolist(), strict=True))
        for start, end in bounds
    ]


def reference(entries: Iterable[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """One row: walk down the scores, and let each that is close to the one before join its group."""
    falling = sorted(entries, key=lambda entry: -entry[1])
    largest = max((abs(score) for _, score in falling), default=0.0)
    groups: list[list[tuple[int, float]]] = []
    for entry in falling:
        if groups and groups[-1][-1][1] - entry[1] <= TIE * largest:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    best = [(item, float(np.float32(group[0][1]))) for group in groups for item, _ in sorted(group)]
    return best[:limit]


@settings(max_examples=200)
@given(
    st.lists(st.dictionaries(st.integers(0, 12), near_ties | st.floats(-3, 3), max_size=9), max_size=4),
    st.integers(0, 10),
    st.randoms(use_true_random=False),
)
def test_best_first_is_a_walk_down_the_scores_in_any_order_of_entries(
    rows: list[dict[int, float]], limit: int, random: Random
) -> None:
    entries = [(row, item, score) for row, scores in enumerate(rows) for item, score in scores.items()]
    random.shuffle(entries)
    row, item, score = (
        np.array([entry[part] for entry in entries], dtype=(int, int, float)[part]) for part in range(3)
    )
    found = best_first(row, item, score, len(rows), limit)
    assert ranked(found) == [reference(scores.items(), limit) for scores in rows]
    arrays = (found.indptr, found.item, found.score)
    assert [str(array.dtype) for array in arrays] == ["int64", "int32", "float32"]
    assert not any(array.flags.writeable for array in arrays)


def first_items(scores: list[float], limit: int) -> list[int]:
    return [item for row in ranked(top_of_dense(np.array([scores]), limit)) for item, _ in row]


def test_ties_go_by_position_and_chains_are_one_group() -> None:
    assert first_items([1.0, 3.0, 2.0, 3.0], 4) == [1, 3, 2, 0]
    assert first_items([1 - 0.6e-9, 1.0], 2) == [0, 1]
    assert first_items([1 - 2e-9, 1.0], 2) == [1, 0]
    assert first_items([1 - 1.2e-9, 1 - 0.6e-9, 1.0], 3) == [0, 1, 2]
    tied = top_of_dense(np.array([[0.5 - 1e-10, 0.5]]), 2)
    assert tied.score.tolist() == [0.5, 0.5]


def test_a_chain_reaches_across_the_limit() -> None:
    assert first_items([1 - 1.2e-9, 1 - 0.6e-9, 1.0], 1) == [0]
    assert first_items([0.2, 1 - 1.2e-9, 1 - 0.6e-9, 1.0], 2) == [1, 2]


def test_the_measure_of_a_tie_is_the_whole_rows_largest_score_whatever_the_limit() -> None:
    for limit in (1, 2, 3):
        assert first_items([-1000.0, 1 - 1e-7, 1.0], limit) == [1, 2, 0][:limit]
        assert first_items([-1.0, 1 - 1e-7, 1.0], limit) == [2, 1, 0][:limit]


blocks = st.integers(1, 3).flatmap(
    lambda rows: st.integers(0, 9).flatmap(
        lambda items: st.lists(
            st.lists(near_ties | st.just(NOT_PROPOSED) | st.floats(-3, 3), min_size=items, max_size=items),
            min_size=rows,
            max_size=rows,
        )
    )
)


@settings(max_examples=300)
@given(blocks, st.integers(0, 10))
def test_the_top_of_a_block_is_what_sorting_all_of_it_gives(block: list[list[float]], limit: int) -> None:
    scores = np.array(block, np.float64).reshape(len(block), -1)
    before = scores.copy()
    found = ranked(top_of_dense(scores, limit))
    assert found == [reference([e for e in enumerate(row) if e[1] > NOT_PROPOSED], limit) for row in block]
    assert (scores == before).all()


def test_the_top_of_a_large_block_with_and_without_ties() -> None:
    rng = np.random.default_rng(3)
    for scores in (rng.normal(size=(20, 300)), rng.integers(0, 4, (20, 300)).astype(np.float64)):
        for limit in (1, 50, 299):
            expected = [reference(enumerate(row), limit) for row in scores.tolist()]
            assert ranked(top_of_dense(scores, limit)) == expected


def test_a_shorter_list_is_the_beginning_of_a_longer_one_and_a_row_does_not_see_the_others() -> None:
    scores = np.round(np.random.default_rng(4).normal(size=(6, 40)), 1)
    longest = ranked(top_of_dense(scores, 40))
    for limit in range(40):
        assert ranked(top_of_dense(scores, limit)) == [row[:limit] for row in longest]
    for row in range(6):
        assert ranked(top_of_dense(scores[row : row + 1], 10)) == [longest[row][:10]]


def test_nothing_to_propose() -> None:
    nothing = np.empty(0, np.int64)
    assert ranked(best_first(nothing, nothing, np.empty(0), 3, 5)) == [[], [], []]
    assert ranked(top_of_dense(np.full((2, 4), NOT_PROPOSED), 2)) == [[], []]
    assert ranked(top_of_dense(np.empty((0, 4)), 2)) == []
    assert ranked(top_of_dense(np.empty((2, 0)), 2)) == [[], []]


def test_excluded_entries_are_never_proposed() -> None:
    scores = np.arange(6.0).reshape(2, 3)
    excluded = Csr.from_pairs(np.array([0, 1, 1]), np.array([2, 0, 1]), None, (2, 3))
    assert exclude(scores, excluded) is scores
    assert scores.tolist() == [[0, 1, NOT_PROPOSED], [NOT_PROPOSED, NOT_PROPOSED, 5]]
    assert ranked(top_of_dense(scores, 3)) == [[(1, 1.0), (0, 0.0)], [(2, 5.0)]]


@st.composite
def factors(draw: st.DrawFn) -> tuple[Csr, Csr]:
    rows, inner, columns = draw(st.integers(0, 4)), draw(st.integers(0, 5)), draw(st.integers(0, 4))
    quarters = st.integers(-8, 8).map(lambda n: n / 4)

    def matrix(height: int, width: int) -> Csr:
        size = height * width
        values = np.array(draw(st.lists(quarters, min_size=size, max_size=size)))
        stored = np.flatnonzero(values)
        at = np.divmod(stored, width) if width else (stored, stored)
        return Csr.from_pairs(at[0], at[1], values[stored], (height, width))

    return matrix(rows, inner), matrix(inner, columns)


@settings(max_examples=150)
@given(factors())
def test_weighted_row_sums_are_the_matrix_product(matrices: tuple[Csr, Csr]) -> None:
    left, right = matrices
    found = weighted_row_sums(left, right)
    assert (found == left.to_dense() @ right.to_dense()).all()
    assert (found.shape, str(found.dtype)) == ((left.shape[0], right.shape[1]), "float64")


@pytest.mark.parametrize("rows", [0, 3])
def test_sums_of_nothing_are_zeros_that_can_be_excluded(rows: int) -> None:
    sums = weighted_row_sums(Csr.empty(rows, 5), Csr.empty(5, 2))
    assert (sums.shape, str(sums.dtype)) == ((rows, 2), "float64")
    everything = Csr.from_pairs(np.repeat(np.arange(rows), 2), np.tile([0, 1], rows), None, (rows, 2))
    assert len(top_of_dense(exclude(sums, everything), 2)) == 0


def test_sums_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(5)
    row, item = np.divmod(rng.choice(30 * 40, 500, replace=False), 40)
    left = Csr.from_pairs(row, item, rng.normal(size=500), (30, 40))
    row, item = np.divmod(rng.choice(40 * 25, 400, replace=False), 25)
    right = Csr.from_pairs(row, item, rng.normal(size=400), (40, 25))
    together = weighted_row_sums(left, right)
    for user in range(30):
        assert (weighted_row_sums(left.take_rows(np.array([user])), right)[0] == together[user]).all()


@given(
    st.lists(st.lists(st.integers(0, 9), unique=True), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 9))), max_size=5),
    st.integers(0, 11),
)
def test_rows_get_shared_lists_without_what_they_exclude(
    shared: list[list[int]], asked: list[tuple[int, set[int]]], limit: int
) -> None:
    which = np.array([at % len(shared) for at, _ in asked], np.int64)
    pairs = np.array([(row, item) for row, (_, some) in enumerate(asked) for item in some], np.int64).reshape(-1, 2)
    excluded = Csr.from_pairs(pairs[:, 0], pairs[:, 1], None, (len(asked), 10))
    assert reach(excluded, limit) == limit + max((len(some) for _, some in asked), default=0)
    cut = [items[: reach(excluded, limit)] for items in shared]
    given_lists = Candidates(
        np.cumsum([0, *map(len, cut)]),
        np.array([item for items in cut for item in items], np.int32),
        np.array([1 / place for items in cut for place in range(1, len(items) + 1)], np.float32),
    )
    scored = [[(item, float(np.float32(1 / place))) for place, item in enumerate(items, 1)] for items in shared]
    found = from_lists(given_lists, which, excluded, limit)
    assert ranked(found) == [
        [pair for pair in scored[at] if pair[0] not in some][:limit] for at, (_, some) in zip(which, asked, strict=True)
    ]
    assert not any(array.flags.writeable for array in (found.indptr, found.item, found.score))
