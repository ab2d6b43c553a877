"""Personalised ranking: what it minimises against a loop over pairs, what it learns, and serving from the history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64, Ints64
from nbarec.batch import Candidates
from nbarec.components import UserVectors
from nbarec.contracts import check_evidence
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.progress import Advance, shown_by
from nbarec.sparse import Csr
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins.bpr import Bpr, BprState, nbarec_candidate_generators

COMPONENTS = [
    Bpr(factors=3, epochs=2),
    Bpr(factors=4, epochs=2, negatives=1, power=1.0, popularity=1.0, batch_size=5),
    Bpr(factors=2, epochs=2, negatives=3, balance=0.0, popularity=0.0, warm_start=False),
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


def two_tastes(seed: int, users: int = 80, items: int = 40) -> tuple[Floats64, Ints64, Ints64]:
    """Users and items of taste 0 or 1; a user chose a third of the items of his taste and a few of the others."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 2, users), np.arange(items) % 2
    chance = np.where(user[:, None] == item, 0.35, 0.03)
    return np.where(rng.random((users, items)) < chance, 1.0, 0.0), user, item


def fitted(component: Bpr, data: Dataset, seed: int = 0) -> BprState:
    return component.fit(data, np.random.default_rng(seed))


def slow_cosines(component: Bpr, state: BprState, weights: Floats64, histories: Floats64) -> Floats64:
    """From the formula: the cosine of each history and each item, 0 without one."""
    degrees = (weights > 0).sum(axis=0)
    share = np.array([n**-component.balance if n else 0.0 for n in degrees.tolist()])
    chosen = np.where(histories > 0, np.where(histories > 0, histories, 1.0) ** component.power, 0.0)
    summed = chosen * share @ state.vectors.astype(np.float64)
    size = np.linalg.norm(summed, axis=1, keepdims=True)
    cosines: Floats64 = summed @ state.vectors.T / np.where(size > 0, size, 1.0)
    return cosines


def slow_scores(component: Bpr, state: BprState, weights: Floats64, histories: Floats64) -> Floats64:
    """Cosines and biases; 0 without a history."""
    part = component.temperature * component.popularity
    bias = [part * np.log(n) if n else 0.0 for n in (weights > 0).sum(axis=0).tolist()]
    known = (histories > 0).any(axis=1, keepdims=True)
    return slow_cosines(component, state, weights, histories) + np.where(known, bias, 0.0)


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
def test_lists_are_those_of_the_formula(seed: int, component: Bpr, limit: int) -> None:
    weights = random_weights(seed, 15, 12)
    data = data_of(weights)
    state, request = fitted(component, data), request_for(data)
    scores = slow_scores(component, state, weights, weights)
    vectors, items = component.user_vectors(state, request), component.item_vectors(state)
    np.testing.assert_allclose(vectors @ items.T, slow_cosines(component, state, weights, weights), atol=1e-5)
    scores[request.excluded.row_of, request.excluded.indices] = -np.inf
    for found, wanted in zip(lists(component.generate(state, request, limit)), scores, strict=True):
        kept = min(int((wanted > 1e-5).sum()), limit)
        assert kept <= len(found) <= limit
        np.testing.assert_allclose([s for _, s in found], wanted[[i for i, _ in found]], atol=1e-5)
        np.testing.assert_allclose([s for _, s in found[:kept]], np.sort(wanted)[::-1][:kept], atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COMPONENTS))
def test_the_parts_add_up_to_the_score(seed: int, component: Bpr) -> None:
    weights = random_weights(seed, 10, 9)
    data = data_of(weights)
    state, request = fitted(component, data), request_for(data)
    row, item = (array.ravel().astype(np.int32) for array in np.indices((10, 9)))
    told = component.evidence(state, request, row, item, EVERYTHING)
    check_evidence("bpr", told, len(row), EVERYTHING)
    np.testing.assert_allclose(told.score, slow_scores(component, state, weights, weights).ravel(), atol=1e-6)
    cosines = slow_cosines(component, state, weights, weights).ravel()
    np.testing.assert_allclose(told.score - told.rest, cosines, atol=1e-6)
    few = component.evidence(state, request, row, item, 2)
    np.testing.assert_allclose(few.score, told.score, atol=1e-9)
    for pair in range(len(row)):
        liked = np.flatnonzero(weights[row[pair]] > 0)
        assert set(told.item[told.indptr[pair] : told.indptr[pair + 1]].tolist()) <= set(liked.tolist())
        for part, amount in zip(
            told.item[told.indptr[pair] : told.indptr[pair + 1]].tolist(),
            told.amount[told.indptr[pair] : told.indptr[pair + 1]].tolist(),
            strict=True,
        ):
            without = weights[[row[pair]]].copy()
            without[0, np.arange(9) != part] = 0.0
            alone = slow_cosines(component, state, weights, without)[0, item[pair]]
            assert np.sign(amount) == np.sign(alone)


