"""User-based collaborative filtering against a slow reference, and what must hold in any world."""

from __future__ import annotations

import math
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
from nbarec.testing.worlds import request_for
from nbarec_plugins import row_products
from nbarec_plugins.user_cf import UserCf, UserCfState, nbarec_candidate_generators

RNG = np.random.default_rng(0)
PLAIN: dict[str, Any] = {"alpha": 0.5, "shrink": 0.0, "item_discount": 0.0, "popularity_discount": 0.0}
MODELS = [
    UserCf(),
    UserCf(neighbors=2, **PLAIN),
    UserCf(neighbors=3, alpha=1.0, shrink=2.5, min_neighbors=2),
    UserCf(score="mean", neighbors=3, shrink=1.0),
    UserCf(similarity="pearson", neighbors=2, shrink=0.0),
    UserCf(similarity="pearson", score="mean", neighbors=3, shrink=2.5),
    UserCf(similarity="pearson", score="mean", shrink=0.0, min_neighbors=2),
]
Triples = list[tuple[int, int, float]]
Weights = dict[int, float]


def dataset(triples: Triples, users: int, items: int, combine: Combine | None = None) -> Dataset:
    user, item, weight = (np.array([row[n] for row in triples]) for n in range(3))
    columns = EventColumns(user.astype(np.int64), item.astype(np.int64), weight, weight, np.zeros(len(triples)))
    events = columns.sorted_events(users, items, combine or Combine())
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


def proposals(model: UserCf, data: Dataset, request: Request, limit: int = 100) -> list[list[tuple[int, float]]]:
    return lists(model.generate(model.fit(data, RNG), request, limit))


def nothing_excluded(data: Dataset, users: list[int] | None = None, history: Events | None = None) -> Request:
    excluded = Csr.empty(len(data.users if users is None else users), len(data.items))
    return request_for(data, users, history=history, excluded=excluded)


@st.composite
def triples(draw: st.DrawFn, users: int, items: int, most: int) -> Triples:
    events, rng = draw(st.integers(0, most)), np.random.default_rng(draw(st.integers(0, 10**6)))
    weights = draw(st.sampled_from([[1.0], [1.0, 2.0, 4.0, 5.0], [-1.0, -0.5, 0.0, 0.3, 1.0, 3.0]]))
    picks = rng.integers(users, size=events), rng.integers(items, size=events), rng.choice(weights, size=events)
    return list(zip(*(column.tolist() for column in picks), strict=True))


@st.composite
def worlds(draw: st.DrawFn) -> Dataset:
    users, items = draw(st.integers(1, 7)), draw(st.integers(1, 8))
    return dataset(draw(triples(users, items, 50)), users, items, Combine(draw(st.sampled_from(["mean", "last"]))))


def weights_of(data: Dataset, model: UserCf) -> list[Weights]:
    """The combined weight of every pair that counts, a dictionary a user."""
    matrix, found = data.events.matrix(), [Weights() for _ in range(data.events.rows)]
    for user, item, value in zip(matrix.row_of, matrix.indices.tolist(), data.events.pair_weights(), strict=True):
        if value or model.similarity == "pearson":
            found[user][item] = float(value)
    return found


def mean(values: Any) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)


def similarity(one: Weights, other: Weights, popularity: Weights, model: UserCf) -> float:
    common = sorted(one.keys() & other.keys())
    if not common:
        return 0.0
    if model.similarity == "cosine":
        rare = {item: max(popularity.get(item, 0), 1) ** -model.item_discount for item in {*one, *other}}
        product = math.fsum(one[item] * other[item] * rare[item] for item in common)
        mine, its = (math.fsum(w * w * rare[item] for item, w in user.items()) for user in (one, other))
        alike = product / (mine**model.alpha * its ** (1 - model.alpha))
    else:
        x, y = ([user[item] - mean(user[i] for i in common) for item in common] for user in (one, other))
        below = math.sqrt(math.fsum(a * a for a in x) * math.fsum(b * b for b in y))
        alike = math.fsum(a * b for a, b in zip(x, y, strict=True)) / below if below > 1e-9 else 0.0
    return alike * len(common) / (len(common) + model.shrink) if alike > 1e-9 else 0.0


