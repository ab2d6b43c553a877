"""Examples for rankers that learn: pools as they were before some events were known, and what these events say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nbarec.arrays import Bools, Floats32, Ints32, Ints64, frozen
from nbarec.batch import Pool
from nbarec.components import Example, HeldOut
from nbarec.contracts import guarded
from nbarec.data import Dataset
from nbarec.expressions import Expression
from nbarec.model import Model
from nbarec.progress import track
from nbarec.scopes import EventScope
from nbarec.serving import Journey
from nbarec.sparse import Csr
from nbarec.splits import GlobalTime, Holdout, LastFraction, Random, hold_out
from nbarec.stages import AnyStage, Fitted, Stages
from nbarec.timelines import Moments, Timeline
from nbarec.work import in_shards

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline

CUT_STREAM, USER_STREAM = 7, 8
"""Random streams of examples, apart from those of an evaluation and of the stages."""

SPLITS: Mapping[str, type[GlobalTime | LastFraction | Random]] = {
    split.name: split for split in (GlobalTime, LastFraction, Random)
}
"""What `HeldOut.split` may name."""


@dataclass
class Past:
    """What rankers learn from: `data`, not weighted yet, cut in two, and the stages fitted on the earlier part.

    Rankers that hold out alike share a cut. A ranker before another learns for it from the earlier part, of which the
    engine holds out once more: none ever sees a pool that was made with what it is to be told.
    """

    pipeline: Pipeline
    data: Dataset
    cuts: dict[tuple[str, float], Cut] = field(default_factory=dict)

    def examples(self, stage: AnyStage, held_out: HeldOut) -> Iterator[Example]:
        """The examples of one ranker. Raises ConfigError where the data can't be cut, or a stage can't be fitted."""
        with guarded(stage.who, stage.mark):
            cut = self._cut(held_out)
        return cut.examples(stage, held_out)

    def _cut(self, held_out: HeldOut) -> Cut:
        name, fraction = held_out.split, held_out.fraction
        if name == "auto":
            name = "global_time" if self.data.events.time.any() else "random"
        if (name, fraction) not in self.cuts:
            split = SPLITS[name](fraction=fraction)
            rng = np.random.default_rng([self.pipeline.config.seed, CUT_STREAM])
            self.cuts[name, fraction] = Cut(self.pipeline, hold_out(self.data, split, rng), self.data.as_of)
        return self.cuts[name, fraction]


@dataclass
class Cut:
    """One cut: what was known before, the stages that were fitted on it so far, and the held-out events. `as_of` is the
    clock of both parts together."""

    pipeline: Pipeline
    holdout: Holdout
    as_of: int
    fitted: dict[str, Fitted] = field(default_factory=dict)

    @cached_property
    def known(self) -> Dataset:
        """The earlier part, weighted by the clock of its own time."""
        feedback = self.pipeline.section.feedback
        return self.holdout.train if feedback is None else feedback.apply(self.holdout.train)

    @cached_property
    def past(self) -> Past:
        """What rankers that learn for a later one learn from."""
        return Past(self.pipeline, self.holdout.train)

    @cached_property
    def timeline(self) -> Timeline:
        """What was known before and the held-out events, weighted by the clock of the earlier part."""
        feedback, later = self.pipeline.section.feedback, self.holdout.train.with_events(self.holdout.test)
        weighted = later if feedback is None else feedback.apply(later)
        return Timeline.of(self.known.events, weighted.events, self.known.as_of)

    def examples(self, stage: AnyStage, held_out: HeldOut) -> Iterator[Example]:
        """Batches of requests: of users who did something of the held-out part that counts, or of such events."""
        before = stages_before(self.pipeline.stages, stage)
        for one in before.all():
            if one.id not in self.fitted:
                self.fitted[one.id] = self.pipeline.fitted_stage(one, self.known, self.past, told=False)
        with guarded(stage.who, stage.mark):
            asked = self._asked(held_out, stage)
        return self._batches(stage, before, asked)

    def _batches(self, stage: AnyStage, before: Stages, lesson: _Asked) -> Iterator[Example]:
        model = Model(self.pipeline, self.known, self.fitted)
        vectors, door, size, moments = model.vectors, model.door, model.batch_size(), lesson.moments
        asked = door.asked(0, self.pipeline.config.slate.k)

        def example(span: slice, _shared: object) -> Example:
            request = door.request_at(moments.take(np.arange(span.start, span.stop)), asked)
            journey = Journey(before, self.fitted, vectors, request, lambda _stage, _error: None)
            pool = journey.ranked(journey.pool(None if lesson.shown is None else lesson.shown[span]))
            label, labels = lesson.told(span, pool)
            return Example(request, pool, label, labels)

        with track(f"examples for {stage.id}", len(moments)) as advance:
            for one in in_shards(example, moments.spans(size, model.history_bytes())):
                yield one
                advance(len(one.request))

    def _asked(self, held_out: HeldOut, stage: AnyStage) -> _Asked:
        """The requests that a ranker learns from, and their labels."""
        component: Any = stage.component
        weighted = self._weighted()
        liked = _holds(held_out.relevant, weighted)
        marked = {name: _holds(expression, weighted) for name, expression in component.labels().items()}
        if held_out.by == "user":
            return self._users(liked, marked, held_out.users)
        shown = None if held_out.shown is None else _holds(held_out.shown, weighted)
        return self._events(liked, marked, held_out.users, shown)

    def _users(self, liked: Bools, marked: Mapping[str, Bools], most: int) -> _Asked:
        """A request for each of some users with held-out events that count, bool [held-out events]."""
        test = self.holdout.test
        users = self._drawn(np.flatnonzero(np.bincount(test.row[liked], minlength=test.rows)), most)

        def pairs(counts: Bools) -> Csr:
            return Csr.from_pairs(test.row[counts], test.item[counts], None, (test.rows, test.n_items)).take_rows(users)

        labels = {name: pairs(counts) for name, counts in marked.items()}
        return _Asked(Moments.of_users(self.known, users), pairs(liked), labels)

    def _events(self, liked: Bools, marked: Mapping[str, Bools], most: int, shown: Bools | None) -> _Asked:
        """A request for each of some held-out events: of those that count, or of those that were shown."""
        test = self.holdout.test
        events = self._drawn(np.flatnonzero(liked if shown is None else shown), most)

        def pairs(counts: Bools) -> Csr:
            row = np.flatnonzero(counts[events])
            return Csr.from_pairs(row, test.item[events[row]], None, (len(events), test.n_items))

        labels = {name: pairs(counts) for name, counts in marked.items()}
        item = None if shown is None else frozen(test.item[events])
        return _Asked(self.timeline.moments(events), pairs(liked), labels, item)

    def _weighted(self) -> Dataset:
        """The held-out events by the weights that feedback gives them (decay changes no sign)."""
        feedback, later = self.pipeline.section.feedback, self.holdout.train.with_events(self.holdout.test)
        later = replace(later, as_of=self.as_of)
        return later if feedback is None else replace(feedback, decay=None).apply(later)

    def _drawn(self, those: Ints64, most: int) -> Ints64:
        """At most so many of those, ascending."""
        rng = np.random.default_rng([self.pipeline.config.seed, USER_STREAM])
        return those if len(those) <= most else np.sort(rng.choice(those, most, replace=False))


@dataclass(frozen=True)
class _Asked:
    """The requests of examples, which pairs of a request and an item count (`liked`) and have further labels, both
    (requests x items), and the item that each request showed, int32 [requests], where that is known."""

    moments: Moments
    liked: Csr
    labels: Mapping[str, Csr]
    shown: Ints32 | None = None

    def told(self, span: slice, pool: Pool) -> tuple[Floats32, Mapping[str, Floats32]]:
        """The label of each entry of the pool of some requests, float32 [N], and its further ones."""
        rows = np.arange(span.start, span.stop)

        def label(pairs: Csr) -> Floats32:
            return frozen(pairs.take_rows(rows).contains(pool.row, pool.item).astype(np.float32))

        return label(self.liked), {name: label(pairs) for name, pairs in self.labels.items()}


def _holds(expression: Expression | None, weighted: Dataset) -> Bools:
    """Which events fulfil an expression, those of weight above 0 without one: bool [events]."""
    if expression is None:
        return np.asarray(weighted.events.weight > 0)
    scope = EventScope(weighted.events, weighted.full_catalog(), weighted.full_audience(), weighted.as_of)
    return expression.truth(scope).holds


def stages_before(stages: Stages, ranker: AnyStage) -> Stages:
    """The stages whose work a ranker sees: generators, features and the rankers before it."""
    place = [one.id for one in stages.rankers].index(ranker.id)
    return replace(stages, rankers=stages.rankers[:place], filters=())


def same_before(ranker: AnyStage, stages: Stages, others: Stages) -> bool:
    """Whether a ranker that both have sees the same work of the same stages in either."""
    if ranker.id not in [one.id for one in others.rankers]:
        return False
    mine, theirs = ([_configured(one) for one in stages_before(of, ranker).all()] for of in (stages, others))
    return mine == theirs


def _configured(stage: AnyStage) -> tuple[object, ...]:
    return stage.id, stage.component, replace(stage.settings, with_=None)
