"""SLIM against coordinate descent item by item, the conditions of its optimum, and serving from the history alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.batch import Candidates
from nbarec.components import Updatable
from nbarec.contracts import check_evidence
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.joining import join_datasets
from nbarec.sparse import Csr
from nbarec.testing.checks import Check, NotApplicable, checks
from nbarec.testing.worlds import request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins import elastic_nets
from nbarec_plugins.elastic_nets import nonnegative_nets, system_bytes
from nbarec_plugins.slim import Slim, SlimState, nbarec_candidate_generators
from nbarec_plugins.sparse_rows import SparseRows

COMPONENTS = [
    Slim(l1=0.1, l2=1.0, user_scaling=0.0, item_scaling=0.0),
    Slim(neighbors=3, l1=0.3, l2=0.2, power=1.0),
    Slim(neighbors=6, l1=0.01, l2=0.1, user_scaling=0.4, item_scaling=0.3, lift=-0.2, power=0.5),
    Slim(l1=0.0, l2=0.5),
]
EVERYTHING = 100


def data_of(weights: AnyArray) -> Dataset:
    """Users 0, 1, ... and items 0, 1, ..., each row and column at least named in the tables."""
    user, item = np.nonzero(weights)
    users, items = ({"id": np.arange(named)} for named in weights.shape)
    return Dataset.from_arrays(user, item, weights[user, item], catalog=items, audience=users)


def random_weights(seed: int, users: int, items: int) -> Floats64:
    """Some dislikes among them; the last user and the last item have nothing."""
    rng = np.random.default_rng(seed)
    shown = rng.random((users, items)) < 0.35
    shown[-1], shown[:, -1] = False, False
    return np.where(shown, rng.choice([-2.0, 1.0, 1.0, 3.0, 4.0, 5.0], (users, items)), 0.0)


def fitted(component: Slim, data: Dataset) -> SlimState:
    return component.fit(data, np.random.default_rng(0))


def dense(rows: SparseRows) -> Floats64:
    table = np.zeros((rows.rows, rows.columns))
    table[rows.row_of, rows.column] = rows.value
    return table


def sparse(table: AnyArray) -> SparseRows:
    row, column = np.nonzero(table)
    matrix = Csr.from_pairs(row, column, None, (len(table), len(table[0])))
    return SparseRows.from_csr(matrix, matrix.data != 0, table[row, column])


def lists(candidates: Candidates) -> list[list[tuple[int, float]]]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)]


# --- the reference: one item and one weight at a time ---------------------------------------------------------------


def scaled_by(count: AnyArray, exponent: float) -> Floats64:
    return np.array([n**exponent if n else 0.0 for n in count.tolist()])


def powered(weights: Floats64, power: float) -> Floats64:
    return np.where(weights == 0, 0.0, np.sign(weights) * np.abs(weights) ** power)


def neighbours_of(matrix: Floats64, item: int, neighbors: int) -> list[int]:
    """The most alike by cosine, and no others; ties by position."""
    found = dict[int, float]()
    for other in set(range(matrix.shape[1])) - {item}:
        below = float(np.linalg.norm(matrix[:, item]) * np.linalg.norm(matrix[:, other]))
        alike = float(matrix[:, item] @ matrix[:, other]) / below if below else 0.0
        if abs(alike) > 1e-9:
            found[other] = round(alike, 8)
    return sorted(found, key=lambda other: (-found[other], other))[:neighbors]


def descended(matrix: Floats64, target: Floats64, l1: float, l2: float) -> Floats64:
    """Non-negative elastic net by coordinate descent, to the end (Friedman, Hastie, Tibshirani 2010)."""
    found, moved = np.zeros(matrix.shape[1]), 1.0
    while moved > 1e-14:
        before = found.copy()
        for place in range(len(found)):
            left = target - matrix @ found + matrix[:, place] * found[place]
            found[place] = max(0.0, matrix[:, place] @ left - l1) / (matrix[:, place] @ matrix[:, place] + l2)
        moved = np.abs(found - before).max(initial=0.0)
    return found


def slow_weights(component: Slim, weights: Floats64) -> Floats64:
    """What item i adds to item j, [i, j], from the formula."""
    users, items = (weights != 0).sum(axis=1), (weights != 0).sum(axis=0)
    of_item = scaled_by(items, -component.item_scaling)
    matrix = powered(weights, component.power) * scaled_by(users, -component.user_scaling)[:, None] * of_item
    found = np.zeros((len(items), len(items)))
    for item in range(len(items)):
        near = neighbours_of(matrix, item, component.neighbors)
        found[near, item] = descended(matrix[:, near], matrix[:, item], component.l1, component.l2)
    return of_item[:, None] * found * scaled_by(items, component.item_scaling + component.lift)


# --- against the reference ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [check for one in COMPONENTS[1:3] for check in checks(one)], ids=lambda one: one.name)
def test_it_keeps_what_every_generator_promises(check: Check) -> None:
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(COMPONENTS))
def test_weights_are_those_of_coordinate_descent(seed: int, component: Slim) -> None:
    weights = random_weights(seed, 14, 11)
    found = dense(fitted(component, data_of(weights)).weights)
    np.testing.assert_allclose(found, slow_weights(component, weights), atol=1e-9)
    assert not found.diagonal().any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(COMPONENTS), st.integers(1, 12))
def test_lists_and_parts_are_those_of_the_formula(seed: int, component: Slim, limit: int) -> None:
    weights = random_weights(seed, 12, 10)
    data = data_of(weights)
    state, request = fitted(component, data), request_for(data)
    added = powered(weights, component.power)[:, :, None] * slow_weights(component, weights)
    scores = added.sum(axis=1)
    row, item = (array.ravel().astype(np.int32) for array in np.indices(scores.shape))
    told = component.evidence(state, request, row, item, EVERYTHING)
    check_evidence("slim", told, len(row), EVERYTHING)
    assert told.indptr[-1] > 0
    for pair in range(len(row)):
        mine = slice(told.indptr[pair], told.indptr[pair + 1])
        np.testing.assert_allclose(told.amount[mine], added[row[pair], told.item[mine], item[pair]], atol=1e-7)
        assert told.amount[mine].sum() + told.rest[pair] == pytest.approx(scores[row[pair], item[pair]], abs=1e-7)
    scores[request.excluded.row_of, request.excluded.indices] = 0
    for found, wanted in zip(lists(component.generate(state, request, limit)), scores, strict=True):
        kept = min(int((wanted > 1e-7).sum()), limit)
        assert kept <= len(found) <= limit
        np.testing.assert_allclose([score for _, score in found], wanted[[i for i, _ in found]], atol=1e-6)
        np.testing.assert_allclose([score for _, score in found[:kept]], np.sort(wanted)[::-1][:kept], atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 5.0]), st.sampled_from([0.0, 1e-3, 2.0]))
def test_nets_are_optimal_and_ways_to_cut_them_change_no_bit(seed: int, l1: float, l2: float) -> None:
    """Slopes are 0 where weights are positive and nowhere negative: what holds at the minimum alone."""
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((40, 25)) < 0.3, rng.choice([1.0, 1.5, -0.5], (40, 25)), 0.0)
    named = rng.random((25, 25)) < rng.random((25, 1))
    np.fill_diagonal(named, False)
    near = sparse(np.where(named, rng.random((25, 25)), 0.0))
    found = nonnegative_nets(sparse(matrix), near, l1, l2)
    weights = dense(found)
    slope = (weights @ matrix.T - matrix.T) @ matrix + l2 * weights + l1
    assert (found.value > 0).all()
    assert not weights[~named].any()
    assert (slope[named] > -1e-8).all()
    np.testing.assert_allclose(slope[weights > 0], 0.0, atol=1e-8)
    with pytest.MonkeyPatch.context() as patch, working(Work(workers=2)):
        for products, window, systems in ((8 * 30**2, 512, 1 << 23), (1, 3, 1), (1 << 25, 7, 1 << 12)):
            patch.setattr(elastic_nets, "PRODUCTS_BYTES", products)
            patch.setattr(elastic_nets, "WINDOW", window)
            patch.setattr(elastic_nets, "SYSTEM_BYTES", systems)
            again = nonnegative_nets(sparse(matrix), near, l1, l2)
            assert again.value.tobytes() == found.value.tobytes()
            assert again.column.tobytes() == found.column.tobytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_columns_follow_their_leader(seed: int, columns: int) -> None:
    """Each tree stands together: behind every column, as many as follow it directly or not."""
    rng = np.random.default_rng(seed)
    alike = np.where(rng.random((columns, columns)) < 0.2, rng.random((columns, columns)), 0.0)
    np.fill_diagonal(alike, 0.0)
    size = rng.integers(1, 9, columns)
    leader = elastic_nets._leaders(sparse(alike), size)
    for column, found in enumerate(leader.tolist()):
        larger = [o for o in np.flatnonzero(alike[column]) if (-size[o], o) < (-size[column], column)]
        assert found == max(larger, key=lambda other: alike[column, other], default=-1)
    order = elastic_nets._depth_first(leader).tolist()
    assert sorted(order) == list(range(columns))
    followers: list[set[int]] = [{column} for column in range(columns)]
    for _ in range(columns):
        for column, found in enumerate(leader.tolist()):
            if found >= 0:
                followers[found] |= followers[column]
    for at, column in enumerate(order):
        assert set(order[at : at + len(followers[column])]) == followers[column]


# --- what users of it may count on ------------------------------------------------------------------------------------


def test_weights_tell_copies_from_hits() -> None:
    """Item 1 is item 0 over again, item 2 a hit that all have: only the copy is worth a weight."""
    taken = np.zeros((40, 3))
    taken[:12, :2], taken[:, 2] = 1.0, 1.0
    weights = dense(fitted(Slim(l1=0.5, l2=0.5, user_scaling=0.0, item_scaling=0.0), data_of(taken)).weights)
    assert weights[2, 0] < 0.05 < 0.9 < weights[1, 0] == pytest.approx(weights[0, 1])


def test_more_l1_leaves_fewer_weights() -> None:
    data = data_of(random_weights(1, 60, 25))
    kept = [
        len(fitted(Slim(l1=l1, l2=1.0, user_scaling=0.0, item_scaling=0.0), data).weights.value)
        for l1 in (0.0, 0.5, 3.0, 1e6)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == 0 < kept[-2] < kept[0]


def test_strangers_and_small_worlds() -> None:
    data, component = tiny_world(), Slim(l1=0.0, l2=0.1)
    request = replace(request_for(data, [0, 4, -1]), excluded=Csr.empty(3, 8))
    found = lists(component.generate(fitted(component, data), request, 8))
    assert found[0]
    assert found[1] == found[2] == []
    for weights in (np.zeros((2, 3)), np.eye(1), np.eye(4), np.array([[1.0, -1.0]])):
        alone = data_of(weights)
        assert len(component.generate(fitted(component, alone), request_for(alone), 5)) == 0


def test_an_update_is_a_refit() -> None:
    weights = random_weights(2, 40, 30)
    old, new = weights.copy(), np.zeros_like(weights)
    new[30:], old[30:] = old[30:], 0.0
    joined, alone = join_datasets(data_of(old), data_of(new))
    component = COMPONENTS[2]
    updated, refitted = component.update(fitted(component, data_of(old)), joined, alone), fitted(component, joined)
    assert updated.weights.value.tobytes() == refitted.weights.value.tobytes()
    assert component.update(updated, joined, data_of(np.zeros_like(weights))) is updated


def test_what_does_not_fit_the_memory_is_said_first() -> None:
    data = data_of(random_weights(3, 50, 40))
    with working(Work(memory=system_bytes(30))), pytest.raises(ConfigError, match="use fewer neighbors"):
        fitted(Slim(neighbors=39), data)
    with working(Work(memory=system_bytes(30))):
        fitted(Slim(neighbors=10), data)


def test_it_is_found_and_can_do_what_it_should() -> None:
    assert nbarec_candidate_generators() == [Slim]
    assert isinstance(Slim(), Updatable)


@pytest.mark.parametrize("wrong", [{"neighbors": 0}, {"l1": -1.0}, {"l2": -1.0}, {"power": 1.5}, {"lift": 2.0}])
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Slim(**wrong)
