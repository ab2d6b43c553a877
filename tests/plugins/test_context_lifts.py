"""Lifts against their formula, by either way of looking counts up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.sparse import Csr
from nbarec.testing.worlds import tags_of
from nbarec_plugins import context_lifts as module
from nbarec_plugins.context_lifts import Lifts
from nbarec_plugins.item_groups import ItemGroups

GROUPS = ItemGroups.of(tags_of([["a"], ["a", "b"], [], ["c"]]))
TAGS = [{0}, {0, 1}, set(), {2}]

events = st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 3)), max_size=40)


@given(events, st.sampled_from([0.5, 10.0]))
@settings(max_examples=80, deadline=None)
def test_each_is_its_formula(drawn: list[tuple[int, int]], prior: float) -> None:
    code, item = np.array(drawn, np.int64).reshape(-1, 2).T
    lifts = Lifts.of(code[code >= 0], 3, item[code >= 0], GROUPS)
    known = [(level, TAGS[one]) for level, one in drawn if level >= 0 and TAGS[one]]
    level, group = np.divmod(np.arange(12), 3)
    expected = []
    for at, wanted in zip((level - 1).tolist(), group.tolist(), strict=True):
        both = sum(one == at and wanted in tags for one, tags in known)
        of_group, of_level = sum(wanted in tags for _, tags in known), sum(one == at for one, _ in known)
        some = of_group and of_level
        lift = math.log((both + prior) / (of_group * of_level / len(known) + prior)) if some else math.nan
        expected.append(lift)
    found = lifts.at(level - 1, group, prior)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DENSE", 0)  # without a table of all lifts
        assert found.tobytes() == lifts.at(level - 1, group, prior).tobytes()


def test_nothing_happened() -> None:
    nothing = np.empty(0, np.int64)
    lifts = Lifts.of(nothing, 0, nothing, GROUPS)
    assert lifts.both.shape == Csr.empty(0, 3).shape
    assert np.isnan(lifts.at(np.array([-1]), np.array([0]), 1.0)).all()
