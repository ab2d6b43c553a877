"""Figures of segments: of some of the users, or of some of the items that were to be found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbarec.arrays import Bools
from nbarec.figures import Report


@dataclass(frozen=True)
class SegmentReport:
    """The whole slates (`slate`) and every stage's own list, measured for one segment of users, `members` bool
    [users]; `told` says in words what it is. Their values are NaN for the other users."""

    name: str
    told: str
    members: Bools
    slate: Report
    stages: Mapping[str, Report]

    @property
    def users(self) -> int:
        """How many users the segment has."""
        return int(np.count_nonzero(self.members))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        stages = {stage: {"metrics": report.to_json()} for stage, report in self.stages.items()}
        told = {"name": self.name, "told": self.told, "users": self.users}
        return {**told, "metrics": self.slate.to_json(), "stages": stages}


@dataclass(frozen=True)
class SegmentTable:
    """The segments by one thing: `history`, `popularity` or a column of users."""

    by: str
    segments: tuple[SegmentReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"by": self.by, "segments": [segment.to_json() for segment in self.segments]}

    def rows(self) -> list[list[str]]:
        """A header and a line a segment: the figures of the whole slates."""
        header = [self.by, "users", *self.segments[0].slate.figures]
        return [header, *([_titled(one), f"{one.users:,}", *one.slate.row()] for one in self.segments)]


def _titled(segment: SegmentReport) -> str:
    return f"{segment.name} ({segment.told})" if segment.told else segment.name
