"""What each item of a history adds to the scores of item_cf, user_cf and session, against loops written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Request
from nbarec.components import CandidateGenerator
from nbarec.contracts import check_evidence
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine
from nbarec.evidence import Evidence
from nbarec.ids import Ids
from nbarec.sparse import Csr
from nbarec.tables import Table
from nbarec.testing.worlds import request_for
from nbarec_plugins import meetings
from nbarec_plugins.item_cf import ItemCf
from nbarec_plugins.session import Session
from nbarec_plugins.user_cf import UserCf

RNG = np.random.default_rng(0)
Weights = dict[int, float]
Parts = dict[int, float]
Model = CandidateGenerator[Any]

ITEM_MODELS = [
    ItemCf(similarity=similarity, score=score, neighbors=neighbors, shrink=shrink)  # type: ignore[arg-type]
    for similarity in ("cosine", "adjusted_cosine", "pearson", "jaccard", "conditional")
    for score, neighbors, shrink in (("sum", 100, 0.0), ("mean", 2, 1.5))
]
USER_MODELS = [
    UserCf(),
    UserCf(neighbors=2, alpha=0.5, shrink=0.0, item_discount=0.0, popularity_discount=0.0),
    UserCf(neighbors=3, alpha=1.0, shrink=2.5, min_neighbors=2),
    UserCf(score="mean", neighbors=3, shrink=1.0),
    UserCf(similarity="pearson", neighbors=2, shrink=0.0),
    UserCf(similarity="pearson", score="mean", neighbors=3, shrink=2.5),
]
SESSION_MODELS = [
    Session(shrink=0),
    Session(last=2, recency=0.5, neighbors=2, steps=2),
    Session(mode="markov", recency=1.0, last=3),
    Session(mode="markov", steps=3, shrink=1),
]
MODELS: list[Model] = [*ITEM_MODELS, *USER_MODELS, *SESSION_MODELS]


def dataset(triples: list[tuple[int, int, float]], users: int, items: int, combine: str = "mean") -> Dataset:
    user, item, weight = (np.array([row[n] for row in triples]) for n in range(3))
    columns = EventColumns(user.astype(np.int64), item.astype(np.int64), weight, weight, np.zeros(len(triples)))
    events = columns.sorted_events(users, items, Combine(combine))  # type: ignore[arg-type]
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


@st.composite
def worlds(draw: st.DrawFn) -> Dataset:
    users, items, events = draw(st.integers(1, 6)), draw(st.integers(1, 7)), draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    weights = draw(st.sampled_from([[1.0], [1.0, 2.0, 4.0, 5.0], [-1.0, -0.5, 0.0, 0.3, 1.0, 3.0]]))
    picks = rng.integers(users, size=events), rng.integers(items, size=events), rng.choice(weights, size=events)
    triples = list(zip(*(column.tolist() for column in picks), strict=True))
    return dataset(triples, users, items, draw(st.sampled_from(["mean", "last"])))


def request_of(data: Dataset) -> Request:
    """Every user, and after them the same histories as nobody's; nothing is excluded."""
    users = np.arange(len(data.users))
    past = data.events.take_rows(np.append(users, users))
    asked = [*users.tolist(), *([-1] * len(users))]
    return request_for(data, asked, history=past, excluded=Csr.empty(len(asked), len(data.items)))


def all_pairs(request: Request) -> tuple[np.ndarray, np.ndarray]:
    row = np.repeat(np.arange(len(request), dtype=np.int32), request.n_items)
    return row, np.tile(np.arange(request.n_items, dtype=np.int32), len(request))


def explained(model: Model, state: Any, request: Request, row: Any, item: Any, limit: int = 100) -> Evidence:
    told = model.evidence(state, request, np.asarray(row, np.int32), np.asarray(item, np.int32), limit)
    assert told is not None
    check_evidence(model.name, told, len(row), limit)
    return told


def parts_of(told: Evidence, pair: int) -> list[tuple[int, float]]:
    span = slice(told.indptr[pair], told.indptr[pair + 1])
    return list(zip(told.item[span].tolist(), told.amount[span].tolist(), strict=True))


def weights_of(request: Request) -> list[Weights]:
    """The combined weight of every pair of the histories, a dictionary a row."""
    matrix, found = request.history.matrix(), [Weights() for _ in range(len(request))]
    for row, item, value in zip(matrix.row_of, matrix.indices.tolist(), request.history.pair_weights(), strict=True):
        found[row][item] = float(value)
    return found


