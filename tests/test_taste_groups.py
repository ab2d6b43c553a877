"""Latent factors recover the taste groups that the music world hides."""

from __future__ import annotations

from math import comb

import pytest

from nbarec.arrays import AnyArray
from nbarec.factors import Factors
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec_plugins.music_simulation import MusicTruth, simulate

TEXT = """
nbarec: 1
seed: 42
data: {use: music_world, feedback: {weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}}}
candidates:
  - {id: tastes, use: nmf, with: {factors: 8}}
  - {id: raw, use: nmf, with: {factors: 8, power: 1.0, balance: 0.0}}
  - {id: latent, use: als, with: {factors: 8}}
"""


@pytest.fixture(scope="module")
def truth() -> MusicTruth:
    return simulate(users=1000, songs=500).truth


@pytest.fixture(scope="module")
def model() -> Model:
    return Pipeline.from_text(TEXT).fit()


def adjusted_rand(one: AnyArray, other: AnyArray) -> float:
    """Agreement of two groupings, 0 for chance and 1 for the same (Hubert, Arabie 1985)."""
    pairs = list(zip(one.tolist(), other.tolist(), strict=True))
    together = sum(comb(pairs.count(cell), 2) for cell in set(pairs))
    first = sum(comb(one.tolist().count(group), 2) for group in set(one.tolist()))
    second = sum(comb(other.tolist().count(group), 2) for group in set(other.tolist()))
    expected = first * second / comb(len(pairs), 2)
    return (together - expected) / ((first + second) / 2 - expected)


def recovered(model: Model, truth: MusicTruth, stage: str) -> float:
    """Users with five events or more by their strongest factor, against the group of their hidden taste."""
    known = model.data.events.counts >= 5
    loadings = Factors.of(model, stage).user_loadings(model, model.data.users.all())
    return adjusted_rand(truth.user_group[known], loadings[known].argmax(axis=1))


def test_nmf_recovers_them(model: Model, truth: MusicTruth) -> None:
    """An adjusted Rand index of 0.68 (0.54 to 0.68 over five seeds of the world). Sorting users by the genres that
    they in fact played most gives 0.42: much of what is played is popularity, context and chance. Where popular songs
    and repeated plays count in full, hits make factors of their own: 0.47."""
    assert len(truth.groups) == 8
    found = recovered(model, truth, "tastes")
    assert found > 0.6
    assert found > recovered(model, truth, "raw") + 0.05


def test_als_recovers_them_once_turned_to_simple_structure(model: Model, truth: MusicTruth) -> None:
    """0.63 (0.62 to 0.71 over five seeds)."""
    assert recovered(model, truth, "latent") > 0.55


def test_the_measure_itself() -> None:
    groups = simulate(users=50, songs=20).truth.user_group
    assert adjusted_rand(groups, groups) == 1.0
    assert adjusted_rand(groups, (groups + 3) % 8) == 1.0
    assert abs(adjusted_rand(groups, groups[::-1])) < 0.2
