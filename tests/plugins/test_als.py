"""Alternating least squares on worlds with a known answer, and what a caller may rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nbarec.batch import Candidates
from nbarec.data import Dataset, EventColumns
from nbarec.errors import ConfigError
from nbarec.events import Combine, Events
from nbarec.ids import Ids
from nbarec.pipeline import Pipeline
from nbarec.plugins import registry
from nbarec.saved import load_model
from nbarec.tables import Table
from nbarec.testing.worlds import request_for
from nbarec.work import Work, working
from nbarec_plugins.als import Als, AlsState, nbarec_candidate_generators

Weights = np.ndarray


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def dataset(weights: Weights) -> Dataset:
    """The pairs of a dense matrix (users x items) that are not NaN."""
    user, item = np.nonzero(~np.isnan(weights))
    columns = EventColumns(user, item, weights[user, item], weights[user, item], np.zeros(len(user)))
    users, items = weights.shape
    events = columns.sorted_events(users, items, Combine())
    return Dataset.of(Ids.of(range(users)), Ids.of(range(items)), events, Table(items), Table(users))


def sparse_weights(users: int = 30, items: int = 20) -> Weights:
    """Weights of all kinds, with an item (4) that was never met and one (7) that was only disliked."""
    random = np.random.default_rng(8)
    weights = random.choice([-2.0, 0.0, 0.5, 1.0, 3.0], (users, items))
    weights[random.random((users, items)) < 0.6] = np.nan
    weights[:, 4] = np.nan
    weights[:, 7] = np.where(weights[:, 7] > 0, -1.0, weights[:, 7])
    return weights


def blocks(users: int, items: int, share: float) -> tuple[Weights, Weights]:
    """Two groups of users who like two groups of items, and some of it held out: (training, held out)."""
    random = np.random.default_rng(2)
    same = (np.arange(users) % 2)[:, None] == (np.arange(items) % 2)
    liked = same & (random.random((users, items)) < 0.5)
    held_out = liked & (random.random((users, items)) < share)
    return np.where(liked & ~held_out, 1.0, np.nan), np.where(held_out, 1.0, np.nan)


def lists(found: Candidates) -> list[list[int]]:
    return [found.item[a:b].tolist() for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def scores(model: Als, state: AlsState, data: Dataset, history: Events | None = None) -> Weights:
    """Every score of every user, NaN where an item is not proposed."""
    past = data.events if history is None else history
    nobody = np.full(past.rows, -1)
    nothing = Events.empty(past.rows, past.n_items).matrix()
    request = request_for(data, nobody, history=past, excluded=nothing)
    found = model.generate(state, request, len(data.items))
    dense = np.full((past.rows, len(data.items)), np.nan)
    dense[np.repeat(np.arange(past.rows), np.diff(found.indptr)), found.item] = found.score
    return dense


# --- known answers --------------------------------------------------------------------------------------------------


def test_two_groups_of_tastes_are_recovered() -> None:
    training, held_out = blocks(60, 40, 0.2)
    model, data = Als(factors=8), dataset(training)
    found = model.generate(model.fit(data, rng()), request_for(data), 8)
    for user, proposed in enumerate(lists(found)):
        assert [item % 2 for item in proposed] == [user % 2] * 8
        assert np.isnan(training[user, proposed]).all()
    assert recall(model, model.fit(data, rng()), data, held_out, 15) > 0.95


def test_a_dislike_pushes_its_group_down_and_a_larger_weight_pushes_its_group_up() -> None:
    training, _ = blocks(60, 40, 0.0)
    model = Als(factors=4)
    state = model.fit(dataset(training), rng())
    histories = np.full((4, 40), np.nan)
    histories[:, [0, 1, 3]] = [[1, 1, np.nan], [1, 1, -5], [1, 1, 0], [1, 5, np.nan]]
    told = scores(model, state, dataset(training), dataset(histories).events)
    plain, disliked, zero, loved = told[:, 5::2].mean(axis=1)
    assert disliked < 0.8 * plain
    assert loved > 1.2 * plain
    assert zero == plain  # a weight of 0 is as if there were no event


def test_explicit_scores_estimate_ratings() -> None:
    random = np.random.default_rng(5)
    users, items = random.normal(size=(80, 2)), random.normal(size=(50, 2))
    ratings = 3.0 + random.normal(size=(80, 1)) * 0.5 + random.normal(size=50) * 0.5 + users @ items.T
    hidden = random.random(ratings.shape) < 0.5
    model, data = Als(mode="explicit", factors=2, regularization=0.01), dataset(np.where(hidden, np.nan, ratings))
    error = (scores(model, model.fit(data, rng()), data) - ratings)[hidden]
    assert np.sqrt((error**2).mean()) < 0.1 * ratings.std()


def recall(model: Als, state: AlsState, data: Dataset, held_out: Weights, places: int) -> float:
    """The mean share of each user's held-out items among the first places."""
    proposed = lists(model.generate(state, request_for(data), places))
    hits = [(~np.isnan(held_out[user, items])).sum() for user, items in enumerate(proposed)]
    counts = (~np.isnan(held_out)).sum(axis=1)
    return float((np.array(hits)[counts > 0] / counts[counts > 0]).mean())


