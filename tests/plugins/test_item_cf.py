"""Item-based collaborative filtering against slow references, and on the music example."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates, Request
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine, Events
from nbarec.ids import Ids
from nbarec.sparse import Csr
from nbarec.tables import Table
from nbarec_plugins import row_products
from nbarec_plugins.item_cf import ItemCf, ItemCfState, nbarec_candidate_generators

DATA = Path(os.environ.get("NBAREC_DATA", Path(__file__).parents[3] / "shared/data"))
RNG = np.random.default_rng(0)
MEASURES = ["cosine", "adjusted_cosine", "pearson", "jaccard", "conditional"]
Triples = list[tuple[int, int, float]]


def dataset(triples: Triples, users: int, items: int, combine: Combine | None = None) -> Dataset:
    user, item, weight = (np.array([row[n] for row in triples]) for n in range(3))
    columns = EventColumns(user.astype(np.int64), item.astype(np.int64), weight, weight, np.zeros(len(triples)))
    events = columns.sorted_events(users, items, combine or Combine())
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def request_for(history: Events, excluded: Csr | None = None) -> Request:
    rows, items = history.rows, history.n_items
    return Request(
        user=np.full(rows, -1, np.int32),
        key=np.zeros(rows, np.uint64),
        history=history,
        excluded=Csr.empty(rows, items) if excluded is None else excluded,
        context={},
        catalog=Table(items),
        audience=Table(rows),
        now=np.zeros(rows, np.int64),
        k=10,
    )


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


@st.composite
def worlds(draw: st.DrawFn) -> Dataset:
    users, items = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    combine = Combine(draw(st.sampled_from(["sum", "mean", "last"])))
    return dataset(draw(triples(users, items, 40)), users, items, combine)


@st.composite
def triples(draw: st.DrawFn, users: int, items: int, most: int) -> Triples:
    events, rng = draw(st.integers(0, most)), np.random.default_rng(draw(st.integers(0, 10**6)))
    weights = draw(st.sampled_from([[1.0], [0.5, 1.0, 2.0, 5.0], [-1.0, -0.5, 0.0, 0.3, 1.0, 3.0]]))
    picks = rng.integers(users, size=events), rng.integers(items, size=events), rng.choice(weights, size=events)
    return list(zip(*(column.tolist() for column in picks), strict=True))


# --- the references: dictionaries and loops ---------------------------------------------------------------------


def weights_of(data: Dataset) -> list[dict[int, float]]:
    """The combined weight of every pair, a dictionary a user."""
    events, found = data.events, []
    for user in range(events.rows):
        pairs: dict[int, list[float]] = {}
        for at in range(events.indptr[user], events.indptr[user + 1]):
            pairs.setdefault(int(events.item[at]), []).append(float(events.weight[at]))
        combine: Callable[[list[float]], float] = {
            "sum": sum,
            "mean": lambda values: sum(values) / len(values),
            "last": lambda values: values[-1],
        }[events.combine.by]
        found.append({item: combine(values) for item, values in pairs.items()})
    return found


def similarity(i: int, j: int, users: list[dict[int, float]], measure: str, alpha: float) -> tuple[float, int]:
    """similarity(i -> j), and the number of users in common."""
    if measure in ("jaccard", "conditional"):
        one, other = ({u for u, seen in enumerate(users) if seen.get(item, 0) > 0} for item in (i, j))
        common = len(one & other)
        if not common:
            return 0.0, 0
        return common / (len(one | other) if measure == "jaccard" else len(one) * len(other) ** alpha), common
    if measure == "cosine":
        common = sum(seen.get(i, 0) != 0 and seen.get(j, 0) != 0 for seen in users)
        x, y = ([seen.get(item, 0.0) for seen in users] for item in (i, j))
        return ratio(x, y), common
    both = [seen for seen in users if i in seen and j in seen]
    x, y = ([seen[item] for seen in both] for item in (i, j))
    if measure == "adjusted_cosine":
        means = [sum(seen.values()) / len(seen) for seen in both]
        x, y = ([a - m for a, m in zip(v, means, strict=True)] for v in (x, y))
    elif both:
        x, y = ([a - sum(v) / len(v) for a in v] for v in (x, y))
    return ratio(x, y), len(both)


def ratio(x: list[float], y: list[float]) -> float:
    below = math.sqrt(math.fsum(a * a for a in x) * math.fsum(b * b for b in y))
    found = math.fsum(a * b for a, b in zip(x, y, strict=True)) / below if below > 1e-9 else 0.0
    return found if abs(found) > 1e-9 else 0.0


def all_similar(data: Dataset, model: ItemCf) -> list[dict[int, float]]:
    users, found = weights_of(data), []
    for i in range(len(data.items)):
        row = {}
        for j in set(range(len(data.items))) - {i}:
            alike, common = similarity(i, j, users, model.similarity, model.alpha)
            if alike:
                row[j] = alike * common / (common + model.shrink)
        largest = max(map(abs, row.values()), default=1.0)
        best = sorted(row, key=lambda j: (-round(row[j] / largest, 8), j))[: model.neighbors]
        found.append({j: row[j] for j in best})
    return found


def scored(history: dict[int, float], similar: list[dict[int, float]], score: str) -> dict[int, float]:
    found = {}
    for j in range(len(similar)):
        shared = [(weight, similar[i][j]) for i, weight in sorted(history.items()) if weight and j in similar[i]]
        total = math.fsum(weight * alike for weight, alike in shared)
        reach = math.fsum(abs(alike) for _, alike in shared) if score == "mean" else 1.0
        if total > 1e-9:
            found[j] = total / reach
    return found


# --- against the references ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
@given(data=worlds(), shrink=st.sampled_from([0.0, 2.5]), neighbors=st.sampled_from([1, 2, 100]))
@settings(max_examples=100, deadline=None)
def test_similarities_equal_the_reference(measure: Any, data: Dataset, shrink: float, neighbors: int) -> None:
    alpha = 0.5 if measure == "conditional" and shrink else 0.0
    model = ItemCf(similarity=measure, neighbors=neighbors, shrink=shrink, alpha=alpha)
    kept = model.fit(data, RNG).neighbours
    assert kept.rows == kept.columns == len(data.items)
    for i, expected in enumerate(all_similar(data, model)):
        row = slice(kept.indptr[i], kept.indptr[i + 1])
        assert kept.column[row].tolist() == sorted(expected)
        # A correlation near 0 is what is left when nearly all digits cancel.
        np.testing.assert_allclose(kept.value[row], [expected[j] for j in sorted(expected)], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("score", ["sum", "mean"])
@given(data=worlds(), limit=st.sampled_from([1, 3, 50]))
@settings(max_examples=60, deadline=None)
def test_lists_equal_the_reference(measure: Any, score: Any, data: Dataset, limit: int) -> None:
    model = ItemCf(similarity=measure, score=score, neighbors=4)
    matrix = data.events.matrix()
    liked = matrix.data > 0
    excluded = Csr.from_pairs(matrix.row_of[liked], matrix.indices[liked], None, matrix.shape)
    request = request_for(data.events, excluded)
    found = lists(model.generate(model.fit(data, RNG), request, limit))
    similar = all_similar(data, model)
    for user, history in enumerate(weights_of(data)):
        allowed = {j: s for j, s in scored(history, similar, score).items() if history.get(j, 0) <= 0}
        proposed = dict(found[user])
        proposed = {j: s for j, s in proposed.items() if s > 1e-9 or j in allowed}
        order = sorted(allowed, key=lambda j: (-round(allowed[j], 8), j))[:limit]
        assert list(proposed) == order
        np.testing.assert_allclose([proposed[j] for j in order], [allowed[j] for j in order], rtol=1e-6)


@given(data=worlds(), pairs=st.sampled_from([1, 4, 1 << 18]))
@settings(max_examples=100, deadline=None)
def test_blocks_and_batches_change_no_bit(data: Dataset, pairs: int) -> None:
    model = ItemCf(similarity="pearson", score="mean")
    whole = model.fit(data, RNG)
    request = request_for(data.events)
    together = lists(model.generate(whole, request, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_products, "BLOCK", 8 * pairs)
        assert_same(model.fit(data, RNG), whole)
        for user in reversed(range(len(request))):
            assert lists(model.generate(whole, request.take(np.array([user])), 5)) == [together[user]]


def assert_same(one: ItemCfState, other: ItemCfState) -> None:
    np.testing.assert_array_equal(one.digest, other.digest)
    for field in ("indptr", "column", "value"):
        np.testing.assert_array_equal(getattr(one.neighbours, field), getattr(other.neighbours, field))
    assert one.neighbours.columns == other.neighbours.columns


@pytest.mark.parametrize("measure", MEASURES)
@given(drawn=st.data())
@settings(max_examples=100, deadline=None)
def test_an_update_is_a_refit_to_the_bit(measure: Any, drawn: st.DataObject) -> None:
    old, new = drawn.draw(triples(8, 8, 40)), drawn.draw(triples(10, 10, 3))
    combine = Combine(drawn.draw(st.sampled_from(["sum", "mean", "last"])))
    model = ItemCf(similarity=measure, neighbors=drawn.draw(st.sampled_from([1, 3, 100])), shrink=1.0)
    state = model.fit(dataset(old, 8, 8, combine), RNG)
    data = dataset(old + new, 10, 10, combine)
    updated = model.update(state, data, dataset(new, 10, 10, combine))
    assert_same(updated, model.fit(data, RNG))


def test_an_update_forgets_what_is_no_longer_shared() -> None:
    """The last word on (0, 1) becomes 0, so items 0 and 1 have no user in common any more."""
    old: Triples = [(0, 0, 1.0), (0, 1, 1.0)]
    model, combine = ItemCf(), Combine("last")
    state = model.fit(dataset(old, 1, 2, combine), RNG)
    data = dataset([*old, (0, 1, 0.0)], 1, 2, combine)
    updated = model.update(state, data, dataset([(0, 1, 0.0)], 1, 2, combine))
    assert (len(state.neighbours.column), len(updated.neighbours.column)) == (2, 0)
    assert_same(updated, model.fit(data, RNG))


def test_an_update_sees_old_weights_change() -> None:
    old: Triples = [(0, 0, 1.0), (0, 1, 1.0), (1, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)]
    model = ItemCf()
    state = model.fit(dataset(old, 3, 3), RNG)
    decayed = dataset([(u, i, w * 0.5 ** (u + 1)) for u, i, w in old], 3, 3)
    updated = model.update(state, decayed, dataset([], 3, 3))
    assert_same(updated, model.fit(decayed, RNG))
    assert not np.array_equal(updated.neighbours.value, state.neighbours.value)


# --- known answers ------------------------------------------------------------------------------------------------


def test_the_music_example_is_reproduced() -> None:
    folder = DATA / "seed-music"
    if not folder.exists():
        pytest.skip(f"{folder} is not there; set NBAREC_DATA")
    with (folder / "songs.csv").open() as songs, (folder / "interactions.csv").open() as interactions:
        items = Ids.of([row["song_id"] for row in csv.DictReader(songs)])
        plays = list(csv.DictReader(interactions))
    users = Ids.sorted_of(row["user_id"] for row in plays)
    user, item = users.index(row["user_id"] for row in plays), items.index(row["song_id"] for row in plays)
    triples = [(int(u), int(i), float(row["rating"])) for u, i, row in zip(user, item, plays, strict=True)]
    data = dataset(triples, len(users), len(items), Combine("mean"))
    model = ItemCf(similarity="cosine", neighbors=50, score="mean")
    excluded = data.events.where(data.events.weight > 0).matrix()
    found = lists(model.generate(model.fit(data, RNG), request_for(data.events, excluded), 20))
    expected = json.loads((folder / "expected.json").read_text())["item_cf"]
    assert len(expected) == 100
    for name, proposed in zip(users.texts(range(len(users))), found, strict=True):
        assert items.take([i for i, _ in proposed]) == expected[name], name


def test_dislikes_count_against_and_what_they_outweigh_is_not_proposed() -> None:
    shared: Triples = [(0, 0, 1.0), (0, 2, 1.0), (1, 1, 1.0), (1, 3, 1.0), (2, 0, 1.0), (2, 1, 1.0), (2, 4, 1.0)]
    data = dataset([*shared, (3, 0, 2.0), (3, 1, -1.0)], 4, 5)
    model = ItemCf(similarity="jaccard")
    proposed = dict(lists(model.generate(model.fit(data, RNG), request_for(data.events), 9))[3])
    assert set(proposed) >= {2, 4}
    assert 3 not in proposed  # only like what was disliked
    assert proposed[2] > proposed[4]  # 4 is as much like the disliked item


def test_a_pair_of_weight_zero_is_a_rating_for_pearson_and_nothing_for_cosine() -> None:
    data = dataset([(0, 0, 0.0), (0, 1, 0.0), (1, 0, 2.0), (1, 1, 1.0)], 2, 2)
    assert ItemCf(similarity="pearson").fit(data, RNG).neighbours.value.tolist() == pytest.approx([1.0, 1.0])
    one_common = ItemCf(similarity="cosine", shrink=1.0).fit(data, RNG).neighbours.value
    assert one_common.tolist() == pytest.approx([0.5, 0.5])


def test_weights_that_float32_can_not_hold_do_not_break_a_tie() -> None:
    """A mean weight of 2/3 times 3 ties with one of 1 times 2, in any precision that deserves the name."""
    triples: Triples = [(0, 0, 1.0), (0, 0, 1.0), (0, 0, 0.0), (0, 1, 1.0), (0, 2, 1.0)]
    data = dataset(triples, 1, 3, Combine("mean"))
    assert data.events.pair_weights().tolist() == [2 / 3, 1.0, 1.0]
    state = ItemCf().fit(data, RNG)
    assert state.neighbours.value.tolist() == pytest.approx([1.0] * 6, abs=1e-15)


# --- small worlds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_small_worlds_and_empty_requests(measure: Any) -> None:
    model = ItemCf(similarity=measure)
    for triples, users, items in (([], 1, 1), ([(0, 0, 1.0)], 1, 1), ([(0, 0, 1.0), (0, 1, 1.0)], 1, 3)):
        data = dataset(triples, users, items)
        state = model.fit(data, RNG)
        assert state.neighbours.rows == items
        for history in (Events.empty(0, items), Events.empty(2, items)):
            found = model.generate(state, request_for(history), 5)
            assert (len(found), len(found.indptr)) == (0, history.rows + 1)
        assert len(model.generate(state, request_for(data.events), 100).indptr) == users + 1


def test_a_new_user_is_served_from_the_history_alone_and_the_state_may_be_memory_mapped(tmp_path: Path) -> None:
    data = dataset([(0, 0, 1.0), (0, 1, 1.0), (1, 1, 1.0), (1, 2, 1.0)], 2, 4)
    model = ItemCf()
    state = model.fit(data, RNG)
    neighbours = state.neighbours
    mapped = {}
    for name in ("indptr", "column", "value"):
        assert not getattr(neighbours, name).flags.writeable
        np.save(tmp_path / f"{name}.npy", getattr(neighbours, name))
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    state = dataclasses.replace(state, neighbours=dataclasses.replace(neighbours, **mapped))
    newcomer = request_for(dataset([(0, 1, 1.0)], 1, 4).events)
    excluded = request_for(newcomer.history, Csr.from_pairs(np.array([0]), np.array([0]), None, (1, 4)))
    assert [item for item, _ in lists(model.generate(state, newcomer, 100))[0]] == [0, 2]
    assert [item for item, _ in lists(model.generate(state, excluded, 1))[0]] == [2]


def test_parameters_are_checked_and_the_hook_returns_the_class() -> None:
    with pytest.raises(ValueError, match="alpha has no part in cosine"):
        ItemCf(alpha=0.5)
    with pytest.raises(ValueError, match="neighbors must be at least 1"):
        ItemCf(neighbors=0)
    assert nbarec_candidate_generators() == [ItemCf]