def links_of(rows: Any) -> dict[tuple[int, int], float]:
    cells = zip(rows.row_of.tolist(), rows.column.tolist(), rows.value.tolist(), strict=True)
    return {(row, column): value for row, column, value in cells}


def by_items(model: ItemCf, state: Any, history: Weights, item: int) -> Parts:
    alike = links_of(state.neighbours)
    parts = {i: alike[i, item] * w for i, w in history.items() if w and (i, item) in alike}
    below = math.fsum(abs(alike[i, item]) for i in parts) if model.score == "mean" else 1.0
    return {i: amount / below for i, amount in parts.items() if amount <= 0 or history[i] > 0}


def by_session(model: Session, state: Any, order: list[int], item: int) -> Parts:
    newest = list(dict.fromkeys(reversed(order)))[: model.last]
    leads = links_of(state.neighbours)
    return {i: model.recency**n * leads[i, item] for n, i in enumerate(newest) if (i, item) in leads}


def mean(values: Any) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0


def likeness(model: UserCf, one: Weights, other: Weights, rare: Weights) -> Parts:
    """The similarity of two users, item by item in common; empty where it is not above 0."""
    common = one.keys() & other.keys()
    if model.similarity == "cosine":
        shares = {i: one[i] * other[i] * rare[i] for i in common}
        mine, its = (math.fsum(w * w * rare[i] for i, w in user.items()) for user in (one, other))
        below = mine**model.alpha * its ** (1 - model.alpha)
    else:
        x, y = ({i: user[i] - mean(user[j] for j in common) for i in common} for user in (one, other))
        shares = {i: x[i] * y[i] for i in common}
        below = math.sqrt(math.fsum(a * a for a in x.values()) * math.fsum(b * b for b in y.values()))
    factor = len(common) / (len(common) + model.shrink) / below if common and below > 1e-9 else 0.0
    return {i: share * factor for i, share in shares.items()} if math.fsum(shares.values()) * factor > 1e-9 else {}


def by_users(model: UserCf, trained: list[Weights], own: int, history: Weights, item: int) -> tuple[Parts, float]:
    """The parts, and what the score has beside them: the mean of u's weights, and what disliked items say for it."""
    taken = {i: max(sum(i in user for user in trained), 1) for user in [history, *trained] for i in user}
    rare = {i: n**-model.item_discount if model.similarity == "cosine" else 1.0 for i, n in taken.items()}
    alike = {v: likeness(model, history, user, rare) for v, user in enumerate(trained) if v != own}
    strength = {v: math.fsum(shares.values()) for v, shares in alike.items() if shares}
    largest = max(strength.values(), default=1.0)
    near = sorted(strength, key=lambda v: (-round(strength[v] / largest, 8), v))[: model.neighbors]
    having = [v for v in near if item in trained[v]]
    centred = model.similarity == "pearson" and model.score == "mean"
    factor = taken[item] ** -model.popularity_discount if having and model.score == "sum" else 1.0
    if having and model.score == "mean":
        factor = 1 / math.fsum(strength[v] for v in having)
    parts: Parts = {}
    for v in having:
        said = factor * (trained[v][item] - (mean(trained[v].values()) if centred else 0.0))
        for i, share in alike[v].items():
            parts[i] = parts.get(i, 0.0) + share * said
    silent = {i for i, a in parts.items() if model.similarity == "cosine" and a > 0 and history[i] < 0}
    rest = math.fsum(parts[i] for i in silent) + (mean(history.values()) if centred and having else 0.0)
    return {i: amount for i, amount in parts.items() if i not in silent}, rest


def reference(model: Model, data: Dataset, state: Any, request: Request) -> Callable[[int, int], tuple[Parts, float]]:
    """The parts of a row and an item, and what the score has beside the parts where that is known."""
    weights, events = weights_of(request), request.history
    if isinstance(model, UserCf):
        counted = [{i: w for i, w in row.items() if w or model.similarity == "pearson"} for row in weights]
        trained = counted[: len(data.users)]
        return lambda row, item: by_users(model, trained, int(request.user[row]), counted[row], item)
    if isinstance(model, Session):
        spans = [slice(events.indptr[row], events.indptr[row + 1]) for row in range(len(request))]
        orders = [events.item[span][events.weight[span] > 0].tolist() for span in spans]
        return lambda row, item: (by_session(model, state, orders[row], item), 0.0)
    assert isinstance(model, ItemCf)
    return lambda row, item: (by_items(model, state, weights[row], item), math.nan)


