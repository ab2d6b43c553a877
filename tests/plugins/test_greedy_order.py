"""What both diversifying post-filters promise: nothing is lost, and nothing depends on the batch or the blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import Floats32, frozen, rank_in_row
from nbarec.batch import Candidates, Pool, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.kernels import best_first
from nbarec.params import StageRef
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.states import flatten, unflatten
from nbarec.tables import CategoryColumn, NumberColumn, Table
from nbarec.testing.worlds import pool_in_order, pool_of, request_for, sorted_by_score, tags_of, tiny_world
from nbarec_plugins import windows
from nbarec_plugins.dpp import Dpp
from nbarec_plugins.greedy_order import GreedyOrder, GreedyState
from nbarec_plugins.mmr import Mmr

Plug = Callable[..., None]

N_ITEMS = 40
RNG = np.random.default_rng(4)
VECTORS = frozen(RNG.normal(size=(N_ITEMS, 5)).astype(np.float32))
CATALOG = Table(
    N_ITEMS,
    {
        "kind": CategoryColumn.of([[None, "a", "b", "c"][n] for n in RNG.integers(4, size=N_ITEMS)]),
        "tags": tags_of([[f"t{n}" for n in np.flatnonzero(RNG.random(15) < 0.2)] for _ in range(N_ITEMS)]),
        "tempo": NumberColumn(np.where(RNG.random(N_ITEMS) < 0.5, np.nan, RNG.normal(size=N_ITEMS))),
    },
)
KINDS = pytest.mark.parametrize("kind", [Mmr, Dpp])
SPACES = pytest.mark.parametrize("space", [{"vectors": StageRef("given")}, {"fields": {"kind": 1.0, "tags": 0.5}}, {}])
ANYTHING = np.random.default_rng(0)


def world() -> Dataset:
    songs = Dataset.from_arrays(["u"] * N_ITEMS, np.arange(N_ITEMS))
    return Dataset.of(songs.users, songs.items, songs.events, CATALOG, songs.audience)


DATA = world()


def batch(rows: list[dict[int, float]], k: int) -> tuple[Request, Pool]:
    request = request_for(DATA, [0] * len(rows), k=k)
    pool = pool_of(request, {"given": rows})
    pool = sorted_by_score(pool.with_score("given", pool.scores[:, 0]))
    return request, replace(pool, vectors={"given": VECTORS})


def many_rows() -> list[dict[int, float]]:
    """Sixty rows of 0 to 39 entries."""
    items = [RNG.permutation(N_ITEMS)[: RNG.integers(N_ITEMS)].tolist() for _ in range(60)]
    return [dict(zip(row, RNG.normal(size=len(row)).tolist(), strict=True)) for row in items]


@KINDS
@SPACES
@given(
    rows=st.lists(st.dictionaries(st.integers(0, N_ITEMS - 1), st.floats(-9, 9, width=32)), max_size=4),
    k=st.integers(1, 6),
    among=st.integers(1, 20),
)
@settings(max_examples=25, deadline=None)
def test_nothing_is_lost_and_only_the_picks_move(kind, space, rows, k, among) -> None:
    request, pool = batch(rows, k)
    spread = kind(relevance=0.3, among=among, **space)
    order = spread.select(spread.fit(DATA, ANYTHING), request, pool)
    assert order.dtype == np.int64
    assert not order.flags.writeable
    for start, end in zip(pool.indptr[:-1].tolist(), pool.indptr[1:].tolist(), strict=True):
        found = order[start:end].tolist()
        assert sorted(found) == list(range(start, end))
        assert found[among:] == list(range(start + among, end))
        unpicked = found[2 * k : among]
        assert unpicked == sorted(unpicked)
        assert found[:1] == list(range(start, end))[:1]  # nothing is picked yet that the best could be like


@KINDS
@SPACES
def test_one_user_alone_and_any_block_give_the_same(kind, space, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = many_rows()
    request, pool = batch(rows, 7)
    spread = kind(relevance=0.4, among=30, **space)
    state = spread.fit(DATA, ANYTHING)
    together = spread.select(state, request, pool)
    assert together.tolist() != list(range(len(pool)))
    monkeypatch.setattr(windows, "CELLS_IN_BLOCK", 1)
    np.testing.assert_array_equal(spread.select(state, request, pool), together)
    for row, start in enumerate(pool.indptr[:-1]):
        alone = spread.select(state, *batch(rows[row : row + 1], 7))
        np.testing.assert_array_equal(alone + start, together[start : start + len(alone)])


@KINDS
@SPACES
def test_relevance_1_keeps_the_order_even_of_an_earlier_filter(kind, space) -> None:
    request, pool = batch(many_rows(), 5)
    mixed = pool.take(np.lexsort((pool.item, pool.row)))
    spread = kind(relevance=1.0, **space)
    assert spread.select(spread.fit(DATA, ANYTHING), request, mixed).tolist() == list(range(len(pool)))


@KINDS
def test_it_goes_by_the_scores_not_by_the_order_of_an_earlier_filter(kind) -> None:
    request, pool = batch([*many_rows(), {4: 1.0, 7: 2.0}], 4)
    spread = kind(relevance=0.5)
    state = spread.fit(DATA, ANYTHING)
    turned = pool.take(np.lexsort((pool.score, pool.row)))
    found, expected = (given.item[spread.select(state, request, given)] for given in (turned, pool))
    picked = rank_in_row(pool.indptr) <= 2 * 4
    np.testing.assert_array_equal(found[picked], expected[picked])


@KINDS
def test_the_first_places_of_a_longer_slate_are_a_shorter_one(kind) -> None:
    rows = many_rows()
    spread = kind(relevance=0.4)
    state = spread.fit(DATA, ANYTHING)
    (request, pool), (longer, _) = batch(rows, 3), batch(rows, 20)
    short, long = spread.select(state, request, pool), spread.select(state, longer, pool)
    picked = rank_in_row(pool.indptr) <= 2 * 3
    np.testing.assert_array_equal(short[picked], long[picked])
    assert short.tolist() != long.tolist()


@KINDS
def test_an_item_of_which_nothing_is_known_is_like_no_other(kind) -> None:
    data = tiny_world()
    request = request_for(data, [3], k=3)
    pool = pool_in_order(request, [[0, 1, 2, 6]])  # three by ada, and one by nobody
    spread = kind(relevance=0.3, fields={"artist": 1.0})
    order = spread.select(spread.fit(data, ANYTHING), request, pool)
    assert pool.item[order].tolist() == [0, 6, 1, 2]


@KINDS
def test_rows_without_entries_and_batches_without_rows(kind) -> None:
    spread = kind()
    state = spread.fit(DATA, ANYTHING)
    for rows in ([], [{}], [{}, {3: 1.0}, {}]):
        request, pool = batch(rows, 5)
        assert spread.select(state, request, pool).tolist() == list(range(len(pool)))


@KINDS
def test_wrong_parameters_are_refused(kind) -> None:
    with pytest.raises(ValueError, match="by `vectors` or by `fields`, not by both; drop one of them"):
        kind(vectors=StageRef("latent"), fields={"genre": 1.0})
    with pytest.raises(ValueError, match="among must be at least 1"):
        kind(among=0)
    with pytest.raises(ConfigError, match=f"{kind.name}: fields names 'color'; the items have these columns: kind, ta"):
        kind(fields={"color": 1.0}).fit(DATA, ANYTHING)
    with pytest.raises(ConfigError, match=f"{kind.name} compares items by their attributes, and the items have no"):
        kind().fit(Dataset.from_arrays(["u"], ["i"]), ANYTHING)
    assert kind(vectors=StageRef("latent")).vectors_named() == ("latent",)
    assert kind().vectors_named() == ()


@KINDS
@SPACES
def test_an_update_equals_a_refit_and_a_saved_state_is_the_same(kind, space) -> None:
    spread: GreedyOrder = kind(**space)
    smaller = DATA.full_catalog().take(np.arange(10))
    songs = Dataset.from_arrays(["u"] * 10, np.arange(10))
    before = spread.fit(Dataset.of(songs.users, songs.items, songs.events, smaller, songs.audience), ANYTHING)
    after, refitted = spread.update(before, DATA, DATA), spread.fit(DATA, ANYTHING)
    assert (after.features is None) == ("vectors" in space)
    arrays = flatten(after)[0]
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in flatten(refitted)[0].items()
    }
    loaded = unflatten(GreedyState, *flatten(after))
    request, pool = batch(many_rows(), 6)
    np.testing.assert_array_equal(spread.select(loaded, request, pool), spread.select(after, request, pool))


@dataclass(frozen=True)
class Points:
    """A vector an item."""

    vectors: Floats32


@dataclass(frozen=True)
class Placed(CandidateGenerator[Points]):
    """Every song, the first of the catalogue best; five after the other have the same vector. Can't be updated."""

    name: ClassVar[str] = "placed"
    turn: float = param(1.0, doc="By how many radians the next five are turned.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> Points:
        angle = np.arange(len(data.items)) // 5 * self.turn
        return Points(frozen(np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)))

    def generate(self, state: Points, request: Request, limit: int) -> Candidates:
        row, item = (index.ravel() for index in np.indices((len(request), request.n_items)))
        allowed = ~request.excluded.contains(row, item)
        return best_first(row[allowed], item[allowed], -1.0 * item[allowed], len(request), limit)

    def item_vectors(self, state: Points) -> Floats32:
        return state.vectors


