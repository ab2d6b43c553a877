"""The validation part: held out inside the training part, for choices that must not know the test part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.splits import Given, Holdout, Split, hold_out

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline

VALIDATION_STREAM = 9
"""Random stream of the second cut, apart from that of the first, of the stages and of an evaluation."""


def training_part(pipeline: Pipeline, data: Dataset) -> Dataset:
    """What is left of `data` when everything that `evaluate.split` holds out is taken away, its clock at the latest
    event that is left; all of them where there is no evaluation, or its test events are in a file of their own, which
    is not read. Of a split with folds it is the training part of the first: what others hold out is in it.
    """
    if pipeline.plan is None or isinstance(pipeline.plan.split, Given):
        return data
    return pipeline.plan.held_out(pipeline, data).train


def validation_holdout(pipeline: Pipeline, data: Dataset, split: Split | None = None) -> Holdout:
    """The training part of `data`, cut in two once more: by `split`, or as `evaluate.split` cuts.

    Nothing of the result depends on the events that the evaluation holds out, so that what is chosen by the score on
    `test` here can be measured there. Raises ConfigError where `split` is needed and is not given, and where the data
    can't be cut.
    """
    rule = split or own_rule(pipeline)
    rng = np.random.default_rng([pipeline.config.seed, VALIDATION_STREAM])
    return hold_out(training_part(pipeline, data), rule, rng)


def own_rule(pipeline: Pipeline) -> Split:
    """The split of the evaluation. Raises ConfigError where there is none, or it can't cut a second time."""
    plan = pipeline.plan
    if plan is None:
        raise ConfigError("there is no evaluate.split to cut a validation part by; say how, such as use: last_fraction")
    if isinstance(plan.split, Given):
        raise ConfigError(
            "evaluate.split takes its events from a file, so it can't cut a validation part from the others; say how, "
            "such as use: last_fraction"
        )
    if getattr(plan.split, "at", None) is not None:
        raise ConfigError(
            "evaluate.split cuts at a moment, before which it would hold out nothing; say how the validation part is "
            "cut, such as {use: global_time, fraction: 0.2}"
        )
    return plan.split
