"""Truncated singular value decomposition: what is left of a history when all but its strongest patterns is noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, concat_ranges, frozen, row_pointers
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.products import ItemIndex
from nbarec.scored_pairs import pair_products
from nbarec_plugins.sparse_products import PaddedRows, SparseProducts
from nbarec_plugins.sparse_rows import SparseRows, strongest
from nbarec_plugins.truncated_svd import truncated_svd

TERMS = 1 << 18
"""Pairs of a wanted item and one of the history that evidence looks at together: a few MB."""


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
    tens of thousands. There is no training: one truncated decomposition, equal but for its `tolerance` whatever the
    seed. A user is projected from the history that was sent. Only items of positive score are proposed: none to a user
    without a history, and none that nobody has.

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
    factors: int = param(64, ge=1, doc="How many patterns are kept.")
    scaling: float = param(
        0.4, ge=0, le=1, doc="A pair counts n^-scaling for a user, and for an item, of n pairs: 0 leaves hits in front."
    )
    power: float = param(0.5, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same but for signs.")
    tolerance: float = param(
        0.005, gt=0, lt=1, doc="Share of the patterns' strength that may be missing; less is more exact, and slower."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> PureSvdState:
        """The patterns of these events; `rng` serves the decomposition's first directions alone."""
        pairs = self._pairs(data.events)
        users, items = np.diff(pairs.indptr), np.bincount(pairs.column, minlength=pairs.columns)
        of_user, of_item = _power(users, -self.scaling), _power(items, -self.scaling)
        value = pairs.value * of_user[pairs.row_of] * of_item[pairs.column]
        scaled = SparseRows(pairs.indptr, pairs.column, value, pairs.columns)
        found = truncated_svd(SparseProducts.of(scaled), self.factors, rng, self.tolerance).right
        vectors = np.zeros((pairs.columns, self.factors), np.float32)
        vectors[:, : found.shape[1]] = found * _power(items, self.scaling).astype(np.float32)[:, None]
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
        rows, of_row = np.unique(row, return_inverse=True)
        weighed = self._weighed(state, request.history.take_rows(rows))
        score = pair_products(self._projected(state, weighed), state.vectors, of_row, item.astype(np.int64))
        pair, term, amount = _strongest_terms(state.vectors, weighed, of_row, item.astype(np.int64), limit)
        return Evidence.strongest(pair, weighed.column[term], amount, score, limit, "you chose {}")

    def item_vectors(self, state: PureSvdState) -> Floats32:
        """q_i = n_i^scaling v_i: float32 [items, f]; zeros for an item that nobody has."""
        return state.vectors

    def user_vectors(self, state: PureSvdState, request: Request) -> Floats32:
        """The histories, projected: float32 [B, f], whose products with the item vectors are the scores."""
        return frozen(self._projected(state, self._weighed(state, request.history)).astype(np.float32))

    def _pairs(self, events: Events) -> SparseRows:
        """x: the pairs of nonzero weight, raised to `power`."""
        weight = events.pair_weights()
        return SparseRows.from_csr(events.matrix(), weight != 0, np.sign(weight) * np.abs(weight) ** self.power)

    def _weighed(self, state: PureSvdState, history: Events) -> SparseRows:
        """x_uj n_j^(-2 scaling)."""
        pairs = self._pairs(history)
        return SparseRows(pairs.indptr, pairs.column, pairs.value * state.share[pairs.column], pairs.columns)

    def _projected(self, state: PureSvdState, weighed: SparseRows) -> Floats64:
        """The vector of each row: float64 [B, f], zeros without a history."""
        projected: Floats64 = PaddedRows.of(weighed, np.float64).times(state.vectors)
        return projected


def _power(count: Ints64, exponent: float) -> Floats64:
    """count^exponent, 0 where the count is."""
    return np.where(count > 0, np.maximum(count, 1).astype(np.float64) ** exponent, 0.0)


def _strongest_terms(
    vectors: Floats32, rows: SparseRows, row: Ints64, item: Ints64, limit: int
) -> tuple[Ints64, Ints64, Floats64]:
    """The entries n of a row of `rows` that add most to sum_n value_n q_n . q_i, of M pairs of a row and an item i.

    `vectors` q float32 [items, f], `row` and `item` int64 [M]. Returns which pair, which entry of `rows`, int64 [E],
    and what it adds, float64 [E], not zero: at most `limit` a pair, the largest in size.
    """
    counts = rows.counts[row]
    before = row_pointers(counts)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    first = 0
    # One step a block of pairs: what bounds the memory.
    while first < len(row):
        last = max(int(np.searchsorted(before, before[first] + TERMS, side="right")) - 1, first + 1)
        pair = np.repeat(np.arange(last - first), counts[first:last])
        term = concat_ranges(rows.indptr[row[first:last]], counts[first:last])
        own, where = np.unique(term, return_inverse=True)
        weighed = vectors.take(rows.column[own], axis=0) * rows.value[own, None]
        amount = pair_products(weighed, vectors, where, item[first:last][pair])
        kept = np.flatnonzero(amount)
        kept = kept[strongest(pair[kept], np.abs(amount[kept]), last - first, limit)]
        found.append((first + pair[kept], term[kept], amount[kept]))
        first = last
    pair, term, amount = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return pair, term, amount


@hookimpl
def nbarec_candidate_generators() -> list[type[PureSvd]]:
    """The generators of this module."""
    return [PureSvd]