def test_an_update_is_nearly_as_good_as_a_refit_and_knows_new_items_and_users() -> None:
    training, held_out = blocks(120, 60, 0.25)
    late = np.random.default_rng(1).random(training.shape) < 0.15
    before = np.where(late, np.nan, training)[:100, :52]
    model, data = Als(factors=8), dataset(training)
    old = model.fit(dataset(before), rng())
    new = dataset(np.where(late, training, np.nan))
    updated, refitted = model.update(old, data, new), model.fit(data, rng())
    assert updated.item.tolist() == refitted.item.tolist() == list(range(60))
    quality = [recall(model, state, data, held_out, 20) for state in (updated, refitted)]
    assert quality[1] > 0.9
    assert quality[0] > 0.97 * quality[1]
    vectors = model.item_vectors(updated)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit[52:] @ unit[:52].T
    group = np.arange(60) % 2
    same = group[52:, None] == group[:52]
    assert alike[same].mean() > alike[~same].mean() + 0.5


@pytest.mark.parametrize("model", [Als(factors=4), Als(mode="explicit", factors=4)])
def test_an_update_of_a_model_without_events_is_a_fit(model: Als) -> None:
    data = dataset(sparse_weights())
    silent = dataset(np.full_like(sparse_weights(), np.nan))
    updated = model.update(model.fit(silent, rng()), data, data)
    np.testing.assert_array_equal(updated.factors, model.fit(data, np.random.default_rng(0)).factors)
    assert np.abs(model.item_vectors(updated)).max() > 0.01
    assert len(model.generate(updated, request_for(data), 3))


# --- what a caller may rely on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Als(factors=16, iterations=3), Als(mode="explicit", factors=15, iterations=3)])
def test_a_user_gets_the_same_bits_in_any_batch(model: Als) -> None:
    random = np.random.default_rng(9)
    weights = np.where(random.random((300, 90)) < random.random((300, 1)), random.choice([1.0, 2.5], (300, 90)), np.nan)
    data = dataset(weights)
    state = model.fit(data, rng())
    together = model.generate(state, request_for(data), 10)
    for size in (1, 7):
        parts = [
            model.generate(state, request_for(data, np.arange(first, min(first + size, 300))), 10)
            for first in range(0, 300, size)
        ]
        assert np.concatenate([part.item for part in parts]).tobytes() == together.item.tobytes()
        assert np.concatenate([part.score for part in parts]).tobytes() == together.score.tobytes()


