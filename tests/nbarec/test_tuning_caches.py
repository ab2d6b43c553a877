"""Trials take from those before what they leave as it was, and get what they would have learnt themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nbarec.arrays import Floats32, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.fit_cache import FitCache, Recent, data_digest
from nbarec.one_pass import Pass
from nbarec.pipeline import Pipeline
from nbarec.stages import AnyStage, Fitted
from nbarec.trials import Kept, TrialPipeline

TEXT = """
nbarec: 1
seed: 3
data: {use: music_world, feedback: {decay: {half_life: 30d}}}
candidates:
  - {id: one, use: counted, k: 6}
  - {id: two, use: counted, k: 6, with: {power: 0.5}}
  - {id: similar, use: item_cf, k: 8}
rank:
  - {id: mixed, use: blend, keep: 9, with: {weights: {one: 1.0, two: 0.5, similar: 1.0}}}
  - {id: learnt, use: stack}
slate: {k: 4, fallback: one}
"""

asked: list[str] = []


@dataclass(frozen=True)
class CountedState:
    """How often each item is there."""

    score: Floats32


@dataclass(frozen=True)
class Counted(CandidateGenerator[CountedState]):
    """The most frequent items; tells how often it was asked for what."""

    name: ClassVar[str] = "counted"
    power: float = param(1.0, doc="Of the counts.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> CountedState:
        asked.append("fit")
        return CountedState(frozen((data.item_counts**self.power).astype(np.float32)))

    def generate(self, state: CountedState, request: Request, limit: int) -> Candidates:
        asked.extend(["generate"] * min(len(request), 1))
        score = np.broadcast_to(state.score, (len(request), len(state.score))).copy()
        score[request.excluded.row_of, request.excluded.indices] = -1
        item = np.argsort(-score, axis=1, kind="stable")[:, :limit]
        kept = np.take_along_axis(score, item, axis=1) >= 0
        indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        return Candidates(
            frozen(indptr), frozen(item[kept].astype(np.int32)), frozen(score[np.nonzero(kept)[0], item[kept]])
        )


@pytest.fixture(autouse=True)
def _plugged(plug: Callable[..., None]) -> Iterator[None]:
    plug(Counted)
    asked.clear()
    yield
    asked.clear()


def world(seed: int = 2) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset.from_arrays(rng.integers(0, 30, 500), rng.integers(0, 25, 500), time=rng.integers(1, 10**7, 500))


def kept(folder: Path, worth: float = 0.0) -> Kept:
    folder.mkdir(parents=True, exist_ok=True)
    return Kept(FitCache(folder, 2**24, 2**24, worth), Recent(2**24))


def slates(pipeline: Pipeline, data: Dataset) -> tuple[bytes, bytes]:
    model = pipeline.trial(data) if isinstance(pipeline, TrialPipeline) else pipeline.fit(data)
    slate, _ = Pass(model).slates(np.arange(len(data.users)), 4)
    return slate.item.tobytes(), slate.score.tobytes()


def test_what_a_trial_leaves_as_it_is_is_neither_fitted_nor_asked_again(tmp_path: Path) -> None:
    pipeline, data, share = (
        Pipeline.from_text(TEXT.replace("\n  - {id: learnt, use: stack}", "")),
        world(),
        kept(tmp_path),
    )
    slates(TrialPipeline.trying(pipeline, share), data)
    first = len(asked)
    assert asked.count("fit") == 2
    other = pipeline.with_values({"rank.mixed.with.weights.two": 0.9})
    slates(TrialPipeline.trying(other, share), data)
    assert len(asked) == first
    other = pipeline.with_values({"candidates.two.with.power": 0.7})
    slates(TrialPipeline.trying(other, share), data)
    assert asked[first:].count("fit") == 1
    again = len(asked)
    slates(TrialPipeline.trying(other, kept(tmp_path)), data)  # as after a restart: states from disk
    assert "fit" not in asked[again:]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"rank.mixed.with.weights.two": 0.9},
        {"candidates.two.with.power": 0.7},
        {"candidates.one.k": 3},
        {"candidates.similar.history": "time > 5000000"},
        {"candidates.similar.exclude": "time > 5000000"},
        {"candidates.two.when": "user.events > 15"},
        {"data.feedback.decay.half_life": "5d"},
        {"rank.mixed.keep": 5},
        {"slate.k": 3},
    ],
)
def test_a_trial_gives_what_a_plain_fit_gives(values: dict[str, object], tmp_path: Path) -> None:
    pipeline, data, share = Pipeline.from_text(TEXT), world(), kept(tmp_path)
    slates(TrialPipeline.trying(pipeline, share), data)
    other = pipeline.with_values(values)
    plain = slates(other, data)
    assert slates(TrialPipeline.trying(other, share), data) == plain
    assert slates(TrialPipeline.trying(other, kept(tmp_path)), data) == plain


def test_datasets_are_told_apart_by_all_a_stage_can_learn_from() -> None:
    data = world()
    events = data.events
    weight = events.weight.copy()
    weight[3] = 2
    others = [
        data.with_events(replace(events, weight=weight)),
        replace(data, as_of=data.as_of + 1),
        data.with_events(events.where(np.arange(len(events)) != 7)),
        world(seed=4),
    ]
    assert len({data_digest(one) for one in (data, *others)}) == 5
    assert data_digest(world()) == data_digest(replace(data, files=()))


def stage_of(text: str = TEXT) -> AnyStage:
    return Pipeline.from_text(text).stages.generators[0]


def state(size: int, seconds: float = 1.0, failed: str = "") -> Fitted:
    return Fitted(CountedState(frozen(np.arange(size, dtype=np.float32))), 5, seconds, failed)


def test_states_on_disk_stay_within_their_room_and_the_last_used_stay(tmp_path: Path) -> None:
    cache = FitCache(tmp_path, 0, 3 * 6000, 0.0)
    for name in ("aa", "bb", "aa", "cc", "aa", "dd"):
        cache.fitted(name, stage_of(), lambda: state(1000))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert "aa" in left
    assert "dd" in left
    assert "bb" not in left
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 3 * 6000
    found = cache.fitted("aa", stage_of(), lambda: pytest.fail("it is on disk"))
    assert np.array_equal(found.state.score, np.arange(1000))
    assert (found.n_items, found.seconds) == (5, 1.0)


def test_a_state_that_is_damaged_is_learnt_again(tmp_path: Path) -> None:
    FitCache(tmp_path, 0, 2**20, 0.0).fitted("aa", stage_of(), lambda: state(1000))
    (file,) = tmp_path.rglob("*.npy")
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(whole)
    found = FitCache(tmp_path, 0, 2**20, 0.0).fitted("aa", stage_of(), lambda: state(7))
    assert len(found.state.score) == 7
    (tmp_path / "bb").mkdir()
    assert len(FitCache(tmp_path, 0, 2**20, 0.0).fitted("bb", stage_of(), lambda: state(8)).state.score) == 8


def test_failures_are_not_kept_and_what_is_quickly_learnt_is_not_written(tmp_path: Path) -> None:
    cache = FitCache(tmp_path, 2**20, 2**20, 0.5)
    assert cache.fitted("aa", stage_of(), lambda: state(3, failed="no")).failed == "no"
    assert cache.fitted("aa", stage_of(), lambda: state(4, seconds=0.1)).failed == ""
    assert not list(tmp_path.iterdir())
    assert len(cache.fitted("aa", stage_of(), lambda: pytest.fail("it is in memory")).state.score) == 4


def test_the_least_recently_used_is_forgotten_first() -> None:
    recent: Recent[int] = Recent(10)
    for key, size in (("a", 4), ("b", 4)):
        recent.put(key, ord(key), size)
    assert recent.get("a") == ord("a")
    recent.put("c", ord("c"), 4)
    recent.put("d", ord("d"), 11)
    assert [recent.get(key) for key in "abcd"] == [ord("a"), None, ord("c"), None]
    assert recent.held == 8
