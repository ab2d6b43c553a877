"""Spectral EASE against a dense inverse, against `ease`, and serving that depends on the history alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.batch import Candidates
from nbarec.components import ItemVectors, Updatable
from nbarec.contracts import check_evidence
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.joining import join_datasets
from nbarec.sparse import Csr
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for
from nbarec.work import Work, working
from nbarec_plugins.ease import Ease
from nbarec_plugins.spectral_ease import SpectralEase, SpectralEaseState, nbarec_candidate_generators

COMPONENTS = [
    SpectralEase(factors=100, tolerance=1e-6),
    SpectralEase(factors=100, power=1.0, user_scaling=0.5, item_scaling=0.5, lift=-0.5, tolerance=1e-6),
    SpectralEase(factors=100, user_scaling=0.0, item_scaling=0.0, lift=0.0, regularization=0.01, tolerance=1e-6),
]
EVERYTHING = 100


def data_of(weights: AnyArray) -> Dataset:
    user, item = np.nonzero(weights)
    users, items = ({"id": np.arange(named)} for named in weights.shape)
    return Dataset.from_arrays(user, item, weights[user, item], catalog=items, audience=users)


def random_weights(seed: int, users: int, items: int) -> Floats64:
    """Some dislikes among them; the last user and the last item have nothing."""
    rng = np.random.default_rng(seed)
    shown = rng.random((users, items)) < 0.3
    shown[-1], shown[:, -1] = False, False
    return np.where(shown, rng.choice([-2.0, 1.0, 3.0, 4.0], (users, items)), 0.0)


def grouped(seed: int, users: int, items: int, groups: int) -> Floats64:
    """Likes within groups and a few beyond: some strong patterns and a long tail of weak ones."""
    rng = np.random.default_rng(seed)
    same = rng.integers(groups, size=(users, 1)) == rng.integers(groups, size=items)
    return np.where(rng.random((users, items)) < np.where(same, 0.3, 0.02), 1.0, 0.0)


def scaled(count: AnyArray, exponent: float) -> Floats64:
    return np.array([n**exponent if n else 0.0 for n in count.tolist()])


def slow_scores(component: SpectralEase, weights: Floats64) -> Floats64:
    """From the formula, with a dense inverse."""
    x = np.where(weights == 0, 0.0, np.sign(weights) * np.abs(weights) ** component.power)
    users, items = (weights != 0).sum(axis=1), (weights != 0).sum(axis=0)
    inward = scaled(items, -component.item_scaling)
    matrix = x * scaled(users, -component.user_scaling)[:, None] * inward
    ridge = component.regularization * np.linalg.norm(matrix, 2) ** 2
    inverse = np.linalg.inv(matrix.T @ matrix + ridge * np.eye(len(items)))
    between = -inverse / np.diag(inverse)
    np.fill_diagonal(between, 0.0)
    return np.asarray(x * inward @ between * scaled(items, component.lift), np.float64)


def all_scores(component: SpectralEase, state: SpectralEaseState, data: Dataset) -> Floats64:
    """Every score by its parts, of which none is left out."""
    rows, items = len(data.users), len(data.items)
    row, item = (array.ravel().astype(np.int32) for array in np.indices((rows, items)))
    return component.evidence(state, request_for(data), row, item, EVERYTHING).score.reshape(rows, items)


def fitted(component: SpectralEase, data: Dataset, seed: int = 0) -> SpectralEaseState:
    return component.fit(data, np.random.default_rng(seed))


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


@pytest.mark.parametrize("check", checks(SpectralEase(factors=3)), ids=lambda check: check.name)
def test_it_keeps_what_every_generator_promises(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COMPONENTS), st.integers(1, 20), st.booleans())
def test_with_all_patterns_scores_are_those_of_the_inverse(
    seed: int, component: SpectralEase, limit: int, free: bool
) -> None:
    weights = random_weights(seed, 15, 12)
    data = data_of(weights)
    state, request = fitted(component, data), request_for(data, excluded=Csr.empty(15, 12) if free else None)
    scores = slow_scores(component, weights)
    size = np.abs(scores).max()
    np.testing.assert_allclose(all_scores(component, state, data), scores, atol=1e-4 * size)
    scores[request.excluded.row_of, request.excluded.indices] = -np.inf
    for found, wanted in zip(lists(component.generate(state, request, limit)), scores, strict=True):
        kept = min(int((wanted > 1e-4 * size).sum()), limit)
        assert kept <= len(found) <= limit
        np.testing.assert_allclose([s for _, s in found], wanted[[i for i, _ in found]], atol=1e-4 * size)
        np.testing.assert_allclose([s for _, s in found[:kept]], np.sort(wanted)[::-1][:kept], atol=1e-4 * size)


@pytest.mark.parametrize(("users", "items"), [(60, 40), (30, 50)])
def test_with_all_patterns_and_no_scaling_it_is_ease(users: int, items: int) -> None:
    weights = grouped(0, users, items, 4)
    data = data_of(weights)
    spectral = SpectralEase(factors=items, user_scaling=0.0, item_scaling=0.0, lift=0.0, tolerance=1e-6)
    plain = Ease(regularization=spectral.regularization * float(np.linalg.norm(weights, 2)) ** 2)
    request = request_for(data)
    found = lists(spectral.generate(fitted(spectral, data), request, 10))
    wanted = lists(plain.generate(plain.fit(data, np.random.default_rng(0)), request, 10))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose([s for _, s in one], [s for _, s in other], rtol=1e-3, atol=1e-6)
        assert [i for i, _ in one][:3] == [i for i, _ in other][:3]


@pytest.mark.parametrize("scaling", [0.0, 0.3])
def test_few_patterns_and_the_line_come_close_and_the_patterns_alone_do_not(scaling: float) -> None:
    weights = grouped(1, 120, 60, 6)
    data = data_of(weights)
    away = []
    for factors in (6, 12, 24, 48):
        few = SpectralEase(factors=factors, user_scaling=scaling, item_scaling=scaling, tolerance=1e-6)
        exact = slow_scores(few, weights)
        state = fitted(few, data)
        away.append(np.linalg.norm(all_scores(few, state, data) - exact) / np.linalg.norm(exact))
        part = state.filter
        alone = (weights * part.inside) @ (part.vectors * part.gain) @ part.vectors.T
        own = weights * part.inside * (np.square(part.vectors) @ part.gain)
        assert np.linalg.norm(alone - own - exact) / np.linalg.norm(exact) > 5 * away[-1]
    assert away == sorted(away, reverse=True)
    assert away[2] < 0.15


def test_an_item_says_nothing_for_itself() -> None:
    weights = random_weights(5, 20, 14)
    data = data_of(weights)
    component = SpectralEase(factors=4)
    state, request = fitted(component, data), request_for(data)
    row, item = (part.astype(np.int32) for part in np.nonzero(weights))
    told = component.evidence(state, request, row, item, EVERYTHING)
    check_evidence("spectral_ease", told, len(row), EVERYTHING)
    pair = np.repeat(np.arange(len(row)), np.diff(told.indptr))
    own = np.abs(told.amount[told.item == item[pair]])
    assert own.max(initial=0.0) <= 1e-6 * np.abs(told.amount).max()


def test_an_update_is_a_refit() -> None:
    weights = random_weights(2, 40, 30)
    old, new = weights.copy(), np.zeros_like(weights)
    new[30:], old[30:] = old[30:], 0.0
    joined, alone = join_datasets(data_of(old), data_of(new))
    component = SpectralEase(factors=5, tolerance=1e-5)
    updated = component.update(fitted(component, data_of(old)), joined, alone)
    wanted = all_scores(component, fitted(component, joined, seed=3), joined)
    np.testing.assert_allclose(all_scores(component, updated, joined), wanted, atol=1e-3 * np.abs(wanted).max())
    assert component.update(updated, joined, data_of(np.zeros_like(weights))) is updated


def test_it_refuses_a_decomposition_that_does_not_fit() -> None:
    data = data_of(random_weights(0, 60, 50))
    with working(Work(memory=10_000)), pytest.raises(ConfigError, match=r"engine\.memory is 10,000.*fewer factors"):
        fitted(SpectralEase(factors=40), data)


def test_it_is_found_and_can_do_what_it_should() -> None:
    assert nbarec_candidate_generators() == [SpectralEase]
    assert isinstance(SpectralEase(), ItemVectors)
    assert isinstance(SpectralEase(), Updatable)


@pytest.mark.parametrize("wrong", [{"factors": 0}, {"regularization": 0.0}, {"user_scaling": 2.0}, {"lift": -3.0}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        SpectralEase(**wrong)