@pytest.mark.parametrize("model", MODELS, ids=repr)
@given(data=worlds())
@settings(max_examples=30, deadline=None)
def test_parts_equal_the_reference_and_add_up_to_the_scores(model: Model, data: Dataset) -> None:
    state, request = model.fit(data, RNG), request_of(data)
    row, item = all_pairs(request)
    told = explained(model, state, request, row, item)
    parts, weights = reference(model, data, state, request), weights_of(request)
    for pair, (one, other) in enumerate(zip(row.tolist(), item.tolist(), strict=True)):
        found, (expected, rest) = parts_of(told, pair), parts(one, other)
        assert {i for i, _ in found} <= weights[one].keys()
        amounts = [abs(amount) for _, amount in found]
        assert amounts == sorted(amounts, reverse=True)
        for i in {*dict(found), *expected}:
            assert dict(found).get(i, 0.0) == pytest.approx(expected.get(i, 0.0), rel=1e-8, abs=1e-9)
        if not math.isnan(rest):
            assert told.rest[pair] == pytest.approx(rest, rel=1e-8, abs=1e-9)
    assert_scores_are_those_of_generate(model, state, request, told)


def assert_scores_are_those_of_generate(model: Model, state: Any, request: Request, told: Evidence) -> None:
    found = model.generate(state, request, request.n_items)
    scores = told.score.reshape(len(request), request.n_items)
    for row in range(len(request)):
        span = slice(found.indptr[row], found.indptr[row + 1])
        own, largest = found.score[span], float(np.abs(found.score[span]).max(initial=0.0))
        # What weights of both signs leave of 0 is a score too, where rounding makes it positive: that is below 1e-12.
        np.testing.assert_allclose(scores[row, found.item[span]], own, rtol=0, atol=1e-5 * largest + 1e-12)
        unproposed = np.delete(scores[row], found.item[span])
        if getattr(model, "min_neighbors", 1) == 1:
            assert (unproposed <= 1e-9).all()


@given(
    model=st.sampled_from(MODELS),
    data=worlds(),
    limit=st.sampled_from([1, 2, 100]),
    cells=st.sampled_from([1, 7, 1 << 19]),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_no_batch_and_no_block_changes_a_bit(model: Model, data: Dataset, limit: int, cells: int, seed: int) -> None:
    state, request = model.fit(data, RNG), request_of(data)
    row, item = all_pairs(request)
    whole = explained(model, state, request, row, item)
    at = np.random.default_rng(seed).permutation(len(row))[:20]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meetings, "CELLS", cells)
        some = explained(model, state, request, row[at], item[at], limit)
    for place, pair in enumerate(at.tolist()):
        assert parts_of(some, place) == parts_of(whole, pair)[:limit]
        alone = explained(model, state, request.take(row[pair : pair + 1]), [0], item[pair : pair + 1], limit)
        assert parts_of(alone, 0) == parts_of(some, place)
        assert alone.rest[0] == some.rest[place]
    np.testing.assert_allclose(some.score, whole.score[at], rtol=0, atol=1e-9)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_nobody_and_nothing_have_no_parts(model: Model) -> None:
    data = dataset([(0, 0, 1.0), (0, 1, 2.0), (1, 0, 3.0), (1, 1, 1.0)], 3, 3)
    state, request = model.fit(data, RNG), request_of(data)
    nobody = explained(model, state, request, [2, 2, 0], [0, 1, 2])  # user 2 has no history, item 2 no event
    assert (nobody.indptr.tolist(), nobody.rest.tolist()) == ([0] * 4, [0.0] * 3)
    assert len(explained(model, state, request, [], [])) == 0


def test_disliked_items_are_told_where_they_speak_against_and_not_where_they_speak_for() -> None:
    """Who takes 0 takes 2; who takes 1 turns 2 down. User 3 turned 0 down, user 4 turned 1 down."""
    likes = [(0, 0, 1.0), (0, 2, 1.0), (1, 1, 1.0), (1, 2, -1.0), (2, 0, 1.0), (2, 2, 1.0)]
    data = dataset([*likes, (3, 0, -1.0), (4, 1, -1.0)], 5, 3)
    state, request = ItemCf().fit(data, RNG), request_of(data)
    against, speaks_for = (explained(ItemCf(), state, request, [user], [2]) for user in (3, 4))
    assert [item for item, _ in parts_of(against, 0)] == [0]
    assert against.amount[0] < 0
    assert parts_of(speaks_for, 0) == []
    assert speaks_for.rest[0] > 0
