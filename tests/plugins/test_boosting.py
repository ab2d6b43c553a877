"""Boosting where it is known what there is to learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nbarec.progress import shown_by
from nbarec.work import Work, working
from nbarec_plugins.boosting import Boosting, LossOf, boosted, drawn, kept_apart
from nbarec_plugins.feature_bins import quantile_bins
from nbarec_plugins.histogram_trees import Growth
from nbarec_plugins.ranking_losses import LambdaRank, LogLoss
from nbarec_plugins.tree_values import Trees

HOW = Boosting(Growth(depth=3, min_leaf=5), trees=40)


def world(seed: int = 0, count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, some unknown, the log-odds they have, and labels; of requests with 20 entries each. The third feature
    is unknown more often where the log-odds are high, the last one says nothing."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 5)).astype(np.float32)
    odds = 2 * np.sin(2 * values[:, 0]) + (values[:, 1] > 0.5) * values[:, 3] - 0.5
    unknown = rng.random(count) < 0.3
    values[unknown, 2] = np.nan
    odds = odds + 1.5 * unknown
    return values, odds, (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float64)


def group_of(count: int) -> np.ndarray:
    return np.arange(count) // 20


def loss_of(label: np.ndarray, group: np.ndarray | None = None) -> LossOf:
    return lambda chosen: LogLoss(label[chosen]) if group is None else LambdaRank(label[chosen], group[chosen], 10)


def grown(values: np.ndarray, loss: LossOf, how: Boosting = HOW, seed: int = 0) -> Trees:
    """Trees that may end early, asked of some requests."""
    rng = np.random.default_rng(seed)
    return boosted(values, kept_apart(group_of(len(values)), loss, how, rng), loss, how, rng)


def fitted(how: Boosting = HOW, seed: int = 0, count: int = 4000) -> Trees:
    values, _, label = world(count=count)
    return grown(values, loss_of(label), how, seed)


def test_known_log_odds_are_recovered() -> None:
    trees = fitted(replace(HOW, trees=80), count=20_000)
    values, odds, _ = world(1)
    found = trees.margins(values)
    assert np.corrcoef(found, odds)[0, 1] > 0.95
    assert abs(found.mean() - odds.mean()) < 0.1
    moved = trees.moved()
    assert moved.argmin() == 4
    unknown = np.isnan(values[:, 2])
    parts = trees.contributions(values)[0]
    assert 1.0 < parts[unknown, 2].mean() - parts[~unknown, 2].mean() < 1.8


def test_training_loss_falls_with_every_tree() -> None:
    values, _, label = world()
    trees, loss = fitted(), LogLoss(label)
    reached = [
        loss.value(Trees(trees.column[:n], trees.threshold[:n], trees.expected[:n], trees.base, 5).margins(values))
        for n in range(len(trees.column) + 1)
    ]
    assert len(reached) == 41
    assert (np.diff(reached) < 0).all()
    assert reached[0] == pytest.approx(loss.value(np.full(len(label), loss.start())), abs=1e-6)


def test_values_reach_the_same_leaves_as_their_bins() -> None:
    # One tree with full steps: its leaves are the best for the entries in them, and its margins say which these are.
    values, _, label = world()
    how = Boosting(Growth(depth=3, min_leaf=5, l2=0.0), trees=1, learning_rate=1.0)
    trees = grown(values, loss_of(label), how)
    margins, start = trees.margins(values), trees.base
    chance = 1 / (1 + np.exp(-start))
    for margin in np.unique(margins).tolist():
        inside = label[margins == margin]
        step = (inside - chance).sum() / (chance * (1 - chance) * len(inside))
        assert margin - start == pytest.approx(step, abs=1e-7)
    assert trees.start == pytest.approx(margins.mean(), abs=1e-7)


@pytest.mark.parametrize("how", [HOW, replace(HOW, subsample=0.5, columns=0.5), replace(HOW, patience=3, apart=0.2)])
def test_the_same_generator_gives_the_same_trees_with_any_workers(how: Boosting) -> None:
    alone = fitted(how)
    with working(Work(workers=2)):
        together = fitted(how)
    for name in ("column", "threshold", "expected"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))


def test_shares_of_entries_and_features_still_learn() -> None:
    values, odds, _ = world(1)
    for how in (replace(HOW, subsample=0.5), replace(HOW, columns=0.5)):
        trees = fitted(how)
        assert np.corrcoef(trees.margins(values), odds)[0, 1] > 0.85
    # Half of five features is two: no tree asks for more.
    known = np.where(np.isinf(trees.threshold), -1, trees.column % 5)
    assert max(len(set(tree.tolist()) - {-1}) for tree in known) == 2


def test_boosting_ends_where_there_is_nothing_more_to_learn() -> None:
    values, _, _ = world()
    label = np.random.default_rng(9).integers(0, 2, 4000).astype(np.float64)
    early = grown(values, loss_of(label), replace(HOW, patience=3))
    assert len(early.column) < 10
    learnt = fitted(replace(HOW, trees=400, learning_rate=0.3, patience=5))
    assert 10 < len(learnt.column) < 200
    few = grown(values[:300], loss_of(label[:300]), replace(HOW, patience=3))
    assert len(few.column) == HOW.trees


def test_users_are_kept_apart_as_a_whole_and_nothing_is_learnt_from_them() -> None:
    values, _, label = world()
    how, user = replace(HOW, trees=5, patience=5), np.random.default_rng(1).permutation(group_of(4000))
    apart = kept_apart(user, loss_of(label), how, np.random.default_rng(0))
    assert len(np.unique(user[apart])) == 20
    assert apart.sum() == 400
    first, other = (
        boosted(values, apart, loss_of(labels), how, np.random.default_rng(0))
        for labels in (label, np.where(apart, np.random.default_rng(2).permutation(label), label))
    )
    both = min(len(first.column), len(other.column))
    assert both > 0
    np.testing.assert_array_equal(first.expected[:both], other.expected[:both])


@pytest.mark.parametrize("group", [None, group_of(4000)])
def test_nobody_is_kept_apart_where_a_part_would_have_nothing_to_tell(group: np.ndarray | None) -> None:
    how = replace(HOW, patience=3)
    one = np.where(group_of(4000) == 7, np.arange(4000) % 2, 0.0)  # who alone has what there is to find
    for seed in range(30):
        assert not kept_apart(group_of(4000), loss_of(one, group), how, np.random.default_rng(seed)).any()
    many = (np.arange(4000) % 2).astype(np.float64)
    assert kept_apart(group_of(4000), loss_of(many, group), how, np.random.default_rng(0)).any()
    assert not kept_apart(group_of(380), loss_of(many[:380], group), how, np.random.default_rng(0)).any()


def test_a_tree_without_a_split_does_not_end_what_other_features_can_tell() -> None:
    values, _, label = world()
    values[:, 1:] = 1.0
    trees = grown(values, loss_of(label), replace(HOW, columns=0.2))
    assert 2 < len(trees.column) < 20
    assert set(trees.asked.tolist()) == {0}


def test_groups_without_a_pair_make_no_tree() -> None:
    values, _, label = world()
    assert len(grown(values, loss_of(label, np.arange(4000)), replace(HOW, patience=3)).column) == 0


def test_lambdarank_orders_each_group() -> None:
    values, odds, label = world()
    shift = np.random.default_rng(4).normal(size=200)[group_of(4000)] * 3
    group = group_of(4000)
    trees = grown(values, loss_of(label, group))
    loss = LambdaRank(label, group, 10)
    assert trees.base == 0.0
    assert loss.value(trees.margins(values)) < 0.25 < loss.value(shift)
    assert loss.value(trees.margins(values)) < loss.value(odds) + 0.01


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_that_are_all_alike_are_told_from_the_start(label: float) -> None:
    values, _, _ = world()
    labels = np.full(4000, label)
    trees = grown(values, loss_of(labels))
    margins = trees.margins(values)
    assert np.isfinite(margins).all()
    assert (margins * (2 * label - 1) > 8).all()


def test_what_there_is_nothing_to_learn_from_gives_one_margin() -> None:
    label = np.array([0.0, 1.0] * 50)
    for values in (np.empty((100, 0)), np.ones((100, 2)), np.full((100, 1), np.nan)):
        trees = grown(values.astype(np.float32), loss_of(label))
        assert len(trees.column) == 0
        assert (trees.margins(values.astype(np.float32)) == 0).all()
    nobody = grown(np.empty((0, 2), np.float32), loss_of(label[:0]))
    assert nobody.margins(np.ones((2, 2), np.float32)).tolist() == [0, 0]


def test_one_feature_that_is_known_or_not_is_enough() -> None:
    values = np.where(np.arange(200) % 2, np.nan, 1.0).astype(np.float32)[:, None]
    label = (np.arange(200) % 2).astype(np.float64)
    trees = grown(values, loss_of(label))
    assert ((trees.margins(values) > 0) == (label > 0.5)).all()
    assert trees.margins(np.array([[7.0]], np.float32)) == trees.margins(values[:1])
    assert quantile_bins(values, 255, np.random.default_rng(0)).width == 2


def test_progress_is_told_by_tree() -> None:
    told: list[tuple[str, int]] = []

    class Bar:
        def __enter__(self) -> Callable[[int], None]:
            return lambda steps: told.append(("advance", steps))

        def __exit__(self, *_: object) -> None:
            return None

    with shown_by(lambda label, length: told.append((label, length)) or Bar()):  # type: ignore[func-returns-value]
        fitted(replace(HOW, trees=3))
    assert told == [("trees", 3)] + [("advance", 1)] * 3


def test_drawn_positions_are_ascending_and_at_least_one() -> None:
    rng = np.random.default_rng(0)
    assert drawn(5, 1.0, rng).tolist() == [0, 1, 2, 3, 4]
    assert len(drawn(5, 0.01, rng)) == 1
    some = drawn(100, 0.3, rng)
    assert len(some) == 30
    assert (np.diff(some) > 0).all()
