"""Similar items: those that a generator would propose to somebody of whom one item is all that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbarec.components import ItemVectors
from nbarec.errors import ConfigError, DataError
from nbarec.ids import TextOrNumber
from nbarec.kernels import best_first
from nbarec.model import Model
from nbarec.serving import item_vectors
from nbarec.stages import GeneratorStage


@dataclass(frozen=True)
class Similar:
    """Items like one item, most alike first: `item` positions, `score`, and how it was measured, in words."""

    stage: str
    measure: str
    item: Sequence[int]
    score: Sequence[float]


def similar_items(model: Model, item: TextOrNumber, k: int, stage_id: str | None = None) -> Similar:
    """The `k` items most like `item` by one generator: by the cosine of its item vectors where it has them (`als`,
    `nmf`), else what it proposes to an unknown user whose whole history is that item.

    Without `stage_id` the first generator that has vectors is asked, else the first of all. Raises DataError for an
    item that the catalogue lacks, ConfigError for a generator that is not there.
    """
    position = int(model.data.items.index([item])[0])
    if position < 0:
        raise DataError(f"item {item!r} is not in the catalogue of {len(model.data.items):,} items")
    stage = _chosen(model, stage_id)
    fitted = model.fitted[stage.id]
    if fitted.failed:
        raise ConfigError(f"{stage.who} {fitted.failed}")
    if isinstance(stage.component, ItemVectors):
        return _by_vectors(model, stage, position, k)
    slate = model.recommend(history=[item], k=k, stage=stage.id)
    shown = slate.item[0][slate.item[0] >= 0]
    return Similar(stage.id, "what it proposes after that item alone", shown.tolist(), slate.score[0].tolist())


def _chosen(model: Model, stage_id: str | None) -> GeneratorStage:
    if stage_id is not None:
        return model.generator(stage_id)
    generators = model.pipeline.stages.generators
    return next((stage for stage in generators if isinstance(stage.component, ItemVectors)), generators[0])


def _by_vectors(model: Model, stage: GeneratorStage, position: int, k: int) -> Similar:
    vectors = item_vectors(stage, model.fitted[stage.id])
    measure = "cosine of the item vectors"
    if position >= len(vectors) or not vectors[position].any():
        return Similar(stage.id, f"{measure}; nothing is known of this item", [], [])
    exact = vectors.astype(np.float64)
    length = np.sqrt(np.vecdot(exact, exact))
    known = np.flatnonzero((length > 0) & (np.arange(len(exact)) != position))
    cosine = np.vecdot(exact[known], exact[position]) / (length[known] * length[position])
    best = best_first(np.zeros(len(known), np.int64), known, cosine, 1, k)
    return Similar(stage.id, measure, best.item.tolist(), best.score.tolist())
