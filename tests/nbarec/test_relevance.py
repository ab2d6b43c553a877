"""What a perfect recommender would show, against a slow reference, and its fingerprint."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.relevance import fingerprint, relevant_items
from nbarec.sparse import Csr

events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from([-1.0, 0.0, 1.0]), st.booleans()),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(events, st.booleans(), st.booleans())
def test_relevant_items_match_the_reference(
    rows: list[tuple[int, int, float, bool]], repeats: bool, own_mask: bool
) -> None:
    user, item, weight, held_out = (np.array(column) for column in zip(*rows, strict=True))
    data = Dataset.from_arrays(
        user, item, weight, value=held_out.astype(float), kind=["a", "b"] * (len(rows) // 2) + ["a"] * (len(rows) % 2)
    )
    test, train = data.events.where(data.events.value == 1), data.events.where(data.events.value == 0)
    mask = test.kind == 0 if own_mask else test.weight > 0
    found = relevant_items(test, mask, train, repeats=repeats)
    liked = {(u, i) for u, i, w in zip(train.row, train.item, train.weight, strict=True) if w > 0}
    wanted: dict[tuple[int, int], float] = {}
    for u, i, m, w in zip(test.row.tolist(), test.item.tolist(), mask, test.weight.tolist(), strict=True):
        if m and (repeats or (u, i) not in liked):
            wanted[u, i] = wanted.get((u, i), 0.0) + w
    assert found.shape == (len(data.users), len(data.items))
    assert list(zip(found.row_of, found.indices, strict=True)) == sorted(wanted)
    assert found.data.tolist() == [wanted[pair] for pair in sorted(wanted)]


def test_the_fingerprint_goes_by_outside_ids_and_tells_any_other_pairs() -> None:
    data = Dataset.from_arrays(["ann", "bob", "cat"], ["tea", "rum", "tea"])
    longer = Dataset.from_arrays(["aaron", "bob", "ann"], ["rum", "juice", "tea"])
    pairs = (["ann", "bob"], ["tea", "rum"])
    assert told(data, *pairs) == told(data, pairs[0][::-1], pairs[1][::-1]) == told(longer, *pairs)
    others = (["ann", "bob"], ["rum", "tea"]), (["ann"], ["tea"]), (["ann", "cat"], ["tea", "rum"])
    assert len({told(data, *some) for some in (pairs, *others)}) == 4


def test_the_fingerprint_tells_other_weights_only_where_it_is_asked_to() -> None:
    data = Dataset.from_arrays(["ann", "bob"], ["tea", "rum"])
    truths = [Csr.from_pairs([0, 1], [1, 0], weights, (2, 2)) for weights in ([1, 3], [1, 3], [3, 1], [1, 1])]
    assert len({fingerprint(truth, data) for truth in truths}) == 1
    assert len({fingerprint(truth, data, weights=True) for truth in truths}) == 3


def told(data: Dataset, users: list[str], items: list[str]) -> str:
    shape = len(data.users), len(data.items)
    return fingerprint(Csr.from_pairs(data.users.index(users), data.items.index(items), None, shape), data)
