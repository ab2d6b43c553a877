"""The list of popular items that everybody shares, which is sorted once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.kernels import NOT_PROPOSED, top_of_dense
from nbarec_plugins.popularity import PopularityState


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 12), max_size=12), st.integers(0, 14))
def test_the_list_for_everybody_begins_like_any_shorter_one(counted: list[int], limit: int) -> None:
    share = np.maximum(np.array(counted, np.float64), 0) * (
        1 + 1e-10 * np.arange(len(counted))
    )  # some are all but equal
    state = PopularityState(share, None)
    listed = top_of_dense(np.where(share > 0, share, NOT_PROPOSED)[None, :], limit)
    assert state.ranked.item[:limit].tolist() == listed.item.tolist()
    assert state.ranked.score[:limit].tolist() == listed.score.tolist()
