"""Fields of a machine: one active level each, unknown ones included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec_plugins import machine_fields as module
from nbarec_plugins.machine_fields import FARTHEST, Fields

NAN = np.nan
VALUES = np.array([[1.0, NAN], [3.0, NAN], [NAN, NAN], [2.0, NAN]], np.float32)
CODES = np.array([[0, 2], [1, 0], [2, 1], [1, 1]], np.int32)


def fields_of(numbers: Any, values: Any = VALUES, bins: int = 4) -> Fields:
    columns = [f"n{at}" for at in range(values.shape[1])]
    return Fields.of(("a", "b"), (3, 4), columns, values, numbers, bins, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("numbers", "names", "starts"),
    [
        ("bins", ("a", "b", "n0", "n1"), [0, 3, 7, 11, 13]),
        ("values", ("a", "b", "n0", "n1"), [0, 3, 7, 9, 11]),
        ("both", ("a", "b", "n0", "n1", "n0", "n1"), [0, 3, 7, 11, 13, 15, 17]),
    ],
)
def test_each_feature_has_its_fields(numbers: str, names: tuple[str, ...], starts: list[int]) -> None:
    fields = fields_of(numbers)
    assert fields.names == names
    assert fields.starts.tolist() == starts
    assert fields.levels == starts[-1]


def test_bins_and_values_and_what_is_unknown() -> None:
    active = fields_of("both").active(VALUES, CODES)
    assert (active.level[:2].T - [0, 3]).tolist() == CODES.tolist()
    assert (active.level[2] - 7).tolist() == [1, 3, 0, 2]
    assert (active.level[3] - 11).tolist() == [0, 0, 0, 0]
    assert (active.level[4] - 13).tolist() == [1, 1, 0, 1]
    spread = np.sqrt(2 / 3)
    np.testing.assert_allclose(active.value[4], [-1 / spread, 1 / spread, 1, 0], rtol=1e-6)
    assert (active.level[5] - 15).tolist() == [0, 0, 0, 0]
    assert (active.value[[0, 1, 2, 3, 5]] == 1).all()


def test_what_lies_far_away_is_held_near() -> None:
    active = fields_of("values").active(np.array([[1e30, NAN], [-np.inf, 7.0]], np.float32), CODES[:2])
    assert active.value[2].tolist() == [FARTHEST, -FARTHEST]
    assert active.value[3].tolist() == [1.0, FARTHEST]


@given(st.integers(0, 10**6), st.sampled_from(["bins", "values", "both"]), st.integers(2, 9), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_every_level_is_one_of_its_field(seed: int, numbers: Any, bins: int, entries: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice(np.array([NAN, -1, 0, 0.5, 2, 7], np.float32), (entries, 3))
    codes = rng.integers(0, [3, 4], (entries, 2)).astype(np.int32)
    fields = fields_of(numbers, values, bins)
    other = rng.normal(size=(5, 3)).astype(np.float32) * 100
    for given_values, given_codes in ((values, codes), (other, np.zeros((5, 2), np.int32))):
        active = fields.active(given_values, given_codes)
        assert active.level.shape == active.value.shape == (len(fields), len(given_values))
        assert (active.level >= fields.starts[:-1, None]).all()
        assert (active.level < fields.starts[1:, None]).all()
        assert np.isfinite(active.value).all()


@given(st.integers(0, 10**6), st.sampled_from([2, 5, 40]), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_bins_are_counted_as_they_are_searched(seed: int, bins: int, entries: int) -> None:
    rng = np.random.default_rng(seed)
    fields = fields_of("bins", rng.normal(size=(200, 3)).astype(np.float32).round(1), bins)
    values = rng.normal(size=(entries, 3)).astype(np.float32).round(1)
    values[rng.random(values.shape) < 0.2] = rng.choice(np.array([NAN, np.inf, -np.inf], np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOGETHER", 7)
        found = fields.active(values, np.zeros((entries, 2), np.int32)).level[2:] - fields.starts[2:-1, None]
    assert found.tolist() == fields.bins.bins(values).tolist()


def test_many_cuts_are_searched() -> None:
    values = np.arange(300, dtype=np.float32)[:, None].repeat(2, axis=1)
    fields = fields_of("bins", values, 200)
    assert len(fields.bins.of(0)) > module.MOST_COUNTED
    found = fields.active(values, np.zeros((300, 2), np.int32)).level[2:] - fields.starts[2:-1, None]
    assert found.tolist() == fields.bins.bins(values).tolist()


def test_a_count_that_is_nearly_always_zero_has_bins_for_the_others() -> None:
    count = np.zeros((4000, 1), np.float32)
    count[:200, 0] = np.arange(1, 201)
    fields = Fields.of((), (), ("count",), count, "bins", 16, np.random.default_rng(0))
    level = fields.active(count, np.empty((4000, 0), np.int32)).level[0]
    assert (level[200:] == 1).all()
    held = np.bincount(level[:200], minlength=17)[1:]
    assert np.count_nonzero(held) >= 14
    assert held.max() <= 2 * 200 // 14
