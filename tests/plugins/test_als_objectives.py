"""What alternating least squares minimises, against dense normal equations, row by row."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine, Events
from nbarec.ids import Ids
from nbarec.tables import Table
from nbarec.testing.worlds import request_for
from nbarec_plugins.als import START, Als, AlsState

Weights = np.ndarray
IMPLICIT = Als(factors=3, iterations=3, regularization=0.2, confidence=2.0, unobserved=0.5, scaling=0.7, cg_steps=12)
EXPLICIT = Als(mode="explicit", factors=3, iterations=3, regularization=0.2, cg_steps=12)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def dataset(weights: Weights) -> Dataset:
    """The pairs of a dense matrix (users x items) that are not NaN."""
    user, item = np.nonzero(~np.isnan(weights))
    columns = EventColumns(user, item, weights[user, item], weights[user, item], np.zeros(len(user)))
    users, items = weights.shape
    events = columns.sorted_events(users, items, Combine())
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def sparse_weights(users: int = 30, items: int = 20) -> Weights:
    """Weights of all kinds, with an item (4) that was never met and one (7) that was only disliked."""
    random = np.random.default_rng(8)
    weights = random.choice([-2.0, 0.0, 0.5, 1.0, 3.0], (users, items))
    weights[random.random((users, items)) < 0.6] = np.nan
    weights[:, 4] = np.nan
    weights[:, 7] = np.where(weights[:, 7] > 0, -1.0, weights[:, 7])
    return weights


def scores(model: Als, state: AlsState, data: Dataset, history: Events | None = None) -> Weights:
    """Every score of every user, NaN where an item is not proposed."""
    past = data.events if history is None else history
    nobody = np.full(past.rows, -1)
    nothing = Events.empty(past.rows, past.n_items).matrix()
    request = request_for(data, nobody, history=past, excluded=nothing)
    found = model.generate(state, request, len(data.items))
    dense = np.full((past.rows, len(data.items)), np.nan)
    dense[np.repeat(np.arange(past.rows), np.diff(found.indptr)), found.item] = found.score
    return dense


# --- the references: dense matrices and loops -----------------------------------------------------------------------


def implicit_side(weights: Weights, other: np.ndarray, model: Als, others: int) -> np.ndarray:
    """One side's exact vectors; `others` rows of the other side have one."""
    known, solved = np.nan_to_num(weights), np.zeros((len(weights), model.factors))
    for row, weight in enumerate(known):
        confidence = model.unobserved + model.confidence * np.abs(weight)
        pairs = np.count_nonzero(weight)
        ridge = (model.regularization or 0) * (pairs + model.unobserved * others) ** model.scaling
        normal = other.T @ np.diag(confidence) @ other + ridge * np.eye(model.factors)
        if (weight > 0).any():
            solved[row] = np.linalg.solve(normal, other.T @ (confidence * (weight > 0)))
    return solved


def explicit_side(weights: Weights, other: np.ndarray, model: Als, mean: float) -> np.ndarray:
    """One side's exact vectors and biases [x, b], for the other side's."""
    solved = np.zeros((len(weights), model.factors + 1))
    for row, weight in enumerate(weights):
        rated = np.flatnonzero(~np.isnan(weight))
        if len(rated):
            design = np.column_stack([other[rated, :-1], np.ones(len(rated))])
            normal = design.T @ design + (model.regularization or 0) * len(rated) * np.eye(model.factors + 1)
            solved[row] = np.linalg.solve(normal, design.T @ (weight[rated] - mean - other[rated, -1]))
    return solved


def start_of(model: Als, items: int, width: int) -> np.ndarray:
    start = np.zeros((items, width))
    drawn = rng().standard_normal((items, model.factors), dtype=np.float32)
    start[:, : model.factors] = drawn * START / np.sqrt(model.factors)
    return start


def implicit_slowly(weights: Weights, model: Als) -> np.ndarray:
    """Items' vectors after the model's sweeps; items that nobody likes count for nothing."""
    liked = (np.nan_to_num(weights) > 0).any(axis=0)
    weights = np.where(liked, weights, np.nan)
    likers = int((np.nan_to_num(weights) > 0).any(axis=1).sum())
    items: np.ndarray = start_of(model, weights.shape[1], model.factors) * liked[:, None]
    for _ in range(model.iterations):
        users = implicit_side(weights, items, model, int(liked.sum()))
        items = implicit_side(weights.T, users, model, likers)
    return items


def explicit_slowly(weights: Weights, model: Als) -> tuple[np.ndarray, float]:
    """Items' vectors and biases after the model's sweeps, and the mean rating."""
    mean = float(np.nanmean(weights))
    items = start_of(model, weights.shape[1], model.factors + 1) * (~np.isnan(weights)).any(axis=0)[:, None]
    for _ in range(model.iterations):
        users = explicit_side(weights, items, model, mean)
        items = explicit_side(weights.T, users, model, mean)
    return items, mean


def implicit_loss(weights: Weights, users: np.ndarray, items: np.ndarray, model: Als) -> float:
    weight = np.nan_to_num(weights)
    confidence = model.unobserved + model.confidence * np.abs(weight)
    error = (confidence * ((weight > 0) - users @ items.T) ** 2).sum()
    for vectors, counts, others in (
        (users, np.count_nonzero(weight, axis=1), len(items)),
        (items, np.count_nonzero(weight, axis=0), len(users)),
    ):
        ridge = (model.regularization or 0) * (counts + model.unobserved * others) ** model.scaling
        error += (ridge * (vectors**2).sum(axis=1)).sum()
    return float(error)


