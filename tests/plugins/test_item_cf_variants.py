"""Variants of item_cf: asymmetric cosine, weighted pairs, and lists kept by the items to be scored, in loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.contracts import check_evidence
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine
from nbarec.ids import Ids
from nbarec.sparse import Csr
from nbarec.tables import Table
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for
from nbarec.work import Work, working
from nbarec_plugins import row_products
from nbarec_plugins.item_cf import ItemCf, ItemCfState

RNG = np.random.default_rng(0)
Triples = list[tuple[int, int, float]]
Weights = list[dict[int, float]]
MODELS = [
    ItemCf(source=0.65, shrink=1.0),
    ItemCf(source=0.0, neighbors=2, keep="target"),
    ItemCf(keep="target", neighbors=3, score="mean"),
    ItemCf(keep="target", similarity="conditional", alpha=0.4, neighbors=2),
    ItemCf(keep="target", similarity="pearson", neighbors=2),
    ItemCf(weighting="tfidf", neighbors=3),
    ItemCf(weighting="bm25", source=0.8, keep="target", neighbors=2, shrink=2.0),
]


def dataset(triples: Triples, users: int, items: int) -> Dataset:
    user, item, weight = (np.array([row[n] for row in triples]) for n in range(3))
    columns = EventColumns(user.astype(np.int64), item.astype(np.int64), weight, weight, np.zeros(len(triples)))
    events = columns.sorted_events(users, items, Combine("last"))
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def drawn_triples(seed: int, users: int, items: int, events: int) -> Triples:
    rng = np.random.default_rng(seed)
    weights = [[1.0], [-1.0, 0.0, 0.5, 1.0, 3.0]][seed % 2]
    picks = rng.integers(users, size=events), rng.integers(items, size=events), rng.choice(weights, events)
    return [(int(user), int(item), float(weight)) for user, item, weight in zip(*picks, strict=True)]


@st.composite
def worlds(draw: st.DrawFn) -> Dataset:
    users, items = draw(st.integers(1, 7)), draw(st.integers(1, 8))
    return dataset(drawn_triples(draw(st.integers(0, 10**6)), users, items, draw(st.integers(0, 45))), users, items)


def weights_of(data: Dataset) -> Weights:
    """The weight of every pair, a dictionary a user."""
    matrix, found = data.events.matrix(), [dict[int, float]() for _ in data.events.counts]
    for user, item, weight in zip(matrix.row_of, matrix.indices.tolist(), matrix.data.tolist(), strict=True):
        found[user][item] = weight
    return found


# --- the reference ----------------------------------------------------------------------------------------------------


def reweighted(users: Weights, items: int, weighting: str) -> Weights:
    """Each pair's TF-IDF or BM25, item by item; k1 1.2, b 0.8."""
    told = [{item: weight for item, weight in had.items() if weight} for had in users]
    if weighting == "none":
        return told
    length = [sum(abs(had.get(item, 0.0)) for had in told) for item in range(items)]
    mean = sum(length) / items
    for had in told:
        idf = math.log(1 + items / max(len(had), 1))
        for item, weight in had.items():
            size = abs(weight)
            frequency = math.sqrt(size)
            if weighting == "bm25":
                frequency = 2.2 * size / (1.2 * (0.2 + 0.8 * length[item] / mean) + size)
            had[item] = math.copysign(frequency * idf, weight)
    return told


def similarity(i: int, j: int, users: Weights, model: ItemCf) -> float:
    """similarity(i -> j)."""
    if model.similarity == "conditional":
        one, other = ({u for u, had in enumerate(users) if had.get(item, 0) > 0} for item in (i, j))
        both = len(one & other)
        found = both / (len(one) * len(other) ** model.alpha) if both else 0.0
    elif model.similarity == "pearson":
        pairs = [(had[i], had[j]) for had in users if i in had and j in had]
        x, y = ([a - sum(v) / len(v) for a in v] for v in zip(*pairs, strict=True)) if pairs else ([], [])
        both, below = len(pairs), math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
        found = sum(a * b for a, b in zip(x, y, strict=True)) / below if below > 1e-9 else 0.0
    else:
        x, y = ([had.get(item, 0.0) for had in users] for item in (i, j))
        both = sum(a != 0 and b != 0 for a, b in zip(x, y, strict=True))
        squares = sum(a * a for a in x), sum(b * b for b in y)
        below = squares[0] ** model.source * squares[1] ** (1 - model.source) if both else 0.0
        found = sum(a * b for a, b in zip(x, y, strict=True)) / below if below else 0.0
    return found * both / (both + model.shrink) if abs(found) > 1e-9 and both else 0.0


def all_links(data: Dataset, model: ItemCf) -> dict[tuple[int, int], float]:
    """similarity(i -> j) of the pairs that are kept."""
    items, users = len(data.items), weights_of(data)
    if model.similarity == "cosine":
        users = reweighted(users, items, model.weighting)
    found = {(i, j): similarity(i, j, users, model) for i in range(items) for j in range(items) if i != j}
    links = {}
    for item in range(items):
        mine = {pair: s for pair, s in found.items() if s and pair[model.keep == "target"] == item}
        largest = max(map(abs, mine.values()), default=1.0)
        order = sorted(mine, key=lambda pair: (-round(mine[pair] / largest, 8), pair))
        links.update({pair: mine[pair] for pair in order[: model.neighbors]})
    return links


