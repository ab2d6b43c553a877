"""Truncated singular value decomposition: what is left of a history when all but its strongest patterns is noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.products import ItemIndex
from nbarec.scored_pairs import pair_products
from nbarec_plugins.degree_scaling import degree_power, item_degrees, spectrum, weighted_pairs, with_factors
from nbarec_plugins.history_terms import strongest_terms
from nbarec_plugins.sparse_products import PaddedRows
from nbarec_plugins.sparse_rows import SparseRows

ITEMS_A_FACTOR, FEWEST_FACTORS, MOST_FACTORS = 40, 16, 1024
"""How many patterns a catalogue asks for: what was best among 1,700 items and 41,000 alike."""


@dataclass(frozen=True)
class PureSvdState:
    """`index` holds q_i = n_i^scaling v_i float32 [items, f], ready to be searched, zeros for an item that nobody has;
    `share` float64 [items] n_i^(-2 scaling), 0 for such an item: what a history's item weighs beside its own q."""

    index: ItemIndex
    share: Floats64

    @property
    def vectors(self) -> Floats32:
        """q float32 [items, f]."""
        return self.index.items


@dataclass(frozen=True)
class PureSvd(CandidateGenerator[PureSvdState]):
    """Scores item i for user u by what the `factors` strongest patterns of all users make of u's history (PureSVD:
    Cremonesi, Koren, Turrin 2010), each user and item scaled by how many pairs it has.

    Let x_ui be a pair's weight to the power of `power`, keeping its sign, and 0 where there is no pair; n_u and n_i how
    many pairs of nonzero weight a user and an item have. The matrix of

        r_ui = x_ui / (n_u n_i)^scaling

    has the singular vectors v of items, of which the `factors` first are the rows v_i of V; and

        score_ui = n_i^scaling sum_j x_uj n_j^-scaling (v_j . v_i)

    is the row of u projected on them, r V V', with the scale taken back: an estimate of x_ui. `scaling: 0` is the plain
    decomposition, in which heavy users and hits make nearly all patterns. 0.5 is the spectrum of the graph of users and
    items, and the score an ideal low-pass filter on it (Shen et al. 2021).

    The right number of factors depends on the data as few parameters do: some dozens for a thousand items, hundreds for
    tens of thousands. Left out, it is one for 40 items, but at least 16 and at most 1024. There is no training: one
    truncated decomposition, equal but for its `tolerance` whatever the seed. A user is projected from the history that
    was sent. Only items of positive score are proposed: none to a user without a history, and none that nobody has.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "rum cola", "dan": "rum cola", "eve": "tea"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> model = PureSvd(factors=2)
    >>> state = model.fit(data, np.random.default_rng(0))
    >>> from nbarec.testing.worlds import request_for
    >>> data.items.take(model.generate(state, request_for(data, [4]), limit=3).item)
    ['milk']
    """

    name: ClassVar[str] = "pure_svd"
    factors: int | None = param(None, ge=1, doc="How many patterns are kept; left out: one for 40 items, 16 to 1024.")
    scaling: float = param(
        0.4, ge=0, le=1, doc="A pair counts n^-scaling for a user, and for an item, of n pairs: 0 leaves hits in front."
    )
    power: float = param(0.5, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same but for signs.")
    tolerance: float = param(
        0.005, gt=0, lt=1, doc="Share of the patterns' strength that may be missing; less is more exact, and slower."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> PureSvdState:
        """The patterns of these events; `rng` serves the decomposition's first directions alone."""
        pairs = weighted_pairs(data.events, self.power)
        items = item_degrees(pairs)
        of_user, of_item = degree_power(pairs.counts, -self.scaling), degree_power(items, -self.scaling)
        scaled = with_factors(pairs, of_user, of_item)
        factors = self.factors or int(np.clip(pairs.columns // ITEMS_A_FACTOR, FEWEST_FACTORS, MOST_FACTORS))
        found = spectrum(scaled, factors, rng, self.tolerance, self.name).right
        vectors = np.zeros((pairs.columns, factors), np.float32)
        vectors[:, : found.shape[1]] = found * degree_power(items, self.scaling).astype(np.float32)[:, None]
        return PureSvdState(ItemIndex.of(vectors), frozen(of_item**2))

    def update(self, state: PureSvdState, data: Dataset, new: Dataset) -> PureSvdState:
        """A decomposition of all events, as a refit has it: there is no shorter way that is as exact.

        Nothing new changes nothing.
        """
        if not len(new.events) and len(state.share) == data.events.n_items:
            return state
        return self.fit(data, np.random.default_rng(0))

    def generate(self, state: PureSvdState, request: Request, limit: int) -> Candidates:
        """Items of positive score, best first."""
        users = self._projected(state, self._weighed(state, request.history))
        return state.index.best(users, limit, request.excluded, above=0.0)

    def evidence(self, state: PureSvdState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item j of the history adds to the score of i: x_uj n_j^(-2 scaling) q_j . q_i, exact and together
        all of it. It may be negative, where j stands for patterns that i is no part of."""
        weighed = self._weighed(state, request.history)

        def added(term: Ints64, of_item: Ints64) -> Floats64:
            own, where = np.unique(term, return_inverse=True)
            vectors = state.vectors.take(weighed.column[own], axis=0) * weighed.value[own, None]
            return pair_products(vectors, state.vectors, where, of_item)

        pair, term, amount, score = strongest_terms(weighed, row.astype(np.int64), item.astype(np.int64), limit, added)
        return Evidence.strongest(pair, weighed.column[term], amount, score, limit, "you chose {}")

    def item_vectors(self, state: PureSvdState) -> Floats32:
        """q_i = n_i^scaling v_i: float32 [items, f]; zeros for an item that nobody has."""
        return state.vectors

    def user_vectors(self, state: PureSvdState, request: Request) -> Floats32:
        """The histories, projected: float32 [B, f], whose products with the item vectors are the scores."""
        return frozen(self._projected(state, self._weighed(state, request.history)).astype(np.float32))

    def _weighed(self, state: PureSvdState, history: Events) -> SparseRows:
        """x_uj n_j^(-2 scaling)."""
        pairs = weighted_pairs(history, self.power)
        return SparseRows(pairs.indptr, pairs.column, pairs.value * state.share[pairs.column], pairs.columns)

    def _projected(self, state: PureSvdState, weighed: SparseRows) -> Floats64:
        """The vector of each row: float64 [B, f], zeros without a history."""
        projected: Floats64 = PaddedRows.of(weighed, np.float64).times(state.vectors)
        return projected


@hookimpl
def nbarec_candidate_generators() -> list[type[PureSvd]]:
    """The generators of this module."""
    return [PureSvd]
