"""Outcomes: where every item of the catalogue ended for one user, each with exactly one reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import Bools, Ints32, Ints64, frozen
from nbarec.batch import Slate
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.explain import Explainer, Explanation
from nbarec.ids import TextOrNumber
from nbarec.serving import Journey

SHOWN = "in the slate"
BELOW = "below the slate"
REMOVED = "removed by filter "
CUT = "below the cut of "
CONSUMED = "left out as consumed"
NOT_ASKED = "not among the items asked for"
NEVER = "never proposed"
NOT_THERE = "not in the catalogue"


@dataclass(frozen=True)
class Outcomes:
    """`reason` int16 [items], a position in `reasons`: why each item is, or is not, in one user's slate. `rank` int32
    [items]: its place in the slate from 1, 0 if it is not there."""

    reasons: tuple[str, ...]
    reason: np.ndarray
    rank: Ints32

    @classmethod
    def of(cls, journey: Journey, k: int) -> Outcomes:
        """Where every item ended on a way that one user went (its first row), with every snapshot of the pool."""
        items = journey.request.n_items
        reasons: list[str] = []
        reason = np.full(items, -1, np.int16)
        rank = np.zeros(items, np.int32)
        shown = (journey.seen or [])[-1].pool.item[:k]
        rank[shown] = np.arange(1, len(shown) + 1)
        # A step a reason: the later an item got, the earlier its reason stands, and the first that holds is its own.
        for name, members in _claims(journey, shown):
            fresh = members & (reason < 0)
            if fresh.any():
                reason[fresh] = len(reasons)
                reasons.append(name)
        return cls(tuple(reasons), frozen(reason), frozen(rank))

    def counts(self) -> dict[str, int]:
        """How many items have each reason; they add up to the catalogue."""
        found = np.bincount(self.reason, minlength=len(self.reasons))
        return dict(zip(self.reasons, found.tolist(), strict=True))

    def of_item(self, item: int) -> str:
        """The reason of one item, with its place where it is shown."""
        reason = self.reasons[self.reason[item]]
        return f"{reason} at rank {self.rank[item]}" if reason == SHOWN else reason


@dataclass(frozen=True)
class UserReasons:
    """One user's slate, explained place by place, and where every item of the catalogue ended."""

    slate: Slate
    outcomes: Outcomes
    explainer: Explainer

    @classmethod
    def of(cls, journey: Journey, slate: Slate, data: Dataset) -> UserReasons:
        """The reasons of a journey of one user that kept every snapshot."""
        explainer = Explainer(journey, data)
        way = journey.again[-1][0] if journey.again else journey
        explained = replace(slate, explanations=explainer.of_slate(slate.item))
        return cls(explained, Outcomes.of(way, slate.item.shape[1]), explainer)

    def of_item(self, item: TextOrNumber) -> tuple[str, Explanation | None]:
        """The outcome of one item in words, and how it came to that; no explanation for an item that is not in the
        catalogue."""
        position = int(self.slate.ids.index([item])[0])
        if position < 0:
            return NOT_THERE, None
        (explained,) = self.explainer.explain(np.zeros(1, np.int64), np.array([position], np.int32))
        return self.outcomes.of_item(position), explained


def _claims(journey: Journey, shown: Ints32) -> Iterator[tuple[str, Bools]]:
    """Every reason with the items that it could be given to, those that got furthest first."""
    items = journey.request.n_items
    seen = journey.seen or []
    yield SHOWN, _members(shown, items)
    yield BELOW, _members(seen[-1].pool.item, items)
    before = [None, *seen]
    for snapshot, last in zip(reversed(seen), reversed(before[:-1]), strict=True):
        if last is not None and snapshot.step in ("filter", "cut"):
            name = f"{REMOVED if snapshot.step == 'filter' else CUT}{snapshot.stage}"
            yield name, _members(last.pool.item, items)
    yield NOT_ASKED, _members(journey.request.excluded.indices, items)
    excluded, served = np.ones(items, bool), False
    for stage in journey.stages.generators:
        if journey.fitted[stage.id].failed:
            continue
        asked, rows = journey.asked_of(stage)
        if not len(rows):
            continue
        with guarded(stage.who):
            listed = stage.component.generate(journey.fitted[stage.id].state, asked, asked.n_items)
        yield f"{CUT}{stage.id}", _members(listed.item, items)
        excluded &= _members(asked.excluded.indices, items)
        served = True
    yield CONSUMED, excluded & served
    yield NEVER, np.ones(items, bool)


def _members(items: Ints32 | Ints64, total: int) -> Bools:
    found = np.zeros(total, bool)
    found[items] = True
    return found
