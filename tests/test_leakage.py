"""No leakage: whatever the held-out events are, the slates of the evaluation's model stay the same, to the bit."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbarec.arrays import frozen
from nbarec.data import Dataset
from nbarec.evaluation_plan import SPLIT_STREAM, EvaluationPlan
from nbarec.events import Events
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.splits import Given, Holdout
from nbarec.tables import NumberColumn
from nbarec_plugins.music_simulation import simulate, write_csv

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
    decay: {half_life: 10d}
candidates:
  - {id: similar, use: item_cf, k: 30, with: {neighbors: 10}}
  - {id: popular, use: popularity, k: 30, with: {window: 15d, by: context.device, min_events: 0}}
  - {id: alike, use: content, k: 30, history: weight > 1, with: {fields: {genre: 1, tempo: 1}}}
rank:
  - id: mixed
    use: blend
    with: {weights: {similar: 1, popular: 0.5}, cases: [{when: item.events < 4, weights: {alike: 1}}]}
filters: [{id: rested, use: exclude_consumed, with: {within: 3d}}]
slate: {k: 8, fallback: popular}
evaluate: {split: SPLIT, metrics: [ndcg@10]}
"""
SPLITS = (
    "{use: last_fraction, fraction: 0.3}",
    "{use: leave_last_out}",
    "{use: global_time, fraction: 0.3}",
    "{use: random, fraction: 0.3}",
    "{use: k_fold, folds: 2, by: events}",
)


def plan_of(pipeline: Pipeline) -> EvaluationPlan:
    assert pipeline.plan is not None
    return pipeline.plan


def scrambled(events: Events, mask: np.ndarray, rng: np.random.Generator) -> Events:
    """Other items, values, kinds and seconds for the events of the mask; users and times stay."""
    seconds = events.columns["seconds"]
    assert isinstance(seconds, NumberColumn)
    drawn: dict[str, Any] = {
        "item": rng.integers(0, events.n_items, len(events)).astype(np.int32),
        "value": rng.random(len(events)).astype(np.float32),
        "weight": rng.random(len(events)).astype(np.float32),
        "kind": rng.integers(0, len(events.kinds), len(events)).astype(np.int16),
    }
    others: dict[str, Any] = {
        name: frozen(np.where(mask, values, getattr(events, name))) for name, values in drawn.items()
    }
    heard = NumberColumn(frozen(np.where(mask, rng.random(len(events)) * 300, seconds.values)))
    return replace(events, columns={**events.columns, "seconds": heard}, **others)


def slates_of(model: Model) -> bytes:
    """All slates and lists of the model, in bytes."""
    users = model.data.users.all()
    asked = [None, *(stage.id for stage in model.pipeline.stages.generators)]
    slates = [model.recommend(users, stage=stage, context={"device": "mobile"}) for stage in asked]
    return b"".join(slate.item.tobytes() + slate.score.tobytes() for slate in slates)


def learnt_by(model: Model) -> dict[str, bytes]:
    """Everything that the stages learnt, and what the model knows of the past, in bytes by name."""
    arrays: dict[str, bytes] = {}
    for stage, fitted in model.fitted.items():
        arrays |= {f"{stage}{path}": array for path, array in leaves(fitted.state)}
    events = model.data.events
    arrays["history"] = b"".join(part.tobytes() for part in (events.indptr, events.item, events.weight, events.time))
    arrays["clock"] = str(model.data.as_of).encode()
    return arrays


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, bytes]]:
    """The arrays and plain values of a state, by where they stand in it."""
    if is_dataclass(value):
        for one in fields(value):
            yield from leaves(getattr(value, one.name), f"{path}.{one.name}")
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from leaves(part, f"{path}[{name}]")
    elif isinstance(value, tuple):
        for at, part in enumerate(value):
            yield from leaves(part, f"{path}[{at}]")
    elif isinstance(value, np.ndarray):
        yield path, value.tobytes()
    else:
        yield path, repr(value).encode()


def honest(pipeline: Pipeline, data: Dataset) -> Model:
    """The model of the evaluation."""
    return plan_of(pipeline).run(pipeline, data)[1]


