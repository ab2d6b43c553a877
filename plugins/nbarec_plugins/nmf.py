"""Non-negative matrix factorisation: tastes that only ever add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.factors import poles_of
from nbarec.hookspecs import hookimpl
from nbarec.products import ItemIndex
from nbarec.scored_pairs import pair_products
from nbarec.tables import Table
from nbarec.traits import Traits
from nbarec_plugins.nonnegative import factorise, nonnegative_rows, singular_start
from nbarec_plugins.sparse_products import PaddedRows, SparseProducts
from nbarec_plugins.sparse_rows import SparseRows

UPDATE_ITERATIONS = 5
"""An update starts from factors that are nearly right."""


@dataclass(frozen=True)
class NmfState:
    """What each factor is made of, and what folding a user in needs.

    `index` holds H float32 [items, f], ready to be searched: at least 0, and zeros for an item that nobody has.
    `importance` c float64 [items]: the weight of an item's errors, 0 where nobody has it. `gram` float64 [f, f]: the
    sum of c_i h_i h_i', with a diagonal of ones (0 for a factor without items). `tastes`: what to call each factor.
    """

    index: ItemIndex
    importance: Floats64
    gram: Floats64
    tastes: tuple[str, ...]

    @property
    def item_factors(self) -> Floats32:
        """H float32 [items, f]."""
        return self.index.items


@dataclass(frozen=True)
class Nmf(CandidateGenerator[NmfState]):
    """Scores item i for user u by w_u . h_i with w, h >= 0: the weight that is expected (Lee, Seung 1999, 2001).

    Minimises the sum over users u and items i of c_i (x_ui - w_u . h_i)^2, plus `regularization` |w_u|^2 for each u. x
    is a pair's weight to the power of `power`, and 0 where there is no pair or its weight is not positive; c_i = (users
    of i)^-balance. Found by hierarchical alternating least squares (Cichocki, Phan 2009) from NNDSVD (Boutsidis,
    Gallopoulos 2008), which leaves hardly anything to chance, and with extrapolation (Ang, Gillis 2019).

    Nothing is ever subtracted, so a factor is a part: a taste, with the items that it likes. Scale and order are fixed:
    sum_i c_i h_ik^2 = 1 for every factor k, and factors stand by sum_u w_uk^2, largest first; so a user's loadings
    compare with each other and with other users'. Factors beyond the number of users or items are zeros.

    A request's user is folded in by non-negative least squares from the history that was sent. A history without a
    positive weight yields nothing, and so does an item that shares no factor with it, or that nobody had.

    >>> plays = np.array([[5, 4, 0, 0], [4, 5, 0, 0], [0, 0, 4, 5], [0, 0, 5, 4]])
    >>> user, item = np.nonzero(plays)
    >>> data = Dataset.from_arrays(user, item, plays[user, item])
    >>> state = Nmf(factors=2).fit(data, np.random.default_rng(0))
    >>> sorted((state.item_factors.T > 0.001).tolist())
    [[False, False, True, True], [True, True, False, False]]
    """

    name: ClassVar[str] = "nmf"
    state_version: ClassVar[int] = 2
    factors: int = param(32, ge=1, doc="How many tastes there are.")
    iterations: int = param(100, ge=1, doc="At most so many passes over both sides.")
    tolerance: float = param(1e-5, ge=0, lt=1, doc="Stops when a pass takes less than this share off the loss.")
    regularization: float = param(
        0.01, ge=0, doc="Cost of squared loadings: a user of one taste r has 1 / (1 + r) of it."
    )
    power: float = param(0.5, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same.")
    balance: float = param(
        0.5, ge=0, le=2, doc="Errors of an item with n users count n^-balance: 0 is for hits, 1 treats items alike."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> NmfState:
        """The factors of these events; `rng` serves a random range finder alone."""
        pairs = self._pairs(data.events)
        importance = self._importance(pairs)
        matrix = SparseProducts.of(_balanced(pairs, importance))
        start = singular_start(matrix, self.factors, rng)
        found = factorise(matrix, start, self.regularization, self.iterations, self.tolerance)
        strongest = np.argsort(-np.square(found.users).sum(axis=0), kind="stable")
        return _state(found.items[:, strongest], importance, data.full_catalog())

    def update(self, state: NmfState, data: Dataset, new: Dataset) -> NmfState:
        """A few iterations over all events from the factors as they are, which keep their places; items may be new.

        Close to a refit, and not equal to it: what is new moves the factors, but makes no factor of its own. Where
        there are none, as after a fit without events, it is a fit: all would stay at zero. Nothing new changes nothing.
        """
        if not state.importance.any():
            return self.fit(data, np.random.default_rng(0))
        if not len(new.events) and len(state.importance) == data.events.n_items:
            return state
        pairs = self._pairs(data.events)
        importance = self._importance(pairs)
        matrix = SparseProducts.of(_balanced(pairs, importance))
        start = np.zeros((pairs.columns, self.factors), np.float32)
        start[: len(state.item_factors)] = state.item_factors
        start *= np.sqrt(importance).astype(np.float32)[:, None]
        iterations = min(UPDATE_ITERATIONS, self.iterations)
        found = factorise(matrix, _of_length_one(start), self.regularization, iterations, self.tolerance)
        return _state(found.items, importance, data.full_catalog())

    def generate(self, state: NmfState, request: Request, limit: int) -> Candidates:
        """Items of positive score, best first."""
        loadings = self.loadings(state, request.history)
        return state.index.best(loadings, limit, request.excluded, above=0.0)

    def evidence(self, state: NmfState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each taste adds to the score, w_uk h_ik: none takes anything away, and together they are the score.

        A taste is called `taste 3 (rock, calm)`: its number, as `nbarec factors` counts them, and what the items that
        it likes best share, where there is such a thing.
        """
        rows, of_row = np.unique(row, return_inverse=True)
        loadings = self.loadings(state, request.history.take_rows(rows))
        amount = loadings[of_row] * state.item_factors[item]
        pair, factor = np.nonzero(amount)
        score = pair_products(loadings, state.item_factors, of_row, item.astype(np.int64))
        told = Evidence.strongest(pair, factor.astype(np.int32), amount[pair, factor], score, limit, "it fits {}")
        return told.labelled([state.tastes[at] for at in told.item.tolist()])

    def item_vectors(self, state: NmfState) -> Floats32:
        """What each item adds to each factor: float32 [items, f], at least 0."""
        return state.item_factors

    def user_vectors(self, state: NmfState, request: Request) -> Floats32:
        """Each user's loadings: float32 [B, f], at least 0."""
        return frozen(self.loadings(state, request.history).astype(np.float32))

    def loadings(self, state: NmfState, history: Events) -> Floats64:
        """The loadings that explain each row of `history` best: float64 [B, f], at least 0; zeros without a history."""
        pairs = self._pairs(history)
        weighed = SparseRows(pairs.indptr, pairs.column, pairs.value * state.importance[pairs.column], pairs.columns)
        right = PaddedRows.of(weighed, np.float64).times(state.item_factors)
        return nonnegative_rows(right, state.gram + self.regularization * np.eye(len(state.gram)))

    def _pairs(self, events: Events) -> SparseRows:
        """x: the pairs of positive weight, raised to `power`."""
        weight = events.pair_weights()
        return SparseRows.from_csr(events.matrix(), weight > 0, np.maximum(weight, 0.0) ** self.power)

    def _importance(self, pairs: SparseRows) -> Floats64:
        """c: float64 [items]."""
        users = np.bincount(pairs.column, minlength=pairs.columns)
        return np.where(users > 0, np.maximum(users, 1).astype(np.float64) ** -self.balance, 0.0)