def reference(history: Weights, own: int, trained: list[Weights], model: UserCf) -> Weights:
    """The score of every item that some neighbours have."""
    popularity = {i: float(sum(i in user for user in trained)) for user in trained for i in user}
    alike = {v: similarity(history, other, popularity, model) for v, other in enumerate(trained) if v != own}
    largest = max(alike.values(), default=0.0) or 1.0
    near = sorted((v for v in alike if alike[v]), key=lambda v: (-round(alike[v] / largest, 8), v))[: model.neighbors]
    found = {}
    for item in popularity:
        having = [v for v in near if item in trained[v]]
        if len(having) < model.min_neighbors:
            continue
        if model.score == "sum":
            total = math.fsum(alike[v] * trained[v][item] for v in having)
            found[item] = total * popularity[item] ** -model.popularity_discount
        else:
            pearson = model.similarity == "pearson"
            centres = {v: mean(trained[v].values()) if pearson else 0.0 for v in having}
            total = math.fsum(alike[v] * (trained[v][item] - centres[v]) for v in having)
            centre = mean(history.values()) if pearson else 0.0
            found[item] = centre + total / math.fsum(alike[v] for v in having)
    return {item: score for item, score in found.items() if score > 1e-9}


def assert_listed(found: list[tuple[int, float]], scores: Weights, limit: int) -> None:
    """`found` is the best of `scores`; noise around a score of 0 may have added an item at the end."""
    real = [(item, score) for item, score in found if score > 1e-9 or item in scores]
    order = sorted(scores, key=lambda item: (-round(scores[item] / max(scores.values()), 8), item))[:limit]
    assert [item for item, _ in real] == order
    np.testing.assert_allclose([score for _, score in real], [scores[item] for item in order], rtol=1e-6)


@pytest.mark.parametrize("model", MODELS, ids=repr)
@given(data=worlds(), limit=st.sampled_from([1, 3, 50]), exclude=st.booleans())
@settings(max_examples=60, deadline=None)
def test_lists_equal_the_reference(model: UserCf, data: Dataset, limit: int, exclude: bool) -> None:
    request = request_for(data) if exclude else nothing_excluded(data)
    found = proposals(model, data, request, limit)
    trained = weights_of(data, model)
    for user, history in enumerate(trained):
        scores = reference(history, user, trained, model)
        own = request.excluded.indices[request.excluded.indptr[user] : request.excluded.indptr[user + 1]].tolist()
        assert_listed(found[user], {item: score for item, score in scores.items() if item not in own}, limit)


@pytest.mark.parametrize("model", MODELS[::2], ids=repr)
@given(data=worlds(), drawn=st.data())
@settings(max_examples=40, deadline=None)
def test_a_history_that_nobody_was_fitted_on_equals_the_reference(
    model: UserCf, data: Dataset, drawn: st.DataObject
) -> None:
    items, trained = len(data.items), weights_of(data, model)
    fresh = dataset(drawn.draw(triples(2, items, 12)), 2, items, Combine("last"))
    users = [-1, drawn.draw(st.integers(-1, len(trained) - 1))]  # the second has done other things since the fit
    found = proposals(model, data, nothing_excluded(data, users, fresh.events), 50)
    for row, history in enumerate(weights_of(fresh, model)):
        assert_listed(found[row], reference(history, users[row], trained, model), 50)


@given(model=st.sampled_from(MODELS), data=worlds(), pairs=st.sampled_from([1, 4, 1 << 18]), limit=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_blocks_and_batches_change_no_bit(model: UserCf, data: Dataset, pairs: int, limit: int) -> None:
    state, request = model.fit(data, RNG), request_for(data)
    together = lists(model.generate(state, request, limit))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_products, "BLOCK", 8 * pairs)
        assert lists(model.generate(state, request, limit)) == together
        for user in reversed(range(len(request))):
            assert lists(model.generate(state, request.take(np.array([user])), limit)) == [together[user]]


