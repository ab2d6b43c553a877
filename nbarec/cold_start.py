"""Cold starts, measured: how good every list is for new users, and for new items, by how much is known of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nbarec.arrays import Bools, Floats32, Ints64, frozen, rank_in_row, row_pointers
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.evaluate import evaluate
from nbarec.evaluation_config import ColdStart
from nbarec.measuring import MetricAt
from nbarec.model import Model
from nbarec.one_pass import Pass
from nbarec.progress import track
from nbarec.relevance import relevant_items
from nbarec.reports import ColdRow, ColdTable, Evaluation
from nbarec.sparse import Csr
from nbarec.split_rules import share_of
from nbarec.statistics import mean_interval

if TYPE_CHECKING:
    from nbarec.pipeline import Pipeline

USER_STREAM, ITEM_STREAM, ORDER_STREAM, BOOTSTRAP_STREAM = 6, 3, 4, 5
"""Random streams of this measurement, apart from each other, from those of an evaluation and of the stages."""


@dataclass(frozen=True)
class ColdStartRun:
    """The measurement of one pipeline over one dataset.

    * New users (strong generalisation: Marlin 2004): a share of the users with enough events is left out of fitting.
      Each then brings the first n of his events, for every n, and what he did after the largest n is to be found.
    * New items: of a share of the items with enough events only the first n are known, for every n. The same lists
      compete over these items alone, and what happened to them after the largest n is to be found.

    First is by time; in data without times by a random order. The held-out events of a table are the same in each of
    its rows, so the rows differ by what is known and by nothing else. `relevant` bool [events] says which events count,
    and `weight` float32 [events] how much where they are held out.
    """

    pipeline: Pipeline
    data: Dataset
    relevant: Bools
    weight: Floats32
    asked: ColdStart
    metric: MetricAt

    @classmethod
    def of(
        cls, pipeline: Pipeline, data: Dataset, relevant: Bools, weight: Floats32, asked: ColdStart, metric: MetricAt
    ) -> ColdStartRun:
        """The measurement over data whose events stand in the order in which they are to become known."""
        if data.events.time.any():
            return cls(pipeline, data, relevant, weight, asked, metric)
        random = np.random.default_rng([pipeline.config.seed, ORDER_STREAM]).random(len(data.events))
        order = np.lexsort((random, data.events.row))
        shuffled = data.with_events(data.events.at(order, data.events.indptr))
        return cls(pipeline, shuffled, relevant[order], weight[order], asked, metric)

    def tables(self) -> tuple[ColdTable, ...]:
        """One table for users and one for items, as far as they are asked for. Raises ConfigError where nobody, or no
        item, has enough events."""
        found = []
        if self.asked.users:
            found.append(self._table("users", self.asked.users, self._users()))
        if self.asked.items:
            found.append(self._table("items", self.asked.items, self._items()))
        return tuple(found)

    def _table(self, what: str, known: tuple[int, ...], rows: Iterator[Evaluation]) -> ColdTable:
        with track(f"new {what}", len(known)) as advance:
            told = []
            for events, evaluation in zip(known, rows, strict=True):
                told.append(self._row(events, evaluation))
                advance(1)
        return ColdTable(what, self.metric.label, tuple(told))

    def _row(self, events: int, evaluation: Evaluation) -> ColdRow:
        """The best generator, and how far the last ranker is ahead of it, over the same users."""
        label, stages = self.metric.label, self.pipeline.stages
        means = {stage.id: evaluation.stages[stage.id].figures[label].mean for stage in stages.generators}
        best = max(means, key=lambda stage: np.nan_to_num(means[stage], nan=-np.inf))
        ranked = stages.rankers[-1].id if stages.rankers else ""
        lead = evaluation.stages[ranked or best].values[label] - evaluation.stages[best].values[label]
        known = lead[~np.isnan(lead)]  # users for whom both lists have a value
        interval = mean_interval(known, self._rng(BOOTSTRAP_STREAM))
        return ColdRow(events, evaluation, best, ranked, float(known.mean()) if len(known) else math.nan, interval)

    def _users(self) -> Iterator[Evaluation]:
        events, most = self.data.events, max(self.asked.users)
        new = self._drawn(np.flatnonzero(events.counts > most), "user", most, USER_STREAM)
        place = np.where(np.isin(events.row, new), rank_in_row(events.indptr), 0)
        truth, fitted = self._truth(place > most), self.pipeline.fit(self._with(place == 0)).fitted
        for known in self.asked.users:  # a step a row of the table
            data = self.pipeline.weighted(self._with(place <= known))
            yield self._measured(Model(self.pipeline, data, fitted), new, truth, None)

    def _items(self) -> Iterator[Evaluation]:
        events, most = self.data.events, max(self.asked.items)
        new = self._drawn(np.flatnonzero(self.data.item_counts > most), "item", most, ITEM_STREAM)
        place = np.where(np.isin(events.item, new), self._places_of_items(), 0)
        truth = self._truth(place > most)
        users = np.flatnonzero(np.bincount(events.row[place == 0], minlength=events.rows))
        for known in self.asked.items:  # a step a row of the table: a fit each
            yield self._measured(self.pipeline.fit(self._with(place <= known)), users, truth, new)

    def _measured(self, model: Model, users: Ints64, truth: Csr, items: Ints64 | None) -> Evaluation:
        among = None if items is None else model.data.items.take(items)

        rng, places = self._rng(BOOTSTRAP_STREAM), self.pipeline.config.slate.k
        return evaluate(Pass(model, among=among).lists, users, truth, (self.metric,), model.data, rng, places=places)

    def _truth(self, hidden: Bools) -> Csr:
        """What is to be found: the relevant ones of the hidden events (users x items)."""
        known = self.pipeline.weighted(self._with(~hidden)).events
        hidden_events = replace(self.data.events, weight=frozen(self.weight)).where(hidden)
        return relevant_items(hidden_events, self.relevant[hidden], known)

    def _places_of_items(self) -> Ints64:
        """The how-manieth event of its item each event is, from 1: int64 [events]."""
        events = self.data.events
        when = events.time if events.time.any() else self._rng(ORDER_STREAM).random(len(events))
        order = np.lexsort((when, events.item))
        places = np.empty(len(events), np.int64)
        places[order] = rank_in_row(row_pointers(self.data.item_counts))
        return places

    def _drawn(self, able: Ints64, what: str, most: int, stream: int) -> Ints64:
        """A share of those that are able, ascending: int64."""
        if not len(able):
            raise ConfigError(f"evaluate.cold_start: no {what} has more than {most} events; ask for fewer")
        return np.sort(self._rng(stream).choice(able, share_of(able, self.asked.fraction), replace=False))

    def _with(self, known: Bools) -> Dataset:
        return self.data.with_events(self.data.events.where(known))

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.pipeline.config.seed, stream])
