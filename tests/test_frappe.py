"""The config of apps in context: on a small world written like the data it names, context tells which app is next."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nbarec.model import Model
from nbarec.pipeline import Pipeline
from nbarec.reports import Evaluation

CONFIG = Path(__file__).parents[1] / "configs" / "frappe.yaml"
USERS, APPS, OWN = 50, 30, 12
LEVELS = (4, 7, 2, 3, 3, 2, 5)
"""Of the contexts, in the file's order: daytime first."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each user has OWN apps, a fourth of them for each time of the day; once in ten times he takes another of his."""
    rng = np.random.default_rng(5)
    apps = np.array([rng.choice(APPS, OWN, replace=False) for _ in range(USERS)])
    user = np.repeat(np.arange(USERS), 50)
    context = np.stack([rng.integers(0, levels, len(user)) for levels in LEVELS], axis=1)
    turn = np.where(rng.random(len(user)) < 0.1, rng.integers(0, 4, len(user)), context[:, 0])
    app = apps[user, turn * 3 + rng.integers(0, 3, len(user))]
    rows = np.unique(np.column_stack([user, app, np.zeros_like(user), context]), axis=0)
    held_out = rng.random(len(rows)) < 0.1
    header = ",".join(["user_id", "item_id", "item_feature_1", *(f"context_{at}" for at in range(1, 8))])
    (tmp_path / "frappe").mkdir()
    for name, part in (("train", rows[~held_out]), ("test", rows[held_out])):
        lines = "".join(f"{','.join(map(str, row))}\n" for row in part.tolist())
        (tmp_path / "frappe" / f"{name}.csv.gz").write_bytes(gzip.compress(f"{header}\n{lines}".encode()))
    monkeypatch.setenv("NBAREC_DATA", str(tmp_path))
    return tmp_path


def evaluated() -> tuple[Evaluation, Model]:
    """As configured, on smaller models."""
    pipeline = Pipeline.from_yaml(CONFIG, {"candidates.latent.with.factors": 8, "slate.k": 5})
    assert pipeline.plan is not None
    return pipeline.plan.run(pipeline, pipeline.load())


@pytest.mark.usefixtures("world")
def test_context_tells_which_app_is_next() -> None:
    evaluation, model = evaluated()
    whole = {name: variant.figures["ndcg@10"].mean for name, variant in evaluation.variants.items()}
    configured, blend = evaluation.metrics["ndcg@10"].mean, evaluation.stages["mixed"].figures["ndcg@10"].mean
    assert {"gbdt without context", "fm", "fm without context"} <= set(whole)
    assert configured > 1.15 * max(blend, whole["gbdt without context"])
    assert whole["fm"] > 1.15 * max(blend, whole["fm without context"])
    slate = model.recommend(["3", "nobody we know"], context={"daytime": "1", "place": "2"}, explain=True)
    assert [len(items) for items in slate.items] == [5, 5]
    assert slate.explanations