def test_a_batch_of_hundreds_gives_each_user_the_bits_of_a_batch_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    made = zip(rng.integers(300, size=4000), rng.zipf(1.3, 4000) % 200, rng.normal(1, 1, 4000), strict=True)
    data = dataset([(int(u), int(i), float(w)) for u, i, w in made], 300, 200)
    monkeypatch.setattr(row_products, "BLOCK", 8 << 12)
    for model in MODELS:
        state, request = model.fit(data, RNG), request_for(data)
        together = lists(model.generate(state, request, 20))
        for user in range(0, 300, 29):
            assert lists(model.generate(state, request.take(np.array([user])), 20)) == [together[user]]


@given(model=st.sampled_from(MODELS), drawn=st.data())
@settings(max_examples=60, deadline=None)
def test_an_update_is_a_refit_to_the_bit(model: UserCf, drawn: st.DataObject) -> None:
    old, new = drawn.draw(triples(6, 6, 40)), drawn.draw(triples(8, 9, 5))
    data, alone = dataset(old + new, 8, 9), dataset(new, 8, 9)
    updated = model.update(model.fit(dataset(old, 6, 6), RNG), data, alone)
    assert_same(updated, model.fit(data, RNG))
    assert (updated.weights.rows, updated.weights.columns) == (8, 9)


def assert_same(one: UserCfState, other: UserCfState) -> None:
    """Equal to the bit, and the first read-only."""
    for left, right in zip(arrays_of(one), arrays_of(other), strict=True):
        np.testing.assert_array_equal(left, right)
        assert not left.flags.writeable


def arrays_of(state: UserCfState) -> list[np.ndarray]:
    rows = [getattr(part, name) for part in (state.compared, state.weights) for name in ("indptr", "column", "value")]
    return [*rows, state.scale, state.rarity, state.lift]