@pytest.mark.parametrize("scaling", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("unobserved", [0.0, 0.5])
def test_implicit_sweeps_and_fold_in_equal_the_reference(scaling: float, unobserved: float) -> None:
    weights, model = sparse_weights(), replace(IMPLICIT, scaling=scaling, unobserved=unobserved)
    data = dataset(weights)
    state = model.fit(data, rng())
    found = model.item_vectors(state)
    np.testing.assert_allclose(found, implicit_slowly(weights, model), rtol=2e-3, atol=2e-4)
    assert state.item.tolist() == [item for item in range(20) if item not in (4, 7)]
    folded = implicit_side(np.where(state.place >= 0, weights, np.nan), found.astype(np.float64), model, 18)
    np.testing.assert_allclose(model.user_vectors(state, request_for(data)), folded, rtol=1e-5, atol=1e-6)
    expected = np.where(state.place >= 0, folded @ found.T, np.nan)
    np.testing.assert_allclose(scores(model, state, data), expected, rtol=1e-5, atol=1e-6)


def test_explicit_sweeps_and_fold_in_equal_the_reference() -> None:
    weights = sparse_weights()
    weights[5] = np.nan
    data = dataset(weights)
    state = EXPLICIT.fit(data, rng())
    items, mean = explicit_slowly(weights, EXPLICIT)
    known = [item for item in range(20) if item != 4]
    assert state.item.tolist() == known
    assert state.mean == pytest.approx(mean)
    np.testing.assert_allclose(state.factors, items[known], rtol=2e-3, atol=2e-4)
    users = explicit_side(weights[:, known], state.factors.astype(np.float64), EXPLICIT, mean)
    np.testing.assert_allclose(EXPLICIT.user_vectors(state, request_for(data)), users[:, :-1], rtol=1e-5, atol=1e-6)
    expected = np.full(weights.shape, np.nan)
    expected[:, known] = mean + users[:, -1:] + state.factors[:, -1] + users[:, :-1] @ state.factors[:, :-1].T
    expected[5] = np.nan  # nobody knows what this user rates
    np.testing.assert_allclose(scores(EXPLICIT, state, data), expected, rtol=1e-5, atol=1e-5)


def test_the_loss_falls_with_every_sweep() -> None:
    weights = np.delete(sparse_weights(), [4, 7], axis=1)
    weights[:, 0] = 1.0  # every user likes something
    data, losses = dataset(weights), []
    for sweeps in range(1, 8):
        model = replace(IMPLICIT, iterations=sweeps)
        items = model.item_vectors(model.fit(data, rng())).astype(np.float64)
        losses.append(implicit_loss(weights, implicit_side(weights, items, model, 18), items, model))
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(losses))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    "model",
    [
        Als(factors=8, regularization=0.3),
        Als(factors=12, regularization=0.1, confidence=4.0, unobserved=0.5, scaling=1.0),
        Als(factors=12, regularization=0.1, unobserved=0.1, scaling=1.0),
    ],
)
def test_the_default_steps_end_within_a_thousandth_of_exact_sweeps(model: Als) -> None:
    random = np.random.default_rng(11)
    taste = random.gamma(0.5, size=(200, 6)) @ random.gamma(0.5, size=(6, 90))
    weights = np.where(random.random((200, 90)) < taste / 8, random.choice([1.0, 2.0], (200, 90)), np.nan)
    weights[:, 0], weights[0] = 1.0, 1.0  # so that every user and every item has a pair
    found = model.item_vectors(model.fit(dataset(weights), rng())).astype(np.float64)
    loss, exact = (
        implicit_loss(weights, implicit_side(weights, items, model, 90), items, model)
        for items in (found, implicit_slowly(weights, model))
    )
    assert loss < 1.001 * exact


def test_the_objective_of_2021_is_this_one_under_other_names() -> None:
    """Both losses of random vectors, theirs of vectors that are shorter by sqrt(1 + a), differ by a factor alone."""
    random, a, nu, lambda_ = np.random.default_rng(4), 0.4, 0.6, 0.3
    seen = random.random((9, 7)) < 0.4
    model = Als(factors=3, regularization=(1 + a) * lambda_, confidence=1.0, unobserved=a, scaling=nu)
    theirs, ours = [], []
    for _ in range(3):
        users, items = random.normal(size=(9, 3)), random.normal(size=(7, 3))
        x, y = users / np.sqrt(1 + a), items / np.sqrt(1 + a)
        loss = ((x @ y.T - 1)[seen] ** 2).sum() + a * ((x @ y.T) ** 2).sum()
        loss += lambda_ * ((seen.sum(axis=1) + a * 7) ** nu * (x**2).sum(axis=1)).sum()
        theirs.append(loss + lambda_ * ((seen.sum(axis=0) + a * 9) ** nu * (y**2).sum(axis=1)).sum())
        ours.append(implicit_loss(np.where(seen, 1.0, np.nan), users, items, model) / (1 + a) ** 2)
    np.testing.assert_allclose(np.diff(theirs), np.diff(ours), rtol=1e-9)
