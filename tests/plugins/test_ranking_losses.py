"""Derivatives of both losses against differences, and LambdaRank against one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.work import Work, working
from nbarec_plugins import ranking_losses
from nbarec_plugins.ranking_losses import LambdaRank, LogLoss

seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, cut: int) -> tuple[LambdaRank, np.ndarray]:
    """Groups of up to eight entries, some missing, some without a pair; grades from 0 to 2."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(8), rng.integers(0, 9, 8) * (rng.random(8) < 0.8))
    label = rng.choice([0, 0, 0, 1, 2], len(group)).astype(np.float64)
    flat = rng.random(8)[group] < 0.3  # groups whose margins are all the same
    return LambdaRank(label, group, cut), np.where(flat, 0.0, rng.normal(size=len(group)).round(1))


def slow_slopes(loss: LambdaRank, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.zeros(len(margin)), np.zeros(len(margin))
    for group in np.unique(loss.group).tolist():
        inside = np.flatnonzero(loss.group == group).tolist()
        placed = sorted(inside, key=lambda at: -margin[at])
        discount = {at: 1 / math.log2(place + 2) for place, at in enumerate(placed)}
        top, total = placed[: loss.cut], 0.0
        gain = {at: 2 ** loss.label[at] - 1 for at in inside}
        best = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(gain.values(), reverse=True)[: loss.cut]))
        for i in inside:
            for j in inside:
                if loss.label[i] > loss.label[j] and (i in top or j in top):
                    swap = (gain[i] - gain[j]) * abs(discount[i] - discount[j]) / best
                    swap /= 0.01 + abs(margin[i] - margin[j]) if len(set(margin[inside].tolist())) > 1 else 1.0
                    chance = 1 / (1 + math.exp(margin[i] - margin[j]))
                    first[i] -= swap * chance
                    first[j] += swap * chance
                    second[[i, j]] += swap * chance * (1 - chance)
                    total += 2 * swap * chance
        if total:
            first[inside] *= math.log2(1 + total) / total
            second[inside] *= math.log2(1 + total) / total
    return first, second


@given(seeds, st.sampled_from([1, 3, 20]), st.sampled_from([1, 20, 10_000]))
@settings(max_examples=60, deadline=None)
def test_lambdas_are_sums_over_all_pairs(seed: int, cut: int, at_once: int) -> None:
    loss, margin = drawn(seed, cut)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking_losses, "PAIRS_AT_ONCE", at_once)
        found = loss.slopes(margin)
        start = loss.slopes(np.zeros(len(margin)))
    for part, expected in zip(start, slow_slopes(loss, np.zeros(len(margin))), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-12)
    for part, expected in zip(found, slow_slopes(loss, margin), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-12)


@given(seeds, st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_the_value_is_what_ndcg_lacks(seed: int, cut: int) -> None:
    loss, margin = drawn(seed, cut)
    found = []
    for group in np.unique(loss.group).tolist():
        inside = loss.group == group
        gains = (2 ** loss.label[inside] - 1)[np.argsort(-margin[inside], kind="stable")]
        discount = np.where(np.arange(len(gains)) < cut, 1 / np.log2(np.arange(len(gains)) + 2), 0)
        if gains.any():
            found.append(gains @ discount / (np.sort(gains)[::-1] @ discount))
    assert loss.value(margin) == pytest.approx(1 - np.mean(found) if found else 0.0, abs=1e-12)


def test_workers_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_losses, "PAIRS_AT_ONCE", 8)
    loss, margin = drawn(2, 5)
    alone = loss.slopes(margin)
    with working(Work(workers=2)):
        together = loss.slopes(margin)
    np.testing.assert_array_equal(alone, together)


def test_groups_without_a_pair_have_no_slopes() -> None:
    loss = LambdaRank(np.ones(4), np.array([0, 0, 5, 5]), 10)
    assert not np.any(loss.slopes(np.arange(4.0)))
    assert LambdaRank(np.empty(0), np.empty(0, np.int64), 3).value(np.empty(0)) == 0.0


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_derivatives_of_log_loss_are_its_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label, margin = rng.integers(0, 2, 5).astype(np.float64), rng.normal(size=5) * 3
    loss, step = LogLoss(label), 1e-4
    first, second = loss.slopes(margin)
    for at in range(5):
        change = np.eye(5)[at] * step
        up, here, down = (5 * loss.value(m) for m in (margin + change, margin, margin - change))
        assert first[at] == pytest.approx((up - down) / (2 * step), abs=1e-6)
        assert second[at] == pytest.approx((up + down - 2 * here) / step**2, abs=1e-5)


def test_log_loss_starts_at_the_share_of_ones_and_is_finite_without_any() -> None:
    assert LogLoss(np.array([1.0] * 30 + [0.0] * 70)).start() == pytest.approx(math.log(30.5 / 70.5))
    assert math.isfinite(LogLoss(np.zeros(10)).start())
    first, second = LogLoss(np.array([0.0, 1.0])).slopes(np.array([900.0, -900.0]))
    assert first.tolist() == [1.0, -1.0]
    assert second.tolist() == [0.0, 0.0]