@given(model=st.sampled_from(MODELS), data=worlds(), limit=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_a_shorter_list_is_the_start_of_a_longer_one(model: UserCf, data: Dataset, limit: int) -> None:
    request = request_for(data)
    whole = proposals(model, data, request)
    assert proposals(model, data, request, limit) == [row[:limit] for row in whole]
    pairs = np.array([(user, item) for user, row in enumerate(whole) for item, _ in row]).reshape(-1, 2)
    assert not request.excluded.contains(pairs[:, 0], pairs[:, 1]).any()


@pytest.mark.parametrize("seed", range(20))
def test_scores_about_as_near_as_a_tie_may_be_cut_anywhere(seed: int) -> None:
    """User 1 gives all items the same score, user 2 adds a few billionths to each."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 2.0, 3.0], rng.integers(2, 9))
    added = 1e-9 / math.sqrt(41) * rng.choice(steps, 40)
    taken = [(1, item, 1.0) for item in range(41)] + [(2, item, float(w)) for item, w in enumerate(added, start=1)]
    data = dataset([*taken, (0, 0, 1.0), (2, 0, 1.0)], 3, 41)
    whole = proposals(UserCf(**PLAIN), data, request_for(data))[0]
    assert len(whole) == 40
    for limit in range(1, 41):
        assert proposals(UserCf(**PLAIN), data, request_for(data), limit)[0] == whole[:limit]


PAIR: Triples = [(0, 0, 1.0), (0, 1, 1.0), (0, 2, 1.0), (1, 0, 1.0), (1, 3, 1.0)]


def test_nobody_is_a_neighbour_of_himself() -> None:
    data, cosine = dataset(PAIR, 2, 4), 1 / math.sqrt(3 * 2)
    assert_listed(proposals(UserCf(**PLAIN), data, nothing_excluded(data))[0], {0: cosine, 3: cosine}, 9)


def test_an_unknown_user_with_the_history_of_a_known_one_has_him_as_a_neighbour() -> None:
    data, model = dataset(PAIR, 2, 4), UserCf(**PLAIN)
    past = data.events.take_rows(np.array([0, 0]))
    known, unknown = map(dict, proposals(model, data, nothing_excluded(data, [0, -1], past)))
    assert (sorted(known), sorted(unknown)) == ([0, 3], [0, 1, 2, 3])
    assert unknown[1] == pytest.approx(1.0)
    assert unknown[3] == known[3]


def test_a_user_who_came_after_the_fit_is_served_from_his_history() -> None:
    model, grown = UserCf(**PLAIN), dataset([*PAIR, (2, 3, 1.0)], 3, 4)
    found = lists(model.generate(model.fit(dataset(PAIR, 2, 4), RNG), request_for(grown), 9))
    assert_listed(found[2], {0: 1 / math.sqrt(2)}, 9)


def test_dislikes_count_against() -> None:
    triples: Triples = [(0, 0, 1.0), (1, 0, 1.0), (1, 1, 1.0), (1, 2, -1.0), (2, 0, 1.0), (2, 1, -1.0), (2, 3, 1.0)]
    data = dataset([*triples, (3, 4, -1.0), (4, 4, 1.0), (4, 1, 1.0)], 5, 5)
    found = proposals(UserCf(**PLAIN), data, request_for(data))
    assert_listed(found[0], {3: 1 / math.sqrt(3)}, 9)  # 2 is disliked, 1 liked as much as disliked
    assert found[3] == []  # the one who likes what he dislikes is no neighbour


def test_the_classic_formula_predicts_a_rating_and_opposite_taste_has_no_say() -> None:
    """The ratings of Ken, Lee, Meg and Nan in Resnick et al. 1994: Lee is Ken's opposite."""
    ratings = enumerate(["15.24.", "42.512", "243..5", "24.51."])
    triples = [(u, i, float(stars)) for u, row in ratings for i, stars in enumerate(row) if stars != "."]
    data, model = dataset(triples, 4, 6), UserCf(similarity="pearson", score="mean", shrink=0)
    found = proposals(model, data, request_for(data))[0]
    assert_listed(found, {5: 3 + (5 - 3.5), 2: 3 + (3 - 3.5)}, 9)  # Meg alone speaks


def test_min_neighbors_and_ties_by_the_thousand() -> None:
    row = [(user, item, 1.0) for user in range(3) for item in range(0, 2000, user + 1)]
    data = dataset([*row, (3, 0, 1.0)], 4, 2000)
    for least, items in ((1, [1, 2, 3]), (3, [6, 12, 18])):
        found = proposals(UserCf(score="mean", min_neighbors=least), data, request_for(data), 3)[3]
        assert found == [(item, 1.0) for item in items]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_small_worlds_and_empty_requests(model: UserCf) -> None:
    for triples, users, items in (([], 0, 0), ([], 1, 1), ([(0, 0, 1.0)], 1, 1), ([(0, 0, 1.0), (0, 1, 1.0)], 2, 3)):
        data = dataset(triples, users, items)
        state = model.fit(data, RNG)
        for history in (Events.empty(0, items), Events.empty(2, items)):
            found = model.generate(state, nothing_excluded(data, [-1] * history.rows, history), 5)
            assert (len(found), len(found.indptr)) == (0, history.rows + 1)
        assert len(model.generate(state, request_for(data), 5).indptr) == users + 1


def test_parameters_are_checked_and_the_hook_returns_the_class() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"similarity": "pearson", "alpha": 0.5}, "alpha has no part in similarity: pearson; leave it out, or use sim"),
        ({"score": "mean", "popularity_discount": 0.5}, "popularity_discount has no part in score: mean"),
        ({"neighbors": 5, "min_neighbors": 6}, "min_neighbors must be at most neighbors, which is 5, not 6"),
    ]
    for parameters, said in wrong:
        with pytest.raises(ValueError, match=said):
            UserCf(**parameters)
    assert nbarec_candidate_generators() == [UserCf]
