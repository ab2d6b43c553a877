"""Where quality is lost, stage by stage: at which stage of the pipeline each held-out item was left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbarec.arrays import Bools, Ints64, frozen
from nbarec.outcomes import BELOW, CUT, REMOVED, SHOWN
from nbarec.serving import Journey
from nbarec.sparse import Csr
from nbarec.stages import Stages

EXCLUDED = "left out by every generator"
UNPROPOSED = "proposed by no generator"


@dataclass(frozen=True)
class Fates:
    """Where each of P pairs of a user and a relevant item was left, row by row of the truth.

    `reason` int16 [P] is a position in `reasons`: the steps of the pipeline in order, of which the last are below the
    slate's places and in the slate. `proposed` bool [P, S] says which of the generators proposed the item.
    A user who was served once more, to fill his slate, has the fates of that time, in which no ranker cuts.
    """

    reasons: tuple[str, ...]
    reason: np.ndarray
    generators: tuple[str, ...]
    proposed: Bools

    @classmethod
    def of(cls, journey: Journey, truth: Csr) -> Fates:
        """The fates of one batch, whose journey is over and kept every snapshot; `truth` is (B x items)."""
        reasons = reasons_of(journey.stages)
        reason = np.zeros(truth.nnz, np.int16)
        proposed = np.zeros((truth.nnz, len(journey.stages.generators)), bool)
        row, item = truth.row_of, truth.indices
        last = np.zeros(len(journey.request), np.int64)
        ways = [(journey, np.arange(len(journey.request))), *journey.again]
        for way, (_, rows) in enumerate(ways):
            last[rows] = way
        for way, (gone, rows) in enumerate(ways):  # a step a time that rows were served: two or three
            mine = np.flatnonzero(last.take(row) == way)
            reason[mine], proposed[mine] = _left(gone, np.searchsorted(rows, row[mine]), item[mine], reasons)
        return cls(reasons, frozen(reason), tuple(stage.id for stage in journey.stages.generators), frozen(proposed))

    @classmethod
    def joined(cls, parts: Sequence[Fates]) -> Fates:
        """The fates of several batches, one after the other."""
        reason = np.concatenate([part.reason for part in parts])
        proposed = np.concatenate([part.proposed for part in parts])
        return replace(parts[0], reason=frozen(reason), proposed=frozen(proposed))

    def losses(self, places: int) -> StageLosses:
        """How many pairs were left at each step, where slates have this many places."""
        counts = np.bincount(self.reason, minlength=len(self.reasons)).tolist()
        alone = self.proposed & (np.count_nonzero(self.proposed, axis=1) == 1)[:, None]
        by_any, by_one = np.count_nonzero(self.proposed, axis=0).tolist(), np.count_nonzero(alone, axis=0).tolist()
        generators = {stage: (by_any[at], by_one[at]) for at, stage in enumerate(self.generators)}
        return StageLosses(places, dict(zip(self.reasons, counts, strict=True)), generators)


@dataclass(frozen=True)
class StageLosses:
    """Held-out relevant items of slates with this many `places`, by where they were left: `left` has a number for
    every reason, in the order of the pipeline, and each pair of a user and an item stands in exactly one of them.
    `generators` id -> (proposed, proposed by this one alone)."""

    places: int
    left: dict[str, int]
    generators: dict[str, tuple[int, int]]

    @property
    def pairs(self) -> int:
        """How many pairs there are: the sum of all reasons."""
        return sum(self.left.values())

    def plus(self, other: StageLosses) -> StageLosses:
        """The losses of two disjoint sets of pairs under the same pipeline."""
        left = {reason: count + other.left[reason] for reason, count in self.left.items()}
        generators = {
            stage: (proposed + other.generators[stage][0], alone + other.generators[stage][1])
            for stage, (proposed, alone) in self.generators.items()
        }
        return StageLosses(self.places, left, generators)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        generators = {stage: {"proposed": some, "alone": one} for stage, (some, one) in self.generators.items()}
        return {"places": self.places, "relevant": self.pairs, "left": self.left, "generators": generators}

    def rows(self) -> list[list[str]]:
        """A header and a line a step: how many relevant items were left there, as a share of all, and which share is
        still on its way after it. The shares of the lines add up to 1."""
        return [["step", "items", "share", "still there"], *self._steps()]

    def _steps(self) -> Iterator[list[str]]:
        remaining = self.pairs
        yield ["relevant and held out", f"{remaining:,}", "", _share(remaining, self.pairs)]
        for reason, count in self.left.items():
            remaining -= count
            shown = "" if reason == SHOWN else _share(remaining, self.pairs)
            name = f"{reason}'s {self.places} places" if reason == BELOW else reason
            yield [name, f"{count:,}", _share(count, self.pairs), shown]

    def generator_rows(self) -> list[list[str]]:
        """A header and a line a generator: how many of the relevant items it proposed, and it alone."""
        header = ["generator", "proposed", "share", "it alone", "share"]
        lines = [
            [stage, f"{some:,}", _share(some, self.pairs), f"{one:,}", _share(one, self.pairs)]
            for stage, (some, one) in self.generators.items()
        ]
        return [header, *lines]


def reasons_of(stages: Stages) -> tuple[str, ...]:
    """Where an item can be left, in the order of the pipeline."""
    cuts = [f"{CUT}{stage.id}" for stage in stages.rankers if stage.settings.keep is not None]
    removed = [f"{REMOVED}{stage.id}" for stage in stages.filters]
    return (EXCLUDED, UNPROPOSED, *cuts, *removed, BELOW, SHOWN)


def _left(way: Journey, row: Ints64, item: np.ndarray, reasons: tuple[str, ...]) -> tuple[np.ndarray, Bools]:
    """Where P pairs of a row of this journey and an item were left, int16 [P], and who proposed them, bool [P, S]."""
    merged, *later = way.seen or []
    reason = np.full(len(row), reasons.index(UNPROPOSED), np.int16)
    proposed = np.zeros((len(row), len(way.stages.generators)), bool)
    at = merged.pool.find(row, item)
    alive, before = np.flatnonzero(at >= 0), merged.pool
    proposed[alive] = before.ranks[at[alive]] > 0
    reason[(at < 0) & _excluded(way, row, item)] = reasons.index(EXCLUDED)
    for snapshot in later:  # a step a stage
        after = snapshot.pool
        if snapshot.step in ("cut", "filter") and after is not before:
            found = after.find(row[alive], item[alive]) >= 0
            name = f"{CUT if snapshot.step == 'cut' else REMOVED}{snapshot.stage}"
            reason[alive[~found]] = reasons.index(name)
            alive = alive[found]
        before = after
    place = before.find(row[alive], item[alive]) - before.indptr.take(row[alive])
    reason[alive] = np.where(place < way.request.k, reasons.index(SHOWN), reasons.index(BELOW))
    return reason, proposed


def _excluded(way: Journey, row: Ints64, item: np.ndarray) -> Bools:
    """Which pairs could not be proposed: left out by the call, or by each generator that serves the row: bool [P]."""
    excluded = np.ones(len(row), bool)
    served = np.zeros(len(row), bool)
    for stage in way.stages.generators:
        if way.fitted[stage.id].failed:
            continue
        asked, rows = way.asked_of(stage)
        at = np.full(len(way.request), -1)
        at[rows] = np.arange(len(rows))
        here = at.take(row) >= 0
        excluded &= ~here | asked.excluded.contains(at.take(row), item)
        served |= here
    return np.asarray((excluded & served) | way.request.excluded.contains(row, item))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
