"""Item filters against dense products in double precision: the same lists, ties by position, in any batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats64, row_pointers
from nbarec.batch import Candidates
from nbarec.kernels import NOT_PROPOSED, top_of_dense
from nbarec.sparse import Csr
from nbarec.work import Work, working
from nbarec_plugins.item_filters import ItemFilter
from nbarec_plugins.sparse_rows import SparseRows

FACTORS = 5


def sparse(dense: Floats64) -> SparseRows:
    row, column = np.nonzero(dense)
    indptr = row_pointers(np.bincount(row, minlength=len(dense)))
    return SparseRows(indptr, column.astype(np.int32), dense[row, column], dense.shape[1])


def drawn(rng: np.random.Generator, shape: tuple[int, int], share: float, whole: bool, signed: bool) -> Floats64:
    """Whole numbers, of which sums are exact and often the same, or any; some below 0 where `signed`."""
    value = rng.integers(1, 4, shape) if whole else rng.exponential(size=shape)
    sign = np.where(rng.random(shape) < 0.3, -1.0, 1.0) if signed else 1.0
    return np.where(rng.random(shape) < share, value * sign, 0.0)


def drawn_filter(rng: np.random.Generator, items: int, users: int, *, whole: bool, signed: bool) -> ItemFilter:
    def factor() -> Floats64:
        return 2.0 ** rng.integers(-1, 2, items) if whole else rng.exponential(size=items)

    return ItemFilter(
        vectors=drawn(rng, (items, FACTORS), 0.7, whole, True).astype(np.float32),
        gain=drawn(rng, (1, FACTORS), 1.0, whole, True)[0],
        inside=factor(),
        users=sparse(drawn(rng, (items, users), 3 / users, whole, signed)),
        via=factor(),
        back=factor(),
        own=drawn(rng, (1, items), 0.5, whole, True)[0],
    )


def dense(rows: SparseRows) -> Floats64:
    full = np.zeros((rows.rows, rows.columns))
    full[rows.row_of, rows.column] = rows.value
    return full


def slow_scores(model: ItemFilter, pairs: SparseRows) -> Floats64:
    """The formula, with a matrix of all items by all items."""
    vectors, users = model.vectors.astype(np.float64), dense(model.users)
    between = model.inside[:, None] * (vectors * model.gain @ vectors.T)
    between += model.via[:, None] * (users @ users.T) * model.back
    return np.asarray(dense(pairs) @ (between + np.diag(model.own)), np.float64)


def same_bits(one: Candidates, other: Candidates) -> bool:
    arrays = zip((one.indptr, one.item, one.score), (other.indptr, other.item, other.score), strict=True)
    return all(first.tobytes() == second.tobytes() for first, second in arrays)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    items=st.sampled_from([1, 7, 60, 600]),
    users=st.sampled_from([3, 40]),
    limit=st.integers(1, 30),
    signed=st.booleans(),
)
def test_lists_are_those_of_all_scores_with_ties_by_position(
    seed: int, items: int, users: int, limit: int, signed: bool
) -> None:
    """Rows with few meetings of 600 items are sorted, all others have a counter an item."""
    rng = np.random.default_rng(seed)
    model = drawn_filter(rng, items, users, whole=True, signed=signed)
    pairs = sparse(drawn(rng, (6, items), rng.choice([0.01, 0.3]), True, signed))
    row, item = np.nonzero(rng.random((6, items)) < 0.2)
    excluded = Csr.from_pairs(row, item, None, (6, items))
    scores = slow_scores(model, pairs)
    allowed = np.where(scores > 0, scores, NOT_PROPOSED)
    allowed[row, item] = NOT_PROPOSED
    assert same_bits(model.best(pairs, limit, excluded), top_of_dense(allowed, limit))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), signed=st.booleans(), limit=st.sampled_from([1, 10, 200]))
def test_a_row_alone_gets_to_the_bit_what_it_gets_among_others(seed: int, signed: bool, limit: int) -> None:
    rng = np.random.default_rng(seed)
    model = drawn_filter(rng, 300, 50, whole=False, signed=signed)
    pairs = sparse(drawn(rng, (40, 300), 0.05, False, signed) * 10.0 ** rng.integers(-9, 9, (40, 1)))
    excluded = Csr.empty(40, 300)
    together = model.best(pairs, limit, excluded)
    with working(Work(workers=2, memory=1 << 16)):
        assert same_bits(model.best(pairs, limit, excluded), together)
    for row in range(40):
        alone = model.best(pairs.take_rows(np.array([row])), limit, Csr.empty(1, 300))
        inside = slice(together.indptr[row], together.indptr[row + 1])
        assert alone.item.tobytes() == together.item[inside].tobytes()
        assert alone.score.tobytes() == together.score[inside].tobytes()


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_scores_of_any_size_are_those_of_double_precision(size: float) -> None:
    rng = np.random.default_rng(8)
    model = drawn_filter(rng, 200, 30, whole=False, signed=False)
    pairs = sparse(drawn(rng, (10, 200), 0.05, False, False) * size)
    found, scores = model.best(pairs, 20, Csr.empty(10, 200)), slow_scores(model, pairs)
    wanted = top_of_dense(np.where(scores > 0, scores, NOT_PROPOSED), 20)
    np.testing.assert_array_equal(found.item, wanted.item)
    np.testing.assert_allclose(found.score, wanted.score, rtol=1e-6)


def test_what_single_precision_cannot_tell_apart_is_told_apart() -> None:
    """Both parts of a score are large and nearly cancel, and what is left differs in the ninth digit."""
    rng = np.random.default_rng(3)
    vectors, pairs = rng.standard_normal((400, 50)).astype(np.float32), sparse(np.ones((1, 400)))
    one, nothing = np.ones(400), np.zeros(400)
    model = ItemFilter(vectors, np.full(50, 10.0), one, sparse(np.ones((400, 3))), one, nothing, nothing)
    wanted = 100 * (1 + 3e-9 * rng.permutation(400))
    of_vectors = slow_scores(model, pairs)[0]
    through_users = slow_scores(replace(model, gain=np.zeros(50), back=one), pairs)[0]
    found = replace(model, back=(wanted - of_vectors) / through_users).best(pairs, 15, Csr.empty(1, 400))
    assert found.item.tolist() == np.argsort(-wanted)[:15].tolist()
