"""Low-pass filters on the graph of users and items: a linear one, and the ideal one of its strongest patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Ints32, frozen
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec_plugins.degree_scaling import degree_power, item_degrees, spectrum, weighted_pairs, with_factors
from nbarec_plugins.item_filters import ItemFilter
from nbarec_plugins.sparse_rows import SparseRows


@dataclass(frozen=True)
class LowPassState:
    """`filter`: both parts, the ideal one in its vectors q_i = n_i^scaling v_i, zeros for an item that nobody has."""

    filter: ItemFilter


@dataclass(frozen=True)
class LowPass(CandidateGenerator[LowPassState]):
    """Scores items by what is left of a history after two low-pass filters on the graph of users and items (GF-CF:
    Shen, Wu, Zhang, Shan, Zhang, Letaief, Li 2021).

    Let x_ui be a pair's weight to the power of `power`, keeping its sign, and 0 where there is no pair; n_u and n_i how
    many pairs of nonzero weight a user and an item have. With

        r_ui = x_ui / (n_u^user_scaling n_i^item_scaling),    s_ui = x_ui / (n_u n_i)^scaling

    and V the first `factors` singular vectors of items of the matrix of s, a history x has the scores

        x R' R  +  share  x D^-scaling V V' D^scaling,    D the diagonal of all n_i.

    The first part is the linear filter: three steps on the graph, from items to their users to these users' items. The
    second is the ideal low-pass filter, which `pure_svd` is alone: it keeps the smoothest patterns as they are and
    nothing else. The paper has 0.5 for all three exponents and a `share` of 0.3 for sparse data. The linear part is
    computed through the users, exactly; a matrix of all items by all items is never made. The decomposition is by a
    randomised range finder (Halko, Martinsson, Tropp 2011) with block Krylov steps.

    There is no training, and a user's scores come from the history that was sent. Only items of positive score are
    proposed: none to a user without a history, and none that nobody has.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "rum cola", "dan": "rum cola", "eve": "tea"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> model = LowPass(factors=2)
    >>> state = model.fit(data, np.random.default_rng(0))
    >>> from nbarec.testing.worlds import request_for
    >>> data.items.take(model.generate(state, request_for(data, [4]), limit=3).item)
    ['milk']
    """

    name: ClassVar[str] = "low_pass"
    factors: int = param(256, ge=1, doc="How many patterns the ideal low-pass filter keeps.")
    share: float = param(0.3, ge=0, doc="What the ideal low-pass filter counts beside the linear filter.")
    user_scaling: float = param(
        0.5, ge=0, le=1, doc="Linear filter: a pair counts n^-user_scaling for a user of n pairs."
    )
    item_scaling: float = param(0.4, ge=0, le=1, doc="Linear filter: the same for an item; less favours hits.")
    scaling: float = param(0.4, ge=0, le=1, doc="Ideal low-pass filter: the same for users and items.")
    power: float = param(0.0, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same but for signs.")
    tolerance: float = param(
        0.005, gt=0, lt=1, doc="Share of the patterns' strength that may be missing; less is more exact, and slower."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> LowPassState:
        """Both filters of these events; `rng` serves the decomposition's first directions alone.

        Raises ConfigError where the decomposition does not fit the memory budget.
        """
        pairs = weighted_pairs(data.events, self.power)
        users, items = pairs.counts, item_degrees(pairs)
        scaled = with_factors(pairs, degree_power(users, -self.scaling), degree_power(items, -self.scaling))
        right = spectrum(scaled, self.factors, rng, self.tolerance, self.name).right
        vectors = np.zeros((pairs.columns, max(right.shape[1], 1)), np.float32)
        vectors[:, : right.shape[1]] = right * degree_power(items, self.scaling).astype(np.float32)[:, None]
        linear = with_factors(pairs, degree_power(users, -self.user_scaling), np.ones(pairs.columns)).transpose()
        of_item = frozen(degree_power(items, -self.item_scaling))
        return LowPassState(
            ItemFilter(
                vectors=frozen(vectors),
                gain=frozen(np.full(vectors.shape[1], self.share)),
                inside=frozen(degree_power(items, -2 * self.scaling)),
                users=linear,
                via=of_item,
                back=of_item,
                own=frozen(np.zeros(pairs.columns)),
            )
        )

    def update(self, state: LowPassState, data: Dataset, new: Dataset) -> LowPassState:
        """The filters of all events, as a refit has them: there is no shorter way that is as exact.

        Nothing new changes nothing.
        """
        if not len(new.events) and state.filter.users.rows == data.events.n_items:
            return state
        return self.fit(data, np.random.default_rng(0))

    def generate(self, state: LowPassState, request: Request, limit: int) -> Candidates:
        """Items of positive score, best first."""
        return state.filter.best(self._history(request), limit, request.excluded)

    def evidence(self, state: LowPassState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item of the history adds to the score, by both filters: exact, and together all of it. What
        disliked items say for an item, by being unlike it, is in the rest."""
        return state.filter.evidence(self._history(request), row, item, limit)

    def item_vectors(self, state: LowPassState) -> Floats32:
        """q_i = n_i^scaling v_i of the ideal low-pass filter: float32 [items, f]; zeros for an item that nobody has."""
        return state.filter.vectors

    def user_vectors(self, state: LowPassState, request: Request) -> Floats32:
        """The histories, projected: float32 [B, f], whose products with the item vectors are the ideal filter's part
        of the scores, before `share`."""
        return frozen(state.filter.projected(self._history(request)).astype(np.float32))

    def _history(self, request: Request) -> SparseRows:
        """x of the request: (B x items)."""
        return weighted_pairs(request.history, self.power)


@hookimpl
def nbarec_candidate_generators() -> list[type[LowPass]]:
    """The generators of this module."""
    return [LowPass]