def _balanced(pairs: SparseRows, importance: Floats64) -> SparseRows:
    """x_ui sqrt(c_i): what is factorised."""
    return SparseRows(pairs.indptr, pairs.column, pairs.value * np.sqrt(importance)[pairs.column], pairs.columns)


def _of_length_one(columns: Floats32) -> Floats32:
    length = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(length > 0, length, 1), np.float32)


def _state(items: Floats32, importance: Floats64, catalog: Table) -> NmfState:
    """From H sqrt(c), whose columns have length 1."""
    root = np.sqrt(importance)[:, None]
    factors = np.divide(items, root, out=np.zeros(items.shape), where=root > 0).astype(np.float32)
    kept = np.asarray(factors * root, np.float64)
    return NmfState(ItemIndex.of(factors), frozen(importance), frozen(kept.T @ kept), _tastes(factors, catalog))


def _tastes(factors: Floats32, catalog: Table) -> tuple[str, ...]:
    """What to call each factor: its number from 1, and what its strongest items share."""
    shared = {pole.factor: f" ({pole.label})" for pole in poles_of(factors, Traits.of(catalog)) if pole.traits}
    return tuple(f"taste {factor}{shared.get(factor, '')}" for factor in range(1, factors.shape[1] + 1))


@hookimpl
def nbarec_candidate_generators() -> list[type[Nmf]]:
    """The generators of this module."""
    return [Nmf]
