"""Where quality is lost: the numbers add up exactly, and agree item by item with why each item is not shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.data import Dataset
from nbarec.model import Model
from nbarec.one_pass import Pass
from nbarec.pipeline import Pipeline
from nbarec.sparse import Csr
from nbarec.stage_losses import EXCLUDED, UNPROPOSED, Fates, StageLosses

ITEMS, USERS = 24, 6
TEXT = """
nbarec: 1
seed: 1
data: {use: music_world}
candidates:
  - {id: similar, use: item_cf, k: SIMILAR}
  - {id: popular, use: popularity, k: POPULAR, when: user.events > WHEN, exclude: EXCLUDE}
rank:
  - {id: mixed, use: blend, keep: KEEP}
  - {id: again, use: boost, keep: 9, with: {where: item.price > 9, multiply: 2}}
filters:
  - {id: cheap, use: require, with: {where: item.price < 15}}
  - {id: kinds, use: max_per, with: {by: kind, max: 1}}
slate: {k: PLACESFALLBACK}
evaluate: {split: {use: random, fraction: 0.4}, metrics: [recall@3]}
"""

worlds = st.fixed_dictionaries(
    {
        "SIMILAR": st.integers(1, ITEMS),
        "POPULAR": st.integers(1, ITEMS),
        "WHEN": st.sampled_from([0, 6]),
        "EXCLUDE": st.sampled_from(["weight > 0", "weight > 1", "weight > 99"]),
        "KEEP": st.integers(1, ITEMS),
        "PLACES": st.sampled_from([1, 3, 8]),
        "FALLBACK": st.sampled_from(["", ", fallback: popular"]),
    }
)


def model_of(drawn: dict[str, object], seed: int) -> Model:
    text = TEXT
    for name, value in drawn.items():
        text = text.replace(name, str(value))
    return Pipeline.from_text(text).fit(shop(seed))


def shop(seed: int) -> Dataset:
    """Sixty events of six users; the last two items nobody touched."""
    rng = np.random.default_rng(seed)
    catalog = {
        "id": np.arange(ITEMS),
        "price": np.arange(ITEMS).astype(float),
        "kind": [f"kind {item % 5}" for item in range(ITEMS)],
    }
    weight = rng.choice([1.0, 2.0, -1.0], 60)
    return Dataset.from_arrays(rng.integers(USERS, size=60), rng.integers(ITEMS - 2, size=60), weight, catalog=catalog)


def everything(model: Model) -> Csr:
    """Every item is relevant to every user: each has a fate."""
    users, items = len(model.data.users), len(model.data.items)
    return Csr.from_pairs(np.repeat(np.arange(users), items), np.tile(np.arange(items), users), None, (users, items))


def fates_of(model: Model, truth: Csr) -> Fates:
    fates = Pass(model).lists(np.arange(len(model.data.users)), model.pipeline.config.slate.k, truth).fates
    assert fates is not None
    return fates


def as_why_says(reason: str) -> str:
    """The fate that a reason of `Model.why` stands for: whether a generator would propose an item if it were asked for
    more is beyond it."""
    cut_by_a_generator = reason in ("below the cut of similar", "below the cut of popular")
    if cut_by_a_generator or reason == "never proposed":
        return UNPROPOSED
    return EXCLUDED if reason == "left out as consumed" else reason.partition(" at rank ")[0]


@settings(max_examples=25, deadline=None)
@given(worlds, st.integers(0, 50))
def test_every_item_is_left_where_why_says_it_is(drawn: dict[str, object], seed: int) -> None:
    model = model_of(drawn, seed)
    fates = fates_of(model, everything(model))
    told = np.array([fates.reasons[reason] for reason in fates.reason]).reshape(-1, ITEMS)
    for user, reasons in zip(model.data.users.all(), told, strict=True):
        why = model.why(user)
        assert [as_why_says(why.outcomes.of_item(item)) for item in range(ITEMS)] == reasons.tolist()


@settings(max_examples=40, deadline=None)
@given(worlds, st.integers(0, 50), st.floats(0.05, 1))
def test_the_numbers_add_up_exactly(drawn: dict[str, object], seed: int, share: float) -> None:
    model = model_of(drawn, seed)
    whole = everything(model)
    kept = np.random.default_rng(seed).random(whole.nnz) < share
    truth = Csr.from_pairs(whole.row_of[kept], whole.indices[kept], None, whole.shape)
    fates, places = fates_of(model, truth), model.pipeline.config.slate.k
    losses = fates.losses(places)
    assert losses.pairs == sum(losses.left.values()) == truth.nnz
    slate = model.recommend(model.data.users.all())
    row = np.broadcast_to(np.arange(len(slate))[:, None], slate.item.shape)
    assert losses.left["in the slate"] == truth.contains(row, slate.item).sum()
    proposed = truth.nnz - losses.left[EXCLUDED] - losses.left[UNPROPOSED]
    assert proposed == np.count_nonzero(fates.proposed.any(axis=1))
    assert max(some for some, _ in losses.generators.values()) <= proposed
    by_two = np.count_nonzero(fates.proposed.all(axis=1))
    assert proposed == by_two + sum(alone for _, alone in losses.generators.values())


def test_every_kind_of_loss_and_what_generators_proposed() -> None:
    drawn = {"SIMILAR": 6, "POPULAR": 18, "WHEN": 0, "EXCLUDE": "weight > 0", "KEEP": 12, "PLACES": 3, "FALLBACK": ""}
    model = model_of(drawn, 3)
    fates = fates_of(model, everything(model))
    assert set(fates.reason.tolist()) == set(range(len(fates.reasons)))
    for at, stage in enumerate(("similar", "popular")):
        own = model.recommend(model.data.users.all(), stage=stage)
        proposed = fates.proposed[:, at].reshape(-1, ITEMS)
        for row, items in zip(proposed, own.item, strict=True):
            assert set(np.flatnonzero(row)) == set(items[items >= 0])


def test_batches_give_the_same_fates_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {"SIMILAR": 6, "POPULAR": 9, "WHEN": 0, "EXCLUDE": "weight > 0", "KEEP": 5, "PLACES": 8, "FALLBACK": ""}
    model = model_of(drawn, 4)
    whole = fates_of(model, everything(model))
    monkeypatch.setattr(Model, "batch_size", lambda _: 2)
    parted = fates_of(model, everything(model))
    assert parted.reason.tolist() == whole.reason.tolist()
    assert parted.proposed.tolist() == whole.proposed.tolist()


def test_the_tables() -> None:
    left = {EXCLUDED: 0, UNPROPOSED: 50, "below the cut of mixed": 10, "below the slate": 20, "in the slate": 20}
    losses = StageLosses(10, left, {"similar": (40, 30), "popular": (20, 10)})
    assert losses.rows() == [
        ["step", "items", "share", "still there"],
        ["relevant and held out", "100", "", "100.0%"],
        ["left out by every generator", "0", "0.0%", "100.0%"],
        ["proposed by no generator", "50", "50.0%", "50.0%"],
        ["below the cut of mixed", "10", "10.0%", "40.0%"],
        ["below the slate's 10 places", "20", "20.0%", "20.0%"],
        ["in the slate", "20", "20.0%", ""],
    ]
    assert losses.generator_rows()[1:] == [
        ["similar", "40", "40.0%", "30", "30.0%"],
        ["popular", "20", "20.0%", "10", "10.0%"],
    ]
    assert losses.plus(losses) == StageLosses(
        10, {name: 2 * n for name, n in left.items()}, {"similar": (80, 60), "popular": (40, 20)}
    )
    assert losses.to_json()["relevant"] == 100
    assert losses.to_json()["generators"]["similar"] == {"proposed": 40, "alone": 30}


def test_an_evaluation_tells_of_losses_unless_it_is_told_not_to() -> None:
    drawn = {"SIMILAR": 6, "POPULAR": 9, "WHEN": 0, "EXCLUDE": "weight > 0", "KEEP": 5, "PLACES": 3, "FALLBACK": ""}
    pipeline = model_of(drawn, 4).pipeline
    assert pipeline.plan is not None
    found, _ = pipeline.plan.run(pipeline, shop(4))
    assert found.losses is not None
    assert sum(found.to_json()["stage_losses"]["left"].values()) == found.losses.pairs > 0
    silent = replace(pipeline, plan=replace(pipeline.plan, stage_losses=False))
    assert silent.plan is not None
    other, _ = silent.plan.run(silent, shop(4))
    assert other.losses is None
    assert other.to_json()["metrics"] == found.to_json()["metrics"]
