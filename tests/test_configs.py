"""Every shipped config runs: fit, evaluate where it says so, recommend; and its lists are worth having."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nbarec.marked import to_plain
from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation

CONFIGS = Path(__file__).parents[1] / "configs"
OF_THE_MUSIC_WORLD = {
    "minimal": {"data.users": 80, "data.songs": 60},
    "music": {"data.users": 120, "data.songs": 90},
    "rules": {"data.users": 80, "data.songs": 90},
    "cold_start": {"data.users": 200, "data.songs": 90},
    "diversity": {"data.users": 120, "data.songs": 90},
}
OF_FILES = ("seed_music", "movielens", "movielens_learned", "lastfm")
SMALLER = {"movielens_learned": {"candidates.pairs.with.epochs": 2, "rank.liked.with.held_out.users": 300}}
"""What takes long even on little data."""
ELSEWHERE = ("frappe",)
"""Those with a test file of their own."""

RE_ORDERING = ("Mmr", "Dpp", "Calibrate", "Spacing", "Pin")
"""Filters that move items: behind them slates do not stand in the order of scores."""


def test_every_config_is_in_one_of_these_lists() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*OF_THE_MUSIC_WORLD, *OF_FILES, *ELSEWHERE}


def check_slates(model: Model) -> None:
    """Known users get full slates of different items; a stranger too, unless a rule denies what is unknown."""
    users = [*model.data.users.take(np.arange(5)), "nobody we know"]
    places = model.pipeline.config.slate.k
    slate = model.recommend(users)
    strict = "licensed" in slate.removed and slate.decision[5] != ""
    for row, items in enumerate(slate.items[: 5 if strict else 6]):
        assert len(items) == len(set(items)) == places, slate.decision[row]
    assert strict == (model.pipeline.root.entries["data"].mark.source.endswith("rules.yaml"))
    if strict:
        assert slate.items[5] == []
        assert re.match(r"empty: (\d+) candidates; licensed removed \1", slate.decision[5])
        told = model.recommend(["nobody we know"], context={"country": "US"})
        assert len(told.items[0]) == places, told.decision[0]
    moved = any(type(stage.component).__name__ in RE_ORDERING for stage in model.pipeline.stages.filters)
    assert moved or not (np.diff(slate.score, axis=1) > 0).any()
    assert slate.trace.road(5).startswith("unknown user, no history; candidates: ")


@pytest.mark.parametrize("name", OF_THE_MUSIC_WORLD)
def test_the_configs_of_the_music_world_run_without_any_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline.from_yaml(CONFIGS / f"{name}.yaml", OF_THE_MUSIC_WORLD[name])
    monkeypatch.chdir(tmp_path)
    check_slates(pipeline.fit())
    assert list(tmp_path.iterdir()) == []
    if name == "music":
        evaluation = evaluated(pipeline)
        assert {"similar", "people", "latent", "next", "alike", "fresh", "trending", "mixed"} < set(evaluation.stages)
        assert evaluation.metrics["hit_rate@10"].mean > 0.1


def evaluated(pipeline: Pipeline) -> Evaluation:
    assert pipeline.plan is not None
    return pipeline.plan.run(pipeline, pipeline.load())[0]


@pytest.mark.parametrize("name", OF_FILES)
def test_the_configs_of_files_run(name: str, data_folder: Path) -> None:
    check_slates(Pipeline.from_yaml(CONFIGS / f"{name}.yaml", SMALLER.get(name, {})).fit())


def test_the_rules_hold_in_every_slate_of_the_rules_config() -> None:
    model = Pipeline.from_yaml(CONFIGS / "rules.yaml", OF_THE_MUSIC_WORLD["rules"]).fit()
    data = model.data
    slate = model.recommend(data.users.all(), context={"hour": 8, "device": "mobile"})
    artist, genre = (data.catalog.labels(name, range(len(data.items))) for name in ("artist", "genre"))
    energy = data.catalog.columns["energy"].values  # type: ignore[union-attr]
    explicit = data.catalog.columns["explicit"].values  # type: ignore[union-attr]
    age = data.audience.columns["age"].values  # type: ignore[union-attr]
    recent = data.events.time > data.as_of - 14 * 86_400
    recent &= data.events.weight > 0
    heard = set(zip(data.events.row[recent].tolist(), data.events.item[recent].tolist(), strict=True))
    for user, row in enumerate(slate.item):
        items = row[row >= 0].tolist()
        assert all(energy[item] <= 0.9 for item in items)
        assert all(not explicit[item] or age[user] >= 18 for item in items)
        assert not heard & {(user, item) for item in items}
        for names, most in ((artist, 2), (genre, 4)):
            shown = [names[item] for item in items]
            assert max(map(shown.count, shown), default=0) <= most
    assert (slate.item >= 0).mean() > 0.8


def test_the_learned_ranker_of_movielens_starts_from_the_data_and_the_blend_of_movielens() -> None:
    names = "movielens", "movielens_learned"
    plain, learned = (to_plain(Pipeline.from_yaml(CONFIGS / f"{name}.yaml").root) for name in names)
    for section in ("seed", "data", "slate", "evaluate"):
        assert learned[section] == plain[section]
    assert learned["candidates"][: len(plain["candidates"])] == plain["candidates"]
    assert learned["rank"][0] == plain["rank"][0]
    held_out = learned["rank"][1]["with"]["held_out"]
    assert held_out["relevant"] == plain["evaluate"]["relevant"]
    assert held_out["split"] == plain["evaluate"]["split"]["use"]


def test_artists_and_tags_of_lastfm_have_names(data_folder: Path) -> None:
    data = Pipeline.from_yaml(CONFIGS / "lastfm.yaml").load()
    radiohead = data.catalog.labels("name", range(len(data.items))).index("Radiohead")
    assert "alternative" in data.catalog.labels("tags", [radiohead])[0].split("|")
