"""New events for a fitted model: what can be updated equals a refit, and what can't serves on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32
from nbarec.batch import Candidates, Pool, Request
from nbarec.components import CandidateGenerator, Ranker
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.joining import join_datasets
from nbarec.kernels import best_first
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.saved import load_model
from nbarec.states import flatten
from nbarec_plugins.music_simulation import simulate, write_csv

Plug = Callable[..., None]


@dataclass(frozen=True)
class Counts:
    """How many events each item has."""

    count: np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Rigid(CandidateGenerator[Counts]):
    """The most played items; it can't be updated."""

    name: ClassVar[str] = "rigid"

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counts:
        return Counts(data.item_counts)

    def generate(self, state: Counts, request: Request, limit: int) -> Candidates:
        if request.n_items != len(state.count):
            raise ValueError(f"asked for {request.n_items} items, fitted on {len(state.count)}")
        row, item = (index.ravel() for index in np.indices((len(request), request.n_items)))
        allowed = ~request.excluded.contains(row, item)
        return best_first(row[allowed], item[allowed], state.count[item[allowed]] * 1.0, len(request), limit)


@dataclass(frozen=True)
class RigidRanker(Ranker[Counts]):
    """The most played first; it can't be updated."""

    name: ClassVar[str] = "rigid_ranker"

    def fit(self, data: Dataset, rng: np.random.Generator) -> Counts:
        return Counts(data.item_counts)

    def rank(self, state: Counts, request: Request, pool: Pool) -> Floats32:
        return state.count[pool.item].astype(np.float32)


TEXT = """
nbarec: 1
data:
  use: music_world
  users: 40
  songs: 50
  days: 20
  feedback:
    weights: {play: 1, like: 3, playlist_add: 4, skip: -0.5}
    success: seconds >= 30
    combine: {by: sum, max: 5}
candidates:
  - {id: similar, use: item_cf, k: 30, with: {neighbors: 10}}
  - {id: popular, use: popularity, k: 30, with: {half_life: 10d}}
  - {id: alike, use: content, k: 30, with: {fields: {genre: 1, tempo: 1}}}
rank: [{use: blend}]
slate: {k: 8}
"""
TEA = "nbarec: 1\ndata: {use: music_world}\ncandidates: [{id: old, use: rigid}, {id: similar, use: item_cf}]\n"


def tea(*pairs: str) -> Dataset:
    """Events such as `ann:tea`."""
    return Dataset.from_arrays(*zip(*(pair.split(":") for pair in pairs), strict=True))


def parts_of(data: Dataset) -> tuple[Dataset, Dataset]:
    """The first three quarters of the events by time, and the rest."""
    late = data.events.time > np.quantile(data.events.time, 0.75)
    first = data.with_events(data.events.where(~late))
    return replace(first, as_of=int(first.events.time.max())), data.with_events(data.events.where(late))


def bytes_of(state: object) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in flatten(state)[0].items()}


def same_model(found: Model, expected: Model) -> None:
    """Equal states and equal slates, to the bit."""
    for stage, fitted in expected.fitted.items():
        assert bytes_of(found.fitted[stage].state) == bytes_of(fitted.state), stage
        assert found.fitted[stage].n_items == fitted.n_items
    users = [*expected.data.users.all(), "stranger"]
    for own in (None, *(generator.id for generator in expected.pipeline.stages.generators)):
        slates = [model.recommend(users, stage=own) for model in (found, expected)]
        assert slates[0].item.tobytes() == slates[1].item.tobytes()
        assert slates[0].score.tobytes() == slates[1].score.tobytes()


def test_an_updated_model_equals_a_refit_on_everything() -> None:
    pipeline = Pipeline.from_text(TEXT)
    first, new = parts_of(pipeline.load())
    grown, told = pipeline.fit(first).update(new)
    assert told == {"similar": "updated", "popular": "updated", "alike": "updated", "blend": "learns nothing"}
    same_model(grown, pipeline.fit(join_datasets(first, new)[0]))
    assert grown.data.as_of == new.as_of


def test_new_users_items_and_events_from_a_file_of_the_music_world(tmp_path: Path) -> None:
    pipeline = Pipeline.from_text(TEXT)
    model = pipeline.fit()
    paths = write_csv(simulate(8, 50, 20, seed=5), tmp_path)
    rows = list(csv.DictReader(paths["events"].read_text().splitlines()))
    for row in rows:
        row["user_id"] = "new-" + row["user_id"]
        row["song_id"] = row["song_id"].replace("S000", "S900")  # songs that the model has never heard of
    with (tmp_path / "new.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    new = pipeline.data_source().events_from(tmp_path / "new.csv")
    assert len(new.events) == len(rows)
    assert not np.isnan(new.events.columns["length"].values).all()  # type: ignore[union-attr]
    grown, _ = model.update(new)
    assert len(grown.data.users) == 40 + len(new.users)
    assert len(grown.data.items) > 50
    same_model(grown, pipeline.fit(join_datasets(pipeline.load(), new)[0]))
    fan = rows[0]["user_id"]
    assert grown.recommend([fan]).trace.road(0).startswith("known user, ")
    assert model.recommend([fan]).trace.road(0).startswith("unknown user, no history")
    shown = {item for items in grown.recommend(grown.data.users.all(), k=30).items for item in items}
    assert any(str(item).startswith("S900") for item in shown)


def test_a_generator_that_cannot_be_updated_serves_on_what_it_knew(plug: Plug, tmp_path: Path) -> None:
    plug(Rigid)
    model = Pipeline.from_text(TEA).fit(tea("ann:tea", "ann:milk", "bob:tea", "bob:rum", "cat:milk"))
    grown, told = model.update(tea("dan:cola", "bob:cola", "dan:tea"))
    assert told["old"].startswith("unchanged: it can't be updated")
    assert told["similar"] == "updated"
    assert grown.fitted["old"].n_items == 3
    assert grown.recommend(["dan"], stage="old").items == [["milk", "rum"]]
    assert "cola" in grown.recommend(["ann"]).items[0]
    grown.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    same_model(loaded, grown)
    again, _ = loaded.update(tea("eve:gin", "eve:cola"))
    assert again.fitted["old"].n_items == 3
    assert again.recommend(["eve"], stage="old").items == [["milk", "tea", "rum"]]
    assert again.recommend(history=["gin"], stage="similar").items == [["cola"]]


def test_a_ranker_that_cannot_be_updated_may_only_meet_items_that_it_knows(plug: Plug) -> None:
    plug(RigidRanker)
    text = "nbarec: 1\ndata: {use: music_world}\ncandidates: [{use: popularity}]\nrank: [{id: best, use: rigid_ranker}]"
    model = Pipeline.from_text(text).fit(tea("ann:tea", "ann:milk", "bob:tea"))
    grown, told = model.update(tea("bob:milk", "cat:milk"))
    assert told["best"].startswith("unchanged")
    assert grown.recommend(["eve"]).items == [["tea", "milk"]]
    with pytest.raises(
        ConfigError, match=r"rank.best \(rigid_ranker of nbarec-other:other 1.2\) can't be updated, and the"
    ):
        model.update(tea("bob:cola"))


def test_the_old_model_is_as_it_was() -> None:
    pipeline = Pipeline.from_text(TEXT)
    first, new = parts_of(pipeline.load())
    model = pipeline.fit(first)
    before = model.recommend(model.data.users.all())
    model.update(new)
    assert model.recommend(model.data.users.all()).item.tobytes() == before.item.tobytes()
