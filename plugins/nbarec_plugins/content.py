"""Content-based filtering: items whose attributes are like those of what a user liked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Ints32
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.kernels import exclude, top_of_dense
from nbarec.tables import Table
from nbarec_plugins.attributes import FeatureNames, Features, Profiles, weights_of
from nbarec_plugins.sparse_rows import sums_at


@dataclass(frozen=True)
class ContentState:
    """The feature vector of every item of the catalogue, and what the features are called."""

    features: Features
    names: FeatureNames


@dataclass(frozen=True)
class Content(CandidateGenerator[ContentState]):
    """Scores item j by the cosine of its feature vector with the user's profile (Pazzani, Billsus 2007).

    The profile is the mean of the feature vectors of the history's events of positive weight, weighted by it; an item
    that was played twice counts twice. `attributes.Features.of` defines them. Needs no event of an item, so new
    items are proposed like any other; a history without a liked item, or whose profile is zero, yields nothing.

    >>> from nbarec.tables import NumberColumn
    >>> table = Table(3, {"tempo": NumberColumn(np.array([60.0, 62.0, 140.0]))})
    >>> sorted(Content(fields={"tempo": 2.0}).features_of(table).length.round(2).tolist())
    [1.36, 1.47, 2.83]
    """

    name: ClassVar[str] = "content"
    state_version: ClassVar[int] = 2
    fields: Mapping[str, float] | None = param(
        None, gt=0, doc="Columns of the items table, and what to multiply each one's features by; all if left out."
    )
    tfidf: bool = param(True, doc="Whether rare tags of a multi-valued column weigh more than common ones.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> ContentState:
        """The features of the catalogue; deterministic. Raises ConfigError where it lacks the columns."""
        return self._state(data.catalog)

    def update(self, state: ContentState, data: Dataset, new: Dataset) -> ContentState:
        """Equal to a refit: new events change nothing, new items join the catalogue."""
        return self._state(data.catalog)

    def generate(self, state: ContentState, request: Request, limit: int) -> Candidates:
        """Every item by its cosine with the profile, best first."""
        cosines = state.features.cosines(_profiles(state, request.history))
        return top_of_dense(exclude(cosines, request.excluded), limit)

    def evidence(self, state: ContentState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each feature adds to the cosine: profile x item over both lengths; together they are the score.

        A part is a level, `genre rock`, or a column of numbers or dates, `tempo`, in which both lie on the same side of
        the mean (a negative one: on different sides). A pair whose cosine is undefined has no parts, and a rest of 0.
        """
        rows, of_row = np.unique(row, return_inverse=True)
        profiles = _profiles(state, request.history.take_rows(rows))
        pair, feature, amount = state.features.shares(profiles, of_row, item)
        score = sums_at(pair, amount, len(item))
        told = Evidence.strongest(pair, feature, amount, score, limit, "it shares {} with what you chose")
        return told.labelled(state.names.texts(told.item))

    def features_of(self, table: Table) -> Features:
        """The feature vectors of a table's rows. Raises ConfigError where it lacks the columns."""
        return Features.of(table, weights_of(table, self.fields, self.name), self.tfidf)

    def _state(self, table: Table) -> ContentState:
        weights = weights_of(table, self.fields, self.name)
        return ContentState(Features.of(table, weights, self.tfidf), FeatureNames.of(table, weights))


def _profiles(state: ContentState, history: Events) -> Profiles:
    """The profile of each row's events of positive weight."""
    liked = np.flatnonzero(history.weight > 0)
    weight = history.weight[liked].astype(np.float64)
    return state.features.profiles(history.row[liked], history.item[liked], weight, history.rows)


@hookimpl
def nbarec_candidate_generators() -> list[type[Content]]:
    """The generators of this module."""
    return [Content]