@pytest.mark.parametrize("model", [Als(factors=4), Als(mode="explicit", factors=4)])
def test_small_worlds_and_histories_that_say_nothing(model: Als) -> None:
    nothing = np.full((2, 3), np.nan)
    one, disliked = nothing.copy(), nothing.copy()
    one[0, 1], disliked[0, 1] = 1.0, -1.0
    for weights in (nothing, one, disliked):
        data = dataset(weights)
        state = model.fit(data, rng())
        vectors = model.item_vectors(state)
        assert vectors.shape == (3, 4)
        assert vectors.dtype == np.float32
        assert len(model.generate(state, request_for(data, [-1, 1]), 5)) == 0
        assert not model.user_vectors(state, request_for(data, [-1])).any()
        assert model.generate(state, request_for(data, []), 5).indptr.tolist() == [0]


@pytest.mark.parametrize("model", [Als(factors=5), Als(mode="explicit", factors=4)])
def test_the_number_of_workers_changes_no_bit(model: Als, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbarec_plugins.row_shards.SHARD_TERMS", 40)
    monkeypatch.setattr("nbarec_plugins.turned.PART_ROWS", 3)
    monkeypatch.setattr("nbarec_plugins.gram.PART_ROWS", 3)
    data, made = dataset(sparse_weights(80, 50)), []
    for workers in (1, 2, 3):
        with working(Work(workers=workers)):
            state = model.fit(data, rng())
            updated = model.update(state, data, data)
            found = model.generate(state, request_for(data), 9)
        made.append([array.tobytes() for array in (state.factors, updated.factors, found.item, found.score)])
    assert made[0] == made[1] == made[2]


def test_fitting_is_deterministic_and_its_arrays_are_read_only() -> None:
    data = dataset(sparse_weights())
    one, other = (Als(factors=4).fit(data, rng()) for _ in range(2))
    assert one.factors.tobytes() == other.factors.tobytes()
    for array in (one.item, one.place, one.factors, one.shared, Als(factors=4).item_vectors(one)):
        assert not array.flags.writeable


def test_a_saved_model_gives_the_same_slates(tmp_path: Path) -> None:
    text = """
nbarec: 1
data:
  {use: music_world, users: 60, songs: 80, days: 30, feedback: {weights: {play: 1, like: 3, playlist_add: 4, skip: -1}}}
candidates:
  - {id: latent, use: als, k: 20, with: {factors: 8}}
  - {id: rated, use: als, k: 20, with: {mode: explicit, factors: 4}}
slate: {k: 5}
"""
    model = Pipeline.from_text(text).fit()
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    users = [*model.data.users.all(), "stranger"]
    for stage in ("latent", "rated"):
        first, second = (one.recommend(users, stage=stage) for one in (model, loaded))
        assert first.item.tobytes() == second.item.tobytes()
        assert first.score.tobytes() == second.score.tobytes()
        assert (first.item[:-1, 0] >= 0).mean() > 0.9
        assert (first.item[-1] == -1).all()


def registered() -> set[str]:
    return {found.component.name for found in registry().registered}


def test_regularization_that_outweighs_everything_leaves_nothing_to_propose() -> None:
    data = dataset(sparse_weights())
    state = Als(factors=4, regularization=1e6).fit(data, rng())
    assert len(state.item) == 0
    assert len(Als(factors=4).generate(state, request_for(data), 5)) == 0


def test_weights_beyond_all_measure_are_refused_with_advice() -> None:
    weights = sparse_weights()
    weights[:5, 0] = 3e38
    with pytest.raises(ConfigError, match=r"weights reach 3e\+38 in size: cap them with data.feedback.combine.max"):
        Als(factors=4).fit(dataset(weights), rng())


def test_parameters_are_checked_and_the_hook_returns_the_class() -> None:
    with pytest.raises(ValueError, match="confidence has no part in mode: explicit"):
        Als(mode="explicit", confidence=5.0)
    with pytest.raises(ValueError, match="regularization must be more than 0"):
        Als(regularization=0.0)
    assert nbarec_candidate_generators() == [Als]