def links_of(state: ItemCfState) -> dict[tuple[int, int], float]:
    rows = state.neighbours
    return dict(zip(zip(rows.row_of.tolist(), rows.column.tolist(), strict=True), rows.value.tolist(), strict=True))


# --- against the reference --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=repr)
@given(data=worlds())
@settings(max_examples=40, deadline=None)
def test_links_are_those_of_the_reference(model: ItemCf, data: Dataset) -> None:
    assert links_of(model.fit(data, RNG)) == pytest.approx(all_links(data, model), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("model", MODELS, ids=repr)
@given(data=worlds())
@settings(max_examples=20, deadline=None)
def test_scores_and_parts_follow_from_the_links(model: ItemCf, data: Dataset) -> None:
    request = request_for(data, list(range(len(data.users))), excluded=Csr.empty(len(data.users), len(data.items)))
    state, links = model.fit(data, RNG), all_links(data, model)
    found = model.generate(state, request, 100)
    row, scores = np.repeat(np.arange(len(data.users)), np.diff(found.indptr)), dict[tuple[int, int], float]()
    for user, history in enumerate(weights_of(data)):
        for j in range(len(data.items)):
            met = [(weight, links[i, j]) for i, weight in history.items() if weight and (i, j) in links]
            reach = sum(abs(link) for _, link in met) if model.score == "mean" else 1.0
            total = sum(weight * link for weight, link in met)
            if total > 1e-9:
                scores[user, j] = total / reach
    proposed = zip(zip(row.tolist(), found.item.tolist(), strict=True), found.score.tolist(), strict=True)
    assert {pair: score for pair, score in proposed if score > 1e-9} == pytest.approx(scores, rel=1e-6)
    item = found.item
    told = model.evidence(state, request, row.astype(np.int32), item, 100)
    check_evidence("item_cf", told, len(item), 100)
    summed = [told.amount[a:b].sum() for a, b in zip(told.indptr[:-1], told.indptr[1:], strict=True)]
    np.testing.assert_allclose(np.array(summed) + told.rest, found.score, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("model", MODELS, ids=repr)
@given(seed=st.integers(0, 10**6), events=st.sampled_from([0, 1, 4]))
@settings(max_examples=30, deadline=None)
def test_an_update_is_a_refit_to_the_bit(model: ItemCf, seed: int, events: int) -> None:
    old, new = drawn_triples(seed, 8, 9, 30), drawn_triples(seed + 2, 10, 11, events)
    data = dataset(old + new, 10, 11)
    updated = model.update(model.fit(dataset(old, 8, 9), RNG), data, dataset(new, 10, 11))
    assert bits_of(updated) == bits_of(model.fit(data, RNG))


def bits_of(state: Any) -> list[bytes]:
    """The bytes of all arrays of a state."""
    if isinstance(state, np.ndarray):
        return [state.tobytes()]
    return [one for part in getattr(state, "__dataclass_fields__", ()) for one in bits_of(getattr(state, part))]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_workers_and_blocks_change_no_bit(model: ItemCf, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(drawn_triples(3, 90, 60, 1200), 90, 60)
    state = bits_of(model.fit(data, RNG))
    for block, workers in ((8 << 9, 2), (8 << 10, 3)):
        monkeypatch.setattr(row_products, "BLOCK", block)
        with working(Work(workers=workers)):
            assert bits_of(model.fit(data, RNG)) == state


@pytest.mark.parametrize("check", checks(MODELS[-1]), ids=lambda check: check.name)
def test_it_keeps_what_every_generator_promises(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


# --- what they are for ---------------------------------------------------------------------------------------------


def test_likely_items_gain_with_source() -> None:
    """Item 0 shares as many users with the hit 2 as with the rare item 1."""
    triples: Triples = [(0, 0, 1.0), (0, 1, 1.0), (1, 0, 1.0), (1, 2, 1.0), *((u, 2, 1.0) for u in range(2, 9))]
    data = dataset(triples, 9, 3)
    shares = [links_of(ItemCf(source=source).fit(data, RNG)) for source in (0.0, 0.5, 1.0)]
    assert [one[0, 2] / one[0, 1] for one in shares] == pytest.approx([1 / 8, 8**-0.5, 1.0])


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_users_of_everything_say_little(weighting: Any) -> None:
    """Items 0 and 1 share user 0, who has these alone; items 0 and 2 share user 1, who has all."""
    data = dataset([(0, 0, 1.0), (0, 1, 1.0), *((1, item, 1.0) for item in (0, 2, 3, 4, 5)), (2, 1, 1.0)], 3, 6)
    plain, weighted = (links_of(ItemCf(weighting=one).fit(data, RNG)) for one in ("none", weighting))
    assert weighted[0, 1] / weighted[0, 2] > 1.4 * plain[0, 1] / plain[0, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"similarity": "jaccard", "source": 0.6}, "source has no part in jaccard; .* similarity: cosine"),
        ({"similarity": "pearson", "weighting": "bm25"}, "weighting has no part in pearson"),
        ({"alpha": 0.5}, "alpha has no part in cosine; .* similarity: conditional"),
        ({"keep": "both"}, "keep must be"),
        ({"source": 1.5}, "source must be"),
    ],
)
def test_wrong_parameters(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemCf(**wrong)
