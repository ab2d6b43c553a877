"""Random walks against chances multiplied in loops, and serving that depends on the history alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.batch import Candidates, Request
from nbarec.components import Updatable
from nbarec.contracts import check_evidence
from nbarec.data import Dataset, EventColumns
from nbarec.events import Combine
from nbarec.ids import Ids
from nbarec.sparse import Csr
from nbarec.tables import Table
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins import row_products
from nbarec_plugins.random_walk import P3Alpha, Rp3Beta, WalkState, nbarec_candidate_generators

RNG = np.random.default_rng(0)
Walk = P3Alpha | Rp3Beta
Triples = list[tuple[int, int, float]]
Weights = list[dict[int, float]]
COMPONENTS: list[Walk] = [
    P3Alpha(),
    P3Alpha(neighbors=2, normalize=True, power=1.0, alpha=0.7),
    Rp3Beta(neighbors=3),
    Rp3Beta(alpha=1.0, beta=0.8, power=0.5, normalize=True),
]
EVERYTHING = 100


def dataset(triples: Triples, users: int, items: int) -> Dataset:
    user, item, weight = (np.array([row[n] for row in triples]) for n in range(3))
    columns = EventColumns(user.astype(np.int64), item.astype(np.int64), weight, weight, np.zeros(len(triples)))
    events = columns.sorted_events(users, items, Combine("last"))
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def drawn_triples(seed: int, users: int, items: int, events: int) -> Triples:
    """Some weights are 0 or below: no edges."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(users, size=events), rng.integers(items, size=events), rng.choice([-1, 0, 1, 1, 2, 5], events)
    return [(int(user), int(item), float(weight)) for user, item, weight in zip(*picks, strict=True)]


@st.composite
def worlds(draw: st.DrawFn) -> Dataset:
    users, items = draw(st.integers(1, 7)), draw(st.integers(1, 8))
    return dataset(drawn_triples(draw(st.integers(0, 10**6)), users, items, draw(st.integers(0, 40))), users, items)


def request_of(data: Dataset, excluded: Csr | None = None) -> Request:
    nothing = Csr.empty(len(data.users), len(data.items))
    return request_for(data, list(range(len(data.users))), excluded=nothing if excluded is None else excluded)


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


# --- the reference: dictionaries and loops ------------------------------------------------------------------------


def edges_of(data: Dataset, power: float) -> Weights:
    """What each user walks along: the positive weights, a dictionary a user."""
    matrix, found = data.events.matrix(), [dict[int, float]() for _ in data.events.counts]
    for user, item, weight in zip(matrix.row_of, matrix.indices.tolist(), matrix.data.tolist(), strict=True):
        if weight > 0:
            found[user][item] = weight**power
    return found


def chances(steps: dict[int, float], alpha: float) -> dict[int, float]:
    return {to: (weight / math.fsum(steps.values())) ** alpha for to, weight in steps.items()}


def all_steps(data: Dataset, model: Walk) -> Weights:
    """Where two steps from each item lead: the best, their chances."""
    edges, beta, found = edges_of(data, model.power), getattr(model, "beta", 0.0), []
    users = [{user: had[item] for user, had in enumerate(edges) if item in had} for item in range(len(data.items))]
    for item, had_by in enumerate(users):
        row: dict[int, float] = {}
        for user, first in chances(had_by, model.alpha).items():
            for other, second in chances(edges[user], model.alpha).items():
                if other != item:
                    row[other] = row.get(other, 0.0) + first * second / len(users[other]) ** beta
        largest = max(row.values(), default=1.0)
        best = sorted(row, key=lambda other: (-round(row[other] / largest, 8), other))[: model.neighbors]
        total = math.fsum(row[other] for other in best) if model.normalize else 1.0
        found.append({other: row[other] / total for other in best})
    return found


def scored(history: dict[int, float], steps: Weights, alpha: float) -> dict[int, float]:
    first, found = chances(history, alpha), dict[int, float]()
    for item, chance in sorted(first.items()):
        for other, onwards in steps[item].items():
            found[other] = found.get(other, 0.0) + chance * onwards
    return found


