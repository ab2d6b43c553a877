"""Cosines with the picked items, against vectors written out and against the profiles of `content`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.tables import CategoryColumn, Column, NumberColumn, Table
from nbarec.testing.worlds import tags_of, tiny_world
from nbarec_plugins.attributes import Features
from nbarec_plugins.item_space import FeatureSpace, ItemSpace, VectorSpace
from nbarec_plugins.windows import NOBODY

TINY = tiny_world().catalog
FIELDS = {"artist": 1.0, "moods": 0.5, "tempo": 2.0, "explicit": 1.0, "released": 0.3}


def features(table: Table, weights: dict[str, float]) -> FeatureSpace:
    return FeatureSpace(Features.of(table, weights, tfidf=True))


def slow_cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(sum(a * b for a, b in zip(left.tolist(), right.tolist(), strict=True))) / lengths if lengths else 0.0


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_cosines_of_vectors(seed: int, rows: int, width: int, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, size=(9, dimensions)).astype(np.float32) * np.float32(0.1)
    item, picked = rng.integers(9, size=(rows, width)), rng.integers(width, size=rows)
    found = VectorSpace(vectors).windows(item).cosines(picked)
    wide = vectors.astype(np.float64)
    expected = [[slow_cosine(wide[i], wide[item[row, picked[row]]]) for i in item[row]] for row in range(rows)]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("names", [["artist"], ["moods"], ["tempo"], ["tempo", "released"], list(FIELDS)])
def test_cosines_of_features_are_those_of_content(names: list[str]) -> None:
    space = features(TINY, {name: FIELDS[name] for name in names})
    every = np.arange(8)
    profiles = space.features.profiles(every, every.astype(np.int32), np.ones(8), 8)
    defined = np.maximum(space.features.cosines(profiles), -2)
    expected = np.where(defined == -2, 0.0, defined)
    rng = np.random.default_rng(3)
    item = np.stack([rng.permutation(8) for _ in range(8)])
    windows = space.windows(item)
    for place in rng.permutation(8).tolist():  # asked again and again, it answers alike
        picked = np.full(8, place)
        np.testing.assert_allclose(
            windows.cosines(picked), np.take_along_axis(expected[item[:, place]], item, axis=1), atol=1e-12
        )
    assert (space.features.length[6] == 0) == (not {"tempo", "explicit"} & set(names))


def random_spaces() -> list[ItemSpace]:
    rng = np.random.default_rng(1)
    columns: dict[str, Column] = {
        "kind": CategoryColumn.of([f"k{n}" for n in rng.integers(7, size=60)]),
        "tags": tags_of([[f"t{n}" for n in np.flatnonzero(rng.random(30) < 0.2)] for _ in range(60)]),
        "tempo": NumberColumn(rng.normal(size=60)),
        "year": NumberColumn(np.where(rng.random(60) < 0.3, np.nan, rng.normal(size=60))),
    }
    weights = {"kind": 0.7, "tags": 1.3, "tempo": 0.4, "year": 0.9}
    return [features(Table(60, columns), weights), VectorSpace(rng.normal(size=(60, 37)).astype(np.float32))]


@pytest.mark.parametrize("space", random_spaces(), ids=["features", "vectors"])
def test_no_bit_depends_on_the_other_rows_or_the_width(space: ItemSpace) -> None:
    rng = np.random.default_rng(2)
    item, picked = rng.integers(60, size=(50, 40)), rng.integers(20, size=50)
    together = space.windows(item).cosines(picked)
    assert 0 < space.cells(1) < space.cells(40)
    for row in range(50):
        narrow = space.windows(item[row : row + 1, :20]).cosines(picked[row : row + 1])
        assert narrow.tobytes() == together[row, :20].tobytes()
    ended = np.concatenate([item, np.full((50, 3), NOBODY)], axis=1)
    assert space.windows(ended).cosines(picked)[:, :40].tobytes() == together.tobytes()
