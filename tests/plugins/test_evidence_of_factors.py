"""The parts of a score by als, nmf and content, against sums written out pair by pair."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Request
from nbarec.components import CandidateGenerator, Evidence
from nbarec.contracts import check_evidence
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine
from nbarec.ids import Ids
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.tables import NumberColumn, Table
from nbarec.testing.worlds import request_for
from nbarec_plugins.als import Als, AlsState
from nbarec_plugins.content import Content
from nbarec_plugins.nmf import Nmf

EVERYTHING = 100
GENERATORS: list[CandidateGenerator[Any]] = [
    Als(factors=3, iterations=4),
    Als(factors=5, iterations=4, unobserved=0.0, confidence=3.0, scaling=0.0),
    Als(mode="explicit", factors=3, iterations=4),
    Nmf(factors=4),
    Nmf(factors=3, power=1.0, balance=1.0, regularization=0.0),
    Content(),
    Content(fields={"tempo": 0.5, "moods": 2.0}, tfidf=False),
]
generators = pytest.mark.parametrize("generator", GENERATORS, ids=lambda one: f"{one.name}{GENERATORS.index(one)}")


def world(seed: int, users: int = 12, items: int = 9) -> Dataset:
    """Events of any weight, several of some pairs; user 0 has none, user 1 only dislikes, item 2 was never met."""
    random = np.random.default_rng(seed)
    user, item = random.integers(1, users, 6 * users), random.integers(0, items, 6 * users)
    weight = np.where(user == 1, -1.0, random.choice([-2.0, 0.0, 0.5, 1.0, 3.0], len(user)))
    met = item != 2
    columns = EventColumns(user[met], item[met], weight[met], weight[met], np.arange(met.sum()))
    moods = [
        random.choice(["calm", "warm", "rock"], random.integers(0, 3), replace=False).tolist() for _ in range(items)
    ]
    catalog = {
        "tempo": random.choice([60.5, 90.0, 141.0, np.nan], items),
        "genre": random.choice(np.array(["rock", "pop", None]), items).tolist(),
        "moods": moods if any(moods) else [["calm"], *moods[1:]],
        "energy": random.normal(size=items),
    }
    events = columns.sorted_events(users, items, Combine())
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table.of(catalog), Table(users))


def asked(data: Dataset) -> Request:
    """Every user, from the last to the first, and a stranger between them; nothing is excluded."""
    users = np.append(np.arange(len(data.users))[::-1], -1)
    request = request_for(data, users)
    return replace(request, excluded=request_for(data, np.full(len(users), -1)).excluded)


def fit(generator: CandidateGenerator[Any], data: Dataset) -> Any:
    return generator.fit(data, np.random.default_rng(1))


def every_pair(request: Request) -> tuple[np.ndarray, np.ndarray]:
    """Each row with each item, shuffled: pairs of one row do not stand together."""
    row, item = np.divmod(np.arange(len(request) * request.n_items), request.n_items)
    order = np.random.default_rng(7).permutation(len(row))
    return row[order].astype(np.int32), item[order].astype(np.int32)


def parts(told: Evidence, pair: int) -> list[tuple[int | str, float]]:
    span = range(told.indptr[pair], told.indptr[pair + 1])
    return [(told.label[at] or int(told.item[at]), float(told.amount[at])) for at in span]


@generators
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.sampled_from([1, 3, EVERYTHING]))
def test_parts_and_rest_are_the_score_that_was_given(generator: CandidateGenerator[Any], seed: int, limit: int) -> None:
    data = world(seed)
    state, request = fit(generator, data), asked(data)
    found = generator.generate(state, request, EVERYTHING)
    row = np.repeat(np.arange(len(request)), np.diff(found.indptr)).astype(np.int32)
    told = generator.evidence(state, request, row, found.item, limit)
    assert told is not None
    check_evidence("stage", told, len(row), limit)
    largest = np.zeros(len(request))
    np.maximum.at(largest, row, np.abs(found.score))
    assert (np.abs(told.score - found.score) <= 1e-5 * largest[row]).all()
    assert (told.amount != 0).all()
    for pair in range(len(row)):
        sizes = np.abs([amount for _, amount in parts(told, pair)])
        assert (np.diff(sizes) <= 1e-9 * sizes[:1]).all()


@generators
def test_a_pair_is_told_the_same_in_any_company(generator: CandidateGenerator[Any]) -> None:
    data = world(3)
    state, request = fit(generator, data), asked(data)
    row, item = every_pair(request)
    together = generator.evidence(state, request, row, item, 2)
    assert together is not None
    for pair in range(len(row)):
        alone = generator.evidence(
            state, request.take(row[pair : pair + 1]), np.zeros(1, np.int32), item[pair : pair + 1], 2
        )
        assert alone is not None
        assert parts(alone, 0) == parts(together, pair)
        assert alone.rest.tolist() == [together.rest[pair]]


@generators
def test_who_chose_nothing_is_told_nothing(generator: CandidateGenerator[Any]) -> None:
    data = world(4)
    state, request = fit(generator, data), request_for(data, [0, -1])
    row, item = every_pair(request)
    told = generator.evidence(state, request, row, item)
    assert told is not None
    check_evidence("stage", told, len(row), 3)
    assert len(told.amount) == 0
    if generator != Als(mode="explicit", factors=3, iterations=4):
        assert not told.rest.any()
    nobody = generator.evidence(state, request_for(data, []), row[:0], item[:0])
    assert nobody is not None
    check_evidence("stage", nobody, 0, 3)


def slow_als(model: Als, state: AlsState, weights: dict[int, float], item: int) -> dict[int, float]:
    """What each item of one history adds: the normal equations over all items that have a vector, written out."""
    vectors = dict(zip(state.item.tolist(), state.factors.astype(np.float64), strict=True))
    history = {at: weight for at, weight in weights.items() if at in vectors}
    if model.mode == "explicit":
        bias = {at: vector[-1] for at, vector in vectors.items()}
        vectors = {at: np.append(vector[:-1], 1.0) for at, vector in vectors.items()}
        normal = len(history) * 0.1 * np.eye(model.factors + 1)
        targets = {at: weight - state.mean - bias[at] for at, weight in history.items()}
        confidence = dict.fromkeys(history, 1.0)
    else:
        history = {at: weight for at, weight in history.items() if weight}
        confidence = {at: model.unobserved + model.confidence * abs(history.get(at, 0.0)) for at in vectors}
        ridge = 0.3 * (len(history) + model.unobserved * len(vectors)) ** model.scaling
        normal = ridge * np.eye(model.factors)
        targets = {at: confidence[at] for at, weight in history.items() if weight > 0}
    for at, strength in confidence.items():
        normal = normal + strength * np.outer(vectors[at], vectors[at])
    return {at: float(vectors[item] @ np.linalg.inv(normal) @ vectors[at] * target) for at, target in targets.items()}


@pytest.mark.parametrize("model", GENERATORS[:3])
@pytest.mark.parametrize("seed", [0, 1])
def test_als_tells_what_each_item_of_the_history_adds(model: Als, seed: int) -> None:
    data = world(seed, users=20)
    state, request = fit(model, data), asked(data)
    row, item = every_pair(request)
    told = model.evidence(state, request, row, item, EVERYTHING)
    pairs = request.history.matrix()
    for pair, (user, wanted) in enumerate(zip(row.tolist(), item.tolist(), strict=True)):
        span = slice(pairs.indptr[user], pairs.indptr[user + 1])
        weights = dict(zip(pairs.indices[span].tolist(), pairs.data[span].tolist(), strict=True))
        expected = slow_als(model, state, weights, wanted) if state.place[wanted] >= 0 else {}
        found = dict(parts(told, pair))
        assert {at for at, amount in expected.items() if abs(amount) > 1e-9} <= found.keys() <= expected.keys()
        np.testing.assert_allclose([found.get(at, 0.0) for at in expected], list(expected.values()), atol=1e-6)
        if model.mode == "explicit" and state.place[wanted] >= 0:
            bias = state.factors[state.place[wanted], -1]
            assert told.rest[pair] == pytest.approx(state.mean + bias, abs=1e-6)
        elif model.mode == "implicit":
            assert told.rest[pair] == pytest.approx(0, abs=1e-9)


def test_als_tells_the_same_however_its_rows_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = world(6, users=40)
    model = Als(factors=4, iterations=2)
    state, request = fit(model, data), asked(data)
    row, item = every_pair(request)
    at_once = model.evidence(state, request, row, item, 2)
    monkeypatch.setattr("nbarec_plugins.exact_rows.EXACT_BYTES", 1)
    row_by_row = model.evidence(state, request, row, item, 2)
    assert len(at_once.amount) > 300
    assert at_once.item.tolist() == row_by_row.item.tolist()
    assert at_once.amount.tobytes() == row_by_row.amount.tobytes()


def test_als_lets_a_dislike_weigh_on_the_others_and_stand_nowhere_itself() -> None:
    data = world(2)
    model = Als(factors=3)
    state, request = fit(model, data), asked(data)
    row, item = every_pair(request)
    told = model.evidence(state, request, row, item, EVERYTHING)
    pairs = request.history.matrix()
    disliked = set(zip(pairs.row_of[pairs.data <= 0].tolist(), pairs.indices[pairs.data <= 0].tolist(), strict=True))
    shown = np.repeat(row, np.diff(told.indptr))
    assert disliked
    assert not disliked & set(zip(shown.tolist(), told.item.tolist(), strict=True))


def test_nmf_tells_tastes_by_their_number_and_what_they_share() -> None:
    items = 24
    user, item = np.nonzero((np.arange(30) % 2)[:, None] == (np.arange(items) % 2))
    catalog = {"genre": ["rock", "pop"] * (items // 2), "id": np.arange(items)}
    data = Dataset.from_arrays(user, item, catalog=catalog)
    model = Nmf(factors=2)
    state = fit(model, data)
    assert state.tastes in (("taste 1 (pop)", "taste 2 (rock)"), ("taste 1 (rock)", "taste 2 (pop)"))
    request = request_for(data, [0, 1])
    row, liked = every_pair(request)
    told = model.evidence(state, request, row, liked, EVERYTHING)
    loadings = model.loadings(state, request.history)
    for pair, (who, what) in enumerate(zip(row.tolist(), liked.tolist(), strict=True)):
        amounts = [float(loadings[who, k]) * float(state.item_factors[what, k]) for k in range(2)]
        expected = sorted(((-amount, state.tastes[k]) for k, amount in enumerate(amounts) if amount))
        assert parts(told, pair) == [(name, -amount) for amount, name in expected]
        if who % 2 == what % 2:
            assert str(parts(told, pair)[0][0]).endswith(" (rock)" if what % 2 == 0 else " (pop)")
    assert model.update(state, data, data).tastes == state.tastes
    assert fit(Nmf(factors=2), world(0)).tastes == ("taste 1", "taste 2")


def slow_features(table: Table, weights: dict[str, float], tfidf: bool) -> list[dict[str, float]]:
    """Every item's features by the name of each."""
    features: list[dict[str, float]] = [{} for _ in range(table.rows)]
    for name, weight in weights.items():
        shown = table.labels(name, range(table.rows))
        column = table.columns[name]
        if isinstance(column, NumberColumn):
            known = [value for value in column.values.tolist() if not math.isnan(value)]
            mean = math.fsum(known) / len(known)
            deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known))
            for at, value in enumerate(column.values.tolist()):
                features[at][name] = 0.0 if math.isnan(value) or not deviation else weight * (value - mean) / deviation
            continue
        listed = [[] if text == "-" else text.split("|") for text in shown]
        having = {tag: sum(tag in tags for tags in listed) for tags in listed for tag in tags}
        rarity = {tag: 1 + math.log(table.rows / n) if tfidf and name == "moods" else 1.0 for tag, n in having.items()}
        for at, tags in enumerate(listed):
            norm = math.sqrt(sum(rarity[tag] ** 2 for tag in tags))
            features[at] |= {f"{name} {tag}": weight * rarity[tag] / norm for tag in tags}
    return features


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("model", "weights"), [(GENERATORS[5], None), (GENERATORS[6], {"tempo": 0.5, "moods": 2.0})])
def test_content_tells_what_each_shared_field_adds(model: Content, weights: dict[str, float] | None, seed: int) -> None:
    data = world(seed)
    state, request = fit(model, data), asked(data)
    columns = weights or dict.fromkeys([*state.names.numbers, *state.names.levels], 1.0)
    features = slow_features(data.catalog, columns, model.tfidf)
    row, item = every_pair(request)
    told = model.evidence(state, request, row, item, EVERYTHING)
    for pair, (user, wanted) in enumerate(zip(row.tolist(), item.tolist(), strict=True)):
        events = request.history.take_rows(np.array([user]))
        liked = [(at, w) for at, w in zip(events.item.tolist(), events.weight.tolist(), strict=True) if w > 0]
        total = sum(weight for _, weight in liked)
        profile: dict[str, float] = {}
        for at, weight in liked:
            for name, value in features[at].items():
                profile[name] = profile.get(name, 0.0) + weight / total * value
        lengths = math.hypot(*profile.values()) * math.hypot(*features[wanted].values())
        shared = {name: profile.get(name, 0.0) * value for name, value in features[wanted].items()}
        expected = {name: value / lengths for name, value in shared.items() if abs(value) > 1e-12}
        assert dict(parts(told, pair)) == pytest.approx(expected, abs=1e-9)
        assert told.rest[pair] == pytest.approx(0, abs=1e-9)


def test_a_saved_model_gives_the_same_reasons(tmp_path: Path) -> None:
    text = """
nbarec: 1
data: {use: music_world, users: 60, songs: 80, days: 30}
candidates:
  - {id: latent, use: als, k: 20, with: {factors: 8}}
  - {id: tastes, use: nmf, k: 20, with: {factors: 4}}
  - {id: alike, use: content, k: 20, with: {fields: {genre: 1.0, moods: 0.5, energy: 0.5}}}
slate: {k: 4}
"""
    model = Pipeline.from_text(text).fit()
    model.save(tmp_path / "model")
    users = [*model.data.users.all()[:10], "stranger"]
    told, again = (one.recommend(users, explain=True).explanations for one in (model, load_model(tmp_path / "model")))
    assert told == again
    said = [proposal.because for row in told for one in row for proposal in one.proposals]
    for beginning in ("you chose ", "it fits taste ", "it shares genre "):
        assert any(because.startswith(beginning) for because in said)