# --- against the reference ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check", [check for one in COMPONENTS[1:3] for check in checks(one)], ids=lambda check: check.name
)
def test_they_keep_what_every_generator_promises(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("model", COMPONENTS, ids=repr)
@given(data=worlds())
@settings(max_examples=40, deadline=None)
def test_steps_are_those_of_the_formula(model: Walk, data: Dataset) -> None:
    steps = model.fit(data, RNG).steps
    assert steps.rows == steps.columns == len(data.items)
    for item, expected in enumerate(all_steps(data, model)):
        row = slice(steps.indptr[item], steps.indptr[item + 1])
        assert steps.column[row].tolist() == sorted(expected)
        np.testing.assert_allclose(steps.value[row], [expected[to] for to in sorted(expected)], rtol=1e-12)


@pytest.mark.parametrize("model", COMPONENTS, ids=repr)
@given(data=worlds(), limit=st.sampled_from([1, 3, EVERYTHING]))
@settings(max_examples=30, deadline=None)
def test_lists_are_those_of_the_formula(model: Walk, data: Dataset, limit: int) -> None:
    seen = data.events.matrix()
    found = lists(model.generate(model.fit(data, RNG), request_of(data, seen), limit))
    steps, shown = all_steps(data, model), np.zeros(seen.shape, bool)
    shown[seen.row_of, seen.indices] = True
    for user, history in enumerate(edges_of(data, model.power)):
        everything = scored(history, steps, model.alpha)
        wanted = {j: score for j, score in everything.items() if not shown[user, j]}
        largest = max(everything.values(), default=1.0)
        order = sorted(wanted, key=lambda j: (-round(wanted[j] / largest, 8), j))[:limit]
        assert [item for item, _ in found[user]] == order
        np.testing.assert_allclose([score for _, score in found[user]], [wanted[j] for j in order], rtol=1e-6)


@pytest.mark.parametrize("model", COMPONENTS, ids=repr)
@given(data=worlds())
@settings(max_examples=15, deadline=None)
def test_parts_are_those_of_the_formula_and_add_up(model: Walk, data: Dataset) -> None:
    state, request = model.fit(data, RNG), request_of(data)
    row, item = (array.ravel().astype(np.int32) for array in np.indices((len(data.users), len(data.items))))
    told = model.evidence(state, request, row, item, EVERYTHING)
    check_evidence(model.name, told, len(row), EVERYTHING)
    histories, steps = edges_of(data, model.power), all_steps(data, model)
    for pair, (user, j) in enumerate(zip(row.tolist(), item.tolist(), strict=True)):
        first = chances(histories[user], model.alpha)
        wanted = {i: chance * steps[i][j] for i, chance in first.items() if j in steps[i]}
        mine = slice(told.indptr[pair], told.indptr[pair + 1])
        assert dict(zip(told.item[mine].tolist(), told.amount[mine].tolist(), strict=True)) == pytest.approx(wanted)
        assert told.rest[pair] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("model", COMPONENTS, ids=repr)
@given(seed=st.integers(0, 10**6), events=st.sampled_from([0, 1, 4]))
@settings(max_examples=50, deadline=None)
def test_an_update_is_a_refit_to_the_bit(model: Walk, seed: int, events: int) -> None:
    old, new = drawn_triples(seed, 8, 9, 30), drawn_triples(seed + 1, 10, 11, events)
    data = dataset(old + new, 10, 11)
    updated = model.update(model.fit(dataset(old, 8, 9), RNG), data, dataset(new, 10, 11))
    assert bits_of(updated) == bits_of(model.fit(data, RNG))


def bits_of(state: Any) -> list[bytes]:
    """The bytes of all arrays of a state."""
    if isinstance(state, np.ndarray):
        return [state.tobytes()]
    return [one for part in getattr(state, "__dataclass_fields__", ()) for one in bits_of(getattr(state, part))]


def test_an_update_walks_anew_only_where_steps_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups of users that share nothing: an event in one leaves the other alone."""
    triples: Triples = [(0, 0, 1.0), (0, 1, 1.0), (1, 1, 1.0), (2, 2, 1.0), (2, 3, 1.0), (3, 3, 1.0)]
    model, walked = Rp3Beta(), list[int]()
    state = model.fit(dataset(triples, 4, 4), RNG)
    whole = row_products.Product.shards

    def noted(product: row_products.Product) -> Any:
        walked.append(product.left.rows)
        return whole(product)

    monkeypatch.setattr(row_products.Product, "shards", noted)
    model.update(state, dataset([*triples, (3, 2, 1.0)], 4, 4), dataset([(3, 2, 1.0)], 4, 4))
    model.update(state, dataset(triples, 4, 4), dataset([], 4, 4))
    assert walked == [2, 0]


@pytest.mark.parametrize("model", COMPONENTS, ids=repr)
def test_workers_and_blocks_change_no_bit(model: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(drawn_triples(3, 90, 60, 1200), 90, 60)
    state = model.fit(data, RNG)
    served = bits_of(model.generate(state, request_of(data), 15))
    for block, workers in ((8 << 9, 2), (8 << 10, 3), (8 << 30, 1)):
        monkeypatch.setattr(row_products, "BLOCK", block)
        with working(Work(workers=workers)):
            assert bits_of(model.fit(data, RNG)) == bits_of(state)
            assert bits_of(model.generate(state, request_of(data), 15)) == served


# --- known answers ----------------------------------------------------------------------------------------------------


def test_an_uncut_walk_ends_somewhere() -> None:
    """Three steps of a plain walk end at some item for certain: with the way back, chances add up to 1."""
    data = dataset([(u, i, w) for u, i, w in drawn_triples(5, 12, 9, 80) if w > 0], 12, 9)
    for power in (0.0, 1.0):
        steps = np.zeros((9, 9))
        model = P3Alpha(power=power)
        kept = model.fit(data, RNG).steps
        steps[kept.row_of, kept.column] = kept.value
        edges = np.where(data.events.matrix().to_dense() > 0, data.events.matrix().to_dense() ** power, 0)
        back = (edges / edges.sum(axis=0)).T @ (edges / edges.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(steps.sum(axis=1) + back.diagonal(), 1.0)
        np.testing.assert_allclose(steps + np.diag(back.diagonal()), back)


def test_beta_draws_back_what_is_popular() -> None:
    """Items 1 and 2 are met as often from item 0; item 2 has many users more."""
    met: Triples = [(0, 0, 1.0), (0, 1, 1.0), (1, 0, 1.0), (1, 2, 1.0)]
    data = dataset([*met, *((user, 2, 1.0) for user in range(2, 9))], 10, 3)
    for beta, order in ((0.0, [1, 2]), (0.5, [1, 2]), (1.0, [1, 2])):
        steps = Rp3Beta(alpha=1.0, beta=beta).fit(data, RNG).steps
        assert steps.column[:2].tolist() == order
        assert steps.value[:2].tolist() == pytest.approx([0.25, 0.25 / 8**beta])


def test_the_plain_graph_does_not_see_weights_and_disliked_items_are_no_edges() -> None:
    data = dataset([(0, 0, 1.0), (0, 1, 9.0), (0, 2, -1.0), (0, 3, 0.0), (1, 2, 1.0), (1, 3, 1.0)], 2, 4)
    plain, weighted = (P3Alpha(power=power).fit(data, RNG).steps for power in (0.0, 1.0))
    assert plain.column.tolist() == weighted.column.tolist() == [1, 0, 3, 2]
    assert plain.value.tolist() == pytest.approx([0.5] * 4)
    assert weighted.value.tolist() == pytest.approx([0.9, 0.1, 0.5, 0.5])


def test_strangers_and_small_worlds() -> None:
    data, model = tiny_world(), Rp3Beta()
    request = replace(request_for(data, [0, 4, -1]), excluded=Csr.empty(3, 8))
    found = lists(model.generate(model.fit(data, RNG), request, 8))
    assert found[0]
    assert found[1] == found[2] == []
    for triples, users, items in (([], 1, 1), ([(0, 0, 1.0)], 1, 1), ([(0, 0, -1.0), (0, 1, 1.0)], 1, 3)):
        small = dataset(triples, users, items)
        state = model.fit(small, RNG)
        assert len(model.generate(state, request_of(small), 5)) == len(state.steps.column) == 0


def test_they_are_found_and_can_do_what_they_should() -> None:
    assert nbarec_candidate_generators() == [P3Alpha, Rp3Beta]
    assert isinstance(P3Alpha(), Updatable)
    assert isinstance(P3Alpha().fit(tiny_world(), RNG), WalkState)
    assert (P3Alpha.name, Rp3Beta.name) == ("p3alpha", "rp3beta")


@pytest.mark.parametrize("wrong", [{"neighbors": 0}, {"alpha": -0.1}, {"power": 1.5}, {"beta": -1.0}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Rp3Beta(**wrong)