def peeking(pipeline: Pipeline, data: Dataset) -> Model:
    """A model that knows what is held out."""
    return pipeline.fit(data)


def leaking(pipeline: Pipeline, data: Dataset) -> Model:
    """The model of an evaluation with a planted leak: one held-out event in a hundred stays in the training part."""
    honestly = EvaluationPlan.held_out

    def held_out(self: EvaluationPlan, pipeline: Pipeline, data: Dataset, fold: int = 0) -> Holdout:
        kept = ~mask_of(pipeline, data, fold)
        kept[np.flatnonzero(~kept)[::100]] = True
        cut = honestly(self, pipeline, data, fold)
        return replace(cut, train=cut.train.with_events(data.events.where(kept)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluationPlan, "held_out", held_out)
        return honest(pipeline, data)


def mask_of(pipeline: Pipeline, data: Dataset, fold: int) -> np.ndarray:
    """Which events one fold of the evaluation holds out."""
    split = plan_of(pipeline).split
    assert not isinstance(split, Given)
    return split.fold_mask(data, np.random.default_rng([pipeline.config.seed, SPLIT_STREAM]), fold)


def scrambling_changes(text: str, fit: Callable[[Pipeline, Dataset], Model]) -> list[str]:
    """What of the evaluation's model, that of the last fold, is not the same to the bit when the events that are held
    out from it are others."""
    pipeline = Pipeline.from_text(text)
    data, split = pipeline.load(), plan_of(pipeline).split
    assert not isinstance(split, Given)
    mask = mask_of(pipeline, data, split.fold_count - 1)
    assert 0 < mask.sum() < len(mask)
    other = data.with_events(scrambled(data.events, mask, np.random.default_rng(3)))
    assert (other.events.item[mask] != data.events.item[mask]).mean() > 0.8
    first, second = fit(pipeline, data), fit(pipeline, other)
    known, learnt = learnt_by(first), learnt_by(second)
    assert known.keys() == learnt.keys()
    changed = [name for name, array in known.items() if learnt[name] != array]
    return changed + ["slates"] * (slates_of(first) != slates_of(second))


@pytest.mark.parametrize("split", SPLITS)
def test_scrambling_the_held_out_events_moves_nothing_in_the_fitted_model(split: str) -> None:
    assert scrambling_changes(TEXT.replace("SPLIT", split), honest) == []


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_check_catches_a_model_that_knows_the_held_out_events(split: str) -> None:
    changed = scrambling_changes(TEXT.replace("SPLIT", split), peeking)
    assert {"history", "slates"} <= set(changed)
    assert any(name.startswith("similar.") for name in changed)


@pytest.mark.parametrize("split", SPLITS)
def test_a_planted_leak_is_caught(split: str) -> None:
    changed = scrambling_changes(TEXT.replace("SPLIT", split), leaking)
    assert "history" in changed
    assert any(name.startswith(("similar.", "popular.")) for name in changed)


def test_scrambling_a_given_file_changes_no_slate_and_the_figures(tmp_path: Path) -> None:
    table = write_csv(simulate(40, 50, 20, seed=9), tmp_path)["events"]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    rng = np.random.default_rng(4)
    found = []
    for name in ("as it is", "scrambled"):
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        pipeline = Pipeline.from_text(TEXT.replace("SPLIT", f"{{use: given, path: '{path}'}}"))
        evaluation, model = plan_of(pipeline).run(pipeline, pipeline.load())
        found.append((slates_of(model), evaluation.metrics["ndcg@10"].mean, evaluation.holdout[0]))
        songs = rng.permutation([row["song_id"] for row in rows])
        rows = [{**row, "song_id": str(song), "event": "like"} for row, song in zip(rows, songs, strict=True)]
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]
    assert all(f"{len(rows):,} held out" in line for _, _, line in found)


def test_the_clock_of_the_training_part_is_its_own_latest_event() -> None:
    pipeline = Pipeline.from_text(TEXT.replace("SPLIT", SPLITS[2]))
    data = pipeline.load()
    model = honest(pipeline, data)
    holdout = plan_of(pipeline).held_out(pipeline, data)
    assert model.data.as_of == holdout.train.events.time.max() < holdout.test.time.min()
