"""Non-negative matrix factorisation: known parts, known tastes, and serving that depends on the user alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray
from nbarec.batch import Candidates
from nbarec.components import Updatable, UserVectors
from nbarec.data import Dataset
from nbarec.joining import join_datasets
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.sparse import Csr
from nbarec.testing.worlds import request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins.nmf import Nmf, NmfState, nbarec_candidate_generators

FOUR_USERS = np.array([[5, 4, 0, 0], [4, 5, 0, 0], [0, 0, 4, 5], [0, 0, 5, 4]], np.float64)


def data_of(plays: AnyArray) -> Dataset:
    """Users 0, 1, ... and items 0, 1, ..., each row and column at least named in the tables."""
    user, item = np.nonzero(plays)
    return Dataset.from_arrays(
        user,
        item,
        plays[user, item],
        catalog={"id": np.arange(plays.shape[1])},
        audience={"id": np.arange(plays.shape[0])},
    )


def random_plays(seed: int, users: int, items: int) -> AnyArray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((users, items)) < 0.3, rng.integers(1, 9, (users, items)), 0).astype(np.float64)


def fitted(component: Nmf, data: Dataset, seed: int = 0) -> NmfState:
    return component.fit(data, np.random.default_rng(seed))


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


@pytest.mark.parametrize("component", [Nmf(factors=2), Nmf(factors=2, power=1.0, balance=0.0, regularization=0.0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_pairs_of_users_are_two_factors(component: Nmf, seed: int) -> None:
    data = data_of(FOUR_USERS)
    state = fitted(component, data, seed)
    loadings = component.loadings(state, data.events)
    parts = loadings / loadings.sum(axis=1, keepdims=True)
    first = parts[0].round(4)
    assert sorted(first.tolist()) == [0.0, 1.0]
    np.testing.assert_array_equal(parts.round(4), [first, first, first[::-1], first[::-1]])
    np.testing.assert_allclose(component.user_vectors(state, request_for(data)), loadings, rtol=1e-6)


def test_scale_and_order_are_fixed() -> None:
    data = data_of(random_plays(1, 50, 30))
    component = Nmf(factors=6)
    state = fitted(component, data)
    np.testing.assert_allclose(np.diag(state.gram), 1.0, atol=1e-6)
    factors = state.item_factors.astype(np.float64)
    np.testing.assert_allclose((factors.T * state.importance) @ factors, state.gram, atol=1e-12)
    strength = np.square(component.loadings(state, data.events)).sum(axis=0)
    assert (np.diff(strength) <= 1e-3 * strength[0]).all()
    counts = np.bincount(data.events.item, minlength=30)
    np.testing.assert_allclose(state.importance[counts > 0], counts[counts > 0] ** -0.5)
    assert (state.item_factors >= 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.25, 4.0, 64.0]), st.sampled_from([0.5, 1.0]))
def test_the_unit_of_weights_changes_loadings_and_nothing_else(seed: int, unit: float, power: float) -> None:
    plays, component = random_plays(seed, 15, 12), Nmf(factors=3, power=power, iterations=8, tolerance=0.0)
    one, other = data_of(plays), data_of(plays * unit)
    state, scaled = fitted(component, one), fitted(component, other)
    np.testing.assert_allclose(scaled.item_factors, state.item_factors, atol=1e-5)
    np.testing.assert_allclose(
        component.loadings(scaled, other.events), component.loadings(state, one.events) * unit**power, atol=1e-4 * unit
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 30))
def test_a_user_gets_the_same_alone_as_in_company(seed: int, factors: int, limit: int) -> None:
    data = data_of(random_plays(seed, 25, 20))
    component = Nmf(factors=factors, iterations=5)
    state = fitted(component, data)
    together = lists(component.generate(state, request_for(data), limit))
    alone = [lists(component.generate(state, request_for(data, [user]), limit))[0] for user in range(25)]
    assert together == alone
    vectors = component.user_vectors(state, request_for(data))
    np.testing.assert_array_equal(vectors[3:4], component.user_vectors(state, request_for(data, [3])))


def test_scores_are_the_products_of_all_items_that_may_be_proposed() -> None:
    data = data_of(random_plays(2, 40, 25))
    component = Nmf(factors=5)
    state, request = fitted(component, data), request_for(data, [0, 7, 39])
    scores = component.loadings(state, request.history) @ state.item_factors.T.astype(np.float64)
    scores[request.excluded.row_of, request.excluded.indices] = 0.0
    found = lists(component.generate(state, request, 25))
    for row, wanted in zip(found, scores, strict=True):
        assert sorted(item for item, _ in row) == np.flatnonzero(wanted > 0).tolist()
        np.testing.assert_allclose([score for _, score in row], wanted[[item for item, _ in row]], rtol=1e-6)
        assert [score for _, score in row] == sorted((score for _, score in row), reverse=True)
    assert lists(component.generate(state, request, 3)) == [row[:3] for row in found]


def test_no_history_no_candidates_and_nobodys_items_are_left_out() -> None:
    data = tiny_world()
    component = Nmf(factors=3)
    state = fitted(component, data)
    request = request_for(data, [0, 4, -1, 1])
    open_request = replace(request, excluded=Csr.empty(4, 8))
    found = lists(component.generate(state, open_request, 8))
    assert found[1] == found[2] == []
    assert found[0]
    assert all(item != 6 for row in found for item, _ in row)
    np.testing.assert_array_equal(component.user_vectors(state, request)[1:3], 0.0)
    np.testing.assert_array_equal(state.item_factors[6], 0.0)


def test_dislikes_and_nothing_at_all_teach_nothing() -> None:
    component = Nmf(factors=4)
    liked, with_dislikes = random_plays(3, 12, 9), random_plays(3, 12, 9)
    with_dislikes[liked == 0] = -1.0
    one, other = fitted(component, data_of(liked)), fitted(component, data_of(with_dislikes))
    np.testing.assert_array_equal(one.item_factors, other.item_factors)
    for data in (data_of(np.zeros((3, 4))), data_of(-FOUR_USERS)):
        state = fitted(component, data)
        assert len(component.generate(state, request_for(data), 4)) == 0


def test_more_factors_than_there_are_users_stay_zero() -> None:
    state = fitted(Nmf(factors=7), data_of(FOUR_USERS[:3]))
    assert (np.diag(state.gram)[3:] == 0).all()
    assert np.isfinite(state.item_factors).all()


def test_an_update_keeps_the_factors_in_their_places_and_comes_close_to_a_refit() -> None:
    plays = random_plays(5, 80, 40)
    grown = np.vstack([plays, np.zeros((4, 40))])
    grown = np.hstack([grown, np.zeros((84, 2))])
    grown[:20, 40], grown[80:, 41], grown[80:, :5] = 4.0, 5.0, 3.0
    old, new = data_of(plays), data_of(np.where(grown != np.pad(plays, ((0, 4), (0, 2))), grown, 0.0))
    joined, alone = join_datasets(old, new)
    component = Nmf(factors=5, tolerance=0.0)
    before = fitted(component, old)
    after = component.update(before, joined, alone)
    assert after.item_factors.shape == (42, 5)
    assert (after.item_factors[40:].max(axis=1) > 0).all()
    overlap = before.item_factors.T @ after.item_factors[:40]
    np.testing.assert_array_equal(overlap.argmax(axis=1), np.arange(5))

    def loss(state: NmfState) -> float:
        pairs = joined.events.matrix().to_dense() ** component.power
        left = pairs - component.loadings(state, joined.events) @ state.item_factors.T
        return float((np.square(left) * state.importance).sum())

    assert loss(after) < 1.03 * loss(fitted(component, joined))
    still = component.update(before, old, data_of(np.zeros((80, 40))))
    np.testing.assert_allclose(still.item_factors, before.item_factors, atol=0.02)


def test_an_update_of_a_model_without_events_is_a_fit() -> None:
    component, data = Nmf(factors=2), data_of(FOUR_USERS)
    silent = data.with_events(data.events.where(np.zeros(len(data.events), bool)))
    updated = component.update(fitted(component, silent), data, data)
    np.testing.assert_array_equal(updated.item_factors, fitted(component, data).item_factors)
    assert updated.item_factors.any()


def test_workers_change_no_bit() -> None:
    data, component = data_of(random_plays(4, 60, 50)), Nmf(factors=6)
    with working(Work()):
        wanted = fitted(component, data)
    for workers in (2, 3):
        with working(Work(workers=workers)):
            state = fitted(component, data)
            np.testing.assert_array_equal(state.item_factors, wanted.item_factors)
            loadings = component.loadings(state, data.events)
        np.testing.assert_array_equal(loadings, component.loadings(wanted, data.events))
    assert state.item_factors.flags.c_contiguous  # what serving gathers from


def test_a_saved_model_serves_the_same(tmp_path: Path) -> None:
    text = """
    nbarec: 1
    data: {use: music_world, users: 40, songs: 40}
    candidates: [{id: tastes, use: nmf, with: {factors: 6}}]
    slate: {k: 5}
    """
    model = Pipeline.from_text(text).fit()
    model.save(tmp_path / "model")
    users = [*model.data.users.all(), "stranger"]
    slate, again = model.recommend(users), load_model(tmp_path / "model").recommend(users)
    np.testing.assert_array_equal(slate.item, again.item)
    np.testing.assert_array_equal(slate.score, again.score)
    assert (slate.item[:-1] >= 0).any()
    assert (slate.item[-1] == -1).all()


def test_it_is_found_and_can_do_what_it_should() -> None:
    component = Nmf()
    assert nbarec_candidate_generators() == [Nmf]
    assert isinstance(component, UserVectors)
    assert isinstance(component, Updatable)
    state = fitted(Nmf(factors=2), data_of(FOUR_USERS))
    assert component.item_vectors(state) is state.item_factors


@pytest.mark.parametrize("wrong", [{"factors": 0}, {"power": 1.5}, {"balance": -1.0}, {"tolerance": 1.0}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Nmf(**wrong)
