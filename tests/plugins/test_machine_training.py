"""Learning a machine: what was planted is found, what is held out stops it, and a seed gives one result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nbarec.arrays import Bools, Floats32, Floats64
from nbarec.work import Work, working
from nbarec_plugins.factorisation_machines import Active, Machine
from nbarec_plugins.machine_training import Learnt, Training, learnt

HOW = Training(epochs=15, batch_size=256, rate=0.05, l2=0.3, linear_l2=0.1, start=0.1, patience=15)
SIDES = 8


def crossed(entries: int = 6000, seed: int = 0) -> tuple[Active, Floats32, Floats64]:
    """Two fields of 8 levels: neither tells anything alone, and both together say it all, that is whether the levels
    are of the same half; and a third field of noise. Active levels, labels, and the true chance of a label."""
    rng = np.random.default_rng(seed)
    first, second, noise = rng.integers(0, SIDES, (3, entries))
    chance = np.where((first < SIDES // 2) == (second < SIDES // 2), 0.8, 0.1)
    level = np.stack([first, SIDES + second, 2 * SIDES + noise]).astype(np.int32)
    label = (rng.random(entries) < chance).astype(np.float32)
    return Active(level, np.ones(level.shape, np.float32)), label, chance


def halves(entries: int, share: float = 0.2) -> Bools:
    held_out = np.zeros(entries, bool)
    held_out[int(entries * (1 - share)) :] = True
    return held_out


def learn(machine: Machine, active: Active, label: Floats32, held_out: Bools, how: Training = HOW) -> Learnt:
    return learnt(machine, active, label, held_out, how, np.random.default_rng(3))


def zeros(factors: int, field_aware: bool = False) -> Machine:
    return Machine.zeros(3 * SIDES, 3, factors, field_aware=field_aware)


def chances(machine: Machine, active: Active) -> Floats64:
    return np.asarray(1 / (1 + np.exp(-machine.margins(active))))


@pytest.mark.parametrize(("factors", "field_aware"), [(2, False), (4, False), (2, True)])
def test_a_planted_interaction_is_found_that_no_linear_model_sees(factors: int, field_aware: bool) -> None:
    active, label, chance = crossed()
    held_out = halves(len(label))
    found = learn(zeros(factors, field_aware), active, label, held_out)
    linear = learn(zeros(0), active, label, held_out)
    assert np.abs(chances(found.machine, active) - chance)[held_out].mean() < 0.05
    assert np.abs(chances(linear.machine, active) - label.mean()).mean() < 0.05  # it sees next to nothing
    best = -np.mean(chance * np.log(chance) + (1 - chance) * np.log(1 - chance))
    assert np.nanmin(found.held_out) < best + 0.03
    assert np.nanmin(linear.held_out) > best + 0.15


def test_a_linear_one_is_the_logistic_regression() -> None:
    """At the optimum of the convex loss with its penalty the slope is zero: few epochs come near it."""
    rng = np.random.default_rng(1)
    level = rng.integers(0, 3, (2, 3000)) + np.array([[0], [3]])
    truth = np.array([-1.0, 0.0, 1.0, 0.5, 0.0, -0.5])
    label = (rng.random(3000) < 1 / (1 + np.exp(-truth[level].sum(axis=0)))).astype(np.float32)
    active = Active(level.astype(np.int32), np.ones(level.shape, np.float32))
    how = replace(HOW, epochs=60, linear_l2=3.0)
    found = learn(Machine.zeros(6, 2, 0, field_aware=False), active, label, np.zeros(3000, bool), how).machine
    residual = chances(found, active) - label
    slope = np.bincount(level.ravel(), weights=np.tile(residual, 2)) + 3.0 * found.linear
    assert abs(residual.sum()) < 0.01 * label.sum()
    np.testing.assert_allclose(slope, 0.0, atol=6.0)  # of 3000 entries: two thousandths each


def test_levels_that_nobody_had_add_nothing() -> None:
    active, label, _ = crossed(500)
    held_out = active.level[0] == 5
    found = learn(zeros(3), active, label, np.asarray(held_out)).machine
    assert found.linear[5] == 0
    assert not found.vectors[5].any()
    assert found.vectors[4].any()


def test_what_is_held_out_says_when_it_is_enough() -> None:
    """Labels at random: the more it learns, the worse it gets, and the best epoch is kept."""
    rng = np.random.default_rng(0)
    active, _, _ = crossed(400)
    label = (rng.random(400) < 0.5).astype(np.float32)
    held_out = halves(400, 0.5)
    how = replace(HOW, epochs=40, batch_size=32, l2=0.01, linear_l2=0.01, patience=3)
    found = learn(zeros(8), active, label, held_out, how)
    assert len(found.held_out) < 40
    best = int(np.argmin(found.held_out))
    assert len(found.held_out) == best + 1 + 3
    again = learn(zeros(8), active, label, held_out, replace(how, patience=40))
    np.testing.assert_array_equal(found.machine.vectors, again.machine.vectors)


def test_nothing_held_out_means_all_epochs() -> None:
    active, label, _ = crossed(300)
    found = learn(zeros(2), active, label, np.zeros(300, bool), replace(HOW, epochs=4, patience=1))
    assert len(found.trained) == 4
    assert np.isnan(found.held_out).all()


@pytest.mark.parametrize("field_aware", [False, True])
def test_the_same_bits_for_the_same_seed_and_any_workers(field_aware: bool) -> None:
    active, label, _ = crossed(900)
    found: list[Any] = []
    for workers in (1, 3):
        with working(Work(workers=workers)):
            found.append(learn(zeros(3, field_aware), active, label, halves(900), replace(HOW, epochs=2)).machine)
    assert found[0].base == found[1].base
    np.testing.assert_array_equal(found[0].linear, found[1].linear)
    np.testing.assert_array_equal(found[0].vectors, found[1].vectors)


def test_a_stronger_pull_makes_shorter_vectors() -> None:
    active, label, _ = crossed(2000)
    lengths = [
        float(np.square(learn(zeros(3), active, label, halves(2000), replace(HOW, l2=l2)).machine.vectors).sum())
        for l2 in (0.1, 3.0, 300.0)
    ]
    assert lengths[0] > lengths[1] > 10 * lengths[2]


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_that_are_all_alike_stay_finite(label: float) -> None:
    active, labels, _ = crossed(100)
    found = learn(zeros(2), active, np.full(len(labels), label, np.float32), halves(100)).machine
    margins = found.margins(active)
    assert np.isfinite(margins).all()
    assert ((margins > 0) == bool(label)).all()
