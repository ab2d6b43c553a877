"""The configs of published tables are sound, and run on a small world that is written like the data they name."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nbarec.pipeline import Pipeline

PUBLISHED = sorted((Path(__file__).parents[1] / "configs" / "published").glob("*.yaml"))
USERS, ITEMS, TASTES = 90, 60, 3
SMALLER = {path.stem: {"candidates.bpr.with.epochs": 4} for path in PUBLISHED if "use: bpr" in path.read_text("utf-8")}
"""What takes long even on a small world."""


def write(path: Path, user: np.ndarray, item: np.ndarray) -> None:
    lines = [f"{u},{i}\n" for u, i in zip(user.tolist(), item.tolist(), strict=True)]
    path.write_bytes(gzip.compress(("user_id,item_id\n" + "".join(lines)).encode()))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text, "utf-8")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Users of one of three tastes, who choose most items within it; a fifth of their choices is held out."""
    rng = np.random.default_rng(4)
    chance = np.where(np.arange(USERS)[:, None] % TASTES == np.arange(ITEMS) % TASTES, 0.6, 0.03)
    user, item = np.nonzero(rng.random((USERS, ITEMS)) < chance)
    held_out = rng.random(len(user)) < 0.2
    folder = tmp_path / "gowalla"
    folder.mkdir()
    write(folder / "train.csv.gz", user[~held_out], item[~held_out])
    write(folder / "test.csv.gz", user[held_out], item[held_out])
    lines = [f"{u},{i}\n" for u, i in zip(user.tolist(), item.tolist(), strict=True)]
    write_text(tmp_path / "ml-100k" / "ratings.csv", "user_id,item_id\n" + "".join(lines))
    plays = [line.replace(",", "\t").replace("\n", "\t7\n") for line in lines]
    write_text(tmp_path / "lastfm-2k" / "user_artists.tsv", "userID\tartistID\tweight\n" + "".join(plays))
    monkeypatch.setenv("NBAREC_DATA", str(tmp_path))
    return tmp_path


def test_there_are_configs_of_published_tables() -> None:
    assert {"gowalla_blend", "gowalla_item_cf", "gowalla_als"} <= {path.stem for path in PUBLISHED}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_every_config_finds_the_tastes_of_a_small_world(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.splitlines()[3].startswith(("# Published: ", "# The best published", "# No figure"))
    pipeline = Pipeline.from_yaml(path, SMALLER.get(path.stem, {}))
    assert pipeline.plan is not None
    evaluation, _ = pipeline.plan.run(pipeline, pipeline.load())
    places = pipeline.config.slate.k
    recall, ndcg = (evaluation.slate.figures[f"{name}@{places}"].mean for name in ("recall", "ndcg"))
    # By chance n of the 48 or so items that are left hold n / 48 of what was held out.
    assert recall > 1.5 * places / 48
    assert ndcg > 0.3