@pytest.mark.parametrize("warm_start", [True, False])
def test_two_tastes_are_found(warm_start: bool) -> None:
    weights, user, item = two_tastes(0)
    data = data_of(weights)
    component = Bpr(factors=4, warm_start=warm_start)
    state = fitted(component, data)
    found = component.generate(state, request_for(data), 8)
    assert (item[found.item] == user[found.row]).mean() > 0.95
    assert state.loss[-1] < state.loss[0]


def test_held_out_items_are_found_by_learning() -> None:
    """Of each user one item of his taste is held out: how many unseen items stand before it, on average."""
    weights, user, item = two_tastes(1)
    rng = np.random.default_rng(1)
    held = np.array(
        [rng.choice(np.flatnonzero((row > 0) & (item == taste))) for row, taste in zip(weights, user, strict=True)]
    )
    everyone = np.arange(len(weights))
    weights[everyone, held] = 0.0
    data = data_of(weights)

    def before_it(component: Bpr) -> float:
        scores = slow_scores(component, fitted(component, data), weights, weights)
        scores[weights > 0] = -np.inf
        return float((scores > scores[everyone, held][:, None]).sum(axis=1).mean())

    unlearnt = before_it(Bpr(factors=4, epochs=1, learning_rate=1e-6, warm_start=False))
    assert before_it(Bpr(factors=4, epochs=10, warm_start=False)) < 0.75 * unlearnt


def test_equal_histories_get_equal_lists() -> None:
    data = data_of(random_weights(5, 20, 15))
    component = Bpr(factors=5, epochs=3)
    state = fitted(component, data)
    known = request_for(data)
    strangers = request_for(data, np.full(20, -1), history=known.history)
    wanted = lists(component.generate(state, known, 5))
    assert lists(component.generate(state, strangers, 5)) == wanted
    for row in range(20):
        assert lists(component.generate(state, known.take(np.array([row])), 5)) == [wanted[row]]


def test_nobodys_items_and_strangers() -> None:
    data = tiny_world()
    component = Bpr(factors=3)
    state = fitted(component, data)
    request = replace(request_for(data, [0, 4, -1]), excluded=Csr.empty(3, 8))
    found = lists(component.generate(state, request, 8))
    assert found[0]
    assert found[1] == found[2] == []
    assert all(item not in (4, 6) and score > 0 for item, score in found[0])
    np.testing.assert_array_equal(state.vectors[[4, 6]], 0.0)
    np.testing.assert_allclose(np.linalg.norm(state.vectors[[0, 1, 2, 3, 5, 7]], axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(component.user_vectors(state, request)[1:], 0.0)


@pytest.mark.parametrize("weights", [np.zeros((3, 4)), np.eye(3), -np.ones((3, 4)), np.ones((2, 1)), np.ones((3, 3))])
def test_worlds_with_nothing_to_tell_apart(weights: Floats64) -> None:
    """No pairs, one item a user, dislikes alone, one item, and nothing that anyone has not chosen."""
    data = data_of(weights)
    state = fitted(Bpr(factors=2, epochs=2), data)
    assert np.isfinite(state.loss).all()
    assert np.isfinite(state.vectors).all()
    request = replace(request_for(data), excluded=Csr.empty(*weights.shape))
    assert (np.diff(Bpr(factors=2).generate(state, request, 5).indptr) > 0).tolist() == (
        weights.max(axis=1) > 0
    ).tolist()


def test_the_seed_decides_and_workers_change_no_bit() -> None:
    data, component = data_of(random_weights(4, 90, 70)), Bpr(factors=6, epochs=2, batch_size=300)
    with working(Work()):
        wanted = fitted(component, data).vectors.tobytes()
    for workers in (2, 3):
        with working(Work(workers=workers)):
            assert fitted(component, data).vectors.tobytes() == wanted
    assert fitted(component, data, seed=1).vectors.tobytes() != wanted


def test_epochs_are_announced() -> None:
    seen: list[tuple[str, int]] = []

    def show(label: str, length: int) -> AbstractContextManager[Advance]:
        @contextmanager
        def shown() -> Iterator[Advance]:
            seen.append((label, length))
            yield lambda steps: seen.append((label, steps))

        return shown()

    with shown_by(show):
        fitted(Bpr(factors=2, epochs=3), tiny_world())
    assert [one for one in seen if one[0] == "bpr epochs"] == [("bpr epochs", 3)] + [("bpr epochs", 1)] * 3


def test_what_does_not_fit_is_refused() -> None:
    with working(Work(memory=10_000)), pytest.raises(ConfigError, match=r"bpr needs .* engine\.memory is 10,000"):
        fitted(Bpr(factors=64), data_of(random_weights(0, 40, 30)))


def test_it_is_found_and_can_do_what_it_should() -> None:
    assert nbarec_candidate_generators() == [Bpr]
    assert isinstance(Bpr(), UserVectors)


@pytest.mark.parametrize(
    "wrong",
    [{"factors": 0}, {"epochs": 0}, {"learning_rate": 0.0}, {"negatives": 0}, {"temperature": 0.01}, {"balance": 2.0}],
)
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Bpr(**wrong)
