"""Learned rankers: what all of them share, from examples to a probability that holds and the parts it is made of.

A ranker of this kind says how it is trained, what log-odds it gives, and which parts these have; the base class does
the rest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Uints64, frozen, mix64
from nbarec.batch import Pool, Request
from nbarec.components import Example, LearningRanker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.work import current
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.feature_lessons import lesson
from nbarec_plugins.named_columns import expanded
from nbarec_plugins.probability_calibration import UNCHANGED, Calibration, Method, calibration
from nbarec_plugins.probability_figures import Quality
from nbarec_plugins.random_items import GOLDEN
from nbarec_plugins.scaling import as_scores

M = TypeVar("M")

TRAINED, CALIBRATED = 0.8, 0.9
"""Users with a hash, in [0, 1), below the first are trained on, below the second calibrated with, else reported on."""

FEWEST = 100
"""Requests: with fewer all are trained on, and nothing is calibrated or reported."""

SMALLEST = 1e-9
"""Of a margin's distance from the base: below it the curve between them is its slope."""

UNLEARNT = "nothing: no examples, all with the same label, or nothing that told them apart; the earlier score stays"
"""What is told of a ranker without a model."""

BASE = "base"
"""The part of log-odds that all entries start from: no feature may be called so."""

NOTHING = Layout()
"""The layout of a state that knows nothing."""


@dataclass(frozen=True)
class Report:
    """Of `requests` that nothing was learnt from: the figures `before` and `after` calibration, and the log loss of one
    probability for all, the share of label 1 in what was trained on, `base_log_loss`."""

    requests: int
    before: Quality
    after: Quality
    base_log_loss: float


@dataclass(frozen=True)
class LearnedState(Generic[M]):
    """What a learned ranker knows: `model`, None where nothing was learnt, of frames by `layout`; ln(`rate`) is added
    to its log-odds for the negatives that it was not trained on, and `calibration` makes probabilities of them.
    `requests`, `entries` and `positives` are what it was trained on."""

    layout: Layout = NOTHING
    model: M | None = None
    calibration: Calibration = UNCHANGED
    rate: float = 1.0
    requests: int = 0
    entries: int = 0
    positives: int = 0
    report: Report | None = None


