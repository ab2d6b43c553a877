"""Explanations: how each item of a slate came there, in numbers that add up and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64
from nbarec.batch import Pool
from nbarec.contracts import check_evidence, check_terms, guarded
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.serving import Journey, Snapshot, best_first_order
from nbarec.stages import GeneratorStage

PARTS = 3
"""How many parts of a generator's score are told."""

TELLING = 0.1
"""A part that is worth less than this share of the largest is left out of the sentence."""


@dataclass(frozen=True)
class Part:
    """A named part of a score."""

    name: str
    amount: float


@dataclass(frozen=True)
class Proposal:
    """What one generator said of an item: its rank (from 1) and score there, and where it tells them the parts of the
    score, which with the `rest` add up to it. `because` is a sentence's end, empty without parts."""

    stage: str
    rank: int
    score: float
    parts: tuple[Part, ...] = ()
    rest: float | None = None
    because: str = ""


@dataclass(frozen=True)
class Step:
    """What one ranker or filter did: the item's rank in the pool after it (0: it is gone), the score, and a ranker's
    `terms`, which add up to the score."""

    stage: str
    step: str
    rank: int
    score: float
    terms: tuple[Part, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; an entry that is gone has neither rank nor score."""
        if not self.rank:
            return {"stage": self.stage, "step": self.step, "rank": None}
        told = {"stage": self.stage, "step": self.step, "rank": self.rank, "score": self.score}
        return {**told, "terms": _amounts(self.terms)} if self.terms else told


@dataclass(frozen=True)
class Explanation:
    """One item for one user: who proposed it, what became of it, and why, in a sentence (empty: nothing to tell)."""

    item: int
    proposals: tuple[Proposal, ...]
    steps: tuple[Step, ...]
    because: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "because": self.because,
            "proposed_by": [
                {"stage": one.stage, "rank": one.rank, "score": one.score, **_parts_json(one.parts, one.rest)}
                for one in self.proposals
            ],
            "steps": [
                {
                    "stage": one.stage,
                    "step": one.step,
                    "rank": one.rank,
                    "score": one.score,
                    "terms": _amounts(one.terms),
                }
                for one in self.steps
            ],
        }


def _parts_json(parts: Sequence[Part], rest: float | None) -> dict[str, Any]:
    return {} if rest is None else {"parts": _amounts(parts), "rest": rest}


def _amounts(parts: Sequence[Part]) -> dict[str, float]:
    return {part.name: part.amount for part in parts}


@dataclass(frozen=True)
class Explainer:
    """The way of one batch, read backwards. `data` names the items."""

    journey: Journey
    data: Dataset

    def explain(self, row: Ints64, item: Ints32) -> list[Explanation]:
        """Explain M pairs of a row of the batch and an item: int64 [M], int32 [M], in any order."""
        explained: list[Explanation | None] = [None] * len(row)
        for journey, rows, at in self._ways(row):
            for position, one in zip(at.tolist(), self._on_way(journey, rows, item[at]), strict=True):
                explained[position] = one
        return [one for one in explained if one is not None]

    def of_slate(self, item: Ints32) -> tuple[tuple[Explanation, ...], ...]:
        """Explain every filled place of the batch's slates, `item` int32 [B, k] with -1 for an empty one."""
        row, place = np.nonzero(item >= 0)
        explained = self.explain(row, item[row, place])
        counts = (item >= 0).sum(axis=1)
        spans = zip((np.cumsum(counts) - counts).tolist(), counts.tolist(), strict=True)
        return tuple(tuple(explained[start : start + count]) for start, count in spans)

    def _ways(self, row: Ints64) -> list[tuple[Journey, Ints64, Ints64]]:
        """For each journey the rows there, and which of the pairs these are."""
        way, place = np.zeros(len(self.journey.request), np.int64), np.arange(len(self.journey.request))
        for number, (_, rows) in enumerate(self.journey.again, start=1):  # the last way of a row is the one that counts
            way[rows], place[rows] = number, np.arange(len(rows))
        journeys = [self.journey, *(again for again, _ in self.journey.again)]
        pairs = [np.flatnonzero(way[row] == number) for number in range(len(journeys))]
        return [(one, place[row[at]], at) for one, at in zip(journeys, pairs, strict=True) if len(at)]

    def _on_way(self, journey: Journey, row: Ints64, item: Ints32) -> list[Explanation]:
        seen = journey.seen or []
        if not seen:
            return []
        proposals = self._proposals(journey, seen[0].pool, row, item)
        steps = self._steps(journey, seen, row, item)
        weights = _last_shares(steps, seen[0].pool.sources)
        return [
            Explanation(int(one), tuple(proposed), tuple(went), _sentence(proposed, shares))
            for one, proposed, went, shares in zip(item.tolist(), proposals, steps, weights, strict=True)
        ]

    def _proposals(self, journey: Journey, pool: Pool, row: Ints64, item: Ints32) -> list[list[Proposal]]:
        at = pool.find(row, item)
        found: list[list[Proposal]] = [[] for _ in row]
        for source, stage in enumerate(journey.stages.generators):
            there = np.flatnonzero((at >= 0) & (pool.ranks[at, source] > 0))
            told = self._evidence(journey, stage, row[there], item[there])
            for place, pair in enumerate(there.tolist()):
                rank, score = int(pool.ranks[at[pair], source]), float(pool.scores[at[pair], source])
                parts, rest, because = ((), None, "") if told is None else self._told(told, place)
                found[pair].append(Proposal(stage.id, rank, score, parts, rest, because))
        return found

    def _evidence(self, journey: Journey, stage: GeneratorStage, row: Ints64, item: Ints32) -> Evidence | None:
        asked, rows = journey.asked_of(stage)
        place = np.zeros(len(journey.request), np.int32)
        place[rows] = np.arange(len(rows))
        with guarded(stage.who):
            told = stage.component.evidence(journey.fitted[stage.id].state, asked, place[row], item, PARTS)
        if told is not None:
            check_evidence(stage.who, told, len(row), PARTS)
        return told

    def _told(self, told: Evidence, pair: int) -> tuple[tuple[Part, ...], float, str]:
        """The parts of one pair by name, the rest, and the sentence's end made of the parts that speak for it."""
        span = range(int(told.indptr[pair]), int(told.indptr[pair + 1]))
        names = [item_name(self.data, int(told.item[at])) if told.item[at] >= 0 else told.label[at] for at in span]
        parts = tuple(Part(name, float(told.amount[at])) for name, at in zip(names, span, strict=True))
        telling = TELLING * max((part.amount for part in parts), default=0.0)
        speaking = [part.name for part in parts if part.amount > 0 and part.amount >= telling]
        return parts, float(told.rest[pair]), told.because.format(listed(speaking)) if speaking else ""

    def _steps(self, journey: Journey, seen: Sequence[Snapshot], row: Ints64, item: Ints32) -> list[list[Step]]:
        steps: list[list[Step]] = [[] for _ in row]
        before = seen[0].pool
        there = np.flatnonzero(before.find(row, item) >= 0)
        for snapshot in seen[1:]:
            if snapshot.step == "rank":
                terms = _terms(journey, snapshot, before)
                _add_steps(steps, snapshot, there, row, item, terms)
            elif snapshot.step in ("filter", "cut"):
                _add_steps(steps, snapshot, there, row, item, {})
            before = snapshot.pool
        return steps


def _add_steps(
    steps: list[list[Step]],
    snapshot: Snapshot,
    there: Ints64,
    row: Ints64,
    item: Ints32,
    terms: Mapping[str, Floats64],
) -> None:
    """The step that a snapshot is of, for each of the pairs `there` that got so far."""
    pool, at = snapshot.pool, snapshot.pool.find(row, item)
    rank = _ranks(pool, by_score=snapshot.step != "filter")
    for pair in there.tolist():
        if steps[pair] and steps[pair][-1].rank == 0:
            continue
        position = int(at[pair])
        if position < 0:
            steps[pair].append(Step(snapshot.stage, snapshot.step, 0, float("nan")))
            continue
        named = tuple(Part(name, float(values[position])) for name, values in terms.items())
        score = float(pool.score[position])
        steps[pair].append(Step(snapshot.stage, snapshot.step, int(rank[position]), score, named))


def item_name(data: Dataset, item: int) -> str:
    """What people call an item: its name where the catalogue has one, else its id."""
    name = data.catalog.labels("name", [item])[0] if "name" in data.catalog.columns else ""
    return name if name and name != "-" else data.items.texts([item])[0]


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _ranks(pool: Pool, *, by_score: bool) -> Ints64:
    """The rank of each entry in its row, from 1: by score, or as the pool stands. int64 [N]."""
    order = best_first_order(pool) if by_score else np.arange(len(pool))
    ranks = np.empty(len(pool), np.int64)
    ranks[order] = np.arange(len(pool)) - pool.indptr[pool.row[order]] + 1
    return ranks


def _terms(journey: Journey, snapshot: Snapshot, before: Pool) -> Mapping[str, Floats64]:
    """A ranker's terms for every entry of its pool; the score as one where it tells none."""
    stage = next(one for one in journey.stages.rankers if one.id == snapshot.stage)
    fitted, score = journey.fitted[stage.id], snapshot.pool.score
    whole = {"score": score.astype(np.float64)}
    if fitted.failed or stage.id not in snapshot.pool.features:
        return whole
    with guarded(stage.who):
        terms = stage.component.terms(fitted.state, journey.request, before)
    if terms is None:
        return whole
    check_terms(stage.who, terms, score)
    return terms


def _last_shares(steps: Sequence[Sequence[Step]], sources: Sequence[str]) -> list[Mapping[str, float]]:
    """What each generator's word was worth to the last ranker that weighs generators, pair by pair."""
    shares: list[Mapping[str, float]] = []
    for went in steps:
        weighing = [step for step in went if any(term.name in sources for term in step.terms)]
        shares.append(_amounts(weighing[-1].terms) if weighing else {})
    return shares


def _sentence(proposals: Sequence[Proposal], shares: Mapping[str, float]) -> str:
    """The reason of the generator that counted most among those that tell one."""
    telling = [one for one in proposals if one.because]
    if not telling:
        return ""
    return max(telling, key=lambda one: (shares.get(one.stage, 0.0), -one.rank)).because
