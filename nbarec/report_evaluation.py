"""An evaluation as the report of a run reads it: the figures of every list, losses, segments and findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nbarec.errors import ConfigError, DataError
from nbarec.evaluation_files import FIGURES, ROUNDING, MeasuredList, figures_of, read_list
from nbarec.figures import Figure
from nbarec.paired import PairedTest, paired_tests
from nbarec.reports import WHOLE_PIPELINE
from nbarec.stage_losses import StageLosses

LEADING = ("ndcg", "recall", "hit_rate", "precision", "map", "mrr", "auc")
"""Which metric stands for an evaluation: the first of these that was measured, else the first of all."""

RESAMPLES = 2_000
NEW = ("users", "items")
FiguresOf = Mapping[str, Figure]


@dataclass(frozen=True)
class SegmentFigures:
    """The whole slates measured for one segment, of so many `users`; `told` says what it is, "" where its name does."""

    name: str
    told: str
    users: int
    figures: FiguresOf


@dataclass(frozen=True)
class ColdFigures:
    """Every list's figures, the whole slate's last, where so many `events` are known of what is new."""

    events: int
    lists: Mapping[str, FiguresOf]


@dataclass(frozen=True)
class RunEvaluation:
    """What the evaluation in a folder found: the figures of the whole `slate` and of each of the `stages`' own lists,
    where items were left (`losses`, None if not measured), `segments` by kind, and `findings` by stage id. `requests`
    is how many were measured where each held-out event is one; `variants` are the slates of other settings, and
    `cold_starts` those of new users and of new items."""

    folder: Path
    slate: FiguresOf
    stages: Mapping[str, FiguresOf]
    users: int
    skipped: int
    holdout: Sequence[str]
    losses: StageLosses | None
    segments: Mapping[str, Sequence[SegmentFigures]]
    findings: Mapping[str, Mapping[str, Any]]
    requests: int | None = None
    variants: Mapping[str, FiguresOf] = field(default_factory=dict)
    cold_starts: Mapping[str, Sequence[ColdFigures]] = field(default_factory=dict)

    @property
    def measured(self) -> str:
        """Of whom or of what the figures are means."""
        users = f"{self.users:,} user{'' if self.users == 1 else 's'}"
        return users if self.requests is None else f"{self.requests:,} requests of {users}"

    @classmethod
    def read(cls, folder: Path) -> RunEvaluation | None:
        """The evaluation of a run, None where there is none. Raises DataError where the file is none of nbarec's."""
        if not (folder / FIGURES).exists():
            return None
        found: Any = figures_of(folder / FIGURES)
        try:
            return cls(
                folder,
                _figures(found["metrics"]),
                {stage: _figures(told["metrics"]) for stage, told in found["stages"].items()},
                int(found["users"]["evaluated"]),
                int(found["users"]["without_relevant_item"]),
                [str(line) for line in found["holdout"]],
                _losses(found["stage_losses"]) if "stage_losses" in found else None,
                {table["by"]: [_segment(one) for one in table["segments"]] for table in found.get("segments", ())},
                {str(stage): dict(told) for stage, told in found.get("findings", {}).items()},
                int(found["requests"]["evaluated"]) if "requests" in found else None,
                {str(name): _figures(told["metrics"]) for name, told in found.get("variants", {}).items()},
                {what: [_cold(row) for row in found[f"cold_{what}"]] for what in NEW if f"cold_{what}" in found},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            said = f"{folder / FIGURES} is no evaluation that nbarec wrote ({error!r}); evaluate again"
            raise DataError(said) from None

    @property
    def lists(self) -> Mapping[str, FiguresOf]:
        """Every list, the whole slate last."""
        return {**self.stages, WHOLE_PIPELINE: self.slate}

    @property
    def headline(self) -> str:
        """The metric that stands for all, such as ndcg@10."""
        named = {label.partition("@")[0]: label for label in reversed(list(self.slate))}
        return next((named[name] for name in LEADING if name in named), next(iter(self.slate)))

    def labelled(self, *names: str) -> str | None:
        """The first metric of one of these names, such as recall@20; None where none was measured."""
        return next((label for name in names for label in self.slate if label.partition("@")[0] == name), None)

    def best(self, label: str, among: Sequence[str]) -> str | None:
        """The stage with the largest figure among those named, None where none has one."""
        measured = {stage: self.stages[stage][label].mean for stage in among if stage in self.stages}
        defined = {stage: mean for stage, mean in measured.items() if not math.isnan(mean)}
        return max(defined, key=lambda stage: defined[stage], default=None)

    def lead(self, label: str, stage: str) -> PairedTest | None:
        """How far the slate is ahead of a stage's own list, user by user; None for a figure that is no mean, or where
        the users' values do not stand beside the figures."""
        try:
            slate, other = read_list(self.folder), read_list(self.folder, stage)
        except (ConfigError, DataError):
            return None
        if not (slate.is_mean(label) and other.is_mean(label) and self._is_of(slate, label)):
            return None
        differences = (slate.values[label] - other.values[label])[:, None]
        return paired_tests(differences, np.random.default_rng(0), RESAMPLES)[0]

    def _is_of(self, measured: MeasuredList, label: str) -> bool:
        return math.isclose(measured.figures[label], self.slate[label].mean, rel_tol=ROUNDING)


def _cold(found: Mapping[str, Any]) -> ColdFigures:
    stages = {str(stage): _figures(told["metrics"]) for stage, told in found["stages"].items()}
    return ColdFigures(int(found["events"]), {**stages, WHOLE_PIPELINE: _figures(found["metrics"])})


def _figures(found: Mapping[str, Any]) -> FiguresOf:
    if not found:
        raise ValueError("a list without figures")
    return {str(label): _figure(one) for label, one in found.items()}


def _figure(found: Mapping[str, Any]) -> Figure:
    low, high = map(_number, found["ci95"])
    return Figure(_number(found["mean"]), (low, high), int(found["users"]), int(found["undefined"]))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _losses(found: Mapping[str, Any]) -> StageLosses:
    generators = {stage: (int(one["proposed"]), int(one["alone"])) for stage, one in found["generators"].items()}
    left = {str(reason): int(count) for reason, count in found["left"].items()}
    return StageLosses(int(found["places"]), left, generators)


def _segment(found: Mapping[str, Any]) -> SegmentFigures:
    return SegmentFigures(str(found["name"]), str(found["told"]), int(found["users"]), _figures(found["metrics"]))
