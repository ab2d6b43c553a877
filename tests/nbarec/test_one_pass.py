"""One pass gives every list that serving one by one gives, and sampled items are drawn as they should be."""

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
from nbarec.sampled_items import with_negatives
from nbarec.sparse import Csr


@pytest.mark.parametrize("k", [3, 6, 35])
def test_every_list_is_what_serving_it_alone_gives(music_model: Model, k: int) -> None:
    users = np.arange(0, len(music_model.data.users), 2)
    asked = music_model.data.users.take(users)
    found = Pass(music_model).lists(users, k)
    stages = music_model.pipeline.stages
    assert list(found.stages) == [*(one.id for one in stages.generators), *(one.id for one in stages.rankers)]
    assert found.fates is None
    assert found.seconds > 0
    for stage, slate in ((None, found.slate), *found.stages.items()):
        alone = music_model.recommend(asked, k=k, stage=stage)
        np.testing.assert_array_equal(slate.item, alone.item)
        np.testing.assert_array_equal(slate.score, alone.score)
        assert slate.users == alone.users
        assert [bool(reason) for reason in slate.decision] == [bool(reason) for reason in alone.decision]
    np.testing.assert_array_equal(Pass(music_model).slates(users, k)[0].item, found.slate.item)


def test_lists_do_not_depend_on_batches_or_workers(music_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Pipeline.from_text(music_text + "engine: {workers: 2}\n").fit()
    users = np.arange(len(model.data.users))
    whole = Pass(model).lists(users, 5)
    monkeypatch.setattr(Model, "batch_size", lambda _: 7)
    parted = Pass(model).lists(users, 5)
    for name, slate in {"": whole.slate, **whole.stages}.items():
        other = parted.stages.get(name, parted.slate)
        np.testing.assert_array_equal(slate.item, other.item)
        np.testing.assert_array_equal(slate.score, other.score)


def test_only_what_is_allowed_is_shown(music_model: Model) -> None:
    users, items = len(music_model.data.users), len(music_model.data.items)
    pairs = np.random.default_rng(3).random((users, items)) < 0.3
    row, item = np.nonzero(pairs)
    allowed = Csr.from_pairs(row, item, None, (users, items))
    found = Pass(music_model, allowed).lists(np.arange(users), 6)
    for slate in (found.slate, *found.stages.values()):
        row, place = np.nonzero(slate.item >= 0)
        assert pairs[row, slate.item[row, place]].all()
    among = music_model.data.items.take(np.arange(0, items, 3))
    alone = music_model.recommend(music_model.data.users.all(), k=6, among=among)
    found = Pass(music_model, among=among).lists(np.arange(users), 6)
    np.testing.assert_array_equal(found.slate.item, alone.item)


pairs_of = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=25)


@settings(max_examples=80, deadline=None)
@given(pairs_of, pairs_of, st.integers(1, 12), st.integers(0, 99))
def test_negatives_are_new_to_the_user_and_as_many_as_asked(
    past: list[tuple[int, int]], found: list[tuple[int, int]], negatives: int, seed: int
) -> None:
    data = Dataset.from_arrays(
        *map(np.array, zip(*past, strict=True)), audience={"id": range(5)}, catalog={"id": range(10)}
    )
    shape = (len(data.users), len(data.items))
    user, item = (np.array(ids) for ids in zip(*found, strict=True))
    truth = Csr.from_pairs(data.users.index(user.tolist()), data.items.index(item.tolist()), None, shape)
    allowed = with_negatives(truth, data.events, negatives, np.random.default_rng(seed)).to_dense() > 0
    relevant, seen = truth.to_dense() > 0, data.events.matrix().to_dense() != 0
    assert allowed[relevant].all()
    drawn = allowed & ~relevant
    assert not (drawn & seen).any()
    assert drawn.sum(axis=1).tolist() == np.minimum(negatives, (~(relevant | seen)).sum(axis=1)).tolist()


def test_every_free_item_is_drawn_equally_often() -> None:
    users, items = 20_000, 6
    data = Dataset.from_arrays(np.arange(users), np.full(users, 2), catalog={"id": range(items)})
    truth = Csr.from_pairs(np.arange(users), np.full(users, 4), None, (users, items))
    allowed = with_negatives(truth, data.events, 2, np.random.default_rng(1)).to_dense()
    assert allowed[:, 2].sum() == 0
    free = np.delete(allowed, [2, 4], axis=1).mean(axis=0)
    assert free == pytest.approx(np.full(4, 0.5), abs=0.02)
    first_two = (free.size, allowed[:, 0] @ allowed[:, 1] / users)
    assert first_two == (4, pytest.approx(1 / 6, abs=0.01))


def test_sampled_lists_are_warned_of_and_marked(music_text: str) -> None:
    asked = "evaluate: {split: {use: random}, metrics: [recall@5]SAMPLED}\n"
    plain = Pipeline.from_text(music_text + asked.replace("SAMPLED", ""))
    drawn = Pipeline.from_text(music_text + asked.replace("SAMPLED", ", sampled: {negatives: 5}"))
    found = []
    for pipeline in (plain, drawn):
        assert pipeline.plan is not None
        found.append(pipeline.plan.run(pipeline, pipeline.load())[0])
    whole, sampled = found
    assert sampled.users == whole.users
    assert sampled.metrics["recall@5"].mean > whole.metrics["recall@5"].mean + 0.2
    assert "Krichene and Rendle 2020" in sampled.holdout[-1]
    assert "sampled" not in " ".join(whole.holdout)
    assert sampled.relevant == f"{whole.relevant}:sampled-5-0"
    again, _ = replace(drawn).plan.run(drawn, drawn.load())  # type: ignore[union-attr]
    assert again.to_json() == sampled.to_json()
