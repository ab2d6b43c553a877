"""EASE against a dense inverse and against the constrained regressions that define it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.batch import Candidates
from nbarec.components import Updatable
from nbarec.contracts import check_evidence
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.joining import join_datasets
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for
from nbarec.work import Work, working
from nbarec_plugins import ease
from nbarec_plugins.ease import Ease, EaseState, nbarec_candidate_generators

COMPONENTS = [Ease(regularization=5.0), Ease(regularization=0.5, power=1.0)]
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


def powered(component: Ease, weights: Floats64) -> Floats64:
    return np.where(weights == 0, 0.0, np.sign(weights) * np.abs(weights) ** component.power)


def slow_weights(component: Ease, weights: Floats64) -> Floats64:
    """Column i solves the ridge regression of item i on all other items."""
    matrix = powered(component, weights)
    items = matrix.shape[1]
    found = np.zeros((items, items))
    for item in range(items):
        others = np.delete(np.arange(items), item)
        design = matrix[:, others]
        normal = design.T @ design + component.regularization * np.eye(items - 1)
        found[others, item] = np.linalg.solve(normal, design.T @ matrix[:, item])
    return found


def fitted(component: Ease, data: Dataset) -> EaseState:
    return component.fit(data, np.random.default_rng(0))


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
@given(
    st.integers(0, 1000), st.sampled_from(COMPONENTS), st.sampled_from([1, 2, 5, 256]), st.sampled_from([1, 1 << 20])
)
def test_each_item_is_predicted_by_a_ridge_regression_on_all_others(
    seed: int, component: Ease, side: int, pairs: int
) -> None:
    weights = random_weights(seed, 15, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ease, "SIDE", side)
        patch.setattr(ease, "PAIRS", pairs)
        state = fitted(component, data_of(weights))
    np.testing.assert_allclose(state.weights, slow_weights(component, weights), atol=1e-6)
    np.testing.assert_array_equal(np.diag(state.weights), 0.0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COMPONENTS), st.integers(1, 20))
def test_the_best_by_the_formula_are_proposed(seed: int, component: Ease, limit: int) -> None:
    weights = random_weights(seed, 14, 11)
    data = data_of(weights)
    request = request_for(data)
    scores = powered(component, weights) @ slow_weights(component, weights)
    scores[request.excluded.row_of, request.excluded.indices] = -np.inf
    for found, wanted in zip(lists(component.generate(fitted(component, data), request, limit)), scores, strict=True):
        best = np.sort(wanted[wanted > 1e-6])[::-1][:limit]
        assert len(best) <= len(found) <= limit
        np.testing.assert_allclose([s for _, s in found], wanted[[i for i, _ in found]], atol=1e-5)
        np.testing.assert_allclose([s for _, s in found[: len(best)]], best, atol=1e-5)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_parts_are_those_of_the_formula_and_add_up(component: Ease) -> None:
    weights = random_weights(3, 10, 9)
    data = data_of(weights)
    state, request = fitted(component, data), request_for(data)
    row, item = (array.ravel().astype(np.int32) for array in np.indices((10, 9)))
    told = component.evidence(state, request, row, item, EVERYTHING)
    check_evidence("ease", told, len(row), EVERYTHING)
    x, between = powered(component, weights), state.weights.astype(np.float64)
    np.testing.assert_allclose(told.score, (x @ between)[row, item], atol=1e-9)
    pair = np.repeat(np.arange(len(row)), np.diff(told.indptr))
    np.testing.assert_allclose(told.amount, x[row[pair], told.item] * between[told.item, item[pair]], atol=1e-9)
    disliked = (x < 0)[row[pair], told.item]
    assert (told.amount[disliked] <= 0).all()


def test_it_says_what_it_needs_before_it_starts() -> None:
    data = data_of(random_weights(0, 20, 30))
    with working(Work(memory=12 * 30 * 30)):
        fitted(Ease(), data)
    with working(Work(memory=12 * 30 * 30 - 1)), pytest.raises(ConfigError) as refused:
        fitted(Ease(), data)
    for part in ("10,800 bytes", "engine.memory", "spectral_ease"):
        assert part in str(refused.value)


def test_an_update_is_a_refit_and_nothing_new_changes_nothing() -> None:
    weights = random_weights(2, 40, 30)
    old, new = weights.copy(), np.zeros_like(weights)
    new[30:], old[30:] = old[30:], 0.0
    joined, alone = join_datasets(data_of(old), data_of(new))
    component = COMPONENTS[0]
    updated = component.update(fitted(component, data_of(old)), joined, alone)
    np.testing.assert_array_equal(updated.weights, fitted(component, joined).weights)
    assert component.update(updated, joined, data_of(np.zeros_like(weights))) is updated


def test_little_memory_for_blocks_and_more_workers_change_no_bit() -> None:
    data = data_of(random_weights(4, 60, 20))
    component = COMPONENTS[0]
    state, request = fitted(component, data), request_for(data)
    wanted = component.generate(state, request, 5)
    for work in (Work(memory=1 << 14), Work(workers=3, memory=1 << 14)):
        with working(work):
            found = component.generate(state, request, 5)
        assert found.score.tobytes() == wanted.score.tobytes()
        assert found.item.tobytes() == wanted.item.tobytes()


def test_it_is_found_and_can_do_what_it_should() -> None:
    assert nbarec_candidate_generators() == [Ease]
    assert isinstance(Ease(), Updatable)


@pytest.mark.parametrize("wrong", [{"regularization": 0.0}, {"power": 1.5}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Ease(**wrong)
