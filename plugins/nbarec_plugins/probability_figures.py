"""How good predicted probabilities are: their reliability curve, expected calibration error, log loss and AUC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64, frozen

BINS = 10
"""Of the reliability curve, with about as many entries each."""

SUREST = 1e-15
"""Of the log loss: a probability counts as at least this, and at most 1 less this."""


@dataclass(frozen=True)
class Quality:
    """Figures of probabilities against what happened: area under the ROC curve `auc` (NaN with one class), mean
    `log_loss` in nats, expected calibration error `ece`, and the reliability curve by bin, float64 [bins] each: the
    mean probability `predicted`, the share `observed`, and how many `entries` stand there."""

    auc: float
    log_loss: float
    ece: float
    predicted: Floats64
    observed: Floats64
    entries: Floats64

    @classmethod
    def of(cls, probability: Floats64, label: Floats32, weight: Floats32) -> Quality:
        """Of N entries, each [N]: probability in [0, 1], label 0 or 1, how many entries each stands for."""
        predicted, observed, entries = reliability(probability, label, weight)
        return cls(
            auc=area_under_curve(probability, label, weight),
            log_loss=log_loss(probability, label, weight),
            ece=calibration_error(predicted, observed, entries),
            predicted=frozen(predicted),
            observed=frozen(observed),
            entries=frozen(entries),
        )

    @property
    def curve(self) -> list[Mapping[str, float]]:
        """The reliability curve as plain numbers, a mapping a bin."""
        bins = zip(self.predicted.tolist(), self.observed.tolist(), self.entries.tolist(), strict=True)
        return [{"predicted": p, "observed": o, "entries": n} for p, o, n in bins]


def reliability(
    probability: Floats64, label: Floats32, weight: Floats32, bins: int = BINS
) -> tuple[Floats64, Floats64, Floats64]:
    """Mean probability, share with label 1 and weight of each bin that is not empty (DeGroot and Fienberg 1983):
    float64 [at most bins].

    Bins have about equally many entries; equal probabilities stand in one bin.
    """
    if not len(probability):
        return np.empty(0), np.empty(0), np.empty(0)
    edges = np.quantile(probability, np.arange(1, bins) / bins, method="lower")
    at = np.searchsorted(edges, probability, side="right")
    entries = np.bincount(at, weights=weight, minlength=bins)
    sums = (np.bincount(at, weights=weight * values, minlength=bins) for values in (probability, label))
    filled = entries > 0
    predicted, observed = (total[filled] / entries[filled] for total in sums)
    return predicted, observed, np.asarray(entries[filled], np.float64)


def calibration_error(predicted: Floats64, observed: Floats64, entries: Floats64) -> float:
    """Expected calibration error of a reliability curve (Naeini, Cooper, Hauskrecht 2015):

    sum over bins b of entries_b / entries |observed_b - predicted_b|
    """
    total = float(entries.sum())
    return float((entries * np.abs(observed - predicted)).sum() / total) if total else float("nan")


def log_loss(probability: Floats64, label: Floats32, weight: Floats32) -> float:
    """Mean of -ln p where the label is 1 and -ln (1 - p) where it is 0: NaN without entries."""
    if not len(probability):
        return float("nan")
    safe = np.clip(probability, SUREST, 1 - SUREST)
    lost = -np.where(label > 0.5, np.log(safe), np.log1p(-safe))
    return float((lost * weight).sum() / weight.sum(dtype=np.float64))


def area_under_curve(score: Floats64, label: Floats32, weight: Floats32) -> float:
    """The chance that an entry with label 1 scores above one with label 0, a tie counting half (Hanley and McNeil
    1982): NaN where one class is missing."""
    distinct, at = np.unique(score, return_inverse=True)
    positive = np.bincount(at, weights=weight * (label > 0.5), minlength=len(distinct))
    negative = np.bincount(at, weights=weight * (label <= 0.5), minlength=len(distinct))
    pairs = positive.sum() * negative.sum()
    if not pairs:
        return float("nan")
    below = np.cumsum(negative) - 0.5 * negative
    return float(positive @ below / pairs)
