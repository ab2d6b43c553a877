"""New events and ids for a fitted model, without a refit where the stage can."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from nbarec.components import NoState, Updatable
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.joining import join_datasets
from nbarec.model import Model
from nbarec.pipeline import stage_data
from nbarec.stages import AnyStage, Fitted


def updated(model: Model, new: Dataset) -> tuple[Model, Mapping[str, str]]:
    """The model that also knows `new`, and for each stage what became of it: `updated`, `learns nothing`, or
    `unchanged` for one that can't be updated and serves on what it learnt before.

    Raises ConfigError where a stage that can't be updated would meet items that it can't know.
    """
    joined, aligned = join_datasets(model.data, new)
    pipeline = model.pipeline
    # Both under one clock, so that a new event weighs the same in either.
    everything, alone = pipeline.weighted(joined), pipeline.weighted(replace(aligned, as_of=joined.as_of))
    fitted, told = {}, {}
    # A step a stage: each has its own way to learn.
    for stage in pipeline.stages.all():
        fitted[stage.id], told[stage.id] = _updated_stage(stage, model.fitted[stage.id], everything, alone)
    return Model(pipeline, everything, fitted).checked(), told


def _updated_stage(stage: AnyStage, before: Fitted, data: Dataset, new: Dataset) -> tuple[Fitted, str]:
    start = time.perf_counter()
    if before.failed:
        return before, before.failed
    if isinstance(before.state, NoState):
        return Fitted(before.state, len(data.items), 0.0), "learns nothing"
    if isinstance(stage.component, Updatable):
        with guarded(stage.who):
            state = stage.component.update(before.state, stage_data(stage, data), stage_data(stage, new))
        seconds = time.perf_counter() - start
        return Fitted(state, len(data.items), seconds), "updated"
    if stage.section != "candidates" and before.n_items < len(data.items):
        raise ConfigError(
            f"{stage.who} can't be updated, and the new events have items that it does not know; "
            "fit the pipeline again on all events (nbarec fit)"
        )
    return before, "unchanged: it can't be updated; fit the pipeline again to change it"
