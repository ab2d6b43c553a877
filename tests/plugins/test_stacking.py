"""Learnt weights against every set of positive ones, and against the conditions that the minimum alone fulfils."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec_plugins import stacking
from nbarec_plugins.stacking import Entries, least_squares, logistic

seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, users: int = 12, width: int = 3) -> Entries:
    """Features of users' entries, some without any; the first feature tells best what was chosen, the last nothing."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, users)
    user = np.repeat(np.arange(users), counts)
    values = rng.normal(size=(len(user), width)).astype(np.float32) * np.arange(1, width + 1, dtype=np.float32)
    chance = 1 / (1 + np.exp(1 - 2.0 * values[:, 0] + 0.3 * values[:, 1]))
    return Entries(values, (rng.random(len(user)) < chance).astype(np.float32), user)


def deviation(values: np.ndarray) -> np.ndarray:
    found = np.sqrt((values**2).mean(axis=0)) if len(values) else np.zeros(values.shape[1])
    return np.where(found > 0, found, 1.0)


def slow_least_squares(examples: Entries, ridge: float) -> np.ndarray:
    """The best of all sets of positive weights, each user's constant written out as a column of its own."""
    values, label = examples.values.astype(np.float64), examples.label.astype(np.float64)
    users = np.equal.outer(examples.user, np.unique(examples.user)).astype(np.float64)
    within = values - users @ np.linalg.lstsq(users, values)[0] if len(values) else values
    scale = deviation(within)
    width, best, found = values.shape[1], np.inf, np.zeros(values.shape[1])
    for chosen in product([False, True], repeat=width):
        at = np.flatnonzero(chosen)
        pull = np.zeros((len(at), len(at) + users.shape[1]))
        pull[np.arange(len(at)), np.arange(len(at))] = np.sqrt(ridge) * scale[at]
        system = np.vstack([np.hstack([values[:, at], users]), pull])
        wanted = np.append(label, np.zeros(len(at)))
        solved = np.linalg.lstsq(system, wanted)[0]
        loss = ((system @ solved - wanted) ** 2).sum()
        if (solved[: len(at)] >= 0).all() and loss < best - 1e-12:
            best, found = loss, np.zeros(width)
            found[at] = solved[: len(at)]
    return found


@given(seeds, st.sampled_from([0.01, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_least_squares_finds_the_best_of_all_sets_of_positive_weights(seed: int, ridge: float) -> None:
    examples = drawn(seed)
    np.testing.assert_allclose(least_squares(examples, ridge), slow_least_squares(examples, ridge), atol=1e-5)


def slopes(examples: Entries, weights: np.ndarray, base: float, ridge: float) -> np.ndarray:
    """The loss's derivatives by each weight, and by the constant, written out."""
    values, label = examples.values.astype(np.float64), examples.label.astype(np.float64)
    chance = 1 / (1 + np.exp(-(values @ weights + base)))
    scale = deviation(values - values.mean(axis=0))
    return np.append((chance - label) @ values + ridge * weights * scale**2, (chance - label).sum())


@given(seeds, st.sampled_from([0.1, 1.0, 30.0]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_logistic_weights_fulfil_the_conditions_of_the_minimum(seed: int, ridge: float, negative: bool) -> None:
    """The loss is convex: a point from which no allowed step leads down is its only minimum."""
    examples = drawn(seed)
    if not 0 < examples.label.sum() < len(examples.label):
        return  # the constant alone has no best value then, and `stack` asks for no weights
    weights, base = logistic(examples, ridge, negative=negative)
    found = slopes(examples, weights, base, ridge)
    free = np.append(weights > 0, True) if not negative else np.ones(len(found), bool)
    np.testing.assert_allclose(found[free], 0, atol=1e-4 * len(examples.label))
    assert (found[~free] >= -1e-4 * len(examples.label)).all()
    assert negative or (weights >= 0).all()


def test_negative_weights_are_found_where_they_may_be() -> None:
    examples = drawn(5, users=300)
    weights, _ = logistic(examples, 1.0, negative=True)
    assert weights[0] == pytest.approx(2.0, abs=0.3)
    assert weights[1] == pytest.approx(-0.3, abs=0.1)
    assert abs(weights[2]) < 0.1
    held, _ = logistic(examples, 1.0, negative=False)
    assert held[1] == 0


def test_what_can_be_told_apart_without_a_fault_has_finite_weights() -> None:
    values = np.repeat([[0.0], [1.0]], 20, axis=0).astype(np.float32)
    examples = Entries(values, values[:, 0], np.arange(40))
    weights, base = logistic(examples, 1.0, negative=False)
    assert 1 < weights[0] < 20
    assert -20 < base < -1


def test_a_feature_that_never_changes_weighs_nothing() -> None:
    examples = drawn(7)
    flat = Entries(np.column_stack([examples.values, np.full(len(examples.label), 0.3, np.float32)]), *rest(examples))
    alone = least_squares(examples, 1.0)
    np.testing.assert_allclose(least_squares(flat, 1.0), [*alone, 0.0], atol=1e-6)
    weights, _ = logistic(flat, 1.0, negative=True)
    np.testing.assert_allclose(weights[:3], logistic(examples, 1.0, negative=True)[0], atol=1e-6)
    assert abs(weights[3]) < 1e-6


def rest(examples: Entries) -> tuple[np.ndarray, np.ndarray]:
    return examples.label, examples.user


def test_a_users_own_level_tells_least_squares_nothing() -> None:
    examples = drawn(8, users=40)
    level = np.random.default_rng(0).normal(size=40)[examples.user].astype(np.float32)
    moved = Entries(examples.values + level[:, None], *rest(examples))
    np.testing.assert_allclose(least_squares(moved, 1.0), least_squares(examples, 1.0), atol=1e-5)


def test_many_blocks_add_up_to_what_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = drawn(9, users=60)
    whole = least_squares(examples, 1.0), *logistic(examples, 1.0, negative=True)
    monkeypatch.setattr(stacking, "SUMMED_AT_ONCE", 7)
    parts = least_squares(examples, 1.0), *logistic(examples, 1.0, negative=True)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