@dataclass(frozen=True)
class Learned(LearningRanker[LearnedState[M]], Generic[M]):
    """A ranker whose score is the probability that the user engages with the item, here and now.

    The examples' requests are divided by a hash of the user: of 100, about 80 are trained on, 10 calibrated with and 10
    reported on (90 trained on with `calibration: none`). With fewer than 100 requests all are trained on and nothing is
    calibrated or reported. Calibration changes no order, but for what float32 can't tell apart: probabilities that
    differ by less than 1e-7 of their size. Where there are no examples, all labels are alike, or no feature has a
    value, nothing is learnt: the earlier score stays, which is no probability.

    A subclass gives `fit` the annotation of its own state, a `LearnedState` whose `model` is annotated anew: that is
    what the store reads.
    """

    features: tuple[str, ...] = param(
        ("*",),
        doc="What it knows of an entry: names as in rules over the pool, id.score, id.rank, agreement; * for all.",
    )
    negatives: float = param(
        1.0,
        gt=0,
        le=1,
        doc="Share of the entries without engagement that is learnt from; probabilities stay those of all.",
    )
    calibration: Method = param(
        "auto",
        doc="How log-odds become probabilities, order kept; auto: isotonic from 1,000 engagements on, else platt.",
    )
    least_count: int = param(5, ge=1, doc="Entries that a level of a category needs, to be told from unknown ones.")
    most_tags: int = param(50, ge=0, doc="Levels of a column of several texts that are told, the most frequent.")

    def needed(self) -> tuple[str, ...]:
        """What the model is to know of an entry, by name: the features, unless a subclass needs more."""
        return self.features

    @abstractmethod
    def train(self, lesson: Lesson, rng: np.random.Generator) -> M | None:
        """The model of these entries, which have labels of both kinds; None where nothing tells them apart."""

    @abstractmethod
    def margins(self, model: M, layout: Layout, frame: Frame) -> Floats64:
        """The log-odds of each entry before calibration: float64 [N], finite, the same to the bit in any batch."""

    @abstractmethod
    def parts(self, model: M, layout: Layout, frame: Frame) -> Mapping[str, Floats64]:
        """What each feature adds to the log-odds, by name, and `base`: float64 [N] each, which add up to `margins`."""

    def strongest(self, model: M, layout: Layout) -> Mapping[str, float]:
        """The features that tell most, the strongest first, each with a number that says how much."""
        return {}

    def learn(self, examples: Iterable[Example], data: Dataset, rng: np.random.Generator) -> LearnedState[M]:
        """Learn from all examples. Raises ConfigError at an unknown feature, and where there is not enough memory."""
        return self.taught(self.fit(data, rng), self.gathered(examples), rng)

    def gathered(self, examples: Iterable[Example]) -> Lesson:
        """All examples joined, with every label that they have. Raises ConfigError as `learn` does."""
        return lesson(
            self.needed(),
            examples,
            negatives=self.negatives,
            memory=current().memory,
            least=self.least_count,
            tags=self.most_tags,
        )

    def taught(self, state: LearnedState[M], told: Lesson, rng: np.random.Generator) -> LearnedState[M]:
        """The state after one lesson; `state` itself where it teaches nothing. Raises ConfigError where a column is
        called `base`."""
        names = {*told.layout.numbers, *told.layout.categories}
        if BASE in names:
            raise ConfigError(
                f"features: {BASE} is what explanations call the start of all; give the column another name"
            )
        if not _both(told) or not names:
            return state
        trained, calibrating, reported = divided(told, calibrated=self.calibration != "none")
        model = self.train(trained, rng)
        if model is None:
            return state
        state = replace(
            state,
            layout=told.layout,
            model=model,
            rate=told.rate,
            requests=len(np.unique(trained.group)),
            entries=len(trained),
            positives=int(np.count_nonzero(trained.label > 0.5)),
        )
        if calibrating is not None:
            margins = self._margins(state, model, calibrating.frame)
            fitted = calibration(self.calibration, margins, calibrating.label, calibrating.weight)
            state = replace(state, calibration=fitted)
        if reported is None:
            return state
        base = float(np.average(trained.label, weights=trained.weight))
        return replace(state, report=self._report(state, model, reported, base))

    def update(self, state: LearnedState[M], data: Dataset, new: Dataset) -> LearnedState[M]:
        """The same state: a refit alone makes new examples."""
        return state

    def rank(self, state: LearnedState[M], request: Request, pool: Pool) -> Floats32:
        """The probability of engagement: float32 [N]; the earlier score where nothing was learnt.

        Raises ConfigError at an unknown feature in the latter case; else `learn` has told.
        """
        if state.model is None:
            expanded(self.needed(), request, pool)
            return pool.score
        return self.scores(state, state.model, state.layout.frame(request, pool))

    def scores(self, state: LearnedState[M], model: M, frame: Frame) -> Floats32:
        """The probability of engagement of each entry of a frame, by the state's own model: float32 [N]."""
        return as_scores(state.calibration.apply(self._margins(state, model, frame)))

    def terms(self, state: LearnedState[M], request: Request, pool: Pool) -> Mapping[str, Floats64] | None:
        """The parts of the log-odds on the scale of probabilities; the score as one part where nothing was learnt.

        `base` is p0, the probability at the margin m0 of the base alone, and every other part stands times
        (p - p0) / (m - m0).
        """
        if state.model is None:
            return {"earlier score": frozen(pool.score.astype(np.float64))}
        frame = state.layout.frame(request, pool)
        margin = self._margins(state, state.model, frame)
        parts = dict(self.parts(state.model, state.layout, frame))
        base = np.asarray(parts.pop(BASE) + np.log(state.rate), np.float64)
        chance = state.calibration.apply(base)
        gap = margin - base
        near = np.abs(gap) < SMALLEST
        other = np.where(near, base + SMALLEST, margin)
        scale = (state.calibration.apply(other) - chance) / np.where(near, SMALLEST, gap)
        return {BASE: frozen(chance), **{name: frozen(part * scale) for name, part in parts.items()}}

    def findings(self, state: LearnedState[M]) -> Mapping[str, object]:
        """What was learnt from how much, how good the probabilities are for others, and the strongest features."""
        if state.model is None:
            return {"learnt": UNLEARNT}
        found: dict[str, object] = {
            "learnt from": {"requests": state.requests, "entries": state.entries, "engagements": state.positives},
            "strongest": dict(self.strongest(state.model, state.layout)),
        }
        report = state.report
        if report is None:
            return {
                **found,
                "quality": f"unknown: fewer than {FEWEST} requests, or too few engagements to hold any out",
            }
        return {
            **found,
            "held-out requests": report.requests,
            "auc": report.after.auc,
            "log loss": {
                "calibrated": report.after.log_loss,
                "before": report.before.log_loss,
                "of the base rate": report.base_log_loss,
            },
            "expected calibration error": {"calibrated": report.after.ece, "before": report.before.ece},
            "reliability": report.after.curve,
            "reliability before calibration": report.before.curve,
        }

    def _margins(self, state: LearnedState[M], model: M, frame: Frame) -> Floats64:
        """The log-odds before calibration, among all entries and not just those that were kept."""
        return np.asarray(self.margins(model, state.layout, frame) + np.log(state.rate))

    def _report(self, state: LearnedState[M], model: M, told: Lesson, base: float) -> Report:
        margins = self._margins(state, model, told.frame)
        before, after, flat = (
            Quality.of(chance, told.label, told.weight)
            for chance in (UNCHANGED.apply(margins), state.calibration.apply(margins), np.full(len(told), base))
        )
        return Report(len(np.unique(told.group)), before, after, flat.log_loss)


def divided(told: Lesson, *, calibrated: bool) -> tuple[Lesson, Lesson | None, Lesson | None]:
    """What is trained on, calibrated with and reported on, by a hash of each request's key: whole users. A part that
    would lack a class is None; where that is the first one, or there are fewer than 100 requests, all is trained on."""
    if len(told.key) < FEWEST:
        return told, None, None
    place = _uniform(told.key).take(told.group)
    first = TRAINED if calibrated else CALIBRATED
    trained, held, kept = (
        told.take(part) for part in (place < first, (first <= place) & (place < CALIBRATED), place >= CALIBRATED)
    )
    if not _both(trained):
        return told, None, None
    return trained, held if _both(held) else None, kept if _both(kept) else None


def _both(told: Lesson) -> bool:
    """Whether some entries have label 1 and some 0."""
    return bool(0 < np.count_nonzero(told.label > 0.5) < len(told))


def _uniform(key: Uints64) -> Floats64:
    """A number in [0, 1) that depends on the key alone: float64."""
    return np.asarray((mix64(key ^ GOLDEN) >> np.uint64(11)) * 2.0**-53, np.float64)
