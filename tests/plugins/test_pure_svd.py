"""PureSVD against dense decompositions: scores, their parts, and serving that depends on the history alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.batch import Candidates
from nbarec.components import Updatable, UserVectors
from nbarec.contracts import check_evidence
from nbarec.data import Dataset
from nbarec.joining import join_datasets
from nbarec.sparse import Csr
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins import history_terms
from nbarec_plugins.pure_svd import PureSvd, PureSvdState, nbarec_candidate_generators

COMPONENTS = [
    PureSvd(factors=3),
    PureSvd(factors=4, scaling=0.0, power=1.0),
    PureSvd(factors=2, scaling=1.0, power=0.0),
]
EVERYTHING = 100


def data_of(weights: AnyArray) -> Dataset:
    """Users 0, 1, ... and items 0, 1, ..., each row and column at least named in the tables."""
    user, item = np.nonzero(weights)
    users, items = ({"id": np.arange(named)} for named in weights.shape)
    return Dataset.from_arrays(user, item, weights[user, item], catalog=items, audience=users)


def random_weights(seed: int, users: int, items: int) -> Floats64:
    """Some dislikes among them; the last user and the last item have nothing."""
    rng = np.random.default_rng(seed)
    shown = rng.random((users, items)) < 0.3
    shown[-1], shown[:, -1] = False, False
    return np.where(shown, rng.choice([-2.0, 1.0, 3.0, 4.0, 5.0], (users, items)), 0.0)


def fitted(component: PureSvd, data: Dataset, seed: int = 0) -> PureSvdState:
    return component.fit(data, np.random.default_rng(seed))


def slow_scores(component: PureSvd, weights: Floats64, histories: Floats64) -> Floats64:
    """From the formula, with a dense decomposition."""

    def scaled(count: AnyArray, exponent: float) -> Floats64:
        return np.array([n**exponent if n else 0.0 for n in count.tolist()])

    def powered(matrix: Floats64) -> Floats64:
        return np.where(matrix == 0, 0.0, np.sign(matrix) * np.abs(matrix) ** component.power)

    users, items = (weights != 0).sum(axis=1), (weights != 0).sum(axis=0)
    s = component.scaling
    matrix = powered(weights) * scaled(users, -s)[:, None] * scaled(items, -s)
    right = np.linalg.svd(matrix, full_matrices=False)[2][: component.factors]
    return np.asarray(powered(histories) * scaled(items, -s) @ right.T @ right * scaled(items, s), np.float64)


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


@pytest.mark.parametrize("check", [check for one in COMPONENTS for check in checks(one)], ids=lambda check: check.name)
def test_it_keeps_what_every_generator_promises(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COMPONENTS), st.integers(1, 20))
def test_scores_are_those_of_a_dense_decomposition(seed: int, component: PureSvd, limit: int) -> None:
    weights = random_weights(seed, 15, 12)
    data = data_of(weights)
    state, request = fitted(component, data), request_for(data)
    scores = slow_scores(component, weights, weights)
    vectors, items = component.user_vectors(state, request), component.item_vectors(state)
    size = np.abs(scores).max()
    np.testing.assert_allclose(vectors @ items.T, scores, atol=1e-4 * size)
    scores[request.excluded.row_of, request.excluded.indices] = -np.inf
    for found, wanted in zip(lists(component.generate(state, request, limit)), scores, strict=True):
        kept = min(int((wanted > 1e-4 * size).sum()), limit)
        assert kept <= len(found) <= limit
        np.testing.assert_allclose([s for _, s in found], wanted[[i for i, _ in found]], atol=1e-4 * size)
        np.testing.assert_allclose([s for _, s in found[:kept]], np.sort(wanted)[::-1][:kept], atol=1e-4 * size)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COMPONENTS), st.sampled_from([1, 5, 1 << 18]))
def test_the_parts_are_those_of_the_formula_and_add_up(seed: int, component: PureSvd, terms: int) -> None:
    data = data_of(random_weights(seed, 10, 9))
    state, request = fitted(component, data), request_for(data)
    row, item = (array.ravel().astype(np.int32) for array in np.indices((10, 9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_terms, "TERMS", terms)
        told = component.evidence(state, request, row, item, EVERYTHING)
        few = component.evidence(state, request, row, item, 2)
    check_evidence("pure_svd", told, len(row), EVERYTHING)
    users, items = component.user_vectors(state, request), state.vectors
    np.testing.assert_allclose(told.score, (users[row] * items[item]).sum(axis=1), atol=1e-5)
    np.testing.assert_allclose(told.rest, 0.0, atol=1e-9)
    np.testing.assert_allclose(few.score, told.score, atol=1e-9)
    pairs = request.history.matrix()
    for pair in range(len(row)):
        mine = slice(told.indptr[pair], told.indptr[pair + 1])
        liked = slice(pairs.indptr[row[pair]], pairs.indptr[row[pair] + 1])
        assert set(told.item[mine].tolist()) <= set(pairs.indices[liked].tolist())
        for part, amount in zip(told.item[mine].tolist(), told.amount[mine].tolist(), strict=True):
            weight = float(pairs.data[liked][pairs.indices[liked] == part][0])
            x = np.sign(weight) * abs(weight) ** component.power
            expected = x * state.share[part] * float(items[part].astype(np.float64) @ items[item[pair]])
            assert amount == pytest.approx(expected, abs=1e-9)


def test_scaling_takes_hits_out_of_the_patterns() -> None:
    """Everybody has item 0, so that the first plain pattern is little else; scaled, groups come through."""
    group = np.arange(60) % 3
    rng = np.random.default_rng(0)
    liked = (group[:, None] == np.arange(30) % 3) & (rng.random((60, 30)) < 0.5)
    liked[:, 0] = True
    data = data_of(np.where(liked, 1.0, 0.0))
    plain, scaled = (
        component.item_vectors(fitted(component, data))
        for component in (PureSvd(factors=1, scaling=0.0), PureSvd(factors=1, scaling=0.5))
    )
    assert np.abs(plain[0]) > 2.5 * np.abs(plain[1:]).max()
    assert (scaled**2)[0] / (scaled**2).sum() == pytest.approx(
        (liked.sum(axis=0) ** 2)[0] / (liked.sum(axis=0) ** 2).sum(), rel=1e-3
    )


def test_nobodys_items_and_strangers() -> None:
    data = tiny_world()
    component = PureSvd(factors=3)
    state = fitted(component, data)
    request = replace(request_for(data, [0, 4, -1]), excluded=Csr.empty(3, 8))
    found = lists(component.generate(state, request, 8))
    assert found[0]
    assert found[1] == found[2] == []
    assert all(item != 6 and score > 0 for item, score in found[0])
    np.testing.assert_array_equal(state.vectors[6], 0.0)
    np.testing.assert_array_equal(component.user_vectors(state, request)[1:], 0.0)


def test_more_factors_than_the_rank_are_zeros() -> None:
    state = fitted(PureSvd(factors=7), data_of(random_weights(1, 4, 9)))
    assert state.vectors.shape == (9, 7)
    np.testing.assert_array_equal(state.vectors[:, 3:], 0.0)
    nothing = fitted(PureSvd(factors=2), data_of(np.zeros((3, 4))))
    np.testing.assert_array_equal(nothing.vectors, np.zeros((4, 2)))


def test_an_update_is_a_refit() -> None:
    weights = random_weights(2, 40, 30)
    old, new = weights.copy(), np.zeros_like(weights)
    new[30:], old[30:] = old[30:], 0.0
    joined, alone = join_datasets(data_of(old), data_of(new))
    component = PureSvd(factors=5, tolerance=1e-5)
    updated = component.update(fitted(component, data_of(old)), joined, alone)
    refitted = fitted(component, joined, seed=3)
    request = request_for(joined)
    np.testing.assert_allclose(
        component.user_vectors(updated, request) @ updated.vectors.T,
        component.user_vectors(refitted, request) @ refitted.vectors.T,
        atol=1e-4,
    )
    assert component.update(updated, joined, data_of(np.zeros_like(weights))) is updated


def test_workers_change_no_bit() -> None:
    data, component = data_of(random_weights(4, 90, 70)), PureSvd(factors=6)
    with working(Work()):
        wanted = fitted(component, data)
    for workers in (2, 3):
        with working(Work(workers=workers)):
            assert fitted(component, data).vectors.tobytes() == wanted.vectors.tobytes()
    assert wanted.vectors.flags.c_contiguous


def test_it_is_found_and_can_do_what_it_should() -> None:
    assert nbarec_candidate_generators() == [PureSvd]
    assert isinstance(PureSvd(), UserVectors)
    assert isinstance(PureSvd(), Updatable)


@pytest.mark.parametrize("wrong", [{"factors": 0}, {"power": 1.5}, {"scaling": -0.1}, {"tolerance": 0.0}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        PureSvd(**wrong)