def text_of(use: str, relevance: float) -> str:
    return f"""
nbarec: 1
data: {{use: music_world, users: 20, songs: 30, days: 20}}
candidates: [{{id: near, use: placed, k: 60, exclude: weight > 99}}]
filters: [{{id: spread, use: {use}, with: {{relevance: {relevance}, vectors: near}}}}]
slate: {{k: 2}}
"""


@KINDS
def test_the_vectors_of_a_generator_reach_it_through_a_pipeline(plug: Plug, kind, tmp_path) -> None:
    plug(Placed)
    kept, spread = (Pipeline.from_text(text_of(kind.name, relevance)).fit() for relevance in (1.0, 0.2))
    users = kept.data.users.all()
    assert kept.recommend(users).item.tolist() == [[0, 1]] * len(users)
    # 16 to 20 stand three radians from the first five: nearly opposite, and the first of them is the best.
    assert spread.recommend(users).item.tolist() == [[0, 15]] * len(users)
    spread.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.recommend(users).item.tolist() == [[0, 15]] * len(users)


@KINDS
def test_items_newer_than_the_generators_vectors_are_like_no_other(plug: Plug, kind) -> None:
    plug(Placed)
    text = text_of(kind.name, 0.0).replace("use: placed", "use: placed, with: {turn: 0}")
    text = text.replace("candidates: [", "candidates: [{id: trending, use: popularity, k: 60, exclude: weight > 99}, ")
    newer = {"fresh", "fresher", "freshest"}
    model, told = Pipeline.from_text(text).fit().update(Dataset.from_arrays(["new"] * 3, sorted(newer)))
    assert told["spread"] == "updated"
    assert told["near"].startswith("unchanged")
    slate = model.recommend(model.data.users.all(), k=4)
    assert all(newer < set(items) for items in slate.items)  # all others have the vector of the first
