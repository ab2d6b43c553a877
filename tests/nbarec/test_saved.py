"""Saved models: the same slates again, and clear words where something does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import nbarec
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator
from nbarec.data import Dataset
from nbarec.errors import StoreError
from nbarec.kernels import best_first
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.plugins import registry
from nbarec.saved import Recorded, load_model, recorded
from nbarec.store import open_model

Plug = Callable[..., None]


@dataclass(frozen=True)
class Order:
    """A score for each item."""

    score: np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Shuffled(CandidateGenerator[Order]):
    """Proposes every item in an order of its own."""

    name: ClassVar[str] = "shuffled"
    state_version: ClassVar[int] = 3

    def fit(self, data: Dataset, rng: np.random.Generator) -> Order:
        return Order(rng.random(len(data.items)))

    def generate(self, state: Order, request: Request, limit: int) -> Candidates:
        row, item = (index.ravel() for index in np.indices((len(request), request.n_items)))
        allowed = ~request.excluded.contains(row, item)
        return best_first(row[allowed], item[allowed], state.score[item[allowed]], len(request), limit)


TEXT = """
nbarec: 1
data: {use: music_world, users: 20, songs: 30}
candidates: [{id: any, use: shuffled, k: 5}]
"""


def same_slates(one: Model, other: Model) -> None:
    users = [*one.data.users.all(), "stranger"]
    for stage in (None, one.pipeline.stages.generators[0].id):
        first, second = (model.recommend(users, stage=stage, context={"device": "mobile"}) for model in (one, other))
        assert first.item.tobytes() == second.item.tobytes()
        assert first.score.tobytes() == second.score.tobytes()
        assert first.decision == second.decision


@pytest.fixture
def folder(plug: Plug, tmp_path: Path) -> Path:
    """A saved model of the pipeline with a plugin's stage."""
    plug(Shuffled)
    return Pipeline.from_text(TEXT).fit().save(tmp_path / "model")


def without_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pipeline", "saved"):
        monkeypatch.setattr(f"nbarec.{module}.registry", registry)


@pytest.mark.parametrize("verify", [True, False])
def test_a_loaded_model_gives_the_slates_of_the_saved_one(music_model: Model, tmp_path: Path, verify: bool) -> None:
    assert music_model.save(tmp_path / "model") == tmp_path / "model"
    loaded = load_model(tmp_path / "model", verify=verify)
    same_slates(loaded, music_model)
    history = music_model.data.items.take([4])
    assert loaded.recommend(history=history).items == music_model.recommend(history=history).items


def test_digests_are_checked_the_first_time_and_when_asked_for(music_model: Model, tmp_path: Path) -> None:
    music_model.save(tmp_path / "model")
    load_model(tmp_path / "model")
    file = max((tmp_path / "model").glob("*/*.npy"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    load_model(tmp_path / "model")
    with pytest.raises(StoreError, match="other contents than were written"):
        load_model(tmp_path / "model", verify=True)


def test_how_much_of_the_machine_is_used_can_be_changed_in_a_fitted_model(music_model: Model, tmp_path: Path) -> None:
    music_model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model", overrides={"engine.workers": 3})
    assert loaded.pipeline.config.engine.work.workers == 3
    same_slates(loaded, music_model)


def test_saving_again_replaces_the_model(music_model: Model, tmp_path: Path, plug: Plug) -> None:
    plug(Shuffled)
    Pipeline.from_text(TEXT).fit().save(tmp_path / "model")
    music_model.save(tmp_path / "model")
    same_slates(nbarec.load(tmp_path / "model"), music_model)
    nbarec.load(tmp_path / "model").save(tmp_path / "copy")
    same_slates(nbarec.load(tmp_path / "copy"), music_model)


def test_a_plugins_stage_is_saved_and_loaded_like_any(folder: Path) -> None:
    same_slates(load_model(folder), Pipeline.from_text(TEXT).fit())


def test_a_missing_plugin_is_named_with_stage_component_distribution_and_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_plugin(monkeypatch)
    with pytest.raises(StoreError) as raised:
        load_model(folder)
    assert "stage any uses shuffled of nbarec-other==1.2 (entry point other): " in str(raised.value)
    assert str(folder) in str(raised.value)


def test_a_state_of_another_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shuffled, "state_version", 4)
    with pytest.raises(
        StoreError, match=r"shuffled of nbarec-other==1.2 \(entry point other\), whose state was of version 3"
    ):
        load_model(folder)


def test_the_manifest_is_read_without_any_plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_plugin(monkeypatch)
    stored = open_model(folder)
    assert recorded(stored.meta, folder) == [
        Recorded(
            "any",
            "candidates",
            "shuffled",
            "nbarec-other",
            "1.2",
            3,
            30,
            stored.meta["stages"][0]["seconds"],
            "",
            "other",
        )
    ]
    assert stored.meta["counts"]["users"] == 20
    assert stored.meta["counts"]["items"] == 30
    assert len(stored.meta["config_sha256"]) == 64
    assert "shuffled" in stored.meta["config"]


def test_a_manifest_without_stages_is_refused() -> None:
    with pytest.raises(StoreError, match="the manifest does not list its stages"):
        recorded({}, "model")
    with pytest.raises(StoreError, match="the manifest does not list its stages"):
        recorded({"stages": [{"id": "a", "colour": "blue"}]}, "model")


def test_a_manifest_that_does_not_tell_entry_points_is_read(folder: Path) -> None:
    meta = open_model(folder).meta
    stages = [{name: value for name, value in stage.items() if name != "entry"} for stage in meta["stages"]]
    (stage,) = recorded({**meta, "stages": stages}, folder)
    assert stage.who == "stage any uses shuffled of nbarec-other==1.2"


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="none"):
        load_model(tmp_path / "none")


def test_a_damaged_state_is_refused(music_model: Model, tmp_path: Path) -> None:
    music_model.save(tmp_path / "model")
    largest = max((tmp_path / "model").rglob("*.npy"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-3] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=largest.name):
        load_model(tmp_path / "model")


def test_the_manifest_names_no_module_and_no_path(music_model: Model, tmp_path: Path) -> None:
    music_model.save(tmp_path / "model")
    (manifest,) = (tmp_path / "model").rglob("manifest.json")
    text = manifest.read_text()
    assert "nbarec_plugins" not in text
    assert str(tmp_path) not in text
    assert [stage["id"] for stage in json.loads(text)["meta"]["stages"]] == list(music_model.fitted)
