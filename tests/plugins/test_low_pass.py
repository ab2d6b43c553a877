"""Low-pass filters against dense decompositions: scores, their parts, and serving that depends on the history alone."""

from __future__ import annotations

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
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for
from nbarec.work import Work, working
from nbarec_plugins import history_terms, item_filters
from nbarec_plugins.low_pass import LowPass, LowPassState, nbarec_candidate_generators
from nbarec_plugins.pure_svd import PureSvd

COMPONENTS = [
    LowPass(factors=3),
    LowPass(factors=2, share=0.0, user_scaling=0.0, item_scaling=1.0),
    LowPass(factors=4, share=2.0, power=1.0, scaling=0.5, item_scaling=0.5),
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
    return np.where(shown, rng.choice([-2.0, 1.0, 3.0, 4.0, 5.0], (users, items)), 0.0)


def slow_parts(component: LowPass, weights: Floats64) -> tuple[Floats64, Floats64]:
    """x and the items x items matrix of both filters, from the formula, with a dense decomposition."""

    def scaled(count: AnyArray, exponent: float) -> Floats64:
        return np.array([n**exponent if n else 0.0 for n in count.tolist()])

    x = np.where(weights == 0, 0.0, np.sign(weights) * np.abs(weights) ** component.power)
    users, items = (weights != 0).sum(axis=1), (weights != 0).sum(axis=0)
    inward = scaled(items, -component.item_scaling)
    linear = x * scaled(users, -component.user_scaling)[:, None] * inward
    s = component.scaling
    matrix = x * scaled(users, -s)[:, None] * scaled(items, -s)
    right = np.linalg.svd(matrix, full_matrices=False)[2][: component.factors]
    ideal = scaled(items, -s)[:, None] * (right.T @ right) * scaled(items, s)
    return x, linear.T @ linear + component.share * ideal


def fitted(component: LowPass, data: Dataset, seed: int = 0) -> LowPassState:
    return component.fit(data, np.random.default_rng(seed))


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


@pytest.mark.parametrize(
    "check", [check for one in COMPONENTS[:2] for check in checks(one)], ids=lambda check: check.name
)
def test_it_keeps_what_every_generator_promises(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COMPONENTS), st.integers(1, 20))
def test_scores_are_those_of_dense_filters(seed: int, component: LowPass, limit: int) -> None:
    weights = random_weights(seed, 15, 12)
    data = data_of(weights)
    request = request_for(data)
    x, between = slow_parts(component, weights)
    scores = x @ between
    size = np.abs(scores).max()
    scores[request.excluded.row_of, request.excluded.indices] = -np.inf
    found_lists = lists(component.generate(fitted(component, data), request, limit))
    for found, wanted in zip(found_lists, scores, strict=True):
        kept = min(int((wanted > 1e-4 * size).sum()), limit)
        assert kept <= len(found) <= limit
        np.testing.assert_allclose([s for _, s in found], wanted[[i for i, _ in found]], atol=1e-4 * size)
        np.testing.assert_allclose([s for _, s in found[:kept]], np.sort(wanted)[::-1][:kept], atol=1e-4 * size)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COMPONENTS), st.sampled_from([1, 7, 1 << 18]))
def test_the_parts_are_those_of_the_formula_and_add_up(seed: int, component: LowPass, at_once: int) -> None:
    weights = random_weights(seed, 10, 9)
    data = data_of(weights)
    state, request = fitted(component, data), request_for(data)
    row, item = (array.ravel().astype(np.int32) for array in np.indices((10, 9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_terms, "TERMS", at_once)
        patch.setattr(item_filters, "ENTRIES", at_once)
        told = component.evidence(state, request, row, item, EVERYTHING)
    check_evidence("low_pass", told, len(row), EVERYTHING)
    x, between = slow_parts(component, weights)
    size = np.abs(x @ between).max()
    np.testing.assert_allclose(told.score, (x @ between)[row, item], atol=1e-4 * size)
    pair = np.repeat(np.arange(len(row)), np.diff(told.indptr))
    expected = x[row[pair], told.item] * between[told.item, item[pair]]
    np.testing.assert_allclose(told.amount, expected, atol=1e-4 * size)


def test_the_ideal_filter_is_pure_svd() -> None:
    data = data_of(random_weights(6, 30, 20))
    component, plain = LowPass(factors=5, power=0.5), PureSvd(factors=5)
    state, other = fitted(component, data), plain.fit(data, np.random.default_rng(0))
    request = request_for(data)
    np.testing.assert_array_equal(component.item_vectors(state), plain.item_vectors(other))
    np.testing.assert_array_equal(component.user_vectors(state, request), plain.user_vectors(other, request))


def test_little_memory_for_blocks_and_more_workers_change_no_bit() -> None:
    data, component = data_of(random_weights(4, 90, 70)), LowPass(factors=6)
    request = request_for(data)
    with working(Work()):
        state = fitted(component, data)
        wanted = component.generate(state, request, 8)
    for work in (Work(workers=3), Work(memory=1 << 16), Work(workers=2, memory=1 << 12)):
        with working(work):
            found = component.generate(state, request, 8)
        assert found.score.tobytes() == wanted.score.tobytes()
        assert found.item.tobytes() == wanted.item.tobytes()
    with working(Work(workers=3)):
        again = fitted(component, data)
    assert again.filter.vectors.tobytes() == state.filter.vectors.tobytes()


def test_nobodys_items_and_strangers_get_nothing() -> None:
    data, component = data_of(random_weights(1, 12, 9)), LowPass(factors=3)
    state, request = fitted(component, data), request_for(data, [0, 11, -1])
    found = lists(component.generate(state, request, 9))
    assert found[0]
    assert found[1] == found[2] == []
    assert all(item != 8 and score > 0 for item, score in found[0])


def test_nothing_at_all_is_fitted_and_served() -> None:
    data, component = data_of(np.zeros((3, 4))), LowPass(factors=2)
    state = fitted(component, data)
    assert lists(component.generate(state, request_for(data), 4)) == [[], [], []]


def test_an_update_is_a_refit() -> None:
    weights = random_weights(2, 40, 30)
    old, new = weights.copy(), np.zeros_like(weights)
    new[30:], old[30:] = old[30:], 0.0
    joined, alone = join_datasets(data_of(old), data_of(new))
    component = LowPass(factors=5, tolerance=1e-5)
    updated, refitted = component.update(fitted(component, data_of(old)), joined, alone), fitted(component, joined, 3)
    np.testing.assert_allclose(updated.filter.vectors, refitted.filter.vectors, atol=1e-3)
    np.testing.assert_array_equal(updated.filter.users.value, refitted.filter.users.value)
    assert component.update(updated, joined, data_of(np.zeros_like(weights))) is updated


def test_it_is_found_and_can_do_what_it_should() -> None:
    assert nbarec_candidate_generators() == [LowPass]
    assert isinstance(LowPass(), UserVectors)
    assert isinstance(LowPass(), Updatable)


@pytest.mark.parametrize("wrong", [{"factors": 0}, {"share": -1.0}, {"scaling": 1.5}, {"tolerance": 0.0}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        LowPass(**wrong)
